"""The batches of an epoch: shuffled digits, each worker's own part of them; from memory, or read block by block."""

import math
from collections.abc import Iterator
from dataclasses import dataclass, replace
from itertools import accumulate
from typing import Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from inkloop.augmentation import AugmentationSettings, deform
from inkloop.digits import Digits
from inkloop.errors import UserError
from inkloop.model import normalize

WINDOW_BLOCKS = 4  # that are shuffled together


@dataclass(frozen=True)
class Batch:
    """One step's digits: rows of the training set (n,), model input, float (n, height, width), and labels (n,)."""

    rows: Tensor
    images: Tensor
    labels: Tensor
    weight: float = 1.0  # of its mean loss, where the workers' parts of a step are not equally large

    def to(self, device: torch.device) -> "Batch":
        """The batch with images and labels on the device."""
        return replace(self, images=self.images.to(device), labels=self.labels.to(device))


class Blocks(Protocol):
    """More digits than memory should hold, in blocks of some thousands each."""

    @property
    def sizes(self) -> tuple[int, ...]:
        """How many digits each block holds. The rows of the whole set go through them in order."""

    def read(self, number: int) -> Digits:
        """The digits of one block."""


def steps_per_epoch(train: Digits | Blocks, batch_size: int, workers: int = 1) -> int:
    """How many batches an epoch has, the same in every epoch.

    Blocks: as many as each worker can fill whichever blocks it gets; what is left over waits for another epoch's order.
    Raises UserError if that is none.
    """
    if isinstance(train, Digits):
        return math.ceil(len(train) / batch_size)
    fewest = sum(sorted(train.sizes)[: len(train.sizes) // workers])
    steps = fewest // math.ceil(batch_size / workers)
    if steps == 0:
        raise UserError(
            f"{len(train.sizes)} blocks of digits do not fill a batch of {batch_size} for each of {workers} workers. "
            "Set fewer workers, or smaller batches."
        )
    return steps


def batches(
    train: Digits | Blocks,
    batch_size: int,
    augmentation: AugmentationSettings | None,
    seed: int,
    rank: int = 0,
    workers: int = 1,
) -> Iterator[Batch]:
    """One epoch's batches as worker `rank` of `workers` sees them.

    From memory all workers shuffle alike and take their rows of each batch. Blocks are dealt out in shuffled order; a
    worker reads its own one after another and shuffles `WINDOW_BLOCKS` of them at a time, and holds no more.
    """
    shuffle = torch.Generator().manual_seed(seed)
    random = torch.Generator().manual_seed(seed * 1000 + rank + 1)
    if isinstance(train, Digits):
        parts = _from_memory(train, batch_size, shuffle, rank, workers)
    else:
        parts = _from_blocks(train, batch_size, shuffle, rank, workers)
    for rows, pixels, labels, weight in parts:
        if augmentation is not None:
            pixels = deform(pixels, augmentation, random)
        yield Batch(rows, normalize(pixels), labels, weight)


Part = tuple[Tensor, Tensor, Tensor, float]  # rows, pixels as float 0..255, labels, weight


def _from_memory(train: Digits, batch_size: int, shuffle: torch.Generator, rank: int, workers: int) -> Iterator[Part]:
    images, labels = torch.from_numpy(train.images), torch.from_numpy(train.labels)
    for rows in torch.randperm(len(train), generator=shuffle).split(batch_size):
        own, share = (rows[rank::workers], workers) if len(rows) >= workers else (rows, 1)
        yield own, images[own].float(), labels[own], len(own) * share / len(rows)


def _from_blocks(train: Blocks, batch_size: int, shuffle: torch.Generator, rank: int, workers: int) -> Iterator[Part]:
    starts = list(accumulate(train.sizes, initial=0))
    dealt = torch.randperm(len(train.sizes), generator=shuffle).tolist()[rank::workers]
    shuffle.manual_seed(shuffle.initial_seed() * 1000 + rank)  # the rest is each worker's own
    size = max(1, len(range(rank, batch_size, workers)))
    weight = size * workers / max(batch_size, workers)
    left = steps_per_epoch(train, batch_size, workers)
    rest: list[tuple[NDArray[np.int64], NDArray[np.uint8], NDArray[np.int64]]] = []
    for first in range(0, len(dealt), WINDOW_BLOCKS):
        for number in dealt[first : first + WINDOW_BLOCKS]:
            block = train.read(number)
            rest.append((np.arange(starts[number], starts[number + 1]), block.images, block.labels))
        rows, images, labels = (torch.from_numpy(np.concatenate(each)) for each in zip(*rest, strict=True))
        order = torch.randperm(len(rows), generator=shuffle)
        full = len(rows) // size * size
        rest = [(rows[order[full:]].numpy(), images[order[full:]].numpy(), labels[order[full:]].numpy())]
        for own in order[:full].split(size):
            if left == 0:
                return
            left -= 1
            yield rows[own], images[own].float(), labels[own], weight
