"""`make bench-asha`: how near the search that stops trials early comes to the one that stops none, on which epochs."""

import argparse
import json
import statistics
import tempfile
from dataclasses import asdict, dataclass
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import torch
from ray.tune.schedulers import TrialScheduler
from rich.console import Console
from rich.table import Table

from benchmarks import real_digits, record
from infra.ray_tune import EPOCHS, METRIC, NAME, Base, asha, search
from inkloop.digits import Digits
from inkloop.model import Recognizer
from inkloop.search import TuningSettings, with_choice
from inkloop.training import fit
from pipeline import profile

TRIALS, TRIAL_EPOCHS, IMAGES, HIDDEN_SIZE = 16, 8, 3_000, 24
RETRAININGS = 3  # of each full search's best, with other seeds
GRACES, FACTORS = (1, 2), (2, 3, 4)


@dataclass(frozen=True)
class Curve:
    """A trial: its choice, and its validation accuracy after each of its epochs, 0..1."""

    choice: dict[str, float]
    accuracies: tuple[float, ...]


def curves(base: Base, train: Digits, validation: Digits, settings: TuningSettings) -> list[Curve]:
    """Search as the pipeline's step does; the trials in their order, by which Tune numbers their folders."""
    with tempfile.TemporaryDirectory() as storage:
        search(base, train, validation, settings, Path(storage))
        files = sorted(Path(storage, NAME).glob("*/result.json"), key=lambda file: int(file.parent.name.split("_")[3]))
        ran = [[json.loads(line) for line in file.read_text().splitlines()] for file in files]
    return [Curve(trial[0]["config"], tuple(report[METRIC] for report in trial)) for trial in ran if trial]


def replayed(whole: list[Curve], settings: TuningSettings) -> list[Curve]:
    """What our ASHA leaves of these trials, which nothing has stopped, one after the other."""
    scheduler, left = asha(settings), []
    for number, curve in enumerate(whole):
        trial, seen = SimpleNamespace(trial_id=str(number)), 0
        scheduler.on_trial_add(None, trial)
        for seen, accuracy in enumerate(curve.accuracies, 1):
            if scheduler.on_trial_result(None, trial, {METRIC: accuracy, EPOCHS: seen}) == TrialScheduler.STOP:
                break
        left.append(Curve(curve.choice, curve.accuracies[:seen]))
    return left


def best(trials: list[Curve]) -> Curve:
    """The trial with the highest accuracy after any of its epochs."""
    return max(trials, key=lambda curve: max(curve.accuracies))


def compared(whole: list[Curve], stopped: list[Curve]) -> dict[str, float]:
    """Of a search that stops trials beside the full one: its best, what it lacks, and its share of the epochs."""
    full, found = (max(best(trials).accuracies) for trials in (whole, stopped))
    epochs, all_epochs = (sum(len(curve.accuracies) for curve in trials) for trials in (stopped, whole))
    return {"best": found, "lacks": full - found, "epochs": epochs, "share": epochs / all_epochs}


def retrained(base: Base, choice: dict[str, float], train: Digits, validation: Digits, epochs: int) -> list[float]:
    """Best validation accuracies of the choice with other seeds."""
    reached = []
    for seed in range(base.seed + 100, base.seed + 100 + RETRAININGS):
        torch.manual_seed(seed)
        settings = with_choice(base.training, choice, epochs)
        state = fit(Recognizer(base.model), train, validation, settings, base.augmentation, seed)
        reached.append(state.best_accuracy)
    return reached


def measured(base: Base, train: Digits, validation: Digits, settings: TuningSettings) -> list[dict[str, Any]]:
    """One seed: the full search, the same with ASHA, and ASHA's rules over the full search's trials."""
    unstopped = settings.model_copy(update={"grace_epochs": settings.epochs})
    whole, stopped = (curves(base, train, validation, each) for each in (unstopped, settings))
    full = best(whole)
    rows: list[dict[str, Any]] = [
        {
            "kind": "full",
            "epochs": sum(len(curve.accuracies) for curve in whole),
            "best": max(full.accuracies),
            "retrained": retrained(base, full.choice, train, validation, settings.epochs),
            "trials": [asdict(curve) for curve in whole],
        },
        {"kind": "search", **compared(whole, stopped), "trials": [asdict(curve) for curve in stopped]},
    ]
    for grace in GRACES:
        for factor in FACTORS:
            rules = settings.model_copy(update={"grace_epochs": grace, "reduction_factor": factor})
            said = {"grace_epochs": grace, "reduction_factor": factor}
            rows.append({"kind": "replay", **said, **compared(whole, replayed(whole, rules))})
    return [{"seed": base.seed, **row} for row in rows]


def noise(rows: list[dict[str, Any]]) -> float:
    """Standard deviation of a best choice's accuracy from seed to seed, over all searches."""
    return statistics.mean(statistics.variance(row["retrained"]) for row in rows if row["kind"] == "full") ** 0.5


def shown(rows: list[dict[str, Any]]) -> Table:
    """Each way to search: its best, what it lacks of the full search's, seed by seed, and its share of the epochs."""
    table = Table("", "best, %", "lacks, points", "reached", "share of the epochs, %")
    ways: dict[str, list[dict[str, Any]]] = {}
    for row in rows:
        name = {"full": "all trials to their end", "search": "the search with ASHA"}.get(row["kind"])
        said = name or f"the same trials, grace {row['grace_epochs']}, factor {row['reduction_factor']}"
        ways.setdefault(said, []).append({"lacks": 0.0, "share": 1.0, **row})
    for said, runs in ways.items():
        bests, lacks, shares = ([100 * run[key] for run in runs] for key in ("best", "lacks", "share"))
        reached = sum(run["lacks"] <= noise(rows) for run in runs)
        spread = f"{statistics.mean(shares):.0f} ({min(shares):.0f}-{max(shares):.0f})"
        each = (", ".join(f"{value:.2f}" for value in values) for values in (bests, lacks))
        table.add_row(said, *each, f"{reached} of {len(runs)}", spread)
    return table


def main() -> None:
    """Search with the default profile's space and recipe for a small student, print the table, keep the rows."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    options = parser.parse_args()
    torch.set_num_threads(1)
    chosen = profile.load("default")
    settings = chosen.tuning.model_copy(update={"trials": TRIALS, "epochs": TRIAL_EPOCHS, "images": IMAGES})
    train = real_digits.split("train").take(slice(0, settings.images))
    validation = real_digits.split("validation").take(slice(0, settings.validation_images))
    model = chosen.student.model.model_copy(update={"hidden_size": HIDDEN_SIZE})
    rows: list[dict[str, Any]] = []
    for seed in options.seeds:
        base = Base(model, chosen.teacher.training, chosen.augmentation, seed)
        rows += measured(base, train, validation, settings)
        record.keep("asha", rows)
        Console().print(shown(rows))
    print(f"from seed to seed the full searches' best differ by {100 * noise(rows):.2f} points (standard deviation)")


if __name__ == "__main__":
    main()
