"""Augmentation of pen paths: other hands, slants, speeds and jitter, by seed."""

import math
from typing import Annotated

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from inkloop.pen import trajectory
from inkloop.settings import Settings, Share, ShareBelowOne

KNOTS = 8  # of the jitter along a path: slower than noise, faster than the digit


class PenAugmentationSettings(Settings):
    """How far paths are deformed; 0 switches a part off, and all at 0 leave a path as it is."""

    rotation_deg: Annotated[float, Field(ge=0, le=180)] = 12.0  # either way
    slant: Share = 0.25  # either way, across per down
    stretch: ShareBelowOne = 0.15  # across against down, 0.85 .. 1.15
    speed: ShareBelowOne = 0.3  # by how much steps come longer here and shorter there
    jitter: Share = 0.06  # deviation of a trembling pen, of half the digit's longer side
    joined: Share = 0.0  # of the digits, those whose lifted pen leaves ink, as on a screen that loses its events


# For tracings, which are to serve files whose digits are stretched to squares, with the way through the air drawn.
TRACED_HANDS = PenAugmentationSettings(stretch=0.4, joined=0.5)


def deform(
    paths: NDArray[np.float64], settings: PenAugmentationSettings, random: np.random.Generator
) -> NDArray[np.float64]:
    """Deform a batch of paths (n, STEPS + 1, 3), each in its own way. Returns paths, of the same shape.

    The same generator state gives the same result.
    """
    paths = _sped(paths, settings.speed, random)
    points = trajectory.placed(paths[..., :2]) @ _hands(len(paths), settings, random)
    points = points + settings.jitter * _tremble(len(paths), random)
    in_air = paths[..., 2:] * (random.random((len(paths), 1, 1)) >= settings.joined)
    return np.concatenate([points, in_air], 2)


def _sped(paths: NDArray[np.float64], speed: float, random: np.random.Generator) -> NDArray[np.float64]:
    """The paths at other places along their way, which come closer here and farther there, in order."""
    count, steps = len(paths), trajectory.STEPS
    strength, phase = random.uniform(-speed, speed, (count, 1)), random.uniform(0, 2 * math.pi, (count, 1))
    turns = 2 * math.pi * np.arange(steps + 1) / steps
    places = np.arange(steps + 1) + strength * (np.sin(turns + phase) - np.sin(phase)) * steps / (2 * math.pi)
    before = places.astype(int).clip(0, steps - 1)
    here, after = (np.take_along_axis(paths, rows[..., None], 1) for rows in (before, before + 1))
    sped: NDArray[np.float64] = here + (places - before)[..., None] * (after - here)
    return sped


def _hands(count: int, settings: PenAugmentationSettings, random: np.random.Generator) -> NDArray[np.float64]:
    """Rotation, slant and stretch in one matrix for each path: (count, 2, 2), right of its points."""
    angle = random.uniform(-1, 1, count) * math.radians(settings.rotation_deg)
    slant = random.uniform(-1, 1, count) * settings.slant
    across = 1 + random.uniform(-1, 1, count) * settings.stretch
    cos, sin = np.cos(angle), np.sin(angle)
    return np.stack([np.stack([across * cos, across * sin], 1), np.stack([slant * cos - sin, slant * sin + cos], 1)], 1)


def _tremble(count: int, random: np.random.Generator) -> NDArray[np.float64]:
    """Smooth noise along paths: (count, STEPS + 1, 2), of deviation 1 at its knots."""
    knots = random.standard_normal((count, KNOTS, 2))
    places = np.linspace(0, KNOTS - 1, trajectory.STEPS + 1)
    before = places.astype(int).clip(0, KNOTS - 2)
    share = (places - before)[:, None]
    trembling: NDArray[np.float64] = knots[:, before] * (1 - share) + knots[:, before + 1] * share
    return trembling
