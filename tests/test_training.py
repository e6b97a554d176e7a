"""Training: it learns, it repeats bit for bit, it resumes as if nothing had happened, it stops in time."""

import copy
import math
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn
from torch.nn import functional as F

from inkloop.augmentation import AugmentationSettings
from inkloop.batches import Batch
from inkloop.digits import Digits
from inkloop.losses import LossSettings
from inkloop.model import ModelSettings, Recognizer, normalize
from inkloop.quantization import rounded_weights
from inkloop.readings import Reading
from inkloop.training import (
    EpochResult,
    TrainingSettings,
    TrainingState,
    accuracy,
    fit,
    learning_rate_factor,
    logits,
)

AUGMENTATION = AugmentationSettings(pixel_share=0.3)
SHORT = TrainingSettings(epochs=4, batch_size=64, learning_rate=1e-2)


def new_model() -> Recognizer:
    torch.manual_seed(7)
    return Recognizer(
        ModelSettings(
            readings=(Reading(kind="rows", size=4),), hidden_size=8, attention_size=8, fc_size=16, dropout=0.2
        )
    )


@pytest.fixture
def train(train_digits) -> Digits:
    return train_digits.take(slice(0, 500))


@pytest.fixture
def validation(validation_digits) -> Digits:
    return validation_digits.take(slice(0, 200))


def trained(train: Digits, validation: Digits, settings: TrainingSettings = SHORT, **options) -> Recognizer:
    model = new_model()
    fit(model, train, validation, settings, AUGMENTATION, seed=1, **options)
    return model


def same_weights(one: Recognizer, other: Recognizer) -> bool:
    return all(torch.equal(value, other.state_dict()[name]) for name, value in one.state_dict().items())


def test_a_model_learns_to_read_real_digits(train_digits, validation_digits):
    model = new_model()
    before = accuracy(model, validation_digits)
    state = fit(model, train_digits, validation_digits, SHORT, None, seed=0)
    assert before < 0.3
    assert accuracy(model, validation_digits) > 0.75
    assert state.epochs[-1].train_loss < state.epochs[0].train_loss


def test_the_same_seed_gives_the_same_weights_bit_for_bit(train, validation):
    assert same_weights(trained(train, validation), trained(train, validation))


def test_another_seed_gives_other_weights(train, validation):
    other = new_model()
    fit(other, train, validation, SHORT, AUGMENTATION, seed=2)
    assert not same_weights(trained(train, validation), other)


class Killed(Exception):
    pass


def interrupted(train: Digits, validation: Digits, settings: TrainingSettings, after: int, **options) -> TrainingState:
    """The state that a run wrote down at the end of an epoch, before it was killed."""
    kept: list[TrainingState] = []

    def on_epoch(model: Recognizer, result: EpochResult, state: TrainingState) -> None:
        if result.epoch == after:
            kept.append(copy.deepcopy(state))
            raise Killed

    with pytest.raises(Killed):
        trained(train, validation, settings, on_epoch=on_epoch, **options)
    return kept[0]


@pytest.mark.parametrize("after", [0, 2, 3])
@pytest.mark.parametrize(
    ("changes", "options"),
    [
        ({}, {}),
        ({"ema_decay": 0.98, "schedule": "cosine_restarts"}, {}),
        ({"ema_decay": 0.98, "schedule": "cosine"}, {"weights": rounded_weights}),
    ],
    ids=["plain", "averaged", "quantized"],
)
def test_a_resumed_run_ends_as_an_unbroken_one_bit_for_bit(train, validation, changes, options, after):
    settings = SHORT.model_copy(update=changes)
    state = interrupted(train, validation, settings, after, **options)
    resumed = trained(train, validation, settings, state=state, **options)
    assert same_weights(resumed, trained(train, validation, settings, **options))


def test_a_run_resumed_after_it_had_stopped_early_trains_no_further(train, validation):
    settings = SHORT.model_copy(update={"learning_rate": 0.0, "patience_epochs": 1, "epochs": 9})
    broken = copy.deepcopy(validation)
    broken.labels[:] = -1  # nothing is ever right, so no epoch after the first brings anything
    states: list[TrainingState] = []
    trained(train, broken, settings, on_epoch=lambda _, __, state: states.append(copy.deepcopy(state)))
    again: list[TrainingState] = []
    trained(train, broken, settings, state=states[-1], on_epoch=lambda *told: again.append(told[2]))
    assert again == []


def judged(accuracies: list[float], patience_epochs: int, monkeypatch: pytest.MonkeyPatch, digits: Digits):
    """Train with these validation accuracies."""
    left = iter(accuracies)
    monkeypatch.setattr("inkloop.training.accuracy", lambda *_: next(left))
    seen: list[dict[str, torch.Tensor]] = []
    settings = SHORT.model_copy(update={"epochs": len(accuracies), "patience_epochs": patience_epochs})
    model = new_model()
    state = fit(model, digits, digits, settings, None, seed=0, on_epoch=lambda model, *_: seen.append(copied(model)))
    return model, state, seen


def copied(model: Recognizer) -> dict[str, torch.Tensor]:
    return {name: value.clone() for name, value in model.state_dict().items()}


@pytest.mark.parametrize(
    ("accuracies", "patience_epochs", "epochs", "best"),
    [
        ([0.1, 0.2, 0.3, 0.4], 2, 4, 3),
        ([0.5, 0.4, 0.3, 0.2], 2, 3, 0),
        ([0.5, 0.4, 0.6, 0.5, 0.5, 0.9], 2, 5, 2),
        ([0.5, 0.4, 0.5, 0.4], 5, 4, 2),
    ],
)
def test_training_stops_when_patience_is_spent_and_keeps_the_best_weights(
    accuracies, patience_epochs, epochs, best, monkeypatch, train
):
    model, state, seen = judged(accuracies, patience_epochs, monkeypatch, train.take(slice(0, 128)))
    assert len(state.epochs) == epochs
    assert (state.best_epoch, state.best_accuracy) == (best, accuracies[best])
    for name, value in model.state_dict().items():
        assert torch.equal(value, seen[best][name])


def rates(total: int, **changes) -> list[float]:
    settings = TrainingSettings(warmup_share=0.1, **changes)
    return [learning_rate_factor(step, total, settings) for step in range(total)]


@given(
    total=st.integers(1, 300),
    schedule=st.sampled_from(["one_cycle", "cosine", "cosine_restarts"]),
    restarts=st.integers(1, 5),
)
def test_every_schedule_stays_between_0_and_its_peak_and_reaches_the_peak(total, schedule, restarts):
    factors = rates(total, schedule=schedule, restarts=restarts)
    assert all(0 <= factor <= 1 for factor in factors)
    assert max(factors) == 1


def test_every_schedule_warms_up_in_a_straight_line():
    for schedule in ("one_cycle", "cosine", "cosine_restarts"):
        assert rates(100, schedule=schedule)[:10] == pytest.approx([step / 10 for step in range(1, 11)])


@pytest.mark.parametrize(("schedule", "floor"), [("one_cycle", 0.0), ("cosine", 0.01)])
def test_a_single_cosine_only_falls_to_its_floor(schedule, floor):
    factors = rates(100, schedule=schedule)[10:]
    assert factors == sorted(factors, reverse=True)
    assert factors[-1] == pytest.approx(floor, abs=0.001)
    assert factors[45] == pytest.approx(floor + (1 - floor) / 2, abs=0.01)


def test_warm_restarts_start_again_at_the_peak():
    factors = rates(100, schedule="cosine_restarts", restarts=3)
    peaks = [step for step in range(10, 100) if factors[step] == 1]
    assert peaks == [10, 40, 70]


def test_the_learning_rate_that_is_logged_is_the_last_of_the_epoch(train, validation):
    state = TrainingState()
    trained(train, validation, state=state)
    steps = math.ceil(len(train) / SHORT.batch_size)
    expected = [0.01 * learning_rate_factor(epoch * steps + steps - 1, 4 * steps, SHORT) for epoch in range(4)]
    assert [result.learning_rate for result in state.epochs] == pytest.approx(expected)


def test_averaged_weights_are_the_moving_mean_of_the_steps(train, validation):
    """Of one step an epoch, that each epoch's state shows; at first over few steps."""
    settings = SHORT.model_copy(update={"batch_size": 512, "ema_decay": 0.2})
    expected, step = copied(new_model()), 0

    def on_epoch(model: Recognizer, _: EpochResult, state: TrainingState) -> None:
        nonlocal step
        decay = min(0.2, (1 + step) / (10 + step))
        step += 1
        for name, value in model.state_dict().items():
            expected[name] = decay * expected[name] + (1 - decay) * value
            torch.testing.assert_close(state.average[name], expected[name])

    trained(train, validation, settings, on_epoch=on_epoch)
    assert step == 4


def test_a_model_trained_with_averaging_answers_with_the_average(train, validation):
    state = TrainingState()
    model = trained(train, validation, SHORT.model_copy(update={"ema_decay": 0.9}), state=state)
    assert state.best_accuracy == pytest.approx(accuracy(model, validation))
    assert state.best_epoch == 3, "the last average must be the best here"
    for name, value in model.state_dict().items():
        assert torch.equal(value, state.average[name])


@contextmanager
def always_answering_3(model: nn.Module) -> Iterator[None]:
    bias = model.get_parameter("head.bias")
    exact = bias.data
    bias.data = 1000 * F.one_hot(torch.tensor(3), 10).float()
    yield
    bias.data = exact


@pytest.mark.parametrize("ema_decay", [0.0, 0.9])
def test_validation_judges_the_model_in_the_weights_it_will_answer_with(train, validation, ema_decay):
    state = TrainingState()
    settings = SHORT.model_copy(update={"epochs": 1, "ema_decay": ema_decay})
    trained(train, validation, settings, weights=always_answering_3, state=state)
    assert state.best_accuracy == pytest.approx((validation.labels == 3).mean())


def test_gradients_are_clipped(train, validation):
    norms: list[float] = []

    def on_epoch(model: Recognizer, *_: object) -> None:
        norms.append(torch.cat([each.grad.flatten() for each in model.parameters() if each.grad is not None]).norm())

    settings = SHORT.model_copy(update={"clip_norm": 0.01, "epochs": 1})
    trained(train, validation, settings, on_epoch=on_epoch)
    assert norms[0] == pytest.approx(0.01, rel=1e-3)


@pytest.mark.parametrize("options", [{}, {"weights": rounded_weights}], ids=["exact", "quantized"])
def test_gradient_checkpointing_changes_no_weight(train, validation, options):
    checkpointed = SHORT.model_copy(update={"gradient_checkpointing": True})
    assert same_weights(trained(train, validation, checkpointed, **options), trained(train, validation, **options))


def test_gradient_checkpointing_keeps_less_for_the_gradients():
    """Bytes that the forward pass of a long picture leaves behind."""

    def kept(checkpointing: bool) -> int:
        total = 0

        def pack(tensor: torch.Tensor) -> torch.Tensor:
            nonlocal total
            total += tensor.nbytes
            return tensor

        with torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor):
            new_model()(torch.zeros(4, 280, 28), checkpointing)
        return total

    assert kept(True) < 0.5 * kept(False)


def test_every_digit_is_seen_once_an_epoch(train, validation):
    seen: list[int] = []

    def loss(answer, batch: Batch) -> torch.Tensor:
        assert torch.equal(batch.labels, torch.from_numpy(train.labels)[batch.rows])
        seen.extend(batch.rows.tolist())
        return answer.logits.sum()

    trained(train, validation, SHORT.model_copy(update={"epochs": 1}), loss=loss)
    assert sorted(seen) == list(range(500))


@pytest.mark.parametrize("count", [100, 129, 130, 131])
@pytest.mark.parametrize("workers", [2, 3])
def test_workers_share_every_step_and_together_weigh_as_one(train, validation, workers, count):
    """Also where a step's digits cannot be shared out evenly, or are fewer than the workers."""
    steps: list[list[Batch]] = []
    digits = train.take(slice(0, count))
    for rank in range(workers):
        batches: list[Batch] = []

        def loss(answer, batch: Batch, batches: list[Batch] = batches) -> torch.Tensor:
            batches.append(batch)
            return answer.logits.sum()

        trained(digits, validation, SHORT.model_copy(update={"epochs": 1}), loss=loss, rank=rank, workers=workers)
        steps.append(batches)
    for parts in zip(*steps, strict=True):
        weights: dict[int, float] = {}
        for part in parts:
            for row in part.rows.tolist():
                weights[row] = weights.get(row, 0) + part.weight / len(part.rows) / workers
        assert list(weights.values()) == pytest.approx([1 / len(weights)] * len(weights))
    assert {row for batches in steps for batch in batches for row in batch.rows.tolist()} == set(range(count))


def test_answers_do_not_depend_on_the_batch_nor_on_dropout(trained_model, test_digits):
    trained_model.train()
    images = torch.from_numpy(test_digits.images[:70])
    torch.testing.assert_close(logits(trained_model, images), logits(trained_model, images, batch_size=9))
    assert trained_model.training


def test_accuracy_is_the_share_of_right_answers(trained_model, test_digits):
    answered = trained_model(normalize(torch.from_numpy(test_digits.images))).logits.argmax(1).numpy()
    assert accuracy(trained_model, test_digits) == pytest.approx((answered == test_digits.labels).mean())
    wrong = replace(test_digits, labels=(answered + 1) % 10)
    assert accuracy(trained_model, wrong) == 0


def test_focal_loss_learns_too(train_digits, validation_digits):
    settings = SHORT.model_copy(update={"loss": LossSettings(kind="focal", focal_alpha=1.0)})
    state = fit(new_model(), train_digits, validation_digits, settings, None, seed=0)
    assert state.best_accuracy > 0.75


def test_an_epoch_tells_what_it_took_of_the_processor(train, validation):
    state = fit(new_model(), train, validation, SHORT, AUGMENTATION, seed=1)
    assert all(0 < epoch.cpu_seconds < epoch.seconds + 0.1 for epoch in state.epochs)  # one thread


def test_an_epoch_is_told_in_one_line():
    told = EpochResult(0, 8, 0.71234, 0.9312, 0.004, 12.4, 11.9).line()
    assert told == "epoch 1 of 8: loss 0.7123, validation accuracy 93.12%, 12 s"
