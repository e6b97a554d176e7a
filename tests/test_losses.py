"""Losses: what wrong, unsure and untaught answers cost."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch.nn import functional as F

from inkloop.losses import LossSettings, classification_loss, distillation_loss, error_rate

SEEDS = st.integers(0, 10_000)
SHARES = st.floats(0, 0.5)


def answers(seed: int, count: int = 12) -> tuple[torch.Tensor, torch.Tensor]:
    """Logits and labels."""
    random = torch.Generator().manual_seed(seed)
    return torch.randn(count, 10, generator=random) * 3, torch.randint(10, (count,), generator=random)


@given(seed=SEEDS, smoothing=SHARES, weighted=st.booleans())
def test_focal_loss_without_focus_is_cross_entropy(seed, smoothing, weighted):
    logits, labels = answers(seed)
    weights = tuple(1 + digit / 3 for digit in range(10)) if weighted else None
    shared = {"label_smoothing": smoothing, "class_weights": weights}
    focal = LossSettings(kind="focal", focal_gamma=0, focal_alpha=1, **shared)
    expected = classification_loss(logits, labels, LossSettings(**shared))
    torch.testing.assert_close(classification_loss(logits, labels, focal), expected)


def test_focal_loss_is_lins_formula():
    logits, labels = answers(0)
    p = logits.softmax(1)[torch.arange(len(labels)), labels]
    expected = (-0.25 * (1 - p) ** 2 * p.log()).mean()
    loss = classification_loss(logits, labels, LossSettings(kind="focal", label_smoothing=0))
    torch.testing.assert_close(loss, expected)


@given(seed=SEEDS)
def test_focal_loss_discounts_sure_answers_more_than_unsure_ones(seed):
    _, labels = answers(seed)
    focal, plain = LossSettings(kind="focal", label_smoothing=0), LossSettings(label_smoothing=0)

    def discount(confidence: float) -> float:
        logits = F.one_hot(labels, 10) * confidence
        return (classification_loss(logits, labels, focal) / classification_loss(logits, labels, plain)).item()

    assert discount(5.0) < discount(1.0)


@pytest.mark.parametrize("kind", ["cross_entropy", "focal"])
def test_a_class_of_weight_0_costs_nothing(kind):
    logits, labels = answers(1)
    weights = tuple(0.0 if digit == labels[0] else 1.0 for digit in range(10))
    settings = LossSettings(kind=kind, label_smoothing=0, class_weights=weights)
    others = labels != labels[0]
    torch.testing.assert_close(
        classification_loss(logits, labels, settings), classification_loss(logits[others], labels[others], settings)
    )


@pytest.mark.parametrize("kind", ["cross_entropy", "focal"])
def test_a_heavier_class_draws_more_of_the_gradient(kind):
    logits, labels = torch.zeros(2, 10, requires_grad=True), torch.tensor([3, 8])
    weights = tuple(4.0 if digit == 8 else 1.0 for digit in range(10))
    classification_loss(logits, labels, LossSettings(kind=kind, label_smoothing=0, class_weights=weights)).backward()
    assert logits.grad is not None
    torch.testing.assert_close(logits.grad[1, 8], 4 * logits.grad[0, 3])


@given(seed=SEEDS, temperature=st.floats(0.5, 20))
def test_a_student_that_answers_like_its_teacher_has_nothing_to_learn(seed, temperature):
    logits, _ = answers(seed)
    assert abs(distillation_loss(logits, logits, temperature).item()) < 1e-4
    shifted = logits + 7  # the same probabilities
    assert abs(distillation_loss(shifted, logits, temperature).item()) < 1e-3


@given(seed=SEEDS, temperature=st.floats(0.5, 20))
def test_a_student_that_answers_otherwise_always_has(seed, temperature):
    student, teacher = answers(seed)[0], answers(seed + 1)[0]
    assert distillation_loss(student, teacher, temperature).item() > 0


def test_the_gradient_of_distillation_does_not_fade_with_the_temperature():
    """Hinton 2015: scaled by T^2, soft and hard targets keep their relative weight."""

    def gradient(temperature: float) -> float:
        student, teacher = answers(0)[0].requires_grad_(), answers(1)[0]
        distillation_loss(student, teacher, temperature).backward()
        assert student.grad is not None
        return student.grad.norm().item()

    assert 0.5 < gradient(50) / gradient(100) < 2


def test_error_rate_is_the_share_of_wrong_answers():
    logits = F.one_hot(torch.tensor([1, 2, 3, 4]), 10).float()
    assert error_rate(logits, torch.tensor([1, 2, 0, 0])).item() == 0.5
