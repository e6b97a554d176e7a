"""The pointer to the model that reads pen strokes, beside the one to the champion, which reads pictures."""

from datetime import UTC, datetime

from infra import registry, signing
from infra.storage import Missing, Store
from inkloop.errors import UserError
from inkloop.settings import Settings

PEN = "registry/pen.json"


class Appointed(Settings):
    """The model that reads pen strokes: its digest, since when (UTC) and by whom."""

    digest: str
    since: datetime
    by: str


def appointed(store: Store) -> Appointed | None:
    """The model that reads pen strokes now; None if the champion reads them, as pictures."""
    try:
        return Appointed.model_validate_json(store.get(PEN))
    except Missing:
        return None


def appoint(store: Store, digest: str, by: str) -> Appointed:
    """Have a published model read pen strokes, in place of the one before.

    Raises UserError if it reads pictures or is signed by nobody trusted, Missing if it was never published.
    """
    if (kind := registry.kind_of(store, digest)) != "pen":
        raise UserError(f"model {registry.version_of(digest)}: a {kind}, which reads pictures. Name one of strokes.")
    signing.require_trusted(store, digest)
    chosen = Appointed(digest=digest, since=datetime.now(UTC), by=by)
    store.put(PEN, chosen.model_dump_json(indent=2).encode())
    return chosen


def dismiss(store: Store) -> None:
    """Have strokes read as pictures again, by the champion; dismissing twice is dismissing once."""
    store.delete(PEN)
