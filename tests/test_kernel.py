"""The kernel: it answers as ONNX Runtime does, for every shape it takes; the others are left to ONNX Runtime."""

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from variants import shapes

from inkloop import checkpoint, kernel
from inkloop.errors import UserError
from inkloop.model import ModelSettings, Recognizer
from inkloop.readings import Reading
from inkloop.runtime import Recognizer as Runtime

needs_kernel = pytest.mark.skipif(kernel._kernel is None, reason="Inkloop was installed where there is no C compiler")

SWEPT = st.builds(
    ModelSettings,
    readings=st.builds(Reading, kind=st.just("sweeps"), size=st.integers(2, 9), margin=st.integers(0, 3)).map(
        lambda reading: (reading,)
    ),
    hidden_size=st.integers(1, 33),
    upper_sizes=st.sampled_from([1, 3, 5]).flatmap(lambda layers: st.tuples(*[st.integers(1, 33)] * layers)),
    attention_size=st.integers(1, 20),
    fc_size=st.integers(1, 40),
    frame=st.sampled_from([28, 20, 33]),
)


def swept(**changes: object) -> ModelSettings:
    reading = Reading(kind="sweeps", size=4, margin=1)
    return ModelSettings(
        **{"readings": (reading,), "hidden_size": 10, "upper_sizes": (7,), "attention_size": 6, "fc_size": 12} | changes
    )


def saved(shape: ModelSettings, folder: Path, kind: str = "student", scale: float = 1.0) -> Path:
    torch.manual_seed(0)
    model = Recognizer(shape)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.mul_(scale)
    checkpoint.save(model, folder, kind, {}, {})
    return folder


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return saved(swept(), tmp_path_factory.mktemp("kernel") / "model", "int8")


@needs_kernel
@settings(max_examples=60, deadline=None)
@given(shape=SWEPT, kind=st.sampled_from(["student", "int8"]), scale=st.sampled_from([1.0, 3.0]))
def test_it_answers_as_onnx_runtime_does(shape, kind, scale):
    images = np.random.default_rng(0).integers(0, 256, (9, shape.frame, shape.frame), np.uint8)
    with TemporaryDirectory() as scratch:
        model = saved(shape, Path(scratch) / "model", kind, scale)
        ours, theirs = Runtime(model), Runtime(model, use_kernel=False)
    assert ours.by_kernel
    assert not theirs.by_kernel
    (found, looked), (expected, attention) = ours.explained(images), theirs.explained(images)
    np.testing.assert_allclose(found, expected, atol=1e-5)
    assert looked.keys() == attention.keys()
    np.testing.assert_allclose(*looked.values(), *attention.values(), atol=1e-5)


@needs_kernel
def test_sums_beyond_what_an_exponential_takes_saturate(test_digits, tmp_path):
    model = saved(swept(), tmp_path / "model", scale=1000.0)
    found, expected = (Runtime(model, use).probabilities(test_digits.images) for use in (True, False))
    assert np.isfinite(found).all()
    assert (found.argmax(1) == expected.argmax(1)).mean() > 0.99


@needs_kernel
def test_a_batch_equals_its_singles_bit_for_bit(folder, test_digits):
    model, images = Runtime(folder), test_digits.images[:40]
    singles = np.concatenate([model.probabilities(images[row : row + 1]) for row in range(len(images))])
    np.testing.assert_array_equal(model.probabilities(images), singles)
    np.testing.assert_array_equal(model.probabilities(images[::2]), singles[::2])


@needs_kernel
def test_several_threads_get_the_answers_of_one(folder, test_digits):
    model, images = Runtime(folder), test_digits.images
    expected = model.probabilities(images)
    with ThreadPoolExecutor(8) as threads:
        for found in threads.map(lambda _: model.probabilities(images), range(32)):
            np.testing.assert_array_equal(found, expected)


@needs_kernel
def test_no_pictures_get_no_answers(folder):
    answer, attention = Runtime(folder).explained(np.zeros((0, 28, 28), np.uint8))
    assert answer.shape == (0, 10)
    assert attention["sweeps4"].shape == (0, 49)


@needs_kernel
@pytest.mark.parametrize(
    "images", [np.zeros((1, 28, 27), np.uint8), np.zeros((28, 28), np.uint8), np.zeros((1, 28, 28), np.float32)]
)
def test_pictures_of_another_size_or_kind_are_refused(folder, images):
    with pytest.raises(ValueError, match=r"uint8 \(n, 28, 28\) wanted"):
        Runtime(folder).probabilities(images)


@needs_kernel
@pytest.mark.parametrize("part", [0.1, 0.5, 0.9, 0.999])
def test_a_file_that_is_cut_short_is_a_mendable_error(tmp_path, part):
    path = saved(swept(), tmp_path / "model") / "model.onnx"
    content = path.read_bytes()
    path.write_bytes(content[: int(part * len(content))])
    with pytest.raises(UserError, match=r"model\.onnx: not readable"):
        Runtime(path.parent)


@needs_kernel
@settings(max_examples=200, deadline=None)
@given(place=st.integers(0, 6000), byte=st.integers(0, 255))
def test_a_flipped_byte_never_reads_beyond_what_is_there(folder, test_digits, place, byte):
    content = bytearray((folder / "model.onnx").read_bytes())
    content[place % len(content)] = byte
    with TemporaryDirectory() as scratch:
        path = Path(scratch) / "model.onnx"
        path.write_bytes(content)
        try:
            model = kernel.load(path, Runtime(folder).info.architecture)
        except ValueError:
            return
        assert model.answers(test_digits.images[:2])[0].shape == (2, 10)


@settings(max_examples=30, deadline=None)
@given(shape=shapes())
def test_what_it_does_not_take_onnx_runtime_answers(test_digits, shape):
    with TemporaryDirectory() as scratch:
        model = Runtime(saved(shape, Path(scratch) / "model"))
    assert not model.by_kernel
    assert model.probabilities(test_digits.images[:3]).shape == (3, 10)


@pytest.mark.parametrize("changes", [{"cell": "gru"}, {"bidirectional": False}, {"highway": True}, {"topology": True},
                                     {"remove_background": True}])  # fmt: skip
def test_a_sweep_of_another_kind_is_not_taken(changes):
    assert not kernel.answers(swept(**changes).model_dump(mode="json"))


def test_without_a_kernel_onnx_runtime_answers(folder, test_digits, monkeypatch):
    expected = Runtime(folder).probabilities(test_digits.images)
    monkeypatch.setattr(kernel, "_kernel", None)
    model = Runtime(folder)
    assert not model.by_kernel
    np.testing.assert_allclose(model.probabilities(test_digits.images), expected, atol=1e-5)
