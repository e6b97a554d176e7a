"""The registry: published models and the one pointer to the champion, swapped by compare-and-swap."""

import re
import secrets
import shutil
import tempfile
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from infra import signing
from infra.storage import MANIFEST, Conflict, Missing, Store
from inkloop import artifacts
from inkloop.errors import UserError
from inkloop.settings import Settings

CHAMPION = "registry/champion.json"
STORE_ID = "registry/store-id"
SERVED: tuple[artifacts.Kind, ...] = ("student", "pruned", "int8")


class RolledBack(Settings):
    """A champion that was taken back, when (UTC), why and by whom."""

    digest: str
    since: datetime
    reason: str
    by: str


class Champion(Settings):
    """The model that answers: its digest, since when (UTC), by which decision, and the digest of the one before."""

    number: int  # of swaps up to this one, counted from 1
    digest: str
    version: str  # the start of the digest, as every answer carries it
    since: datetime
    decision: dict[str, Any]
    previous: str | None
    hardware: str = ""  # by name, for which it or one before it was chosen; empty: not known
    # In the pointer itself, so that one swap takes a model back and bars it.
    rolled_back: tuple[RolledBack, ...] = ()

    def bars(self, digest: str) -> str | None:
        """Why this model may not be champion, such as "was rolled back on 2026-11-25: misreads 7"; None if it may."""
        for taken_back in self.rolled_back:
            if taken_back.digest == digest:
                return f"was rolled back on {taken_back.since:%Y-%m-%d}: {taken_back.reason.rstrip('.')}"
        return None


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
    Raises UserError if the model was never published or was rolled back, Conflict if another swap came first.
    """
    current, etag = _pointer(store)
    if current is not None and current.digest == digest:
        return current
    if current is not None and (barred := current.bars(digest)) is not None:
        raise UserError(f"model {_short(digest)} {barred}. {_readmit_first(digest)}")
    if not store.exists(f"{_place(digest)}/{MANIFEST}"):
        raise UserError(f"model {_short(digest)}: not in the store, so it cannot be champion. Publish it first.")
    if (current.digest if current else None) != expected:
        raise _overtaken(digest, expected, current)
    rolled_back = current.rolled_back if current else ()
    challenger = _successor(current, digest, decision, rolled_back)
    try:
        _swap(store, current, challenger, etag)
    except Conflict as conflict:
        raise _overtaken(digest, expected, champion(store)) from conflict
    return challenger


def rollback(store: Store, reason: str, by: str, expected: str | None = None) -> Champion:
    """Put the champion before back, the latest that was not itself rolled back; the one now is barred until `readmit`.

    expected: the digest of the champion that is meant; None: whichever it is. Raises UserError if there is no champion
    before or no reason, Conflict if it is another, or another swap came first.
    """
    if not reason.strip():
        raise UserError('rollback: no reason given. Say why, as in make rollback REASON="misreads 7".')
    current, etag = _pointer(store)
    if current is None:
        raise UserError(f"no champion in {store} yet: there is nothing to roll back.")
    if expected is not None and current.digest != expected:
        raise Conflict(f"{CHAMPION}: {current.version} is champion now, so nothing was rolled back. Look again.")
    barred = {current.digest, *(each.digest for each in current.rolled_back)}
    before = next((past.digest for past in reversed(history(store)) if past.digest not in barred), None)
    if before is None:
        raise UserError(f"champion {current.version}: no earlier champion is left to roll back to. Promote another.")
    if not store.exists(f"{_place(before)}/{MANIFEST}"):
        raise UserError(f"model {_short(before)}: the champion before is no longer in the store. Publish it again.")
    taken_back = RolledBack(digest=current.digest, since=datetime.now(UTC), reason=reason.strip(), by=by)
    decision = {"rolled_back": current.digest, "reason": taken_back.reason, "by": by}
    restored = _successor(current, before, decision, (*current.rolled_back, taken_back))
    try:
        _swap(store, current, restored, etag)
    except Conflict as conflict:
        raise Conflict(f"{CHAMPION}: changed meanwhile, so nothing was rolled back. Look again.") from conflict
    return restored


def readmit(store: Store, digest: str) -> None:
    """Let a model that was rolled back be judged and promoted again.

    Raises UserError if it was not rolled back, Conflict if another swap came first.
    """
    current, etag = _pointer(store)
    if current is None or current.bars(digest) is None:
        raise UserError(f"model {_short(digest)} was not rolled back, so there is nothing to readmit.")
    left = tuple(each for each in current.rolled_back if each.digest != digest)
    store.put(CHAMPION, _json(current.model_copy(update={"rolled_back": left})), if_match=etag)


def history(store: Store) -> list[Champion]:
    """Every champion there was, oldest first; the last one is the champion now."""
    current, _ = _pointer(store)
    if current is None:
        return []
    records = (Champion.model_validate_json(store.get(key)) for key in store.list("registry/history/"))
    return [*(record for record in records if record.number < current.number), current]


def publish(store: Store, folder: Path) -> str:
    """Upload a model directory, unless it is there already, and sign it if there is a key to sign with.

    Returns its digest, under which it is found.
    """
    digest = artifacts.digest(folder)
    if not store.exists(f"{_place(digest)}/{MANIFEST}"):
        store.upload(folder, _place(digest))
    signing.sign(store, digest)
    return digest


def resolve(store: Store, version: str) -> str:
    """The digest of the published model that a digest, or the start of one, names. Raises UserError if not just one."""
    # The store lists by prefix, so what is no digest must not reach it.
    keys = store.list(f"models/{version}") if re.fullmatch("[0-9a-f]{4,64}", version) else []
    found = {key.split("/")[1] for key in keys if key.endswith(f"/{MANIFEST}")}
    if len(found) == 1:
        return found.pop()
    many = "names several models" if found else "no such model in the store"
    raise UserError(f"version {version!r}: {many}. Give the model_version of an answer, or a whole digest.")


def require_served(store: Store, digest: str) -> None:
    """Pass if the published model is one that may be judged and served; a teacher is if it was chosen for its hardware.

    Raises UserError if it is not, Missing if it was never published.
    """
    kind = kind_of(store, digest)
    if kind not in SERVED and not store.exists(reference_key(digest)):
        raise UserError(f"model {_short(digest)}: a {kind}, to train on from. Name one that a run judged.")


def reference_key(digest: str) -> str:
    """Where the reference of a model that was judged lies; see `infra.reference`."""
    return f"references/{digest}.parquet"


def kind_of(store: Store, digest: str) -> artifacts.Kind:
    """What kind of model it is. Raises Missing if it was never published."""
    return artifacts.ModelInfo.model_validate_json(store.get(f"{_place(digest)}/{artifacts.INFO_NAME}")).kind


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
    return store.get_or_put(STORE_ID, secrets.token_hex(8).encode()).decode()


def _pointer(store: Store) -> tuple[Champion | None, str | None]:
    try:
        content, etag = store.get_with_etag(CHAMPION)
    except Missing:
        return None, None
    return Champion.model_validate_json(content), etag


def _successor(
    current: Champion | None, digest: str, decision: dict[str, Any], rolled_back: tuple[RolledBack, ...]
) -> Champion:
    return Champion(
        number=current.number + 1 if current else 1,
        digest=digest,
        version=version_of(digest),
        since=datetime.now(UTC),
        decision=decision,
        previous=current.digest if current else None,
        hardware=decision.get("hardware") or (current.hardware if current else ""),
        rolled_back=rolled_back,
    )


def _swap(store: Store, current: Champion | None, successor: Champion, etag: str | None) -> None:
    if current is not None:
        # Kept before the swap, not after: whoever dies in between, or loses the race, has written the same champion.
        store.put(_record(current), _json(current))
    store.put(CHAMPION, _json(successor), if_match=etag, if_none_match=etag is None)


def _readmit_first(digest: str) -> str:
    return f"Train another, or run `python -m pipeline readmit {_short(digest)}` first."


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
