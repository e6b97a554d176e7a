"""The operators' page: one HTML page drawn by the server, and three forms that change something."""

import logging
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime
from http import HTTPStatus
from pathlib import Path
from urllib.parse import parse_qsl

from anyio.to_thread import run_sync
from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.middleware import Middleware
from starlette.middleware.trustedhost import TrustedHostMiddleware
from starlette.requests import Request
from starlette.responses import FileResponse, HTMLResponse, PlainTextResponse, RedirectResponse, Response
from starlette.routing import Mount, Route

from infra.storage import Conflict, Store
from inkloop.errors import UserError
from monitoring.operator import actions, page
from monitoring.operator.access import Access, Login, Refused, bearer, refuse_other_sites
from monitoring.operator.overview import look
from monitoring.operator.page import Said

log = logging.getLogger(__name__)

LOCAL_NAMES = ["127.0.0.1", "localhost", "[::1]"]
LARGEST_FORM = 16 * 1024  # bytes
FORM = "application/x-www-form-urlencoded"
HEADERS = {
    "content-security-policy": "default-src 'none'; style-src 'self'; script-src 'self'; img-src 'self' data:; "
    "form-action 'self'; base-uri 'none'; frame-ancestors 'none'",
    "x-content-type-options": "nosniff",
    # Not `no-referrer`: forms would then be sent with `Origin: null`, as if by another site.
    "referrer-policy": "same-origin",
    "cache-control": "no-store",
}
FILES = {"style.css": "text/css", "refresh.js": "text/javascript"}

Fields = dict[str, str]
Action = Callable[[Store, str, Fields], None]

ACTIONS: dict[str, Action] = {
    "retrain": lambda store, by, form: actions.retrain(store, by, form.get("why", "")),
    "promote": lambda store, by, form: actions.promote(
        store, by, form.get("why", ""), form.get("version", ""), form.get("expected", "")
    ),
    "rollback": lambda store, by, form: actions.roll_back(store, by, form.get("why", ""), form.get("expected", "")),
}


def create_app(store: Store, local: bool) -> Starlette:
    """The app. local: it listens on this machine alone, where reading needs no key; elsewhere everything does."""
    access = Access(store)

    async def act(request: Request) -> Response:
        refuse_other_sites(request)
        form, name = await _fields(request), request.url.path.strip("/")
        try:
            by = await access.operator(request, bearer(request) or form.get("key", "").strip())
            await run_sync(ACTIONS[name], store, by, form)
        except Refused as refused:
            return await _answer(request, store, refused.status, refused.sentence, refused.headers, name, form)
        except UserError as error:
            status = HTTPStatus.CONFLICT if isinstance(error, Conflict) else HTTPStatus.UNPROCESSABLE_ENTITY
            return await _answer(request, store, status, str(error), {}, name, form)
        log.warning("%s by %s: %s", name, by, " ".join(form.get("why", "").split()))
        return RedirectResponse(f"./?done={name}", HTTPStatus.SEE_OTHER, HEADERS)

    async def show(request: Request) -> Response:
        span, done = request.query_params.get("span", "all"), request.query_params.get("done", "")
        return await _page(store, HTTPStatus.OK, {}, Said(done=done), span)

    routes = [
        Route("/", show),
        *(Route(f"/{name}", act, methods=["POST"]) for name in ACTIONS),
        *(Route(f"/{name}", _file(name, media_type)) for name, media_type in FILES.items()),
    ]
    # Elsewhere no name has to be checked: a browser sends the key to the site that asked for it, and to no other.
    guard = (
        Middleware(TrustedHostMiddleware, allowed_hosts=LOCAL_NAMES, www_redirect=False)
        if local
        else Middleware(Login, access=access)
    )
    return Starlette(
        routes=[Mount("/", routes=routes, middleware=[guard])],
        exception_handlers={
            Refused: _on_refused,
            UserError: _on_unreadable,
            ValueError: _on_unreadable,
            HTTPException: _on_http_exception,
        },
    )


async def _answer(
    request: Request, store: Store, status: HTTPStatus, sentence: str, headers: Fields, tried: str, form: Fields
) -> Response:
    """What went wrong: to a person on the page, with what was typed but the key; to a program as the sentence alone."""
    if "text/html" not in request.headers.get("accept", ""):
        return PlainTextResponse(f"{sentence}\n", status, {**HEADERS, **headers})
    typed = {name: value for name, value in form.items() if name != "key"}
    return await _page(store, status, headers, Said(alert=sentence, form=tried, fields=typed))


async def _page(store: Store, status: HTTPStatus, headers: Fields, said: Said, span: str = "all") -> Response:
    overview = await run_sync(look, store, datetime.now(UTC))
    return HTMLResponse(page.render(overview, span, said), status, {**HEADERS, **headers})


async def _fields(request: Request) -> Fields:
    """What the form holds. Raises Refused if it is none, or too long."""
    if request.headers.get("content-type", "").partition(";")[0].strip().lower() != FORM:
        raise Refused(HTTPStatus.UNSUPPORTED_MEDIA_TYPE, f"Send a form ({FORM}).")
    body = b""
    async for part in request.stream():
        body += part
        if len(body) > LARGEST_FORM:
            raise Refused(HTTPStatus.REQUEST_ENTITY_TOO_LARGE, f"A form holds at most {LARGEST_FORM} bytes.")
    return dict(parse_qsl(body.decode(errors="replace"), keep_blank_values=True))


def _file(name: str, media_type: str) -> Callable[[Request], Awaitable[Response]]:
    async def answer(_: Request) -> Response:
        return FileResponse(Path(__file__).with_name(name), headers=HEADERS, media_type=media_type)

    return answer


async def _on_refused(_: Request, error: Exception) -> Response:
    assert isinstance(error, Refused)
    return PlainTextResponse(f"{error.sentence}\n", error.status, {**HEADERS, **error.headers})


async def _on_unreadable(_: Request, error: Exception) -> Response:
    """The store is away, or holds what this version cannot read."""
    log.error("the store cannot be shown: %s", error)
    return PlainTextResponse(f"The store cannot be shown: {error}\n", HTTPStatus.SERVICE_UNAVAILABLE, HEADERS)


async def _on_http_exception(_: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)
    status = HTTPStatus(error.status_code)
    return PlainTextResponse(f"{status.phrase}. The page is at /.\n", status, {**HEADERS, **(error.headers or {})})
