"""Augmentation of how ink looks: other pens, solarized ink, pieces of other digits, holes, light.

Each part changes the given share of a batch. images: float (batch, height, width), ink 0..255 on 0; so are results,
which may leave the range.
"""

import math

import torch
from torch import Tensor
from torch.nn import functional as F

PIECES, HOLES = 2, 2  # a digit gets each with the share's chance
PIECE_PX = (1.0, 4.0)  # half the width of a piece of another digit
PIECE_SHIFT_PX = 9
HOLE_PX = (1.0, 4.0)  # half a side
GREY = 60.0  # the most that light adds, of 255
SLOPE = 2.0  # the most that it grows a pixel


def other_pen(images: Tensor, share: float, random: torch.Generator) -> Tensor:
    """A thicker, a thinner or a softer pen: part of the way to the largest, least or mean of 3 x 3 neighbors."""
    padded = images[:, None]
    thick, thin = F.max_pool2d(padded, 3, 1, 1), -F.max_pool2d(-padded, 3, 1, 1)
    soft = F.avg_pool2d(padded, 3, 1, 1, count_include_pad=False)
    which = _draw(images, random).mul(3).long()
    pen = torch.stack([thick, thin, soft], 1)[torch.arange(len(images)), which[:, 0, 0], 0]
    return torch.where(_chosen(images, share, random), images.lerp(pen, _draw(images, random)), images)


def solarize(images: Tensor, share: float, random: torch.Generator) -> Tensor:
    """Ink above a random level is inverted, so that outlines remain (AutoAugment, Cubuk 2019)."""
    level = 64 + 180 * _draw(images, random)
    return torch.where(_chosen(images, share, random) & (images > level), 255 - images, images)


def clutter(images: Tensor, share: float, random: torch.Generator) -> Tensor:
    """Pieces of other digits of the batch lie over the digit, seen through strips of random place and slope."""
    down, across = _pixels(images)
    pieces = images
    for _ in range(PIECES):
        shift = torch.randint(-PIECE_SHIFT_PX, PIECE_SHIFT_PX + 1, (2,), generator=random, device=random.device)
        by = int(torch.randint(1, max(2, len(images)), (1,), generator=random, device=random.device))
        other = images.roll(by, 0).roll(tuple(shift.tolist()), (1, 2)) * (0.5 + 0.5 * _draw(images, random))
        angle, offset = _draw(images, random) * math.pi, (_draw(images, random) - 0.5) * 24
        is_seen = (down * angle.sin() + across * angle.cos() - offset).abs() < _between(PIECE_PX, images, random)
        pieces = torch.where(_chosen(images, share, random) & is_seen, pieces.maximum(other), pieces)
    return pieces


def erase(images: Tensor, share: float, random: torch.Generator) -> Tensor:
    """Rectangles without ink (Zhong 2017)."""
    height, width = images.shape[1:]
    down, across = _pixels(images)
    for _ in range(HOLES):
        off_down, off_across = ((_draw(images, random) - 0.5) * side for side in (height, width))
        is_hole = (down - off_down).abs() < _between(HOLE_PX, images, random)
        is_hole = is_hole & ((across - off_across).abs() < _between(HOLE_PX, images, random))
        images = torch.where(_chosen(images, share, random) & is_hole, 0.0, images)
    return images


def relight(images: Tensor, share: float, random: torch.Generator) -> Tensor:
    """Fainter ink, and grey that grows to one side."""
    down, across = _pixels(images)
    slope = [(_draw(images, random) - 0.5) * 2 * SLOPE for _ in range(2)]
    light = down * slope[0] + across * slope[1] + GREY * _draw(images, random)
    lit = images * (0.5 + 0.5 * _draw(images, random)) + light
    return torch.where(_chosen(images, share, random), lit, images)


def _draw(images: Tensor, random: torch.Generator) -> Tensor:
    """A number in 0..1 for each image, (batch, 1, 1)."""
    return torch.rand((len(images), 1, 1), generator=random, device=random.device)


def _between(limits: tuple[float, float], images: Tensor, random: torch.Generator) -> Tensor:
    return limits[0] + (limits[1] - limits[0]) * _draw(images, random)


def _chosen(images: Tensor, share: float, random: torch.Generator) -> Tensor:
    return _draw(images, random) < share


def _pixels(images: Tensor) -> tuple[Tensor, Tensor]:
    """Rows and columns counted from the middle: (height, 1) and (1, width)."""
    down, across = (torch.arange(side, device=images.device) - (side - 1) / 2 for side in images.shape[1:])
    return down[:, None], across[None]
