"""The models of `make bench-accuracy`: within their sizes, and trained on after a stop as if there had been none."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from rich.console import Console

from benchmarks import accuracy, hard_digits, record
from benchmarks.accuracy import GOALS, Goal
from inkloop import checkpoint
from inkloop.model import Recognizer, count_parameters, normalize
from inkloop.runtime import Recognizer as Runtime
from pipeline import profile


class Stopped(Exception):
    """Somebody pressed Ctrl-C."""


class Impatient(Console):
    """A terminal at which somebody stops the training after its first epoch."""

    def print(self, *_: object, **__: object) -> None:
        raise Stopped


@pytest.fixture
def goal(monkeypatch, tmp_path) -> Goal:
    monkeypatch.setattr(accuracy, "FOLDER", tmp_path)
    tiny = next(goal for goal in GOALS if goal.name == "tiny")
    return replace(tiny, training=tiny.training.model_copy(update={"epochs": 2}))


@pytest.mark.parametrize("goal", GOALS, ids=[goal.name for goal in GOALS])
def test_a_goals_model_is_as_small_as_it_says(goal):
    assert goal.parameters is None or count_parameters(Recognizer(goal.model)) <= goal.parameters


@pytest.mark.parametrize("name", [goal.name for goal in GOALS])
def test_the_models_that_are_published_read_digits_as_their_cards_say(name, test_digits):
    folder = record.ROOT / "benchmarks" / "models" / name
    model, images = Runtime(folder), test_digits.images
    assert (model.probabilities(images).argmax(1) == test_digits.labels).mean() > 0.98
    assert f"{model.info.parameters:,} parameters" in (folder / "card.md").read_text()
    with torch.no_grad():
        expected = checkpoint.load(folder).eval()(normalize(torch.from_numpy(images))).logits.softmax(1).numpy()
    np.testing.assert_allclose(model.probabilities(images), expected, atol=1e-4)


def test_the_full_profile_trains_the_best_teacher_and_a_student_of_the_small_shape():
    full, goals = profile.load("full"), {goal.name: goal for goal in GOALS}
    assert (full.teacher.model, full.teacher.training) == (goals["teacher"].model, goals["teacher"].training)
    assert full.student.model == goals["small"].model
    assert full.augmentation == goals["teacher"].augmentation


def test_a_stopped_training_goes_on_to_the_same_weights(goal, mnist):
    train, validation = mnist["train"].take(slice(0, 256)), mnist["validation"].take(slice(0, 100))
    with pytest.raises(Stopped):
        accuracy.trained(goal, 1, train, validation, Impatient())
    after_stop = checkpoint.load(accuracy.trained(goal, 1, train, validation, Console(quiet=True))).state_dict()
    unbroken = checkpoint.load(
        accuracy.trained(replace(goal, name="unbroken"), 1, train, validation, Console(quiet=True))
    ).state_dict()
    assert all(torch.equal(weight, unbroken[name]) for name, weight in after_stop.items())


def test_a_model_is_measured_on_clean_and_on_corrupted_digits(goal, mnist):
    train, test = mnist["train"].take(slice(0, 256)), mnist["test"].take(slice(0, 100))
    folder = accuracy.trained(goal, 1, train, test, Console(quiet=True))
    row = accuracy.measured(goal, 1, folder, test, dict(hard_digits.corrupted(test)))
    assert len(row["corrupted"]) == 15
    assert 0 <= row["mnist_c_accuracy"] <= 1
    assert row["parameters"] <= 10_000
    card = accuracy.card(goal, row)
    assert f"{row['test_accuracy']:.2%}" in card
    assert "9,707 parameters" in card
