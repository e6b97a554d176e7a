"""The reference of a model: which digits production is compared with, and that it comes back as it was kept."""

from datetime import UTC, datetime

import numpy as np
import pyarrow as pa
import pytest

from infra import captured, reference
from infra.storage import FolderStore, Missing
from inkloop import digits
from inkloop.runtime import Recognizer


@pytest.fixture
def model(model_directory) -> Recognizer:
    return Recognizer(model_directory)


def from_production(table: pa.Table) -> pa.Table:
    seen = pa.array([datetime(2026, 11, 25, tzinfo=UTC)] * table.num_rows, pa.timestamp("us", tz="UTC"))
    at = table.schema.get_field_index("seen_at")
    return table.set_column(at, table.schema.field(at), seen)


def validation(digits_, count: int) -> pa.Table:
    return digits.to_table(digits_.images[:count], digits_.labels[:count], "here", "validation")


def test_it_is_the_validation_digits_with_what_the_model_says_to_them(model, few_digits):
    table = digits.read_table(few_digits)

    found = reference.reference_of(model, table)

    assert found.schema == captured.SCHEMA
    assert found.num_rows == 200
    images = np.stack(list(digits.images_of(found)))
    said = np.stack(found.column("probabilities").to_pylist())
    assert np.abs(said - model.probabilities(images)).max() < 0.02  # INT8: a little depends on the batch
    assert (said.argmax(1) == found.column("answer").to_numpy()).all()
    assert set(found.column("model_version").to_pylist()) == {model.version}


def test_what_production_sent_is_the_reference_once_there_is_enough_of_it(model, mnist):
    old = validation(mnist["validation"], 500)
    enough = from_production(validation(mnist["validation"].take(slice(500, None)), reference.ENOUGH))

    assert reference.reference_of(model, pa.concat_tables([old, enough])).num_rows == reference.ENOUGH
    assert reference.reference_of(model, pa.concat_tables([old, enough.slice(1)])).num_rows == 499 + reference.ENOUGH


def test_it_comes_back_as_it_was_kept(model, few_digits, tmp_path):
    store, table = FolderStore(tmp_path / "store"), digits.read_table(few_digits)

    reference.publish(store, model, table)

    assert reference.read(store, model.digest).equals(reference.reference_of(model, table))


def test_a_model_without_one_is_named(tmp_path):
    with pytest.raises(Missing, match=r"model abcdef: no reference in .*Run the pipeline again"):
        reference.read(FolderStore(tmp_path / "store"), "abcdef")
