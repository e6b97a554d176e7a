"""Framing of lines: the ink of a digit string to the height that the line model reads, its width in proportion."""

import numpy as np

from inkloop import ink
from inkloop.errors import UserError
from inkloop.framing import FRAME, resized, thick_enough
from inkloop.ink import Grey, Ink

ROWS = 24  # pixels of the ink's height, in the middle of the frame's 28
MARGIN = (FRAME - ROWS) // 2  # pixels of background on each side
LONGEST = 4_096  # pixels of a framed line's width: some 200 digits


def frame_line(picture: Grey) -> Grey:
    """Bring a picture of one line of digits, dark on light or light on dark, to the line model's height.

    picture: uint8 (height, width), at least 1 x 1. Returns uint8 (28, width), white ink on black. Raises UserError if
    the picture is blank, holds nothing like digits, or the line is too long.
    """
    return fit_line(ink.find_line(picture))


def fit_line(line: Ink) -> Grey:
    """Cut out the ink and scale it to 24 rows, in proportion; no stroke gets thinner than a pen.

    line: float32 (height, width), not all 0. Returns uint8 (28, width), white ink on black, with a margin of 2 pixels.
    Raises UserError if the line comes out longer than `LONGEST`.
    """
    rows, columns = np.flatnonzero(line.max(1)), np.flatnonzero(line.max(0))
    line = line[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1]
    line = thick_enough(line, ROWS / len(line))
    height, width = line.shape
    across = max(1, round(width * ROWS / height))
    if across > LONGEST - 2 * MARGIN:
        raise UserError(f"too long a line: {width / height:.0f} times as wide as high. Send a shorter part of it.")
    framed = np.zeros((FRAME, across + 2 * MARGIN), np.uint8)
    framed[MARGIN:-MARGIN, MARGIN:-MARGIN] = np.rint(resized(line, ROWS, across))
    return framed


def side_by_side(images: list[Grey]) -> Grey:
    """Framed lines in one array, uint8 (n, 28, widest), filled up with background on the right."""
    together = np.zeros((len(images), FRAME, max(image.shape[1] for image in images)), np.uint8)
    for row, image in enumerate(images):
        together[row, :, : image.shape[1]] = image
    return together
