"""An ONNX graph under construction, and the layers that are more than one of its nodes."""

from pathlib import Path
from typing import Any

import numpy as np
import onnx
import torch
from numpy.typing import NDArray
from onnx import helper, numpy_helper
from torch import nn

from inkloop.files import written_whole
from inkloop.onnx_constants import SCALES
from inkloop.quantization import quantize_rows
from inkloop.rnn_weights import ends_of

ONNX_NAMES = {"LSTM": "LSTM", "GRU": "GRU", "RNN_TANH": "RNN"}
# PyTorch's gates in ONNX's order: of (input, forget, cell, output) and of (reset, update, new).
GATE_ORDER = {"LSTM": (0, 3, 1, 2), "GRU": (1, 0, 2), "RNN_TANH": (0,)}

Array = NDArray[np.generic]


def write(proto: onnx.ModelProto, path: Path) -> int:
    """Write an ONNX model, whole or not at all. Returns its size in bytes."""
    with written_whole(path) as unfinished:
        unfinished.write_bytes(proto.SerializeToString())
    return path.stat().st_size


class Graph:
    """ONNX nodes and constants as they are added, one after another."""

    def __init__(self, scope: str = "", model: nn.Module | None = None) -> None:
        """scope: before all names, where the graph is to be the body of a loop in another; model: names its weights."""
        self._scope = scope
        self._names = {} if model is None else {id(module): name for name, module in model.named_modules()}
        self.nodes: list[onnx.NodeProto] = []
        self.constants: list[onnx.TensorProto] = []

    def constant(self, value: Array, name: str = "") -> str:
        """Add a constant, return its name."""
        name = name or f"{self._scope}c{len(self.constants)}"
        self.constants.append(numpy_helper.from_array(np.ascontiguousarray(value), name))
        return name

    def add(self, op: str, *inputs: str, output: str = "", **attributes: Any) -> str:  # noqa: ANN401
        """Add a node with one output, return the output's name."""
        output = output or f"{self._scope}t{len(self.nodes)}"
        self.nodes.append(helper.make_node(op, list(inputs), [output], **attributes))
        return output

    def ints(self, *values: int) -> str:
        """Add an int64 vector constant."""
        return self.constant(np.array(values, np.int64))

    def dense(self, x: str, layer: nn.Linear, int8: bool) -> str:
        """x (..., in) times the layer's weights, plus its bias."""
        weight = self._matrix(self._name(layer, "weight"), layer.weight.detach(), int8)
        product = self.add("MatMul", x, self.add("Transpose", weight, perm=[1, 0]))
        if layer.bias is None:
            return product
        return self.add("Add", product, self.constant(layer.bias.detach().numpy(), self._name(layer, "bias")))

    def recurrent(self, sequence: str, layer: nn.RNNBase, int8: bool, lengths: str = "") -> str:
        """sequence (steps, batch, in) to states (batch, steps, ways * hidden); those of padding are 0.

        lengths: real steps, int32 (batch,), where not all are.
        """
        states = self.states(sequence, layer, int8, lengths)
        by_batch = self.add("Transpose", states, perm=[2, 0, 1, 3])  # batch, steps, ways, hidden
        return self.add("Reshape", by_batch, self.ints(0, 0, len(ends_of(layer)) * layer.hidden_size))

    def states(self, sequence: str, layer: nn.RNNBase, int8: bool, lengths: str = "") -> str:
        """As `recurrent`, but as ONNX has them: (steps, ways, batch, hidden)."""
        ways = len(ends_of(layer))
        stacked = []
        for name in ("weight_ih", "weight_hh"):
            rows = _of_all_ways(layer, name)
            matrix = self._matrix(self._name(layer, name), rows, int8)
            stacked.append(self.add("Reshape", matrix, self.ints(ways, -1, rows.shape[1])))
        bias = self._recurrent_bias(layer, ways)
        direction = "bidirectional" if layer.bidirectional else "forward"
        shape: dict[str, Any] = {"hidden_size": layer.hidden_size, "direction": direction}
        if isinstance(layer, nn.GRU):
            shape["linear_before_reset"] = 1  # as PyTorch has it
        return self.add(ONNX_NAMES[layer.mode], sequence, *stacked, bias, *filter(None, [lengths]), **shape)

    def _matrix(self, name: str, matrix: torch.Tensor, int8: bool) -> str:
        """Add (rows, columns), return its name. In INT8 there are levels, widened when the model is loaded."""
        if not int8:
            return self.constant(matrix.numpy(), name)
        levels, scales = quantize_rows(matrix)
        stored = self.constant(levels.numpy(), name), self.constant(scales.numpy(), name + SCALES)
        return self.add("DequantizeLinear", *stored, axis=0)

    def _recurrent_bias(self, layer: nn.RNNBase, ways: int) -> str:
        """Add the biases (ways, 2 x rows), return their name."""
        of_input, of_state = (_of_all_ways(layer, name).view(ways, -1) for name in ("bias_ih", "bias_hh"))
        if isinstance(layer, nn.GRU):  # whose new state takes the second alone through the reset gate
            return self.constant(torch.cat([of_input, of_state], 1).numpy(), self._name(layer, "bias"))
        both = self.constant((of_input + of_state).numpy(), self._name(layer, "bias"))
        return self.add("Pad", both, self.ints(0, 0, 0, of_state.shape[1]))

    def _name(self, layer: nn.Module, weight: str) -> str:
        """What a weight of the layer is called: as in PyTorch, where the layer is the model's."""
        name = self._names.get(id(layer))
        return "" if name is None else f"{name}.{weight}"


def _of_all_ways(layer: nn.RNNBase, name: str) -> torch.Tensor:
    """A weight of both directions, forward first, its gates in ONNX's order."""
    parts = [layer.get_parameter(f"{name}_{end}").detach() for end in ends_of(layer)]
    return torch.cat([reorder_gates(part, layer) for part in parts])


def reorder_gates(weight: torch.Tensor, layer: nn.RNNBase) -> torch.Tensor:
    """A weight's rows from PyTorch's order of gates to ONNX's."""
    gates = weight.split(layer.hidden_size)
    return torch.cat([gates[gate] for gate in GATE_ORDER[layer.mode]])
