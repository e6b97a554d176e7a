"""Distillation: a small student learns from the teacher's soft answers (Hinton 2015)."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from pydantic import NonNegativeInt, PositiveFloat, PositiveInt
from safetensors.torch import load_file, save_file
from torch import Tensor

from inkloop.batches import Batch, Blocks
from inkloop.digits import Digits
from inkloop.files import written_whole
from inkloop.losses import LossSettings, distillation_loss
from inkloop.model import Answer, ModelSettings, Recognizer
from inkloop.readings import SWEEPS
from inkloop.settings import Settings, Share
from inkloop.training import Loss, TrainingSettings, label_loss, logits

SOFT_LABELS = "soft_labels"  # in the file


class TeachingSettings(Settings):
    """What a student hears from its teacher."""

    temperature: PositiveFloat = 2.0  # softens the teacher's answers
    teacher_share: Share = 0.5  # of the loss, the rest is the labels'; 0 = it learns alone


class DistillationSettings(Settings):
    """The student's shape, and how it is taught."""

    model: ModelSettings = ModelSettings(
        readings=SWEEPS, hidden_size=10, upper_sizes=(10, 30, 30), attention_size=8, fc_size=16, dropout=0.0
    )
    training: TrainingSettings = TrainingSettings(epochs=10, batch_size=128, learning_rate=1e-2, ema_decay=0.998)
    teaching: TeachingSettings = TeachingSettings()
    workers: NonNegativeInt = 0  # 0 = one for each GPU, or else CPU, that Ray has
    least_workers: NonNegativeInt = 0  # go on with as few when a machine is lost; 0 = wait for another
    in_memory_images: PositiveInt = 1_000_000  # more training digits than these are read block by block


@dataclass(frozen=True)
class Lessons:
    """What the teacher says of each training digit: logits float (n, 10); and how much it counts."""

    teacher_logits: Tensor
    teaching: TeachingSettings


def soft_labels(teachers: Sequence[Recognizer], train: Digits | Blocks) -> Tensor:
    """What the teachers say of each digit, undeformed, in the mean: logits float (n, 10).

    The mean of logits is the geometric mean of answers (Hinton 2015), at any temperature. A student is held to it
    however its copy is deformed (Xie 2020), so that soft labels cost one pass and every epoch sees new deformations.
    """
    parts = [train] if isinstance(train, Digits) else map(train.read, range(len(train.sizes)))
    images = (torch.from_numpy(part.images) for part in parts)
    return torch.cat([torch.stack([logits(teacher, each) for teacher in teachers]).mean(0) for each in images])


def write_soft_labels(labels: Tensor, path: Path) -> None:
    """Keep them in one safetensors file, whole or not at all."""
    with written_whole(path) as unfinished:
        save_file({SOFT_LABELS: labels}, unfinished)


def read_soft_labels(path: Path) -> Tensor:
    """The soft labels in a file, float (n, 10)."""
    return load_file(path)[SOFT_LABELS]


def taught_loss(lessons: Lessons, settings: LossSettings) -> Loss:
    """The loss of learning the training digits from teacher and labels together. settings: of what labels teach."""
    teaching, of_labels = lessons.teaching, label_loss(settings)
    if teaching.teacher_share == 0:
        return of_labels

    def loss(answer: Answer, batch: Batch) -> Tensor:
        said = lessons.teacher_logits[batch.rows].to(answer.logits.device)
        from_teacher = distillation_loss(answer.logits, said, teaching.temperature)
        return teaching.teacher_share * from_teacher + (1 - teaching.teacher_share) * of_labels(answer, batch)

    return loss
