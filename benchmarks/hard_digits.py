"""Test digits made harder, and digits of other people: the sets that a model's robustness is measured on, by name."""

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pyarrow.compute as pc
from numpy.typing import NDArray
from scipy import ndimage

from benchmarks import photographs, populations, stream
from inkloop import corruptions, digits, sources
from inkloop.digits import Digits
from inkloop.errors import UserError
from inkloop.framing import frame

CORRUPTED = "MNIST-C: "
PHOTOGRAPHED = "photograph: "
Pictures = NDArray[np.uint8]


def sets(test: Digits, photographed: int, source: str = "") -> Iterator[tuple[str, Digits]]:
    """Each set with its name, the clean one first. None of it was seen in training.

    photographed: of how many test digits photographs are made, for each kind; source: a folder of digits or an IDX
    file, framed as the service frames what it is sent. Raises UserError if the source cannot be read.
    """
    yield "as they are", test
    for name, found in corrupted(test):
        yield CORRUPTED + name, found
    yield "thicker pen", _with(test, populations.thicken(test.images))
    yield "thinner pen", _with(test, ndimage.grey_erosion(test.images, (1, 2, 2)))
    yield "leaning right", _with(test, populations.slant(test.images))
    yield "leaning left", _with(test, populations.slant(test.images[:, :, ::-1])[:, :, ::-1].copy())
    yield "dark ink on white paper", _framed(test, 255 - test.images)
    few = test.take(slice(0, photographed))
    for name, taken in photographs.KINDS.items():
        pictures = [taken(image, np.random.default_rng(row)) for row, image in enumerate(few.images)]
        yield PHOTOGRAPHED + name.replace("_", " "), _framed(few, pictures)
    yield "scikit-learn's digits", stream.other_population()
    if source:
        yield Path(source).name, _of(source)


def corrupted(test: Digits) -> Iterator[tuple[str, Digits]]:
    """The digits under each of MNIST-C's corruptions, by its name."""
    for name in corruptions.NAMES:
        yield name, _with(test, corruptions.corrupt(test.images, name, seed=0))


def _with(test: Digits, images: Pictures) -> Digits:
    return Digits(images, test.labels, test.ids)


def _framed(test: Digits, pictures: Pictures | list[Pictures]) -> Digits:
    """The pictures as the service frames them; one that it refuses is empty, and so misread."""
    images = np.zeros((len(test), 28, 28), np.uint8)
    for row, picture in enumerate(pictures):
        try:
            images[row] = frame(picture)
        except UserError:
            continue
    return _with(test, images)


def _of(source: str) -> Digits:
    table, _ = sources.read(source, Path("data"), sources.IngestSettings())
    table = table.filter(pc.is_valid(table.column("label")))
    if not table.num_rows:
        raise UserError(f"{source}: no digit there has a label, so nothing can be said of it.")
    return digits.of(table)
