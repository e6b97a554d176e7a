"""The pen's recognizer: recurrent layers over the steps of a path, attention over them, ten classes."""

from itertools import pairwise
from typing import cast

import torch
from pydantic import PositiveInt
from torch import Tensor, nn

from inkloop.model import CLASSES, Attention
from inkloop.pen import trajectory
from inkloop.recurrent import CELLS, Cell, init_orthogonal, run
from inkloop.settings import Settings, ShareBelowOne


class PenModelSettings(Settings):
    """The shape of a pen's recognizer."""

    cell: Cell = "lstm"
    sizes: tuple[PositiveInt, ...] = (48, 32)  # units of each layer, each way
    attention_size: PositiveInt = 24
    dropout: ShareBelowOne = 0.3  # before each layer above the first, and before the last linear map


class PenRecognizer(nn.Module):
    """Reads a pen's path step by step, both ways. See `PenModelSettings`."""

    def __init__(self, settings: PenModelSettings) -> None:
        super().__init__()
        self.settings = settings
        widths = [trajectory.FEATURES, *(2 * size for size in settings.sizes)]
        self.layers = nn.ModuleList(
            CELLS[settings.cell](below, above // 2, batch_first=True, bidirectional=True)
            for below, above in pairwise(widths)
        )
        self.attention = Attention(widths[-1], settings.attention_size)
        self.dropout = nn.Dropout(settings.dropout)
        self.head = nn.Linear(widths[-1], CLASSES)
        for layer in layers_of(self):
            init_orthogonal(layer)

    def forward(self, steps: Tensor) -> tuple[Tensor, Tensor]:
        """Read `trajectory.features`, (batch, steps, FEATURES).

        Returns logits (batch, 10) and attention (batch, steps).
        """
        states = steps
        for depth, layer in enumerate(layers_of(self)):
            states = run(layer, self.dropout(states) if depth else states, None)
        context, weights = self.attention(states, None)
        return self.head(self.dropout(context)), weights


def layers_of(model: PenRecognizer) -> list[nn.RNNBase]:
    """The model's recurrent layers, the one next to the path first."""
    return cast("list[nn.RNNBase]", list(model.layers))


@torch.no_grad()
def probabilities(model: PenRecognizer, steps: Tensor) -> Tensor:
    """What the model says of `trajectory.features`: float (n, 10), rows sum to 1, without dropout."""
    was_training = model.training
    model.eval()
    answers = torch.cat([model(part)[0].softmax(1) for part in steps.split(1000)])
    model.train(was_training)
    return answers
