"""Persons whose digits are kept: known by a keyed hash alone, and forgotten for good when they ask."""

import hmac
import secrets
from datetime import UTC, datetime, timedelta

from pydantic import Field

from infra.storage import Conflict, Missing, Store
from inkloop.settings import Settings

SECRET = "privacy/secret"
FORGOTTEN = "privacy/forgotten.json"
PSEUDONYM_BYTES = 16
LONGEST_WAIT = timedelta(days=90)  # of a segment on a server that is away


class Forgotten(Settings):
    """Whom to forget: for each pseudonym (hex), up to when. And how many rows were removed so far, of all persons."""

    until: dict[str, datetime] = Field(default_factory=dict)
    rows_removed: int = 0


def secret(store: Store) -> bytes:
    """The key of the pseudonyms, made at first use; who deletes it makes all persons unknown for good."""
    return store.get_or_put(SECRET, secrets.token_bytes(32))


def pseudonym(key: bytes, person: str) -> bytes:
    """The 16 bytes a person is known by; without the store's secret nobody can tell who that is."""
    return hmac.digest(key, person.strip().encode(errors="surrogateescape"), "sha256")[:PSEUDONYM_BYTES]


def forgotten(store: Store) -> Forgotten:
    """Whom to leave out of what is stored from now on."""
    return _read(store)[0]


def suppress(store: Store, who: str, now: datetime) -> None:
    """Note that what this pseudonym (hex) wrote up to now is to be left out of whatever is stored later."""
    _change(store, {who: now}, 0)


def count_removed(store: Store, rows: int) -> None:
    """Add to the number of rows removed, which says nothing about whose they were."""
    _change(store, {}, rows)


def drop_older(store: Store, than: timedelta) -> None:
    """Drop the pseudonyms that were to be left out before that, once nothing of theirs can still be on its way."""
    limit = datetime.now(UTC) - max(than, LONGEST_WAIT)
    if any(until < limit for until in forgotten(store).until.values()):
        _change(store, {}, 0, limit)


def _change(store: Store, until: dict[str, datetime], rows: int, oldest: datetime | None = None) -> None:
    while True:
        before, etag = _read(store)
        merged = {who: when for who, when in {**before.until, **until}.items() if oldest is None or when >= oldest}
        after = Forgotten(until=merged, rows_removed=before.rows_removed + rows)
        if after == before:
            return
        try:
            store.put(FORGOTTEN, after.model_dump_json(indent=1).encode(), if_match=etag, if_none_match=etag is None)
        except Conflict:
            continue  # someone else is forgotten at the same moment
        return


def _read(store: Store) -> tuple[Forgotten, str | None]:
    try:
        content, etag = store.get_with_etag(FORGOTTEN)
    except Missing:
        return Forgotten(), None
    return Forgotten.model_validate_json(content), etag
