"""Export of the pen's recognizer to ONNX: from the features of paths to probabilities."""

import copy
from pathlib import Path

import onnx
from onnx import TensorProto, helper

from inkloop.export import OPSET, attend
from inkloop.model import CLASSES
from inkloop.onnx_graph import Graph, write
from inkloop.pen import trajectory
from inkloop.pen.model import PenRecognizer, layers_of


def build(model: PenRecognizer) -> onnx.ModelProto:
    """The ONNX model: `steps` float (n, STEPS, FEATURES) in; `probabilities` float (n, 10) and `attention_pen` out."""
    graph, sequence = Graph(), "steps"
    for layer in layers_of(model):
        by_step = graph.add("Transpose", sequence, perm=[1, 0, 2])
        sequence = graph.recurrent(by_step, layer, int8=False)
    context, weights = attend(graph, sequence, model.attention, "pen", int8=False)
    graph.add("Softmax", graph.dense(context, model.head, int8=False), axis=1, output="probabilities")
    steps = helper.make_tensor_value_info("steps", TensorProto.FLOAT, ["n", trajectory.STEPS, trajectory.FEATURES])
    outputs = [
        helper.make_tensor_value_info("probabilities", TensorProto.FLOAT, ["n", CLASSES]),
        helper.make_tensor_value_info(weights, TensorProto.FLOAT, ["n", trajectory.STEPS]),
    ]
    proto = helper.make_graph(graph.nodes, "inkloop-pen", [steps], outputs, graph.constants)
    opsets = [helper.make_opsetid("", OPSET)]
    return helper.make_model(proto, opset_imports=opsets, ir_version=8, producer_name="inkloop")


def export(model: PenRecognizer, path: Path) -> int:
    """Write the ONNX model, whole or not at all. Returns its size in bytes."""
    return write(build(copy.deepcopy(model).cpu()), path)
