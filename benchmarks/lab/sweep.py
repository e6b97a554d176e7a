"""The sweep: trials that are not kept yet, on Ray Tune; stopped at any point, it goes on where it was."""

import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from ray import tune
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn

from benchmarks.lab import trial
from benchmarks.lab.trial import Scale, Trial
from benchmarks.lab.variants import Variant
from infra.ray_session import ray_session
from inkloop.digits import Digits

Packed = tuple[Any, Any, tuple[str, ...]]


def sweep(
    variants: Sequence[Variant],
    seeds: Sequence[int],
    scale: Scale,
    digits: dict[str, Digits],
    folder: Path,
    console: Console,
) -> list[Trial]:
    """Run each variant with each seed, unless it is kept in the folder; returns all of them.

    digits: `train`, `validation`, and the test sets by name. Raises RuntimeError if a trial failed.
    """
    wanted = [(variant, seed) for seed in seeds for variant in variants]
    known = trial.kept(folder)
    missing = [(variant, seed) for variant, seed in wanted if trial.digest_of(variant, seed, scale) not in known]
    if missing:
        _run(missing, scale, digits, folder, console)
        known = trial.kept(folder)
    return [known[trial.digest_of(variant, seed, scale)] for variant, seed in wanted]


def _run(
    missing: Sequence[tuple[Variant, int]], scale: Scale, digits: dict[str, Digits], folder: Path, console: Console
) -> None:
    packed = {name: (part.images, part.labels, part.ids) for name, part in digits.items()}
    with ray_session(), _shown(folder, len(missing), console):
        trainable = tune.with_parameters(_trial, missing=list(missing), scale=scale, packed=packed, folder=folder)
        results = tune.Tuner(
            tune.with_resources(trainable, {"cpu": 1}),
            param_space={"place": tune.grid_search(list(range(len(missing))))},
            tune_config=tune.TuneConfig(reuse_actors=True),
            run_config=tune.RunConfig(name="lab", storage_path=str(folder.parent.resolve()), verbose=0),
        ).fit()
    if results.errors:
        raise RuntimeError(f"{len(results.errors)} of {len(missing)} trials failed: {results.errors[0]}")


@contextmanager
def _shown(folder: Path, total: int, console: Console) -> Iterator[None]:
    """Show how many trials the folder has got meanwhile: Ray Tune pickles its callbacks, and a terminal cannot be."""
    bars = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
    before, is_over = len(list(folder.glob("*.json"))), threading.Event()
    with Progress(*bars, TextColumn("to go"), TimeRemainingColumn(), console=console) as progress:
        task = progress.add_task("trials", total=total)

        def count() -> None:
            while not is_over.wait(1):
                progress.update(task, completed=len(list(folder.glob("*.json"))) - before)

        counting = threading.Thread(target=count)
        counting.start()
        try:
            yield
        finally:
            is_over.set()
            counting.join()


def _trial(
    config: dict[str, Any],
    missing: list[tuple[Variant, int]],
    scale: Scale,
    packed: dict[str, Packed],
    folder: Path,
) -> None:
    variant, seed = missing[config["place"]]
    digits = {name: Digits(images.copy(), labels.copy(), ids) for name, (images, labels, ids) in packed.items()}
    train, validation = digits.pop("train"), digits.pop("validation")
    done = trial.run(variant, seed, scale, train, validation, digits)
    trial.keep(done, folder)
    tune.report({"validation_accuracy": done.validation_accuracy})
