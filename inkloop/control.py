"""The control: a plain CNN of as many parameters or multiply-accumulates as a recognizer that it is compared with."""

from bisect import bisect_left
from functools import partial
from typing import Self

import torch
from pydantic import PositiveInt, model_validator
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from inkloop.macs import count_macs
from inkloop.model import CLASSES, Answer, count_parameters
from inkloop.settings import Settings, ShareBelowOne

MAX_CHANNELS = 4096  # 300 million parameters


class ControlSettings(Settings):
    """The width of a control: its channels, or the number of parameters or MACs that it comes closest to."""

    channels: PositiveInt | None = None  # of the first convolution; the second has twice as many
    parameters: PositiveInt | None = None
    macs: PositiveInt | None = None  # of one picture of the frame; see `inkloop.macs`
    dropout: ShareBelowOne = 0.5
    frame: PositiveInt = 28  # pixels a side of the pictures it is made for

    @model_validator(mode="after")
    def _says_one_width(self) -> Self:
        if sum(width is not None for width in (self.channels, self.parameters, self.macs)) != 1:
            raise ValueError("give one of channels, parameters and macs")
        if self.frame % 4:
            raise ValueError(f"frame {self.frame} cannot be halved twice")
        return self


class Control(nn.Module):
    """Two convolutions with pooling, then a linear layer (after LeCun 1998); answers as a recognizer does."""

    def __init__(self, settings: ControlSettings) -> None:
        super().__init__()
        self.settings = settings
        channels = channels_of(settings)
        self.features = nn.Sequential(
            nn.Conv2d(1, channels, 3, padding=1),
            nn.ReLU(),
            nn.MaxPool2d(2, ceil_mode=True),
            nn.Conv2d(channels, 2 * channels, 3, padding=1),
            nn.ReLU(),
            nn.MaxPool2d(2, ceil_mode=True),
            nn.AdaptiveAvgPool2d(settings.frame // 4),  # changes nothing but where a picture is larger or smaller
        )
        for weight in self.features.parameters():
            if weight.dim() == 4:  # answers alike; trains 1.4 times as fast on a CPU
                weight.data = weight.data.contiguous(memory_format=torch.channels_last)
        self.dropout = nn.Dropout(settings.dropout)
        self.head = nn.Linear(2 * channels * (settings.frame // 4) ** 2, CLASSES)

    def forward(self, images: Tensor | list[Tensor], checkpointing: bool = False) -> Answer:
        """Read a batch; see `model.Recognizer`. Attention is empty, and the gate has no readings: (batch, 0)."""
        batches = [images] if isinstance(images, Tensor) else [image[None] for image in images]
        extract = partial(checkpoint, self.features, use_reentrant=False) if checkpointing else self.features
        features = torch.cat([extract(batch[:, None]) for batch in batches])
        return Answer(self.head(self.dropout(features.flatten(1))), [], features.new_zeros(len(features), 0))


def channels_of(settings: ControlSettings) -> int:
    """The settings' channels, or those whose control comes closest to its parameters or MACs."""
    wanted = settings.parameters or settings.macs
    if wanted is None:
        assert settings.channels is not None
        return settings.channels

    def size(channels: int) -> int:
        with torch.device("meta"):  # sizes alone, no numbers
            model = Control(ControlSettings(channels=channels, frame=settings.frame))
        return count_parameters(model) if settings.parameters else count_macs(model, settings.frame)

    enough = 1 + bisect_left(range(1, MAX_CHANNELS), wanted, key=size)
    return min(max(1, enough - 1), enough, key=lambda channels: abs(size(channels) - wanted))
