"""ONNX, answered by ONNX Runtime."""

from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from inkloop import artifacts, runtime
from inkloop.export import export
from inkloop.model import Recognizer
from inkloop.runtime import Answers


def write(model: Recognizer, folder: Path, int8: bool = False) -> Path:
    """Write `model.onnx`; see `export.build`."""
    export(model, path := folder / artifacts.ONNX_NAME, int8)
    return path


def load(path: Path) -> Answers:
    """What answers by the file, on one thread."""
    session = runtime.session(path.parent)

    def answers(images: NDArray[np.uint8]) -> NDArray[np.float32]:
        probabilities: NDArray[np.float32] = session.run(["probabilities"], {"images": images})[0]
        return probabilities

    return answers
