"""Quality: how right the champion's answers are by the labels that came in, or by its confidence where none did.

All functions take tables of `infra.captured.SCHEMA`; the pictures are not looked at.
"""

from dataclasses import dataclass
from datetime import datetime
from typing import Literal

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from infra import captured

Z = 1.96  # of a 95% interval
GUESSED_TOO_LOW = 0.03  # by which guessed accuracy may be below the real one, as measured (docs/triggers.md)

By = Literal["source", "model_version", "writer", "hour"]


@dataclass(frozen=True)
class Quality:
    """Accuracy of labeled answers and its 95% interval (Wilson 1927), all in 0..1; nan where there are none."""

    right: int
    answers: int

    @property
    def accuracy(self) -> float:
        """Share of right answers."""
        return self.right / self.answers if self.answers else float("nan")

    @property
    def low(self) -> float:
        """Lower end of the interval."""
        return self._wilson(-1)

    @property
    def high(self) -> float:
        """Upper end of the interval."""
        return self._wilson(1)

    def _wilson(self, side: int) -> float:
        if not self.answers:
            return float("nan")
        n, p = self.answers, self.right / self.answers
        middle = p + Z**2 / (2 * n)
        width = Z * np.sqrt(p * (1 - p) / n + Z**2 / (4 * n**2))
        return float(np.clip((middle + side * width) / (1 + Z**2 / n), 0, 1))


@dataclass(frozen=True)
class Fall:
    """By how much accuracy is below the promised, and the 95% interval of the difference (Newcombe 1998), in -1..1."""

    points: float
    low: float
    high: float


@dataclass(frozen=True)
class Avoidable:
    """Wrong answers since the model got worse, beyond those promised; since: None if it never did."""

    errors: float  # among all answers, as far as the labeled ones tell
    seen: float  # among the labeled ones
    since: datetime | None


def judged(table: pa.Table) -> pa.Table:
    """The answers that can be told right or wrong, oldest first, with a column `right`.

    Where most labels contradict the answer they are corrections and no sample: then no label means no complaint, and
    unlabeled answers count as right.
    """
    right = pc.equal(table.column("label"), table.column("answer"))
    if (pc.mean(right).as_py() or 0.0) < 0.5 and right.null_count < len(right):
        right = right.fill_null(True)
    found = table.select(["seen_at", "source", "writer", "model_version"]).append_column("right", right)
    return found.filter(pc.is_valid(right)).sort_by("seen_at")


def overall(table: pa.Table, newest: int | None = None) -> Quality:
    """Accuracy of all answers that can be judged; newest: of so many at most, the latest."""
    right = judged(table).column("right")
    if newest is not None:
        right = right.slice(max(0, len(right) - newest))
    return Quality(pc.sum(right).as_py() or 0, len(right))


def by(table: pa.Table, what: By) -> dict[str, Quality]:
    """Accuracy for each source, version or writer (none: ""), or for each hour ("2026-11-25 14:00", UTC)."""
    answers = judged(table)
    if what == "hour":
        key = pc.strftime(answers.column("seen_at"), "%Y-%m-%d %H:00")
    else:
        key = answers.column(what).fill_null("")
    grouped = pa.table({"key": key, "right": answers.column("right")}).group_by("key")
    rows = grouped.aggregate([("right", "sum"), ("right", "count")]).sort_by("key").to_pylist()
    return {row["key"]: Quality(row["right_sum"], row["right_count"]) for row in rows}


def fall(live: Quality, promised: Quality) -> Fall:
    """How far live accuracy has fallen below what the champion showed on its reference."""
    points = promised.accuracy - live.accuracy
    low = points - float(np.hypot(promised.accuracy - promised.low, live.high - live.accuracy))
    high = points + float(np.hypot(promised.high - promised.accuracy, live.accuracy - live.low))
    return Fall(points, low, high)


def avoidable(table: pa.Table, promised: Quality, tolerated: float = 0.01) -> Avoidable:
    """Errors beyond the promised ones since the model got worse, by a cumulative sum (Page 1954).

    A change is none until the sum of errors rises faster than promised and tolerated (0..1, of accuracy) together; what
    it has risen since is what a fresh model would have saved. Answers without label are taken to err as the labeled do.
    """
    answers = judged(table)
    wrong = ~answers.column("right").to_numpy(zero_copy_only=False)
    if not len(wrong) or not promised.answers:
        return Avoidable(0.0, 0.0, None)
    walked = np.concatenate([[0.0], np.cumsum(wrong - _allowed(promised, tolerated))])
    start = int(np.flatnonzero(walked == walked.min())[-1])
    risen = float(walked[-1] - walked[start])
    if risen <= 0:
        return Avoidable(0.0, 0.0, None)
    since = answers.column("seen_at")[start].as_py()
    asked = pc.sum(pc.greater_equal(table.column("seen_at"), pa.scalar(since, answers.schema.field("seen_at").type)))
    return Avoidable(risen * max(1.0, asked.as_py() / (len(wrong) - start)), risen, since)


def estimated(answers: pa.Table, reference: pa.Table) -> float:
    """Guess accuracy (0..1) without labels, by average thresholded confidence (Garg 2022, "Leveraging unlabeled data").

    Confidence is the lead of an answer's probability over the next. A threshold is set above which as many answers to
    the labeled reference lie as are right; the share of answers above it is the guess.
    """
    labeled = reference.filter(pc.is_valid(reference.column("label")))
    right = overall(labeled).accuracy
    return float((_lead(answers) > np.quantile(_lead(labeled), 1 - right)).mean())


def estimated_errors(answers: pa.Table, reference: pa.Table, tolerated: float = 0.01) -> float:
    """Wrong answers beyond those promised and tolerated (see `avoidable`) as far as such a guess can tell."""
    if not answers.num_rows or not reference.num_rows:
        return 0.0
    at_most = estimated(answers, reference) + GUESSED_TOO_LOW
    return float(max(0.0, (1 - _allowed(overall(reference), tolerated) - at_most) * answers.num_rows))


def _allowed(promised: Quality, tolerated: float) -> float:
    """The share of errors that is nothing to act on: those promised, and as many more as are tolerated or chance."""
    error = 1 - promised.accuracy
    return error + max(tolerated, float(np.sqrt(error * (1 - error) / promised.answers)))


def _lead(table: pa.Table) -> NDArray[np.float32]:
    ordered = np.sort(captured.probabilities_of(table), axis=1)
    return np.asarray(ordered[:, -1] - ordered[:, -2])
