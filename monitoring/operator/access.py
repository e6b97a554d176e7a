"""Who may do what on the operators' page: by an operator's key, from this page alone, without guessing."""

import base64
import time
from http import HTTPStatus

from anyio.to_thread import run_sync
from starlette.requests import Request
from starlette.types import ASGIApp, Receive, Scope, Send

from infra import api_keys
from infra.api_keys import ApiKey
from infra.rates import Rates
from infra.storage import Store

PER_S, BURST = 1.0, 20  # wrong keys looked at for one address

MAKE_ONE = "`make key NAME=... OPERATOR=1` makes an operator's."
MISSING = f"The API key is missing; {MAKE_ONE}"
UNKNOWN = f"This API key is not known here; {MAKE_ONE}"
NONE_MADE = "No operator's API key was made for this store yet; `make key NAME=... OPERATOR=1` makes one."
FOR_CORRECTIONS = (
    "The API key of {name} is for corrections alone, as are all from before there were operators' keys; " + MAKE_ONE
)


class Refused(Exception):
    """A request that is not answered: an HTTP status and one sentence."""

    def __init__(self, status: HTTPStatus, sentence: str, headers: dict[str, str] | None = None) -> None:
        super().__init__(sentence)
        self.status, self.sentence, self.headers = status, sentence, headers or {}


class Access:
    """Knows the store's keys by asking it each time: one that was removed holds no longer at once."""

    def __init__(self, store: Store) -> None:
        self._store, self._rates = store, Rates(PER_S, BURST)
        self._operators: tuple[ApiKey, ...] = ()  # as of the last time that the store was asked

    async def operator(self, request: Request, key: str, scheme: str = "Bearer") -> str:
        """The name of the operator whose key this is. Raises Refused (401, 403, or 429 after too many wrong keys)."""
        address = request.client.host if request.client else ""
        wait_s = self._rates.wait_s(address, time.monotonic())
        # Who guesses must shut nobody out who has the same address, nor keep the store busy.
        if wait_s and api_keys.find(self._operators, key) is None:
            raise _too_many(wait_s) if key else _unauthorized(MISSING, scheme)
        known = await run_sync(api_keys.keys, self._store)
        self._operators = tuple(each for each in known if each.operator)
        if (operator := api_keys.find(self._operators, key)) is None:
            raise self._refusal(key, api_keys.find(known, key), scheme)
        if not wait_s:
            self._rates.give_back(address)
        return operator.name

    def _refusal(self, key: str, found: ApiKey | None, scheme: str) -> Refused:
        if found is not None:
            sentence = FOR_CORRECTIONS.format(name=found.name)
            return _unauthorized(sentence, scheme) if scheme == "Basic" else Refused(HTTPStatus.FORBIDDEN, sentence)
        if not self._operators:
            return _unauthorized(NONE_MADE, scheme)
        return _unauthorized(UNKNOWN if key else MISSING, scheme)


class Login:
    """ASGI middleware that asks for an operator's key before it shows anything: as a Bearer, or any user's password."""

    def __init__(self, app: ASGIApp, access: Access) -> None:
        self.app, self._access = app, access

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass the request on if its header carries such a key."""
        if scope["type"] == "http":
            request = Request(scope)
            await self._access.operator(request, bearer(request) or _password(request), "Basic")
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


def _unauthorized(sentence: str, scheme: str) -> Refused:
    # A browser asks for a key, or for another one, after this status alone.
    return Refused(HTTPStatus.UNAUTHORIZED, sentence, {"www-authenticate": f'{scheme} realm="Inkloop"'})


def _too_many(wait_s: float) -> Refused:
    headers = {"retry-after": str(max(1, round(wait_s)))}
    sentence = "Too many wrong keys came from this address; wait a few seconds."
    return Refused(HTTPStatus.TOO_MANY_REQUESTS, sentence, headers)


def _password(request: Request) -> str:
    # A browser sends this by itself, so it opens the page and never does anything: see `app._act`.
    scheme, _, encoded = request.headers.get("authorization", "").partition(" ")
    if scheme.lower() != "basic":
        return ""
    try:
        return base64.b64decode(encoded, validate=True).decode().partition(":")[2]
    except ValueError:
        return ""
