"""The fifteen corruptions of MNIST-C (Mu and Gilmer 2019), at their published strengths, over whole batches.

Fog is a sum of octaves of noise rather than of displaced midpoints; the rest follows the paper's code.
"""

from collections.abc import Callable

import numpy as np
from numpy.random import Generator
from numpy.typing import NDArray
from scipy import ndimage

Floats = NDArray[np.float64]
SIDE = 28
CENTER = (SIDE - 1) / 2


def corrupt(images: NDArray[np.uint8], name: str, seed: int, strength: float = 1.0) -> NDArray[np.uint8]:
    """Corrupt each picture by its own draw. images: uint8 (n, 28, 28), white ink on black. Returns the same shape.

    name: one of `NAMES`; strength: in (0, 1], 1 as published. The same seed gives the same pictures.
    """
    corrupted = _CORRUPTIONS[name](images / 255, np.random.default_rng(seed), strength)
    return (corrupted.clip(0, 1) * 255).round().astype(np.uint8)


def _shot_noise(ink: Floats, random: Generator, strength: float) -> Floats:
    photons = 3 / strength
    return random.poisson(ink * photons) / photons


def _impulse_noise(ink: Floats, random: Generator, strength: float) -> Floats:
    draw, share = random.random(ink.shape), 0.17 * strength
    return np.where(draw < share / 2, 0, np.where(draw < share, 1, ink))


def _glass_blur(ink: Floats, random: Generator, strength: float) -> Floats:
    """Neighbors change places at random between two blurs."""
    shuffled, each = _blur(ink, 0.7 * strength), np.arange(len(ink))
    for _ in range(2):
        for row in range(SIDE - 1, 1, -1):
            for column in range(SIDE - 1, 1, -1):
                swapped = random.random(len(ink)) < 0.5 * strength
                to_row, to_column = (at - random.integers(0, 2, len(ink)) * swapped for at in (row, column))
                moved = shuffled[each, to_row, to_column]
                shuffled[each, to_row, to_column] = shuffled[:, row, column]
                shuffled[:, row, column] = moved
    return _blur(shuffled, 0.7 * strength)


def _motion_blur(ink: Floats, random: Generator, strength: float) -> Floats:
    """A half Gaussian of 3 pixels along a direction within 45 degrees of the horizontal."""
    angle = random.uniform(-np.pi / 4, np.pi / 4, len(ink))
    distances = np.arange(21)
    weights = np.exp(-0.5 * (distances / (3 * strength)) ** 2)
    each, down, across = np.ogrid[: len(ink), :SIDE, :SIDE]
    blurred = np.zeros_like(ink)
    for distance, weight in zip(distances, weights / weights.sum(), strict=True):
        down_by, across_by = (np.rint(distance * f(angle)).astype(int)[:, None, None] for f in (np.sin, np.cos))
        blurred += weight * ink[each, (down + down_by).clip(0, SIDE - 1), (across + across_by).clip(0, SIDE - 1)]
    return blurred


def _shear(ink: Floats, random: Generator, strength: float) -> Floats:
    angle = 0.4 * strength * _either_way(random, len(ink))
    return _affine(ink, np.ones(len(ink)), -np.sin(angle), np.zeros(len(ink)), np.cos(angle))


def _scale(ink: Floats, random: Generator, strength: float) -> Floats:
    zoom, none = np.full(len(ink), 1 / (1 - 0.3 * strength)), np.zeros(len(ink))
    return _affine(ink, zoom, none, none, zoom)


def _rotate(ink: Floats, random: Generator, strength: float) -> Floats:
    angle = 0.4 * strength * _either_way(random, len(ink))
    return _affine(ink, np.cos(angle), -np.sin(angle), np.sin(angle), np.cos(angle))


def _brightness(ink: Floats, random: Generator, strength: float) -> Floats:
    return ink + 0.5 * strength


def _translate(ink: Floats, random: Generator, strength: float) -> Floats:
    across_by, down_by = (3 * strength * _either_way(random, len(ink))[:, None, None] for _ in range(2))
    down, across = np.mgrid[:SIDE, :SIDE]
    return _sample(ink, down + down_by, across + across_by)


def _stripe(ink: Floats, random: Generator, strength: float) -> Floats:
    striped = ink.copy()
    sides = np.r_[0:7, 21:SIDE]
    striped[:, :, sides] += strength * (1 - 2 * ink[:, :, sides])
    return striped


def _fog(ink: Floats, random: Generator, strength: float) -> Floats:
    fog = np.zeros_like(ink)
    for octave in range(8):
        step = 128 >> octave
        knots = random.uniform(-1, 1, (len(ink), SIDE // step + 3, SIDE // step + 3))
        start_y, start_x = (random.integers(0, step, len(ink))[:, None, None] / step for _ in range(2))
        down, across = np.mgrid[:SIDE, :SIDE] / step
        fog += _sample(knots, down + start_y, across + start_x) / 1.96**octave
    density = 3 * strength
    # The octaves add up to 2 either way at most, and a whole landscape spans that almost to its ends.
    return (ink + density * (fog / 4 + 0.5).clip(0, 1)) / (1 + density)


def _spatter(ink: Floats, random: Generator, strength: float) -> Floats:
    drops = _blur(random.normal(0.65, 0.3, ink.shape), 1) > 0.65
    mud = _blur(drops.astype(float), 1.5)
    mud = np.where(mud < 0.8, 0, mud) * strength
    return ink * (1 - mud) + mud * 63 / 255


def _dotted_line(ink: Floats, random: Generator, strength: float) -> Floats:
    left, right = random.integers(0, SIDE - 1, (2, len(ink)))
    dots = np.arange(SIDE) % 4 >= 2
    return ink + strength * dots * _line(np.zeros(len(ink)), left, np.full(len(ink), SIDE - 1), right)


def _zigzag(ink: Floats, random: Generator, strength: float) -> Floats:
    """Seven strokes about a line from column 2 to column 25 that rises or falls by 5 rows at most."""
    row = random.integers(0, SIDE - 1, len(ink))
    angle = np.arctan(random.integers(-5, 5, len(ink)) / 23)
    length = 23 / np.cos(angle)
    along = np.stack([np.full(len(ink), at) for at in (0, 2, 6, 10, 14, 18, 22)] + [length])
    aside = np.stack([np.full(len(ink), at) for at in (0, 2, -2, 2, -2, 2, -2)] + [-1 / (length - 20)])
    columns = 2 + along * np.cos(angle) - aside * np.sin(angle)
    rows = row + along * np.sin(angle) + aside * np.cos(angle)
    strokes: Floats = np.sum([_line(columns[i], rows[i], columns[i + 1], rows[i + 1]) for i in range(7)], axis=0)
    return ink + strength * strokes.clip(0, 1)


def _canny_edges(ink: Floats, random: Generator, strength: float) -> Floats:
    """Edges of one pixel by Canny 1986: sigma 1, thresholds 0.1 and 0.2."""
    smooth = ndimage.gaussian_filter(ink, (0, 1, 1), mode="constant")
    slope_y = ndimage.correlate1d(ndimage.correlate1d(smooth, [-1, 0, 1], 1), [1, 2, 1], 2)
    slope_x = ndimage.correlate1d(ndimage.correlate1d(smooth, [-1, 0, 1], 2), [1, 2, 1], 1)
    steepness = np.hypot(slope_y, slope_x)
    step_y, step_x = (slope / np.maximum(steepness, 1e-9) for slope in (slope_y, slope_x))
    down, across = np.mgrid[:SIDE, :SIDE]
    beside = [_sample(steepness, down + way * step_y, across + way * step_x) for way in (-1, 1)]
    crest = (steepness >= np.maximum(*beside)) & (steepness >= 0.1)
    in_plane = np.stack([np.zeros((3, 3)), np.ones((3, 3)), np.zeros((3, 3))])
    parts, count = ndimage.label(crest, in_plane)
    strong = np.zeros(count + 1, bool)
    strong[parts[crest & (steepness >= 0.2)]] = True
    edges: Floats = strong[parts].astype(float)
    return ink + strength * (edges - ink)


def _either_way(random: Generator, count: int) -> Floats:
    return random.choice([-1.0, 1.0], count)


def _blur(ink: Floats, sigma: float) -> Floats:
    blurred: Floats = ndimage.gaussian_filter(ink, (0, sigma, sigma), mode="nearest")
    return blurred


def _affine(ink: Floats, xx: Floats, xy: Floats, yx: Floats, yy: Floats) -> Floats:
    """Each output pixel is taken from where these matrices, each of its own picture, map it about the center."""
    down, across = np.mgrid[:SIDE, :SIDE] - CENTER
    xx, xy, yx, yy = (each[:, None, None] for each in (xx, xy, yx, yy))
    return _sample(ink, yx * across + yy * down + CENTER, xx * across + xy * down + CENTER)


def _sample(ink: Floats, down: Floats, across: Floats) -> Floats:
    """Bilinear samples of each picture at (n, height, width) rows and columns; black outside."""
    each = np.broadcast_to(np.arange(len(ink), dtype=float)[:, None, None], down.shape)
    sampled: Floats = ndimage.map_coordinates(ink, [each, down, across], order=1)
    return sampled


def _line(column: Floats, row: Floats, to_column: Floats, to_row: Floats) -> Floats:
    """A soft line in each picture: (n,) end points, columns growing."""
    column, row, to_column, to_row = (each[:, None, None] for each in (column, row, to_column, to_row))
    down, across = np.mgrid[:SIDE, :SIDE]
    off = np.abs(down - row - (to_row - row) / (to_column - column) * (across - column))
    ink: Floats = (np.log1p(-off.clip(0, 2.3 - 1e-10) / 2.3) + 1).clip(0)
    spanned: Floats = ink * ((across >= np.floor(column)) & (across < np.ceil(to_column)))
    return spanned


_CORRUPTIONS: dict[str, Callable[[Floats, Generator, float], Floats]] = {
    "shot noise": _shot_noise,
    "impulse noise": _impulse_noise,
    "glass blur": _glass_blur,
    "motion blur": _motion_blur,
    "shear": _shear,
    "scale": _scale,
    "rotate": _rotate,
    "brightness": _brightness,
    "translate": _translate,
    "stripe": _stripe,
    "fog": _fog,
    "spatter": _spatter,
    "dotted line": _dotted_line,
    "zigzag": _zigzag,
    "canny edges": _canny_edges,
}
NAMES = tuple(_CORRUPTIONS)
