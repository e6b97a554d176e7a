"""The BentoML service: the app's routes, and the model that answers on them."""

import logging
import os
import resource
from importlib.resources import as_file, files
from pathlib import Path

import bentoml

from inkloop.runtime import Recognizer
from serving import champion
from serving.app import answer_with, create_app
from serving.limits import PREFIX, LimitSettings, RateLimited
from serving.protocol import answer_directly

STORE_VARIABLE = "INKLOOP_STORE"  # URL of the store whose champion answers
BUNDLED_MODEL = Path(__file__).parent.parent / "model"  # in a Bento, the model it was built with
CHECKOUT_STORE = Path(__file__).parent.parent / "store"

with as_file(files("bentoml._internal.server") / "static_content") as swagger_ui:
    app = create_app(swagger_ui)


limits = LimitSettings.from_environment(os.environ, PREFIX)
# BentoML packages, starts and stops the service; none of its routes answers, none of its middleware costs anything.
answer_directly(RateLimited(app, limits) if limits.requests_per_s else app, limits)


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
        # Swaps of models, and disagreements; BentoML's own level is WARNING.
        logging.getLogger("inkloop").setLevel(logging.INFO)
        _allow_many_connections()
        store_url = store_to_watch()
        answer_with(app, load_recognizer(store_url))
        if store_url is not None:
            champion.Watcher(app, store_url).start()


def load_recognizer(store_url: str | None) -> Recognizer:
    """The champion of the store, or the Bento's own model where none is given or the champion cannot be had.

    Raises UserError if there is no model to answer with.
    """
    return champion.load_bundled(BUNDLED_MODEL) if store_url is None else champion.load_first(store_url, BUNDLED_MODEL)


def store_to_watch() -> str | None:
    """The URL of the store whose champion answers; in a checkout it is `store/`, in a Bento there may be none."""
    return os.environ.get(STORE_VARIABLE) or (None if BUNDLED_MODEL.is_dir() else str(CHECKOUT_STORE))


def _allow_many_connections() -> None:
    """Raise this process's limit of open files, which is often 1,024, as far as it may."""
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))
