"""The kernel: models that sweep, answered by compiled code (kernel.c) from the same ONNX file, where it was built."""

import struct
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from inkloop import onnx_constants
from inkloop.onnx_constants import SCALES

try:
    from inkloop import _kernel
except ImportError:  # it was installed where there is no C compiler
    _kernel = None  # type: ignore[assignment]

Floats = NDArray[np.float32]
Constants = dict[str, NDArray[np.generic]]
LANES, VECTORS, MOST_LAYERS, CLASSES = 8, 2, 8, 10  # as lanes.h and kernel.c have them
MOST_STEPS = 28  # kernel.c leaves it to this that cells stay small
GATES, WAYS = 4, 2
EXPONENTS = np.array([1, 1, 1, 2], np.float32) * np.float32(-np.log2(np.e))  # of the gates: e**-x is 2**(x * -log2(e))
SHAPE = f"={6 + MOST_LAYERS}i2f"  # kernel.c's
READER = "readers.0"


@dataclass(frozen=True)
class Kernel:
    """A model laid out for kernel.c."""

    shape: bytes  # its Shape
    weights: Floats
    room: int  # floats in the largest array that a picture needs
    frame: int
    steps: int  # that attention looks at

    def answers(self, images: NDArray[np.uint8]) -> tuple[Floats, Floats]:
        """images: uint8 (n, frame, frame). Returns probabilities (n, 10) and attention (n, steps), rows sum to 1.

        Raises ValueError for anything else.
        """
        if images.dtype != np.uint8 or images.shape[1:] != (self.frame, self.frame):
            raise ValueError(f"images: uint8 (n, {self.frame}, {self.frame}) wanted, not {images.dtype} {images.shape}")
        probabilities = np.empty((len(images), CLASSES), np.float32)
        attention = np.empty((len(images), self.steps), np.float32)
        pixels = np.ascontiguousarray(images)
        _kernel.answers(pixels, self.shape, self.weights, self.room, probabilities, attention)
        return probabilities, attention


def answers(architecture: dict[str, Any]) -> bool:
    """Whether the kernel is there and answers for recognizers of this shape: one reading, swept by a two-way LSTM."""
    return (
        _kernel is not None
        and [reading["kind"] for reading in architecture["readings"]] == ["sweeps"]
        and architecture["cell"] == "lstm"
        and architecture["bidirectional"]
        and not (architecture["highway"] or architecture["topology"] or architecture["remove_background"])
        and len(_sizes(architecture)) <= MOST_LAYERS
        and architecture["frame"] <= MOST_STEPS * architecture["readings"][0]["size"]
    )


def load(path: Path, architecture: dict[str, Any]) -> Kernel:
    """The model in an ONNX file, of a shape that the kernel answers for. Raises ValueError if it is not in there."""
    try:
        return _laid_out(onnx_constants.read(path), architecture)
    except KeyError as error:
        raise ValueError(f"it has no {error.args[0]}") from error


def _laid_out(found: Constants, architecture: dict[str, Any]) -> Kernel:
    reading, frame, sizes = architecture["readings"][0], architecture["frame"], _sizes(architecture)
    size, margin, keys, fc = reading["size"], reading["margin"], architecture["attention_size"], architecture["fc_size"]
    if min(frame, size, *sizes, keys, fc) < 1 or margin < 0:
        raise ValueError("its sizes are not those of a model")
    side, features = -(-frame // size), (size + 2 * margin) ** 2
    parts, room, width = [], side**2 * features, features
    for depth, hidden_size in enumerate(sizes):
        name = f"{READER}.lstm" if depth == 0 else f"{READER}.upper.{depth - 1}"
        parts += _layer(found, name, hidden_size, width, is_first=depth == 0)
        side, width = -(-side // 2) if depth and depth % 2 == 0 else side, WAYS * hidden_size
        room = max(room, side**2 * GATES * _filled(hidden_size))
    parts += _dense(found, f"{READER}.attention.key", keys, width, WAYS)
    parts.append(_fill(_matrix(found, f"{READER}.attention.query.weight", keys), 0))
    parts += _dense(found, f"{READER}.project", fc, width, WAYS) + _dense(found, "head", CLASSES, fc, 1)
    room = max(room, side**2 * _filled(keys), _filled(fc), _filled(CLASSES))
    filled = [*map(_filled, sizes), *(0,) * (MOST_LAYERS - len(sizes))]
    line = found["scale"].item(), found["shift"].item()
    shape = struct.pack(SHAPE, frame, size, margin, len(sizes), _filled(keys), _filled(fc), *filled, *line)
    return Kernel(shape, np.concatenate([part.ravel() for part in parts]), room, frame, side**2)


def _sizes(architecture: dict[str, Any]) -> list[int]:
    """Units of each layer, each way."""
    return [architecture["hidden_size"], *architecture["upper_sizes"]]


def _layer(found: Constants, name: str, hidden_size: int, width: int, is_first: bool) -> list[Floats]:
    """Each way: biases (gates * hidden,), weights of input (width, same) and of states (hidden, same); by EXPONENTS."""
    of_input = _matrix(found, f"{name}.weight_ih", WAYS, GATES, hidden_size, width)
    of_state = _matrix(found, f"{name}.weight_hh", WAYS, GATES, hidden_size, hidden_size)
    bias = _matrix(found, f"{name}.bias", WAYS, GATES, hidden_size)
    of_input = of_input if is_first else _fill(of_input, 3, WAYS)
    rows = EXPONENTS[:, None]
    parts = []
    for way in range(WAYS):
        matrices = (rows[..., None] * each for each in (_fill(of_input[way], 1), _fill(_fill(of_state[way], 1), 2)))
        parts += [rows * _fill(bias[way], 1), *(_packed(each.reshape(-1, each.shape[2]).T) for each in matrices)]
    return parts


def _dense(found: Constants, name: str, outputs: int, inputs: int, ways: int) -> list[Floats]:
    """Bias (outputs,) and weights (inputs, outputs) of a dense layer that reads states of so many ways."""
    weight = _fill(_fill(_matrix(found, f"{name}.weight", outputs, inputs), 0), 1, ways)
    return [_fill(_matrix(found, f"{name}.bias", outputs), 0), _packed(weight.T)]


def _matrix(found: Constants, name: str, *shape: int) -> Floats:
    """A weight of this shape, as it is or widened from INT8. Raises ValueError if it has another."""
    weight: Floats = found[name].astype(np.float32)
    if name + SCALES in found:
        weight *= found[name + SCALES].astype(np.float32)[:, None]
    return weight.reshape(shape)


def _packed(weights: Floats) -> Floats:
    """Of (inputs, outputs), flat: the columns of each tile of lanes.h together."""
    width = VECTORS * LANES
    return np.concatenate([weights[:, at : at + width].ravel() for at in range(0, weights.shape[1], width)])


def _fill(weights: Floats, axis: int, groups: int = 1) -> Floats:
    """Zeros at the end of each of an axis' groups, so that each fills whole vectors."""
    parts = np.split(weights, groups, axis)
    missing = _filled(parts[0].shape[axis]) - parts[0].shape[axis]
    padding = [(0, missing if place == axis else 0) for place in range(weights.ndim)]
    return np.concatenate([np.pad(part, padding) for part in parts], axis)


def _filled(size: int) -> int:
    return -(-size // LANES) * LANES
