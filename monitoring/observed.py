"""Answers as columns: what is watched of each, image features and the model's own words, as plain arrays."""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from inkloop.slices import pen_width, slant

CLASSES = 10
OF_THE_IMAGE = ("ink_share", "pen_width", "slant")
OF_THE_ANSWER = ("confidence", "entropy")

Values = NDArray[np.float64]


@dataclass(frozen=True)
class Observed:
    """Answers as columns: numeric ones by name, float64 (n,); answers and labels, int64 (n,), label -1 = not known."""

    values: Mapping[str, Values]
    answers: NDArray[np.int64]
    labels: NDArray[np.int64]

    def __len__(self) -> int:
        return len(self.answers)

    def take(self, rows: NDArray[np.bool_]) -> "Observed":
        """Those of these rows, bool (n,)."""
        kept = {name: values[rows] for name, values in self.values.items()}
        return Observed(kept, self.answers[rows], self.labels[rows])


def observe(table: pa.Table) -> Observed:
    """The columns of a table of answers, of `captured.SCHEMA`; its pictures may be of several sizes."""
    said = probabilities_of(table)
    values = {name: np.empty(table.num_rows) for name in OF_THE_IMAGE}
    for rows, images in images_by_size(table):
        for name, found in features(images).items():
            values[name][rows] = found
    values["confidence"] = said.max(1)
    values["entropy"] = -(said * np.log(np.maximum(said, 1e-12))).sum(1)  # nats: 0 is sure, 2.3 knows nothing
    labels = table.column("label").fill_null(-1).to_numpy().astype(np.int64)
    return Observed(values, table.column("answer").to_numpy().astype(np.int64), labels)


def features(images: NDArray[np.uint8]) -> dict[str, Values]:
    """Each picture's image features, by name, (n,). images: uint8 (n, height, width)."""
    return {"ink_share": images.mean((1, 2)) / 255, "pen_width": pen_width(images), "slant": slant(images)}


def probabilities_of(table: pa.Table) -> Values:
    """What the model said, (n, CLASSES), read from Arrow's own buffer."""
    column = table.column("probabilities").combine_chunks()
    said: Values = column.flatten().to_numpy().astype(np.float64).reshape(table.num_rows, CLASSES)
    return said


def images_by_size(table: pa.Table) -> list[tuple[NDArray[np.int64], NDArray[np.uint8]]]:
    """The pictures of each size, uint8 (n, height, width), and their rows, read from Arrow's own buffer."""
    heights, widths = (table.column(name).to_numpy().astype(np.int64) for name in ("height", "width"))
    found = []
    for size in np.unique(heights << 32 | widths):
        height, width = int(size) >> 32, int(size) & 0xFFFFFFFF
        rows = np.flatnonzero((heights == height) & (widths == width))
        pixels = table.column("image").take(pa.array(rows)).combine_chunks()
        offsets = np.frombuffer(pixels.buffers()[1], np.int32)[pixels.offset :]
        data = np.frombuffer(pixels.buffers()[2], np.uint8)[offsets[0] : offsets[len(rows)]]
        found.append((rows, data.reshape(len(rows), height, width)))
    return found
