"""`make bench-asha`: how near the search that stops trials early comes to the one that stops none, on which epochs."""

import argparse
import itertools
import json
import random
import statistics
import tempfile
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import torch
from ray.tune.experiment import Trial
from ray.tune.schedulers import TrialScheduler
from rich.console import Console
from rich.table import Table

from benchmarks import real_digits, record
from infra.ray_tune import EPOCHS, METRIC, NAME, Base, scheduler_of, search
from inkloop.digits import Digits
from inkloop.model import Recognizer
from inkloop.search import TuningSettings, with_choice
from inkloop.training import fit
from pipeline import profile
from pipeline.profile import Profile

TRIALS, TRIAL_EPOCHS, IMAGES, HIDDEN_SIZE = 16, 8, 2_000, 24
RETRAININGS = 3  # of each full search's best, with other seeds
SCHEDULERS, GRACES, FACTORS = ("halving", "asha"), (1, 2), (2, 3, 4)
COLUMNS = {"best": ".2f", "lacks": ".2f", "share": ".0f"}
ORDERS = 100  # in which the trials might have run as well: which one is stopped depends on those before it


@dataclass(frozen=True)
class Curve:
    """A trial: its choice, and its validation accuracy after each of its epochs, 0..1."""

    choice: dict[str, float]
    accuracies: tuple[float, ...]


def curves(base: Base, train: Digits, validation: Digits, settings: TuningSettings) -> list[Curve]:
    """Search as the pipeline's step does; the trials in their order, by which Tune numbers their folders."""
    with tempfile.TemporaryDirectory() as storage:
        search(base, train, validation, settings, storage)
        files = sorted(Path(storage, NAME).glob("*/result.json"), key=lambda file: int(file.parent.name.split("_")[3]))
        ran = [[json.loads(line) for line in file.read_text().splitlines()] for file in files]
    return [Curve(trial[0]["config"], tuple(report[METRIC] for report in trial)) for trial in ran if trial]


@dataclass(eq=False)
class Replayed:
    """A trial that is run again from its curve."""

    trial_id: str
    curve: Curve
    status: str = Trial.PENDING
    seen: int = 0  # epochs


def replayed(whole: list[Curve], settings: TuningSettings) -> list[Curve]:
    """What the scheduler leaves of these trials, which nothing has stopped, run one at a time."""
    scheduler = scheduler_of(settings, concurrency=1)
    trials = [Replayed(str(number), curve) for number, curve in enumerate(whole)]
    controller = SimpleNamespace(get_trials=lambda: trials, stop_trial=stop)
    for trial in trials:
        scheduler.on_trial_add(controller, trial)
    while trial := scheduler.choose_trial_to_run(controller):
        trial.status = Trial.TERMINATED
        for accuracy in trial.curve.accuracies[trial.seen :]:
            trial.seen += 1
            said = scheduler.on_trial_result(controller, trial, {METRIC: accuracy, EPOCHS: trial.seen})
            if said != TrialScheduler.CONTINUE:
                trial.status = Trial.PAUSED if said == TrialScheduler.PAUSE else Trial.TERMINATED
                break
    return [Curve(trial.curve.choice, trial.curve.accuracies[: trial.seen]) for trial in trials]


def stop(trial: Replayed) -> None:
    """As Tune's controller does."""
    trial.status = Trial.TERMINATED


def shuffled(trials: list[Curve], seed: int) -> list[Curve]:
    """Another order; the first trial, of the own settings, stays the first."""
    return [trials[0], *random.Random(seed).sample(trials[1:], len(trials) - 1)]


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


def searched(base: Base, train: Digits, validation: Digits, settings: TuningSettings) -> dict[str, Any]:
    """The search that stops none, and what its best choice comes to with other seeds."""
    whole = curves(base, train, validation, settings.model_copy(update={"grace_epochs": settings.epochs}))
    full = best(whole)
    return {
        "seed": base.seed,
        "kind": "full",
        "epochs": sum(len(curve.accuracies) for curve in whole),
        "best": max(full.accuracies),
        "retrained": retrained(base, full.choice, train, validation, settings.epochs),
        "trials": [asdict(curve) for curve in whole],
    }


def kept_searches() -> list[dict[str, Any]]:
    """The full searches of the last run."""
    rows: list[dict[str, Any]] = json.loads((record.RESULTS / "asha.json").read_text())["rows"]
    return [row for row in rows if row["kind"] == "full"]


def judged(full: dict[str, Any], settings: TuningSettings) -> list[dict[str, Any]]:
    """What each scheduler would have left of a full search's trials, by several rules."""
    whole, rows = [Curve(trial["choice"], tuple(trial["accuracies"])) for trial in full["trials"]], []
    for scheduler, grace, factor in itertools.product(SCHEDULERS, GRACES, FACTORS):
        changes = {"scheduler": scheduler, "grace_epochs": grace, "reduction_factor": factor}
        rules = settings.model_copy(update=changes)
        orders = [compared(whole, replayed(shuffled(whole, order), rules)) for order in range(ORDERS)]
        rows.append(
            {
                "seed": full["seed"],
                "kind": "replay",
                **changes,
                **compared(whole, replayed(whole, rules)),
                "shares_in_other_orders": [other["share"] for other in orders],
                "lacks_in_other_orders": [other["lacks"] for other in orders],
            }
        )
    return rows


def noise(rows: list[dict[str, Any]]) -> float:
    """Standard deviation of a best choice's accuracy from seed to seed, over all searches."""
    return statistics.mean(statistics.variance(row["retrained"]) for row in rows if row["kind"] == "full") ** 0.5


def shown(rows: list[dict[str, Any]]) -> Table:
    """Each way to search: what it found and lacks of the full search's best, seed by seed, and its share of epochs."""
    table = Table("", "best, %", "lacks, points", "reached", "epochs, %", "other orders: reached, %", "epochs, %")
    for said, runs in _by_way(rows).items():
        each = [", ".join(f"{100 * run[key]:{form}}" for run in runs) for key, form in COLUMNS.items()]
        reached = [run["lacks"] <= noise(rows) for run in runs]
        others = [lacks <= noise(rows) for run in runs for lacks in run.get("lacks_in_other_orders", ())]
        shares = [share for run in runs for share in run.get("shares_in_other_orders", ())]
        shuffled_to = [f"{100 * statistics.mean(values):.0f}" if values else "" for values in (others, shares)]
        table.add_row(said, *each[:2], f"{sum(reached)} of {len(reached)}", each[2], *shuffled_to)
    return table


def _by_way(rows: list[dict[str, Any]]) -> dict[str, list[dict[str, Any]]]:
    ways: dict[str, list[dict[str, Any]]] = {}
    for row in rows:
        rules = "{scheduler}, grace {grace_epochs}, factor {reduction_factor}"
        said = "all trials to their end" if row["kind"] == "full" else rules.format(**row)
        ways.setdefault(said, []).append({"lacks": 0.0, "share": 1.0, **row})
    return ways


def main() -> None:
    """Search with the default profile's space and recipe for a small student, print the table, keep the rows."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--replay", action="store_true", help="train nothing: judge the searches that are kept again")
    options = parser.parse_args()
    torch.set_num_threads(1)
    chosen = profile.load("default")
    settings = chosen.tuning.model_copy(update={"trials": TRIALS, "epochs": TRIAL_EPOCHS, "images": IMAGES})
    rows: list[dict[str, Any]] = []
    for full in kept_searches() if options.replay else searches(options.seeds, chosen, settings):
        rows += [full, *judged(full, settings)]
        record.keep("asha", rows)
        Console().print(shown(rows))
    print(f"from seed to seed the full searches' best differ by {100 * noise(rows):.2f} points (standard deviation)")


def searches(seeds: list[int], chosen: Profile, settings: TuningSettings) -> Iterator[dict[str, Any]]:
    """The full search of each seed, as it ends."""
    train = real_digits.split("train").take(slice(0, settings.images))
    validation = real_digits.split("validation").take(slice(0, settings.validation_images))
    model = chosen.student.model.model_copy(update={"hidden_size": HIDDEN_SIZE})
    for seed in seeds:
        yield searched(Base(model, chosen.teacher.training, chosen.augmentation, seed), train, validation, settings)


if __name__ == "__main__":
    main()
