"""What Prometheus may ask: requests by path and status, their latency, answers by label, the model that answers."""

import os
import time

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest, multiprocess
from starlette.types import ASGIApp, Message, Receive, Scope, Send

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
MODEL = Gauge(
    "inkloop_model_info",
    "1 for the version of the model that answers",
    ["version", "kind"],
    registry=REGISTRY,
    multiprocess_mode="livemax",
)


def latest() -> bytes:
    """All metrics in Prometheus' text format; with several workers, of all of them together."""
    if "PROMETHEUS_MULTIPROC_DIR" not in os.environ:
        return generate_latest(REGISTRY)
    together = CollectorRegistry()
    multiprocess.MultiProcessCollector(together)  # type: ignore[no-untyped-call]
    return generate_latest(together)


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
            REQUESTS.labels(path, status).inc()
            LATENCY.labels(path).observe(time.perf_counter() - start)
        return None
