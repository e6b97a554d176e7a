"""A champion's answers to digits it knows and to strangers', with the labels that came in, true or false."""

import numpy as np
import pyarrow as pa
import pytest

from benchmarks.stream import other_population
from infra import captured, reference
from inkloop import digits
from inkloop.digits import Digits
from inkloop.runtime import Recognizer

SOURCES = ("app", "scans", "tablet", "web")


@pytest.fixture(scope="session")
def champion(model_directory) -> Recognizer:
    """Who answers."""
    return Recognizer(model_directory)


@pytest.fixture(scope="session")
def known(champion, mnist) -> pa.Table:
    """The champion's reference: 3,000 real digits."""
    held_out = mnist["validation"].take(slice(0, 3000))
    return reference.reference_of(champion, digits.to_table(held_out.images, held_out.labels, "mnist", "validation"))


@pytest.fixture(scope="session")
def strangers() -> Digits:
    """1,797 real digits of another population."""
    return other_population()


def answered(champion: Recognizer, shown: Digits, labels: np.ndarray, sources, writers=None) -> pa.Table:
    """What was captured of these digits, with the labels that came in."""
    table = digits.to_table(shown.images, labels, "production", "train", writers=writers, ids=shown.ids)
    at = table.schema.get_field_index("source")
    table = table.set_column(at, table.schema.field(at), pa.array(list(sources), pa.string()))
    probabilities = np.concatenate(
        [champion.probabilities(shown.images[row : row + 256]) for row in range(0, len(shown), 256)]
    )
    for name, column in {
        "prediction_id": pa.array([str(row) for row in range(len(shown))]),
        "answer": pa.array(probabilities.argmax(1), pa.int8()),
        "probabilities": pa.array(list(probabilities), pa.list_(pa.float32())),
        "model_version": pa.repeat(champion.version, len(shown)),
    }.items():
        table = table.append_column(name, column)
    return table.select(captured.SCHEMA.names).cast(captured.SCHEMA)


def flipped(labels: np.ndarray, where: np.ndarray, seed: int = 0) -> np.ndarray:
    """The labels, with others in place of those."""
    others = np.random.default_rng(seed).integers(1, 10, len(labels))
    return np.where(where, (labels + others) % 10, labels)


def spread(count: int) -> np.ndarray:
    """Sources, each of a quarter of the rows."""
    return np.array(SOURCES)[np.random.default_rng(0).integers(0, len(SOURCES), count)]
