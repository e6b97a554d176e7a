"""What production sent since one last looked: new answers once, and a window of the newest with the labels they got."""

from collections.abc import Sequence
from datetime import datetime, timedelta

import pyarrow as pa

from infra import captured
from infra.storage import Store

LATE = timedelta(hours=48)  # a segment that reaches the store later than this is not looked at
LAST = 100


def start_after(read: Sequence[str]) -> datetime | None:
    """From which hour on to look, after these keys were read in this order; None: from the first.

    The oldest of the last ones counts, not the clock, so that a server or a monitor whose clock ran ahead for a while
    does not make the rest be overlooked.
    """
    return min(map(captured.hour_of, read[-LAST:])) - LATE if read else None


class Inflow:
    """Reads a store's captured answers and labels as they come in, each object once."""

    def __init__(self, store: Store, newest: int) -> None:
        """newest: how many answers the window holds, with their pictures."""
        self._store, self._newest = store, newest
        self._answers: dict[str, pa.Table] = {}
        self._labels: dict[str, pa.Table] = {}

    def poll(self, start: datetime | None) -> dict[str, pa.Table]:
        """Take in what is new, of a long queue the oldest; start: hours before are not looked at.

        Returns the answers held, by key, in the order of their hours.
        """
        self._forget()
        for kind, known in ((captured.LABELS, self._labels), (captured.ANSWERS, self._answers)):
            rows = 0
            for key in captured.keys(self._store, kind, start):
                if rows < self._newest and key not in known and (table := captured.get(self._store, key)) is not None:
                    known[key] = table
                    rows += table.num_rows
        return self._answers

    def window(self) -> pa.Table:
        """The newest answers with the latest labels that came in, of `captured.SCHEMA`, oldest first."""
        rows = pa.concat_tables([captured.SCHEMA.empty_table(), *self._answers.values()]).sort_by("prediction_id")
        newest = rows.slice(max(0, rows.num_rows - self._newest))
        return captured.with_labels(newest, self.labels())

    def labels(self) -> pa.Table:
        """The latest label of each prediction, of `captured.LABEL_SCHEMA`."""
        return captured.latest_of(list(self._labels.values()))

    def _forget(self) -> None:
        """Empty the oldest tables that the window has no use for; their keys stay, so that none is read again."""
        held = 0
        for key, table in sorted(self._answers.items(), reverse=True):
            if held >= self._newest:
                self._answers[key] = table.slice(0, 0)
            held += table.num_rows
