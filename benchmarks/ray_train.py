"""`make bench-ray-train`: what Ray Train costs one worker, beside the same training without Ray."""

import argparse
import statistics
import tempfile
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from rich.console import Console
from rich.table import Table
from torch import nn

from benchmarks import real_digits, record
from benchmarks.family_cpu import FamilyCpu
from benchmarks.one_ray import process_on_ray
from infra.ray_train import Job, fit_on_ray
from inkloop.checkpoint import save_state
from inkloop.digits import Digits
from inkloop.logs import TrainingLog
from inkloop.model import Recognizer
from inkloop.training import EpochResult, TrainingState, fit
from pipeline import profile

LOOP, KEPT, RAY = "the loop alone", "with log and checkpoint", "on Ray Train"
PARTS = {
    "epochs_s": "its epochs, s",
    "epochs_cpu_s": "its epochs, s of the processor",
    "call_s": "the whole call, s",
    "call_cpu_s": "the whole call, s of the processor, all processes",
}
Trained = tuple[Recognizer, TrainingState]


def alone(job: Job, train: Digits, validation: Digits) -> Trained:
    """The loop in this process, and nothing else."""
    torch.manual_seed(job.seed)
    model = Recognizer(job.model)
    return model, fit(model, train, validation, job.training, job.augmentation, job.seed)


def kept(job: Job, train: Digits, validation: Digits) -> Trained:
    """The loop in this process, which keeps after each epoch what a worker on Ray keeps."""
    torch.manual_seed(job.seed)
    model = Recognizer(job.model)
    with tempfile.TemporaryDirectory() as folder:
        log = TrainingLog(Path(folder), validation)

        def keep(model: nn.Module, result: EpochResult, state: TrainingState) -> None:
            log.write(model, result, state)
            save_state(state, Path(folder))

        return model, fit(model, train, validation, job.training, job.augmentation, job.seed, on_epoch=keep)


def on_ray(job: Job, train: Digits, validation: Digits) -> Trained:
    """As the pipeline's step trains, with one worker, on the Ray at `RAY_ADDRESS`."""
    with tempfile.TemporaryDirectory() as folder:
        return fit_on_ray(job, train, validation, f"{folder}/storage", Path(folder) / "logs", workers=1)


WAYS: dict[str, Callable[[Job, Digits, Digits], Trained]] = {LOOP: alone, KEPT: kept, RAY: on_ray}


def one_round(job: Job, train: Digits, validation: Digits, mark: str) -> list[dict[str, Any]]:
    """Train in each way, one after the other. Raises RuntimeError if they come to different weights."""
    rows, models = [], []
    for name, way in WAYS.items():
        started = time.perf_counter()
        with FamilyCpu(mark) as cpu:
            model, state = way(job, train, validation)
        rows.append(
            {
                "way": name,
                "seed": job.seed,
                "digits": len(train),
                "epochs": len(state.epochs),
                "epochs_s": sum(epoch.seconds for epoch in state.epochs),
                "epochs_cpu_s": sum(epoch.cpu_seconds for epoch in state.epochs),
                "call_s": time.perf_counter() - started,
                "call_cpu_s": cpu.seconds,
                "validation_accuracy": state.best_accuracy,
            }
        )
        models.append(model.state_dict())
    for other in models[1:]:
        if not all(torch.equal(other[name], value) for name, value in models[0].items()):
            raise RuntimeError(f"seed {job.seed}: the three ways came to different weights")
    return rows


def shown(rows: list[dict[str, Any]]) -> Table:
    """Medians over the rounds, and of the rounds' ratios to the loop alone with their least and most."""
    table = Table("", *WAYS, "Ray / alone", "Ray / with log and checkpoint")
    for part, said in PARTS.items():
        values = {name: [row[part] for row in rows if row["way"] == name] for name in WAYS}
        ratios = [
            sorted(ray / other for ray, other in zip(values[RAY], values[way], strict=True)) for way in (LOOP, KEPT)
        ]
        medians = [f"{statistics.median(value):.1f}" for value in values.values()]
        spread = [f"{statistics.median(ratio):.3f} ({ratio[0]:.3f}-{ratio[-1]:.3f})" for ratio in ratios]
        table.add_row(said, *medians, *spread)
    return table


def measure(job: Job, train: Digits, validation: Digits, rounds: int) -> list[dict[str, Any]]:
    """The rounds, each with another seed, in a process beside one Ray that has started before, as a run's steps are."""
    rows: list[dict[str, Any]] = []
    with process_on_ray() as (fresh, mark):
        for number in range(rounds):
            seeded = replace(job, seed=job.seed + number)
            rows += fresh.apply(one_round, (seeded, train, validation, mark))
            Console().print(rows[-len(WAYS) :])
    return rows


def main() -> None:
    """Measure with the default profile's teacher, print the table, keep the rows."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--images", type=int, default=12_000)
    parser.add_argument("--epochs", type=int, default=3)
    options = parser.parse_args()
    torch.set_num_threads(1)
    chosen = profile.load("default")
    training = chosen.teacher.training.model_copy(update={"epochs": options.epochs})
    job = Job(chosen.teacher.model, training, chosen.augmentation, chosen.seed)
    train = real_digits.split("train").take(slice(0, options.images))
    rows = measure(job, train, real_digits.split("validation"), options.rounds)
    record.keep("ray_train", rows)
    Console().print(shown(rows))


if __name__ == "__main__":
    main()
