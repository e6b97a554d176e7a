"""The line model: the recognizer's recurrent layers over columns, and at each step one of ten digits or a blank."""

from typing import NamedTuple

import torch
from pydantic import PositiveInt
from torch import Tensor, nn
from torch.nn import functional as F

from inkloop.framing import FRAME
from inkloop.line.ctc import LABELS
from inkloop.model import ModelSettings, Reader
from inkloop.readings import Reading, read, read_ragged
from inkloop.recurrent import Cell
from inkloop.settings import Settings


class LineModelSettings(Settings):
    """The shape of a line model: two-way recurrent layers over columns, from a picture 28 pixels high."""

    columns: PositiveInt = 2  # pixels a step is wide
    cell: Cell = "lstm"
    hidden_size: PositiveInt = 64  # each way
    upper_sizes: tuple[PositiveInt, ...] = (48,)  # of layers above the first, each way

    @property
    def reading(self) -> Reading:
        """How a line becomes a sequence."""
        return Reading(kind="columns", size=self.columns)


class Steps(NamedTuple):
    """log_p (batch, steps, 11): of the blank and the ten digits; lengths: real steps (batch,), None where all are."""

    log_p: Tensor
    lengths: Tensor | None


class LineModel(nn.Module):
    """Reads a digit string of any width (CTC, Graves 2006). Its reader is a recognizer's, asked at every step."""

    def __init__(self, settings: LineModelSettings) -> None:
        super().__init__()
        self.settings = settings
        shape = ModelSettings(
            readings=(settings.reading,),
            cell=settings.cell,
            hidden_size=settings.hidden_size,
            upper_sizes=settings.upper_sizes,
            attention_size=0,
            fc_size=LABELS,
            frame=FRAME,
        )
        self.reader = Reader(settings.reading, shape)

    def forward(self, images: Tensor | list[Tensor]) -> Steps:
        """Read a batch.

        images: normalized float (batch, 28, width) of one width, or a list of (28, width) of different widths. The
        padding of shorter ones never changes what their real steps say.
        """
        if isinstance(images, Tensor):
            sequence, lengths = read(images, self.settings.reading, FRAME), None
        else:
            sequence, lengths = read_ragged(images, self.settings.reading, FRAME)
        return Steps(self.reader.project(self.reader.states(sequence, lengths)).log_softmax(2), lengths)


def ctc_loss(log_p: Tensor, labels: list[tuple[int, ...]]) -> Tensor:
    """Mean loss a digit of lines of one width (Graves 2006). log_p: (batch, steps, 11); labels: digits of each line."""
    batch, steps, _ = log_p.shape
    targets = torch.tensor([1 + digit for line in labels for digit in line])  # 0 is the blank
    target_lengths = torch.tensor([len(line) for line in labels])
    input_lengths = torch.full((batch,), steps)
    return F.ctc_loss(log_p.transpose(0, 1), targets, input_lengths, target_lengths, zero_infinity=True)
