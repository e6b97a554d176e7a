"""MNIST as four canonical IDX files, pinned by their checksums (LeCun, Cortes and Burges 1998)."""

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import pyarrow as pa

from inkloop import digits, idx
from inkloop.digits import digit_id, split_of
from inkloop.files import written_whole

NAME = "mnist"
MD5 = {
    "train-images-idx3-ubyte": "6bbc9ace898e44ae57da46a324031adb",
    "train-labels-idx1-ubyte": "a25bea736e30d166cdddb491f175f624",
    "t10k-images-idx3-ubyte": "2646ac647ad5339dbf082846283269ea",
    "t10k-labels-idx1-ubyte": "27ae3e4e09519cfbb04c329615203637",
}


def pin() -> str:
    """SHA-256, hex, over the names and checksums of the four files: stands for their content."""
    return hashlib.sha256(json.dumps(MD5, sort_keys=True).encode()).hexdigest()


def wrong(files: Mapping[str, bytes]) -> list[str]:
    """Names of the four files that are missing or whose bytes are not MNIST's."""
    return [
        name
        for name, md5 in MD5.items()
        if name not in files or hashlib.md5(files[name], usedforsecurity=False).hexdigest() != md5
    ]


def is_whole(folder: Path) -> bool:
    """Whether the folder holds the four files with the right bytes."""
    return not wrong({name: (folder / name).read_bytes() for name in MD5 if (folder / name).is_file()})


def write(files: Mapping[str, bytes], folder: Path) -> None:
    """Write the four files, each whole or not at all."""
    folder.mkdir(parents=True, exist_ok=True)
    for name in MD5:
        with written_whole(folder / name) as unfinished:
            unfinished.write_bytes(files[name])


def read(folder: Path, validation_share: float) -> pa.Table:
    """The table of all 70,000: the official 10,000 are `test`; a share of the others, by hash of id, `validation`."""
    return pa.concat_tables([_read_train(folder, validation_share), _read_test(folder)])


def _read_train(folder: Path, validation_share: float) -> pa.Table:
    images, labels = (idx.read(folder / f"train-{kind}-ubyte") for kind in ("images-idx3", "labels-idx1"))
    ids = [digit_id(image) for image in images]
    splits = [split_of(each, validation_share, test_share=0) for each in ids]
    files = [f"train-images-idx3-ubyte#{row}" for row in range(len(ids))]
    return digits.to_table(images, labels.astype(np.int64), NAME, splits, files, ids=ids)


def _read_test(folder: Path) -> pa.Table:
    images, labels = (idx.read(folder / f"t10k-{kind}-ubyte") for kind in ("images-idx3", "labels-idx1"))
    files = [f"t10k-images-idx3-ubyte#{row}" for row in range(len(images))]
    return digits.to_table(images, labels.astype(np.int64), NAME, "test", files)
