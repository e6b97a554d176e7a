"""Trials: two models read the same labeled digits of production, so that neither digits nor luck tells them apart."""

import tempfile
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray
from pydantic import PositiveInt

from infra import challenger, registry, signing
from infra.registry import Champion
from infra.storage import Store
from inkloop import digits
from inkloop.gate import Comparison, compare
from inkloop.runtime import Recognizer
from inkloop.settings import Settings, Share

BATCH_SIZE = 64


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
    rows = _since(labeled, tried.since) if tried else labeled.slice(0, 0)
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
    rows = _since(labeled, champion.since)
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
    images = np.stack(list(digits.images_of(rows)))
    labels = rows.column("label").to_numpy()
    return compare(*(_read(store, digest, images) == labels for digest in (one, other)))


def _since(rows: pa.Table, start: datetime) -> pa.Table:
    """The answers given since then: what the model on trial has not learned from."""
    return rows.filter(pc.greater_equal(rows.column("seen_at"), pa.scalar(start, rows.schema.field("seen_at").type)))


def _read(store: Store, digest: str, images: NDArray[np.uint8]) -> NDArray[np.int64]:
    signing.require_trusted(store, digest)
    with tempfile.TemporaryDirectory() as scratch:
        registry.fetch(store, digest, Path(scratch) / "model")
        model = Recognizer(Path(scratch) / "model")
    parts = range(0, len(images), BATCH_SIZE)
    return np.concatenate([model.probabilities(images[at : at + BATCH_SIZE]).argmax(1) for at in parts])
