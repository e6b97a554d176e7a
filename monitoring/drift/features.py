"""What the detector looks at: some twenty scalars of each picture and of the model's answer to it."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float32]

SIDE = 28
CLASSES = 10
COMPONENTS = 32
BORDER = 3  # pixels
BLOCK = 256  # a matrix product of one shape rounds each row the same way, whatever stands beside it
LEAST = 1e-7  # below this a probability is rounding

NAMES = (
    "margin",
    "entropy",
    "ink",
    "vertical center",
    "horizontal center",
    "height",
    "width",
    "slant",
    "border ink",
    "gray",
    "horizontal roughness",
    "vertical roughness",
    "novelty",
    *(f"answer {label}" for label in range(CLASSES)),
)


@dataclass(frozen=True)
class Basis:
    """The plane in which the reference's pictures vary most. mean: (784,); components: (784, 32), orthonormal."""

    mean: Floats
    components: Floats


def basis_of(images: NDArray[np.uint8]) -> Basis:
    """The mean and the first principal components of pictures. images: uint8 (n, 28, 28)."""
    pixels = images.reshape(len(images), -1).astype(np.float32)
    _, vectors = np.linalg.eigh(np.cov(pixels, rowvar=False, bias=True))
    return Basis(pixels.mean(0), np.ascontiguousarray(vectors[:, : -COMPONENTS - 1 : -1], np.float32))


def features(images: NDArray[np.uint8], probabilities: Floats, basis: Basis) -> Floats:
    """float32 (n, len(NAMES)), in the order of `NAMES`; a picture's row is the same whatever stands beside it.

    images: uint8 (n, 28, 28), white ink on black; probabilities: float32 (n, 10).
    """
    weights = np.concatenate([basis.components, basis.mean[:, None], _MOMENTS], 1)
    drawn = [_of_pictures(images[at : at + BLOCK], basis, weights) for at in range(0, len(images), BLOCK)]
    answers = probabilities.argmax(1)[:, None] == np.arange(CLASSES)
    return np.concatenate([_of_answers(probabilities), np.concatenate(drawn), answers], 1, dtype=np.float32)


def _of_answers(probabilities: Floats) -> Floats:
    logs = np.log(np.maximum(probabilities, LEAST))
    second, first = np.partition(logs, -2, 1)[:, -2:].T
    return np.stack([first - second, -(probabilities * logs).sum(1)], 1)


def _of_pictures(images: NDArray[np.uint8], basis: Basis, weights: Floats) -> Floats:
    pixels = np.zeros((BLOCK, SIDE * SIDE), np.float32)
    pixels[: len(images)] = images.reshape(len(images), -1)
    sums = (pixels @ weights)[: len(images)]
    explained, along_mean = sums[:, :COMPONENTS], sums[:, COMPONENTS]
    ink, down, across, down_2, across_2, down_across, border = sums[:, COMPONENTS + 1 :].T
    energy = np.einsum("np,np->n", pixels, pixels)[: len(images)]
    mass = np.maximum(ink, 1)
    down, across = down / mass, across / mass
    off_mean = explained - basis.mean @ basis.components
    rest = energy - 2 * along_mean + basis.mean @ basis.mean - np.einsum("nc,nc->n", off_mean, off_mean)
    return np.stack(
        [
            ink,
            down,
            across,
            down_2 / mass - down**2,
            across_2 / mass - across**2,
            down_across / mass - down * across,
            border,
            255 * ink - energy,
            _variation(pixels, 1)[: len(images)] / mass,
            _variation(pixels, SIDE)[: len(images)] / mass,
            rest,
        ],
        1,
    )


def _variation(pixels: Floats, step: int) -> Floats:
    """How much neighbors differ, so many places apart, (n,). A row's end counts as the next one's neighbor."""
    total: Floats = np.abs(pixels[:, step:] - pixels[:, :-step]).sum(1)
    return total


def _moments() -> Floats:
    """(784, 7): a picture times it is its ink, its moments about the frame's center and its border's ink."""
    down, across = np.mgrid[:SIDE, :SIDE] - (SIDE - 1) / 2
    border = np.maximum(np.abs(down), np.abs(across)) > SIDE / 2 - BORDER
    columns = [np.ones_like(down), down, across, down**2, across**2, down * across, border]
    return np.stack([column.ravel() for column in columns], 1).astype(np.float32)


_MOMENTS = _moments()
