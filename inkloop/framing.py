"""Framing: any picture of one digit to the model's frame, the way MNIST was made.

The digit is cut out, fitted into a box of 20 x 20 pixels with its proportions kept and its edges smoothed, and laid
into 28 x 28 pixels so that its center of mass is in the middle: white ink on black (LeCun 1998, "Gradient-based
learning applied to document recognition"). A photograph's uneven light is taken out first.
"""

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from scipy import ndimage

from inkloop.errors import UserError

FRAME = 28  # pixels a side
BOX = 20  # pixels of the digit's longer side
CENTER = 14  # where MNIST has the center of mass, in pixels from the first row and column

WORKING_SIZE = 320  # pixels of the longer side: more adds time, not legibility
PAPER_SIZE = 48  # pixels of the longer side on which uneven light is estimated
MIN_CONTRAST = 16  # grey levels between ink and paper below which a picture counts as blank
MIN_STROKE = 1.7  # pixels in the frame: MNIST's pens are hardly ever thinner
SPECK_SHARE = 0.03  # of the largest stroke's area: less is dust

Grey = NDArray[np.uint8]
Ink = NDArray[np.float32]


def frame(picture: Grey) -> Grey:
    """Bring a picture of one digit, dark on light or light on dark, into the model's frame.

    picture: uint8 (height, width), at least 1 x 1. Returns uint8 (28, 28), white ink on black. A picture already framed
    comes back as it was. Where in the picture the digit lies, and which of ink and paper is darker, does not matter.
    Raises UserError if the picture is blank.
    """
    picture = shrink(picture, WORKING_SIZE)
    ink = drawn_ink(picture) if is_drawn(picture) else photographed_ink(picture)
    if ink.max(initial=0) < MIN_CONTRAST:
        raise UserError("a blank picture: no ink stands out from the paper. Send a picture of one digit.")
    return center(fit(crop(ink)))


def shrink(picture: Grey, longer_side: int) -> Grey:
    """The picture averaged down so that no side is longer than this; smaller ones are left alone."""
    height, width = picture.shape
    scale = longer_side / max(height, width)
    if scale >= 1:
        return picture
    size = max(1, round(width * scale)), max(1, round(height * scale))
    return np.asarray(Image.fromarray(picture).resize(size, Image.Resampling.BOX))


def is_drawn(picture: Grey) -> bool:
    """Whether the paper is of one exact grey, as on a screen or in MNIST, and not photographed or scanned."""
    paper = np.bincount(picture.ravel(), minlength=256).argmax()
    edge = np.concatenate([picture[0], picture[-1], picture[:, 0], picture[:, -1]])
    return bool((picture == paper).mean() > 0.3 and (edge == paper).mean() > 0.9)


def drawn_ink(picture: Grey) -> Ink:
    """How far each pixel is from the one grey of the paper, on the side where the ink is; 0 = paper."""
    paper = int(np.bincount(picture.ravel(), minlength=256).argmax())
    difference = picture.astype(np.float32) - paper
    lighter, darker = difference.clip(0), (-difference).clip(0)
    return lighter if lighter.sum() >= darker.sum() else darker


def photographed_ink(picture: Grey) -> Ink:
    """Ink without shadows, noise and specks, 0..255; 0 = paper."""
    difference = beyond_paper(picture)
    noise = 1.4826 * float(np.median(np.abs(picture - ndimage.gaussian_filter(picture.astype(np.float32), 2))))
    smooth = ndimage.gaussian_filter(difference, 0.7)
    ink = difference if smooth.max() >= -smooth.min() else -difference
    peak = float(max(smooth.max(), -smooth.min()))
    if peak < max(MIN_CONTRAST, 4 * noise):
        return np.zeros_like(ink)
    full = float(np.median(ink[ink > peak / 2]))
    low = max(3 * noise, 0.25 * full)
    high = max(0.75 * full, low + 1)
    ink = ((ink - low) / (high - low)).clip(0, 1) * np.float32(255)
    return without_specks(ink)


def beyond_paper(picture: Grey) -> Ink:
    """How far each pixel is from what the paper is around it: negative where darker, 0 within the paper's own range.

    The paper is a median wider than any stroke. Its range near the pixel, not its value there, is what counts, so the
    edge of a shadow is paper too.
    """
    small = shrink(picture, PAPER_SIZE)
    window = max(3, int(0.6 * max(small.shape)) | 1)
    paper = ndimage.median_filter(small, size=window, mode="nearest").astype(np.float32)
    height, width = picture.shape
    darkest, lightest = (
        np.asarray(Image.fromarray(bound).resize((width, height), Image.Resampling.BILINEAR))
        for bound in (ndimage.minimum_filter(paper, 5), ndimage.maximum_filter(paper, 5))
    )
    grey: Ink = picture.astype(np.float32)
    beyond: Ink = grey - grey.clip(darkest, lightest)
    return beyond


def without_specks(ink: Ink) -> Ink:
    """Ink without the strokes that are tiny beside the largest."""
    strokes, count = ndimage.label(ink > 0, np.ones((3, 3)))
    if count < 2:
        return ink
    weight = ndimage.sum_labels(ink, strokes, np.arange(1, count + 1))
    dust = np.concatenate([[False], weight < SPECK_SHARE * weight.max()])
    return np.where(dust[strokes], np.float32(0), ink)


def crop(ink: Ink) -> Ink:
    """The smallest upright box that holds all ink."""
    rows, columns = np.flatnonzero(ink.max(1)), np.flatnonzero(ink.max(0))
    return ink[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1]


def fit(ink: Ink) -> Ink:
    """Scale a cut-out digit so that its longer side is 20 pixels, in proportion; no stroke gets thinner than a pen."""
    height, width = ink.shape
    scale = BOX / max(height, width)
    if scale == 1:
        return ink
    missing = round(MIN_STROKE / scale - stroke_width(ink))
    if scale < 1 and missing > 0:
        ink = ndimage.grey_dilation(np.pad(ink, missing), size=(missing + 1, missing + 1))
        ink = crop(ink)
        height, width = ink.shape
        scale = BOX / max(height, width)
    size = max(1, round(width * scale)), max(1, round(height * scale))
    fitted = np.asarray(Image.fromarray(ink).resize(size, Image.Resampling.BICUBIC)).clip(0)
    return np.asarray(fitted * (255 / fitted.max()), np.float32)


def stroke_width(ink: Ink) -> float:
    """Mean width of the strokes in pixels: their area over half the length of their outline."""
    strokes = np.pad(ink > ink.max() / 2, 1)
    outline = sum(int((np.diff(strokes.astype(np.int8), axis=axis) != 0).sum()) for axis in (0, 1))
    return 2 * float(strokes.sum()) / outline


def center(ink: Ink) -> Grey:
    """Lay a fitted digit into the frame, its center of mass in the middle as far as all of it stays inside."""
    framed = np.zeros((FRAME, FRAME), np.uint8)
    top, left = (
        int(np.clip(np.floor(CENTER - middle + 0.5), 0, FRAME - side))
        for middle, side in zip(ndimage.center_of_mass(ink), ink.shape, strict=True)
    )
    framed[top : top + ink.shape[0], left : left + ink.shape[1]] = np.rint(ink)
    return framed
