"""The variants: a shape, a training, an augmentation each. All differ from `BASE` in what their name says, alone."""

from dataclasses import dataclass, replace
from typing import Any

from inkloop.augmentation import AugmentationSettings
from inkloop.control import ControlSettings
from inkloop.losses import LossSettings
from inkloop.macs import count_macs
from inkloop.model import ModelSettings, Recognizer, count_parameters
from inkloop.readings import Reading
from inkloop.training import TrainingSettings

ROWS, COLUMNS, CHECKERBOARD = (
    Reading(kind="rows", size=1),
    Reading(kind="columns", size=1),
    Reading(kind="patches", size=7),
)
SWEEPS = Reading(kind="sweeps", size=4, margin=1)
# What the articles describe, at half the width, so that all of it can be tried; `described` has the full width.
SHAPE = ModelSettings(readings=(ROWS,), hidden_size=64, attention_size=32, fc_size=128, dropout=0.5)
RECIPE = TrainingSettings(epochs=6, batch_size=128, learning_rate=4e-3)
AUGMENTATION = AugmentationSettings(rotation_deg=10, shift_px=1.5, elastic_px=1)
# One over how often each digit is in MNIST's training set, times the mean.
RARENESS = (1.013, 0.890, 1.007, 0.979, 1.027, 1.107, 1.014, 0.958, 1.025, 1.009)


@dataclass(frozen=True)
class Variant:
    """What is trained, and how."""

    name: str
    model: ModelSettings | ControlSettings = SHAPE
    training: TrainingSettings = RECIPE
    augmentation: AugmentationSettings | None = None


BASE = Variant("attention Bi-LSTM")


def shaped(name: str, **changes: Any) -> Variant:  # noqa: ANN401
    """The base with another shape."""
    return replace(BASE, name=name, model=SHAPE.model_copy(update=changes))


def trained(name: str, **changes: Any) -> Variant:  # noqa: ANN401
    """The base trained in another way."""
    return replace(BASE, name=name, training=RECIPE.model_copy(update=changes))


def declared() -> list[Variant]:
    """All variants. Names are unique."""
    base = Recognizer(SHAPE)
    same_parameters = ControlSettings(parameters=count_parameters(base), dropout=SHAPE.dropout)
    same_macs = ControlSettings(macs=count_macs(base), dropout=SHAPE.dropout)
    one_way = {"bidirectional": False, "attention_size": 0}
    described = {"hidden_size": 128, "attention_size": 64, "fc_size": 256}
    return [
        BASE,
        shaped("columns", readings=(COLUMNS,)),
        shaped("checkerboard", readings=(CHECKERBOARD,)),
        shaped("fused readings", readings=(ROWS, COLUMNS, CHECKERBOARD)),
        *(shaped(f"one-way {cell.upper()}", cell=cell, **one_way) for cell in ("rnn", "lstm", "gru")),
        *(shaped(f"Bi-{cell.upper()}", cell=cell, attention_size=0) for cell in ("rnn", "lstm", "gru")),
        shaped("two layers", upper_sizes=(64,)),
        shaped("hierarchical", upper_sizes=(32,)),
        shaped("sweeps", readings=(SWEEPS,), hidden_size=32, upper_sizes=(32,)),
        shaped("highway", highway=True),
        shaped("uniform start", orthogonal=False),
        shaped("topology", topology=True),
        replace(BASE, name="CNN, equal parameters", model=same_parameters),
        replace(BASE, name="CNN, equal MACs", model=same_macs),
        replace(BASE, name="augmented", augmentation=AUGMENTATION),
        replace(BASE, name="CNN, augmented", model=same_parameters, augmentation=AUGMENTATION),
        trained("no label smoothing", loss=LossSettings(label_smoothing=0)),
        trained("focal loss", loss=LossSettings(kind="focal", label_smoothing=0)),
        trained("class weights", loss=LossSettings(class_weights=RARENESS)),
        trained("cosine", schedule="cosine", warmup_share=0),
        trained("cosine with restarts", schedule="cosine_restarts", warmup_share=0),
        trained("batches of 64", batch_size=64),
        trained("batches of 256", batch_size=256),
        shaped("described LSTM", **described | one_way),
        shaped("described Bi-LSTM", **described | {"attention_size": 0}),
        shaped("described attention Bi-LSTM", **described),
    ]
