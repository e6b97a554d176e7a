"""Digits in Ray's object store: put there once, and read by all workers of a machine in the same memory."""

import warnings
from dataclasses import dataclass
from typing import Any

import ray

from inkloop.batches import Blocks
from inkloop.digits import Digits


@dataclass(frozen=True)
class StoredBlocks:
    """Blocks of digits in the object store, which writes to disk what it has no room for."""

    sizes: tuple[int, ...]
    references: tuple[ray.ObjectRef[Any], ...]

    def read(self, number: int) -> Digits:
        """One block, brought to this machine, where it can be read as long as the arrays are in use."""
        images, labels = ray.get(self.references[number])
        return Digits(images, labels, ())


def put(digits: Digits | Blocks) -> Any:  # noqa: ANN401
    """Put them into the object store, block by block; what `get` takes, in any process of this Ray."""
    if isinstance(digits, Digits):
        return ray.put((digits.images, digits.labels, digits.ids))
    blocks = map(digits.read, range(len(digits.sizes)))
    return StoredBlocks(digits.sizes, tuple(ray.put((block.images, block.labels)) for block in blocks))


def get(stored: Any) -> Digits | Blocks:  # noqa: ANN401
    """What `put` was given, without a copy; the arrays cannot be written to."""
    return stored if isinstance(stored, StoredBlocks) else Digits(*ray.get(stored))


def accept_read_only_arrays() -> None:
    """Have torch take arrays of the object store as they are: training draws from them, and writes to none."""
    warnings.filterwarnings("ignore", "The given NumPy array is not writable")
