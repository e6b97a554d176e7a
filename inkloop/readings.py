"""Readings: the ways in which one picture becomes a sequence."""

from typing import Literal

import torch
from pydantic import PositiveInt
from torch import Tensor
from torch.nn import functional as F

from inkloop.settings import Settings

# Mean and standard deviation of MNIST's training pixels, in 0..1; background (0) once normalized.
PIXEL_MEAN = 0.1307
PIXEL_STD = 0.3081
BACKGROUND = -PIXEL_MEAN / PIXEL_STD


class Reading(Settings):
    """One way to read a picture: `rows` (top to bottom), `columns` (left to right), `patches` (as one reads a page).

    A step is a tile of the picture: `size` rows of the model's full width, `size` columns of its full height, or a
    square of `size` pixels a side.
    """

    kind: Literal["rows", "columns", "patches"]
    size: PositiveInt = 2

    def tile(self, frame: int) -> tuple[int, int]:
        """Height and width, in pixels, of one step's tile for a model whose frame is `frame` pixels a side."""
        return {"rows": (self.size, frame), "columns": (frame, self.size), "patches": (self.size, self.size)}[self.kind]

    def features(self, frame: int) -> int:
        """Numbers in one step."""
        height, width = self.tile(frame)
        return height * width

    @property
    def name(self) -> str:
        """`rows2`, `columns1`, `patches7`."""
        return f"{self.kind}{self.size}"


def read(images: Tensor, reading: Reading, frame: int) -> Tensor:
    """Cut images of one size into tiles and lay these out as a sequence.

    images: normalized float (batch, height, width). A size that the tile does not divide is filled up with
    background, so nothing is cropped; a larger picture gives a longer sequence.
    Returns (batch, steps, reading.features(frame)).
    """
    tile_height, tile_width = reading.tile(frame)
    height, width = images.shape[1:]
    images = F.pad(images, (0, -width % tile_width, 0, -height % tile_height), value=BACKGROUND)
    tiles = images.unflatten(1, (-1, tile_height)).unflatten(3, (-1, tile_width))  # batch, down, row, across, column
    # Columns are read left to right, so their pixels run down the column: the picture's transpose read by rows.
    order = (0, 3, 1, 4, 2) if reading.kind == "columns" else (0, 1, 3, 2, 4)
    sequence: Tensor = tiles.permute(order).flatten(3).flatten(1, 2)
    return sequence


def read_ragged(images: list[Tensor], reading: Reading, frame: int) -> tuple[Tensor, Tensor]:
    """Read images of different sizes; see `read`.

    Returns the sequences, zero-padded to the longest, (batch, steps, features), and their real lengths, int64 (batch,).
    """
    sequences = [read(image[None], reading, frame)[0] for image in images]
    lengths = torch.tensor([len(sequence) for sequence in sequences])
    return torch.nn.utils.rnn.pad_sequence(sequences, batch_first=True), lengths
