"""What every loaded format is: a function from pictures to probabilities."""

import copy

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from inkloop.model import Recognizer, normalize
from inkloop.runtime import Answers


class FromPixels(nn.Module):
    """A copy of a recognizer, on the CPU, that takes pictures as they are: uint8 in, probabilities out."""

    def __init__(self, model: Recognizer) -> None:
        super().__init__()
        self.model = copy.deepcopy(model).cpu()
        self.eval()

    def forward(self, images: Tensor) -> Tensor:
        """images: uint8 (n, frame, frame). Returns probabilities, float32 (n, 10)."""
        probabilities: Tensor = self.model(normalize(images)).logits.softmax(1)
        return probabilities


def traceable(model: Recognizer) -> FromPixels:
    """The module to trace. Raises ValueError for topology, whose loops turn as often as the pictures need."""
    if model.topology is not None:
        raise ValueError("a traced graph cannot hold topology's loops, which turn as often as the pictures need")
    return FromPixels(model)


def of_torch(model: nn.Module) -> Answers:
    """What answers by a torch module from uint8 to probabilities."""

    @torch.no_grad()
    def answers(images: NDArray[np.uint8]) -> NDArray[np.float32]:
        probabilities: NDArray[np.float32] = model(torch.from_numpy(images)).numpy()
        return probabilities

    return answers
