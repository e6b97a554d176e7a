"""Quantization-aware training: the last epochs are trained with weights rounded as INT8 will round them."""

from torch import Tensor

from inkloop.augmentation import AugmentationSettings
from inkloop.digits import Digits
from inkloop.distillation import Lessons, TeachingSettings, taught_loss
from inkloop.model import Recognizer
from inkloop.quantization import rounded_weights
from inkloop.settings import Settings
from inkloop.training import OnEpoch, TrainingSettings, TrainingState, fit


class QuantizationSettings(Settings):
    """How long a model is trained in rounded weights."""

    training: TrainingSettings = TrainingSettings(epochs=3, batch_size=256, learning_rate=1.5e-3, ema_decay=0.996)
    teaching: TeachingSettings = TeachingSettings()


def train_quantized(
    soft_labels: Tensor,
    model: Recognizer,
    train: Digits,
    validation: Digits,
    augmentation: AugmentationSettings,
    settings: QuantizationSettings,
    seed: int,
    on_epoch: OnEpoch | None = None,
) -> TrainingState:
    """Train the model on in rounded weights, in place; it ends with the exact weights whose rounding was best.

    soft_labels: what a teacher says of the training digits, logits float (n, 10).
    """
    loss = taught_loss(Lessons(soft_labels, settings.teaching), settings.training.loss)
    data = (train, validation, settings.training, augmentation, seed + 3)
    return fit(model, *data, loss=loss, weights=rounded_weights, on_epoch=on_epoch)
