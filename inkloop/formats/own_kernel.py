"""Our ONNX in INT8, answered by our own kernel: what serves models that sweep."""

import json
from pathlib import Path

from inkloop import artifacts, kernel
from inkloop.export import export
from inkloop.files import written_whole
from inkloop.model import Recognizer
from inkloop.runtime import Answers

SHAPE_NAME = "shape.json"


def write(model: Recognizer, folder: Path) -> Path:
    """Write `model.onnx` and its shape. Raises ValueError for a model that the kernel does not take."""
    architecture = model.settings.model_dump(mode="json")
    if not kernel.answers(architecture):
        raise ValueError("the kernel takes one reading, swept by a two-way LSTM, and must have been built")
    export(model, path := folder / artifacts.ONNX_NAME, int8=True)
    with written_whole(folder / SHAPE_NAME) as unfinished:
        unfinished.write_text(json.dumps(architecture))
    return path


def load(path: Path) -> Answers:
    """What answers by the two files, on one thread."""
    model = kernel.load(path, json.loads((path.parent / SHAPE_NAME).read_text()))
    return lambda images: model.answers(images)[0]
