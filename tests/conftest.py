"""What all tests share: real digits, and an S3 server."""

from pathlib import Path

import pytest

from infra import dvc
from inkloop import digits, download, sources
from inkloop import mnist as mnist_files
from inkloop.digits import Digits, Split

pytest_plugins = ["s3"]

DATA_DIR = Path(__file__).parents[1] / "data"


@pytest.fixture(scope="session")
def data_dir() -> Path:
    """The checkout's `data/` with the real MNIST files in it, fetched if they are not."""
    folder = DATA_DIR / mnist_files.NAME
    if not mnist_files.is_whole(folder):
        dvc.pull(DATA_DIR)
    if not mnist_files.is_whole(folder):
        download.fetch(folder)
    return DATA_DIR


@pytest.fixture(scope="session")
def mnist_table(data_dir, tmp_path_factory) -> Path:
    """A folder with the table of all 70,000 real digits, as ingest writes it."""
    folder = tmp_path_factory.mktemp("mnist") / "digits"
    table, _ = sources.read(mnist_files.NAME, data_dir, sources.IngestSettings())
    digits.write(table, folder)
    return folder


@pytest.fixture(scope="session")
def mnist(mnist_table) -> dict[Split, Digits]:
    """The real digits of each split: `mnist["test"].images`."""
    return {split: digits.read(mnist_table, split) for split in ("train", "validation", "test")}


@pytest.fixture(scope="session")
def test_digits(mnist) -> Digits:
    """The first 1,000 real test digits."""
    return mnist["test"].take(slice(0, 1000))
