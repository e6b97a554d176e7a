"""What Prometheus may ask: requests by path and status, their latency, answers by label, the model that answers."""

import os
import time
from collections.abc import Iterator
from functools import cache

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest, multiprocess
from prometheus_client.metrics_core import GaugeMetricFamily, Metric
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from inkloop.runtime import Recognizer

REGISTRY = CollectorRegistry()
REQUESTS = Counter("inkloop_requests", "Requests by path and HTTP status", ["path", "status"], registry=REGISTRY)
LATENCY = Histogram(
    "inkloop_request_seconds",
    "Seconds from a request's first byte to its answer's last",
    ["path"],
    registry=REGISTRY,
    buckets=(0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10),
)
ANSWERS = Counter("inkloop_answers", "Answers by label", ["label"], registry=REGISTRY)
ANSWERS_BY_MODEL = Counter(
    "inkloop_model_answers", "Answers by the model that gave them", ["version"], registry=REGISTRY
)
SHADOW = Counter(
    "inkloop_shadow_answers",
    "Answers of a challenger in the shadow, by whether they are the champion's",
    ["version", "outcome"],
    registry=REGISTRY,
)
SHADOW_DROPPED = Counter("inkloop_shadow_dropped", "Pictures that a challenger came too late for", registry=REGISTRY)
RELOAD_FAILURES = Counter(
    "inkloop_model_reload_failures",
    "Times that the store could not be read, or a new champion, challenger or reader of strokes or lines not be loaded",
    ["of"],
    registry=REGISTRY,
)

CAPTURED = Counter("inkloop_captured", "Answers and labels made durable", registry=REGISTRY)
NOT_CAPTURED = Counter(
    "inkloop_not_captured", "Answers and labels not captured, by reason", ["reason"], registry=REGISTRY
)
WAITING = Gauge(
    "inkloop_capture_waiting_bytes",
    "Bytes of the segments that are not in the store yet",
    registry=REGISTRY,
    multiprocess_mode="livemax",
)
FEEDBACK = Counter("inkloop_feedback", "Corrections that were kept", registry=REGISTRY)

ModelLabel = tuple[str, str]  # version and kind


def label(recognizer: Recognizer) -> ModelLabel:
    """How a model is named in the metrics."""
    return recognizer.version, recognizer.info.kind


class Models:
    """The models that answer now, for they alone: with several workers, a gauge would go on naming those of before."""

    def __init__(self) -> None:
        self.champion: ModelLabel | None = None
        self.challenger: ModelLabel | None = None

    def collect(self) -> Iterator[Metric]:
        """For Prometheus: 1 for each model there is, by name."""
        for name, role, model in (
            ("inkloop_model_info", "champion", self.champion),
            ("inkloop_challenger_info", "challenger", self.challenger),
        ):
            gauge = GaugeMetricFamily(name, f"1 for the version of the {role}", labels=["version", "kind"])
            if model is not None:
                gauge.add_metric(model, 1)
            yield gauge


MODELS = Models()


def latest() -> bytes:
    """All metrics in Prometheus' text format; with several workers, of all of them together."""
    if "PROMETHEUS_MULTIPROC_DIR" not in os.environ:
        return generate_latest(REGISTRY) + generate_latest(MODELS)
    together = CollectorRegistry()
    multiprocess.MultiProcessCollector(together)  # type: ignore[no-untyped-call]
    return generate_latest(together) + generate_latest(MODELS)


class Observed:
    """ASGI middleware that counts and times the requests; a path not in `paths` counts as `other`."""

    def __init__(self, app: ASGIApp, paths: frozenset[str]) -> None:
        self.app = app
        self.paths = paths

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass the request on and note its path, status and time."""
        if scope["type"] != "http":
            return await self.app(scope, receive, send)
        start = time.perf_counter()
        status = 500

        async def noting_send(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
            await send(message)

        try:
            await self.app(scope, receive, noting_send)
        finally:
            path = scope["path"] if scope["path"] in self.paths else "other"
            _requests(path, status).inc()
            _latency(path).observe(time.perf_counter() - start)
        return None


# Finding a metric by its labels takes longer than counting.
@cache
def _requests(path: str, status: int) -> Counter:
    return REQUESTS.labels(path, status)


@cache
def _latency(path: str) -> Histogram:
    return LATENCY.labels(path)


@cache
def answers(label: int) -> Counter:
    """Answers of this label."""
    return ANSWERS.labels(label)


@cache
def answers_by_model(version: str) -> Counter:
    """Answers of the model of this version."""
    return ANSWERS_BY_MODEL.labels(version)
