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

    Refuses, and hangs up on, a client that dribbles its request or sends headers without end; cuts off one that does
    not take its answer.
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
        self._untaken_since: float | None = None  # None: the network's buffers hold all that the client has yet to take
        self._look()

    def connection_lost(self, exc: Exception | None) -> None:
        """See `asyncio.Protocol`."""
        self._next_look.cancel()
        super().connection_lost(exc)

    def eof_received(self) -> bool:  # type: ignore[override]
        """A client that has said all it wants to say is answered all the same, and then hung up on."""
        is_owed = self.cycle is not None and not self.cycle.response_complete and self._awaited_since is None
        if is_owed:
            self.cycle.keep_alive = False
        return is_owed

    def pause_writing(self) -> None:
        """See `asyncio.Protocol`."""
        super().pause_writing()
        self._untaken_since = self.loop.time()

    def resume_writing(self) -> None:
        """See `asyncio.Protocol`."""
        super().resume_writing()
        self._untaken_since = None

    def data_received(self, data: bytes) -> None:
        """See `asyncio.Protocol`."""
        if self._head_bytes is not None:
            self._head_bytes += len(data)
        super().data_received(data)
        if self._head_bytes is not None and self._head_bytes > self.limits.head_bytes:
            self._refuse_head()

    def on_message_begin(self) -> None:
        """The first byte of a request came."""
        super().on_message_begin()
        self._awaited_since = self.loop.time()
        self._head_bytes = self._head_bytes or 0

    def on_headers_complete(self) -> None:
        """The headers are there; a body may follow."""
        self._head_bytes = None
        # A head that came all at once was not counted on its way.
        if len(self.url) + sum(len(name) + len(value) for name, value in self.headers) > self.limits.head_bytes:
            self._refuse_head()
            raise ValueError("the parser goes no further")
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
        """Hang up if the client is over its time to ask, cut it off if it is over that to listen; look again."""
        now, limits = self.loop.time(), self.limits
        if self.transport.is_closing() and self._untaken_since is None:
            self._untaken_since = now  # it closes once what is left was taken
        if self._untaken_since is not None:
            due = self._untaken_since + limits.answer_s - now
            if due <= 0:
                self.transport.abort()
        else:
            due = (now if self._awaited_since is None else self._awaited_since) + limits.request_s - now
            if due <= 0:
                detail = f"The request did not arrive within {limits.request_s:g} seconds."
                self._hang_up(HTTPStatus.REQUEST_TIMEOUT, detail)
        self._next_look = self.loop.call_later(min(due, limits.request_s) if due > 0 else limits.answer_s, self._look)

    def _refuse_head(self) -> None:
        detail = f"The headers are over {self.limits.head_bytes} bytes; send less."
        self._hang_up(HTTPStatus.REQUEST_HEADER_FIELDS_TOO_LARGE, detail)

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
