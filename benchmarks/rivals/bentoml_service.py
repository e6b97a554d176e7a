"""A BentoML service in the style of its quick start: `bentoml serve bentoml_service:Reader`."""

from typing import Any

import bentoml
import numpy as np
from onnx_session import load


@bentoml.service(workers=1)
class Reader:
    """Reads digits."""

    def __init__(self) -> None:
        self.session = load()

    @bentoml.api
    def predict(self, image: list[int]) -> dict[str, Any]:
        """One digit: 784 pixels."""
        return self._answer(np.array(image, np.uint8).reshape(1, 28, 28))

    @bentoml.api
    def predict_batch(self, images: np.ndarray) -> dict[str, Any]:
        """Many digits: (n, 28, 28)."""
        return self._answer(images.astype(np.uint8))

    def _answer(self, images: np.ndarray) -> dict[str, Any]:
        probabilities = self.session.run(["probabilities"], {"images": images})[0]
        return {"labels": probabilities.argmax(1).tolist(), "probabilities": probabilities.tolist()}
