"""The table of digits."""

import hashlib

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from inkloop import digits
from inkloop.digits import Rejected, digit_id, split_of
from inkloop.errors import UserError

FEW = settings(max_examples=40, deadline=None)
SIZES = st.tuples(st.integers(1, 9), st.integers(1, 9))
PICTURES = arrays.arrays(np.uint8, SIZES)


def test_the_official_splits_are_these_digits_and_no_others(mnist_table):
    """These hashes never change: a figure on the test set is only comparable on the same test set."""
    assert digits.split_digests(digits.read_table(mnist_table)) == {
        "train": "02477e45096220f3ac5882946bc8e7dfb23e7f1986909b1af686a254108e074f",
        "validation": "06df6696c88f1dedda1f108e40e79e08277648e64c3f238d1e72d19f053ef5c8",
        "test": "2894a7892c9731f8774fc0e1257b7ca714f7f898f927c064a7bf4f35a67a1716",
    }


def test_every_real_digit_is_read_back(mnist):
    assert {split: len(part) for split, part in mnist.items()} == {"train": 54121, "validation": 5879, "test": 10000}
    assert mnist["test"].labels[:5].tolist() == [7, 2, 1, 0, 4]


@FEW
@given(st.lists(st.tuples(PICTURES, st.integers(-1, 9), st.sampled_from(["train", "validation", "test"])), max_size=8))
def test_a_table_comes_back_as_it_was_written(tmp_path_factory, rows):
    folder = tmp_path_factory.mktemp("table")
    images, labels, splits = [list(column) for column in zip(*rows, strict=True)] if rows else [[], [], []]
    table = digits.to_table(images, np.array(labels, np.int64), "drawn", splits, [f"{i}.png" for i in range(len(rows))])
    digits.write(table, folder)
    read = digits.read_table(folder)
    assert read.equals(table)
    assert all(np.array_equal(one, other) for one, other in zip(digits.images_of(read), images, strict=True))


@FEW
@given(PICTURES, PICTURES)
def test_two_digits_share_an_id_only_if_size_and_pixels_are_the_same(one, other):
    assert (digit_id(one) == digit_id(other)) == np.array_equal(one, other)


@FEW
@given(arrays.arrays(np.uint8, st.just((4, 6))))
def test_the_same_pixels_in_another_shape_are_another_digit(picture):
    assert digit_id(picture) != digit_id(picture.reshape(6, 4))


@FEW
@given(st.text(), st.floats(0, 0.4), st.floats(0, 0.4), st.floats(0, 0.1))
def test_a_digit_of_the_test_set_stays_there_when_the_set_grows(key, validation, test, more):
    if split_of(key, validation, test) == "test":
        assert split_of(key, validation, test + more) == "test"


def test_shares_of_a_split_are_the_ones_asked_for():
    sides = [split_of(hashlib.sha256(b"%d" % n).hexdigest(), 0.1, 0.2) for n in range(20_000)]
    assert sides.count("test") / 20_000 == pytest.approx(0.2, abs=0.01)
    assert sides.count("validation") / 20_000 == pytest.approx(0.1, abs=0.01)


def test_writing_fewer_digits_leaves_none_of_the_old_ones(tmp_path, test_digits, monkeypatch):
    monkeypatch.setattr(digits, "ROWS_PER_SHARD", 100)
    for count in (1000, 250):
        few = test_digits.take(slice(0, count))
        digits.write(digits.to_table(few.images, few.labels, "mnist", "test"), tmp_path)
    assert digits.read(tmp_path).ids == few.ids


def test_a_table_without_ids_is_refused(tmp_path):
    with pytest.raises(UserError, match="id, image"):
        digits.write(pa.table({"label": [1]}), tmp_path)


def test_pictures_of_two_sizes_are_refused_for_training(tmp_path):
    images = [np.zeros((28, 28), np.uint8), np.zeros((8, 8), np.uint8)]
    digits.write(digits.to_table(images, np.array([1, 2]), "drawn", "train"), tmp_path)
    with pytest.raises(UserError, match="2 sizes"):
        digits.read(tmp_path)


def test_an_empty_folder_is_no_table(tmp_path):
    with pytest.raises(UserError, match="no table of digits"):
        digits.read_table(tmp_path)


def test_rejected_files_are_remembered_beside_the_table(tmp_path):
    rejected = [Rejected("3/ä.png", "not a readable picture")]
    digits.write_rejected(rejected, tmp_path)
    assert digits.read_rejected(tmp_path) == rejected
