"""Trials: two models read the same labeled digits of production, so that neither digits nor luck tells them apart."""

import tempfile
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa
from pydantic import PositiveInt

from infra import captured, challenger, registry, signing
from infra.registry import Champion
from infra.storage import Store
from inkloop import digits
from inkloop.digits import Digits
from inkloop.evaluation import answers
from inkloop.gate import Comparison, compare
from inkloop.runtime import Recognizer
from inkloop.settings import Settings, Share


class TrialSettings(Settings):
    """When production has said enough of two models."""

    min_digits: PositiveInt = 200  # labeled since the one on trial answers, or is tried
    challenger_significance: Share = 0.05  # p below which a challenger that passed the gate is worse after all
    rollback_significance: Share = 0.001  # p below which the champion before was better: looked at again and again


@dataclass(frozen=True)
class Ruled:
    """What was done with a model on trial, in a line and in a sentence."""

    title: str
    text: str


def rule(store: Store, champion: Champion, labeled: pa.Table, settings: TrialSettings) -> Ruled | None:
    """Promote or withdraw a challenger, or take back a champion, if enough labeled rows (`captured.SCHEMA`) say so."""
    on_challenger = _on_challenger(store, champion, labeled, settings)
    return on_challenger or _on_champion(store, champion, labeled, settings)


def _on_challenger(store: Store, champion: Champion, labeled: pa.Table, settings: TrialSettings) -> Ruled | None:
    tried = challenger.challenger(store)
    rows = captured.since(labeled, tried.since) if tried else labeled.slice(0, 0)
    if tried is None or rows.num_rows < settings.min_digits:
        return None
    compared = replay(store, tried.digest, champion.digest, rows)
    text = f"{tried.version} read {compared} on {compared.digits:,} digits of production"
    if compared.p_worse < settings.challenger_significance:
        challenger.withdraw(store)
        return Ruled(f"Challenger {tried.version} was withdrawn", f"{text}.")
    registry.promote(store, tried.digest, {"promoted": True, "reason": f"after a trial: {text}"}, champion.digest)
    challenger.withdraw(store)
    return Ruled(f"Challenger {tried.version} is champion", f"{text}.")


def _on_champion(store: Store, champion: Champion, labeled: pa.Table, settings: TrialSettings) -> Ruled | None:
    rows = captured.since(labeled, champion.since)
    before = champion.previous
    if before is None or champion.bars(before) or rows.num_rows < settings.min_digits:
        return None
    compared = replay(store, champion.digest, before, rows)
    if compared.p_worse >= settings.rollback_significance:
        return None
    text = (
        f"reads {compared.challenger_accuracy:.2%} of {compared.digits:,} labeled digits of production, "
        f"the champion before {compared.champion_accuracy:.2%}"
    )
    registry.rollback(store, text, by="watch", expected=champion.digest)
    return Ruled(f"Champion {champion.version} was rolled back", f"It {text}.")


def replay(store: Store, one: str, other: str, rows: pa.Table) -> Comparison:
    """Have two published models, by digest, read the labeled digits of the rows (`captured.SCHEMA`, not empty).

    The one stands as challenger in the comparison, the other as champion.
    """
    images, labels = np.stack(list(digits.images_of(rows))), rows.column("label").to_numpy().astype(np.int64)
    shown = Digits(images, labels, tuple(rows.column("id").to_pylist()))
    return compare(*(answers(_fetched(store, digest), shown) == labels for digest in (one, other)))


def _fetched(store: Store, digest: str) -> Recognizer:
    signing.require_trusted(store, digest)
    with tempfile.TemporaryDirectory() as scratch:
        registry.fetch(store, digest, Path(scratch) / "model")
        return Recognizer(Path(scratch) / "model")
