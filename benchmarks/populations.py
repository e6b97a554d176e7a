"""Handwriting of two kinds for the loop: MNIST's, and another population's with thick and slanted pens among it."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from scipy import ndimage
from sklearn.datasets import load_digits

from inkloop.digits import Digits
from inkloop.framing import frame

SIDE = 24  # pixels to which the 8 x 8 digits are drawn up before they are framed as MNIST was
LEAN = 0.35  # columns a row, that the slanted pen leans further to the right


@dataclass(frozen=True)
class Population:
    """Digits as a server gets them: images uint8 (n, 28, 28), labels int64 (n,)."""

    name: str
    images: NDArray[np.uint8]
    labels: NDArray[np.int64]

    def __len__(self) -> int:
        return len(self.images)

    def take(self, rows: NDArray[np.int64] | slice) -> "Population":
        """Those at these rows, in their order."""
        return Population(self.name, self.images[rows], self.labels[rows])


def mnist(digits: Digits) -> Population:
    """MNIST's digits as they are."""
    return Population("mnist", digits.images, digits.labels)


def another(thick: Digits, slanted: Digits, seed: int) -> Population:
    """scikit-learn's 1,797 digits of other writers, real digits by a thick pen and by a slanted one, mixed by seed."""
    small = load_digits()
    big = [
        Image.fromarray((each * 255 / 16).astype(np.uint8)).resize((SIDE, SIDE), Image.Resampling.BICUBIC)
        for each in small.images
    ]
    framed = np.stack([frame(np.pad(np.asarray(each), 4)) for each in big])
    images = np.concatenate([framed, thicken(thick.images), slant(slanted.images)])
    labels = np.concatenate([small.target.astype(np.int64), thick.labels, slanted.labels])
    order = np.random.default_rng(seed).permutation(len(images))
    return Population("another", images[order], labels[order])


def thicken(images: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """The digits as a marker would write them: each stroke two pixels wider."""
    return np.stack([frame(ndimage.grey_dilation(each, (3, 3))) for each in images])


def slant(images: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """The digits leaning further to the right, about their middle row."""
    middle = (images.shape[1] - 1) / 2
    shear = np.array([[1.0, 0.0], [LEAN, 1.0]])
    return np.stack([frame(ndimage.affine_transform(each, shear, [0.0, -LEAN * middle], order=1)) for each in images])
