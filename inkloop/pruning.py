"""Structured pruning: whole recurrent units are pushed to nothing, then cut; smaller dense layers remain (Wen 2018)."""

from dataclasses import replace

import torch
from pydantic import NonNegativeFloat
from torch import Tensor

from inkloop.augmentation import AugmentationSettings
from inkloop.batches import Batch
from inkloop.digits import Digits
from inkloop.distillation import Lessons, TeachingSettings, taught_loss
from inkloop.errors import UserError
from inkloop.model import Answer, ModelSettings, Reader, Recognizer, readers_of
from inkloop.rnn_weights import ends_of, gates_of
from inkloop.settings import Settings, ShareBelowOne
from inkloop.training import Loss, OnEpoch, TrainingSettings, TrainingState, accuracy, fit


class PruningSettings(Settings):
    """How many units go, and how the model is trained around it."""

    share: ShareBelowOne = 0.2  # of the units of every recurrent layer, 0..1
    lasso: NonNegativeFloat = 1e-4  # weight of the group lasso in the loss
    sparsifying: TrainingSettings = TrainingSettings(epochs=1, batch_size=256, learning_rate=3e-3)
    recovering: TrainingSettings = TrainingSettings(epochs=5, batch_size=256, learning_rate=6e-3, ema_decay=0.996)
    teaching: TeachingSettings = TeachingSettings()


def check_prunable(settings: ModelSettings) -> None:
    """Raises UserError for a model whose units cannot be cut."""
    if settings.highway:
        raise UserError("highway: units with a way around them cannot be cut. Set highway: false, or pruning.share: 0.")


def unit_norms(reader: Reader, depth: int = 0) -> Tensor:
    """How much each unit of a layer weighs: float (ways, hidden_size), forward units first. depth: 0 = the first layer.

    A unit's group is its rows in all gates, its column in the recurrent matrix, and its column in the layers that read
    the states.
    """
    layer = reader.layers[depth]
    gates, hidden_size = gates_of(layer), layer.hidden_size
    readers = [reader.get_parameter(name) for name in _read_by(reader, depth)]
    norms = []
    for direction, end in enumerate(ends_of(layer)):
        incoming = layer.get_parameter(f"weight_ih_{end}").view(gates, hidden_size, -1).square().sum((0, 2))
        recurrent = layer.get_parameter(f"weight_hh_{end}").view(gates, hidden_size, hidden_size).square()
        columns = slice(direction * hidden_size, (direction + 1) * hidden_size)
        outgoing = sum(weight[:, columns].square().sum(0) for weight in readers)
        norms.append((incoming + recurrent.sum((0, 2)) + recurrent.sum((0, 1)) + outgoing).sqrt())
    return torch.stack(norms)


def _read_by(reader: Reader, depth: int) -> list[str]:
    """The matrices that read a layer's states, a column a unit."""
    if depth + 1 < len(reader.layers):
        return [f"upper.{depth}.weight_ih_{end}" for end in ends_of(reader.layers[depth + 1])]
    return ["project.weight"] if reader.attention is None else ["attention.key.weight", "project.weight"]


def sparsifying_loss(model: Recognizer, taught: Loss, lasso: float) -> Loss:
    """The taught loss plus the group lasso over units."""

    def loss(answer: Answer, batch: Batch) -> Tensor:
        norms = [unit_norms(reader, depth) for reader in readers_of(model) for depth in range(len(reader.layers))]
        return taught(answer, batch) + lasso * torch.cat([each.flatten() for each in norms]).sum()

    return loss


@torch.no_grad()
def cut(model: Recognizer, share: float) -> Recognizer:
    """The model without the lightest `share` of each direction's units in every recurrent layer: dense and smaller.

    Raises UserError where units cannot be cut.
    """
    check_prunable(model.settings)
    whole = (model.settings.hidden_size, *model.settings.upper_sizes)
    first, *upper = (max(1, round(size * (1 - share))) for size in whole)
    smaller = Recognizer(model.settings.model_copy(update={"hidden_size": first, "upper_sizes": tuple(upper)}))
    for old, new in zip(readers_of(model), readers_of(smaller), strict=True):
        weights = old.state_dict()
        for depth, kept in enumerate((first, *upper)):
            _cut_layer(weights, old, depth, kept)
        new.load_state_dict(weights)
    for name, module in model.named_children():
        if name != "readers":
            smaller.get_submodule(name).load_state_dict(module.state_dict())
    return smaller


def _cut_layer(weights: dict[str, Tensor], reader: Reader, depth: int, kept: int) -> None:
    """Leave, of a reader's weights, those of the layer's `kept` heaviest units of each direction."""
    layer, prefix = reader.layers[depth], reader.layer_names[depth]
    units = unit_norms(reader, depth).topk(kept).indices.sort().values
    for own, end in zip(units, ends_of(layer), strict=True):
        rows = (own + torch.arange(gates_of(layer))[:, None] * layer.hidden_size).flatten()
        for name in ("weight_ih", "weight_hh", "bias_ih", "bias_hh"):
            weights[f"{prefix}.{name}_{end}"] = weights[f"{prefix}.{name}_{end}"][rows]
        weights[f"{prefix}.weight_hh_{end}"] = weights[f"{prefix}.weight_hh_{end}"][:, own]
    columns = torch.cat([own + direction * layer.hidden_size for direction, own in enumerate(units)])
    for name in _read_by(reader, depth):
        weights[name] = weights[name][:, columns]


def prune(
    soft_labels: Tensor,
    student: Recognizer,
    train: Digits,
    validation: Digits,
    augmentation: AugmentationSettings,
    settings: PruningSettings,
    seed: int,
    on_epoch: OnEpoch | None = None,
) -> tuple[Recognizer, TrainingState]:
    """Push units to nothing, cut them, recover. The student itself is changed by the first of these.

    soft_labels: what a teacher says of the training digits, logits float (n, 10).

    Returns the smaller model with its best weights on the validation digits, and how its recovery went. With nothing to
    cut (a share of 0) it is the student as it is. Raises UserError where units cannot be cut.
    """
    if settings.share == 0:
        return student, TrainingState(best_accuracy=accuracy(student, validation))
    check_prunable(student.settings)
    lessons, first, second = Lessons(soft_labels, settings.teaching), settings.sparsifying, settings.recovering
    sparse = sparsifying_loss(student, taught_loss(lessons, first.loss), settings.lasso)

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
    return smaller, fit(smaller, *data, loss=taught_loss(lessons, second.loss), on_epoch=told(first.epochs))
