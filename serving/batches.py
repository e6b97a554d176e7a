"""Many digits in one request: read from the body, and answered in chunks on two threads."""

import asyncio
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
from numpy.typing import NDArray

from inkloop.runtime import Recognizer
from serving.inputs import FRAME, PIXELS, media_type, parsed, pixels_of, unsupported, unusable
from serving.problems import Problem

Images = NDArray[np.uint8]

# ONNX Runtime lets go of the GIL, so two threads keep two cores busy; larger chunks fall out of the cores' caches.
CHUNK = 64
_threads = ThreadPoolExecutor(2, thread_name_prefix="batch")


def read_images(content_type: str, body: bytes) -> Images:
    """The digits in the body: uint8 (n, 28, 28), white ink on black, n > 0. Raises Problem if it holds none."""
    match media_type(content_type):
        case "application/octet-stream":
            return _from_bytes(body)
        case "application/json":
            return _from_json(body)
        case other:
            raise unsupported(other, "accepted here; send application/octet-stream or application/json")


async def probabilities(recognizer: Recognizer, images: Images) -> NDArray[np.float32]:
    """float32 (n, 10), rows sum to 1, of uint8 (n, 28, 28), worked out beside the event loop."""
    loop = asyncio.get_running_loop()
    chunks = [images[start : start + CHUNK] for start in range(0, len(images), CHUNK)]
    answers = await asyncio.gather(
        *(loop.run_in_executor(_threads, recognizer.probabilities, chunk) for chunk in chunks)
    )
    return np.concatenate(answers)


def _from_bytes(body: bytes) -> Images:
    if len(body) % PIXELS:
        raise unusable(f"Raw pixels must be a multiple of {PIXELS} bytes ({FRAME} x {FRAME}), and are {len(body)}.")
    return np.frombuffer(body, np.uint8).reshape(-1, FRAME, FRAME)


def _from_json(body: bytes) -> Images:
    sent = parsed(body, "images")
    if not isinstance(sent, list) or not sent:
        raise unusable(f"The JSON must be an array of pictures, each of {PIXELS} numbers or {FRAME} rows of {FRAME}.")
    return np.stack([_image(number, each) for number, each in enumerate(sent)])


def _image(number: int, sent: Any) -> Images:  # noqa: ANN401
    try:
        return pixels_of(sent)
    except Problem as problem:
        raise Problem(problem.status, f"Picture {number}: {problem.detail}") from None
