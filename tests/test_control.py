"""The control: a CNN of the size that one asks for, trained and counted as a recognizer is."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError
from torch import nn
from torch.nn import functional as F

from inkloop.control import Control, ControlSettings, channels_of
from inkloop.distillation import DistillationSettings
from inkloop.logs import TrainingLog
from inkloop.macs import count_macs
from inkloop.model import ModelSettings, Recognizer, count_parameters, normalize
from inkloop.readings import BACKGROUND, Reading
from inkloop.search import TeacherSettings
from inkloop.training import TrainingSettings, accuracy, fit

STUDENT, TEACHER = DistillationSettings().model, TeacherSettings().model


def parameters(channels: int) -> int:
    """By hand: two kernels of 3 x 3 with biases, and a line of weights a class."""
    return 10 * channels + (9 * channels + 1) * 2 * channels + (2 * channels * 49 + 1) * 10


def macs(channels: int) -> int:
    """By hand: the first kernels at 28 x 28 pixels, the second at 14 x 14, the classes once."""
    return 784 * 9 * channels + 196 * 18 * channels**2 + 980 * channels


@pytest.mark.parametrize("channels", [1, 7, 32])
def test_a_control_has_the_parameters_and_costs_the_macs_that_one_counts_by_hand(channels):
    control = Control(ControlSettings(channels=channels))
    assert count_parameters(control) == parameters(channels)
    assert count_macs(control) == macs(channels)


@settings(max_examples=20)
@given(wanted=st.integers(1, 20_000_000))
def test_no_other_width_comes_closer_to_what_is_asked_for(wanted):
    for name, size in (("parameters", parameters), ("macs", macs)):
        found = channels_of(ControlSettings.model_validate({name: wanted}))
        off = [abs(size(channels) - wanted) for channels in (found - 1, found, found + 1) if channels > 0]
        assert abs(size(found) - wanted) == min(off)


@pytest.mark.parametrize("shape", [STUDENT, TEACHER], ids=["student", "teacher"])
def test_controls_of_the_default_models_are_of_their_size(shape):
    model = Recognizer(shape)
    alike = Control(ControlSettings(parameters=count_parameters(model)))
    assert count_parameters(alike) == pytest.approx(count_parameters(model), rel=0.03)
    as_dear = Control(ControlSettings(macs=count_macs(model)))
    assert count_macs(as_dear) == pytest.approx(count_macs(model), rel=0.06)


@pytest.mark.parametrize("given", [{}, {"channels": 3, "macs": 1000}, {"parameters": 0}, {"channels": 3, "frame": 30}])
def test_a_control_without_one_clear_size_is_refused(given):
    with pytest.raises(ValidationError, match=r"give one of channels|greater than 0|cannot be halved twice"):
        ControlSettings.model_validate(given)


@torch.no_grad()
def test_a_control_reads_digits_of_any_size_alone_as_in_company(mnist):
    torch.manual_seed(0)
    control = Control(ControlSettings(channels=4)).eval()
    images = normalize(torch.from_numpy(mnist["test"].images[:3]))
    pictures = [images[0], F.pad(images[1], (5, 9, 0, 30), value=BACKGROUND), images[2][12:13, 12:13]]
    for row, picture in enumerate(pictures):
        torch.testing.assert_close(control(pictures).logits[row], control(picture[None]).logits[0])
    torch.testing.assert_close(control(images).logits, control([*images]).logits)


def test_a_control_learns_to_read_and_is_logged_as_a_recognizer(train_digits, validation_digits, tmp_path):
    torch.manual_seed(0)
    control = Control(ControlSettings(channels=4))
    recipe = TrainingSettings(epochs=2, batch_size=64, learning_rate=1e-2, ema_decay=0.9)
    log = TrainingLog(tmp_path, validation_digits)
    state = fit(control, train_digits, validation_digits, recipe, None, seed=0, on_epoch=log.write)
    assert state.best_accuracy == pytest.approx(accuracy(control, validation_digits))
    assert state.best_accuracy > 0.85


def test_an_lstm_costs_what_one_counts_by_hand():
    """4 gates of 3 units read 5 numbers and 3 states at each of 7 steps, both ways."""

    class Net(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.lstm = nn.LSTM(5, 3, batch_first=True, bidirectional=True)

        def forward(self, images: torch.Tensor) -> torch.Tensor:
            return self.lstm(images.new_zeros(1, 7, 5))[0]

    assert count_macs(Net()) == 7 * 2 * 4 * 3 * (5 + 3)


@pytest.mark.parametrize(("cell", "gates"), [("lstm", 4), ("gru", 3), ("rnn", 1)])
def test_a_recognizer_costs_its_matrices_at_each_step(cell, gates):
    rows = (Reading(kind="rows"),)
    shape = ModelSettings(readings=rows, cell=cell, hidden_size=40, upper_sizes=(9,), attention_size=16, fc_size=40)
    layers = gates * 14 * 2 * (40 * (56 + 40) + 9 * (80 + 9))
    attention = 14 * (18 * 16 + 16)
    assert count_macs(Recognizer(shape)) == layers + attention + 18 * 40 + 40 * 1 + 40 * 10


def test_counting_leaves_the_model_as_it_was(trained_model):
    trained_model.train()
    count_macs(trained_model)
    assert trained_model.training
    assert not any(module._forward_hooks for module in trained_model.modules())
