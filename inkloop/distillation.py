"""Distillation: a small student learns from the teacher's soft answers (Hinton 2015)."""

import torch
from torch import Tensor
from torch.nn import functional as F

from inkloop.augmentation import AugmentationSettings
from inkloop.digits import Digits
from inkloop.losses import distillation_loss
from inkloop.model import Answer, ModelSettings, Recognizer
from inkloop.settings import Settings
from inkloop.training import Batch, Loss, OnEpoch, TrainingSettings, TrainingState, fit, logits


class TeachingSettings(Settings):
    """What a student hears from its teacher."""

    temperature: float = 2.0  # softens the teacher's answers
    teacher_share: float = 0.5  # of the loss; the rest is the labels'


class DistillationSettings(Settings):
    """The student's shape, and how it is taught."""

    model: ModelSettings = ModelSettings(hidden_size=40, attention_size=16, fc_size=40, dropout=0.0)
    training: TrainingSettings = TrainingSettings(epochs=8, learning_rate=8e-3, ema_decay=0.998)
    teaching: TeachingSettings = TeachingSettings()


def taught_loss(teacher: Recognizer, train: Digits, teaching: TeachingSettings) -> Loss:
    """The loss of learning `train` from teacher and labels.

    The teacher answers each digit once, undeformed; the student is held to that answer however its copy is deformed
    (Xie 2020), so that soft labels cost one pass and every epoch still sees new deformations.
    """
    teacher_logits = logits(teacher, torch.from_numpy(train.images))

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
    loss = taught_loss(teacher, train, settings.teaching)
    torch.manual_seed(seed)
    student = Recognizer(settings.model)
    state = fit(student, train, validation, settings.training, augmentation, seed, loss=loss, on_epoch=on_epoch)
    return student, state
