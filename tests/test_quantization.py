"""INT8: weights rounded row by row, and training that knows it."""

import re

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from inkloop.augmentation import AugmentationSettings
from inkloop.distillation import soft_labels
from inkloop.qat import QuantizationSettings, train_quantized
from inkloop.quantization import is_quantized, quantize_rows, round_rows, rounded_weights
from inkloop.training import TrainingSettings, accuracy

SIZES = st.integers(1, 40)


@st.composite
def matrices(draw: st.DrawFn) -> torch.Tensor:
    random = torch.Generator().manual_seed(draw(st.integers(0, 10_000)))
    scales = 10.0 ** torch.randint(-4, 3, (draw(SIZES), 1), generator=random)
    return torch.randn(len(scales), draw(SIZES), generator=random) * scales


@given(weight=matrices())
def test_rounded_weights_lie_on_a_grid_of_255_levels(weight):
    levels, scales = quantize_rows(weight)
    assert levels.dtype == torch.int8
    assert levels.min() >= -127
    assert levels.max() <= 127
    torch.testing.assert_close(round_rows(weight), levels * scales[:, None])


@given(weight=matrices())
def test_no_weight_is_rounded_by_more_than_half_a_level(weight):
    _, scales = quantize_rows(weight)
    assert ((round_rows(weight) - weight).abs() <= scales[:, None] * 0.5001).all()


@given(weight=matrices())
def test_the_largest_weight_of_a_row_is_kept(weight):
    torch.testing.assert_close(round_rows(weight).abs().amax(1), weight.abs().amax(1))


@given(weight=matrices())
def test_rounding_what_is_rounded_changes_nothing(weight):
    once = round_rows(weight)
    torch.testing.assert_close(round_rows(once), once)


def test_a_row_of_zeros_stays_a_row_of_zeros():
    assert not round_rows(torch.zeros(2, 5)).any()


def test_inside_the_context_weights_are_rounded_and_after_it_exact_again(trained_model):
    exact = {name: value.clone() for name, value in trained_model.state_dict().items()}
    with rounded_weights(trained_model):
        for name, parameter in trained_model.named_parameters():
            expected = round_rows(exact[name]) if is_quantized(name, parameter) else exact[name]
            assert torch.equal(parameter, expected), name
    for name, value in trained_model.state_dict().items():
        assert torch.equal(value, exact[name]), name


def test_weights_are_exact_again_even_after_an_error(trained_model):
    exact = {name: value.clone() for name, value in trained_model.state_dict().items()}
    with pytest.raises(KeyboardInterrupt), rounded_weights(trained_model):
        raise KeyboardInterrupt
    for name, value in trained_model.state_dict().items():
        assert torch.equal(value, exact[name]), name


def test_a_step_taken_in_rounded_weights_moves_the_exact_ones(trained_model):
    """The straight-through gradient: the rounded weights' gradient, applied to the exact weights."""
    head = trained_model.head
    exact = head.weight.detach().clone()
    states = torch.randn(4, 24, generator=torch.Generator().manual_seed(0))
    with rounded_weights(trained_model):
        head(states).square().sum().backward()
        rounded = head.weight.detach().clone()
    torch.optim.SGD([head.weight], lr=0.01).step()
    gradient = 2 * (states @ rounded.T + head.bias.detach()).T @ states
    torch.testing.assert_close(head.weight.detach(), exact - 0.01 * gradient)


def test_matrices_are_quantized_but_not_biases_nor_the_attentions_query(trained_model):
    parameters = trained_model.named_parameters()
    kept = {re.sub(r"readers\.\d\.", "", name) for name, each in parameters if not is_quantized(name, each)}
    assert kept == {
        "lstm.bias_ih_l0",
        "lstm.bias_hh_l0",
        "lstm.bias_ih_l0_reverse",
        "lstm.bias_hh_l0_reverse",
        "attention.key.bias",
        "attention.query.weight",
        "project.bias",
        "gate.bias",
        "head.bias",
    }


def test_what_is_trained_in_rounded_weights_is_also_judged_in_them(
    trained_model, learnt, train_digits, validation_digits
):
    random = torch.Generator().manual_seed(0)
    with torch.no_grad():  # a damage to be mended
        for parameter in trained_model.parameters():
            parameter += 0.15 * torch.randn(parameter.shape, generator=random)
    with rounded_weights(trained_model):
        before = accuracy(trained_model, validation_digits)
    recipe = QuantizationSettings(training=TrainingSettings(epochs=1, batch_size=64, learning_rate=3e-3))
    digits = train_digits.take(slice(0, 2000))
    parts = (digits, validation_digits, AugmentationSettings(), recipe)
    state = train_quantized(soft_labels([learnt], digits), trained_model, *parts, seed=0)
    with rounded_weights(trained_model):
        after = accuracy(trained_model, validation_digits)
    assert after == pytest.approx(state.best_accuracy)
    assert after > before + 0.02
