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
# An id is made a moment before or after the time that is kept beside it.
SLACK = timedelta(minutes=1)
# The 15th character of a UUID's text is its version; those of version 7 sort by time as text.
SORTED_BY_TIME = "7"


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


def made_of(window: Window, keys: list[str], labels: pa.Table) -> str:
    """A digest of the names of the window's objects and of the labels given to what it may hold."""
    digest = hashlib.sha256("\n".join(_keys_in(window, keys)).encode())
    given = _labels_of(window, labels).sort_by("prediction_id")
    for column in ("prediction_id", "label"):
        digest.update("\n".join(map(str, given.column(column).to_pylist())).encode())
    return digest.hexdigest()


def batches(store: Store, window: Window, keys: list[str], labels: pa.Table) -> Iterator[pa.Table]:
    """The answers seen in the window, of `captured.SCHEMA`, each prediction once, with its label.

    keys: of all answers in the store; labels: the latest of each prediction, of `captured.LABEL_SCHEMA`.
    """
    hour_before, seen = None, Seen()
    for key in _keys_in(window, keys):
        # What is seen twice is seen twice in one hour: its time is kept with it, and decides where it lies.
        if (hour := captured.hour_of(key)) != hour_before:
            hour_before, seen = hour, Seen()
            given = _labels_of(Window(hour, hour + HOUR), labels)
        try:
            table = captured.from_parquet(store.get(key))
        except Missing:  # expired or forgotten since it was listed
            continue
        when = table.column("seen_at")
        inside = pc.and_(pc.greater_equal(when, window.start), pc.less(when, window.end))
        table = seen.first_of_each(table.filter(inside))
        place = pc.index_in(table.column("prediction_id"), value_set=given.column("prediction_id"))
        table = table.set_column(table.schema.get_field_index("label"), "label", given.column("label").take(place))
        for at in range(0, table.num_rows, BATCH_ROWS):
            yield table.slice(at, BATCH_ROWS)


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


def _labels_of(window: Window, labels: pa.Table) -> pa.Table:
    """The labels of predictions made in the window, by their ids; ids that do not tell the time may be of any."""
    ids = labels.column("prediction_id")
    timed = pc.equal(pc.utf8_slice_codeunits(ids, 14, 15), SORTED_BY_TIME)
    inside = pc.and_(pc.greater_equal(ids, _id_at(window.start - SLACK)), pc.less(ids, _id_at(window.end + SLACK)))
    return labels.filter(pc.or_(inside, pc.invert(timed)))


def _id_at(when: datetime) -> str:
    milliseconds = int((when - datetime(1970, 1, 1, tzinfo=UTC)) / timedelta(milliseconds=1))
    digits = f"{milliseconds:012x}"
    return f"{digits[:8]}-{digits[8:]}"
