"""`make bench-recognizer`: what each setting of a small recognizer costs, its controls, topology and checkpointing."""

import multiprocessing
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn

from benchmarks import real_digits, record
from inkloop import idx
from inkloop.augmentation import AugmentationSettings, deform
from inkloop.control import Control, ControlSettings
from inkloop.evaluation import latency_us
from inkloop.formats import onnx_runtime
from inkloop.losses import LossSettings, classification_loss
from inkloop.macs import count_macs
from inkloop.model import ModelSettings, Recognizer, count_parameters, normalize
from inkloop.topology import topology

SHAPE = ModelSettings(hidden_size=40, attention_size=16, fc_size=40, dropout=0.0)
SHAPES: dict[str, dict[str, Any]] = {
    "as it is": {},
    "bidirectional: false": {"bidirectional": False},
    "cell: gru": {"cell": "gru"},
    "cell: rnn": {"cell": "rnn"},
    "attention_size: 0": {"attention_size": 0},
    "upper_sizes: [20]": {"upper_sizes": (20,)},
    "highway: true": {"highway": True},
    "topology: true": {"topology": True},
}
BATCH_SIZE = 256
ROUNDS, TIMES = 4, 5
CALLS = 1000
LONG = (128, 28, 280)  # a batch of pictures ten digits wide


def cpu_ms(task: Callable[[], object]) -> float:
    """Least CPU time of a few, after a first that does not count: others on the machine only add."""
    task()
    took = []
    for _ in range(TIMES):
        started = time.process_time()
        task()
        took.append(1000 * (time.process_time() - started))
    return min(took)


def training_step(model: nn.Module, pixels: torch.Tensor, labels: torch.Tensor) -> Callable[[], None]:
    """A training step: deformation, both passes, the optimizer."""
    optimizer = torch.optim.AdamW(model.parameters(), fused=True)
    random = torch.Generator().manual_seed(0)

    def step() -> None:
        optimizer.zero_grad()
        images = normalize(deform(pixels, AugmentationSettings(), random))
        classification_loss(model(images).logits, labels, LossSettings()).backward()
        optimizer.step()

    return step


def exported(model: Recognizer, images: np.ndarray, int8: bool) -> dict[str, float]:
    """Size of the ONNX file and p50 of one picture on one thread of ONNX Runtime."""
    kind = "int8" if int8 else "fp32"
    with tempfile.TemporaryDirectory() as folder:
        path = onnx_runtime.write(model.eval(), Path(folder), int8)
        size_bytes, answers = path.stat().st_size, onnx_runtime.load(path)
    return {f"{kind}_bytes": size_bytes, f"{kind}_p50_us": float(np.median(latency_us(answers, images, CALLS)))}


def memory_mb(kind: str) -> float:
    """Of this process: now (`VmRSS`) or at most (`VmHWM`)."""
    status = Path("/proc/self/status").read_text()
    return int(status.split(f"{kind}:")[1].split()[0]) / 1024


def long_step(checkpointing: bool, upper_sizes: tuple[int, ...]) -> dict[str, Any]:
    """Memory over what the process had, and CPU time, of the passes over a batch of long pictures."""
    torch.set_num_threads(1)
    model, images = Recognizer(ModelSettings(upper_sizes=upper_sizes)), torch.randn(LONG)
    before, started = memory_mb("VmRSS"), time.process_time()
    model(images, checkpointing).logits.sum().backward()
    cpu_s, peak_mb = time.process_time() - started, memory_mb("VmHWM") - before
    return {"checkpointing": checkpointing, "upper_sizes": upper_sizes, "peak_mb": peak_mb, "cpu_s": cpu_s}


def main() -> None:
    """Measure and keep `benchmarks/results/recognizer.json`."""
    torch.set_num_threads(1)
    images, labels = (
        torch.tensor(idx.read(real_digits.folder() / f"t10k-{kind}-ubyte")) for kind in ("images-idx3", "labels-idx1")
    )
    models: dict[str, nn.Module] = {
        name: Recognizer(SHAPE.model_copy(update=changes)) for name, changes in SHAPES.items()
    }
    whole = Recognizer(SHAPE)
    models["CNN of its parameters"] = Control(ControlSettings(parameters=count_parameters(whole)))
    models["CNN of its MACs"] = Control(ControlSettings(macs=count_macs(whole)))
    steps = {
        name: training_step(model, images[:BATCH_SIZE].float(), labels[:BATCH_SIZE].long())
        for name, model in models.items()
    }
    rounds = [{name: cpu_ms(step) for name, step in steps.items()} for _ in range(ROUNDS)]
    rows: list[dict[str, Any]] = []
    for name, model in models.items():
        row = {"shape": name, "parameters": count_parameters(model), "macs": count_macs(model)}
        row |= {"step_ms": min(each[name] for each in rounds)}
        if isinstance(model, Recognizer):
            row |= exported(model, images.numpy(), int8=False) | exported(model, images.numpy(), int8=True)
        rows.append(row)
    pictures = normalize(images)
    for count in (1, 128, 256, 1000, 10_000):
        ms = cpu_ms(lambda count=count: topology(pictures[:count]))
        rows.append({"topology_of": count, "ms": ms, "pictures_a_second": 1000 * count / ms})
    with multiprocessing.get_context("spawn").Pool(1, maxtasksperchild=1) as fresh:
        cases = [(checkpointing, upper) for upper in ((), (64,)) for checkpointing in (False, True)]
        rows += fresh.starmap(long_step, cases, chunksize=1)
    print(*rows, sep="\n")
    record.keep("recognizer", rows)


if __name__ == "__main__":
    main()
