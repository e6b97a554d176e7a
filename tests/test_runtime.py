"""The runtime: the model directory answers real digits without torch."""

import shutil
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest

from inkloop import artifacts
from inkloop.attention import attention_map
from inkloop.errors import UserError
from inkloop.readings import Reading
from inkloop.runtime import Recognizer


@pytest.fixture(scope="module")
def recognizer(model_directory) -> Recognizer:
    return Recognizer(model_directory)


def test_a_trained_model_reads_most_real_digits(recognizer, test_digits):
    answers = recognizer.probabilities(test_digits.images).argmax(1)
    assert (answers == test_digits.labels).mean() > 0.85


def test_answers_are_probabilities(recognizer, test_digits):
    answers = recognizer.probabilities(test_digits.images)
    assert answers.shape == (1000, 10)
    assert answers.dtype == np.float32
    assert (answers >= 0).all()
    np.testing.assert_allclose(answers.sum(1), 1, atol=1e-5)


def test_a_digit_is_answered_alike_alone_and_in_company(recognizer, test_digits):
    together = recognizer.probabilities(test_digits.images[:50])
    alone = np.concatenate([recognizer.probabilities(test_digits.images[row : row + 1]) for row in range(50)])
    # INT8 scales activations over the batch, so company shifts an answer a little.
    np.testing.assert_allclose(together, alone, atol=0.05)
    assert (together.argmax(1) == alone.argmax(1)).mean() >= 0.98


def test_threads_that_share_a_model_get_the_same_answers(recognizer, test_digits):
    parts = np.split(test_digits.images, 50)
    expected = [recognizer.probabilities(part) for part in parts]
    with ThreadPoolExecutor(8) as threads:
        found = list(threads.map(recognizer.probabilities, parts))
    np.testing.assert_array_equal(found, expected)


def test_attention_says_how_much_each_step_of_each_reading_counted(recognizer, test_digits):
    probabilities, attention = recognizer.explained(test_digits.images[:5])
    assert (probabilities == recognizer.probabilities(test_digits.images[:5])).all()
    assert {name: weights.shape for name, weights in attention.items()} == {"rows2": (5, 14), "columns2": (5, 14)}
    for weights in attention.values():
        np.testing.assert_allclose(weights.sum(1), 1, atol=1e-5)


@pytest.mark.parametrize("kind", ["rows", "columns", "patches"])
@pytest.mark.parametrize("size", [2, 5])
def test_the_attention_map_lights_up_the_tile_that_was_looked_at(kind, size):
    reading = Reading(kind=kind, size=size)
    tile_height, tile_width = reading.tile(28)
    steps = -(-28 // tile_height) * -(-28 // tile_width)
    lit = attention_map(np.eye(steps, dtype=np.float32)[0], reading, 28)
    assert lit.shape == (28, 28)
    assert (lit[:tile_height, :tile_width] == 1).all()
    assert lit.sum() == tile_height * tile_width


@pytest.mark.parametrize(("positions", "side"), [(49, 4), (16, 8), (4, 16)])
def test_the_attention_map_of_a_halved_grid_lights_up_larger_tiles(positions, side):
    lit = attention_map(np.eye(positions, dtype=np.float32)[0], Reading(kind="sweeps", size=4), 28)
    assert (lit[:side, :side] == 1).all()
    assert lit.sum() == side * side


def test_the_version_is_the_models_digest(recognizer, model_directory):
    assert recognizer.version == artifacts.digest(model_directory)[:12]


def test_a_model_with_other_bytes_has_another_version(model_directory, tmp_path):
    shutil.copytree(model_directory, tmp_path / "other")
    (tmp_path / "other" / "model.json").write_text((tmp_path / "other" / "model.json").read_text() + " ")
    assert Recognizer(tmp_path / "other").version != Recognizer(model_directory).version


def test_a_copied_model_is_the_same_model(model_directory, tmp_path):
    shutil.copytree(model_directory, tmp_path / "copy")
    assert artifacts.digest(tmp_path / "copy") == artifacts.digest(model_directory)


@pytest.mark.parametrize("missing", ["model.json", "model.onnx"])
def test_a_missing_model_is_a_mendable_error(model_directory, tmp_path, missing):
    shutil.copytree(model_directory, tmp_path / "model")
    (tmp_path / "model" / missing).unlink()
    with pytest.raises(UserError, match=f"not a model directory .{missing} is missing"):
        Recognizer(tmp_path / "model")


@pytest.mark.parametrize("broken", ["model.json", "model.onnx"])
def test_a_broken_model_is_a_mendable_error(model_directory, tmp_path, broken):
    shutil.copytree(model_directory, tmp_path / "model")
    content = (tmp_path / "model" / broken).read_bytes()
    (tmp_path / "model" / broken).write_bytes(content[: len(content) // 2])
    with pytest.raises(UserError, match=f"{broken}: not readable"):
        Recognizer(tmp_path / "model")


def test_the_runtime_needs_no_torch(model_directory):
    ask = f"""
import sys, pathlib, numpy
from inkloop.runtime import Recognizer
Recognizer(pathlib.Path({str(model_directory)!r})).probabilities(numpy.zeros((1, 28, 28), numpy.uint8))
print("torch" in sys.modules)
"""
    assert subprocess.run([sys.executable, "-c", ask], capture_output=True, text=True, check=True).stdout == "False\n"
