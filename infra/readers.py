"""The pointers to the models that read what the champion does not: pen strokes, and lines. One of each, or none."""

from datetime import UTC, datetime
from typing import Literal, get_args

from infra import registry, signing
from infra.storage import Missing, Store
from inkloop.errors import UserError
from inkloop.settings import Settings

Kind = Literal["pen", "line"]  # of model, as `inkloop.artifacts` has it
KINDS: tuple[Kind, ...] = get_args(Kind)
READS: dict[Kind, str] = {"pen": "pen strokes", "line": "lines"}


class Appointed(Settings):
    """A model that reads pen strokes or lines: its digest, since when (UTC) and by whom."""

    digest: str
    since: datetime
    by: str


def appointed(store: Store, kind: Kind) -> Appointed | None:
    """The model that reads this now; None if none does: the champion reads strokes then, as pictures; lines nobody."""
    try:
        return Appointed.model_validate_json(store.get(_place(kind)))
    except Missing:
        return None


def appoint(store: Store, kind: Kind, digest: str, by: str) -> Appointed:
    """Have a published model read strokes or lines, in place of the one before.

    Raises UserError if it is of another kind or is signed by nobody trusted, Missing if it was never published.
    """
    if (found := registry.kind_of(store, digest)) != kind:
        raise UserError(f"model {registry.version_of(digest)}: a {found}, which does not read {READS[kind]}.")
    signing.require_trusted(store, digest)
    chosen = Appointed(digest=digest, since=datetime.now(UTC), by=by)
    store.put(_place(kind), chosen.model_dump_json(indent=2).encode())
    return chosen


def dismiss(store: Store, kind: Kind) -> None:
    """Have it read nothing any longer; dismissing twice is dismissing once."""
    store.delete(_place(kind))


def _place(kind: Kind) -> str:
    return f"registry/{kind}.json"
