"""TensorRT's engine is of one kind of GPU, so that it is built there: our ONNX, and the script that makes it one."""

from collections.abc import Iterator
from pathlib import Path

import onnx

from inkloop import artifacts
from inkloop.export import build
from inkloop.files import written_whole
from inkloop.formats.answers import FromPixels
from inkloop.model import Recognizer
from inkloop.onnx_graph import write as write_onnx

# Of the operators that our graphs have, those TensorRT takes in fp32, opset 9 to 20: onnx-tensorrt's
# docs/operators.md for TensorRT 10.1. It takes uint8 as an input alone, which is what our `images` are.
TAKEN = frozenset(
    {"Add", "Cast", "Concat", "Conv", "Div", "Flatten", "GRU", "Gather", "Greater", "LSTM", "Log", "Loop", "MatMul"}
    | {"Max", "MaxPool", "Mul", "Neg", "Pad", "RNN", "ReduceMax", "ReduceMin", "ReduceSum", "Relu", "Reshape"}
    | {"Sigmoid", "Slice", "Softmax", "Squeeze", "Sub", "Tanh", "Transpose", "Unsqueeze"}
)
SCRIPT = """#!/bin/sh
# Makes model.onnx the engine model.plan for this machine's GPU, and times it, 64 pictures a call.
set -eu
cd "$(dirname "$0")"
if ! command -v trtexec > /dev/null; then
    echo "trtexec is not on the PATH. Run this where an NVIDIA GPU and TensorRT 10 or newer are." >&2
    exit 2
fi
trtexec --onnx=model.onnx --saveEngine=model.plan --noTF32 \\
    --minShapes=images:1x{frame}x{frame} --optShapes=images:64x{frame}x{frame} \\
    --maxShapes=images:1024x{frame}x{frame} --shapes=images:64x{frame}x{frame}
"""


def write(model: Recognizer, folder: Path) -> Path:
    """Write `model.onnx` in fp32 and `build.sh`. Raises ValueError if TensorRT does not take one of its operators."""
    proto = build(FromPixels(model).model)
    if unknown := sorted(set(operators(proto.graph)) - TAKEN):
        raise ValueError(f"operators that TensorRT is not known to take: {', '.join(unknown)}")
    write_onnx(proto, folder / artifacts.ONNX_NAME)
    path = folder / "build.sh"
    with written_whole(path) as unfinished:
        unfinished.write_text(SCRIPT.format(frame=model.settings.frame))
        unfinished.chmod(0o755)
    return path


def operators(graph: onnx.GraphProto) -> Iterator[str]:
    """The operator of each node of a graph and of the bodies of its loops."""
    for node in graph.node:
        yield node.op_type
        for attribute in node.attribute:
            yield from operators(attribute.g)
