"""`make bench-ray-train`: what Ray Train costs one worker, beside the same training without Ray."""

import argparse
import multiprocessing
import os
import statistics
import tempfile
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any
from unittest.mock import patch

import torch
from rich.console import Console
from rich.table import Table
from torch import nn

from benchmarks import real_digits, record
from infra import guard
from infra.ray_head import RayHead
from infra.ray_train import Job, fit_on_ray, save_state
from inkloop.digits import Digits
from inkloop.logs import TrainingLog
from inkloop.model import Recognizer
from inkloop.training import EpochResult, TrainingState, fit
from pipeline import profile

# A job of half a minute, and the default profile's own: digits (None: all) and epochs.
SIZES: dict[str, tuple[int | None, int]] = {"short": (12_000, 3), "whole": (None, 5)}
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
        return fit_on_ray(job, train, validation, Path(folder) / "storage", Path(folder) / "logs", workers=1)


WAYS: dict[str, Callable[[Job, Digits, Digits], Trained]] = {LOOP: alone, KEPT: kept, RAY: on_ray}


def family_cpu_s(mark: str) -> float:
    """Processor time of this process and of all of Ray's, those that have ended too."""
    times = [process.cpu_times() for process in guard.family(guard.MARK, mark)]
    return time.process_time() + sum(
        each.user + each.system + each.children_user + each.children_system for each in times
    )


def one_round(job: Job, train: Digits, validation: Digits, mark: str) -> list[dict[str, Any]]:
    """Train in each way, one after the other. Raises RuntimeError if they come to different weights."""
    rows, models = [], []
    for name, way in WAYS.items():
        started, cpu_started = time.perf_counter(), family_cpu_s(mark)
        model, state = way(job, train, validation)
        models.append(model.state_dict())
        rows.append(
            {
                "way": name,
                "seed": job.seed,
                "epochs_s": sum(epoch.seconds for epoch in state.epochs),
                "epochs_cpu_s": sum(epoch.cpu_seconds for epoch in state.epochs),
                "call_s": time.perf_counter() - started,
                "call_cpu_s": family_cpu_s(mark) - cpu_started,
                "validation_accuracy": state.best_accuracy,
            }
        )
    for other in models[1:]:
        if not all(torch.equal(other[name], value) for name, value in models[0].items()):
            raise RuntimeError(f"seed {job.seed}: the three ways came to different weights")
    return rows


def shown(rows: list[dict[str, Any]], title: str) -> Table:
    """Medians over the rounds, and of the rounds' ratios to the loop alone with their least and most."""
    table = Table("", *WAYS, "Ray / alone", "Ray / with log and checkpoint", title=f"{title} job")
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
    with tempfile.TemporaryDirectory(prefix="ray") as folder, patch.dict(os.environ), guard.guarded() as mark:
        os.environ.pop("RAY_ADDRESS", None)
        head = RayHead()
        with patch.dict(os.environ, mark):
            head.start(Path(folder))
        head.wait()
        # Ray's token is read where Ray is imported: by a process that starts now.
        with multiprocessing.get_context("spawn").Pool(1, torch.set_num_threads, (1,)) as fresh:
            for number in range(rounds):
                seeded = replace(job, seed=job.seed + number)
                rows += fresh.apply(one_round, (seeded, train, validation, mark[guard.MARK]))
                Console().print(rows[-len(WAYS) :])
    return rows


def main() -> None:
    """Measure with the default profile's teacher, print the table, keep the rows."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=4, help="of the short job")
    parser.add_argument("--whole-rounds", type=int, default=1, help="of the default profile's own")
    options = parser.parse_args()
    torch.set_num_threads(1)
    chosen = profile.load("default")
    train, validation = real_digits.split("train"), real_digits.split("validation")
    rows: list[dict[str, Any]] = []
    for (size, (images, epochs)), rounds in zip(SIZES.items(), (options.rounds, options.whole_rounds), strict=True):
        training = chosen.teacher.training.model_copy(update={"epochs": epochs})
        job = Job(chosen.teacher.model, training, chosen.augmentation, chosen.seed)
        found = measure(job, train.take(slice(0, images)), validation, rounds)
        rows += [{"job": size, **row} for row in found]
        record.keep("ray_train", rows)
        if found:
            Console().print(shown(found, size))


if __name__ == "__main__":
    main()
