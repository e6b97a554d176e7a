"""The recognizer: several readings of a picture, a Bi-LSTM with attention over each, merged by a learned gate."""

from typing import Annotated, NamedTuple, Self, cast

import torch
from pydantic import Field, PositiveInt, model_validator
from torch import Tensor, nn
from torch.nn.utils.rnn import pack_padded_sequence, pad_packed_sequence

from inkloop.readings import PIXEL_MEAN, PIXEL_STD, Reading, read, read_ragged
from inkloop.settings import Settings, ShareBelowOne

CLASSES = 10


class ModelSettings(Settings):
    """The shape of a recognizer; teacher and student are two of these."""

    readings: Annotated[tuple[Reading, ...], Field(min_length=1)] = (
        Reading(kind="rows"),
        Reading(kind="columns"),
        Reading(kind="patches", size=7),
    )
    hidden_size: PositiveInt = 128  # each way
    attention_size: PositiveInt = 64
    fc_size: PositiveInt = 256
    dropout: ShareBelowOne = 0.5
    frame: PositiveInt = 28  # pixels a side of the pictures it is made for

    @model_validator(mode="after")
    def _reads_each_way_once(self) -> Self:
        names = [reading.name for reading in self.readings]
        if len(set(names)) < len(names):
            raise ValueError(f"readings {', '.join(names)} are not all different")
        return self


class Answer(NamedTuple):
    """logits (batch, 10); attention per reading (batch, steps) and gate (batch, readings), whose rows sum to 1."""

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
    """A Bi-LSTM with attention over one reading, projected to a width that all readings share."""

    def __init__(self, reading: Reading, settings: ModelSettings) -> None:
        super().__init__()
        features, hidden_size = reading.features(settings.frame), settings.hidden_size
        self.lstm = nn.LSTM(features, hidden_size, batch_first=True, bidirectional=True)
        self.attention = Attention(2 * hidden_size, settings.attention_size)
        self.project = nn.Linear(2 * hidden_size, settings.fc_size)
        init_lstm(self.lstm)

    def forward(self, sequence: Tensor, lengths: Tensor | None) -> tuple[Tensor, Tensor]:
        """sequence (batch, steps, features). Returns (batch, fc_size) and attention (batch, steps)."""
        if lengths is None:
            states, _ = self.lstm(sequence)
        else:
            packed = pack_padded_sequence(sequence, lengths, batch_first=True, enforce_sorted=False)
            states, _ = pad_packed_sequence(self.lstm(packed)[0], batch_first=True)
        context, weights = self.attention(states, lengths)
        return self.project(context), weights


class Recognizer(nn.Module):
    """Reads a digit several ways at once. See `ModelSettings`."""

    def __init__(self, settings: ModelSettings) -> None:
        super().__init__()
        self.settings = settings
        self.readers = nn.ModuleList(Reader(reading, settings) for reading in settings.readings)
        self.gate = nn.Linear(settings.fc_size * len(settings.readings), len(settings.readings))
        self.dropout = nn.Dropout(settings.dropout)
        self.head = nn.Linear(settings.fc_size, CLASSES)

    def forward(self, images: Tensor | list[Tensor]) -> Answer:
        """Read a batch.

        images: normalized float (batch, height, width) of one size, or a list of (height, width) of different sizes.
        The padding of shorter sequences never changes an answer.
        """
        views, attention = [], []
        for reading, reader in zip(self.settings.readings, self.readers, strict=True):
            if isinstance(images, Tensor):
                sequence, lengths = read(images, reading, self.settings.frame), None
            else:
                sequence, lengths = read_ragged(images, reading, self.settings.frame)
            view, weights = reader(sequence, lengths)
            views.append(view)
            attention.append(weights)
        gate = self.gate(torch.cat(views, 1)).softmax(1)
        merged = torch.einsum("br,brf->bf", gate, torch.stack(views, 1))
        return Answer(self.head(self.dropout(torch.relu(merged))), attention, gate)


def readers_of(model: Recognizer) -> list[Reader]:
    """The model's readers, in the order of its readings."""
    return cast("list[Reader]", list(model.readers))


def init_lstm(lstm: nn.LSTM) -> None:
    """Orthogonal recurrent matrices (Saxe 2014), gate by gate, and a forget-gate bias of 1 (Jozefowicz 2015)."""
    hidden_size = lstm.hidden_size
    for name, parameter in lstm.named_parameters():
        if name.startswith("weight_hh"):
            for gate in range(4):
                nn.init.orthogonal_(parameter.data[gate * hidden_size : (gate + 1) * hidden_size])
        elif name.startswith("weight_ih"):
            nn.init.xavier_uniform_(parameter.data)
        else:
            parameter.data.zero_()
            if name.startswith("bias_ih"):
                parameter.data[hidden_size : 2 * hidden_size] = 1.0


def normalize(images: Tensor) -> Tensor:
    """Pixels 0..255 (uint8 or float) to the model's input: mean 0, deviation 1 over MNIST's training pixels."""
    return (images.float() / 255 - PIXEL_MEAN) / PIXEL_STD


def count_parameters(model: nn.Module) -> int:
    """Numbers that training sets."""
    return sum(parameter.numel() for parameter in model.parameters())
