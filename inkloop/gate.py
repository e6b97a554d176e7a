"""The gate: whether a challenger replaces the champion. A pure decision; nothing is moved here."""

from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from inkloop.evaluation import mcnemar
from inkloop.settings import Settings, Share

Slices = dict[str, NDArray[np.bool_]]


class GateSettings(Settings):
    """What a challenger must show."""

    accuracy_floor: Share = 0.9  # 0..1, where there is no champion to beat
    significance: Share = 0.05  # p below which a difference counts


@dataclass(frozen=True)
class Candidate:
    """A model before the gate: its digest, and which digits it reads right, bool (n,).

    right: of the fixed test digits; production: of the newest labeled ones that production sent, none held in training.
    """

    digest: str
    right: NDArray[np.bool_]
    production: NDArray[np.bool_] = field(default_factory=lambda: np.zeros(0, bool))
    barred: str | None = None  # why it may not be champion, whatever it reads: it was rolled back
    too_large_for: str | None = None  # of a champion: the hardware that the challenger is for, if it does not fit there


class Comparison(Settings):
    """Challenger and champion on one set of digits: accuracies in 0..1, p of a lead of either if they are as good."""

    digits: int
    challenger_accuracy: float
    champion_accuracy: float
    p_better: float
    p_worse: float

    def __str__(self) -> str:
        chance = min(self.p_better, self.p_worse)
        p = "p < 0.001" if chance < 0.001 else f"p = {chance:.3f}"
        return f"{self.challenger_accuracy:.2%} against the champion's {self.champion_accuracy:.2%} ({p})"


class Decision(Settings):
    """What the gate decided and why; the record that is kept."""

    promoted: bool
    reason: str
    challenger: str  # digest
    champion: str | None  # digest; None = there was none
    challenger_accuracy: float  # on the fixed test digits
    test: Comparison | None = None  # on the fixed test digits; None = there was no champion
    production: Comparison | None = None  # on what production sent; None = nothing labeled, or no champion
    worse_slices: tuple[str, ...]
    barred: bool = False  # it was rolled back before, and not readmitted
    hardware: str = ""  # by name, for which the challenger was chosen; empty: not known


def decide(
    challenger: Candidate,
    champion: Candidate | None,
    slices: Slices,
    settings: GateSettings,
    production_slices: Slices | None = None,
) -> Decision:
    """Promote only what is better by a paired test and significantly worse on neither set of digits nor a slice.

    slices: of the fixed test digits; production_slices: of production's, masks (n,) by name.
    """
    test = production = None
    worse: tuple[str, ...] = ()
    if champion is not None:
        test = compare(challenger.right, champion.right)
        if len(challenger.production):
            production = compare(challenger.production, champion.production)
        worse = _worse_slices(challenger, champion, slices, production_slices or {}, settings.significance)
    reason, promoted = _verdict(challenger, champion, test, production, worse, settings)
    return Decision(
        promoted=promoted,
        reason=reason,
        challenger=challenger.digest,
        champion=None if champion is None else champion.digest,
        challenger_accuracy=float(challenger.right.mean()),
        test=test,
        production=production,
        worse_slices=worse,
        barred=challenger.barred is not None,
    )


def compare(challenger: NDArray[np.bool_], champion: NDArray[np.bool_]) -> Comparison:
    """Both on the same digits, which there must be: which each reads right, bool (n,)."""
    return Comparison(
        digits=len(challenger),
        challenger_accuracy=float(challenger.mean()),
        champion_accuracy=float(champion.mean()),
        p_better=mcnemar(challenger, champion),
        p_worse=mcnemar(champion, challenger),
    )


def _worse_slices(
    challenger: Candidate, champion: Candidate, test: Slices, production: Slices, significance: float
) -> tuple[str, ...]:
    """Slices on which the champion leads. With so many looked at, each must pass a stricter test (Bonferroni)."""
    limit = significance / max(len(test) + len(production), 1)
    on_test = (name for name, at in test.items() if mcnemar(champion.right[at], challenger.right[at]) < limit)
    on_production = (
        f"{name} of production"
        for name, at in production.items()
        if mcnemar(champion.production[at], challenger.production[at]) < limit
    )
    return (*on_test, *on_production)


def _verdict(
    challenger: Candidate,
    champion: Candidate | None,
    test: Comparison | None,
    production: Comparison | None,
    worse: tuple[str, ...],
    settings: GateSettings,
) -> tuple[str, bool]:
    accuracy = float(challenger.right.mean())
    if challenger.barred is not None:
        return challenger.barred, False
    if champion is None or test is None:
        if accuracy < settings.accuracy_floor:
            return (
                f"reads {accuracy:.2%} of the test digits; a first champion needs {settings.accuracy_floor:.0%}",
                False,
            )
        return f"the first champion: reads {accuracy:.2%} of the test digits", True
    if challenger.digest == champion.digest:
        return "it is the champion already", False
    reason, promoted = _compared(test, production, worse, settings.significance)
    if not promoted and champion.too_large_for is not None:
        reason += f"; the champion is too large for {champion.too_large_for}: give each hardware a STORE of its own"
    return reason, promoted


def _compared(
    test: Comparison, production: Comparison | None, worse: tuple[str, ...], significance: float
) -> tuple[str, bool]:
    sets = {"the test digits": test} | ({"production": production} if production else {})
    compared = str(test)
    if production is not None:
        compared += f" on the test digits, {production} on {production.digits:,} of production"
    lost = tuple(name for name, on in sets.items() if on.p_worse < significance)
    if worse or lost:
        return f"worse on {', '.join((*worse, *lost))}; {compared}{'' if production else ' in all'}", False
    # Either set may show that it is better: two chances, so each is held to a stricter level.
    if min(on.p_better for on in sets.values()) >= significance / len(sets):
        return f"not better for certain: {compared}", False
    return f"better: {compared}, worse on no slice", True
