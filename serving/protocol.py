"""HTTP as uvicorn speaks it, straight to our app, with limits that it lacks: on a request's time and its headers."""

import os
from http import HTTPStatus
from typing import Any

import uvicorn.protocols.http.auto
from starlette.types import ASGIApp
from uvicorn.middleware.proxy_headers import ProxyHeadersMiddleware
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from serving import problems
from serving.limits import LimitSettings


class LimitedProtocol(HttpToolsProtocol):
    """Hands each request to our app, whatever app the server was given, so that none of that one's routes is reached.

    Refuses, and hangs up on, a client that dribbles its request or sends headers without end.
    """

    limits: LimitSettings
    answering: Any  # the ASGI app

    def __init__(self, *args: Any, **kwargs: Any) -> None:  # noqa: ANN401
        super().__init__(*args, **kwargs)
        self.app = self.answering

    def connection_made(self, transport: Any) -> None:  # noqa: ANN401
        """See `asyncio.Protocol`; the client's time begins."""
        super().connection_made(transport)
        self._awaited_since: float | None = self.loop.time()  # None: nothing is awaited of the client
        self._head_bytes: int | None = 0  # so far; None: the headers are complete
        self._look()

    def data_received(self, data: bytes) -> None:
        """See `asyncio.Protocol`."""
        if self._head_bytes is not None:
            self._head_bytes += len(data)
        super().data_received(data)
        if self._head_bytes is not None and self._head_bytes > self.limits.head_bytes:
            limit = self.limits.head_bytes
            self._hang_up(HTTPStatus.REQUEST_HEADER_FIELDS_TOO_LARGE, f"The headers are over {limit} bytes; send less.")

    def on_message_begin(self) -> None:
        """The first byte of a request came."""
        super().on_message_begin()
        self._awaited_since = self.loop.time()
        self._head_bytes = self._head_bytes or 0

    def on_headers_complete(self) -> None:
        """The headers are there; a body may follow."""
        self._head_bytes = None
        super().on_headers_complete()

    def on_message_complete(self) -> None:
        """The request is there, wholly."""
        self._awaited_since, self._head_bytes = None, 0
        super().on_message_complete()

    def send_400_response(self, msg: str) -> None:
        """Refuse what is not HTTP."""
        self._hang_up(HTTPStatus.BAD_REQUEST, "This is not HTTP that can be understood.")

    def _should_upgrade(self) -> bool:
        return False  # there are no web sockets here, and the server's own app must not be asked for them

    def _look(self) -> None:
        """Hang up if the client is over its time; else look again when it may be."""
        if self.transport.is_closing():
            return
        now, allowed_s = self.loop.time(), self.limits.request_s
        due = allowed_s if self._awaited_since is None else self._awaited_since + allowed_s - now
        if due > 0:
            self.loop.call_later(due, self._look)
        else:
            self._hang_up(HTTPStatus.REQUEST_TIMEOUT, f"The request did not arrive within {allowed_s:g} seconds.")

    def _hang_up(self, status: HTTPStatus, detail: str) -> None:
        if self.transport.is_closing():
            return
        if self.cycle is None or not self.cycle.response_started or self.cycle.response_complete:
            self.transport.write(problems.as_http(status, detail))
        self.transport.close()


def answer_directly(app: ASGIApp, limits: LimitSettings) -> None:
    """Let every server that uvicorn starts in this process answer with this app alone, and keep the limits.

    A proxy at one of the addresses in FORWARDED_ALLOW_IPS is believed who the client is.
    """
    proxies = os.environ.get("FORWARDED_ALLOW_IPS", "127.0.0.1")
    LimitedProtocol.limits, LimitedProtocol.answering = limits, ProxyHeadersMiddleware(app, proxies)  # type: ignore[arg-type]
    uvicorn.protocols.http.auto.AutoHTTPProtocol = LimitedProtocol
