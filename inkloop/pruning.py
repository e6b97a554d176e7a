"""Structured pruning: whole LSTM units are pushed to nothing, then cut, and a smaller dense LSTM remains (Wen 2018)."""

from dataclasses import replace

import torch
from pydantic import NonNegativeFloat
from torch import Tensor, nn

from inkloop.augmentation import AugmentationSettings
from inkloop.digits import Digits
from inkloop.distillation import TeachingSettings, lessons_of, taught_loss
from inkloop.model import Answer, Reader, Recognizer, readers_of
from inkloop.settings import Settings, ShareBelowOne
from inkloop.training import Batch, Loss, OnEpoch, TrainingSettings, TrainingState, accuracy, fit


class PruningSettings(Settings):
    """How many units go, and how the model is trained around it."""

    share: ShareBelowOne = 0.2  # of the units of every LSTM, 0..1
    lasso: NonNegativeFloat = 1e-4  # weight of the group lasso in the loss
    sparsifying: TrainingSettings = TrainingSettings(epochs=1, batch_size=256, learning_rate=3e-3)
    recovering: TrainingSettings = TrainingSettings(epochs=5, batch_size=256, learning_rate=6e-3, ema_decay=0.996)
    teaching: TeachingSettings = TeachingSettings()


def unit_norms(reader: Reader) -> Tensor:
    """How much each unit weighs: float (2, hidden_size), forward units first.

    A unit's group is its rows in all four gates, its column in the recurrent matrix, and its column in the layers that
    read the states.
    """
    hidden_size = reader.lstm.hidden_size
    norms = []
    for direction, end in enumerate(("l0", "l0_reverse")):
        incoming = getattr(reader.lstm, f"weight_ih_{end}").view(4, hidden_size, -1).square().sum((0, 2))
        recurrent = getattr(reader.lstm, f"weight_hh_{end}").view(4, hidden_size, hidden_size).square()
        columns = slice(direction * hidden_size, (direction + 1) * hidden_size)
        outgoing = sum(layer.weight[:, columns].square().sum(0) for layer in (reader.attention.key, reader.project))
        norms.append((incoming + recurrent.sum((0, 2)) + recurrent.sum((0, 1)) + outgoing).sqrt())
    return torch.stack(norms)


def sparsifying_loss(model: Recognizer, taught: Loss, lasso: float) -> Loss:
    """The taught loss plus the group lasso over units."""

    def loss(answer: Answer, batch: Batch) -> Tensor:
        return taught(answer, batch) + lasso * torch.stack([unit_norms(reader) for reader in readers_of(model)]).sum()

    return loss


@torch.no_grad()
def cut(model: Recognizer, share: float) -> Recognizer:
    """The model without the lightest `share` of each direction's units in every LSTM: dense and smaller."""
    hidden_size = model.settings.hidden_size
    kept = max(1, round(hidden_size * (1 - share)))
    smaller = Recognizer(model.settings.model_copy(update={"hidden_size": kept}))
    for name in ("gate", "head"):
        getattr(smaller, name).load_state_dict(getattr(model, name).state_dict())
    for old, new in zip(readers_of(model), readers_of(smaller), strict=True):
        units = unit_norms(old).topk(kept).indices.sort().values
        for direction, end in enumerate(("l0", "l0_reverse")):
            rows = (units[direction] + torch.arange(4)[:, None] * hidden_size).flatten()
            for name in ("weight_ih", "bias_ih", "bias_hh"):
                getattr(new.lstm, f"{name}_{end}").copy_(getattr(old.lstm, f"{name}_{end}")[rows])
            recurrent = getattr(old.lstm, f"weight_hh_{end}")[rows][:, units[direction]]
            getattr(new.lstm, f"weight_hh_{end}").copy_(recurrent)
        columns = torch.cat([units[0], units[1] + hidden_size])
        for name in ("attention.key", "project"):
            source, target = old.get_submodule(name), new.get_submodule(name)
            _copy_columns(source, target, columns)
        new.attention.query.load_state_dict(old.attention.query.state_dict())
    return smaller


def _copy_columns(source: nn.Module, target: nn.Module, columns: Tensor) -> None:
    assert isinstance(source, nn.Linear) and isinstance(target, nn.Linear)
    target.weight.copy_(source.weight[:, columns])
    target.bias.copy_(source.bias)


def prune(
    teacher: Recognizer,
    student: Recognizer,
    train: Digits,
    validation: Digits,
    augmentation: AugmentationSettings,
    settings: PruningSettings,
    seed: int,
    on_epoch: OnEpoch | None = None,
) -> tuple[Recognizer, TrainingState]:
    """Push units to nothing, cut them, recover. The student itself is changed by the first of these.

    Returns the smaller model with its best weights on the validation digits, and how its recovery went. With nothing to
    cut (a share of 0) it is the student as it is.
    """
    if settings.share == 0:
        return student, TrainingState(best_accuracy=accuracy(student, validation))
    taught = taught_loss(lessons_of(teacher, train, settings.teaching))
    sparse = sparsifying_loss(student, taught, settings.lasso)
    first, second = settings.sparsifying, settings.recovering

    def told(before: int) -> OnEpoch | None:
        """Tell of both trainings as of one, whose epochs are counted through."""
        if on_epoch is None:
            return None
        epochs = first.epochs + second.epochs
        return lambda model, result, state: on_epoch(
            model, replace(result, epoch=before + result.epoch, epochs=epochs), state
        )

    fit(student, train, validation, first, augmentation, seed + 1, loss=sparse, on_epoch=told(0))
    smaller = cut(student, settings.share)
    data = (train, validation, second, augmentation, seed + 2)
    return smaller, fit(smaller, *data, loss=taught, on_epoch=told(first.epochs))
