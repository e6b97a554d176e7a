"""What one client may ask of the server: how much, how slowly, how often."""

import time
from http import HTTPStatus

from pydantic import NonNegativeFloat, PositiveFloat, PositiveInt
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from infra.rates import Rates
from inkloop.settings import Settings
from serving import problems

PREFIX = "INKLOOP_LIMIT_"  # of the variables that change these settings


class LimitSettings(Settings):
    """Limits that hold for each client; from the environment, as INKLOOP_LIMIT_REQUEST_S=5."""

    request_s: PositiveFloat = 15.0  # from the connection, or a request's first byte, to the request's last byte
    answer_s: PositiveFloat = 60.0  # to take an answer that the network's buffers do not hold
    held_mib: PositiveFloat = 256.0  # bodies of all requests that are not answered yet, together
    head_bytes: PositiveInt = 16 * 1024  # of the request line and the headers
    requests_per_s: NonNegativeFloat = 0.0  # from one address, lasting; 0 = as many as it likes
    burst: PositiveInt = 100  # requests from one address at once, before that counts


class RateLimited:
    """ASGI middleware that answers 429 to the client that asks too often; probes and metrics are not counted."""

    FREE = frozenset({"/healthz", "/livez", "/readyz", "/metrics"})

    def __init__(self, app: ASGIApp, settings: LimitSettings) -> None:
        self.app = app
        self._rates = Rates(settings.requests_per_s, settings.burst)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass the request on, or refuse it and say when to come again."""
        if scope["type"] == "http" and scope["path"] not in self.FREE:
            address = scope["client"][0] if scope.get("client") else ""
            if wait_s := self._rates.wait_s(address, time.monotonic()):
                detail = f"Too many requests from {address}; come again in {wait_s:.2f} seconds."
                headers = {"retry-after": str(max(1, round(wait_s)))}
                refused = problems.response(HTTPStatus.TOO_MANY_REQUESTS, detail, headers)
                return await refused(scope, receive, send)
        return await self.app(scope, receive, send)


class Bounded:
    """ASGI middleware that bounds what the bodies of all requests take together; a large one beyond that gets a 503."""

    SMALL = 64 * 1024  # bytes of a body that is never refused: pixels and strokes go on beside a flood of pictures

    def __init__(self, app: ASGIApp, settings: LimitSettings) -> None:
        self.app = app
        self._held, self._most = 0, int(settings.held_mib * 2**20)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass the request on, counting its body until it is answered."""
        held = 0

        async def counted() -> Message:
            nonlocal held
            message = await receive()
            size = len(message.get("body", b""))
            if held + size > self.SMALL and self._held + size > self._most:
                detail = "The server is busy with other clients' pictures; come again in a second."
                raise problems.Problem(HTTPStatus.SERVICE_UNAVAILABLE, detail, {"retry-after": "1"})
            held += size
            self._held += size
            return message

        try:
            await self.app(scope, counted, send)
        finally:
            self._held -= held
