"""Distillation: a small student learns from what its teacher says, not only from the labels."""

import pytest
import torch
from torch.nn import functional as F

from inkloop.augmentation import AugmentationSettings
from inkloop.batches import Batch
from inkloop.digits import Digits
from inkloop.distillation import Lessons, TeachingSettings, soft_labels, taught_loss
from inkloop.losses import LossSettings, distillation_loss
from inkloop.model import Answer, ModelSettings, Recognizer, count_parameters
from inkloop.readings import Reading
from inkloop.training import TrainingSettings, accuracy, fit, logits

PUPIL = ModelSettings(
    readings=(Reading(kind="rows", size=4),), hidden_size=8, attention_size=8, fc_size=16, dropout=0.0
)
LESSONS = TrainingSettings(epochs=3, batch_size=64, learning_rate=1e-2)


def taught(teacher: Recognizer, train: Digits, validation: Digits, **teaching: float) -> Recognizer:
    """A new student, taught with slight deformations."""
    torch.manual_seed(0)
    student = Recognizer(PUPIL)
    loss = taught_loss(Lessons(soft_labels([teacher], train), TeachingSettings(**teaching)), LESSONS.loss)
    deformations = AugmentationSettings(rotation_deg=5, scale=0.05, shear=0.05, shift_px=1, elastic_px=0)
    fit(student, train, validation, LESSONS, deformations, seed=0, loss=loss)
    return student


def answered(model: Recognizer, digits: Digits) -> torch.Tensor:
    return logits(model, torch.from_numpy(digits.images)).argmax(1)


def test_a_smaller_student_learns_to_read(learnt, train_digits, validation_digits):
    student = taught(learnt, train_digits, validation_digits)
    assert count_parameters(student) < 0.6 * count_parameters(learnt)
    assert accuracy(student, validation_digits) > 0.7


def test_a_student_that_hears_only_its_teacher_needs_no_right_labels(learnt, train_digits, validation_digits):
    mislabeled = Digits(train_digits.images, (train_digits.labels + 1) % 10, train_digits.ids)
    student = taught(learnt, mislabeled, validation_digits, teacher_share=1.0)
    agreed = answered(student, validation_digits) == answered(learnt, validation_digits)
    assert agreed.float().mean() > 0.7


def test_the_teacher_is_left_as_it_was(trained_model, learnt, train_digits, validation_digits):
    taught(trained_model, train_digits.take(slice(0, 300)), validation_digits)
    for name, value in learnt.state_dict().items():
        assert torch.equal(value, trained_model.state_dict()[name])


@pytest.mark.parametrize("teacher_share", [0.0, 0.3, 1.0])
def test_the_loss_mixes_teacher_and_labels_by_the_share(learnt, train_digits, teacher_share):
    few = train_digits.take(slice(0, 40))
    rows = torch.tensor([5, 30, 2])
    batch = Batch(rows, torch.zeros(3, 28, 28), torch.from_numpy(few.labels)[rows])
    said = logits(learnt, torch.from_numpy(few.images))[rows]
    own = torch.randn(3, 10, generator=torch.Generator().manual_seed(0))
    from_teacher = distillation_loss(own, said, 3.0)
    from_labels = F.cross_entropy(own, batch.labels, label_smoothing=0.1)
    expected = teacher_share * from_teacher + (1 - teacher_share) * from_labels
    teaching = TeachingSettings(temperature=3.0, teacher_share=teacher_share)
    loss = taught_loss(Lessons(soft_labels([learnt], few), teaching), LossSettings(label_smoothing=0.1))
    torch.testing.assert_close(loss(Answer(own, [], torch.empty(0)), batch), expected)
