"""LSTM layers by compiled code: PyTorch's states and gradients, in training alone."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from inkloop import lstm
from inkloop.augmentation import AugmentationSettings
from inkloop.model import ModelSettings, Recognizer
from inkloop.readings import Reading
from inkloop.recurrent import run
from inkloop.training import TrainingSettings, fit

needs_compiled = pytest.mark.skipif(lstm._lstm is None, reason="Inkloop was installed where there is no C compiler")

SMALL = ModelSettings(
    readings=(Reading(kind="sweeps", size=4, margin=1),), hidden_size=8, upper_sizes=(6,), attention_size=8, fc_size=16
)


def gradients(layer: nn.LSTM, sequence: torch.Tensor, states: torch.Tensor, of_states: torch.Tensor):
    wanted = [each for each in (sequence, *layer.parameters()) if each.requires_grad]
    return torch.autograd.grad(states, wanted, of_states)


@needs_compiled
@settings(max_examples=60, deadline=None)
@given(
    batch=st.integers(1, 70),
    steps=st.integers(1, 9),
    features=st.integers(1, 40),
    hidden_size=st.integers(1, 40),
    bidirectional=st.booleans(),
    is_first=st.booleans(),
    scale=st.sampled_from([1.0, 30.0]),
)
def test_states_and_gradients_are_those_of_pytorch(batch, steps, features, hidden_size, bidirectional, is_first, scale):
    torch.manual_seed(0)
    layer = nn.LSTM(features, hidden_size, batch_first=True, bidirectional=bidirectional)
    sequence = (scale * torch.randn(batch, steps, features)).requires_grad_(not is_first)
    theirs, ours = layer(sequence)[0], lstm.states(layer, sequence)
    of_states = torch.randn_like(theirs)
    rounding = 4e-6 * scale  # sums of large inputs are rounded more
    torch.testing.assert_close(ours, theirs, rtol=1e-5, atol=rounding)
    for one, other in zip(*(gradients(layer, sequence, each, of_states) for each in (ours, theirs)), strict=True):
        torch.testing.assert_close(one, other, rtol=1e-4, atol=10 * rounding * float(other.abs().max() + 1))


@needs_compiled
def test_a_transposed_sequence_is_read_as_it_is():
    layer, sequence = nn.LSTM(5, 8, batch_first=True), torch.randn(7, 3, 5).transpose(0, 1)
    torch.testing.assert_close(lstm.states(layer, sequence), layer(sequence)[0])


@needs_compiled
def test_gradients_can_be_asked_for_twice():
    layer, sequence = nn.LSTM(5, 8, batch_first=True), torch.randn(3, 4, 5, requires_grad=True)
    total = lstm.states(layer, sequence).sum()
    first = torch.autograd.grad(total, sequence, retain_graph=True)
    assert torch.equal(first[0], torch.autograd.grad(total, sequence)[0])


@needs_compiled
def test_it_is_for_training_lstms_on_a_cpu_alone():
    sequence = torch.zeros(1, 2, 3)
    assert lstm.takes(nn.LSTM(3, 4, batch_first=True), sequence)
    assert not lstm.takes(nn.GRU(3, 4, batch_first=True), sequence)
    assert not lstm.takes(nn.LSTM(3, 4, batch_first=True), sequence.double())
    assert not lstm.takes(nn.LSTM(3, 4, batch_first=True), sequence.to("meta"))
    with torch.no_grad():
        assert not lstm.takes(nn.LSTM(3, 4, batch_first=True), sequence)


@needs_compiled
def test_training_with_it_comes_to_what_pytorch_alone_comes_to(train_digits, validation_digits, monkeypatch):
    def trained() -> float:
        torch.manual_seed(0)
        recipe = TrainingSettings(epochs=1, batch_size=64)
        state = fit(
            Recognizer(SMALL),
            train_digits.take(slice(0, 500)),
            validation_digits,
            recipe,
            AugmentationSettings(),
            seed=0,
        )
        return state.epochs[0].train_loss

    ours = trained()
    assert trained() == ours  # bit for bit
    monkeypatch.setattr(lstm, "_lstm", None)
    assert trained() == pytest.approx(ours, rel=1e-3)


def test_without_compiled_code_pytorch_trains(monkeypatch):
    monkeypatch.setattr(lstm, "_lstm", None)
    layer, sequence = nn.LSTM(5, 8, batch_first=True), torch.randn(3, 4, 5)
    assert torch.equal(run(layer, sequence, None), layer(sequence)[0])
