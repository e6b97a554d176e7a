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
    keys = store.list(FOLDER)
    done = {key.removesuffix(DONE) for key in keys if key.endswith(DONE)}
    waiting = [key for key in keys if key.endswith(ASKED) and key.removesuffix(ASKED) not in done]
    return [Request.model_validate_json(store.get(key)) for key in waiting]


def done(store: Store, request: Request) -> None:
    """Have it wait no longer; that it was asked stays. Saying so twice is saying so once."""
    try:
        store.put(f"{FOLDER}{request.id}{DONE}", b"", if_none_match=True)
    except Conflict:
        return
