"""Answers as columns: what is watched of each picture and of what the model said to it, as plain arrays."""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from infra import captured
from inkloop.slices import pen_width
from monitoring.drift.features import NAMES, SIDE, Basis, Floats, features

# The detector's features, so that a report shows what an alarm is about, and two that people ask for. Novelty is not
# compared: the reference, whose own pictures the basis is of, would always look less novel than what comes in.
OF_THE_IMAGE = (
    "pen width",
    "ink",
    "slant",
    "height",
    "width",
    "vertical center",
    "horizontal center",
    "border ink",
    "gray",
    "horizontal roughness",
    "vertical roughness",
)
OF_THE_ANSWER = ("confidence", "margin", "entropy")

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


def observe(table: pa.Table, basis: Basis) -> tuple[Observed, Values]:
    """The columns of a table of answers, of `captured.SCHEMA`, and how novel each picture is, (n,)."""
    labels = table.column("label").fill_null(-1).to_numpy().astype(np.int64)
    values = columns_of(images_of(table), captured.probabilities_of(table), basis)
    compared = {name: values[name] for name in (*OF_THE_IMAGE, *OF_THE_ANSWER)}
    return Observed(compared, table.column("answer").to_numpy().astype(np.int64), labels), values["novelty"]


def columns_of(images: NDArray[np.uint8], probabilities: Floats, basis: Basis) -> dict[str, Values]:
    """All columns by name, (n,). images: uint8 (n, 28, 28); probabilities: float32 (n, 10)."""
    found = dict(zip(NAMES, features(images, probabilities, basis).T.astype(np.float64), strict=True))
    return found | {"pen width": pen_width(images), "confidence": probabilities.max(1).astype(np.float64)}


def images_of(table: pa.Table) -> NDArray[np.uint8]:
    """The pictures, uint8 (n, 28, 28), read from Arrow's own buffer."""
    pixels = table.column("image").combine_chunks()
    _, offsets, data = pixels.buffers()
    start, end = np.frombuffer(offsets, np.int32)[[pixels.offset, pixels.offset + len(pixels)]]
    return np.frombuffer(data, np.uint8)[start:end].reshape(-1, SIDE, SIDE)
