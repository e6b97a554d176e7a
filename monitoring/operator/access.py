"""Who may do what on the operators' page: by API key, from this page alone, not too often."""

import base64
import time
from http import HTTPStatus

from anyio.to_thread import run_sync
from starlette.requests import Request
from starlette.types import ASGIApp, Receive, Scope, Send

from infra import api_keys
from infra.rates import Rates
from infra.storage import Store

PER_S, BURST = 1.0, 20  # keys looked at for one address

UNKNOWN = "This API key is not known here; `make key NAME=...` makes one."


class Refused(Exception):
    """A request that is not answered: an HTTP status and one sentence."""

    def __init__(self, status: HTTPStatus, sentence: str, headers: dict[str, str] | None = None) -> None:
        super().__init__(sentence)
        self.status, self.sentence, self.headers = status, sentence, headers or {}


class Access:
    """Knows the store's keys by asking it each time: one that was removed holds no longer at once."""

    def __init__(self, store: Store) -> None:
        self._store, self._rates = store, Rates(PER_S, BURST)

    async def owner(self, request: Request, key: str, scheme: str = "Bearer") -> str:
        """The name of the key. Raises Refused (401, or 429 to an address that tries too many)."""
        address = request.client.host if request.client else ""
        if wait_s := self._rates.wait_s(address, time.monotonic()):
            headers = {"retry-after": str(max(1, round(wait_s)))}
            raise Refused(HTTPStatus.TOO_MANY_REQUESTS, "Too many keys were tried; wait a few seconds.", headers)
        known = await run_sync(api_keys.keys, self._store)
        if (name := api_keys.owner(known, key)) is None:
            raise Refused(HTTPStatus.UNAUTHORIZED, UNKNOWN, {"www-authenticate": f'{scheme} realm="Inkloop"'})
        return name


class Login:
    """ASGI middleware that asks for a key before anything is shown: as a Bearer, or as the password of any user."""

    def __init__(self, app: ASGIApp, access: Access) -> None:
        self.app, self._access = app, access

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass the request on if it carries a key, in its header."""
        if scope["type"] == "http":
            request = Request(scope)
            await self._access.owner(request, bearer(request) or _password(request), "Basic")
        await self.app(scope, receive, send)


def bearer(request: Request) -> str:
    """The key of the Authorization header, empty if there is none."""
    scheme, _, key = request.headers.get("authorization", "").partition(" ")
    return key.strip() if scheme.lower() == "bearer" else ""


def refuse_other_sites(request: Request) -> None:
    """Let through what the page itself sends, and programs, which name no site. Raises Refused."""
    site, origin = request.headers.get("sec-fetch-site"), request.headers.get("origin")
    host = request.headers.get("host")
    if origin not in (None, f"http://{host}", f"https://{host}") or site not in (None, "same-origin"):
        raise Refused(HTTPStatus.FORBIDDEN, "Another site sent this, so nothing was done. Use the page itself.")


def _password(request: Request) -> str:
    # A browser sends this by itself, so it opens the page and never does anything: see `app._act`.
    scheme, _, encoded = request.headers.get("authorization", "").partition(" ")
    if scheme.lower() != "basic":
        return ""
    try:
        return base64.b64decode(encoded, validate=True).decode().partition(":")[2]
    except ValueError:
        return ""
