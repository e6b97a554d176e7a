"""Errors as RFC 9457 problem details: one shape for all of them."""

import logging
from http import HTTPStatus

import orjson
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response

log = logging.getLogger("inkloop.serving")

MEDIA_TYPE = "application/problem+json"


class Problem(Exception):
    """A request that cannot be answered: an HTTP status and one sentence on what is wrong and what to send instead."""

    def __init__(self, status: HTTPStatus, detail: str, headers: dict[str, str] | None = None) -> None:
        super().__init__(detail)
        self.status = status
        self.detail = detail
        self.headers = headers


def response(status: HTTPStatus, detail: str, headers: dict[str, str] | None = None) -> Response:
    """Problem details of the generic type `about:blank`, whose title is the status' own name."""
    return Response(_body(status, detail), status, headers, media_type=MEDIA_TYPE)


def as_http(status: HTTPStatus, detail: str) -> bytes:
    """Problem details as the last bytes of an HTTP/1.1 connection, for what never became a request."""
    body = _body(status, detail)
    head = f"HTTP/1.1 {status.value} {status.phrase}\r\ncontent-type: {MEDIA_TYPE}\r\n"
    return f"{head}content-length: {len(body)}\r\nconnection: close\r\n\r\n".encode() + body


def _body(status: HTTPStatus, detail: str) -> bytes:
    return orjson.dumps({"type": "about:blank", "title": status.phrase, "status": status.value, "detail": detail})


async def on_problem(_: Request, problem: Exception) -> Response:
    """Answer a Problem."""
    assert isinstance(problem, Problem)
    return response(problem.status, problem.detail, problem.headers)


async def on_http_exception(request: Request, error: Exception) -> Response:
    """Answer what the router raises: an unknown path, a wrong method."""
    assert isinstance(error, HTTPException)
    status = HTTPStatus(error.status_code)
    detail = {
        HTTPStatus.NOT_FOUND: "There is nothing at this path; /docs lists what there is.",
        HTTPStatus.METHOD_NOT_ALLOWED: f"This path does not answer {request.method}; see the Allow header.",
    }.get(status, error.detail)
    return response(status, detail, dict(error.headers or {}))


async def on_crash(request: Request, error: Exception) -> Response:
    """Answer an error of ours without giving away its inside; the log has it."""
    log.error("%s %s failed", request.method, request.url.path, exc_info=error)
    return response(HTTPStatus.INTERNAL_SERVER_ERROR, "The server failed on this request; its log says why.")
