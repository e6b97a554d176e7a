"""`make bench-scaling`: what an epoch costs on Ray by the number of images and of workers, and what a worker holds."""

import argparse
import tempfile
import threading
import time
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import numpy as np
import psutil
import torch
from rich.console import Console
from rich.table import Table

from benchmarks import real_digits, record
from benchmarks.one_ray import process_on_ray
from infra import guard
from infra.ray_train import Job, fit_on_ray
from inkloop.digits import Digits
from inkloop.model import ModelSettings
from inkloop.readings import Reading
from inkloop.training import TrainingSettings

BLOCK = 20_000  # digits, as a shard of a table has
# (workers, repeats of 60,000 real digits): linearity by the first six, memory by those of a million images and more.
POINTS = ((1, 1), (1, 4), (1, 16), (2, 1), (2, 4), (2, 16), (1, 20), (1, 40))
MODEL = ModelSettings(readings=(Reading(kind="rows", size=4),), hidden_size=8, attention_size=8, fc_size=16)
JOB = Job(MODEL, TrainingSettings(epochs=1, batch_size=512), None, seed=0)
INTERVAL_S = 0.2
MB = 1e6


@dataclass(frozen=True)
class Repeats:
    """The digits again and again, block by block: `inkloop.batches.Blocks`."""

    digits: Digits
    repeats: int

    @property
    def sizes(self) -> tuple[int, ...]:
        return (BLOCK,) * (len(self.digits) // BLOCK * self.repeats)

    def read(self, number: int) -> Digits:
        start = number * BLOCK % len(self.digits)
        return self.digits.take(slice(start, start + BLOCK))


class WorkerMemory:
    """The most that any of Ray's workers held in a block: `own_mb` of itself alone, `all_mb` with what it shares."""

    def __init__(self, mark: str) -> None:
        self.own_mb = self.all_mb = 0.0
        self._mark, self._over = mark, threading.Event()
        self._watcher = threading.Thread(target=self._watch)

    def _watch(self) -> None:
        while not self._over.wait(INTERVAL_S):
            for process in guard.family(guard.MARK, self._mark):
                with suppress(psutil.NoSuchProcess):  # it has ended since
                    if "RayTrainWorker" in "".join(process.cmdline()):
                        held = process.memory_full_info()
                        self.own_mb, self.all_mb = max(self.own_mb, held.uss / MB), max(self.all_mb, held.rss / MB)

    def __enter__(self) -> Self:
        self._watcher.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._over.set()
        self._watcher.join()


def one_epoch(train: Repeats, validation: Digits, workers: int, mark: str) -> dict[str, Any]:
    """Train for one epoch as the pipeline's step does; what it cost."""
    started = time.perf_counter()
    with tempfile.TemporaryDirectory() as folder, WorkerMemory(mark) as memory:
        _, state = fit_on_ray(JOB, train, validation, f"{folder}/storage", Path(folder) / "logs", workers)
    return {
        "workers": workers,
        "images": sum(train.sizes),
        "epoch_s": state.epochs[0].seconds,
        "epoch_cpu_s": state.epochs[0].cpu_seconds * workers,  # the first one's; all do the same
        "call_s": time.perf_counter() - started,
        "worker_own_mb": memory.own_mb,
        "worker_all_mb": memory.all_mb,
    }


def measure(train: Digits, validation: Digits, points: tuple[tuple[int, int], ...]) -> list[dict[str, Any]]:
    """The points one after the other, on one Ray that has started before."""
    rows: list[dict[str, Any]] = []
    with process_on_ray() as (fresh, mark):
        for workers, repeats in points:
            rows.append(fresh.apply(one_epoch, (Repeats(train, repeats), validation, workers, mark)))
            Console().print(rows[-1])
    return rows


def line_of(rows: list[dict[str, Any]]) -> tuple[float, float, float]:
    """The line through the processor times: seconds at no images, seconds an image, and the largest error, as a share.

    Least squares of the errors as shares of what was measured.
    """
    images = np.array([row["images"] for row in rows], float)
    seconds = np.array([row["epoch_cpu_s"] for row in rows])
    terms = np.stack([np.ones_like(images), images], 1)
    start, each = np.linalg.lstsq(terms / seconds[:, None], np.ones_like(seconds), rcond=None)[0]
    return float(start), float(each), float(np.abs((start + each * images) / seconds - 1).max())


def shown(rows: list[dict[str, Any]]) -> Table:
    """The points, with what an image costs."""
    table = Table(
        "workers", "images", "epoch, s", "s of the processor", "µs an image", "worker's own MB", "with shared"
    )
    for row in rows:
        each = row["epoch_cpu_s"] / row["images"] * 1e6
        cells = (row["epoch_s"], row["epoch_cpu_s"], each, row["worker_own_mb"], row["worker_all_mb"])
        table.add_row(str(row["workers"]), f"{row['images']:,}", *(f"{cell:,.1f}" for cell in cells))
    return table


def main() -> None:
    """Measure, print the table and the lines, keep the rows."""
    argparse.ArgumentParser(description=__doc__).parse_args()
    torch.set_num_threads(1)
    train = real_digits.split("train")
    # 60,000 are the training files of MNIST; what validates in a run is put back for the count.
    whole = Digits(np.resize(train.images, (60_000, 28, 28)), np.resize(train.labels, 60_000), ())
    rows = measure(whole, real_digits.split("validation").take(slice(0, 1000)), POINTS)
    record.keep("scaling", rows)
    Console().print(shown(rows))
    for workers in (1, 2):
        start, each, worst = line_of([row for row in rows if row["workers"] == workers])
        Console().print(f"{workers}: {start:.2f} s + {each * 1e6:.1f} µs an image, off by {worst:.1%} at most")


if __name__ == "__main__":
    main()
