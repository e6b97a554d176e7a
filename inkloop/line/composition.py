"""Lines: digit strings composed from real digits, as a hand would write them side by side."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated, Self

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from pydantic import Field, PositiveInt, model_validator

from inkloop.augmentation import AugmentationSettings, deform
from inkloop.digits import Digits
from inkloop.ink import Ink
from inkloop.line.framing import fit_line
from inkloop.settings import Settings, ShareBelowOne

Gap = Annotated[float, Field(ge=-20, le=40)]  # pixels, where a digit is 20 high

FAINT = 64  # a pixel at least this bright belongs to a digit's box
BATCH = 4_096  # digits deformed at a time


class LineSettings(Settings):
    """How digits are strung together. A digit is 20 pixels high before the line is framed."""

    most_digits: PositiveInt = 20
    # What is done to each digit of its own: as it is, but larger or smaller.
    hand: AugmentationSettings = AugmentationSettings(rotation_deg=0, scale=0.15, shear=0, shift_px=0, elastic_px=0)
    slant: ShareBelowOne = 0.2  # of the whole line, either way, in columns a row
    baseline_px: Annotated[float, Field(ge=0, le=14)] = 2.0  # of each digit, up or down
    slope: ShareBelowOne = 0.01  # of the baseline, either way, in rows a column
    closest_px: Gap = -2.0  # between the boxes of two digits, on average over a line; below 0 they overlap
    widest_px: Gap = 10.0
    gap_jitter_px: Annotated[float, Field(ge=0, le=14)] = 2.0  # of each gap, either way
    most_overlap: ShareBelowOne = 0.2  # of the narrower of two digits: more would hide it

    @model_validator(mode="after")
    def _closest_is_not_wider_than_widest(self) -> Self:
        if self.closest_px > self.widest_px:
            raise ValueError(f"closest_px {self.closest_px:g} is more than widest_px {self.widest_px:g}")
        return self


@dataclass(frozen=True)
class Lines:
    """Digit strings in memory.

    images: each uint8 (28, width), white ink on black; labels: each a tuple of digits 0..9, left to right;
    gaps: float64 (n,), mean gap in pixels between the boxes of neighbors, 0 where there is one digit.
    """

    images: list[NDArray[np.uint8]]
    labels: list[tuple[int, ...]]
    gaps: NDArray[np.float64]

    def __len__(self) -> int:
        return len(self.images)

    def take(self, rows: Sequence[int]) -> "Lines":
        """The lines at these rows, in their order."""
        return Lines([self.images[row] for row in rows], [self.labels[row] for row in rows], self.gaps[list(rows)])


def lengths(count: int, most: int, seed: int) -> list[int]:
    """How many digits each of `count` lines has: 1 to `most`, each equally often."""
    drawn: list[int] = np.random.default_rng(seed).integers(1, most, count, endpoint=True).tolist()
    return drawn


def compose(digits: Digits, lengths: Sequence[int], settings: LineSettings, seed: int) -> Lines:
    """Write one line for each length, of digits drawn from these alone. The same seed writes the same lines."""
    random = np.random.default_rng(seed)
    drawn = random.integers(0, len(digits), sum(lengths))
    deformed = _deformed(digits.images[drawn], settings.hand, seed)
    inked = deformed.max(1) >= FAINT
    starts, stops = inked.argmax(1), inked.shape[1] - inked[:, ::-1].argmax(1)
    images, labels, gaps, first = [], [], np.zeros(len(lengths)), 0
    for line, length in enumerate(lengths):
        place = slice(first, first + length)
        between = _gaps(stops[place] - starts[place], settings, random)
        images.append(fit_line(_written(deformed[place], starts[place], stops[place], between, settings, random)))
        labels.append(tuple(digits.labels[drawn[place]].tolist()))
        gaps[line] = between.mean() if length > 1 else 0
        first += length
    return Lines(images, labels, gaps)


def _deformed(images: NDArray[np.uint8], hand: AugmentationSettings, seed: int) -> Ink:
    """Each digit as it is written this time, float32 (n, height, width)."""
    random = torch.Generator().manual_seed(seed)
    pixels = torch.from_numpy(images)
    return torch.cat([deform(part.float(), hand, random) for part in pixels.split(BATCH)]).numpy()


def _gaps(widths: NDArray[np.int64], settings: LineSettings, random: np.random.Generator) -> NDArray[np.int64]:
    """Pixels between neighbors, (n - 1,); negative ones overlap."""
    mean = random.uniform(settings.closest_px, settings.widest_px)
    jitter = random.uniform(-settings.gap_jitter_px, settings.gap_jitter_px, len(widths) - 1)
    least = -np.floor(settings.most_overlap * np.minimum(widths[:-1], widths[1:]))
    return np.maximum(np.rint(mean + jitter), least).astype(np.int64)


def _written(
    digits: Ink,
    starts: NDArray[np.int64],
    stops: NDArray[np.int64],
    gaps: NDArray[np.int64],
    settings: LineSettings,
    random: np.random.Generator,
) -> Ink:
    """The digits (n, height, width), whose ink lies in columns starts..stops, on one baseline, slanted together."""
    count, height, width = digits.shape
    lefts = np.concatenate([[0], np.cumsum((stops - starts)[:-1] + gaps)]) - starts
    lefts -= lefts.min()
    slope = random.uniform(-settings.slope, settings.slope)
    tops = np.rint(slope * lefts + random.uniform(-settings.baseline_px, settings.baseline_px, count)).astype(np.int64)
    tops -= tops.min()
    line = np.zeros((tops.max() + height, lefts.max() + width), np.float32)
    for digit, top, left in zip(digits, tops, lefts, strict=True):
        place = line[top : top + height, left : left + width]
        np.maximum(place, digit, out=place)  # ink over ink is no whiter
    return _slanted(line, random.uniform(-settings.slant, settings.slant))


def _slanted(line: Ink, slant: float) -> Ink:
    """The line leaning to the right by `slant` columns a row, in a picture wide enough for it."""
    height, width = line.shape
    more = abs(slant) * height
    size = width + int(np.ceil(more)), height
    lean = (1, slant, -more if slant > 0 else 0, 0, 1, 0)  # from each output pixel to where it is taken from
    return np.asarray(Image.fromarray(line).transform(size, Image.Transform.AFFINE, lean, Image.Resampling.BILINEAR))
