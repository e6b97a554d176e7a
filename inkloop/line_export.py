"""Export of a line model to ONNX: pixels of any width, in batches, to what it says at each step."""

import copy
from pathlib import Path

import onnx
from onnx import TensorProto, helper
from safetensors.torch import load_file, save_file

from inkloop import artifacts
from inkloop.artifacts import ModelInfo
from inkloop.ctc import LABELS
from inkloop.export import as_model, normalized, read_up
from inkloop.files import written_whole
from inkloop.framing import FRAME
from inkloop.line_model import LineModel, LineModelSettings
from inkloop.model import count_parameters
from inkloop.onnx_graph import Graph


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


def save(model: LineModel, folder: Path, metrics: dict[str, float], lineage: dict[str, str]) -> ModelInfo:
    """Write the model directory: ONNX, weights, and `model.json` last."""
    model = copy.deepcopy(model).cpu()
    folder.mkdir(parents=True, exist_ok=True)
    with written_whole(folder / artifacts.ONNX_NAME) as unfinished:
        unfinished.write_bytes(build(model).SerializeToString())
    with written_whole(folder / artifacts.WEIGHTS_NAME) as unfinished:
        save_file(model.state_dict(), unfinished)
    info = ModelInfo(
        kind="line",
        architecture=model.settings.model_dump(mode="json"),
        parameters=count_parameters(model),
        size_bytes=(folder / artifacts.ONNX_NAME).stat().st_size,
        metrics=metrics,
        lineage=lineage,
    )
    artifacts.write_info(folder, info)
    return info


def load(folder: Path) -> LineModel:
    """The torch model of a model directory. Raises UserError if the folder holds no whole model."""
    model = LineModel(LineModelSettings.model_validate(artifacts.info(folder).architecture))
    model.load_state_dict(load_file(folder / artifacts.WEIGHTS_NAME))
    return model
