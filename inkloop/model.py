"""The recognizer: several readings of a picture, recurrent layers and attention over each, merged by a learned gate."""

from collections.abc import Callable
from functools import partial
from itertools import pairwise
from typing import Annotated, Any, NamedTuple, Self, cast

import torch
from pydantic import Field, NonNegativeInt, PositiveInt, model_validator
from torch import Tensor, nn
from torch.nn import functional as F
from torch.utils.checkpoint import checkpoint

from inkloop.background import remove_background
from inkloop.readings import BACKGROUND, PIXEL_MEAN, PIXEL_STD, Reading, read, read_ragged
from inkloop.recurrent import CELLS, Cell, Highway, init_orthogonal, last_states, run
from inkloop.settings import Settings, ShareBelowOne
from inkloop.sweeps import by_size, halve, is_across, is_new_scale, sweep
from inkloop.topology import FEATURES, topology

CLASSES = 10
ViewOf = Callable[..., tuple[Tensor, Any]]  # a reader, checkpointing or not


class ModelSettings(Settings):
    """The shape of a recognizer; teacher and student are two of these."""

    readings: Annotated[tuple[Reading, ...], Field(min_length=1)] = (
        Reading(kind="rows"),
        Reading(kind="columns"),
        Reading(kind="patches", size=7),
    )
    cell: Cell = "lstm"
    bidirectional: bool = True
    hidden_size: PositiveInt = 128  # each way
    upper_sizes: tuple[PositiveInt, ...] = ()  # of layers above the first, each way; shrinking ones make a hierarchy
    highway: bool = False  # a gated way around each layer
    orthogonal: bool = True  # how recurrent matrices start; else PyTorch's uniform start
    remove_background: bool = False  # paper, shadows and broad bars are taken away first; see `inkloop.background`
    topology: bool = False  # holes, end points and crossings are read beside the sequences
    attention_size: NonNegativeInt = 64  # 0 = no attention: the last states are read
    fc_size: PositiveInt = 256
    dropout: ShareBelowOne = 0.5
    frame: PositiveInt = 28  # pixels a side of the pictures it is made for

    @model_validator(mode="after")
    def _reads_each_way_once(self) -> Self:
        names = [reading.name for reading in self.readings]
        if len(set(names)) < len(names):
            raise ValueError(f"readings {', '.join(names)} are not all different")
        return self

    @model_validator(mode="after")
    def _sweeps_both_ways(self) -> Self:
        if any(reading.kind == "sweeps" for reading in self.readings):
            if len(self.upper_sizes) % 2 == 0:
                raise ValueError("sweeps go down and across by turns: give upper_sizes 1 or 3 layers, or more by twos")
            if not self.attention_size:
                raise ValueError("sweeps have no last state: set attention_size above 0")
        return self


class Answer(NamedTuple):
    """logits (batch, 10); attention per reading (batch, steps) and gate (batch, readings), whose rows sum to 1.

    attention is empty if the model has none.
    """

    logits: Tensor
    attention: list[Tensor]
    gate: Tensor


class Attention(nn.Module):
    """Additive attention over time (Bahdanau 2015) with one learned query."""

    def __init__(self, features: int, attention_size: int) -> None:
        super().__init__()
        self.key = nn.Linear(features, attention_size)
        self.query = nn.Linear(attention_size, 1, bias=False)

    def forward(self, states: Tensor, lengths: Tensor | None) -> tuple[Tensor, Tensor]:
        """states (batch, steps, features), real lengths (batch,) or None for all. Returns context and weights."""
        scores = self.query(torch.tanh(self.key(states))).squeeze(2)
        if lengths is not None:
            padding = torch.arange(states.shape[1], device=states.device) >= lengths[:, None].to(states.device)
            scores = scores.masked_fill(padding, -torch.inf)
        weights = scores.softmax(1)
        return torch.einsum("bs,bsf->bf", weights, states), weights


class Reader(nn.Module):
    """Recurrent layers over one reading, attended to or read at their ends, projected to a width all readings share."""

    def __init__(self, reading: Reading, settings: ModelSettings) -> None:
        super().__init__()
        self.settings, self.reading = settings, reading
        sizes, ways = (settings.hidden_size, *settings.upper_sizes), 2 if settings.bidirectional else 1
        widths = [reading.features(settings.frame), *(ways * size for size in sizes)]
        first, *upper = (
            CELLS[settings.cell](features, size, batch_first=True, bidirectional=settings.bidirectional)
            for features, size in zip(widths[:-1], sizes, strict=True)
        )
        self.add_module(settings.cell, first)  # so a saved weight's name says which cell it is of
        self.upper = nn.ModuleList(upper)
        self.highways = nn.ModuleList(Highway(*pair) for pair in pairwise(widths) if settings.highway)
        self.attention = Attention(widths[-1], settings.attention_size) if settings.attention_size else None
        self.project = nn.Linear(widths[-1], settings.fc_size)
        for layer in self.layers if settings.orthogonal else ():
            init_orthogonal(layer)

    @property
    def layer_names(self) -> list[str]:
        """What the recurrent layers are called, the one next to the picture first."""
        return [self.settings.cell, *(f"upper.{place}" for place in range(len(self.upper)))]

    @property
    def layers(self) -> list[nn.RNNBase]:
        """The recurrent layers, in the order of their names."""
        return cast("list[nn.RNNBase]", [self.get_submodule(name) for name in self.layer_names])

    def forward(self, sequence: Tensor, lengths: Tensor | None) -> tuple[Tensor, Tensor | None]:
        """sequence (batch, steps, features), of sweeps a grid (batch, down, across, features).

        Returns (batch, fc_size) and attention (batch, steps), None without.
        """
        states = self.states(sequence, lengths)
        if self.attention is None:
            return self.project(last_states(states, lengths, self.settings.bidirectional)), None
        context, weights = self.attention(states, lengths)
        return self.project(context), weights

    def states(self, sequence: Tensor, lengths: Tensor | None) -> Tensor:
        """sequence or grid (see `forward`), real lengths (batch,) or None for all.

        Returns those of the top layer, (batch, steps, ways * hidden).
        """
        is_grid, states = self.reading.kind == "sweeps", sequence
        for depth, layer in enumerate(self.layers):
            below = halve(states) if is_grid and is_new_scale(depth) else states
            states = sweep(layer, below, is_across(depth)) if is_grid else run(layer, below, lengths)
            if self.settings.highway:
                states = self.highways[depth](below, states)
        return states.flatten(1, 2) if is_grid else states


class Recognizer(nn.Module):
    """Reads a digit several ways at once. See `ModelSettings`.

    Topological features are added to the merged readings before the last nonlinearity, by a linear map of their
    logarithms: so the head sees them together, and the specks of a noisy picture do not drown the rest.
    """

    def __init__(self, settings: ModelSettings) -> None:
        super().__init__()
        self.settings = settings
        self.readers = nn.ModuleList(Reader(reading, settings) for reading in settings.readings)
        self.gate = nn.Linear(settings.fc_size * len(settings.readings), len(settings.readings))
        self.dropout = nn.Dropout(settings.dropout)
        self.head = nn.Linear(settings.fc_size, CLASSES)
        self.topology = nn.Linear(FEATURES, settings.fc_size) if settings.topology else None

    def forward(self, images: Tensor | list[Tensor], checkpointing: bool = False) -> Answer:
        """Read a batch.

        images: normalized float (batch, height, width) of one size, or a list of (height, width) of different sizes.
        The padding of shorter sequences never changes an answer. checkpointing: of gradients (Chen 2016): each reader
        keeps only its input, and runs again when gradients are asked for; these are the same.
        """
        if self.settings.remove_background:
            if isinstance(images, Tensor):
                images = remove_background(images)
            else:
                images = [remove_background(image[None])[0] for image in images]
        views, attention = [], []
        for reading, reader in zip(self.settings.readings, self.readers, strict=True):
            view_of: ViewOf = partial(checkpoint, reader, use_reentrant=False) if checkpointing else reader
            if isinstance(images, Tensor):
                view, weights = view_of(read(images, reading, self.settings.frame), None)
            elif reading.kind == "sweeps":
                view, weights = _swept(view_of, images, reading, self.settings.frame)
            else:
                view, weights = view_of(*read_ragged(images, reading, self.settings.frame))
            views.append(view)
            if weights is not None:
                attention.append(weights)
        gate = self.gate(torch.cat(views, 1)).softmax(1)
        merged = torch.einsum("br,brf->bf", gate, torch.stack(views, 1))
        if self.topology is not None:
            merged = merged + self.topology(topology(_of_one_size(images)).log1p())
        return Answer(self.head(self.dropout(torch.relu(merged))), attention, gate)


def _swept(view_of: ViewOf, images: list[Tensor], reading: Reading, frame: int) -> tuple[Tensor, Tensor]:
    """Sweep pictures of different sizes, those of one size together. Attention is filled up with 0 to the longest."""
    parts = [(places, *view_of(read(batch, reading, frame), None)) for places, batch in by_size(images)]
    back = torch.tensor([place for places, _, _ in parts for place in places]).argsort()
    steps = max(weights.shape[1] for _, _, weights in parts)
    attention = [F.pad(weights, (0, steps - weights.shape[1])) for _, _, weights in parts]
    return torch.cat([view for _, view, _ in parts])[back], torch.cat(attention)[back]


def _of_one_size(images: Tensor | list[Tensor]) -> Tensor:
    """The images in one batch, filled up with background to the largest."""
    if isinstance(images, Tensor):
        return images
    height, width = (max(image.shape[side] for image in images) for side in (0, 1))
    padding = [(0, width - image.shape[1], 0, height - image.shape[0]) for image in images]
    return torch.stack([F.pad(image, more, value=BACKGROUND) for image, more in zip(images, padding, strict=True)])


def readers_of(model: Recognizer) -> list[Reader]:
    """The model's readers, in the order of its readings."""
    return cast("list[Reader]", list(model.readers))


def normalize(images: Tensor) -> Tensor:
    """Pixels 0..255 (uint8 or float) to the model's input: mean 0, deviation 1 over MNIST's training pixels."""
    return (images.float() / 255 - PIXEL_MEAN) / PIXEL_STD


def count_parameters(model: nn.Module) -> int:
    """Numbers that training sets."""
    return sum(parameter.numel() for parameter in model.parameters())
