"""The routes: a small ASGI app around one recognizer, which answers alone or inside the Bento."""

from http import HTTPStatus
from pathlib import Path

from prometheus_client import CONTENT_TYPE_LATEST
from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.middleware import Middleware
from starlette.requests import ClientDisconnect, Request
from starlette.responses import FileResponse, PlainTextResponse, Response
from starlette.routing import Mount, Route
from starlette.staticfiles import StaticFiles

from infra import readers
from inkloop.line.runtime import LineReader
from inkloop.pen.runtime import PenReader
from inkloop.runtime import Recognizer
from serving import metrics, openapi, problems
from serving.capture import Capture
from serving.keys import Keys
from serving.pages import Page
from serving.predict import feedback, json_response, predict, predict_batch, predict_line, predict_strokes
from serving.shadow import Challenge, Shadow

DOCS_PAGE = Path(__file__).with_name("docs.html")


async def model(request: Request) -> Response:
    """What is known about the champion, and about the challenger if one is tried."""
    recognizer: Recognizer = request.app.state.recognizer
    challenge: Challenge | None = request.app.state.challenge
    known = {
        "model_version": recognizer.version,
        "digest": recognizer.digest,
        **recognizer.info.model_dump(mode="json"),
    }
    tried = None
    if challenge is not None:
        tried = {"model_version": challenge.terms.version, **challenge.terms.model_dump(mode="json", exclude={"by"})}
    return json_response(
        {"model_version": recognizer.version, "digest": recognizer.digest, **known, "challenger": tried}
    )


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
    return json_response(openapi.DOCUMENT)


async def docs(_: Request) -> Response:
    """The OpenAPI description as a page on which every route can be tried."""
    return FileResponse(DOCS_PAGE)


async def on_disconnect(_: Request, error: Exception) -> Response:
    """Nobody is left to read this answer; the metrics count it as 499, as nginx does."""
    return Response(status_code=499)


def create_app(swagger_ui: Path) -> Starlette:
    """The app; it is ready after `answer_with`. swagger_ui: the folder with Swagger UI's files."""
    page = Page()
    routes = [
        Route("/predict", predict, methods=["POST"]),
        Route("/predict/batch", predict_batch, methods=["POST"]),
        Route("/predict/strokes", predict_strokes, methods=["POST"]),
        Route("/predict/line", predict_line, methods=["POST"]),
        Route("/feedback", feedback, methods=["POST"]),
        Route("/model", model),
        Route("/healthz", healthz),
        Route("/livez", healthz),
        Route("/readyz", readyz),
        Route("/metrics", latest_metrics),
        Route("/openapi.json", description),
        Route("/docs", docs),
        Route("/", page.start),
    ]
    app = Starlette(
        routes=[*routes, Mount("/page", page), Mount("/static", StaticFiles(directory=swagger_ui))],
        middleware=[Middleware(metrics.Observed, paths=frozenset(route.path for route in routes))],
        exception_handlers={
            problems.Problem: problems.on_problem,
            HTTPException: problems.on_http_exception,
            ClientDisconnect: on_disconnect,
            Exception: problems.on_crash,
        },
    )
    app.state.challenge, app.state.shadow = None, Shadow()
    app.state.pen, app.state.line = None, None
    app.state.capture, app.state.keys = None, Keys(None)
    return app


def answer_with(app: Starlette, recognizer: Recognizer) -> None:
    """Make this the model that answers, from the next request on; may be called from any thread."""
    app.state.recognizer = recognizer
    metrics.MODELS.champion = metrics.label(recognizer)


def read_with(app: Starlette, kind: readers.Kind, reader: PenReader | LineReader | None) -> None:
    """Make this the model that answers to pen strokes or lines, from the next request on; None: none does."""
    setattr(app.state, kind, reader)


def capture_with(app: Starlette, capture: Capture) -> None:
    """Have the app's answers captured."""
    app.state.capture = capture
