"""API keys of two kinds, for corrections and for operators: made here, shown once, kept as hashes alone."""

import hashlib
import hmac
import secrets
from collections.abc import Iterable
from datetime import UTC, datetime

from pydantic import TypeAdapter

from infra.storage import Missing, Store
from inkloop.errors import UserError
from inkloop.settings import Settings

PLACE = "registry/api-keys.json"


class ApiKey(Settings):
    """Who a key was given to, when (UTC), and its SHA-256, hex: 256 random bits need no slower hash."""

    name: str
    since: datetime
    sha256: str
    operator: bool = False  # may do what the operators' page offers, besides sending corrections


_KEYS = TypeAdapter(tuple[ApiKey, ...])


def keys(store: Store) -> tuple[ApiKey, ...]:
    """All keys that hold."""
    return _read(store)[0]


def add(store: Store, name: str, operator: bool = False) -> str:
    """Make a key for this name and return it: it cannot be had again. Raises UserError if the name has one."""
    known, etag = _read(store)
    if not name.strip():
        raise UserError("no name given for the key: say whose it is, as in make key NAME=ada.")
    if any(key.name == name for key in known):
        remove_it = f".venv/bin/python -m pipeline keys remove {name}"
        raise UserError(f"key {name!r}: there is one of this name. Choose another, or run `{remove_it}` first.")
    key = secrets.token_urlsafe(32)
    made = ApiKey(name=name, since=datetime.now(UTC), sha256=hashed(key), operator=operator)
    _write(store, (*known, made), etag)
    return key


def remove(store: Store, name: str) -> None:
    """Let a key hold no longer. Raises UserError if there is none of this name."""
    known, etag = _read(store)
    if all(key.name != name for key in known):
        raise UserError(f"key {name!r}: there is none. There are: {', '.join(key.name for key in known) or 'none'}.")
    _write(store, tuple(key for key in known if key.name != name), etag)


def find(known: Iterable[ApiKey], key: str) -> ApiKey | None:
    """What is kept of this key, None if it holds no longer or never did."""
    sent = hashed(key.strip())
    return next((each for each in known if hmac.compare_digest(each.sha256, sent)), None)


def hashed(key: str) -> str:
    """What is kept of a key."""
    return hashlib.sha256(key.encode()).hexdigest()


def _read(store: Store) -> tuple[tuple[ApiKey, ...], str | None]:
    try:
        content, etag = store.get_with_etag(PLACE)
    except Missing:
        return (), None
    return _KEYS.validate_json(content), etag


def _write(store: Store, known: tuple[ApiKey, ...], etag: str | None) -> None:
    store.put(PLACE, _KEYS.dump_json(known, indent=2), if_match=etag, if_none_match=etag is None)
