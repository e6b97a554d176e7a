"""Who may change something: the owner of an API key; where none was made, whoever asks from this machine."""

import hmac
import logging
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
log = logging.getLogger("inkloop.serving")

FRESH_S = 5.0  # a removed key holds no longer than this


class Keys:
    """The store's keys, read again where they are older than `FRESH_S` and the store can be reached."""

    def __init__(self, store_url: str | None) -> None:
        """store_url: None has no keys, so that only this machine may change something."""
        self._store_url = store_url
        self._known: tuple[ApiKey, ...] = ()
        self._read_at = float("-inf")  # monotonic, so that it is negative until they were read

    async def owner(self, request: Request) -> str:
        """The name of the request's key, or `local`. Raises Problem if the request may change nothing."""
        known = await self._fresh()
        scheme, _, key = request.headers.get("authorization", "").partition(" ")
        if scheme.lower() == "bearer":
            sent = api_keys.hashed(key.strip())
            for each in known:
                if hmac.compare_digest(each.sha256, sent):
                    return each.name
            raise _unknown("This API key is not known here; ask the owner of this server for one.")
        if not known and request.client is not None and request.client.host in LOOPBACK:
            return "local"
        raise _unknown("This needs an API key, sent as the header `Authorization: Bearer KEY`.")

    async def _fresh(self) -> tuple[ApiKey, ...]:
        if self._store_url is not None and time.monotonic() - self._read_at > FRESH_S:
            try:
                self._known = await run_sync(lambda url: api_keys.keys(open_store(url, IMPATIENT)), self._store_url)
                self._read_at = time.monotonic()
            except UserError as error:
                log.warning("API keys cannot be read: %s", error)
                if self._read_at < 0:
                    detail = "The store with the API keys cannot be reached; try again later."
                    raise Problem(HTTPStatus.SERVICE_UNAVAILABLE, detail) from None
        return self._known


def _unknown(detail: str) -> Problem:
    return Problem(HTTPStatus.UNAUTHORIZED, detail, {"www-authenticate": "Bearer"})
