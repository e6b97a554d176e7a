"""Distillation: a small student learns from the teacher's soft answers (Hinton 2015)."""

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from inkloop.augmentation import AugmentationSettings, deform
from inkloop.digits import Digits
from inkloop.losses import distillation_loss
from inkloop.model import Answer, ModelSettings, Recognizer
from inkloop.settings import Settings
from inkloop.training import Batch, Loss, OnEpoch, TrainingSettings, TrainingState, fit, logits


class TeachingSettings(Settings):
    """What a student hears from its teacher."""

    temperature: float = 4.0  # softens the teacher's answers
    teacher_share: float = 0.7  # of the loss; the rest is the labels'
    views: int = 1  # deformed copies of each digit that the teacher answers, once; an epoch sees them all


class DistillationSettings(Settings):
    """The student's shape, and how it is taught."""

    model: ModelSettings = ModelSettings(hidden_size=32, attention_size=24, fc_size=48, dropout=0.2)
    training: TrainingSettings = TrainingSettings(epochs=4, learning_rate=8e-3)
    teaching: TeachingSettings = TeachingSettings(views=2)


def prepare(
    teacher: Recognizer, digits: Digits, augmentation: AugmentationSettings, teaching: TeachingSettings, seed: int
) -> tuple[Digits, Loss]:
    """Deform each digit `teaching.views` times, let the teacher answer each once.

    Returns the deformed digits and the loss of learning them from teacher and labels together.
    """
    random = torch.Generator().manual_seed(seed)
    clean = torch.from_numpy(digits.images)
    deformed = [
        deform(part.float(), augmentation, random).round().to(torch.uint8)
        for _ in range(teaching.views)
        for part in clean.split(1000)
    ]
    images = torch.cat(deformed)
    answers = logits(teacher, images)
    views = teaching.views
    return Digits(images.numpy(), np.tile(digits.labels, views), digits.ids * views), taught_loss(answers, teaching)


def taught_loss(teacher_logits: Tensor, teaching: TeachingSettings) -> Loss:
    """The loss of learning from teacher and labels. teacher_logits: float (n, 10), by row of the training set."""

    def loss(answer: Answer, batch: Batch) -> Tensor:
        said = teacher_logits[batch.rows].to(answer.logits.device)
        from_teacher = distillation_loss(answer.logits, said, teaching.temperature)
        from_labels = F.cross_entropy(answer.logits, batch.labels)
        return teaching.teacher_share * from_teacher + (1 - teaching.teacher_share) * from_labels

    return loss


def distill(
    teacher: Recognizer,
    train: Digits,
    validation: Digits,
    augmentation: AugmentationSettings,
    settings: DistillationSettings,
    seed: int,
    on_epoch: OnEpoch | None = None,
) -> tuple[Recognizer, TrainingState]:
    """Teach a new student. Returns it with its best weights on the validation digits, and how training went."""
    lessons, loss = prepare(teacher, train, augmentation, settings.teaching, seed)
    torch.manual_seed(seed)
    student = Recognizer(settings.model)
    return student, fit(student, lessons, validation, settings.training, None, seed, loss=loss, on_epoch=on_epoch)
