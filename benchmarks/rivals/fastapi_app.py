"""FastAPI and ONNX Runtime, as one would write it first: `uvicorn fastapi_app:app`."""

from typing import Any

import numpy as np
from fastapi import FastAPI, Request
from onnx_session import load
from pydantic import BaseModel

app = FastAPI()
session = load()


class Picture(BaseModel):
    """784 pixels, row by row."""

    image: list[int]


def _answer(images: np.ndarray) -> dict[str, Any]:
    probabilities = session.run(["probabilities"], {"images": images})[0]
    return {"labels": probabilities.argmax(1).tolist(), "probabilities": probabilities.tolist()}


@app.post("/predict")
async def predict(picture: Picture) -> dict[str, Any]:
    """One digit."""
    return _answer(np.array(picture.image, np.uint8).reshape(1, 28, 28))


@app.post("/predict/batch")
async def predict_batch(request: Request) -> dict[str, Any]:
    """Many digits, as raw pixels."""
    return _answer(np.frombuffer(await request.body(), np.uint8).reshape(-1, 28, 28))
