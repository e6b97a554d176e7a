"""The record of decisions: append-only, one object in the store for each start and each that says something new."""

import hashlib
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from functools import lru_cache

from infra import lease
from infra.registry import Champion
from infra.storage import Conflict, Store
from monitoring.triggers import Decision, Past

FOLDER = "loop/decisions/"
LEASE = "loop/lease.json"  # of the one run at a time
WATCH_LEASE = "loop/watch-lease.json"  # of the one watch at a time
_TIME = "%Y%m%dT%H%M%S.%fZ"
MAX_LOOKED_AT = 200  # decisions about one champion: more of them change nothing in what is decided next


def record(store: Store, decision: Decision) -> bool:
    """Keep the decision, if it starts a run or says something else than the last one. Returns whether it was kept.

    Names follow each other even when the clock is set back: each is later than the one before (Kulkarni 2014,
    "Logical physical clocks"). `at` is what the clock said.
    """
    keys = store.list(FOLDER)
    if keys and not decision.start and _says(_read(store.get, keys[-1])) == _says(decision):
        return False
    content = decision.model_dump_json(indent=1).encode()
    at = max([decision.at, *(_time_of(key) + timedelta(microseconds=1) for key in keys[-1:])])
    key = f"{FOLDER}{at.astimezone(UTC):{_TIME}}-{hashlib.sha256(content).hexdigest()[:8]}.json"
    try:
        store.put(key, content, if_none_match=True)
    except Conflict:
        return False  # kept already, word for word
    return True


def latest(store: Store) -> Decision | None:
    """The last decision that was kept, None if there is none yet."""
    return next(iter(history(store, 1)), None)


def history(store: Store, limit: int) -> list[Decision]:
    """The last decisions, at most `limit`, oldest first."""
    keys = store.list(FOLDER)
    return [_read(store.get, key) for key in keys[max(0, len(keys) - limit) :]]


def past(
    store: Store, champion: Champion, training_minutes: float, now: datetime, own: lease.Holding | None = None
) -> Past:
    """What went before, as `triggers.decide` needs it.

    training_minutes: what a run takes; own: the lease if this process holds it, which is no reason to wait.
    """
    # By version and not by time, so that no clock has a say in which decisions were about this champion.
    about_it: list[Decision] = []
    for key in reversed(store.list(FOLDER)):
        decision = _read(store.get, key)
        if decision.signals.model_version != champion.version or len(about_it) > MAX_LOOKED_AT:
            break
        about_it.append(decision)
    holder = lease.holder(store, LEASE, now)
    return Past(
        counted_from=about_it[0].counted_from if about_it else champion.since,
        running=holder.by if holder and not (own and own.lease.holder == holder.holder) else None,
        in_vain=max(0, sum(decision.start for decision in about_it) - (holder is not None)),  # less the one that runs
        training_minutes=training_minutes,
    )


def _says(decision: Decision) -> tuple[object, ...]:
    """What makes it another decision; its figures change all the time."""
    version = decision.signals.model_version
    return decision.verdict, decision.cause, decision.obstacle, decision.counted_from, version


@lru_cache(maxsize=4 * MAX_LOOKED_AT)  # a record never changes
def _read(get: Callable[[str], bytes], key: str) -> Decision:
    return Decision.model_validate_json(get(key))


def _time_of(key: str) -> datetime:
    return datetime.strptime(key.removeprefix(FOLDER).rpartition("-")[0], _TIME).replace(tzinfo=UTC)
