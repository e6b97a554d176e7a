"""The routes that read digits, and the one that takes corrections."""

import base64
from collections import Counter
from http import HTTPStatus
from typing import Any, NamedTuple

import anyio
import numpy as np
import orjson
from anyio.to_thread import run_sync
from numpy.typing import NDArray
from pydantic import ValidationError
from starlette.requests import Request
from starlette.responses import Response

from inkloop.line.runtime import LineReader
from inkloop.pen.runtime import PenReader
from serving import batches, consent, metrics
from serving.feedback import Feedback
from serving.inputs import from_strokes, media_type, read_body, read_image, read_line, unsupported, unusable
from serving.problems import Problem
from serving.records import id_from, id_text, new_id
from serving.shadow import chosen

# The beam takes milliseconds, of the longest line up to two seconds: beside the event loop, never many at once.
_line_readers = anyio.CapacityLimiter(2)


class Answers(NamedTuple):
    """What one model says of pictures, uint8 (n, 28, 28): probabilities float32 (n, 10), labels (n,), and their ids."""

    images: NDArray[np.uint8]
    probabilities: NDArray[np.float32]
    labels: list[int]
    ids: list[bytes]
    version: str


async def predict(request: Request) -> Response:
    """Which digit the picture shows, and how sure the model is of each."""
    return await _answer(request, await read_image(request))


async def predict_strokes(request: Request) -> Response:
    """Which digit the pen strokes are, and how sure the model is of each; drawn as a picture if none reads strokes."""
    _expect_json(request)
    drawing, image = from_strokes(await read_body(request))
    pen: PenReader | None = request.app.state.pen
    if pen is None:
        return await _answer(request, image)
    probabilities, attention = pen.explained(drawing)
    answers = _answers(image[None], probabilities[None], pen.version)
    return await _said(request, answers, _explanation(image, {"pen": attention}) if _asks_why(request) else {})


async def predict_line(request: Request) -> Response:
    """The digits of a line, how sure the model is of them together and of each, and where each is. Nothing is kept."""
    line: LineReader | None = request.app.state.line
    if line is None:
        raise Problem(HTTPStatus.NOT_FOUND, "No model reads lines here; `make lines` trains one.")
    image = await read_line(request)
    answer = await run_sync(line.read, image, limiter=_line_readers)
    metrics.answers_by_model(line.version).inc()
    said = {
        "digits": "".join(map(str, answer.digits)),
        "confidence": answer.confidence,
        "alignment": [each._asdict() for each in answer.alignment],
        "model_version": line.version,
    }
    return json_response(said)


async def predict_batch(request: Request) -> Response:
    """Which digit each of many pictures shows."""
    images = await run_sync(batches.read_images, request.headers.get("content-type", ""), await read_body(request))
    recognizer = chosen(request, images)
    answers = _answers(images, await batches.probabilities(recognizer, images), recognizer.version)
    headers = await _kept(request, answers)
    said = {
        "labels": answers.labels,
        "probabilities": answers.probabilities,
        "model_version": answers.version,
        "prediction_ids": [id_text(each) for each in answers.ids],
    }
    return json_response(said, headers)


async def feedback(request: Request) -> Response:
    """Keep what someone says a prediction should have been; it is on the disk when this answers."""
    _expect_json(request)
    who = await request.app.state.keys.owner(request)
    try:
        told = Feedback.model_validate_json(await read_body(request))
    except ValidationError as error:
        raise unusable(_first(error)) from None
    capture = request.app.state.capture
    if capture is None:
        raise Problem(HTTPStatus.SERVICE_UNAVAILABLE, "This server keeps nothing, so it cannot keep a correction.")
    person = consent.read(request.scope["headers"]).person
    if not await capture.put_label(id_from(str(told.prediction_id)), told.label, person, source=f"feedback:{who}"):
        raise Problem(HTTPStatus.INSUFFICIENT_STORAGE, "The correction could not be kept; the server's disk is full.")
    metrics.FEEDBACK.inc()
    return json_response({"prediction_id": str(told.prediction_id), "label": told.label})


def json_response(content: dict[str, Any], headers: dict[str, str] | None = None) -> Response:
    """The content as JSON; it may hold arrays."""
    body = orjson.dumps(content, option=orjson.OPT_SERIALIZE_NUMPY)
    return Response(body, headers=headers, media_type="application/json")


async def _answer(request: Request, image: NDArray[np.uint8]) -> Response:
    recognizer, images = chosen(request, image), image[None]
    # In the event loop: an answer takes a fifth of a millisecond, about what handing it to a thread would.
    if not _asks_why(request):
        return await _said(request, _answers(images, recognizer.probabilities(images), recognizer.version), {})
    probabilities, attention = recognizer.explained(images)
    explanation = _explanation(image, {name: weights[0] for name, weights in attention.items()})
    return await _said(request, _answers(images, probabilities, recognizer.version), explanation)


def _asks_why(request: Request) -> bool:
    return request.query_params.get("attention") == "1"


def _explanation(image: NDArray[np.uint8], attention: dict[str, NDArray[np.float32]]) -> dict[str, Any]:
    return {"attention": attention, "picture": base64.b64encode(image.tobytes()).decode()}


async def _said(request: Request, answers: Answers, explanation: dict[str, Any]) -> Response:
    """The response to one digit, once its answer is counted and captured."""
    headers = await _kept(request, answers)
    said = {
        "label": answers.labels[0],
        "probabilities": answers.probabilities[0],
        "model_version": answers.version,
        "prediction_id": id_text(answers.ids[0]),
    }
    return json_response(said | explanation, headers)


def _answers(images: NDArray[np.uint8], probabilities: NDArray[np.float32], version: str) -> Answers:
    labels: list[int] = probabilities.argmax(1).tolist()
    return Answers(images, probabilities, labels, [new_id() for _ in labels], version)


async def _kept(request: Request, answers: Answers) -> dict[str, str]:
    """Count the answers, let the challenger see them, have them captured; returns what the response says of that."""
    state = request.app.state
    metrics.answers_by_model(answers.version).inc(len(answers.labels))
    for label, count in Counter(answers.labels).items():
        metrics.answers(label).inc(count)
    is_pens = state.pen is not None and answers.version == state.pen.version
    if state.challenge is not None and not is_pens:  # a challenger reads pictures, as the champion does
        for image, probabilities in zip(answers.images, answers.probabilities, strict=True):
            state.shadow.compare(state.challenge, image, answers.version, probabilities)
    return await consent.capture_answers(state.capture, request.scope["headers"], *answers)


def _expect_json(request: Request) -> None:
    sent = media_type(request.headers.get("content-type", ""))
    if sent != "application/json":
        raise unsupported(sent, "accepted here; send application/json")


def _first(error: ValidationError) -> str:
    """The first thing that is wrong, in one sentence."""
    wrong = error.errors()[0]
    where = ".".join(map(str, wrong["loc"])) or "The body"
    return f"{where}: {wrong['msg']}."
