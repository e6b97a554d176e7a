"""One net in every engine at hand, on one thread, in one run: what an answer costs, and the arithmetic's own floor.

`.venv/bin/python -m benchmarks.compress.engines benchmarks/models/tiny` prints it of a model directory.
"""

import statistics
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import torch
from numpy.typing import NDArray
from torch import nn
from torch.ao.quantization import quantize_dynamic

from benchmarks import real_digits
from benchmarks.rivals.dynamic_lstm import with_dynamic_lstms
from inkloop import artifacts, checkpoint, kernel
from inkloop.formats import onnx_runtime, openvino_ir, own_kernel
from inkloop.formats.answers import FromPixels, of_torch
from inkloop.formats.equality import Timing, timed_round
from inkloop.macs import count_macs
from inkloop.model import Recognizer
from inkloop.runtime import Answers

ROUNDS = 5
TIMING = Timing(rounds=1, calls=400, batches=20)
SIDE = 1536  # of the square matrices whose product shows the core's peak


@contextmanager
def engines_of(folder: Path) -> Iterator[dict[str, Answers]]:
    """A model directory in every engine, by name; the last are of the same model in INT8."""
    model = checkpoint.load(folder).eval()
    with tempfile.TemporaryDirectory() as scratch:
        exact, rounded, dynamic, other = (Path(scratch) / name for name in ("exact", "rounded", "dynamic", "other"))
        for place in (exact, rounded, dynamic, other):
            place.mkdir()
        rounded_onnx = onnx_runtime.write(model, rounded, int8=True)
        onnx.save(with_dynamic_lstms(onnx.load(rounded_onnx)), dynamic / artifacts.ONNX_NAME)
        by_torch = FromPixels(model)
        found = {
            "torch, eager": of_torch(by_torch),
            "torch, quantize_dynamic": of_torch(quantize_dynamic(by_torch, {nn.LSTM, nn.Linear}, torch.qint8)),
            "ONNX Runtime, fp32": onnx_runtime.load(onnx_runtime.write(model, exact)),
            "ONNX Runtime, INT8 widened": onnx_runtime.load(rounded_onnx),
            "ONNX Runtime, DynamicQuantizeLSTM": onnx_runtime.load(dynamic / artifacts.ONNX_NAME),
        }
        if find_spec("openvino") is not None:
            found["OpenVINO, fp32"] = openvino_ir.load(openvino_ir.write(model, other))
        if kernel.answers(model.settings.model_dump(mode="json")):
            found["the kernel, INT8 widened"] = own_kernel.load(own_kernel.write(model, rounded))
        yield found


def measured(folder: Path, images: NDArray[np.uint8]) -> list[dict[str, Any]]:
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
                p50_us, images_per_s = timed_round(engines[row["engine"]], images, TIMING)
                row["single_us"].append(p50_us)
                row["batch_us"].append(1e6 / images_per_s)
    return rows


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
