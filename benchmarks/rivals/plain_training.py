"""The training loop as tutorials write it: a Dataset, transforms one image at a time, a DataLoader, a step a batch."""

import time
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from scipy import ndimage
from torch import Tensor, nn
from torch.utils.data import DataLoader, Dataset

from inkloop import lstm
from inkloop.digits import Digits
from inkloop.model import ModelSettings, Recognizer

MEAN, DEVIATION = 0.1307, 0.3081
ELASTIC_ALPHA, ELASTIC_SIGMA = 34.0, 4.0  # Simard 2003's, by the recipe that is copied everywhere


class Transformed(Dataset[tuple[Tensor, int]]):
    """Digits that are rotated, scaled, shifted and bent anew each time one is asked for."""

    def __init__(self, digits: Digits, seed: int) -> None:
        self._digits, self._random = digits, np.random.default_rng(seed)

    def __len__(self) -> int:
        """How many digits there are."""
        return len(self._digits)

    def __getitem__(self, row: int) -> tuple[Tensor, int]:
        """The digit, deformed and normalized (28, 28), and its label."""
        random = self._random
        angle, zoom, shift = random.uniform(-15, 15), random.uniform(0.9, 1.1), random.uniform(-2, 2, 2)
        image = Image.fromarray(self._digits.images[row]).rotate(angle, Image.Resampling.BILINEAR)
        matrix = (1 / zoom, 0, 14 - 14 / zoom - shift[0], 0, 1 / zoom, 14 - 14 / zoom - shift[1])
        image = image.transform((28, 28), Image.Transform.AFFINE, matrix, Image.Resampling.BILINEAR)
        bent = torch.from_numpy(self._bent(np.asarray(image, np.float32)) / 255)
        return (bent - MEAN) / DEVIATION, int(self._digits.labels[row])

    def _bent(self, image: NDArray[np.float32]) -> NDArray[np.float32]:
        field = [ndimage.gaussian_filter(self._random.uniform(-1, 1, image.shape), ELASTIC_SIGMA) for _ in range(2)]
        places = np.indices(image.shape) + ELASTIC_ALPHA * np.stack(field)
        return np.asarray(ndimage.map_coordinates(image, places, order=1), np.float32)


def images_per_s(shape: ModelSettings, digits: Digits, batch_size: int, seed: int) -> float:
    """Train the shape for one pass over the digits, by PyTorch's own layers; returns digits a second of one thread.

    In a process of its own, which shares nothing that our training has set up in this one.
    """
    with ProcessPoolExecutor(1, get_context("spawn"), _plainly) as pool:
        return pool.submit(_images_per_s, shape, digits, batch_size, seed).result()


def _plainly() -> None:
    torch.set_num_threads(1)
    lstm._lstm = None  # type: ignore[assignment]


def _images_per_s(shape: ModelSettings, digits: Digits, batch_size: int, seed: int) -> float:
    torch.manual_seed(seed)
    model, loss = Recognizer(shape).train(), nn.CrossEntropyLoss()
    optimizer = torch.optim.Adam(model.parameters(), lr=1e-3)
    loader: DataLoader[tuple[Tensor, int]] = DataLoader(Transformed(digits, seed), batch_size, shuffle=True)
    batches: Iterator[tuple[Tensor, Tensor]] = iter(loader)
    started, total = time.perf_counter(), 0.0
    for images, labels in batches:
        optimizer.zero_grad()
        value = loss(model(images).logits, labels)
        value.backward()
        nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        total += value.item()
    return len(digits) / (time.perf_counter() - started)
