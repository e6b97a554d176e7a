"""The registry: published models and the one pointer to the champion, swapped by compare-and-swap."""

import secrets
import shutil
import tempfile
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from infra.storage import MANIFEST, Conflict, Missing, Store
from inkloop import artifacts
from inkloop.errors import UserError
from inkloop.settings import Settings

CHAMPION = "registry/champion.json"
STORE_ID = "registry/store-id"


class Champion(Settings):
    """The model that answers: its digest, since when (UTC), by which decision, and the digest of the one before."""

    number: int  # of swaps up to this one, counted from 1
    digest: str
    version: str  # the start of the digest, as every answer carries it
    since: datetime
    decision: dict[str, Any]
    previous: str | None


def champion(store: Store) -> Champion | None:
    """The champion now, None before the first promotion."""
    return _pointer(store)[0]


def reigning(store: Store) -> Champion:
    """The champion now. Raises UserError before the first promotion."""
    if (current := champion(store)) is None:
        raise UserError(f"no champion in {store} yet: run `make pipeline-run` with this store first.")
    return current


def promote(store: Store, digest: str, decision: dict[str, Any], expected: str | None) -> Champion:
    """Make the published model `digest` the champion, if the champion is still `expected` (None: there is none yet).

    Promoting the champion itself changes nothing, so a step that died after the swap may run again.
    Raises UserError if the model was never published, Conflict if another swap came first.
    """
    current, etag = _pointer(store)
    if current is not None and current.digest == digest:
        return current
    if not store.exists(f"{_place(digest)}/{MANIFEST}"):
        raise UserError(f"model {_short(digest)}: not in the store, so it cannot be champion. Publish it first.")
    if (current.digest if current else None) != expected:
        raise _overtaken(digest, expected, current)
    challenger = Champion(
        number=current.number + 1 if current else 1,
        digest=digest,
        version=version_of(digest),
        since=datetime.now(UTC),
        decision=decision,
        previous=expected,
    )
    if current is not None:
        # Kept before the swap, not after: whoever dies in between, or loses the race, has written the same bytes.
        store.put(_record(current), _json(current))
    try:
        store.put(CHAMPION, _json(challenger), if_match=etag, if_none_match=etag is None)
    except Conflict as conflict:
        raise _overtaken(digest, expected, champion(store)) from conflict
    return challenger


def history(store: Store) -> list[Champion]:
    """Every champion there was, oldest first; the last one is the champion now."""
    current, _ = _pointer(store)
    if current is None:
        return []
    records = (Champion.model_validate_json(store.get(key)) for key in store.list("registry/history/"))
    return [*(record for record in records if record.number < current.number), current]


def publish(store: Store, folder: Path) -> str:
    """Upload a model directory, unless it is there already. Returns its digest, under which it is found."""
    digest = artifacts.digest(folder)
    if not store.exists(f"{_place(digest)}/{MANIFEST}"):
        store.upload(folder, _place(digest))
    return digest


def fetch(store: Store, digest: str, folder: Path) -> None:
    """Download a published model directory to `folder`, whole and with the right digest, or not at all.

    Raises Missing if it was never published, UserError if what the store holds is another model.
    """
    folder.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=f".{folder.name}.", dir=folder.parent) as scratch:
        unproven = Path(scratch) / folder.name
        store.download(_place(digest), unproven)
        if (found := artifacts.digest(unproven)) != digest:
            raise UserError(
                f"{_place(digest)}: the store holds {_short(found)} there instead. Delete it and publish again."
            )
        shutil.rmtree(folder, ignore_errors=True)
        unproven.rename(folder)


def version_of(digest: str) -> str:
    """The short name of a model, as its answers carry it."""
    return digest[:12]


def store_id(store: Store) -> str:
    """The store's own random name, made at first use: a store that was wiped is another store."""
    try:
        return store.get(STORE_ID).decode()
    except Missing:
        pass
    made = secrets.token_hex(8)
    try:
        store.put(STORE_ID, made.encode(), if_none_match=True)
    except Conflict:
        return store.get(STORE_ID).decode()
    return made


def _pointer(store: Store) -> tuple[Champion | None, str | None]:
    try:
        content, etag = store.get_with_etag(CHAMPION)
    except Missing:
        return None, None
    return Champion.model_validate_json(content), etag


def _overtaken(digest: str, expected: str | None, current: Champion | None) -> Conflict:
    then, now = _short(expected), _short(current.digest if current else None)
    return Conflict(
        f"{CHAMPION}: {_short(digest)} was judged against champion {then}, but the champion is {now} now. "
        "Run the pipeline again to judge it anew."
    )


def _short(digest: str | None) -> str:
    return version_of(digest) if digest else "none"


def _record(past: Champion) -> str:
    return f"registry/history/{past.number:08}.json"


def _place(digest: str) -> str:
    return f"models/{digest}"


def _json(pointer: Champion) -> bytes:
    return pointer.model_dump_json(indent=2).encode()
