"""The runtime: answers from a model directory by the kernel or ONNX Runtime, without torch."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnxruntime
from numpy.typing import NDArray

from inkloop import artifacts, kernel

ATTENTION_PREFIX = "attention_"

# Probabilities float32 (n, 10), and attention by reading, float32 (n, steps).
Explained = tuple[NDArray[np.float32], dict[str, NDArray[np.float32]]]
Explains = Callable[[NDArray[np.uint8], bool], Explained]  # pictures, with attention or not
# From uint8 (n, frame, frame), white ink on black, to float32 (n, 10), whose rows sum to 1.
Answers = Callable[[NDArray[np.uint8]], NDArray[np.float32]]
BATCH_SIZE = 64

onnxruntime.disable_telemetry_events()


def session(folder: Path) -> onnxruntime.InferenceSession:
    """The ONNX model of a model directory, on one thread. Raises UserError if it is not readable."""
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    options.log_severity_level = 3
    # Weights in INT8 are widened once, when the model is loaded, not kept for operators that take them as they are.
    options.add_session_config_entry("session.disable_quant_qdq", "1")
    path = folder / artifacts.ONNX_NAME
    try:
        return onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
    except Exception as error:  # ONNX Runtime's own errors share no other base
        raise artifacts.unreadable(path, error) from error


def probabilities_of(answers: Answers, images: NDArray[np.uint8], batch_size: int = BATCH_SIZE) -> NDArray[np.float32]:
    """The answers to all images (n, frame, frame), at least one, asked in batches: (n, 10)."""
    return np.concatenate([answers(images[at : at + batch_size]) for at in range(0, len(images), batch_size)])


class Recognizer:
    """A loaded model: one thread, safe to call from several threads."""

    def __init__(self, folder: Path, use_kernel: bool = True) -> None:
        """Load the model directory. Raises UserError if the folder holds no whole model.

        use_kernel: where it knows the model's shape; it answers as ONNX Runtime does, faster.
        """
        self.info = artifacts.info(folder)
        self.digest = artifacts.digest(folder)
        self.by_kernel = use_kernel and kernel.answers(self.info.architecture)
        self._explain = _by_kernel(folder, self.info) if self.by_kernel else _by_session(session(folder))

    @property
    def version(self) -> str:
        """The start of the model directory's digest."""
        return self.digest[:12]

    def probabilities(self, images: NDArray[np.uint8]) -> NDArray[np.float32]:
        """images: uint8 (n, 28, 28), white ink on black. Returns float32 (n, 10), rows sum to 1."""
        return self._explain(images, False)[0]

    def explained(self, images: NDArray[np.uint8]) -> Explained:
        """The probabilities, and where each reading looked: by its name, float32 (n, steps), rows sum to 1."""
        return self._explain(images, True)


def _by_kernel(folder: Path, info: artifacts.ModelInfo) -> Explains:
    path, reading = folder / artifacts.ONNX_NAME, info.architecture["readings"][0]
    try:
        model = kernel.load(path, info.architecture)
    except ValueError as error:
        raise artifacts.unreadable(path, error) from error

    def answers(images: NDArray[np.uint8], with_attention: bool) -> Explained:
        probabilities, attention = model.answers(images)
        return probabilities, {f"{reading['kind']}{reading['size']}": attention}

    return answers


def _by_session(loaded: onnxruntime.InferenceSession) -> Explains:
    names = [each.name for each in loaded.get_outputs() if each.name.startswith(ATTENTION_PREFIX)]

    def answers(images: NDArray[np.uint8], with_attention: bool) -> Explained:
        wanted = names if with_attention else []
        probabilities, *weights = loaded.run(["probabilities", *wanted], {"images": images})
        return probabilities, {
            name.removeprefix(ATTENTION_PREFIX): each for name, each in zip(wanted, weights, strict=True)
        }

    return answers
