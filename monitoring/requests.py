"""Requests for a retraining: who asked and why, kept for good; the watch takes them up when it looks next.

A request is one object, and that it was taken up is another beside it: nothing is ever changed or removed, so whoever
dies in between leaves a request that waits still.
"""

import secrets
from datetime import UTC, datetime

from infra.storage import Conflict, Store
from inkloop.errors import UserError
from inkloop.settings import Settings

FOLDER = "loop/requests/"
ASKED, DONE = ".json", ".done"


class Request(Settings):
    """What someone asked for. Its id sorts by time; `at` is UTC."""

    id: str
    at: datetime
    by: str  # the name of a key
    why: str


def ask(store: Store, by: str, why: str, now: datetime) -> Request:
    """Leave a request. Raises UserError if no reason is given."""
    if not why.strip():
        raise UserError("retrain: no reason given. Say why; it is kept.")
    # Two who ask at the same moment are two requests.
    new_id = f"{now.astimezone(UTC):%Y%m%dT%H%M%S.%fZ}-{secrets.token_hex(4)}"
    request = Request(id=new_id, at=now, by=by, why=why.strip())
    store.put(f"{FOLDER}{new_id}{ASKED}", request.model_dump_json(indent=1).encode(), if_none_match=True)
    return request


def pending(store: Store) -> list[Request]:
    """Those that nobody has taken up yet, oldest first."""
    asked, done_with = _names(store)
    return [_read(store, name) for name in asked if name not in done_with]


def answered(store: Store, newest: int) -> list[tuple[Request, str]]:
    """Those asked last that wait no longer, at most so many, oldest first; with what became of each."""
    asked, done_with = _names(store)
    names = [name for name in asked if name in done_with]
    return [(_read(store, name), store.get(name + DONE).decode()) for name in names[max(0, len(names) - newest) :]]


def done(store: Store, request: Request, outcome: str = "") -> None:
    """Have it wait no longer, and say what became of it; that it was asked stays. What is said first holds."""
    try:
        store.put(f"{FOLDER}{request.id}{DONE}", outcome.encode(), if_none_match=True)
    except Conflict:
        return


def _names(store: Store) -> tuple[list[str], set[str]]:
    """The keys without their ending: of all requests, oldest first, and of those that are done."""
    keys = store.list(FOLDER)
    asked = [key.removesuffix(ASKED) for key in keys if key.endswith(ASKED)]
    return asked, {key.removesuffix(DONE) for key in keys if key.endswith(DONE)}


def _read(store: Store, name: str) -> Request:
    return Request.model_validate_json(store.get(name + ASKED))
