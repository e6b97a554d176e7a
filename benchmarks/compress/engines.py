"""One net in every engine at hand, on one thread, in one run: what an answer costs, and the arithmetic's own floor.

`.venv/bin/python -m benchmarks.compress.engines benchmarks/models/tiny` prints it of a model directory.
"""

import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
import torch
from numpy.typing import NDArray
from torch import nn
from torch.ao.quantization import quantize_dynamic

from benchmarks import real_digits
from benchmarks.rivals.dynamic_lstm import with_dynamic_lstms
from inkloop import artifacts, checkpoint, kernel
from inkloop.macs import count_macs
from inkloop.model import Recognizer, normalize
from inkloop.runtime import Recognizer as Runtime
from inkloop.runtime import session

Images = NDArray[np.uint8]
Engine = Callable[[Images], NDArray[np.float32]]  # pictures (n, 28, 28) to probabilities (n, 10)
ROUNDS, CALLS, BATCH_SIZE = 5, 400, 64
SIDE = 1536  # of the square matrices whose product shows the core's peak


@contextmanager
def engines_of(folder: Path) -> Iterator[dict[str, Engine]]:
    """A model directory in every engine, by name; the last are of the same model in INT8."""
    model = checkpoint.load(folder).eval()
    with tempfile.TemporaryDirectory() as scratch:
        exact, rounded = Path(scratch) / "exact", Path(scratch) / "rounded"
        checkpoint.save(model, exact, "student", {}, {})
        checkpoint.save(model, rounded, "int8", {}, {})
        found = {
            "torch, eager": by_torch(model),
            "torch, quantize_dynamic": by_torch(quantize_dynamic(model, {nn.LSTM, nn.Linear}, torch.qint8)),
            "ONNX Runtime, fp32": by_session(session(exact)),
            "ONNX Runtime, INT8 widened": by_session(session(rounded)),
            "ONNX Runtime, DynamicQuantizeLSTM": by_session(dynamic(rounded)),
        }
        if find_spec("openvino") is not None:
            found["OpenVINO, fp32"] = by_openvino(exact)
        if kernel.answers(artifacts.info(rounded).architecture):
            found["the kernel, INT8 widened"] = Runtime(rounded).probabilities
        yield found


def by_torch(model: nn.Module) -> Engine:
    """Torch, as training has it."""

    def answer(images: Images) -> NDArray[np.float32]:
        with torch.inference_mode():
            probabilities: NDArray[np.float32] = model(normalize(torch.from_numpy(images))).logits.softmax(1).numpy()
        return probabilities

    return answer


def by_session(loaded: onnxruntime.InferenceSession) -> Engine:
    """ONNX Runtime."""
    return lambda images: loaded.run(["probabilities"], {"images": images})[0]


def dynamic(folder: Path) -> onnxruntime.InferenceSession:
    """An INT8 model directory with ONNX Runtime's own INT8 LSTMs."""
    with tempfile.TemporaryDirectory() as scratch:
        onnx.save(with_dynamic_lstms(onnx.load(folder / artifacts.ONNX_NAME)), Path(scratch) / artifacts.ONNX_NAME)
        return session(Path(scratch))


def by_openvino(folder: Path) -> Engine:
    """OpenVINO, on one thread, for latency."""
    import openvino

    hints = {"PERFORMANCE_HINT": "LATENCY", "INFERENCE_NUM_THREADS": 1}
    compiled = openvino.Core().compile_model(folder / artifacts.ONNX_NAME, "CPU", hints)
    return lambda images: compiled([images])["probabilities"]


def measured(folder: Path, images: Images) -> list[dict[str, Any]]:
    """Each engine's row: microseconds an image, one by one (p50) and in batches; and how it answers beside torch."""
    rows: list[dict[str, Any]] = []
    with engines_of(folder) as engines:
        expected = engines["torch, eager"](images)
        for name, engine in engines.items():
            found = engine(images)
            rows.append(
                {
                    "engine": name,
                    "furthest": float(np.abs(found - expected).max()),
                    "equal": float((found.argmax(1) == expected.argmax(1)).mean()),
                    "single_us": [],
                    "batch_us": [],
                }
            )
        for _ in range(ROUNDS):  # in turn, so that what else the machine does meets them alike
            for row in rows:
                row["single_us"].append(single_us(engines[row["engine"]], images))
                row["batch_us"].append(batch_us(engines[row["engine"]], images))
    return rows


def single_us(engine: Engine, images: Images) -> float:
    """Median time of one image."""
    took = []
    for call in range(CALLS):
        image = images[call % len(images)][None]
        started = time.perf_counter()
        engine(image)
        took.append(time.perf_counter() - started)
    return 1e6 * statistics.median(took)


def batch_us(engine: Engine, images: Images) -> float:
    """Median time of an image in batches."""
    took = []
    for start in range(0, BATCH_SIZE * 20, BATCH_SIZE):
        batch = images[start : start + BATCH_SIZE]
        started = time.perf_counter()
        engine(batch)
        took.append((time.perf_counter() - started) / len(batch))
    return 1e6 * statistics.median(took)


def peak_macs() -> float:
    """Multiply-accumulates a second of one core in fp32: the best of several products of large matrices."""
    one, other = torch.randn(SIDE, SIDE), torch.randn(SIDE, SIDE)
    took = []
    for _ in range(5):
        started = time.perf_counter()
        torch.mm(one, other)
        took.append(time.perf_counter() - started)
    return SIDE**3 / min(took)


def floor_us(model: Recognizer) -> float:
    """What its multiply-accumulates would take at the core's peak, were there nothing else to do."""
    return 1e6 * count_macs(model) / peak_macs()


def main() -> None:
    """Print what a model directory costs in each engine."""
    torch.set_num_threads(1)
    folder = Path(sys.argv[1])
    for row in measured(folder, real_digits.split("test").images):
        single, batch = statistics.median(row["single_us"]), statistics.median(row["batch_us"])
        print(f"{row['engine']}: one {single:.1f} us, in batches {batch:.1f} us, {row['equal']:.2%} equal answers")
    print(f"the arithmetic alone: {floor_us(checkpoint.load(folder)):.1f} us")


if __name__ == "__main__":
    main()
