"""Ray Serve with one replica: `python ray_serve_app.py PORT`."""

import sys
import time
from typing import Any

import numpy as np
from onnx_session import load
from ray import serve
from starlette.requests import Request


@serve.deployment(ray_actor_options={"num_cpus": 1}, max_ongoing_requests=100)  # 5 by default: 64 clients starve
class Reader:
    """Reads digits."""

    def __init__(self) -> None:
        self.session = load()

    async def __call__(self, request: Request) -> dict[str, Any]:
        """One digit as JSON, or many as raw pixels."""
        if request.url.path == "/predict":
            images = np.array((await request.json())["image"], np.uint8).reshape(1, 28, 28)
        else:
            images = np.frombuffer(await request.body(), np.uint8).reshape(-1, 28, 28)
        probabilities = self.session.run(["probabilities"], {"images": images})[0]
        return {"labels": probabilities.argmax(1).tolist(), "probabilities": probabilities.tolist()}


if __name__ == "__main__":
    serve.start(http_options={"host": "127.0.0.1", "port": int(sys.argv[1])})
    serve.run(Reader.bind(), route_prefix="/")
    while True:
        time.sleep(60)
