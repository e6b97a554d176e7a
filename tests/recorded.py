"""What the capture's tests share: real digits as answers, a store of each kind, and what is found in it."""

import time
from datetime import UTC, datetime, timedelta
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest

from infra import captured, registry
from infra.storage import Store, open_store
from inkloop.digits import Digits
from serving.records import Record, encode, new_id
from serving.segments import Segment

VERSION = "974982cc763f"


@pytest.fixture(params=["folder", pytest.param("s3", marks=pytest.mark.s3)])
def store(request, tmp_path) -> Store:
    if request.param == "s3":
        return open_store(f"s3://{request.getfixturevalue('s3_bucket')}/some/prefix")
    return open_store(str(tmp_path / "store"))


def made(place: Path) -> Store:
    """The store in this folder, which is one from now on."""
    store = open_store(str(place))
    registry.store_id(store)
    return store


@pytest.fixture
def folder(tmp_path) -> Path:
    """Where segments wait."""
    return tmp_path / "captured"


def answer(image: np.ndarray, label: int, person: bytes = b"", seen_at: datetime | None = None) -> Record:
    """The answer to one digit, as the server captures it."""
    probabilities = np.full(10, 0.01, np.float32)
    probabilities[label] = 0.91
    return Record("answer", new_id(), micros(seen_at), label, person, "production", VERSION, image, probabilities)


def label_of(record: Record, label: int, person: bytes = b"", later_s: float = 1) -> Record:
    """What someone said later about that answer."""
    return Record("label", record.prediction_id, record.seen_at + int(later_s * 1e6), label, person, "production")


def answers(digits: Digits, count: int, person: bytes = b"", seen_at: datetime | None = None) -> list[Record]:
    """That many answers to real digits."""
    rows = [row % len(digits) for row in range(count)]
    return [answer(digits.images[row], int(digits.labels[row]), person, seen_at) for row in rows]


def write_segment(folder: Path, records: list[Record]) -> Path:
    """A closed segment with these records."""
    segment = Segment(folder)
    segment.append([encode(record) for record in records])
    segment.seal()
    return segment.path


def stored(store: Store) -> pa.Table:
    """All answers in the store, with their latest labels."""
    return captured.read(store, datetime(2020, 1, 1, tzinfo=UTC), datetime.now(UTC) + timedelta(days=1))


def micros(when: datetime | None) -> int:
    """Microseconds since 1970; None: now."""
    return time.time_ns() // 1000 if when is None else int(when.timestamp()) * 1_000_000
