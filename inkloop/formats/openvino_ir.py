"""OpenVINO's IR, made from our ONNX: `model.xml` is the graph, `model.bin` beside it the weights."""

from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
from numpy.typing import NDArray

from inkloop.export import build
from inkloop.formats.answers import FromPixels
from inkloop.model import Recognizer
from inkloop.runtime import Answers

# Sums stay in fp32 on processors that also have bfloat16; one picture is answered as soon as can be.
ON_ONE_THREAD = {"INFERENCE_PRECISION_HINT": "f32", "INFERENCE_NUM_THREADS": 1, "PERFORMANCE_HINT": "LATENCY"}


def write(model: Recognizer, folder: Path, int8: bool = False) -> Path:
    """Write the IR, each file whole or not at all. With int8 its matrices are in INT8, as in our ONNX."""
    import openvino

    graph = openvino.Core().read_model(build(FromPixels(model).model, int8).SerializeToString())
    # Kept in the file: otherwise what INT8 matrices are multiplied with is rounded to INT8 too.
    graph.set_rt_info("0", ["runtime_options", "DYNAMIC_QUANTIZATION_GROUP_SIZE"])
    with TemporaryDirectory(prefix=".openvino.", dir=folder) as scratch:
        openvino.save_model(graph, Path(scratch) / "model.xml", compress_to_fp16=False)
        for name in ("model.bin", "model.xml"):
            (Path(scratch) / name).replace(folder / name)
    return folder / "model.xml"


def load(path: Path) -> Answers:
    """What answers by the file, on one thread."""
    import openvino

    request = openvino.Core().compile_model(path, "CPU", ON_ONE_THREAD).create_infer_request()

    def answers(images: NDArray[np.uint8]) -> NDArray[np.float32]:
        # Without a copy the next call would overwrite what this one returned.
        probabilities: NDArray[np.float32] = request.infer({"images": images})["probabilities"].copy()
        return probabilities

    return answers
