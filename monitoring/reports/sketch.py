"""Sketches: all that a report needs of any number of answers, in memory that does not grow with them.

A sketch counts: each numeric column in fine bins, the answers, and labels against answers. Sketches of parts add up to
the sketch of the whole. From one, rows are laid out evenly along the counts: every column keeps its distribution (its
quantiles, exact to a bin), though not which values stood in one row.
"""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from monitoring.drift.features import CLASSES
from monitoring.reports.observed import Observed, Values

BINS = 4096  # over three times the reference's range: what lies beyond is counted at the edge
ROWS = 10_000  # laid out at most: a share is exact to a hundredth of a percent

Counts = NDArray[np.int64]


@dataclass(frozen=True)
class Grid:
    """Where the bins of each numeric column lie: evenly from `low` to `high`."""

    low: Mapping[str, float]
    high: Mapping[str, float]

    @classmethod
    def around(cls, reference: Observed) -> "Grid":
        """Bins over the reference's range, and as much again on either side."""
        low, high = {}, {}
        for name, values in reference.values.items():
            least, most = float(values.min()), float(values.max())
            span = most - least or 1.0
            low[name], high[name] = least - span, most + span
        return cls(low, high)

    def edges(self, name: str) -> Values:
        """The edges of a column's bins, (BINS + 1,)."""
        return np.linspace(self.low[name], self.high[name], BINS + 1)


@dataclass(frozen=True)
class Sketch:
    """Counts of a set of answers.

    values: by column, int64 (BINS,); answers: int64 (CLASSES,); confusion: int64 (CLASSES, CLASSES), label by answer.
    """

    grid: Grid
    values: Mapping[str, Counts]
    answers: Counts
    confusion: Counts

    @classmethod
    def of(cls, observed: Observed, grid: Grid) -> "Sketch":
        """The sketch of these answers; a value that is not finite counts at the lower edge."""
        counts = {}
        for name, low in grid.low.items():
            place = (observed.values[name] - low) * (BINS / (grid.high[name] - low))
            bins = np.nan_to_num(place, nan=0).clip(0, BINS - 1).astype(np.int64)
            counts[name] = np.bincount(bins, minlength=BINS)
        known = observed.labels >= 0
        cells = observed.labels[known] * CLASSES + observed.answers[known]
        return cls(
            grid,
            counts,
            np.bincount(observed.answers, minlength=CLASSES),
            np.bincount(cells, minlength=CLASSES * CLASSES).reshape(CLASSES, CLASSES),
        )

    def __add__(self, other: "Sketch") -> "Sketch":
        values = {name: counts + other.values[name] for name, counts in self.values.items()}
        return Sketch(self.grid, values, self.answers + other.answers, self.confusion + other.confusion)

    @property
    def rows(self) -> int:
        """How many answers it is of."""
        return int(self.answers.sum())

    @property
    def labeled(self) -> int:
        """How many of them have a label."""
        return int(self.confusion.sum())

    @property
    def right(self) -> int:
        """How many of the labeled ones were read rightly."""
        return int(np.trace(self.confusion))

    def columns(self) -> pd.DataFrame:
        """Rows with every column's distribution: the numeric ones, and `answer` as text; at most ROWS."""
        count = min(self.rows, ROWS)
        frame = {name: _quantiles(counts, self.grid.edges(name), count) for name, counts in self.values.items()}
        return pd.DataFrame(frame | {"answer": _evenly(self.answers, count).astype(str)})

    def labels(self) -> pd.DataFrame:
        """Rows with columns `label` and `answer`, as text, distributed as the confusion is; at most ROWS."""
        # Errors first: laid out along them, not between them, their share is exact to a row.
        order = np.argsort(np.eye(CLASSES, dtype=bool).ravel(), kind="stable")
        cells = order[_evenly(self.confusion.ravel()[order], min(self.labeled, ROWS))]
        return pd.DataFrame({"label": (cells // CLASSES).astype(str), "answer": (cells % CLASSES).astype(str)})


def _positions(counts: Counts, rows: int) -> Values:
    positions: Values = (np.arange(rows) + 0.5) * (counts.sum() / max(rows, 1))
    return positions


def _evenly(counts: Counts, rows: int) -> NDArray[np.int64]:
    """That many indices, each as often as its share of the counts says, to within one row."""
    return np.searchsorted(counts.cumsum(), _positions(counts, rows), side="right")


def _quantiles(counts: Counts, edges: Values, rows: int) -> Values:
    """That many evenly spaced quantiles of what was counted, spread within each bin."""
    below = np.concatenate([[0], counts.cumsum()])
    # Bins without a count are steps of no width: only where the count rises is there something to read off.
    rising = np.flatnonzero(counts)
    bins = rising[np.searchsorted(below[rising + 1], _positions(counts, rows), side="right")]
    within = (_positions(counts, rows) - below[bins]) / counts[bins]
    return np.asarray(edges[bins] + within * (edges[bins + 1] - edges[bins]))
