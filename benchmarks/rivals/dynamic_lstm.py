"""An INT8 model as ONNX Runtime's own INT8 operator runs it: activations are rounded as well, when it runs."""

import numpy as np
import onnx
from onnx import helper, numpy_helper

DOMAIN = "com.microsoft"


def with_dynamic_lstms(model: onnx.ModelProto) -> onnx.ModelProto:
    """The model with DynamicQuantizeLSTM where LSTMs read widened weights; else the same."""
    changed = onnx.ModelProto()
    changed.CopyFrom(model)
    graph = changed.graph
    constants = {each.name: numpy_helper.to_array(each) for each in graph.initializer}
    made_by = {output: node for node in graph.node for output in node.output}
    for node in graph.node:
        if node.op_type != "LSTM":
            continue
        ways = 2 if any(each.name == "direction" and each.s == b"bidirectional" for each in node.attribute) else 1
        scales, stored = [], []
        for widened in node.input[1:3]:
            levels, scale = made_by[made_by[widened].input[0]].input[:2]
            # It multiplies bytes: without VNNI two products are added in 16 bits, which must not saturate.
            halves = np.round(constants[levels] / 2).astype(np.int8)
            matrices = halves.reshape(ways, -1, halves.shape[1]).transpose(0, 2, 1)
            by_way = 2 * constants[scale].reshape(ways, -1)
            stored.append(_add(graph, f"{levels}.transposed", matrices))
            scales += [
                _add(graph, f"{scale}.by_way", by_way),
                _add(graph, f"{scale}.zero", np.zeros_like(by_way, np.int8)),
            ]
        inputs = [node.input[0], *stored, node.input[3], "", "", "", "", *scales]
        attributes = {each.name: helper.get_attribute_value(each) for each in node.attribute}
        node.CopyFrom(helper.make_node("DynamicQuantizeLSTM", inputs, list(node.output), domain=DOMAIN, **attributes))
    changed.opset_import.append(helper.make_opsetid(DOMAIN, 1))
    return changed


def _add(graph: onnx.GraphProto, name: str, value: np.ndarray) -> str:
    graph.initializer.append(numpy_helper.from_array(np.ascontiguousarray(value), name))
    return name
