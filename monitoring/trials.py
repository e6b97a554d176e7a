"""Trials: two models read the same labeled digits of production, so that neither digits nor luck tells them apart."""

import tempfile
from datetime import datetime
from pathlib import Path
from typing import Literal

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray
from pydantic import PositiveInt

from infra import registry, signing
from infra.storage import Store
from inkloop import digits
from inkloop.gate import Comparison, compare
from inkloop.runtime import Recognizer
from inkloop.settings import Settings, Share

BATCH_SIZE = 64

Ruling = Literal["promote", "withdraw", "rollback"]


class TrialSettings(Settings):
    """When production has said enough of two models."""

    min_digits: PositiveInt = 200  # labeled since the one on trial answers, or is tried
    challenger_significance: Share = 0.05  # p below which a challenger that passed the gate is worse after all
    rollback_significance: Share = 0.001  # p below which the champion before was better: looked at again and again


def since(rows: pa.Table, start: datetime) -> pa.Table:
    """The labeled answers given since then: what the model on trial has not learned from."""
    return rows.filter(pc.greater_equal(rows.column("seen_at"), pa.scalar(start, rows.schema.field("seen_at").type)))


def replay(store: Store, challenger: str, champion: str, rows: pa.Table) -> Comparison:
    """Have two published models, by digest, read the labeled digits of the rows (`captured.SCHEMA`, not empty)."""
    images = np.stack(list(digits.images_of(rows)))
    labels = rows.column("label").to_numpy()
    return compare(*(_read(store, digest, images) == labels for digest in (challenger, champion)))


def rule_on_challenger(tried: Comparison, settings: TrialSettings) -> Ruling | None:
    """What becomes of a challenger that the gate let pass: promoted, unless production reads worse; None: not yet."""
    if tried.digits < settings.min_digits:
        return None
    return "withdraw" if tried.p_worse < settings.challenger_significance else "promote"


def rule_on_champion(tried: Comparison, settings: TrialSettings) -> Ruling | None:
    """Whether the champion is taken back. tried: the champion, as challenger, against the one before."""
    enough = tried.digits >= settings.min_digits
    return "rollback" if enough and tried.p_worse < settings.rollback_significance else None


def _read(store: Store, digest: str, images: NDArray[np.uint8]) -> NDArray[np.int64]:
    signing.require_trusted(store, digest)
    with tempfile.TemporaryDirectory() as scratch:
        registry.fetch(store, digest, Path(scratch) / "model")
        model = Recognizer(Path(scratch) / "model")
    parts = range(0, len(images), BATCH_SIZE)
    return np.concatenate([model.probabilities(images[at : at + BATCH_SIZE]).argmax(1) for at in parts])
