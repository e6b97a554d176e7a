"""The formats that there are."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Literal

from inkloop.formats import litert, onnx_runtime, openvino_ir, own_kernel, tensorrt, torch_export
from inkloop.model import Recognizer
from inkloop.runtime import Answers


@dataclass(frozen=True)
class Format:
    """How a recognizer is written in one format, and answers from it."""

    name: str
    write: Callable[[Recognizer, Path], Path]  # into a folder of its own; returns the file to load
    load: Callable[[Path], Answers] | None  # None: it does not run here
    packages: tuple[str, ...]  # that write and run it
    weights: Literal["exact", "rounded", "other"] = "exact"  # torch's; as our INT8 rounds them; as the format does
    remark: str = ""  # what it cannot hold or do

    @property
    def folder(self) -> str:
        """`onnx-int8`."""
        return self.name.lower().replace(" ", "-")


FORMATS = (
    Format("ONNX fp32", onnx_runtime.write, onnx_runtime.load, ("onnx", "onnxruntime")),
    Format(
        "ONNX INT8",
        partial(onnx_runtime.write, int8=True),
        onnx_runtime.load,
        ("onnx", "onnxruntime"),
        weights="rounded",
        remark="Stored in INT8, computed in fp32: smaller, not faster.",
    ),
    Format(
        "kernel INT8",
        own_kernel.write,
        own_kernel.load,
        (),
        weights="rounded",
        remark="The same ONNX file, answered by our own kernel: what serves models that sweep.",
    ),
    Format(
        "torch.export",
        torch_export.write,
        torch_export.load,
        ("torch",),
        remark="Run as torch runs it, operator by operator; fp32 only.",
    ),
    Format("OpenVINO fp32", openvino_ir.write, openvino_ir.load, ("openvino",)),
    Format(
        "OpenVINO INT8",
        partial(openvino_ir.write, int8=True),
        openvino_ir.load,
        ("openvino",),
        weights="rounded",
        remark="Our INT8 weights; computed in fp32: smaller, not faster. NNCF 3.4.0 finds no weights of ours that it "
        "compresses.",
    ),
    Format(
        "LiteRT fp32",
        litert.write,
        litert.load,
        ("litert-torch", "ai-edge-litert"),
        remark="One picture a call: litert-torch 0.10.0 fails to convert our graph for any number of them. Recurrent "
        "layers are unrolled, operators of their own for each step.",
    ),
    Format(
        "LiteRT INT8",
        partial(litert.write, int8=True),
        litert.load,
        ("litert-torch", "ai-edge-quantizer", "ai-edge-litert"),
        weights="other",
        remark="As LiteRT fp32. ai-edge-quantizer rounds the weights, to other levels than ours, so that they need not "
        "answer alike: it is compared with torch's exact weights.",
    ),
    Format(
        "TensorRT",
        tensorrt.write,
        None,
        (),
        remark="Not run: build.sh makes the engine, and times it, where a GPU and TensorRT are. All operators are on "
        "TensorRT 10.1's list; its LSTM takes fp32, fp16 and bf16, but no INT8.",
    ),
)
