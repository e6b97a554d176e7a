"""TensorBoard logs of a training run."""

from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn
from torch.utils.tensorboard import SummaryWriter

from inkloop.attention import attention_map
from inkloop.digits import Digits
from inkloop.model import Recognizer, normalize
from inkloop.training import EpochResult, TrainingState, logits

ATTENTION_DIGITS = 8
ERROR_DIGITS = 32


class TrainingLog:
    """Writes each epoch's loss, accuracy, learning rate, weights, gradients, attention maps and misread digits."""

    def __init__(self, folder: Path, validation: Digits) -> None:
        self._writer = SummaryWriter(str(folder))
        self._validation = validation

    def write(self, model: nn.Module, result: EpochResult, state: TrainingState) -> None:
        """Log one epoch, with the gradients of its last step, and say how it went: a `training.OnEpoch`."""
        print(result.line(), flush=True)
        writer, epoch = self._writer, result.epoch
        writer.add_scalar("loss/train", result.train_loss, epoch)
        writer.add_scalar("accuracy/validation", result.validation_accuracy, epoch)
        writer.add_scalar("learning_rate", result.learning_rate, epoch)
        for name, parameter in model.named_parameters():
            writer.add_histogram(f"weights/{name}", parameter.detach(), epoch)
            if parameter.grad is not None:
                writer.add_histogram(f"gradients/{name}", parameter.grad, epoch)
        if isinstance(model, Recognizer) and model.settings.attention_size:
            sample = self._validation.take(slice(0, ATTENTION_DIGITS))
            writer.add_image("attention", _attention_sheet(model, sample), epoch, dataformats="HW")
        answers = logits(model, torch.from_numpy(self._validation.images)).argmax(1).numpy()
        wrong = np.flatnonzero(answers != self._validation.labels)
        if len(wrong):
            shown = wrong[:ERROR_DIGITS]
            writer.add_image("errors", np.hstack(list(self._validation.images[shown])), epoch, dataformats="HW")
            said = (f"{self._validation.labels[row]} read as {answers[row]}" for row in shown)
            writer.add_text("errors", f"{len(wrong)} misread; shown: " + ", ".join(said), epoch)
        writer.flush()


@torch.no_grad()
def _attention_sheet(model: Recognizer, digits: Digits) -> NDArray[np.uint8]:
    """A row of digits, and under it, a row for each reading with what was attended to lit up."""
    device = next(model.parameters()).device
    was_training = model.training
    attention = model.eval()(normalize(torch.from_numpy(digits.images).to(device))).attention
    model.train(was_training)
    rows = [np.hstack(list(digits.images))]
    for reading, weights in zip(model.settings.readings, attention, strict=True):
        maps = [attention_map(weight, reading, model.settings.frame) for weight in weights.cpu().numpy()]
        rows.append(
            (np.hstack(list(digits.images)) * (0.2 + 0.8 * np.hstack(maps)) + 40 * np.hstack(maps)).clip(0, 255)
        )
    return np.vstack(rows).astype(np.uint8)
