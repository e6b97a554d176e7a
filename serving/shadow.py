"""The challenger on real requests: which of them it answers, and how its answers differ where it answers none."""

import hashlib
import logging
import queue
import threading
from dataclasses import dataclass

import numpy as np
import orjson
from numpy.typing import NDArray
from starlette.applications import Starlette
from starlette.requests import Request

from infra.challenger import Challenger
from inkloop.runtime import Recognizer
from serving import metrics

PERSON_HEADER = "inkloop-person"  # who asks, in any words of the client's: a person meets one version
WAITING = 256  # pictures kept for the challenger at most; the rest are counted and dropped

log = logging.getLogger("inkloop.serving")


@dataclass(frozen=True)
class Challenge:
    """A challenger that is loaded, and on what terms."""

    recognizer: Recognizer
    terms: Challenger

    def meets(self, who: bytes) -> bool:
        """Whether this one belongs to the canary's share; who belongs to a share belongs to every larger one too."""
        # Salted, so that it is not the same people who meet every challenger.
        point = hashlib.sha256(self.terms.digest.encode() + who).digest()[:8]
        return int.from_bytes(point) < self.terms.share * 2**64


def challenge_with(app: Starlette, challenge: Challenge | None) -> None:
    """Make this the challenger; None: there is none."""
    app.state.challenge = challenge
    metrics.MODELS.challenger = None if challenge is None else metrics.label(challenge.recognizer)


def chosen(request: Request, images: NDArray[np.uint8]) -> Recognizer:
    """The model that answers this request, the whole of it: the challenger for its share, else the champion.

    images: what is asked, of any shape; it decides where nobody is named.
    """
    challenge: Challenge | None = request.app.state.challenge
    champion: Recognizer = request.app.state.recognizer
    if challenge is None or challenge.terms.mode != "canary":
        return champion
    who = request.headers.get(PERSON_HEADER, "").encode() or images.tobytes()
    return challenge.recognizer if challenge.meets(who) else champion


@dataclass(frozen=True)
class _Pair:
    challenge: Challenge
    image: NDArray[np.uint8]  # (28, 28)
    champion: str  # version
    answer: NDArray[np.float32]  # (10,), the champion's


class Shadow:
    """Asks a challenger in the shadow what the champion was asked, on a thread of its own, and compares."""

    def __init__(self) -> None:
        self._pairs: queue.Queue[_Pair] = queue.Queue(WAITING)
        self._thread: threading.Thread | None = None

    def compare(
        self, challenge: Challenge | None, image: NDArray[np.uint8], champion: str, answer: NDArray[np.float32]
    ) -> None:
        """Have the challenger answer too, later; costs the request a place in a queue. Called from one thread only.

        image: (28, 28); champion: the version that gave the answer, float32 (10,).
        """
        if challenge is None or challenge.terms.mode != "shadow":
            return
        if self._thread is None:
            self._thread = threading.Thread(target=self._work, name="inkloop-shadow", daemon=True)
            self._thread.start()
        try:
            self._pairs.put_nowait(_Pair(challenge, image, champion, answer))
        except queue.Full:
            metrics.SHADOW_DROPPED.inc()

    def _work(self) -> None:
        while True:
            pair = self._pairs.get()
            try:
                _compare(pair)
            except Exception:  # a challenger that fails must not end the thread, let alone the server
                metrics.SHADOW.labels(pair.challenge.recognizer.version, "failed").inc()
                log.exception("challenger %s failed on a picture", pair.challenge.recognizer.version)


def _compare(pair: _Pair) -> None:
    recognizer = pair.challenge.recognizer
    if recognizer.version == pair.champion:
        return  # promoted meanwhile
    other = recognizer.probabilities(pair.image[None])[0]
    ours, theirs = int(pair.answer.argmax()), int(other.argmax())
    metrics.SHADOW.labels(recognizer.version, "agrees" if ours == theirs else "disagrees").inc()
    if ours != theirs:
        line = {
            "event": "disagreement",
            "champion": {"version": pair.champion, "label": ours, "probability": pair.answer[ours]},
            "challenger": {"version": recognizer.version, "label": theirs, "probability": other[theirs]},
            "picture": hashlib.sha256(pair.image.tobytes()).hexdigest(),
        }
        log.info("%s", orjson.dumps(line, option=orjson.OPT_SERIALIZE_NUMPY).decode())
