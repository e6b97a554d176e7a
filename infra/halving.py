"""Successive halving for Ray Tune: all trials get equally far, then one in so many goes on (Jamieson 2016)."""

from typing import Any

from ray.tune.experiment import Trial
from ray.tune.schedulers import FIFOScheduler, TrialScheduler

from inkloop.search import TuningSettings


class SuccessiveHalving(FIFOScheduler):
    """Pauses each trial at a rung, until all have reached it; the best go on to the next, the others are stopped.

    ASHA (Li 2020) does not wait, so that its first trials always go on: with few workers that is most of the epochs.
    Trials must report checkpoints. A trial that failed counts as stopped.
    """

    def __init__(self, settings: TuningSettings, concurrency: int, metric: str, time: str) -> None:
        """concurrency: trials at a time. Metric and time are names in what trials report."""
        super().__init__()  # type: ignore[no-untyped-call]
        self.settings, self.concurrency, self.figure, self.time = settings, concurrency, metric, time
        self.rung = settings.grace_epochs
        self.coming = settings.trials  # not added yet
        self.alive: list[Trial] = []
        self.reached: dict[Trial, float] = {}  # the rung, with so good a metric

    def on_trial_add(self, tune_controller: Any, trial: Trial) -> None:  # noqa: ANN401
        """One more to compare."""
        self.coming -= 1
        self.alive.append(trial)

    def on_trial_result(self, tune_controller: Any, trial: Trial, result: dict[str, Any]) -> str:  # noqa: ANN401
        """Whether the trial goes on, waits or ends."""
        if result[self.time] < self.rung or self.rung >= self.settings.epochs:
            return str(TrialScheduler.CONTINUE)
        self.reached[trial] = result[self.figure]
        if not self._is_whole():
            return str(TrialScheduler.PAUSE)
        self._halve(tune_controller, running=trial)
        return str(TrialScheduler.CONTINUE if trial in self.alive else TrialScheduler.STOP)

    def on_trial_complete(self, tune_controller: Any, trial: Trial, result: dict[str, Any]) -> None:  # noqa: ANN401
        """It went to its end, or was stopped."""
        self._leave(tune_controller, trial)

    def on_trial_error(self, tune_controller: Any, trial: Trial) -> None:  # noqa: ANN401
        """It failed."""
        self._leave(tune_controller, trial)

    def on_trial_remove(self, tune_controller: Any, trial: Trial) -> None:  # noqa: ANN401
        """It was stopped while it waited."""
        self._leave(tune_controller, trial)

    def choose_trial_to_run(self, tune_controller: Any) -> Trial | None:  # noqa: ANN401
        """The first that has not reached the rung and is not on its way."""
        if sum(trial.status == Trial.RUNNING for trial in self.alive) >= self.concurrency:
            return None
        waiting = (Trial.PENDING, Trial.PAUSED)
        return next((each for each in self.alive if each.status in waiting and each not in self.reached), None)

    def _is_whole(self) -> bool:
        return self.coming == 0 and len(self.reached) == len(self.alive)

    def _halve(self, tune_controller: Any, running: Trial | None = None) -> None:  # noqa: ANN401
        """On to the next rung; the waiting trials that do not come along are stopped."""
        best_first = sorted(self.reached, key=lambda trial: -self.reached[trial])
        kept = max(1, len(best_first) // self.settings.reduction_factor)
        self.alive = [trial for trial in self.alive if trial in best_first[:kept]]
        self.reached = {}
        self.rung = min(self.rung * self.settings.reduction_factor, self.settings.epochs)
        for trial in best_first[kept:]:
            if trial is not running:
                tune_controller.stop_trial(trial)

    def _leave(self, tune_controller: Any, trial: Trial) -> None:  # noqa: ANN401
        if trial not in self.alive:
            return
        self.alive.remove(trial)
        self.reached.pop(trial, None)
        if self.reached and self._is_whole():  # the others waited for this one
            self._halve(tune_controller)
