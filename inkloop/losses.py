"""Losses: cross entropy with label smoothing, focal loss, class weights, and the distillation loss."""

from typing import Annotated, Literal

import torch
from pydantic import Field, NonNegativeFloat
from torch import Tensor
from torch.nn import functional as F

from inkloop.settings import Settings, Share


class LossSettings(Settings):
    """What a wrong or unsure answer costs."""

    kind: Literal["cross_entropy", "focal"] = "cross_entropy"
    label_smoothing: Share = 0.05
    focal_gamma: NonNegativeFloat = 2.0  # how much sure answers are discounted
    focal_alpha: NonNegativeFloat = 0.25  # scale of the focal loss
    class_weights: Annotated[tuple[NonNegativeFloat, ...], Field(min_length=10, max_length=10)] | None = (
        None  # by digit
    )


def classification_loss(logits: Tensor, labels: Tensor, settings: LossSettings) -> Tensor:
    """Mean loss of a batch. logits: (batch, 10); labels: int64 (batch,). Focal: Lin 2017, with smoothed targets."""
    weight = None if settings.class_weights is None else logits.new_tensor(settings.class_weights)
    if settings.kind == "cross_entropy":
        return F.cross_entropy(logits, labels, weight, label_smoothing=settings.label_smoothing)
    log_p = logits.log_softmax(1)
    classes = logits.shape[1]
    targets = F.one_hot(labels, classes) * (1 - settings.label_smoothing) + settings.label_smoothing / classes
    focus = settings.focal_alpha * (1 - log_p.exp()) ** settings.focal_gamma
    weighted = targets * focus * log_p if weight is None else targets * focus * log_p * weight
    total = len(labels) if weight is None else weight[labels].sum()  # as cross entropy has it
    return -weighted.sum() / total


def distillation_loss(logits: Tensor, teacher_logits: Tensor, temperature: float) -> Tensor:
    """Divergence from the teacher's softened answers, scaled by T^2 (Hinton 2015). Both: (batch, 10)."""
    student = (logits / temperature).log_softmax(1)
    teacher = (teacher_logits / temperature).log_softmax(1)
    return F.kl_div(student, teacher, log_target=True, reduction="batchmean") * temperature**2


def error_rate(logits: Tensor, labels: Tensor) -> Tensor:
    """Share of wrong answers, 0..1."""
    return (logits.argmax(1) != labels).to(torch.float32).mean()
