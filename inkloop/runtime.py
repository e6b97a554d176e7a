"""The runtime: answers from a model directory with ONNX Runtime, without torch."""

from pathlib import Path

import numpy as np
import onnxruntime
from numpy.typing import NDArray

from inkloop import artifacts

ATTENTION_PREFIX = "attention_"

onnxruntime.disable_telemetry_events()


def session(folder: Path) -> onnxruntime.InferenceSession:
    """The ONNX model of a model directory, on one thread. Raises UserError if it is not readable."""
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    options.log_severity_level = 3
    path = folder / artifacts.ONNX_NAME
    try:
        return onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
    except Exception as error:  # ONNX Runtime's own errors share no other base
        raise artifacts.unreadable(path, error) from error


class Recognizer:
    """A loaded model: one session, one thread, safe to call from several threads."""

    def __init__(self, folder: Path) -> None:
        """Load the model directory. Raises UserError if the folder holds no whole model."""
        self.info = artifacts.info(folder)
        self.digest = artifacts.digest(folder)
        self._session = session(folder)
        self._attention = [o.name for o in self._session.get_outputs() if o.name.startswith(ATTENTION_PREFIX)]

    @property
    def version(self) -> str:
        """The start of the model directory's digest."""
        return self.digest[:12]

    def probabilities(self, images: NDArray[np.uint8]) -> NDArray[np.float32]:
        """images: uint8 (n, 28, 28), white ink on black. Returns float32 (n, 10), rows sum to 1."""
        answer: NDArray[np.float32] = self._session.run(["probabilities"], {"images": images})[0]
        return answer

    def explained(self, images: NDArray[np.uint8]) -> tuple[NDArray[np.float32], dict[str, NDArray[np.float32]]]:
        """The probabilities, and where each reading looked: by its name, float32 (n, steps), rows sum to 1."""
        answer, *weights = self._session.run(["probabilities", *self._attention], {"images": images})
        names = (name.removeprefix(ATTENTION_PREFIX) for name in self._attention)
        return answer, dict(zip(names, weights, strict=True))
