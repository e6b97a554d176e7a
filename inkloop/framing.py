"""Framing: any picture of one digit to the model's frame, the way MNIST was made.

The digit is cut out, fitted into a box of 20 x 20 pixels with its proportions kept and its edges smoothed, and laid
into 28 x 28 pixels so that its center of mass is in the middle: white ink on black (LeCun 1998, "Gradient-based
learning applied to document recognition"). A photograph's uneven light is taken out first.
"""

import numpy as np
from PIL import Image
from scipy import ndimage

from inkloop import ink
from inkloop.ink import MIN_CONTRAST, Grey, Ink, stroke_width

__all__ = ["BOX", "CENTER", "FRAME", "MIN_CONTRAST", "center", "fit", "frame", "is_framed"]

FRAME = 28  # pixels a side
BOX = 20  # pixels of the digit's longer side
CENTER = 14  # where MNIST has the center of mass, in pixels from the first row and column
MIN_STROKE = 1.7  # pixels in the frame: MNIST's pens are hardly ever thinner


def frame(picture: Grey) -> Grey:
    """Bring a picture of one digit, dark on light or light on dark, into the model's frame.

    picture: uint8 (height, width), at least 1 x 1. Returns uint8 (28, 28), white ink on black. A picture already framed
    comes back as it was. Where in the picture the digit lies, and which of ink and paper is darker, does not matter.
    Raises UserError if the picture is blank, or holds nothing like a digit.
    """
    for candidate in (picture, 255 - picture) if picture.shape == (FRAME, FRAME) else ():
        if is_framed(candidate):
            return candidate
    return center(fit(ink.find(picture)))


def is_framed(picture: Grey) -> bool:
    """Whether white ink on black lies in 28 x 28 pixels as in MNIST: 19 or 20 pixels long, its center in the middle."""
    rows, columns = np.flatnonzero(picture.max(1)), np.flatnonzero(picture.max(0))
    if picture.shape != (FRAME, FRAME) or not len(rows):
        return False
    sides = (int(rows[-1] - rows[0]) + 1, int(columns[-1] - columns[0]) + 1)
    if max(sides) not in (BOX - 1, BOX) or picture.max() < MIN_CONTRAST:
        return False
    mass = picture.astype(np.float32)
    down, across = mass.sum(1), mass.sum(0)
    steps = np.arange(FRAME) - CENTER
    return all(abs(float(line @ steps) / float(line.sum())) < 0.53 for line in (down, across))


def fit(digit: Ink) -> Ink:
    """Scale a cut-out digit so that its longer side is 20 pixels, in proportion; no stroke gets thinner than a pen."""
    if max(digit.shape) == BOX:
        return digit
    digit = thick_enough(digit, BOX / max(digit.shape))
    scale = BOX / max(digit.shape)
    height, width = digit.shape
    return resized(digit, max(1, round(height * scale)), max(1, round(width * scale)))


def thick_enough(ink: Ink, scale: float) -> Ink:
    """The ink, its strokes made wider, and itself by as much, where scaling would make them thinner than a pen's."""
    missing = round(MIN_STROKE / scale - stroke_width(ink)) if scale < 1 else 0
    if missing <= 0:
        return ink
    return np.asarray(ndimage.grey_dilation(np.pad(ink, (missing + 1) // 2), size=(missing + 1, missing + 1)))


def resized(ink: Ink, height: int, width: int) -> Ink:
    """Ink, not all 0, with smooth edges at another size: float32 (height, width), the whitest of it 255."""
    fitted = np.asarray(Image.fromarray(ink).resize((width, height), Image.Resampling.BICUBIC)).clip(0)
    return np.asarray(fitted * (255 / fitted.max()), np.float32)


def center(digit: Ink) -> Grey:
    """Lay a fitted digit into the frame, its center of mass in the middle as far as all of it stays inside."""
    framed = np.zeros((FRAME, FRAME), np.uint8)
    top, left = (
        int(np.clip(np.floor(CENTER - middle + 0.5), 0, FRAME - side))
        for middle, side in zip(ndimage.center_of_mass(digit), digit.shape, strict=True)
    )
    framed[top : top + digit.shape[0], left : left + digit.shape[1]] = np.rint(digit)
    return framed
