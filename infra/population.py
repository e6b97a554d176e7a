"""Population-based training for Ray Tune: the worst trials go on from the best ones' weights (Jaderberg 2017)."""

import random
from typing import Any

import numpy as np
from ray import tune
from ray.tune.experiment import Trial
from ray.tune.schedulers import PopulationBasedTraining, TrialScheduler

from inkloop.search import Range, TuningSettings

QUANTILE = 0.25


class Population(PopulationBasedTraining):
    """Ray's, with so many trials at a time, settings that stay in their ranges, and none that change after the end.

    All trials meet every `grace_epochs`; the worst quarter then takes over weights and settings of the best one,
    and changes the settings. Trials must report checkpoints.
    """

    def __init__(
        self,
        settings: TuningSettings,
        space: dict[str, Range | tuple[int, ...]],
        concurrency: int,
        metric: str,
        time: str,
        seed: int,
    ) -> None:
        """concurrency: trials at a time. Metric and time are names in what trials report."""
        random.seed(seed)  # Ray's draws from the generators of the process
        np.random.seed(seed)
        self.ranges = {name: part for name, part in space.items() if isinstance(part, Range)}
        choices = {name: list(part) for name, part in space.items() if isinstance(part, tuple)}
        super().__init__(
            time_attr=time,
            metric=metric,
            mode="max",
            perturbation_interval=settings.grace_epochs,
            hyperparam_mutations=domains(space) | choices,  # of a list it takes a neighbor
            quantile_fraction=QUANTILE,
            custom_explore_fn=self._in_range,
            synch=True,
        )
        self.epochs, self.concurrency, self.time = settings.epochs, concurrency, time

    def on_trial_result(self, tune_controller: Any, trial: Trial, result: dict[str, Any]) -> str:  # noqa: ANN401
        """Whether the trial goes on or waits for the others."""
        if result[self.time] >= self.epochs:
            return str(TrialScheduler.CONTINUE)
        return str(super().on_trial_result(tune_controller, trial, result))

    def choose_trial_to_run(self, tune_controller: Any) -> Trial | None:  # noqa: ANN401
        """The one that is least far, if not enough are on their way."""
        if sum(trial.status == Trial.RUNNING for trial in tune_controller.get_trials()) >= self.concurrency:
            return None
        return super().choose_trial_to_run(tune_controller)

    def _in_range(self, choice: dict[str, Any]) -> dict[str, Any]:
        return choice | {name: min(max(choice[name], part.low), part.high) for name, part in self.ranges.items()}


def domains(space: dict[str, Range | tuple[int, ...]]) -> dict[str, Any]:
    """The space as Ray samples it."""
    return {
        name: (tune.loguniform if part.log else tune.uniform)(part.low, part.high)
        if isinstance(part, Range)
        else tune.choice(part)
        for name, part in space.items()
    }
