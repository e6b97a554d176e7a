"""Who may change something: the owner of an API key of any kind; where none was made, who asks from this machine."""

import logging
import re
import time
from http import HTTPStatus

from anyio.to_thread import run_sync
from starlette.requests import Request

from infra import api_keys
from infra.api_keys import ApiKey
from infra.storage import IMPATIENT, open_store
from inkloop.errors import UserError
from serving.problems import Problem

LOOPBACK = frozenset({"127.0.0.1", "::1"})
OURSELVES = re.compile(r"(localhost|127\.0\.0\.1|\[::1\])(:\d+)?", re.IGNORECASE)
log = logging.getLogger("inkloop.serving")

FRESH_S = 5.0  # a removed key holds no longer than this


class Keys:
    """The store's keys, read again where they are older than `FRESH_S` and the store can be reached."""

    def __init__(self, store_url: str | None) -> None:
        """store_url: None has no keys, so that only this machine may change something."""
        self._store_url = store_url
        self._known: tuple[ApiKey, ...] | None = () if store_url is None else None  # None: not read yet
        self._tried_at = float("-inf")  # monotonic
        self._is_reading = False

    async def owner(self, request: Request) -> str:
        """The name of the request's key, or `local`. Raises Problem if the request may change nothing."""
        known = await self._fresh()
        scheme, _, key = request.headers.get("authorization", "").partition(" ")
        if scheme.lower() == "bearer":
            if (found := api_keys.find(known, key)) is not None:
                return found.name
            raise _unknown("This API key is not known here; ask the owner of this server for one.")
        if not known and _is_local(request):
            return "local"
        raise _unknown("This needs an API key, sent as the header `Authorization: Bearer KEY`.")

    async def _fresh(self) -> tuple[ApiKey, ...]:
        # A store that hangs must not keep everyone waiting: one asks it, the others go by what is known.
        is_due = time.monotonic() - self._tried_at > FRESH_S and (self._known is None or not self._is_reading)
        if self._store_url is not None and is_due:
            await self._read(self._store_url)
        if self._known is None:
            detail = "The store with the API keys cannot be reached; try again later."
            raise Problem(HTTPStatus.SERVICE_UNAVAILABLE, detail)
        return self._known

    async def _read(self, store_url: str) -> None:
        self._is_reading = True
        try:
            self._known = await run_sync(lambda: api_keys.keys(open_store(store_url, IMPATIENT)))
        except (UserError, ValueError) as error:
            log.warning("API keys cannot be read: %s", error)
        finally:
            self._tried_at, self._is_reading = time.monotonic(), False


def _is_local(request: Request) -> bool:
    # By the name it asks for, too: a web page whose own name was made to lead here (DNS rebinding) asks for that one.
    named = OURSELVES.fullmatch(request.headers.get("host", "localhost"))
    return request.client is not None and request.client.host in LOOPBACK and named is not None


def _unknown(detail: str) -> Problem:
    return Problem(HTTPStatus.UNAUTHORIZED, detail, {"www-authenticate": "Bearer"})
