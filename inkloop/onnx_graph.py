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
from inkloop.quantization import quantize_rows
from inkloop.recurrent import ends_of

CONTRIB_DOMAIN = "com.microsoft"  # ONNX Runtime's own operators: DynamicQuantizeLSTM
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

    def __init__(self, scope: str = "") -> None:
        """scope: before all names, where the graph is to be the body of a loop in another."""
        self._scope = scope
        self.nodes: list[onnx.NodeProto] = []
        self.constants: list[onnx.TensorProto] = []

    def constant(self, value: Array) -> str:
        """Add a constant, return its name."""
        name = f"{self._scope}c{len(self.constants)}"
        self.constants.append(numpy_helper.from_array(np.ascontiguousarray(value), name))
        return name

    def add(self, op: str, *inputs: str, output: str = "", domain: str = "", **attributes: Any) -> str:  # noqa: ANN401
        """Add a node with one output, return the output's name."""
        output = output or f"{self._scope}t{len(self.nodes)}"
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

    def recurrent(self, sequence: str, layer: nn.RNNBase, int8: bool, lengths: str = "") -> str:
        """sequence (steps, batch, in) to states (batch, steps, ways * hidden); those of padding are 0.

        lengths: real steps, int32 (batch,), where not all are.
        """
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
            absent = ("", "", "")  # initial_h, initial_c, P
            inputs = (sequence, *stored, bias, lengths, *absent, *scaling)
            states = self.add("DynamicQuantizeLSTM", *inputs, domain=CONTRIB_DOMAIN, **shape)
        else:
            if isinstance(layer, nn.GRU):
                shape["linear_before_reset"] = 1  # as PyTorch has it
            stacked = [self.constant(torch.stack(w).numpy()) for w in (w_ih, w_hh)]
            states = self.add(ONNX_NAMES[layer.mode], sequence, *stacked, bias, *filter(None, [lengths]), **shape)
        by_step = self.add("Transpose", states, perm=[2, 0, 1, 3])  # batch, steps, ways, hidden
        return self.add("Reshape", by_step, self.ints(0, 0, len(ends) * layer.hidden_size))


def reorder_gates(weight: torch.Tensor, layer: nn.RNNBase) -> torch.Tensor:
    """A weight's rows from PyTorch's order of gates to ONNX's."""
    gates = weight.split(layer.hidden_size)
    return torch.cat([gates[gate] for gate in GATE_ORDER[layer.mode]])
