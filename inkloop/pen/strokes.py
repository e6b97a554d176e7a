"""Pen strokes: what a pen or finger drew on a screen, brought to the model's frame the way MNIST was made."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw

from inkloop import framing
from inkloop.errors import UserError
from inkloop.ink import Ink

MAX_POINTS = 5_000  # a screen reports 60 to 240 a second
FARTHEST = 1e9  # of a coordinate from 0, in the sender's unit
PEN_WIDTH = 2.2  # pixels in the frame, as MNIST's pens have at the median
OVERSAMPLING = 8  # lines a pixel is made of, each way: its grey is the share of them that the pen covered

Point = Sequence[float]  # x, y and maybe a time; y grows downward
Stroke = Sequence[Point] | NDArray[np.float64]  # from pen down to pen up; one point is a dot


def render(strokes: Sequence[Stroke]) -> NDArray[np.uint8]:
    """Draw strokes, in any unit, into the model's frame: uint8 (28, 28), white ink on black.

    Raises UserError as `paths` does.
    """
    return framing.center(draw(scaled(paths(strokes))))


def paths(strokes: Sequence[Stroke]) -> list[NDArray[np.float64]]:
    """The x and y of each stroke that has points: float64 (n, 2) each, at least one of them.

    Raises UserError, in one sentence, if there is no point, too many, or one that is not two or three finite numbers.
    """
    try:
        count = sum(len(stroke) for stroke in strokes)
    except TypeError:
        raise malformed() from None
    if count == 0:
        raise UserError("no pen strokes: there is not one point. Send the strokes of one digit.")
    if count > MAX_POINTS:
        raise UserError(f"too many pen strokes: {count:,} points, where {MAX_POINTS:,} are allowed. Send fewer.")
    return [points(stroke) for stroke in strokes if len(stroke)]


def points(stroke: Stroke) -> NDArray[np.float64]:
    """The x and y of a stroke's points: float64 (n, 2). Raises UserError if they are not finite numbers."""
    try:
        path = np.array([(x, y) for x, y, *time in stroke if len(time) < 2], np.float64).reshape(-1, 2)
        if len(path) < len(stroke):
            raise malformed()
    except (TypeError, ValueError, OverflowError):
        raise malformed() from None
    if not (np.abs(path) <= FARTHEST).all():  # not true of NaN either
        raise UserError(f"pen strokes must have finite coordinates, from -{FARTHEST:g} to {FARTHEST:g}.")
    return path


def malformed() -> UserError:
    """The error for what is no list of strokes."""
    return UserError("pen strokes must be lists of points, each a list of x, y and, if known, a time.")


def scaled(paths: list[NDArray[np.float64]]) -> list[NDArray[np.float64]]:
    """The paths in pixels, so that they and the pen around them fit a box of 20 x 20, its corner at 0, 0."""
    every = np.concatenate(paths)
    lowest = every.min(0)
    extent = float((every.max(0) - lowest).max())
    scale = (framing.BOX - PEN_WIDTH) / extent if extent > 0 else 1.0
    return [(path - lowest) * scale + PEN_WIDTH / 2 for path in paths]


def draw(paths: list[NDArray[np.float64]]) -> Ink:
    """What a round pen leaves along paths given in pixels: float32 (height, width), at most 20 x 20, 0..255."""
    width, height = (int(side) for side in np.ceil(np.concatenate(paths).max(0) + PEN_WIDTH / 2 - 1e-6))
    sheet = Image.new("L", (width * OVERSAMPLING, height * OVERSAMPLING))
    pen = ImageDraw.Draw(sheet)
    for path in paths:
        spots = [(float(x), float(y)) for x, y in path * OVERSAMPLING - 0.5]  # Pillow's 0 is the first pixel's center
        pen.line(spots, fill=255, width=round(PEN_WIDTH * OVERSAMPLING))
        for spot in spots:
            pen.circle(spot, PEN_WIDTH * OVERSAMPLING / 2, fill=255)
    return np.asarray(sheet.reduce(OVERSAMPLING), np.float32)
