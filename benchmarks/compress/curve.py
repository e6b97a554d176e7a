"""The curve of pruning: how many units of the small model may go, against accuracy, size, arithmetic and time."""

from pathlib import Path
from typing import Any

import numpy as np
from rich.console import Console

from benchmarks.compress.students import FOLDER, SMALL, Data, said_of, told
from inkloop import artifacts, checkpoint, pruning
from inkloop.evaluation import latency_us
from inkloop.macs import count_macs
from inkloop.runtime import Recognizer as Runtime
from pipeline.profile import Profile

CALLS = 400  # of one picture
SHARES = (0.0, 0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8)


def of_seed(data: Data, profile: Profile, seed: int, console: Console) -> list[dict[str, Any]]:
    """Each share of the small model's units cut, and recovered as the profile does; figures in INT8."""
    rows = []
    for share in SHARES:
        folder = FOLDER / f"pruned-{share:g}-{seed}"
        if not (folder / artifacts.INFO_NAME).is_file():
            name, settings = f"pruned by {share:.0%}", profile.pruning.model_copy(update={"share": share})
            parts = (data.train, data.validation, profile.augmentation, settings, seed)
            student = checkpoint.load(SMALL)
            model, state = pruning.prune(data.soft_labels, student, *parts, on_epoch=told(name, console))
            checkpoint.save(model, folder, "int8", {"validation_accuracy": state.best_accuracy}, {})
        rows.append({"part": "pruning", "seed": seed, "share": share} | measured(folder, data))
    return rows


def measured(folder: Path, data: Data) -> dict[str, Any]:
    """A pruned model's figures, and its time in ONNX Runtime and by the kernel where that answers."""
    model = checkpoint.load(folder)

    def p50_us(runtime: Runtime) -> float:
        return float(np.median(latency_us(runtime.probabilities, data.test.images, CALLS)))

    found = {
        "test_accuracy": float((said_of(model, data.test) == data.test.labels).mean()),
        "validation_accuracy": artifacts.info(folder).metrics["validation_accuracy"],
        "parameters": artifacts.info(folder).parameters,
        "size_bytes": artifacts.info(folder).size_bytes,
        "macs": count_macs(model),
        "onnxruntime_us": p50_us(Runtime(folder, use_kernel=False)),
    }
    runtime = Runtime(folder)
    return found | ({"kernel_us": p50_us(runtime)} if runtime.by_kernel else {})
