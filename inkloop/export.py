"""Export of a recognizer to ONNX, in fp32 or with INT8 weights, as one small graph from pixels to probabilities."""

import copy
from pathlib import Path
from typing import Any, cast

import numpy as np
import onnx
import torch
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper
from torch import nn

from inkloop.errors import UserError
from inkloop.files import written_whole
from inkloop.model import Attention, ModelSettings, Reader, Recognizer, readers_of
from inkloop.quantization import quantize_rows
from inkloop.readings import BACKGROUND, PIXEL_MEAN, PIXEL_STD, Reading
from inkloop.recurrent import Highway, ends_of

OPSET = 17
CONTRIB_DOMAIN = "com.microsoft"  # ONNX Runtime's own operators: DynamicQuantizeLSTM
ONNX_NAMES = {"LSTM": "LSTM", "GRU": "GRU", "RNN_TANH": "RNN"}
# PyTorch's gates in ONNX's order: of (input, forget, cell, output) and of (reset, update, new).
GATE_ORDER = {"LSTM": (0, 3, 1, 2), "GRU": (1, 0, 2), "RNN_TANH": (0,)}

Array = NDArray[np.generic]


class Graph:
    """ONNX nodes and constants as they are added, one after another."""

    def __init__(self) -> None:
        self.nodes: list[onnx.NodeProto] = []
        self.constants: list[onnx.TensorProto] = []

    def constant(self, value: Array) -> str:
        """Add a constant, return its name."""
        name = f"c{len(self.constants)}"
        self.constants.append(numpy_helper.from_array(np.ascontiguousarray(value), name))
        return name

    def add(self, op: str, *inputs: str, output: str = "", domain: str = "", **attributes: Any) -> str:  # noqa: ANN401
        """Add a node with one output, return the output's name."""
        output = output or f"t{len(self.nodes)}"
        self.nodes.append(helper.make_node(op, list(inputs), [output], domain=domain, **attributes))
        return output

    def ints(self, *values: int) -> str:
        """Add an int64 vector constant."""
        return self.constant(np.array(values, np.int64))

    def dense(self, x: str, layer: nn.Linear, int8: bool) -> str:
        """x (..., in) times the layer's weights, plus its bias."""
        if int8:
            levels, scales = quantize_rows(layer.weight.detach())
            stored = (self.constant(levels.numpy().T), self.constant(scales.numpy()))
            weight = self.add("DequantizeLinear", *stored, axis=1)
        else:
            weight = self.constant(layer.weight.detach().numpy().T)
        product = self.add("MatMul", x, weight)
        return product if layer.bias is None else self.add("Add", product, self.constant(layer.bias.detach().numpy()))

    def recurrent(self, sequence: str, layer: nn.RNNBase, int8: bool) -> str:
        """sequence (steps, batch, in) to states (batch, steps, ways * hidden)."""
        weights = {name: parameter.detach() for name, parameter in layer.named_parameters()}
        ends = ends_of(layer)
        w_ih = [reorder_gates(weights[f"weight_ih_{end}"], layer) for end in ends]
        w_hh = [reorder_gates(weights[f"weight_hh_{end}"], layer) for end in ends]
        biases = [reorder_gates(weights[f"{bias}_{end}"], layer) for end in ends for bias in ("bias_ih", "bias_hh")]
        bias = self.constant(torch.cat(biases).view(len(ends), -1).numpy())
        direction = "bidirectional" if layer.bidirectional else "forward"
        shape: dict[str, Any] = {"hidden_size": layer.hidden_size, "direction": direction}
        if int8:
            stored, scaling = [], []
            for matrices in (w_ih, w_hh):
                quantized = [quantize_rows(matrix) for matrix in matrices]
                scales = torch.stack([scale for _, scale in quantized]).numpy()
                stored.append(self.constant(torch.stack([levels.T for levels, _ in quantized]).numpy()))
                scaling += [self.constant(scales), self.constant(np.zeros(scales.shape, np.int8))]
            absent = ("", "", "", "")  # sequence_lens, initial_h, initial_c, P
            inputs = (sequence, *stored, bias, *absent, *scaling)
            states = self.add("DynamicQuantizeLSTM", *inputs, domain=CONTRIB_DOMAIN, **shape)
        else:
            if isinstance(layer, nn.GRU):
                shape["linear_before_reset"] = 1  # as PyTorch has it
            stacked = [self.constant(torch.stack(w).numpy()) for w in (w_ih, w_hh)]
            states = self.add(ONNX_NAMES[layer.mode], sequence, *stacked, bias, **shape)
        by_step = self.add("Transpose", states, perm=[2, 0, 1, 3])  # batch, steps, ways, hidden
        return self.add("Reshape", by_step, self.ints(0, 0, len(ends) * layer.hidden_size))


def check_int8(settings: ModelSettings) -> None:
    """Raises UserError for a model that ONNX Runtime has no INT8 kernels for."""
    if settings.cell != "lstm":
        raise UserError(f"cell: {settings.cell}: ONNX Runtime runs only LSTMs in INT8. Set cell: lstm.")


def reorder_gates(weight: torch.Tensor, layer: nn.RNNBase) -> torch.Tensor:
    """A weight's rows from PyTorch's order of gates to ONNX's."""
    gates = weight.split(layer.hidden_size)
    return torch.cat([gates[gate] for gate in GATE_ORDER[layer.mode]])


def _sequence(graph: Graph, pixels: str, reading: Reading, frame: int) -> str:
    """Normalized pixels (batch, frame, frame) to a sequence (steps, batch, features); see `readings.read`."""
    tile_height, tile_width = reading.tile(frame)
    down, across = -(-frame // tile_height), -(-frame // tile_width)
    if down * tile_height > frame or across * tile_width > frame:
        edges = graph.ints(0, 0, 0, 0, down * tile_height - frame, across * tile_width - frame)
        pixels = graph.add("Pad", pixels, edges, graph.constant(np.array(BACKGROUND, np.float32)))
    tiles = graph.add("Reshape", pixels, graph.ints(-1, down, tile_height, across, tile_width))
    order = [1, 3, 0, 4, 2] if reading.kind == "columns" else [1, 3, 0, 2, 4]
    laid_out = graph.add("Transpose", tiles, perm=order)
    return graph.add("Reshape", laid_out, graph.ints(down * across, -1, tile_height * tile_width))


def _read(graph: Graph, sequence: str, reader: Reader, int8: bool) -> str:
    """A sequence (steps, batch, features) to the top layer's states (batch, steps, ways * hidden)."""
    states = ""
    for depth, layer in enumerate(reader.layers):
        if depth:
            sequence = graph.add("Transpose", states, perm=[1, 0, 2])
        states = graph.recurrent(sequence, layer, int8)
        if reader.settings.highway:
            below = graph.add("Transpose", sequence, perm=[1, 0, 2])
            states = _by_highway(graph, below, states, cast(Highway, reader.highways[depth]), int8)
    return states


def _by_highway(graph: Graph, below: str, states: str, highway: Highway, int8: bool) -> str:
    """The states, and what is carried past them. See `recurrent.Highway`."""
    gate = graph.add("Sigmoid", graph.dense(below, highway.gate, int8))
    carried = graph.dense(below, highway.carry, int8) if isinstance(highway.carry, nn.Linear) else below
    return graph.add("Add", carried, graph.add("Mul", gate, graph.add("Sub", states, carried)))


def _attend(graph: Graph, states: str, attention: Attention, name: str, int8: bool) -> tuple[str, str]:
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


def build(model: Recognizer, int8: bool = False) -> onnx.ModelProto:
    """The ONNX model: `images` uint8 (n, frame, frame) in; `probabilities` float (n, 10) and `attention_READING` out.

    Without attention there are only probabilities. With int8, recurrent matrices run in ONNX Runtime's
    DynamicQuantizeLSTM and dense ones are stored as INT8 and widened when the model is loaded; biases and the
    attention's query stay fp32. Raises UserError where ONNX Runtime has no INT8 kernel.
    """
    if int8:
        check_int8(model.settings)
    graph, settings = Graph(), model.settings
    floats = graph.add("Cast", "images", to=TensorProto.FLOAT)
    scale, shift = np.float32(1 / 255 / PIXEL_STD), np.float32(-PIXEL_MEAN / PIXEL_STD)
    scaled = graph.add("Mul", floats, graph.constant(np.array(scale)))
    pixels = graph.add("Add", scaled, graph.constant(np.array(shift)))
    views, outputs = [], [helper.make_tensor_value_info("probabilities", TensorProto.FLOAT, ["n", 10])]
    for reading, reader in zip(settings.readings, readers_of(model), strict=True):
        sequence = _sequence(graph, pixels, reading, settings.frame)
        states = _read(graph, sequence, reader, int8)
        if reader.attention is None:
            context = _last_states(graph, states, reader.layers[-1])
        else:
            context, weights = _attend(graph, states, reader.attention, reading.name, int8)
            outputs.append(helper.make_tensor_value_info(weights, TensorProto.FLOAT, ["n", "steps_" + reading.name]))
        views.append(graph.dense(context, reader.project, int8))
    joined = graph.add("Concat", *views, axis=1) if len(views) > 1 else views[0]
    gate = graph.add("Softmax", graph.dense(joined, model.gate, int8), axis=1)
    stacked = graph.add("Reshape", joined, graph.ints(-1, len(views), settings.fc_size))
    merged = graph.add(
        "Squeeze", graph.add("MatMul", graph.add("Unsqueeze", gate, graph.ints(1)), stacked), graph.ints(1)
    )
    logits = graph.dense(graph.add("Relu", merged), model.head, int8)
    graph.add("Softmax", logits, axis=1, output="probabilities")
    images = helper.make_tensor_value_info("images", TensorProto.UINT8, ["n", settings.frame, settings.frame])
    proto = helper.make_graph(graph.nodes, "inkloop", [images], outputs, graph.constants)
    opsets = [helper.make_opsetid("", OPSET), helper.make_opsetid(CONTRIB_DOMAIN, 1)]
    return helper.make_model(proto, opset_imports=opsets, ir_version=8, producer_name="inkloop")


def export(model: Recognizer, path: Path, int8: bool = False) -> int:
    """Write the ONNX model, whole or not at all. Returns its size in bytes."""
    model = copy.deepcopy(model).cpu()
    with written_whole(path) as unfinished:
        unfinished.write_bytes(build(model, int8).SerializeToString())
    return path.stat().st_size
