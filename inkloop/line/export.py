"""Export of a line model to ONNX: pixels of any width, in batches, to what it says at each step."""

import copy
from pathlib import Path

import onnx
from onnx import TensorProto, helper

from inkloop.export import as_model, normalized, read_up
from inkloop.framing import FRAME
from inkloop.line.ctc import LABELS
from inkloop.line.model import LineModel
from inkloop.onnx_graph import Graph, write


def build(model: LineModel) -> onnx.ModelProto:
    """The ONNX model, in fp32.

    In: `images` uint8 (n, 28, width), filled up with 0 on the right, and their real `widths`, int64 (n,). Out:
    `log_p` float (n, ceil(width / columns), 11); what it says beyond a line's own ceil(width / columns) means nothing.
    """
    graph, columns = Graph(), model.settings.columns
    pixels = normalized(graph, _filled_up(graph, columns))
    tiles = graph.add("Reshape", pixels, graph.ints(0, FRAME, -1, columns))
    by_step = graph.add("Transpose", tiles, perm=[2, 0, 3, 1])  # pixels run down the column
    sequence = graph.add("Reshape", by_step, graph.ints(0, 0, columns * FRAME))
    more = graph.add("Add", "widths", graph.ints(columns - 1))
    steps = graph.add("Cast", graph.add("Div", more, graph.ints(columns)), to=TensorProto.INT32)
    states = read_up(graph, sequence, model.reader, False, steps)
    graph.add("LogSoftmax", graph.dense(states, model.reader.project, int8=False), axis=2, output="log_p")
    inputs = [
        helper.make_tensor_value_info("images", TensorProto.UINT8, ["n", FRAME, "width"]),
        helper.make_tensor_value_info("widths", TensorProto.INT64, ["n"]),
    ]
    outputs = [helper.make_tensor_value_info("log_p", TensorProto.FLOAT, ["n", "steps", LABELS])]
    return as_model(helper.make_graph(graph.nodes, "inkloop_line", inputs, outputs, graph.constants))


def _filled_up(graph: Graph, columns: int) -> str:
    """The images with background up to a whole number of steps."""
    width = graph.add("Slice", graph.add("Shape", "images"), graph.ints(2), graph.ints(3))
    missing = graph.add("Mod", graph.add("Neg", width), graph.ints(columns))  # never below 0, as in Python
    return graph.add("Pad", "images", graph.add("Concat", graph.ints(0, 0, 0, 0, 0), missing, axis=0))


def export(model: LineModel, path: Path) -> int:
    """Write the ONNX model, whole or not at all. Returns its size in bytes."""
    return write(build(copy.deepcopy(model).cpu()), path)
