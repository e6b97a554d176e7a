"""The models of a store, loaded off the requests' path: the first one, and by a watcher each one that comes after."""

import logging
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Generic, TypeVar

import numpy as np
from starlette.applications import Starlette

from infra import challenger, readers, registry, signing
from infra.storage import IMPATIENT, FolderStore, Store, open_store
from inkloop import artifacts, framing
from inkloop.errors import UserError
from inkloop.line.ctc import LABELS
from inkloop.line.runtime import LineReader
from inkloop.pen.runtime import PenReader
from inkloop.runtime import Recognizer
from serving import metrics
from serving.app import answer_with, read_with
from serving.shadow import Challenge, challenge_with

POLL_S = 2.0
A_SEVEN = [[(0.0, 0.0), (8.0, 0.0), (3.0, 10.0)]]
A_BAR = np.pad(np.full((20, 2), 255, np.uint8), ((4, 4), (9, 9)))  # a one, as a line is framed
LONGEST_WAIT_S = 60.0  # between two tries of a model that cannot be loaded

log = logging.getLogger("inkloop.serving")

Model = TypeVar("Model")


def load(store: Store, digest: str) -> Recognizer:
    """A published model, checked before it is loaded, then tried.

    Raises UserError if it is not trusted, not whole or gives no probabilities.
    """
    with _fetched(store, digest) as folder:
        return _tried(Recognizer(folder))


def load_pen(store: Store, digest: str) -> PenReader:
    """A published model that reads pen strokes, checked as `load` does. Raises UserError as it does."""
    with _fetched(store, digest) as folder:
        reader = PenReader(folder)
    answer, _ = reader.explained(A_SEVEN)
    if answer.shape != (10,) or not abs(float(answer.sum()) - 1) < 1e-3:
        raise UserError(f"model {reader.version}: its answer is not ten probabilities. Train it again.")
    return reader


def load_line(store: Store, digest: str) -> LineReader:
    """A published model that reads lines, checked as `load` does. Raises UserError as it does."""
    with _fetched(store, digest) as folder:
        reader = LineReader(folder)
    answer = reader.log_probabilities([A_BAR])[0]
    if answer.shape[1:] != (LABELS,) or not np.allclose(np.exp(answer).sum(1), 1, atol=1e-3):
        raise UserError(f"model {reader.version}: its answer is no probabilities of digits. Train it again.")
    return reader


@contextmanager
def _fetched(store: Store, digest: str) -> Iterator[Path]:
    """A published model's directory, if it is trusted and whole."""
    signing.require_trusted(store, digest)
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch) / "model"
        registry.fetch(store, digest, folder)
        yield folder


def load_bundled(folder: Path) -> Recognizer:
    """The model that a Bento was built with; its signatures are beside it. Raises UserError as `load` does."""
    signing.require_trusted(FolderStore(folder.parent), artifacts.digest(folder))
    return _tried(Recognizer(folder))


def load_first(store_url: str, bundled: Path) -> Recognizer:
    """The store's champion, or the Bento's own model if there is one and the champion cannot be had."""
    try:
        store = open_store(store_url, IMPATIENT)
        return load(store, registry.reigning(store).digest)
    except Exception as error:  # whatever is wrong with the store, the Bento need not wait for it
        if not bundled.is_dir():
            raise
        log.warning("The Bento's own model answers for the champion: %s", error)
        return load_bundled(bundled)


class Watcher:
    """Looks every two seconds which models the store wants to answer, on a thread of its own, and sees to it.

    Whatever fails is logged and counted, and the models before go on.
    """

    def __init__(self, app: Starlette, store_url: str) -> None:
        self._app, self._url = app, store_url
        self._store: Store | None = None
        self._unreachable = False
        self._champion, self._challenger = _Reload("champion", load), _Reload("challenger", load)
        self._readers: dict[readers.Kind, _Reload[PenReader | LineReader]] = {
            "pen": _Reload("pen", load_pen),
            "line": _Reload("line", load_line),
        }
        self._stopped = threading.Event()
        self._thread = threading.Thread(target=self._watch, name="inkloop-watcher", daemon=True)

    def start(self) -> None:
        """Look from now on."""
        self._thread.start()

    def stop(self) -> None:
        """Look no more; a look that has begun is ended first."""
        self._stopped.set()
        self._thread.join()

    def _watch(self) -> None:
        while not self._stopped.is_set():
            began = time.monotonic()
            self.look()
            self._stopped.wait(max(0.1, POLL_S - (time.monotonic() - began)))

    def look(self) -> None:
        """See to it once that the models that the store wants answer."""
        try:
            # Opened here: a store that cannot even be named must not keep the server from answering.
            store = self._store = self._store or open_store(self._url, IMPATIENT)
            wanted, tried = registry.reigning(store), challenger.challenger(store)
            appointed = {kind: readers.appointed(store, kind) for kind in readers.KINDS}
        except Exception as error:  # whatever it is, this thread must outlive it
            metrics.RELOAD_FAILURES.labels("store").inc()
            if not self._unreachable:
                log.warning(
                    "The store cannot be read, so the models stay as they are: %s", error, exc_info=_unexpected(error)
                )
            self._unreachable = True
            return
        if self._unreachable:
            log.info("The store can be read again.")
        self._unreachable = False
        self._follow_champion(store, wanted)
        self._follow_challenger(store, wanted, tried)
        for kind, reader in appointed.items():
            self._follow_reader(store, kind, reader)

    def _follow_champion(self, store: Store, wanted: registry.Champion) -> None:
        before: Recognizer = self._app.state.recognizer
        if wanted.digest == before.digest:
            return
        if (recognizer := self._champion.load(store, wanted.digest)) is not None:
            answer_with(self._app, recognizer)
            log.info("Champion %s answers in place of %s.", recognizer.version, before.version)

    def _follow_challenger(
        self, store: Store, champion: registry.Champion, tried: challenger.Challenger | None
    ) -> None:
        before: Challenge | None = self._app.state.challenge
        if tried is None or tried.digest == champion.digest or champion.bars(tried.digest) is not None:
            if before is not None:
                challenge_with(self._app, None)
                log.info("Challenger %s is tried no longer.", before.terms.version)
            return
        if before is not None and before.terms == tried:
            return
        known = before is not None and before.terms.digest == tried.digest
        recognizer = before.recognizer if before and known else self._challenger.load(store, tried.digest)
        # One that cannot be loaded takes the place of nobody, but who was replaced by it must not go on answering.
        challenge_with(self._app, None if recognizer is None else Challenge(recognizer, tried))
        if recognizer is not None:
            log.info("Challenger %s is tried: %s, share %g.", tried.version, tried.mode, tried.share)

    def _follow_reader(self, store: Store, kind: readers.Kind, wanted: readers.Appointed | None) -> None:
        before: PenReader | LineReader | None = getattr(self._app.state, kind)
        if wanted is None:
            if before is not None:
                read_with(self._app, kind, None)
                log.info("Model %s reads %s no longer.", before.version, readers.READS[kind])
        elif before is None or before.digest != wanted.digest:
            reader = self._readers[kind].load(store, wanted.digest)
            if reader is not None:
                read_with(self._app, kind, reader)
                log.info("Model %s reads %s.", reader.version, readers.READS[kind])


class _Reload(Generic[Model]):
    """Loads models for one role; one that fails is tried again after 2 s, 4 s and so on up to a minute."""

    def __init__(self, role: str, load: Callable[[Store, str], Model]) -> None:
        self._role, self._load, self._digest = role, load, ""
        self._failures, self._not_before = 0, 0.0

    def load(self, store: Store, digest: str) -> Model | None:
        """The model, None if it cannot be loaded or is not to be tried yet."""
        if digest != self._digest:
            self._digest, self._failures, self._not_before = digest, 0, 0.0
        if time.monotonic() < self._not_before:
            return None
        try:
            model = self._load(store, digest)
        except Exception as error:  # whatever it is, the model before goes on answering
            self._failures += 1
            wait_s = min(POLL_S * 2 ** (self._failures - 1), LONGEST_WAIT_S)
            self._not_before = time.monotonic() + wait_s
            metrics.RELOAD_FAILURES.labels(self._role).inc()
            version = registry.version_of(digest)
            message = "The new %s %s cannot be loaded (again in %g s): %s"
            log.error(message, self._role, version, wait_s, error, exc_info=_unexpected(error))
            return None
        self._digest = ""
        return model


def _unexpected(error: Exception) -> Exception | None:
    """What to log a traceback of: not what one sentence explains."""
    return None if isinstance(error, UserError) else error


def _tried(recognizer: Recognizer) -> Recognizer:
    """The model after its first answers, which take longer than all others. Raises UserError if they are none."""
    half_white = np.tri(framing.FRAME, dtype=np.uint8)[None] * 255
    for _ in range(3):
        answer = recognizer.probabilities(half_white)
    if answer.shape != (1, 10) or not abs(float(answer.sum()) - 1) < 1e-3:
        raise UserError(f"model {recognizer.version}: its answer is not ten probabilities. Train it again.")
    return recognizer
