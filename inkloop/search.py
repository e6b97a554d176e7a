"""The search space of the tuner and what a trial is; the search itself is Ray Tune's."""

from dataclasses import dataclass
from typing import Annotated, Literal, Self

from pydantic import Field, NonNegativeFloat, NonNegativeInt, PositiveInt, model_validator

from inkloop.model import ModelSettings
from inkloop.preview import PAGE, table
from inkloop.readings import SWEEPS
from inkloop.settings import Settings
from inkloop.training import TrainingSettings


class TeacherSettings(Settings):
    """The teacher: its shape, how it is trained before tuning has its say, and by how many workers."""

    model: ModelSettings = ModelSettings(
        readings=SWEEPS, hidden_size=16, upper_sizes=(16, 32, 32), attention_size=32, fc_size=64, dropout=0.1
    )
    training: TrainingSettings = TrainingSettings()
    ensemble: PositiveInt = 1  # as many, each from a seed of its own: all of them teach, the best goes on
    workers: NonNegativeInt = 0  # 0 = one for each GPU, or else CPU, that Ray has
    least_workers: NonNegativeInt = 0  # go on with as few when a machine is lost; 0 = wait for another
    in_memory_images: PositiveInt = 1_000_000  # more training digits than these are read block by block


@dataclass(frozen=True)
class Trial:
    """One trial that was run: its choices, epochs trained, and best validation accuracy, 0..1."""

    choice: dict[str, float]
    epochs: int
    validation_accuracy: float


class Range(Settings):
    """A range of one number; on a logarithmic scale if `log`."""

    low: NonNegativeFloat
    high: NonNegativeFloat
    log: bool = False

    @model_validator(mode="after")
    def _is_a_range(self) -> Self:
        if self.low > self.high:
            raise ValueError(f"low {self.low:g} is above high {self.high:g}")
        if self.log and self.low == 0:
            raise ValueError("a logarithmic range cannot begin at 0")
        return self


class TuningSettings(Settings):
    """What is tried, how often, and on how much."""

    trials: PositiveInt = 8
    concurrency: NonNegativeInt = 1  # trials at a time; 0 = one a CPU, and then what ASHA stops depends on timing
    scheduler: Literal["halving", "asha", "pbt"] = "halving"  # asha: no trial waits, for many workers; pbt: see docs
    epochs: PositiveInt = 3  # a trial's, at most
    images: PositiveInt = 6_000  # training digits a trial sees an epoch
    validation_images: PositiveInt = 2_000
    grace_epochs: PositiveInt = 1  # before a trial may be stopped
    reduction_factor: Annotated[int, Field(ge=2)] = 2  # one in so many goes on
    learning_rate: Range = Range(low=1e-3, high=1e-2, log=True)
    weight_decay: Range = Range(low=1e-5, high=1e-2, log=True)
    label_smoothing: Range = Range(low=0.0, high=0.1)
    batch_size: Annotated[tuple[PositiveInt, ...], Field(min_length=1)] = (64, 128, 256)

    @model_validator(mode="after")
    def _fits_together(self) -> Self:
        if self.grace_epochs > self.epochs:
            raise ValueError(f"grace_epochs {self.grace_epochs} are more than the trial's epochs {self.epochs}")
        if self.learning_rate.low == 0:
            raise ValueError("learning_rate must be above 0")
        if self.label_smoothing.high > 1:
            raise ValueError("label_smoothing must be at most 1")
        return self

    def space(self, training: TrainingSettings) -> dict[str, Range | tuple[int, ...]]:
        """What varies, by the trial's keys; the training settings' own batch size is always among the choices."""
        ranges = {name: getattr(self, name) for name in ("learning_rate", "weight_decay", "label_smoothing")}
        return ranges | {"batch_size": tuple(sorted({*self.batch_size, training.batch_size}))}


def own_choice(training: TrainingSettings) -> dict[str, float]:
    """The training settings as a trial's choice: the first that is tried."""
    return {
        "learning_rate": training.learning_rate,
        "weight_decay": training.weight_decay,
        "label_smoothing": training.loss.label_smoothing,
        "batch_size": training.batch_size,
    }


def with_choice(base: TrainingSettings, choice: dict[str, float], epochs: int | None = None) -> TrainingSettings:
    """The training settings with a trial's choices put in."""
    loss = base.loss.model_copy(update={"label_smoothing": choice["label_smoothing"]})
    changes = {name: value for name, value in choice.items() if name != "label_smoothing"} | {"loss": loss}
    if epochs is not None:
        changes["epochs"] = epochs
    return base.model_copy(update=changes)


def trials_page(trials: list[Trial]) -> str:
    """The trials as an HTML page, best first."""
    names = list(trials[0].choice)
    rows = [
        [f"{trial.validation_accuracy:.2%}", str(trial.epochs), *(f"{trial.choice[name]:.4g}" for name in names)]
        for trial in trials
    ]
    return PAGE.format(title="Trials, best first", body=table(["validation accuracy", "epochs", *names], rows))
