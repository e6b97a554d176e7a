"""Topological features in ONNX: each rule of `inkloop.topology` as a table, looked up by what lies around a pixel."""

from collections.abc import Callable

import numpy as np
import onnx
import torch
from onnx import TensorProto, helper

from inkloop import topology as rules
from inkloop.onnx_graph import Graph

NEIGHBORS = len(rules.AROUND)

# Adds one turn of a loop to its body: from the names of its states to that of "go on" and those of the next states.
Turn = Callable[..., tuple[str, ...]]


def topology(graph: Graph, pixels: str) -> str:
    """Normalized pixels (batch, height, width) to features (batch, 3); see `topology.topology`."""
    above = graph.add("Greater", pixels, graph.constant(np.array(rules.INK_THRESHOLD, np.float32)))
    ink = graph.add("Unsqueeze", graph.add("Cast", above, to=TensorProto.FLOAT), graph.ints(1))
    backwards = (graph.ints(-1), graph.ints(np.iinfo(np.int64).min), graph.ints(3), graph.ints(-1))
    both = graph.add("Concat", ink, graph.add("Slice", ink, *backwards), axis=0)
    (lines,) = _repeat(graph, "thinning", _thin, both)
    around = _around(graph, lines)
    points = graph.add("Concat", *(_count(graph, rule, around) for rule in (rules.is_end, rules.is_crossing)), axis=1)
    by_side = graph.add("Reshape", points, graph.ints(2, -1, 2))
    fewer = graph.add("ReduceMin", by_side, axes=[0], keepdims=0)
    return graph.add("Concat", _holes(graph, ink), fewer, axis=1)


def _holes(graph: Graph, ink: str) -> str:
    """Holes (batch, 1) of ink (batch, 1, height, width)."""
    around = _around(graph, ink)
    euler = graph.add("Sub", _count(graph, rules.is_convex, around), _count(graph, rules.is_concave, around))
    _, holes = _repeat(graph, "shrinking", _shrink, ink, graph.add("Neg", euler))
    return holes


def _thin(body: Graph, ink: str) -> tuple[str, ...]:
    once = _at_each(body, rules.thinned_southeast, _around(body, ink))
    twice = _at_each(body, rules.thinned_northwest, _around(body, once))
    return _is_any(body, body.add("Sub", ink, twice)), twice


def _shrink(body: Graph, ink: str, holes: str) -> tuple[str, ...]:
    around = _around(body, ink)
    smaller = _at_each(body, rules.shrunk, around)
    return _is_any(body, smaller), smaller, body.add("Add", holes, _count(body, rules.is_alone, around))


def _around(graph: Graph, ink: str) -> str:
    """Each pixel's case: the bits of what is around it, and as the highest its own."""
    bits = np.zeros((1, 1, 3, 3), np.float32)
    bits[0, 0, 1, 1] = 2**NEIGHBORS
    for place, (row, column) in enumerate(rules.AROUND):
        bits[0, 0, row, column] = 2**place
    case = graph.add("Conv", ink, graph.constant(bits), pads=[1, 1, 1, 1])
    return graph.add("Cast", case, to=TensorProto.INT32)


def _at_each(graph: Graph, rule: rules.Rule, around: str) -> str:
    """The rule at each pixel's case: 0 or 1 in float, in the shape of the cases."""
    cases = torch.arange(2 ** (NEIGHBORS + 1))
    answers = rule(cases >> NEIGHBORS, torch.stack([cases >> place for place in range(NEIGHBORS)])) & 1
    table = graph.constant(answers.to(torch.uint8).numpy())  # a byte each; ONNX Runtime casts them once, when it loads
    return graph.add("Gather", graph.add("Cast", table, to=TensorProto.FLOAT), around)


def _count(graph: Graph, rule: rules.Rule, around: str) -> str:
    """Pixels of each picture for which the rule holds: (batch, 1)."""
    found = graph.add("Flatten", _at_each(graph, rule, around))
    return graph.add("ReduceSum", found, graph.ints(1))


def _is_any(graph: Graph, picture: str) -> str:
    """Whether anything of it is not 0."""
    return graph.add("Greater", graph.add("ReduceMax", picture, keepdims=0), graph.constant(np.zeros(1, np.float32)))


def _repeat(graph: Graph, name: str, turn: Turn, *initial: str) -> tuple[str, ...]:
    """A loop that takes one turn at least, and goes on while its turn says so. Returns the names of its last states.

    initial: a picture (batch, 1, height, width), then counts (batch, 1).
    """
    body = Graph(scope=f"{name}_")
    states = [f"{name}_before_{place}" for place in range(len(initial))]
    going_on, *after = turn(body, *states)
    shapes = [[None, 1, None, None], *[[None, 1]] * (len(initial) - 1)]  # OpenVINO does not find them out by itself
    given = [
        helper.make_tensor_value_info(f"{name}_turn", TensorProto.INT64, []),
        helper.make_tensor_value_info(f"{name}_going", TensorProto.BOOL, None),
        *map(_float, states, shapes),
    ]
    returned = [
        helper.make_tensor_value_info(going_on, TensorProto.BOOL, None),
        *map(_float, after, shapes),
    ]
    outputs = tuple(f"{name}_after_{place}" for place in range(len(initial)))
    subgraph = helper.make_graph(body.nodes, name, given, returned, body.constants)
    always = graph.constant(np.ones(1, np.bool_))
    graph.nodes.append(helper.make_node("Loop", ["", always, *initial], list(outputs), body=subgraph))
    return outputs


def _float(name: str, shape: list[int | None]) -> onnx.ValueInfoProto:
    return helper.make_tensor_value_info(name, TensorProto.FLOAT, shape)
