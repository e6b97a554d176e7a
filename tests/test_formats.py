"""Exports to other runtimes' formats answer as torch does, and the table says so, or why not."""

import dataclasses
import importlib.util
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from typer.testing import CliRunner

from infra import registry
from infra.storage import FolderStore
from inkloop import artifacts, checkpoint
from inkloop.formats import comparison, onnx_runtime, own_kernel, table, tensorrt, torch_export
from inkloop.formats.catalog import FORMATS, Format
from inkloop.formats.comparison import Row, compare
from inkloop.formats.equality import EQUAL, Figures, Timed, Timing, asked_of_torch, measured
from inkloop.model import ModelSettings, Recognizer
from inkloop.pen.model import PenModelSettings, PenRecognizer
from inkloop.readings import Reading
from inkloop.runtime import Answers, probabilities_of
from pipeline.__main__ import app, main

SHORT = Timing(rounds=2, calls=3, batches=1)


def runnable(each: Format) -> pytest.param:
    missing = [name for name in each.packages if importlib.util.find_spec(name.replace("-", "_")) is None]
    reason = f"{', '.join(missing)} not installed (make exports)"
    return pytest.param(each, id=each.folder, marks=pytest.mark.skipif(bool(missing), reason=reason))


SWEEPING = [runnable(each) for each in FORMATS if each.load]
EVERY = [each for each in SWEEPING if each.id != "kernel-int8"]  # which takes sweeps alone


@pytest.mark.parametrize("each", EVERY)
def test_a_format_answers_as_torch_does(each, trained_model, test_digits, tmp_path):
    asked = asked_of_torch(trained_model, test_digits.images[:200], test_digits.labels[:200])
    path = each.write(trained_model, tmp_path)
    expected = asked.rounded if each.weights == "rounded" else asked.exact
    found = probabilities_of(each.load(path), asked.images)
    if each.weights == "other":
        assert (found.argmax(1) == expected.argmax(1)).mean() > 0.98
    else:
        np.testing.assert_allclose(found, expected, atol=EQUAL)


@pytest.mark.parametrize("each", SWEEPING)
def test_a_model_that_sweeps_answers_any_number_of_pictures_as_torch_does(each, test_digits, tmp_path):
    shape = ModelSettings(readings=(Reading(kind="sweeps", size=7),), hidden_size=4, upper_sizes=(4,), fc_size=8)
    model = Recognizer(shape).eval()
    asked = asked_of_torch(model, test_digits.images[:65], test_digits.labels[:65])
    expected = asked.rounded if each.weights == "rounded" else asked.exact
    answers = each.load(each.write(model, tmp_path))
    for count in (1, 3, 64, 65):
        off = 0.01 if each.weights == "other" else EQUAL
        np.testing.assert_allclose(answers(asked.images[:count]), expected[:count], atol=off)


def test_what_the_kernel_does_not_take_is_said(trained_model, tmp_path):
    with pytest.raises(ValueError, match="the kernel takes one reading, swept"):
        own_kernel.write(trained_model, tmp_path)


UNLIKE = {"without attention": {"attention_size": 0, "cell": "gru"}, "topology": {"topology": True}}


@pytest.mark.parametrize("changes", UNLIKE.values(), ids=UNLIKE)
@pytest.mark.parametrize("each", EVERY)
def test_a_model_of_another_shape_answers_as_torch_does(each, changes, test_digits, tmp_path):
    if "topology" in changes and each.folder.startswith(("torch.export", "litert")):
        pytest.skip("it cannot hold topology's loops")
    torch.manual_seed(0)
    shape = ModelSettings(readings=(Reading(kind="rows", size=7),), hidden_size=6, **changes)
    model, images = Recognizer(shape).eval(), test_digits.images[:70]
    asked = asked_of_torch(model, images, test_digits.labels[:70])
    expected = asked.rounded if each.weights == "rounded" else asked.exact
    found = probabilities_of(each.load(each.write(model, tmp_path)), images)
    np.testing.assert_allclose(found, expected, atol=0.01 if each.weights == "other" else EQUAL)


def test_writing_changes_neither_the_models_weights_nor_its_mode(trained_model, tmp_path):
    before = {name: value.clone() for name, value in trained_model.train().state_dict().items()}
    torch_export.write(trained_model, tmp_path)
    tensorrt.write(trained_model, tmp_path)
    assert trained_model.training
    assert all(value.equal(before[name]) for name, value in trained_model.state_dict().items())


def test_answers_that_are_no_numbers_are_not_taken_for_small_differences(trained_model, test_digits):
    asked = asked_of_torch(trained_model, test_digits.images[:5], test_digits.labels[:5])
    with pytest.raises(ValueError, match="not with numbers"):
        measured(lambda images: np.full((len(images), 10), np.nan, np.float32), asked, asked.exact, SHORT)


# Formats that go wrong, each in its way. Functions of a module, since they run in a process of their own.
def refuses(model: Recognizer, folder: Path) -> Path:
    raise RuntimeError("this graph is not for me\nand more")


def lacks_a_package(model: Recognizer, folder: Path) -> Path:
    import no_such_package  # noqa: F401


def dies(model: Recognizer, folder: Path) -> Path:
    os.abort()


def load_slightly_wrong(path: Path) -> Answers:
    right = onnx_runtime.load(path)
    return lambda images: np.roll(right(images), 1, axis=1)


ODD = (
    Format("Refuses", refuses, onnx_runtime.load, ()),
    Format("Lacks", lacks_a_package, onnx_runtime.load, ()),
    Format("Dies", dies, onnx_runtime.load, ()),
    Format("Wrong", onnx_runtime.write, load_slightly_wrong, ("onnx",)),
    next(each for each in FORMATS if each.name == "TensorRT"),
    next(each for each in FORMATS if each.name == "ONNX INT8"),
)


@pytest.fixture(scope="module")
def compared(model_directory, test_digits, tmp_path_factory) -> tuple[Path, dict[str, Row]]:
    """The folder of a comparison of odd formats, with an older export in it, and the rows by name."""
    folder = tmp_path_factory.mktemp("exports")
    (folder / "refuses").mkdir()
    (folder / "refuses" / "model.old").write_text("of another model")
    rows = compare(model_directory, folder, test_digits.images[:100], test_digits.labels[:100], SHORT, ODD)
    return folder, {row.format: row for row in rows}


def test_formats_that_fail_do_not_stop_the_others(compared):
    folder, rows = compared
    assert list(rows) == [each.name for each in ODD]
    assert rows["ONNX INT8"].is_equal
    assert rows["ONNX INT8"].figures.difference <= EQUAL
    assert rows["ONNX INT8"].size_bytes == (folder / rows["ONNX INT8"].file).stat().st_size


def test_a_row_says_why_a_format_failed(compared):
    folder, rows = compared
    assert rows["Refuses"].remark == "Failed: RuntimeError: this graph is not for me and more. More in log.txt."
    assert "Traceback" in (folder / "log.txt").read_text()
    assert rows["Lacks"].remark == "Not tried: the package no-such-package is missing; `make exports` installs it."
    assert rows["Dies"].remark == "Failed: its process died; see log.txt."
    assert rows["Refuses"].figures is rows["Lacks"].figures is rows["Dies"].figures is None


def test_a_format_that_answers_otherwise_is_found_out(compared):
    _, rows = compared
    assert rows["Wrong"].is_equal is False
    assert rows["Wrong"].figures.same_answers < 0.5
    assert rows["Wrong"].versions.keys() == {"onnx"}


def test_no_export_of_an_older_model_is_left_where_a_new_one_failed(compared):
    folder, _ = compared
    assert list((folder / "refuses").iterdir()) == []


def test_the_table_has_a_row_for_each_format_and_says_what_failed(compared):
    _, rows = compared
    page = table.page("Exports", list(rows.values()))
    assert sum(line.startswith("| ") for line in page.splitlines()) == 2 + len(ODD)
    assert "| Wrong | " in page
    assert " | NO | " in page
    assert "* Dies: Failed: its process died" in page


def test_a_graph_that_depends_on_the_pictures_is_refused_by_torch_export(tmp_path):
    model = Recognizer(ModelSettings(hidden_size=4, topology=True)).eval()
    with pytest.raises(ValueError, match="topology's loops"):
        torch_export.write(model, tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_the_script_for_tensorrt_builds_from_the_onnx_beside_it(trained_model, tmp_path):
    script = tensorrt.write(trained_model, tmp_path)
    tool = tmp_path / "bin" / "trtexec"
    tool.parent.mkdir()
    tool.write_text('#!/bin/sh\ntest -f model.onnx && echo "$@"\n')
    tool.chmod(0o755)
    run = subprocess.run([script], env={"PATH": f"{tool.parent}:/usr/bin:/bin"}, capture_output=True, text=True)
    assert run.returncode == 0
    assert run.stdout.startswith("--onnx=model.onnx --saveEngine=model.plan")
    assert "--maxShapes=images:1024x28x28" in run.stdout


def test_the_script_for_tensorrt_says_what_is_missing(trained_model, tmp_path):
    run = subprocess.run(
        [tensorrt.write(trained_model, tmp_path)], env={"PATH": "/usr/bin:/bin"}, capture_output=True, text=True
    )
    assert run.returncode == 2
    assert "trtexec is not on the PATH" in run.stderr


def test_an_operator_that_tensorrt_is_not_known_to_take_is_named_before_anything_is_written(tmp_path, monkeypatch):
    monkeypatch.setattr(tensorrt, "TAKEN", tensorrt.TAKEN - {"Loop", "Conv"})
    model = Recognizer(ModelSettings(hidden_size=4, topology=True))
    with pytest.raises(ValueError, match="Conv, Loop"):
        tensorrt.write(model, tmp_path)
    assert list(tmp_path.iterdir()) == []


@pytest.fixture
def pen_directory(tmp_path) -> Path:
    checkpoint.save_pen(PenRecognizer(PenModelSettings(sizes=(6,), attention_size=4)), tmp_path / "pen", {}, {})
    return tmp_path / "pen"


@pytest.fixture
def broken_directory(trained_model, tmp_path) -> Path:
    checkpoint.save(trained_model, tmp_path / "broken", "student", {}, {})
    (tmp_path / "broken" / artifacts.WEIGHTS_NAME).write_bytes(b"cut short")
    return tmp_path / "broken"


@pytest.fixture
def absent_directory(tmp_path) -> Path:
    return tmp_path / "nosuch"


@pytest.fixture
def ended_as_a_mistake(monkeypatch, capsys) -> Callable[[list[str], str], None]:
    """Runs the command, which is to end with exit code 2 and one sentence that holds what is given."""

    def run(options: list[str], said: str) -> None:
        monkeypatch.setattr(sys, "argv", ["pipeline", "exports", *options])
        with pytest.raises(SystemExit) as ended:
            main()
        printed = capsys.readouterr().err
        assert (ended.value.code, printed.count("\n")) == (2, 1)
        assert said in printed

    return run


@pytest.mark.parametrize(
    ("which", "said"),
    [
        ("absent_directory", "not a model directory (model.json is missing)"),
        ("pen_directory", "a model of pen strokes. Name one that reads single pictures of digits."),
        ("broken_directory", "weights.safetensors: not readable"),
    ],
)
def test_a_model_that_cannot_be_exported(which, said, data_dir, ended_as_a_mistake, request, tmp_path):
    ended_as_a_mistake([str(request.getfixturevalue(which)), f"--into={tmp_path / 'exports'}"], said)


def test_a_folder_that_cannot_be_written_to(model_directory, data_dir, ended_as_a_mistake, tmp_path):
    (tmp_path / "file").write_text("in the way")
    ended_as_a_mistake([str(model_directory), f"--into={tmp_path / 'file' / 'exports'}"], "cannot be written to")


def test_a_store_without_a_champion(ended_as_a_mistake, tmp_path):
    ended_as_a_mistake([f"--store={tmp_path / 'store'}"], "no champion in ")


def test_without_a_model_named_the_champion_is_exported(model_directory, data_dir, tmp_path, monkeypatch):
    store = FolderStore(tmp_path / "store")
    registry.promote(store, digest := registry.publish(store, model_directory), {}, expected=None)
    exported = []
    monkeypatch.setattr(comparison, "compare", lambda folder, *_: iter(exported.append(artifacts.digest(folder)) or ()))
    (tmp_path / "exports").mkdir()
    options = [f"--store={store.root}", f"--into={tmp_path / 'exports'}", "--digits=10"]
    assert CliRunner().invoke(app, ["exports", *options]).exit_code == 0
    assert exported == [digest]


@pytest.mark.parametrize(("is_equal", "exit_code"), [(True, 0), (False, 1), (None, 0)])
def test_the_command_keeps_the_table_and_fails_if_an_export_is_not_equal(
    is_equal, exit_code, model_directory, data_dir, tmp_path, monkeypatch
):
    took = Timed(median=2, least=1, most=3)
    figures = Figures(difference=0.5, same_answers=0.9, accuracy=0.8, p50_us=took, images_per_s=took)
    row = Row("ONNX fp32", {}, "onnx-fp32/model.onnx", 1000, figures, is_equal)
    monkeypatch.setattr(comparison, "compare", lambda *_: iter([row]))
    run = CliRunner().invoke(app, ["exports", str(model_directory), f"--into={tmp_path}", "--digits=10"])
    assert run.exit_code == exit_code
    assert "…" not in run.stdout
    assert "| ONNX fp32 | 1.0 KB |" in (tmp_path / "table.md").read_text()
    assert dataclasses.asdict(row)["format"] in (tmp_path / "table.json").read_text()
