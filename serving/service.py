"""The BentoML service: the app's routes, and the model that answers on them."""

import contextlib
import ctypes
import logging
import os
import resource
import threading
from importlib.resources import as_file, files
from pathlib import Path

import bentoml

from inkloop.errors import UserError
from inkloop.runtime import Recognizer
from serving import champion, shipper
from serving.app import answer_with, capture_with, create_app
from serving.capture import VARIABLE_PREFIX, Capture, CaptureSettings
from serving.keys import Keys
from serving.limits import PREFIX, Bounded, LimitSettings, RateLimited
from serving.protocol import answer_directly
from serving.shipper import Shipper

STORE_VARIABLE = "INKLOOP_STORE"  # URL of the store whose champion answers
BUNDLED_MODEL = Path(__file__).parent.parent / "model"  # in a Bento, the model it was built with
CHECKOUT_STORE = Path(__file__).parent.parent / "store"
STORE_RETRY_S = 5.0
M_MMAP_THRESHOLD = -3  # of glibc's malloc.h

log = logging.getLogger("inkloop.serving")

with as_file(files("bentoml._internal.server") / "static_content") as swagger_ui:
    app = create_app(swagger_ui)


limits = LimitSettings.from_environment(PREFIX)
# BentoML packages, starts and stops the service; none of its routes answers, none of its middleware costs anything.
bounded = Bounded(app, limits)
answer_directly(RateLimited(bounded, limits) if limits.requests_per_s else bounded, limits)


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
        _give_memory_back()
        settings, store_url = CaptureSettings.from_environment(VARIABLE_PREFIX), store_to_watch()
        answer_with(app, load_recognizer(store_url))
        self.capturing: tuple[Capture, Shipper] | None = None
        if store_url is not None:
            champion.Watcher(app, store_url).start()
            app.state.keys = Keys(store_url)
            self._start_capture(store_url, settings)

    def _start_capture(self, store_url: str, settings: CaptureSettings) -> None:
        try:
            self.capturing = shipper.start(store_url, settings)
        except (UserError, OSError) as error:
            log.warning("Nothing is captured yet, and tried again every %g s: %s", STORE_RETRY_S, error)
            later = threading.Timer(STORE_RETRY_S, self._start_capture, (store_url, settings))
            later.daemon = True
            later.start()
        else:
            capture_with(app, self.capturing[0])

    @bentoml.on_shutdown  # type: ignore[untyped-decorator]
    def close(self) -> None:
        """Make durable and ship what was captured."""
        for part in self.capturing or ():
            part.close()


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


def _give_memory_back() -> None:
    """Return what a large picture took once it is answered; glibc, left alone, comes to keep blocks up to 32 MiB."""
    with contextlib.suppress(AttributeError):  # another C library
        ctypes.CDLL(None).mallopt(M_MMAP_THRESHOLD, 2**20)
