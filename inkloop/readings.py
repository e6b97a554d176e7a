"""Readings: the ways in which one picture becomes a sequence."""

from typing import Literal, Self

import torch
from pydantic import NonNegativeInt, PositiveInt, model_validator
from torch import Tensor
from torch.nn import functional as F

from inkloop.settings import Settings

# Mean and standard deviation of MNIST's training pixels, in 0..1; background (0) once normalized.
PIXEL_MEAN = 0.1307
PIXEL_STD = 0.3081
BACKGROUND = -PIXEL_MEAN / PIXEL_STD


class Reading(Settings):
    """One way to read a picture: `rows` (top to bottom), `columns` (left to right), `patches` (as one reads a page).

    Or `sweeps` over a grid of patches, down and across by turns: see `inkloop.sweeps`. A step is a tile of the picture:
    `size` rows of the model's full width, `size` columns of its full height, or a square of `size` pixels a side.
    """

    kind: Literal["rows", "columns", "patches", "sweeps"]
    size: PositiveInt = 2
    margin: NonNegativeInt = 0  # pixels of its neighbors that a square tile sees too, on each side

    @model_validator(mode="after")
    def _has_margins_of_squares_alone(self) -> Self:
        if self.margin and self.kind in ("rows", "columns"):
            raise ValueError(f"{self.kind} have no margin: leave it out, or read patches or sweeps")
        return self

    def tile(self, frame: int) -> tuple[int, int]:
        """Height and width, in pixels, of one step's tile for a model whose frame is `frame` pixels a side."""
        square = (self.size, self.size)
        return {"rows": (self.size, frame), "columns": (frame, self.size)}.get(self.kind, square)

    def features(self, frame: int) -> int:
        """Numbers in one step."""
        height, width = self.tile(frame)
        return (height + 2 * self.margin) * (width + 2 * self.margin)

    @property
    def name(self) -> str:
        """`rows2`, `columns1`, `patches7`."""
        return f"{self.kind}{self.size}"


SWEEPS = (Reading(kind="sweeps", margin=1),)  # how the default models read


def read(images: Tensor, reading: Reading, frame: int) -> Tensor:
    """Cut images of one size into tiles and lay these out as a sequence, or as a grid for sweeps.

    images: normalized float (batch, height, width). A size that the tile does not divide is filled up with
    background, so nothing is cropped; a larger picture gives a longer sequence.
    Returns (batch, steps, reading.features(frame)); of sweeps (batch, down, across, reading.features(frame)).
    """
    tile_height, tile_width = reading.tile(frame)
    height, width = images.shape[1:]
    images = F.pad(images, (0, -width % tile_width, 0, -height % tile_height), value=BACKGROUND)
    if margin := reading.margin:
        images = F.pad(images, (margin,) * 4, value=BACKGROUND)
        down, across = (_overlapping(side, tile, margin) for side, tile in ((height, tile_height), (width, tile_width)))
        images = images[:, down][:, :, across]
        tile_height, tile_width = tile_height + 2 * margin, tile_width + 2 * margin
    tiles = images.unflatten(1, (-1, tile_height)).unflatten(3, (-1, tile_width))  # batch, down, row, across, column
    # Columns are read left to right, so their pixels run down the column: the picture's transpose read by rows.
    order = (0, 3, 1, 4, 2) if reading.kind == "columns" else (0, 1, 3, 2, 4)
    grid: Tensor = tiles.permute(order).flatten(3)
    return grid if reading.kind == "sweeps" else grid.flatten(1, 2)


def _overlapping(side: int, tile: int, margin: int) -> list[int]:
    """Which pixels the tiles along a side see, one tile after another; counted from the edge of the first's margin."""
    return [start + offset for start in range(0, side, tile) for offset in range(tile + 2 * margin)]


def read_ragged(images: list[Tensor], reading: Reading, frame: int) -> tuple[Tensor, Tensor]:
    """Read images of different sizes; see `read`.

    Returns the sequences, zero-padded to the longest, (batch, steps, features), and their real lengths, int64 (batch,).
    """
    sequences = [read(image[None], reading, frame)[0] for image in images]
    lengths = torch.tensor([len(sequence) for sequence in sequences])
    return torch.nn.utils.rnn.pad_sequence(sequences, batch_first=True), lengths
