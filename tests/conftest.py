"""What all tests share: real digits, a model that learned them, and an S3 server."""

import copy
from collections.abc import Iterator
from pathlib import Path

import hypothesis
import pyarrow as pa
import pytest
import torch

from infra import dvc
from inkloop import checkpoint, digits, download, sources
from inkloop import mnist as mnist_files
from inkloop.digits import Digits, Split
from inkloop.model import ModelSettings, Recognizer
from inkloop.readings import Reading
from inkloop.training import TrainingSettings, fit
from serving.capture import FOLDER_VARIABLE

pytest_plugins = [
    "s3",
    "ray_cluster",
    "ray_nodes",
    "server",
    "served",
    "short_lines",
    "recorded",
    "production",
    "labeled",
    "operators",
    "chromium",
    "kubeflow",
]

torch.set_num_threads(1)  # as everywhere: with two, sums are rounded in another order, and weights differ

# How long an example takes says how busy the machine is, nothing about the code.
hypothesis.settings.register_profile("any machine", deadline=None)
hypothesis.settings.load_profile("any machine")

DATA_DIR = Path(__file__).parents[1] / "data"


@pytest.fixture(scope="session", autouse=True)
def captured_elsewhere(tmp_path_factory) -> Iterator[None]:
    """Have servers that tests start keep what they capture out of the checkout."""
    with pytest.MonkeyPatch.context() as environment:
        environment.setenv(FOLDER_VARIABLE, str(tmp_path_factory.mktemp("captured")))
        yield


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


@pytest.fixture(scope="session")
def train_digits(mnist) -> Digits:
    """4,000 real training digits."""
    return mnist["train"].take(slice(0, 4000))


@pytest.fixture(scope="session")
def validation_digits(mnist) -> Digits:
    """500 real validation digits."""
    return mnist["validation"].take(slice(0, 500))


@pytest.fixture(scope="session")
def few_digits(mnist, tmp_path_factory) -> Path:
    """A folder with a table of 1,100 real digits: 600 train, 200 validation, 300 test."""
    folder = tmp_path_factory.mktemp("few") / "digits"
    parts = {"train": 600, "validation": 200, "test": 300}
    tables = [
        digits.to_table(mnist[split].images[:count], mnist[split].labels[:count], "mnist", split)
        for split, count in parts.items()
    ]
    digits.write(pa.concat_tables(tables), folder)
    return folder


@pytest.fixture(scope="session")
def learnt(train_digits, validation_digits) -> Recognizer:
    """A small recognizer that really learned to read, in seconds; never changed (see `trained_model`)."""
    torch.manual_seed(0)
    readings = (Reading(kind="rows"), Reading(kind="columns"))
    model = Recognizer(ModelSettings(readings=readings, hidden_size=16, attention_size=8, fc_size=24, dropout=0.1))
    settings = TrainingSettings(epochs=3, batch_size=64, learning_rate=1e-2)
    fit(model, train_digits, validation_digits, settings, None, seed=0)
    return model.eval()


@pytest.fixture
def trained_model(learnt) -> Recognizer:
    """A copy of one's own of a small recognizer that really learned to read."""
    return copy.deepcopy(learnt)


@pytest.fixture(scope="session")
def model_directory(learnt, tmp_path_factory) -> Path:
    """The INT8 model directory of a small recognizer that really learned to read; not to be written to."""
    folder = tmp_path_factory.mktemp("model") / "int8"
    checkpoint.save(copy.deepcopy(learnt), folder, "int8", {"validation_accuracy": 0.9}, {"seed": "0"})
    return folder
