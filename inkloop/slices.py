"""Slices of a set of digits that no new model may get worse on: class, pen width, slant, source."""

import numpy as np
from numpy.typing import NDArray

from inkloop.digits import Digits

INK = 128  # a pixel at least this bright is ink
THIN, THICK = 2.1, 3.0  # pixels; about a quarter of MNIST lies below, a quarter above
LEFT, RIGHT = -0.08, 0.27  # columns a row; about a quarter of MNIST leans further either way


def pen_width(images: NDArray[np.uint8]) -> NDArray[np.float64]:
    """Mean width of the stroke in pixels, (n,): twice the ink's area over the length of its edge. images: (n, h, w)."""
    ink = np.pad(images >= INK, ((0, 0), (1, 1), (1, 1)))
    area = ink.sum((1, 2))
    edges = (ink[:, 1:] != ink[:, :-1]).sum((1, 2)) + (ink[:, :, 1:] != ink[:, :, :-1]).sum((1, 2))
    # Counted along pixel sides, a slanted edge is 4/pi too long on average.
    width: NDArray[np.float64] = 2 * area / np.maximum(edges * np.pi / 4, 1)
    return width


def slant(images: NDArray[np.uint8]) -> NDArray[np.float64]:
    """How far the digit leans to the right, in columns a row, (n,): by second moments. images: (n, h, w)."""
    ink = images.astype(np.float64)
    mass = np.maximum(ink.sum((1, 2)), 1)
    down, across = np.arange(images.shape[1])[:, None], np.arange(images.shape[2])
    center_y = (ink * down).sum((1, 2)) / mass
    center_x = (ink * across).sum((1, 2)) / mass
    dy, dx = down - center_y[:, None, None], across - center_x[:, None, None]
    lean: NDArray[np.float64] = -(ink * dy * dx).sum((1, 2)) / np.maximum((ink * dy * dy).sum((1, 2)), 1e-9)
    return lean


def slices_of(digits: Digits, sources: tuple[str, ...] = ()) -> dict[str, NDArray[np.bool_]]:
    """Which digits belong to which slice: masks (n,) by name; slices with no digit are left out.

    sources: where each digit came from, in order; none = not known.
    """
    width, lean = pen_width(digits.images), slant(digits.images)
    masks = {f"digit {label}": digits.labels == label for label in range(10)} | {
        "thin pen": width < THIN,
        "medium pen": (width >= THIN) & (width <= THICK),
        "thick pen": width > THICK,
        "leaning left": lean < LEFT,
        "upright": (lean >= LEFT) & (lean <= RIGHT),
        "leaning right": lean > RIGHT,
    }
    named = np.array(sources)
    masks |= {f"source {source}": named == source for source in sorted(set(sources))}
    return {name: mask for name, mask in masks.items() if mask.any()}
