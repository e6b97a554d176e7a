"""Export of a recognizer to ONNX, in fp32 or with INT8 weights, as one small graph from pixels to probabilities."""

import copy
from pathlib import Path
from typing import cast

import numpy as np
import onnx
from onnx import TensorProto, helper
from torch import nn

from inkloop.background import FAINTEST, WINDOW_PX
from inkloop.export_topology import topology
from inkloop.model import Attention, Reader, Recognizer, readers_of
from inkloop.onnx_graph import Graph, write
from inkloop.readings import BACKGROUND, PIXEL_MEAN, PIXEL_STD, Reading
from inkloop.recurrent import Highway
from inkloop.sweeps import is_new_scale

OPSET = 17


def normalized(graph: Graph, images: str) -> str:
    """Pixels 0..255 to the model's input; see `model.normalize`."""
    scale, shift = np.float32(1 / 255 / PIXEL_STD), np.float32(-PIXEL_MEAN / PIXEL_STD)
    scaled = graph.add("Mul", graph.add("Cast", images, to=TensorProto.FLOAT), graph.constant(np.array(scale), "scale"))
    return graph.add("Add", scaled, graph.constant(np.array(shift), "shift"))


def as_model(proto: onnx.GraphProto) -> onnx.ModelProto:
    """The finished graph as a file's content."""
    return helper.make_model(
        proto, opset_imports=[helper.make_opsetid("", OPSET)], ir_version=8, producer_name="inkloop"
    )


def _without_background(graph: Graph, pixels: str) -> str:
    """Normalized pixels (batch, frame, frame) as `background.remove_background` leaves them."""

    def largest(images: str) -> str:
        down = graph.add("MaxPool", images, kernel_shape=[WINDOW_PX, 1])
        return graph.add("MaxPool", down, kernel_shape=[1, WINDOW_PX])

    margin = 2 * (WINDOW_PX // 2)
    edges = graph.ints(0, 0, margin, margin, 0, 0, margin, margin)
    wide = graph.add("Pad", graph.add("Unsqueeze", pixels, graph.ints(1)), edges, mode="edge")
    opening = largest(graph.add("Neg", largest(graph.add("Neg", wide))))
    ink = graph.add("Sub", pixels, graph.add("Squeeze", opening, graph.ints(1)))
    levels = np.array([FAINTEST / PIXEL_STD, PIXEL_STD, BACKGROUND], np.float32)
    faintest, deviation, black = (graph.constant(level) for level in levels[:, None])
    most = graph.add("Max", graph.add("ReduceMax", ink, axes=[1, 2], keepdims=1), faintest)
    return graph.add("Add", graph.add("Div", ink, graph.add("Mul", most, deviation)), black)


def _sequence(graph: Graph, pixels: str, reading: Reading, frame: int, int8: bool) -> str:
    """Normalized pixels (batch, frame, frame) to a sequence (steps, batch, features); see `readings.read`.

    Sweeps begin by going down, all columns beside each other: (down, across x batch, features).
    """
    (tile_height, tile_width), margin = reading.tile(frame), reading.margin
    down, across = -(-frame // tile_height), -(-frame // tile_width)
    ends = (down * tile_height - frame + margin, across * tile_width - frame + margin)
    if any(ends):
        edges = graph.ints(0, margin, margin, 0, *ends)
        pixels = graph.add("Pad", pixels, edges, graph.constant(np.array(BACKGROUND, np.float32)))
    if margin:
        laid_out = graph.add("Transpose", _overlapping(graph, pixels, tile_height, margin, int8), perm=[2, 3, 0, 1])
    else:
        tiles = graph.add("Reshape", pixels, graph.ints(-1, down, tile_height, across, tile_width))
        order = [1, 3, 0, 4, 2] if reading.kind == "columns" else [1, 3, 0, 2, 4]
        laid_out = graph.add("Transpose", tiles, perm=order)
    steps = down if reading.kind == "sweeps" else down * across
    return graph.add("Reshape", laid_out, graph.ints(steps, -1, reading.features(frame)))


def _overlapping(graph: Graph, pixels: str, size: int, margin: int, int8: bool) -> str:
    """Padded pixels (batch, height, width) to the pixels that each tile sees: (batch, features, down, across).

    A convolution that moves each pixel into a channel of its own: ONNX Runtime takes longer to gather them.
    """
    side = size + 2 * margin
    moves = np.eye(side * side).reshape(-1, 1, side, side)
    if int8:
        kernels = graph.add(
            "DequantizeLinear", graph.constant(moves.astype(np.int8)), graph.constant(np.array(1, np.float32))
        )
    else:
        kernels = graph.constant(moves.astype(np.float32))
    return graph.add("Conv", graph.add("Unsqueeze", pixels, graph.ints(1)), kernels, strides=[size, size])


def read_up(graph: Graph, sequence: str, reader: Reader, int8: bool, lengths: str = "") -> str:
    """A sequence (steps, batch, features) to the top layer's states (batch, steps, ways * hidden).

    lengths: real steps, int32 (batch,), where not all are.
    """
    if reader.reading.kind == "sweeps":
        return _sweep_up(graph, sequence, reader, int8)
    states = ""
    for depth, layer in enumerate(reader.layers):
        if depth:
            sequence = graph.add("Transpose", states, perm=[1, 0, 2])
        states = graph.recurrent(sequence, layer, int8, lengths)
        if reader.settings.highway:
            below = graph.add("Transpose", sequence, perm=[1, 0, 2])
            states = _by_highway(graph, below, states, cast(Highway, reader.highways[depth]), int8)
    return states


def _sweep_up(graph: Graph, sequences: str, reader: Reader, int8: bool) -> str:
    """What goes down (steps, beside x batch, features) to the top layer's states (batch, steps, ways * hidden)."""
    side = -(-reader.settings.frame // reader.reading.size)
    grid = ""  # what a layer stepped over, ways, what it ran beside, batch, features
    for depth, layer in enumerate(reader.layers):
        if depth:  # it steps over what the one below ran beside
            if is_new_scale(depth):
                channels = graph.add("Transpose", grid, perm=[3, 1, 4, 2, 0])
                pictures = graph.add("Reshape", channels, graph.ints(-1, layer.input_size, side, side))
                halved = graph.add("MaxPool", pictures, kernel_shape=[2, 2], strides=[2, 2], ceil_mode=1)
                turned, side = graph.add("Transpose", halved, perm=[2, 3, 0, 1]), -(-side // 2)
            else:
                turned = graph.add("Transpose", grid, perm=[2, 0, 3, 1, 4])
            sequences = graph.add("Reshape", turned, graph.ints(side, -1, layer.input_size))
        ways, hidden_size = (2 if layer.bidirectional else 1), layer.hidden_size
        states = graph.states(sequences, layer, int8)
        if reader.settings.highway:
            together = graph.add("Transpose", states, perm=[0, 2, 1, 3])
            ways, hidden_size = 1, ways * hidden_size
            states = graph.add("Reshape", together, graph.ints(side, -1, hidden_size))
            states = _by_highway(graph, sequences, states, cast(Highway, reader.highways[depth]), int8)
        grid = graph.add("Reshape", states, graph.ints(side, ways, side, -1, hidden_size))
    by_picture = graph.add("Transpose", grid, perm=[3, 2, 0, 1, 4])
    return graph.add("Reshape", by_picture, graph.ints(0, side * side, -1))


def _by_highway(graph: Graph, below: str, states: str, highway: Highway, int8: bool) -> str:
    """The states, and what is carried past them. See `recurrent.Highway`."""
    gate = graph.add("Sigmoid", graph.dense(below, highway.gate, int8))
    carried = graph.dense(below, highway.carry, int8) if isinstance(highway.carry, nn.Linear) else below
    return graph.add("Add", carried, graph.add("Mul", gate, graph.add("Sub", states, carried)))


def attend(graph: Graph, states: str, attention: Attention, name: str, int8: bool) -> tuple[str, str]:
    """Attention over states (batch, steps, features). Returns the context and the name of the weights."""
    keys = graph.add("Tanh", graph.dense(states, attention.key, int8))
    scores = graph.add("Squeeze", graph.dense(keys, attention.query, int8=False), graph.ints(2))
    weights = graph.add("Softmax", scores, axis=1, output=f"attention_{name}")
    row = graph.add("Unsqueeze", weights, graph.ints(1))
    return graph.add("Squeeze", graph.add("MatMul", row, states), graph.ints(1)), weights


def _last_states(graph: Graph, states: str, top: nn.RNNBase) -> str:
    """What each direction of states (batch, steps, features) ends with. See `recurrent.last_states`."""
    ends = graph.add("Gather", states, graph.ints(-1), axis=1)
    if top.bidirectional:
        starts = graph.add("Gather", states, graph.ints(0), axis=1)
        zero, half, whole, features = (graph.ints(value) for value in (0, top.hidden_size, 2 * top.hidden_size, 2))
        ahead = graph.add("Slice", ends, zero, half, features)
        ends = graph.add("Concat", ahead, graph.add("Slice", starts, half, whole, features), axis=2)
    return graph.add("Squeeze", ends, graph.ints(1))


def _gated(graph: Graph, views: list[str], model: Recognizer, int8: bool) -> str:
    """Views (batch, fc) of several readings, merged by the gate's shares. See `model.Recognizer`."""
    joined = graph.add("Concat", *views, axis=1)
    gate = graph.add("Softmax", graph.dense(joined, model.gate, int8), axis=1)
    stacked = graph.add("Reshape", joined, graph.ints(-1, len(views), model.settings.fc_size))
    row = graph.add("Unsqueeze", gate, graph.ints(1))
    return graph.add("Squeeze", graph.add("MatMul", row, stacked), graph.ints(1))


def build(model: Recognizer, int8: bool = False) -> onnx.ModelProto:
    """The ONNX model: `images` uint8 (n, frame, frame) in; `probabilities` float (n, 10) and `attention_READING` out.

    Without attention there are only probabilities. With int8 all matrices are stored as INT8, a scale a row, and
    widened when the model is loaded: what a weight costs is memory, not sums. Biases and the attention's query stay
    fp32. Weights are called as in PyTorch.
    """
    graph, settings = Graph(model=model), model.settings
    pixels = normalized(graph, "images")
    if settings.remove_background:
        pixels = _without_background(graph, pixels)
    views, outputs = [], [helper.make_tensor_value_info("probabilities", TensorProto.FLOAT, ["n", 10])]
    for reading, reader in zip(settings.readings, readers_of(model), strict=True):
        sequence = _sequence(graph, pixels, reading, settings.frame, int8)
        states = read_up(graph, sequence, reader, int8)
        if reader.attention is None:
            context = _last_states(graph, states, reader.layers[-1])
        else:
            context, weights = attend(graph, states, reader.attention, reading.name, int8)
            outputs.append(helper.make_tensor_value_info(weights, TensorProto.FLOAT, ["n", "steps_" + reading.name]))
        views.append(graph.dense(context, reader.project, int8))
    merged = views[0] if len(views) == 1 else _gated(graph, views, model, int8)
    if model.topology is not None:
        counts = graph.add("Log", graph.add("Add", topology(graph, pixels), graph.constant(np.ones(1, np.float32))))
        merged = graph.add("Add", merged, graph.dense(counts, model.topology, int8))
    logits = graph.dense(graph.add("Relu", merged), model.head, int8)
    graph.add("Softmax", logits, axis=1, output="probabilities")
    images = helper.make_tensor_value_info("images", TensorProto.UINT8, ["n", settings.frame, settings.frame])
    proto = helper.make_graph(graph.nodes, "inkloop", [images], outputs, graph.constants)
    return as_model(proto)


def export(model: Recognizer, path: Path, int8: bool = False) -> int:
    """Write the ONNX model, whole or not at all. Returns its size in bytes."""
    return write(build(copy.deepcopy(model).cpu(), int8), path)
