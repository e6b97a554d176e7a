"""A deformed copy of a split, made once by seed: what robustness is measured on."""

import time
from pathlib import Path

import numpy as np
import pyarrow as pa
import torch

from inkloop import digits
from inkloop.augmentation import AugmentationSettings, deform
from inkloop.digits import Digits, Split, digit_id

BATCH_SIZE = 256


def _deform_all(originals: Digits, settings: AugmentationSettings, seed: int) -> list[torch.Tensor]:
    random = torch.Generator().manual_seed(seed)
    parts = torch.from_numpy(originals.images).split(BATCH_SIZE)
    return [deform(part.float(), settings, random).round().to(torch.uint8) for part in parts]


def deform_split(source: Path, target: Path, split: Split, settings: AugmentationSettings, seed: int) -> None:
    """Write the split of the table at `source`, every digit but production's deformed, as a table at `target`."""
    originals = digits.read(source, split, from_production=False)  # a set that stays the same from run to run
    images = torch.cat(_deform_all(originals, settings, seed)).numpy()
    count, height, width = images.shape
    table = pa.table(
        {
            "id": [digit_id(image) for image in images],
            "image": [image.tobytes() for image in images],
            "height": np.full(count, height, np.int16),
            "width": np.full(count, width, np.int16),
            "label": pa.array(originals.labels, mask=originals.labels < 0),
            "source": [f"deformed:{original}" for original in originals.ids],
            "split": [split] * count,
        }
    )
    digits.write(table, target)


def throughput(source: Path, settings: AugmentationSettings, seed: int, count: int = 10_000) -> float:
    """Digits deformed a second, on one core, in batches as in training."""
    sample = digits.read(source, "train").take(slice(0, count))
    started = time.perf_counter()
    _deform_all(sample, settings, seed)
    return len(sample) / (time.perf_counter() - started)
