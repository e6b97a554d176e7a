"""One stream of real digits with declared drifts: sudden, gradual, recurring, and one that is harmless."""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage
from sklearn.datasets import load_digits

from inkloop.digits import Digits, digit_id
from inkloop.framing import frame

Pictures = NDArray[np.uint8]  # (n, 28, 28)
Change = Callable[[Pictures, float], Pictures]  # pictures, strength 0..1


@dataclass(frozen=True)
class Phase:
    """A stretch of the stream; the change's strength goes linearly from the first to the second."""

    name: str
    images: int
    change: Change | None = None
    strength: tuple[float, float] = (1.0, 1.0)
    others: float = 0.0  # share of its images that another population wrote


@dataclass(frozen=True)
class Stream:
    """Images in order, what they are, and where each phase starts and ends."""

    images: Pictures
    labels: NDArray[np.int64]
    phases: tuple[tuple[str, int, int], ...]


def faint(images: Pictures, strength: float) -> Pictures:
    """A pen with a fifth less ink on slightly grainy paper: the picture changes, the shape does not."""
    grain = np.abs(np.random.default_rng(0).normal(0, 8, images.shape))
    return np.asarray((images * (1 - 0.2 * strength) + grain * strength).clip(0, 255), np.uint8)


def slanted_and_thick(images: Pictures, strength: float) -> Pictures:
    """Leaning to the right by up to half a column a row, of a pen up to two pixels wider."""
    lean, middle = 0.5 * strength, images.shape[1] / 2 - 0.5
    matrix, offset = np.array([[1, 0, 0], [0, 1, 0], [0, lean, 1]]), np.array([0, 0, -lean * middle])
    slanted = ndimage.affine_transform(images.astype(np.float32), matrix, offset, order=1).clip(0, 255)
    wide = ndimage.grey_dilation(slanted, size=(1, 3, 3))
    return np.asarray(np.rint((1 - strength) * slanted + strength * wide), np.uint8)


def turned(images: Pictures, strength: float) -> Pictures:
    """On paper that lies turned by up to 30 degrees."""
    return np.asarray(ndimage.rotate(images, -30 * strength, (2, 1), reshape=False, order=1), np.uint8)


PHASES = (
    Phase("as learned", 1_000),
    Phase("harmless: faint", 2_000, faint),
    Phase("as learned again", 500),
    Phase("sudden: another population", 2_500, others=0.6),
    Phase("gradual: slanted and thick", 2_500, slanted_and_thick, strength=(0.0, 1.0)),
    Phase("stays slanted and thick", 1_500, slanted_and_thick),
    Phase("recurring: turned", 1_000, turned),
    Phase("away", 800),
    Phase("recurring: turned again", 1_000, turned),
    Phase("away again", 800),
    Phase("recurring: turned a third time", 1_000, turned),
)


def other_population() -> Digits:
    """The 1,797 digits of scikit-learn's optdigits (43 writers), 8 x 8 pixels, framed as MNIST is."""
    found = load_digits()
    large = ndimage.zoom(found.images * (255 / 16), (1, 3, 3), order=1).astype(np.uint8)
    pictures = np.stack([frame(np.pad(each, 4)) for each in large])
    return Digits(pictures, found.target.astype(np.int64), tuple(digit_id(each) for each in pictures))


def make(known: Digits, seed: int, phases: tuple[Phase, ...] = PHASES) -> Stream:
    """The stream of one seed, of digits that no model has learned; each of them comes once."""
    random = np.random.default_rng(seed)
    strangers = other_population()
    known_order, strange_order = random.permutation(len(known)), random.permutation(len(strangers))
    images, labels, places, at = [], [], [], 0
    for phase in phases:
        is_strange = random.random(phase.images) < phase.others
        rows, known_order = np.split(known_order, [phase.images])
        strange, strange_order = np.split(strange_order, [int(is_strange.sum())])
        pictures, digits = known.images[rows].copy(), known.labels[rows].copy()
        pictures[is_strange], digits[is_strange] = strangers.images[strange], strangers.labels[strange]
        if phase.change is not None:
            strength = np.linspace(*phase.strength, phase.images).round(1)
            for level in np.unique(strength):
                pictures[strength == level] = phase.change(pictures[strength == level], float(level))
        images.append(pictures)
        labels.append(digits)
        places.append((phase.name, at, at + phase.images))
        at += phase.images
    return Stream(np.concatenate(images), np.concatenate(labels), tuple(places))
