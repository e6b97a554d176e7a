"""The gate: whether a challenger replaces the champion. A pure decision; nothing is moved here."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from pydantic import PositiveFloat

from inkloop.evaluation import mcnemar
from inkloop.settings import Settings, Share


class GateSettings(Settings):
    """What a challenger must show."""

    size_limit_kb: PositiveFloat = 100.0  # of model.onnx, 1 KB = 1,000 bytes
    latency_limit_ms: PositiveFloat = 0.3  # p50 of one image, one thread
    accuracy_floor: Share = 0.9  # 0..1, where there is no champion to beat
    significance: Share = 0.05  # p below which a difference counts


@dataclass(frozen=True)
class Candidate:
    """A model before the gate: its digest, and which test digits it reads right, bool (n,)."""

    digest: str
    right: NDArray[np.bool_]
    barred: str | None = None  # why it may not be champion, whatever it reads: it was rolled back


class Decision(Settings):
    """What the gate decided and why; the record that is kept."""

    promoted: bool
    reason: str
    challenger: str  # digest
    champion: str | None  # digest; None = there was none
    challenger_accuracy: float
    champion_accuracy: float | None
    p_value: float | None  # of the challenger's lead
    worse_slices: tuple[str, ...]
    barred: bool = False  # it was rolled back before, and not readmitted


def decide(
    challenger: Candidate,
    champion: Candidate | None,
    slices: dict[str, NDArray[np.bool_]],
    size_bytes: int,
    latency_ms: float,
    settings: GateSettings,
) -> Decision:
    """Promote only within budget, better by a paired test on the test digits, and significantly worse on no slice."""
    accuracy = float(challenger.right.mean())
    p_value: float | None = None
    worse: tuple[str, ...] = ()
    if champion is not None:
        p_value = mcnemar(challenger.right, champion.right)
        worse = _worse_slices(challenger, champion, slices, settings.significance)
    reason, promoted = _verdict(challenger, champion, p_value, worse, size_bytes, latency_ms, settings)
    return Decision(
        promoted=promoted,
        reason=reason,
        challenger=challenger.digest,
        champion=None if champion is None else champion.digest,
        challenger_accuracy=accuracy,
        champion_accuracy=None if champion is None else float(champion.right.mean()),
        p_value=p_value,
        worse_slices=worse,
        barred=challenger.barred is not None,
    )


def _worse_slices(
    challenger: Candidate, champion: Candidate, slices: dict[str, NDArray[np.bool_]], significance: float
) -> tuple[str, ...]:
    """Slices on which the champion leads. With so many looked at, each must pass a stricter test (Bonferroni)."""
    limit = significance / max(len(slices), 1)
    return tuple(name for name, mask in slices.items() if mcnemar(champion.right[mask], challenger.right[mask]) < limit)


def _verdict(
    challenger: Candidate,
    champion: Candidate | None,
    p_value: float | None,
    worse: tuple[str, ...],
    size_bytes: int,
    latency_ms: float,
    settings: GateSettings,
) -> tuple[str, bool]:
    accuracy = float(challenger.right.mean())
    if challenger.barred is not None:
        return challenger.barred, False
    if size_bytes > settings.size_limit_kb * 1000:
        return f"too large: {size_bytes / 1000:.1f} KB, the limit is {settings.size_limit_kb:g} KB", False
    if latency_ms > settings.latency_limit_ms:
        return f"too slow: {latency_ms:.3f} ms an image, the limit is {settings.latency_limit_ms:g} ms", False
    if champion is None or p_value is None:
        if accuracy < settings.accuracy_floor:
            return (
                f"reads {accuracy:.2%} of the test digits; a first champion needs {settings.accuracy_floor:.0%}",
                False,
            )
        return f"the first champion: reads {accuracy:.2%} of the test digits, within budget", True
    if challenger.digest == champion.digest:
        return "it is the champion already", False
    chance = "p < 0.001" if p_value < 0.001 else f"p = {p_value:.3f}"
    compared = f"{accuracy:.2%} against the champion's {float(champion.right.mean()):.2%} ({chance})"
    if worse:
        return f"worse on {', '.join(worse)}; {compared} in all", False
    if p_value >= settings.significance:
        return f"not better for certain: {compared}", False
    return f"better: {compared}, worse on no slice, within budget", True
