"""Hyperparameter search on Ray Tune: Optuna proposes, a scheduler stops what lags behind."""

import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import optuna
import torch
from ray import tune
from ray.tune.schedulers import ASHAScheduler, TrialScheduler
from ray.tune.search import BasicVariantGenerator, SearchAlgorithm, Searcher
from ray.tune.search.optuna import OptunaSearch
from torch import nn

from infra import ray_data
from infra.halving import SuccessiveHalving
from infra.population import Population, domains
from infra.ray_checkpoints import remove
from infra.ray_session import ray_session
from infra.trial_states import TrialStates
from inkloop.augmentation import AugmentationSettings
from inkloop.checkpoint import load_state, save_state
from inkloop.digits import Digits
from inkloop.model import ModelSettings, Recognizer
from inkloop.search import Range, Trial, TuningSettings, own_choice, with_choice
from inkloop.training import EpochResult, TrainingSettings, TrainingState, fit

METRIC, EPOCHS = "validation_accuracy", "epochs"
NAME = "tuning"  # of the folder in which Tune keeps each trial's results


@dataclass(frozen=True)
class Base:
    """What all trials share."""

    model: ModelSettings
    training: TrainingSettings
    augmentation: AugmentationSettings
    seed: int


def _trial(choice: dict[str, Any], base: Base, epochs: int, digits: dict[str, Any], kept: TrialStates) -> None:
    torch.set_num_threads(1)
    ray_data.accept_read_only_arrays()
    train, validation = Digits(*digits["train"]), Digits(*digits["validation"])
    torch.manual_seed(base.seed)
    before, state = tune.get_checkpoint(), None
    if before is not None:
        with before.as_directory() as folder:
            state = load_state(Path(folder))

    def tell(after: TrainingState) -> None:
        figures = {METRIC: after.epochs[-1].validation_accuracy, "best": after.best_accuracy, EPOCHS: after.epoch}
        with tempfile.TemporaryDirectory() as folder:
            save_state(after, Path(folder))
            tune.report(figures, checkpoint=tune.Checkpoint.from_directory(folder))

    def report(_: nn.Module, result: EpochResult, after: TrainingState) -> None:
        kept.keep(choice, after)
        tell(after)

    while (known := kept.next(choice, state)) is not None:
        state = known
        tell(state)
    settings, model = with_choice(base.training, choice, epochs), Recognizer(base.model)
    fit(model, train, validation, settings, base.augmentation, base.seed, on_epoch=report, state=state)


def _suggest(space: dict[str, Range | tuple[int, ...]]) -> dict[str, Any]:
    distributions = optuna.distributions
    return {
        name: distributions.FloatDistribution(part.low, part.high, log=part.log)
        if isinstance(part, Range)
        else distributions.CategoricalDistribution(part)
        for name, part in space.items()
    }


def scheduler_of(settings: TuningSettings, concurrency: int) -> TrialScheduler:
    """What stops trials after an epoch, with so many trials at a time."""
    if settings.scheduler == "halving":
        return SuccessiveHalving(settings, concurrency, METRIC, EPOCHS)
    return ASHAScheduler(
        time_attr=EPOCHS,
        metric=METRIC,
        mode="max",
        max_t=settings.epochs,
        grace_period=settings.grace_epochs,
        reduction_factor=settings.reduction_factor,
    )


def search(
    base: Base,
    train: Digits,
    validation: Digits,
    settings: TuningSettings,
    storage: str,
    say: Callable[[str], None] = print,
) -> list[Trial]:
    """Run the trials on the Ray at `RAY_ADDRESS` or one started here; best first.

    storage: see `ray_train.fit_on_ray`; no epoch is trained again whose state is there from a try that was cut off.
    The first trial is the base's own settings, so the search never ends with worse than these. One at a
    time, a search repeats bit for bit, but for pbt.
    """
    own, space = own_choice(base.training), settings.space(base.training)
    remove(f"{storage}/{NAME}")
    with ray_session() as cpus:
        digits = {
            "train": (train.images, train.labels, train.ids),
            "validation": (validation.images, validation.labels, validation.ids),
        }
        kept = TrialStates(f"{storage}/states")
        trainable = tune.with_parameters(_trial, base=base, epochs=settings.epochs, digits=digits, kept=kept)
        concurrency = settings.concurrency or cpus
        say(f"{settings.trials} trials, {concurrency} at a time")
        proposes: Searcher | SearchAlgorithm
        if settings.scheduler == "pbt":  # changes the settings as it goes, and takes no other's proposals
            proposes = BasicVariantGenerator(points_to_evaluate=[own], random_state=base.seed)
            scheduler: TrialScheduler = Population(settings, space, concurrency, METRIC, EPOCHS, base.seed)
        else:
            proposes = OptunaSearch(_suggest(space), METRIC, "max", points_to_evaluate=[own], seed=base.seed)
            scheduler = scheduler_of(settings, concurrency)
        tuner = tune.Tuner(
            tune.with_resources(trainable, {"cpu": 1}),
            param_space=domains(space) if settings.scheduler == "pbt" else None,
            tune_config=tune.TuneConfig(
                search_alg=proposes,
                scheduler=scheduler,
                num_samples=settings.trials,
                # The others see to it themselves: their trials that wait would count here.
                max_concurrent_trials=concurrency if settings.scheduler == "asha" else None,
                reuse_actors=True,
            ),
            run_config=tune.RunConfig(name=NAME, storage_path=storage, verbose=0),
        )
        results = tuner.fit()
    trials = [
        Trial(dict(result.config or {}), int(result.metrics[EPOCHS]), float(result.metrics["best"]))
        for result in (results[row] for row in range(len(results)))
        if result.metrics and "best" in result.metrics
    ]
    if not trials:
        raise RuntimeError(f"none of the {settings.trials} trials finished an epoch: {results.errors[:1]}")
    return sorted(trials, key=lambda trial: -trial.validation_accuracy)
