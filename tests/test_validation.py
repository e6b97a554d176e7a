"""A bad batch is stopped, and what is bad is named."""

import re
import shutil
from pathlib import Path

import numpy as np
import pytest
from kfp.dsl import HTML, Dataset, Metrics
from PIL import Image

from components.ingest import ingest
from components.validate import validate
from inkloop import digits
from inkloop.errors import UserError


def as_input(kind, path):
    return kind(uri=str(path))


@pytest.fixture
def batch(mnist, tmp_path) -> Path:
    """A good batch: class folders of real digits, `train/3/17.png`, the same number of each class."""
    folder = tmp_path / "batch"
    for split, count in (("train", 12), ("validation", 4), ("test", 4)):
        sample = mnist[split]
        for label in range(10):
            (folder / split / str(label)).mkdir(parents=True)
            for row in np.flatnonzero(sample.labels == label)[:count]:
                Image.fromarray(sample.images[row]).save(folder / split / str(label) / f"{row}.png")
    return folder


@pytest.fixture
def check(tmp_path):
    """Ingests a batch and validates it, through the real components; returns the folder that was passed on."""

    def run(batch, **ingest_config):
        table, validated = as_input(Dataset, tmp_path / "digits"), as_input(Dataset, tmp_path / "validated")
        metrics = as_input(Metrics, tmp_path / "metrics")
        ingest.python_func(
            digits=table,
            metrics=metrics,
            source=str(batch),
            source_digest="",
            data_dir=str(tmp_path / "data"),
            config=ingest_config,
            store="",
            production="",
        )
        validate.python_func(
            digits=table,
            validated=validated,
            data_docs=as_input(HTML, tmp_path / "data_docs.html"),
            metrics=metrics,
            config={},
        )
        return Path(validated.path)

    return run


def complaint(check, batch, **ingest_config) -> str:
    with pytest.raises(UserError) as caught:
        check(batch, **ingest_config)
    return str(caught.value)


def any_file(folder) -> Path:
    return min(folder.glob("*.png"))


def test_a_good_batch_is_passed_on_unchanged(check, batch, tmp_path):
    validated = check(batch)
    assert digits.read_table(validated).equals(digits.read_table(tmp_path / "digits"))


def test_the_data_docs_open_by_themselves(check, batch, tmp_path):
    check(batch)
    page = (tmp_path / "data_docs.html").read_text()
    assert "All 11 expectations met" in page
    assert "label values must belong to this set: 0 1 2 3 4 5 6 7 8 9" in page
    assert not re.findall(r"""(?:src|href)\s*=|https?://""", page), "nothing is fetched from elsewhere"


def test_a_wrong_label_is_named(check, batch):
    shutil.move(batch / "train" / "3", batch / "train" / "12")
    said = complaint(check, batch)
    assert f"batch/train/12/{any_file(batch / 'train' / '12').name}: label 12 is not one of 0 to 9" in said


def test_a_missing_label_is_named(check, batch):
    shutil.copy(any_file(batch / "train" / "3"), batch / "train" / "alone.png")
    any_file(batch / "train" / "3").unlink()
    assert "batch/train/alone.png: has no label" in complaint(check, batch)


def test_a_wrong_shape_is_named(check, batch):
    file = any_file(batch / "train" / "5")
    Image.fromarray(np.asarray(Image.open(file))[:20]).save(file)
    said = complaint(check, batch, frame=False)
    assert f"batch/train/5/{file.name}: 20 x 28 pixels (height x width) instead of 28 x 28" in said


@pytest.mark.parametrize("frame", [True, False])
def test_an_all_black_image_is_named(check, batch, frame):
    file = any_file(batch / "test" / "8")
    Image.new("L", (28, 28)).save(file)
    said = complaint(check, batch, frame=frame)
    assert re.search(rf"test/8/{file.name}: .*blank", said)


def test_a_broken_png_is_named(check, batch):
    file = any_file(batch / "train" / "0")
    file.write_bytes(file.read_bytes()[:120])
    said = complaint(check, batch)
    assert f"batch/train/0/{file.name}: not a readable picture" in said


def test_a_test_digit_that_is_in_training_too_is_named(check, batch):
    leaked = any_file(batch / "train" / "7")
    shutil.copy(leaked, batch / "test" / "7" / "leaked.png")
    said = complaint(check, batch)
    assert f"batch/test/7/leaked.png: leaks: the same picture is in train too (batch/train/7/{leaked.name})" in said


def test_a_writer_on_both_sides_is_named(check, batch):
    pictures = sorted(batch.glob("*/*/*.png"))
    lines = [
        f"{file.relative_to(batch)},{file.parent.name},{writer},{file.parts[-3]}"
        for file, writer in zip(pictures, ["anna", *[""] * (len(pictures) - 2), "anna"], strict=True)
    ]
    (batch / "labels.csv").write_text("\n".join(["file,label,writer,split", *lines]))
    said = complaint(check, batch)
    assert f"{pictures[0].relative_to(batch)}: leaks: its writer is in validation too" in said


def test_a_missing_class_is_named(check, batch):
    shutil.rmtree(batch / "validation" / "4")
    assert "validation, class 4: missing" in complaint(check, batch)


def test_a_picture_with_two_labels_is_named(check, batch):
    shutil.copy(any_file(batch / "train" / "1"), batch / "train" / "2" / "one.png")
    said = complaint(check, batch)
    assert "batch/train/2/one.png: the same picture has label 1 in batch/train/1/" in said


def test_black_ink_on_white_is_named(check, batch):
    file = any_file(batch / "train" / "6")
    Image.fromarray(255 - np.asarray(Image.open(file))).save(file)
    assert re.search(rf"train/6/{file.name}: ink covers \d", complaint(check, batch, frame=False))


def test_pixels_changed_after_ingest_are_named(check, batch, tmp_path):
    check(batch)
    table = digits.read_table(tmp_path / "digits")
    images = [bytearray(image) for image in table.column("image").to_pylist()]
    images[0][400] ^= 1
    column = table.schema.get_field_index("image")
    digits.write(table.set_column(column, "image", [[bytes(image) for image in images]]), tmp_path / "digits")
    with pytest.raises(UserError, match="changed after ingest"):
        validate.python_func(
            digits=as_input(Dataset, tmp_path / "digits"),
            validated=as_input(Dataset, tmp_path / "validated"),
            data_docs=as_input(HTML, tmp_path / "data_docs.html"),
            metrics=as_input(Metrics, tmp_path / "metrics"),
            config={},
        )


def test_every_kind_of_fault_is_in_one_short_list_and_all_files_are_in_the_report(check, batch, tmp_path):
    broken = sorted((batch / "train" / "0").glob("*.png")) + sorted((batch / "train" / "9").glob("*.png"))
    for file in broken:
        file.write_bytes(b"no picture")
    shutil.copy(any_file(batch / "train" / "7"), batch / "test" / "7" / "leaked.png")
    said = complaint(check, batch)
    assert "leaks" in said
    assert "train, class 9: missing" in said
    assert said.count("\n") < 25
    assert f"more, see {tmp_path / 'data_docs.html'}" in said
    page = (tmp_path / "data_docs.html").read_text()
    assert all(f"0/{file.name}" in page or f"9/{file.name}" in page for file in broken)


def test_nothing_of_a_bad_batch_is_passed_on(check, batch, tmp_path):
    any_file(batch / "train" / "0").write_bytes(b"no picture")
    complaint(check, batch)
    assert not (tmp_path / "validated").exists()
