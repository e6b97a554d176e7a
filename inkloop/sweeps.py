"""Sweeps: recurrent layers that run down the columns and across the rows of a grid by turns (ReNet, Visin 2015).

After two of them a state knows of the whole picture, as a convolution's output knows of its neighborhood.
"""

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from inkloop.recurrent import run


def is_across(depth: int) -> bool:
    """Whether the layer at this depth runs across the rows; those at depth 0, 2 ... run down the columns."""
    return depth % 2 == 1


def is_new_scale(depth: int) -> bool:
    """Whether the grid is halved before the layer at this depth: after each two sweeps, so that all runs get short."""
    return depth > 0 and depth % 2 == 0


def sweep(layer: nn.RNNBase, grid: Tensor, across: bool) -> Tensor:
    """grid (batch, down, across, features). Returns its states, (batch, down, across, ways * hidden)."""
    turned = grid if across else grid.transpose(1, 2)
    states: Tensor = run(layer, turned.flatten(0, 1), None).unflatten(0, turned.shape[:2])
    return states if across else states.transpose(1, 2)


def halve(grid: Tensor) -> Tensor:
    """The largest of each 2 x 2 neighbors of (batch, down, across, features): half as many down and across."""
    return F.max_pool2d(grid.permute(0, 3, 1, 2), 2, ceil_mode=True).permute(0, 2, 3, 1)


def by_size(images: Sequence[Tensor]) -> list[tuple[list[int], Tensor]]:
    """Pictures (height, width) in batches of one size: their places among the pictures, and the batch."""
    places: dict[torch.Size, list[int]] = {}
    for place, image in enumerate(images):
        places.setdefault(image.shape, []).append(place)
    return [(of, torch.stack([images[place] for place in of])) for of in places.values()]
