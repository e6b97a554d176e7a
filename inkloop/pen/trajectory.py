"""The pen's trajectory: strokes as a sequence of equal steps along its way, on paper and in the air between strokes.

A path is float64 (STEPS + 1, 3): x and y of points that lie equally far from each other along the way, y growing
downward, and how much of the way so far, in steps, the pen was lifted.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from inkloop.pen import strokes
from inkloop.pen.strokes import Stroke

STEPS = 40
FEATURES = 5  # x, y, change of each, share of the step in the air

Path = NDArray[np.float64]


@dataclass(frozen=True)
class PenDigits:
    """Digits as pens wrote them. paths: float64 (n, STEPS + 1, 3), see above; labels: int64 (n,), 0..9."""

    paths: NDArray[np.float64]
    labels: NDArray[np.int64]

    def __len__(self) -> int:
        return len(self.paths)

    def take(self, rows: slice | NDArray[np.int64]) -> "PenDigits":
        """The digits at these rows, in their order."""
        return PenDigits(self.paths[rows], self.labels[rows])


def joined(*parts: PenDigits) -> PenDigits:
    """All digits of the parts, in their order."""
    return PenDigits(np.concatenate([each.paths for each in parts]), np.concatenate([each.labels for each in parts]))


def path(drawing: Sequence[Stroke]) -> Path:
    """Follow the pen through strokes in any unit, from each stroke's end straight to the next one's start.

    Only the line counts: not where it lies, how large it is, how fast it was drawn or how many points it was sent as.
    A dot stays where it is for all steps; strokes without points are passed over.
    Raises UserError as `strokes.paths` does.
    """
    parts = strokes.paths(drawing)
    line = np.concatenate(parts)
    lengths = np.hypot(*np.diff(line, axis=0).T)
    ends = np.cumsum([len(part) for part in parts])[:-1]
    lifted = np.zeros(len(lengths))
    lifted[ends - 1] = lengths[ends - 1]
    way, in_air = (np.concatenate([[0.0], np.cumsum(each)]) for each in (lengths, lifted))
    places = np.linspace(0, way[-1], STEPS + 1)
    step = way[-1] / STEPS if way[-1] > 0 else 1.0
    columns = (*line.T, in_air / step)
    return np.stack([np.interp(places, way, column) for column in columns], 1)


def features(paths: NDArray[np.float64]) -> NDArray[np.float32]:
    """What the recurrent core reads of paths (n, STEPS + 1, 3): float32 (n, STEPS, FEATURES).

    Of each step: x and y of its middle, centered and so scaled that the longer side of the digit goes from -1 to 1; its
    change of x and y, in mean steps (its direction, and, where it is below 1, how much the line bends within); the
    share of it in the air.
    """
    places = placed(paths[:, :, :2])
    change = np.diff(places, axis=1)
    mean_step = np.hypot(change[..., 0], change[..., 1]).mean(1)[:, None, None]
    moves = change / np.where(mean_step > 0, mean_step, 1)
    middles = (places[:, 1:] + places[:, :-1]) / 2
    return np.concatenate([middles, moves, np.diff(paths[:, :, 2:], axis=1)], 2).astype(np.float32)


def placed(points: NDArray[np.float64]) -> NDArray[np.float64]:
    """Points (n, points, 2) centered, the longer side of each digit from -1 to 1; its aspect stays."""
    lowest, highest = points.min(1, keepdims=True), points.max(1, keepdims=True)
    extent = (highest - lowest).max(2, keepdims=True)
    placed: NDArray[np.float64] = (2 * points - lowest - highest) / np.where(extent > 0, extent, 1)
    return placed
