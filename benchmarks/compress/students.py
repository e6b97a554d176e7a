"""Students with and without a teacher, exact, rounded afterwards and trained in rounded weights, over seeds."""

import itertools
from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import torch
from rich.console import Console
from torch import Tensor, nn

from benchmarks import record
from inkloop import artifacts, checkpoint, qat
from inkloop.digits import Digits
from inkloop.distillation import DistillationSettings, Lessons, TeachingSettings, soft_labels, taught_loss
from inkloop.model import Recognizer
from inkloop.quantization import rounded_weights
from inkloop.training import EpochResult, TrainingState, accuracy, fit, logits
from pipeline.profile import Profile

FOLDER = record.ROOT / "artifacts" / "compress"
TEACHER, SMALL = (record.ROOT / "benchmarks" / "models" / name for name in ("teacher", "small"))
TEMPERATURES, SHARES = (1.0, 2.0, 4.0), (0.0, 0.3, 0.6, 0.9)
ALONE, TAUGHT = TeachingSettings(teacher_share=0.0), TeachingSettings(teacher_share=0.5)


@dataclass(frozen=True)
class Data:
    """What students learn from, and are measured on."""

    train: Digits
    validation: Digits
    test: Digits

    @cached_property
    def soft_labels(self) -> Tensor:
        """The teacher's, asked once, whatever is taught of them."""
        return soft_labels([checkpoint.load(TEACHER)], self.train)

    @cached_property
    def of_two(self) -> Tensor:
        """Those of an ensemble."""
        return soft_labels([checkpoint.load(TEACHER), checkpoint.load(SMALL)], self.train)


def kept(name: str, train: Callable[[], tuple[Recognizer, TrainingState]]) -> Recognizer:
    """The model of this name; trained if it is not there."""
    folder = FOLDER / name
    if not (folder / artifacts.INFO_NAME).is_file():
        model, state = train()
        checkpoint.save(model, folder, "student", {"validation_accuracy": state.best_accuracy}, {})
    return checkpoint.load(folder).eval()


def told(name: str, console: Console) -> Callable[[nn.Module, EpochResult, TrainingState], None]:
    """Says how a training goes."""
    return lambda _, result, __: console.print(f"{name}: {result.line()}")


def student(
    name: str,
    settings: DistillationSettings,
    data: Data,
    profile: Profile,
    seed: int,
    lessons: Lessons,
    console: Console,
) -> Recognizer:
    """A student of a seed."""

    def train() -> tuple[Recognizer, TrainingState]:
        torch.manual_seed(seed)
        model = Recognizer(settings.model)
        loss = taught_loss(lessons, settings.training.loss)
        parts = (data.train, data.validation, settings.training, profile.augmentation, seed)
        return model, fit(model, *parts, loss=loss, on_epoch=told(name, console))

    return kept(name, train)


def by_teaching(data: Data, profile: Profile, epochs: int, console: Console) -> list[dict[str, Any]]:
    """Validation accuracy for each temperature and teacher's share, trained shortly with one seed."""
    short = profile.student.training.model_copy(update={"epochs": epochs})
    settings, rows = profile.student.model_copy(update={"training": short}), []
    for temperature, share in itertools.product(TEMPERATURES, SHARES):
        lessons = Lessons(data.soft_labels, TeachingSettings(temperature=temperature, teacher_share=share))
        name = f"teaching-{temperature if share else 0:g}-{share:g}-{epochs}"  # alone, temperatures are all the same
        model = student(name, settings, data, profile, 0, lessons, console)
        tried = {"temperature": temperature, "teacher_share": share, "epochs": epochs}
        rows.append({"part": "teaching", **tried, "validation_accuracy": accuracy(model, data.validation)})
    return rows


def of_seed(data: Data, profile: Profile, seed: int, console: Console) -> list[dict[str, Any]]:
    """One seed: a student that learned alone, one that was taught, and what INT8 makes of the former."""
    alone, taught = (
        student(f"{name}-{seed}", profile.student, data, profile, seed, Lessons(data.soft_labels, teaching), console)
        for name, teaching in (("alone", ALONE), ("taught", TAUGHT))
    )

    def train_rounded() -> tuple[Recognizer, TrainingState]:
        model = checkpoint.load(FOLDER / f"alone-{seed}")
        parts = (data.train, data.validation, profile.augmentation, profile.quantization, seed)
        return model, qat.train_quantized(data.soft_labels, model, *parts, on_epoch=told(f"rounded-{seed}", console))

    rounded = kept(f"rounded-{seed}", train_rounded)
    exact = said_of(alone, data.test)
    rows = [row(data, seed, "alone", alone, exact), row(data, seed, "taught", taught, exact)]
    with rounded_weights(alone):
        rows.append(row(data, seed, "rounded afterwards", alone, exact))
    with rounded_weights(rounded):
        rows.append(row(data, seed, "trained in rounded weights", rounded, exact))
    return rows


def by_two(data: Data, profile: Profile, seed: int, console: Console) -> dict[str, Any]:
    """A student that two teachers taught, beside that of `of_seed` that learned alone."""
    lessons = Lessons(data.of_two, TAUGHT)
    taught = student(f"two-{seed}", profile.student, data, profile, seed, lessons, console)
    return row(data, seed, "taught by two", taught, said_of(checkpoint.load(FOLDER / f"alone-{seed}"), data.test))


def said_of(model: Recognizer, digits: Digits) -> np.ndarray:
    """The model's answers, (n,)."""
    answers: np.ndarray = logits(model, torch.from_numpy(digits.images)).argmax(1).numpy()
    return answers


def row(data: Data, seed: int, name: str, model: Recognizer, exact: np.ndarray) -> dict[str, Any]:
    """A model's figures; equal: share of test digits that it answers as the exact student does that learned alone."""
    found = said_of(model, data.test)
    return {
        "part": "students",
        "seed": seed,
        "name": name,
        "validation_accuracy": accuracy(model, data.validation),
        "test_accuracy": float((found == data.test.labels).mean()),
        "equal": float((found == exact).mean()),
    }
