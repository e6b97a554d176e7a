"""Augmentation: a batch of digits deformed as other hands and other paper would have it, in one resampling."""

import math
from functools import cache
from typing import Annotated

import torch
from pydantic import Field, PositiveInt
from torch import Tensor
from torch.nn import functional as F

from inkloop.appearance import clutter, erase, other_pen, relight, solarize
from inkloop.settings import Settings, Share, ShareBelowOne

Pixels = Annotated[float, Field(ge=0, le=14)]  # up to half the frame


APPEARANCE = (other_pen, solarize, clutter, erase, relight)  # in this order


class AugmentationSettings(Settings):
    """How far digits are deformed; 0 switches a part off. Pixel-level parts touch `pixel_share` of the digits each."""

    rotation_deg: Annotated[float, Field(ge=0, le=180)] = 15.0  # either way
    scale: ShareBelowOne = 0.1  # 0.9 .. 1.1
    shear: Share = 0.1  # slant either way, columns per row
    shift_px: Pixels = 2.0
    elastic_px: Pixels = 2.0  # height of the waves
    elastic_waves: PositiveInt = 4  # control points a side
    noise: Share = 0.05  # Gaussian, of full ink
    salt_and_pepper: Share = 0.02  # share of pixels
    paper: Share = 0.15  # strength of a paper texture, of full ink
    watermark: Share = 0.15  # strength of lines printed across the paper, of full ink
    pixel_share: Share = 0.0  # share of digits that get each of the four above
    other_pen: Share = 0.0  # share of digits written by a thicker, thinner or softer pen; see `inkloop.appearance`
    solarize: Share = 0.0  # share of digits of which outlines remain
    clutter: Share = 0.0  # chance of each of two pieces of other digits
    erase: Share = 0.0  # chance of each of two holes
    relight: Share = 0.0  # share of digits with fainter ink on uneven grey


def deform(images: Tensor, settings: AugmentationSettings, random: torch.Generator) -> Tensor:
    """Deform a batch. images: float (batch, height, width), ink 0..255 on 0. Returns the same shape and range.

    Rotation, scale, shear, shift and elastic waves (Simard 2003) are folded into one displacement field and one
    bilinear resampling. The same generator state gives the same result on one machine.
    """
    warped = F.grid_sample(
        images[:, None], _grid(images, settings, random), mode="bilinear", padding_mode="zeros", align_corners=False
    )[:, 0]
    for change in APPEARANCE:
        if (share := getattr(settings, change.__name__)) > 0:
            warped = change(warped, share, random).clamp(0, 255)
    if settings.pixel_share > 0:
        warped = _soil(warped, settings, random)
    return warped


def _uniform(shape: tuple[int, ...], random: torch.Generator, limit: float) -> Tensor:
    return (torch.rand(shape, generator=random, device=random.device) * 2 - 1) * limit


def _grid(images: Tensor, settings: AugmentationSettings, random: torch.Generator) -> Tensor:
    """Where each output pixel is taken from, in -1..1: (batch, height, width, 2), x first."""
    batch, height, width = images.shape
    angle = _uniform((batch,), random, math.radians(settings.rotation_deg))
    zoom = 1 + _uniform((batch, 2), random, settings.scale)
    shear = _uniform((batch,), random, settings.shear)
    shift = _uniform((batch, 2), random, 2 * settings.shift_px / width)
    # The grid's unit is half a side, so what goes from one axis to the other is scaled by their ratio.
    ratio = height / width
    cos, sin = angle.cos(), angle.sin()
    x_row = torch.stack([cos / zoom[:, 0], (shear - sin) / zoom[:, 0] * ratio, shift[:, 0]], 1)
    y_row = torch.stack([sin / zoom[:, 1] / ratio, cos / zoom[:, 1], shift[:, 1] / ratio], 1)
    knots = settings.elastic_waves**2 if settings.elastic_px > 0 else 0
    waves = _uniform((batch, 2, knots), random, 2 * settings.elastic_px / width)
    waves[:, 1] /= ratio
    basis = _basis(height, width, settings.elastic_waves if knots else 0).to(images.device)
    x, y = (torch.cat([row, waves[:, way]], 1) @ basis for way, row in enumerate((x_row, y_row)))
    return torch.stack([x, y], 2).view(batch, height, width, 2)


@cache
def _basis(height: int, width: int, waves: int) -> Tensor:
    """What a displacement field is a sum of: x, y, 1, and a bump for each knot of the waves: (3 + waves^2, pixels).

    So a batch's fields are one product of matrices, some four times as fast as resampling a field for each image.
    """
    identity = torch.tensor([[[1.0, 0, 0], [0, 1.0, 0]]])
    pixels = F.affine_grid(identity, [1, 1, height, width], align_corners=False)[0].permute(2, 0, 1)
    flat = torch.cat([pixels, torch.ones(1, height, width)])
    knots = torch.eye(waves**2).view(waves**2, 1, waves, waves) if waves else torch.zeros(0, 1, 1, 1)
    bumps = F.interpolate(knots, (height, width), mode="bicubic", align_corners=True) if waves else knots
    return torch.cat([flat.flatten(1), bumps.reshape(len(knots), height * width)])


def _soil(images: Tensor, settings: AugmentationSettings, random: torch.Generator) -> Tensor:
    """Add paper, watermarks, noise, salt and pepper, each to its share of the digits."""
    batch, height, width = images.shape

    def chosen() -> Tensor:
        return torch.rand((batch, 1, 1), generator=random, device=random.device) < settings.pixel_share

    fibers = torch.rand((batch, 1, 7, 7), generator=random, device=random.device)
    paper = F.interpolate(fibers, (height, width), mode="bilinear", align_corners=True)[:, 0]
    images = torch.where(chosen(), images.maximum(paper * settings.paper * 255), images)
    direction = _uniform((batch, 1, 1), random, math.pi)
    down = torch.arange(height, device=images.device)[None, :, None]
    across = torch.arange(width, device=images.device)[None, None, :]
    lines = ((down * direction.sin() + across * direction.cos()) * (2 * math.pi / 7)).sin().clamp(min=0)
    images = torch.where(chosen(), images.maximum(lines * settings.watermark * 255), images)
    noise = torch.randn(images.shape, generator=random, device=random.device) * settings.noise * 255
    images = torch.where(chosen(), images + noise, images)
    grains = torch.rand(images.shape, generator=random, device=random.device)
    grains = torch.where(chosen(), grains, 0.5)
    half = settings.salt_and_pepper / 2
    return torch.where(grains < half, 0.0, torch.where(grains > 1 - half, 255.0, images)).clamp(0, 255)
