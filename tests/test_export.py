"""Export: the ONNX file answers as torch does, for every reading, in fp32 and in INT8."""

import copy
import json

import numpy as np
import onnx
import onnxruntime
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from variants import shapes

from inkloop import artifacts, checkpoint
from inkloop.errors import UserError
from inkloop.export import build, export
from inkloop.model import ModelSettings, Recognizer, normalize
from inkloop.quantization import MAX_LEVEL, quantize_rows, rounded_weights
from inkloop.readings import Reading
from inkloop.runtime import Recognizer as Runtime


def session(model: Recognizer, int8: bool = False) -> onnxruntime.InferenceSession:
    content = build(model, int8).SerializeToString()
    return onnxruntime.InferenceSession(content, providers=["CPUExecutionProvider"])


@torch.no_grad()
def torch_probabilities(model: Recognizer, images: np.ndarray) -> np.ndarray:
    return model.eval()(normalize(torch.from_numpy(images))).logits.softmax(1).numpy()


def onnx_probabilities(model: Recognizer, images: np.ndarray, int8: bool = False) -> np.ndarray:
    return session(model, int8).run(["probabilities"], {"images": images})[0]


def untrained(*readings: Reading, frame: int = 28) -> Recognizer:
    torch.manual_seed(0)
    return Recognizer(ModelSettings(readings=readings, hidden_size=10, attention_size=6, fc_size=14, frame=frame))


@pytest.mark.parametrize("kind", ["rows", "columns", "patches"])
@pytest.mark.parametrize("size", [1, 2, 5, 7, 9, 28])
def test_every_reading_answers_as_in_torch_also_where_tiles_do_not_divide_28(kind, size, test_digits):
    model = untrained(Reading(kind=kind, size=size))
    images = test_digits.images[:20]
    np.testing.assert_allclose(onnx_probabilities(model, images), torch_probabilities(model, images), atol=1e-5)


@pytest.mark.parametrize("frame", [20, 33])
def test_a_model_for_another_frame_answers_as_in_torch(frame):
    model = untrained(Reading(kind="rows", size=3), Reading(kind="patches", size=6), frame=frame)
    images = np.random.default_rng(0).integers(0, 256, (8, frame, frame), np.uint8)
    np.testing.assert_allclose(onnx_probabilities(model, images), torch_probabilities(model, images), atol=1e-5)


def test_a_trained_model_answers_as_in_torch(trained_model, test_digits):
    images = test_digits.images
    np.testing.assert_allclose(
        onnx_probabilities(trained_model, images), torch_probabilities(trained_model, images), atol=1e-5
    )


@torch.no_grad()
def test_attention_is_exported_by_the_readings_name(trained_model, test_digits):
    images = test_digits.images[:20]
    expected = trained_model(normalize(torch.from_numpy(images))).attention
    found = session(trained_model).run(["attention_rows2", "attention_columns2"], {"images": images})
    for exported, own in zip(found, expected, strict=True):
        np.testing.assert_allclose(exported, own.numpy(), atol=1e-5)


@settings(max_examples=60)
@given(shape=shapes())
def test_a_model_of_any_shape_answers_as_in_torch(test_digits, shape):
    torch.manual_seed(0)
    model, images = Recognizer(shape), test_digits.images[:20]
    np.testing.assert_allclose(onnx_probabilities(model, images), torch_probabilities(model, images), atol=1e-5)


@settings(max_examples=60)
@given(shape=shapes(hidden_size=st.integers(4, 16)))
def test_a_model_of_any_shape_answers_in_int8_as_torch_does_in_rounded_weights(test_digits, shape):
    torch.manual_seed(0)
    model, images = Recognizer(shape), test_digits.images[:20]
    with rounded_weights(model):
        expected = torch_probabilities(model, images)
    np.testing.assert_allclose(onnx_probabilities(model, images, int8=True), expected, atol=1e-5)


def test_a_model_without_attention_has_only_probabilities(test_digits, tmp_path):
    model = Recognizer(ModelSettings(hidden_size=4, attention_size=0))
    checkpoint.save(model, tmp_path / "model", "student", {}, {})
    assert Runtime(tmp_path / "model").explained(test_digits.images[:2])[1] == {}


def test_int8_answers_as_torch_does_in_rounded_weights(trained_model, test_digits):
    images = test_digits.images
    with rounded_weights(trained_model):
        expected = torch_probabilities(trained_model, images)
    np.testing.assert_allclose(onnx_probabilities(trained_model, images, int8=True), expected, atol=1e-5)


def test_int8_holds_every_matrix_in_a_byte_a_weight(trained_model):
    exact, rounded = (build(trained_model, int8) for int8 in (False, True))

    def largest(proto: onnx.ModelProto) -> dict[str, int]:
        big = [each for each in proto.graph.initializer if np.prod(each.dims) > 24]
        return {onnx.TensorProto.DataType.Name(each.data_type): len(each.raw_data) for each in big}

    assert largest(exact).keys() == {"FLOAT"}
    assert "INT8" in largest(rounded)
    parameters = sum(parameter.numel() for parameter in trained_model.parameters())
    assert len(exact.SerializeToString()) > 4 * parameters
    assert len(rounded.SerializeToString()) < 0.5 * len(exact.SerializeToString())


def test_int8_levels_in_the_file_are_those_of_training(trained_model):
    stored = {each.name: onnx.numpy_helper.to_array(each) for each in build(trained_model, int8=True).graph.initializer}
    levels, scales = quantize_rows(trained_model.head.weight.detach())
    np.testing.assert_array_equal(stored["head.weight"], levels)
    np.testing.assert_array_equal(stored["head.weight.scales"], scales)
    assert all(np.abs(each).max() <= MAX_LEVEL for each in stored.values() if each.dtype == np.int8)


def test_int8_levels_are_widened_before_anything_multiplies_them(trained_model):
    """Multiplied as bytes, they would saturate on a CPU without VNNI."""
    graph = build(trained_model, int8=True).graph
    levels = {each.name for each in graph.initializer if each.data_type == onnx.TensorProto.INT8}
    readers = {node.op_type for node in graph.node if levels & set(node.input)}
    assert readers == {"DequantizeLinear"}


def test_weights_in_the_file_are_called_as_in_torch(trained_model):
    names = {each.name for each in build(trained_model).graph.initializer}
    assert {"readers.0.lstm.weight_ih", "readers.1.project.weight", "gate.bias", "head.weight"} <= names


def test_the_exported_graph_is_valid_onnx(trained_model):
    onnx.checker.check_model(build(trained_model), full_check=True)


@pytest.mark.parametrize("cell", ["lstm", "gru", "rnn"])
def test_the_graph_of_every_shape_is_valid_onnx(cell):
    shape = ModelSettings(cell=cell, hidden_size=5, upper_sizes=(3,), highway=True, topology=True, attention_size=0)
    onnx.checker.check_model(build(Recognizer(shape)), full_check=True)


def test_exporting_changes_neither_the_models_weights_nor_its_mode(trained_model, tmp_path):
    before = copy.deepcopy(trained_model.train().state_dict())
    export(trained_model, tmp_path / "model.onnx", int8=True)
    assert trained_model.training
    for name, value in trained_model.state_dict().items():
        assert torch.equal(value, before[name])


def test_the_same_model_gives_the_same_bytes(trained_model, tmp_path):
    for name in ("once", "again"):
        checkpoint.save(trained_model, tmp_path / name, "int8", {"accuracy": 0.9}, {"seed": "0"})
    assert artifacts.digest(tmp_path / "once") == artifacts.digest(tmp_path / "again")


def test_a_model_directory_read_back_answers_alike(trained_model, test_digits, tmp_path):
    info = checkpoint.save(trained_model, tmp_path / "model", "student", {"accuracy": 0.9}, {"seed": "0"})
    assert artifacts.info(tmp_path / "model") == info
    assert info.size_bytes == (tmp_path / "model" / "model.onnx").stat().st_size
    again = checkpoint.load(tmp_path / "model")
    images = test_digits.images[:50]
    np.testing.assert_array_equal(torch_probabilities(again, images), torch_probabilities(trained_model, images))


def test_nothing_half_written_is_left_and_nothing_is_pickled(trained_model, tmp_path):
    checkpoint.save(trained_model, tmp_path / "model", "student", {}, {})
    assert {path.name for path in (tmp_path / "model").iterdir()} == {"model.onnx", "weights.safetensors", "model.json"}
    assert json.loads((tmp_path / "model" / "model.json").read_text())["kind"] == "student"


def test_a_folder_without_a_model_is_a_mendable_error(tmp_path):
    with pytest.raises(UserError, match=r"not a model directory \(model\.json is missing\)"):
        checkpoint.load(tmp_path)


def test_the_runtime_reads_what_was_saved(trained_model, test_digits, tmp_path):
    checkpoint.save(trained_model, tmp_path / "model", "teacher", {}, {})
    images = test_digits.images[:50]
    np.testing.assert_allclose(
        Runtime(tmp_path / "model").probabilities(images), torch_probabilities(trained_model, images), atol=1e-5
    )


@pytest.mark.parametrize(("kind", "is_int8"), [("pruned", False), ("int8", True)])
def test_only_the_int8_model_is_kept_in_int8(trained_model, tmp_path, kind, is_int8):
    checkpoint.save(trained_model, tmp_path / "model", kind, {}, {})
    weights = onnx.load(tmp_path / "model" / "model.onnx").graph.initializer
    assert any(each.data_type == onnx.TensorProto.INT8 for each in weights) == is_int8
