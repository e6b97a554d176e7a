"""The BentoML service: the app's routes, and the model that answers on them."""

import os
import tempfile
from importlib.resources import as_file, files
from pathlib import Path

import bentoml
from starlette.types import ASGIApp, Receive, Scope, Send

from infra import registry
from infra.storage import open_store
from inkloop.runtime import Recognizer
from serving.app import answer_with, create_app

STORE_VARIABLE = "INKLOOP_STORE"  # URL of the store whose champion answers
BUNDLED_MODEL = Path(__file__).parent.parent / "model"  # in a Bento, the model it was built with
CHECKOUT_STORE = Path(__file__).parent.parent / "store"

with as_file(files("bentoml._internal.server") / "static_content") as swagger_ui:
    app = create_app(swagger_ui)


class Front:
    """ASGI middleware that gives every request to our app, so that no route of BentoML's own can be reached."""

    def __init__(self, bentoml_app: ASGIApp, answering: ASGIApp) -> None:
        self.bentoml_app = bentoml_app
        self.answering = answering

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Let BentoML start and stop the service; answer the rest."""
        await (self.answering if scope["type"] == "http" else self.bentoml_app)(scope, receive, send)


@bentoml.service(
    name="inkloop",
    workers=1,
    http={"host": "127.0.0.1", "port": 3000},
    traffic={"timeout": 60},
    # The app has metrics of its own, and a line of log or a trace for each request costs more than its answer.
    metrics={"enabled": False},
    logging={"access": {"enabled": False}},
    tracing={"excluded_urls": ".*"},
)
class Inkloop:
    """Reads handwritten digits."""

    def __init__(self) -> None:
        answer_with(app, load_recognizer(os.environ.get(STORE_VARIABLE)))


Inkloop.add_asgi_middleware(Front, answering=app)  # type: ignore[attr-defined]  # it is a bentoml.Service by now


def load_recognizer(store_url: str | None) -> Recognizer:
    """The champion of the store; where none is given, the Bento's own model, or in a checkout the champion of `store/`.

    Raises UserError if the store has no champion or the champion's files are not what was published.
    """
    if store_url is None and BUNDLED_MODEL.is_dir():
        return Recognizer(BUNDLED_MODEL)
    store = open_store(store_url or str(CHECKOUT_STORE))
    digest = registry.reigning(store).digest
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch) / "model"
        registry.fetch(store, digest, folder)
        return Recognizer(folder)
