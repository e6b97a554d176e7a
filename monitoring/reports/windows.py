"""What production saw, window by window: which windows there are, what they are made of, and their rows in batches."""

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from infra import captured
from infra.storage import Missing, Store
from inkloop.errors import UserError

MINUTES_A_DAY = 1440
BATCH_ROWS = 1024
HOUR = timedelta(hours=1)
# An id is a UUID of version 7: as text it sorts by the time at which it was made, a moment from the one kept beside it.
SLACK = timedelta(minutes=1)


@dataclass(frozen=True, order=True)
class Window:
    """A stretch of time, [start, end), UTC."""

    start: datetime
    end: datetime

    @property
    def name(self) -> str:
        """As people and files call it: 2026-11-25, or 2026-11-25 14.00 if it is shorter than a day."""
        return (
            f"{self.start:%Y-%m-%d}" if self.end - self.start >= timedelta(days=1) else f"{self.start:%Y-%m-%d %H.%M}"
        )


def windows_of(keys: list[str], minutes: int) -> list[Window]:
    """The windows of that many minutes that these objects' hours lie in, oldest first. Raises UserError."""
    if minutes < 1 or MINUTES_A_DAY % minutes:
        raise UserError(f"a window of {minutes} minutes: a day does not divide into such. Give 60, 1440 or the like.")
    length = timedelta(minutes=minutes)
    found = set()
    for hour in {captured.hour_of(key) for key in keys}:
        day = hour.replace(hour=0)
        start = day + (hour - day) // length * length
        while start < hour + HOUR:
            found.add(Window(start, start + length))
            start += length
    return sorted(found)


class Labels:
    """The latest label of each prediction, found by its id."""

    def __init__(self, labels: pa.Table) -> None:
        """labels: of `captured.LABEL_SCHEMA`, each prediction once."""
        ids = labels.column("prediction_id").cast(pa.binary()).to_numpy().astype(np.bytes_)
        order = np.argsort(ids)
        self._ids, self._labels = ids[order], labels.column("label").to_numpy()[order]

    def of(self, ids: pa.ChunkedArray) -> pa.Array:
        """The label of each prediction, null if it has none."""
        asked = ids.cast(pa.binary()).to_numpy().astype(np.bytes_)
        if not len(self._ids):
            return pa.nulls(len(asked), pa.int8())
        place = np.searchsorted(self._ids, asked).clip(0, len(self._ids) - 1)
        return pa.array(self._labels[place], pa.int8(), mask=self._ids[place] != asked)

    def digest_of(self, window: Window) -> str:
        """A digest of the labels of predictions made in the window, by their ids."""
        first, last = np.searchsorted(self._ids, [_id_at(window.start - SLACK), _id_at(window.end + SLACK)])
        digest = hashlib.sha256(self._ids[first:last].tobytes())
        digest.update(self._labels[first:last].tobytes())
        return digest.hexdigest()


def made_of(window: Window, keys: list[str], labels: Labels) -> str:
    """A digest of the names of the window's objects and of the labels given to what they hold."""
    return hashlib.sha256("\n".join([*_keys_in(window, keys), labels.digest_of(window)]).encode()).hexdigest()


def batches(store: Store, window: Window, keys: list[str], labels: Labels) -> Iterator[pa.Table]:
    """The answers seen in the window, of `captured.SCHEMA`, each prediction once, with its label.

    keys: of all answers in the store.
    """
    hour_before, seen = None, Seen()
    for key in _keys_in(window, keys):
        # What is seen twice is seen twice in one hour: its time is kept with it, and decides where it lies.
        if (hour := captured.hour_of(key)) != hour_before:
            hour_before, seen = hour, Seen()
        try:
            table = captured.from_parquet(store.get(key))
        except Missing:  # expired or forgotten since it was listed
            continue
        when = table.column("seen_at")
        inside = pc.and_(pc.greater_equal(when, window.start), pc.less(when, window.end))
        table = seen.first_of_each(table.filter(inside))
        at = captured.SCHEMA.get_field_index("label")
        table = table.set_column(at, captured.SCHEMA.field(at), labels.of(table.column("prediction_id")))
        for start in range(0, table.num_rows, BATCH_ROWS):
            yield table.slice(start, BATCH_ROWS)


class Seen:
    """The predictions of an hour that were seen, to tell each once."""

    def __init__(self) -> None:
        self._ids: list[tuple[str, str, pa.Array]] = []  # of each object: the least, the greatest, all

    def first_of_each(self, table: pa.Table) -> pa.Table:
        """The first row of each prediction that was not seen before."""
        ids = table.column("prediction_id").combine_chunks()
        if not len(ids):
            return table
        _, first = np.unique(ids.dictionary_encode().indices.to_numpy(), return_index=True)
        first = np.sort(first)
        ids = ids.take(pa.array(first))
        bounds = pc.min_max(ids).as_py()
        least, greatest = bounds["min"], bounds["max"]
        # Ids sort by time, and objects hardly overlap in it: looking through all of them would take quadratic time.
        near = [each for low, high, each in self._ids if low <= greatest and least <= high]
        fresh = pc.invert(pc.is_in(ids, value_set=pa.concat_arrays([ids[:0], *near])))
        self._ids.append((least, greatest, ids))
        return table.take(pa.array(first).filter(fresh))


def _keys_in(window: Window, keys: list[str]) -> list[str]:
    return [key for key in keys if window.start - HOUR < captured.hour_of(key) < window.end]


def _id_at(when: datetime) -> bytes:
    """What the ids of predictions made from then on begin with, or are greater than."""
    milliseconds = int((when - datetime(1970, 1, 1, tzinfo=UTC)) / timedelta(milliseconds=1))
    digits = f"{milliseconds:012x}"
    return f"{digits[:8]}-{digits[8:]}".encode()
