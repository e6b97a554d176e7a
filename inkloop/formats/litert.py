"""LiteRT's .tflite, made by litert-torch: recurrent layers are unrolled into one operator a step and gate."""

from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from inkloop.files import written_whole
from inkloop.formats.answers import traceable
from inkloop.model import Recognizer
from inkloop.runtime import Answers


def write(model: Recognizer, folder: Path, int8: bool = False) -> Path:
    """Write `model.tflite`, for one picture a call.

    With int8, ai-edge-quantizer rounds the weights of dense operators to INT8, a scale a row; they are widened when
    used. Its levels are not ours. Raises ValueError for a model with topology.
    """
    content = _converted(model)
    if int8:
        content = _rounded(content)
    path = folder / "model.tflite"
    with written_whole(path) as unfinished:
        unfinished.write_bytes(content)
    return path


def load(path: Path) -> Answers:
    """What answers by the file, on one thread, one picture after another."""
    from ai_edge_litert.interpreter import Interpreter

    interpreter = Interpreter(str(path), num_threads=1)
    interpreter.allocate_tensors()
    taken = interpreter.get_input_details()[0]["index"]
    given = interpreter.get_output_details()[0]["index"]

    def answers(images: NDArray[np.uint8]) -> NDArray[np.float32]:
        probabilities = np.empty((len(images), 10), np.float32)
        for row in range(len(images)):
            interpreter.set_tensor(taken, images[row : row + 1])
            interpreter.invoke()
            probabilities[row] = interpreter.get_tensor(given)[0]
        return probabilities

    return answers


def _converted(model: Recognizer) -> bytes:
    import litert_torch

    images = torch.zeros(1, model.settings.frame, model.settings.frame, dtype=torch.uint8)
    return bytes(litert_torch.convert(traceable(model), (images,)).model_content())


def _rounded(content: bytes) -> bytes:
    from ai_edge_quantizer import quantizer, recipe

    rounding = quantizer.Quantizer(bytearray(content))
    rounding.load_quantization_recipe(recipe.weight_only_wi8_afp32())
    return bytes(rounding.quantize().quantized_model)
