"""The routes: a small ASGI app around one recognizer, which answers alone or inside the Bento."""

import base64
from http import HTTPStatus
from pathlib import Path
from typing import Any

import numpy as np
import orjson
from anyio.to_thread import run_sync
from numpy.typing import NDArray
from prometheus_client import CONTENT_TYPE_LATEST
from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.middleware import Middleware
from starlette.requests import ClientDisconnect, Request
from starlette.responses import FileResponse, PlainTextResponse, RedirectResponse, Response
from starlette.routing import Mount, Route
from starlette.staticfiles import StaticFiles

from inkloop.runtime import Recognizer
from serving import batches, metrics, openapi, problems
from serving.inputs import read_body, read_image
from serving.shadow import Challenge, Shadow, chosen

DOCS_PAGE = Path(__file__).with_name("docs.html")


async def predict(request: Request) -> Response:
    """Which digit the picture shows, and how sure the model is of each."""
    return _answer(request, await read_image(request))


async def predict_batch(request: Request) -> Response:
    """Which digit each of many pictures shows."""
    images = await run_sync(batches.read_images, request.headers.get("content-type", ""), await read_body(request))
    recognizer = chosen(request, images)
    probabilities = await batches.probabilities(recognizer, images)
    labels = probabilities.argmax(1)
    metrics.answers_by_model(recognizer.version).inc(len(images))
    for label, count in enumerate(np.bincount(labels, minlength=10).tolist()):
        metrics.answers(label).inc(count)
    return _json({"labels": labels, "probabilities": probabilities, "model_version": recognizer.version})


async def model(request: Request) -> Response:
    """What is known about the champion, and about the challenger if one is tried."""
    recognizer: Recognizer = request.app.state.recognizer
    challenge: Challenge | None = request.app.state.challenge
    known = recognizer.info.model_dump(mode="json")
    tried = None
    if challenge is not None:
        tried = {"model_version": challenge.terms.version, **challenge.terms.model_dump(mode="json", exclude={"by"})}
    return _json({"model_version": recognizer.version, "digest": recognizer.digest, **known, "challenger": tried})


async def healthz(_: Request) -> Response:
    """The process is alive."""
    return PlainTextResponse("ok\n")


async def readyz(request: Request) -> Response:
    """The model is loaded, so that requests can be answered."""
    if not hasattr(request.app.state, "recognizer"):
        return problems.response(HTTPStatus.SERVICE_UNAVAILABLE, "The model is not loaded yet; ask again soon.")
    return PlainTextResponse("ready\n")


async def latest_metrics(_: Request) -> Response:
    """The metrics, for Prometheus."""
    return Response(metrics.latest(), media_type=CONTENT_TYPE_LATEST)


async def description(_: Request) -> Response:
    """The OpenAPI description of all routes."""
    return _json(openapi.DOCUMENT)


async def docs(_: Request) -> Response:
    """The OpenAPI description as a page on which every route can be tried."""
    return FileResponse(DOCS_PAGE)


async def start_page(_: Request) -> Response:
    """The way to the page that says what this is."""
    return RedirectResponse("docs")


async def on_disconnect(_: Request, error: Exception) -> Response:
    """Nobody is left to read this answer; the metrics count it as 499, as nginx does."""
    return Response(status_code=499)


def create_app(swagger_ui: Path) -> Starlette:
    """The app; it is ready after `answer_with`. swagger_ui: the folder with Swagger UI's files."""
    routes = [
        Route("/predict", predict, methods=["POST"]),
        Route("/predict/batch", predict_batch, methods=["POST"]),
        Route("/model", model),
        Route("/healthz", healthz),
        Route("/livez", healthz),
        Route("/readyz", readyz),
        Route("/metrics", latest_metrics),
        Route("/openapi.json", description),
        Route("/docs", docs),
        Route("/", start_page),
    ]
    app = Starlette(
        routes=[*routes, Mount("/static", StaticFiles(directory=swagger_ui))],
        middleware=[Middleware(metrics.Observed, paths=frozenset(route.path for route in routes))],
        exception_handlers={
            problems.Problem: problems.on_problem,
            HTTPException: problems.on_http_exception,
            ClientDisconnect: on_disconnect,
            Exception: problems.on_crash,
        },
    )
    app.state.challenge, app.state.shadow = None, Shadow()
    return app


def answer_with(app: Starlette, recognizer: Recognizer) -> None:
    """Make this the model that answers, from the next request on; may be called from any thread."""
    app.state.recognizer = recognizer
    metrics.MODELS.champion = metrics.label(recognizer)


def _answer(request: Request, image: NDArray[np.uint8]) -> Response:
    recognizer, state = chosen(request, image), request.app.state
    # In the event loop: an answer takes a fifth of a millisecond, about what handing it to a thread would.
    explanation: dict[str, Any] = {}
    if request.query_params.get("attention") == "1":
        probabilities, attention = recognizer.explained(image[None])
        explanation["attention"] = {name: weights[0] for name, weights in attention.items()}
        explanation["picture"] = base64.b64encode(image.tobytes()).decode()
    else:
        probabilities = recognizer.probabilities(image[None])
    label = int(probabilities[0].argmax())
    metrics.answers(label).inc()
    metrics.answers_by_model(recognizer.version).inc()
    state.shadow.compare(state.challenge, image, recognizer.version, probabilities[0])
    answer = {"label": label, "probabilities": probabilities[0], "model_version": recognizer.version}
    return _json(answer | explanation)


def _json(content: dict[str, Any]) -> Response:
    return Response(orjson.dumps(content, option=orjson.OPT_SERIALIZE_NUMPY), media_type="application/json")
