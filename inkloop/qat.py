"""Quantization-aware training: the last epochs are trained with weights rounded as INT8 will round them."""

from inkloop.augmentation import AugmentationSettings
from inkloop.digits import Digits
from inkloop.distillation import TeachingSettings, lessons_of, taught_loss
from inkloop.model import Recognizer
from inkloop.quantization import rounded_weights
from inkloop.settings import Settings
from inkloop.training import OnEpoch, TrainingSettings, TrainingState, fit


class QuantizationSettings(Settings):
    """How long a model is trained in rounded weights."""

    training: TrainingSettings = TrainingSettings(epochs=3, batch_size=256, learning_rate=1.5e-3, ema_decay=0.996)
    teaching: TeachingSettings = TeachingSettings()


def train_quantized(
    teacher: Recognizer,
    model: Recognizer,
    train: Digits,
    validation: Digits,
    augmentation: AugmentationSettings,
    settings: QuantizationSettings,
    seed: int,
    on_epoch: OnEpoch | None = None,
) -> TrainingState:
    """Train the model on in rounded weights, in place; it ends with the exact weights whose rounding was best."""
    loss = taught_loss(lessons_of(teacher, train, settings.teaching))
    data = (train, validation, settings.training, augmentation, seed + 3)
    return fit(model, *data, loss=loss, weights=rounded_weights, on_epoch=on_epoch)
