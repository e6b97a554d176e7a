"""Retrainings: what each was started for, on which digits, and how it ended; one record each in the store."""

from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import Literal

from infra import lease
from infra.storage import Store
from inkloop.settings import Settings
from monitoring.decisions import LEASE

PLACE = "loop/retrainings"

Outcome = Literal["running", "promoted", "on trial", "refused", "failed"]


class Retraining(Settings):
    """One retraining. Its id sorts by time; times are UTC."""

    id: str
    cause: str  # such as "drift" or "asked for"
    why: str
    started: datetime
    ended: datetime | None = None
    champion: str  # digest of the model that it went on from
    production: str  # the version of production's digits (`infra.datasets`)
    data_version: str | None  # hash of data.dvc, None without DVC
    digits: int  # of production, that it learned from or was judged on
    left_out: int = 0  # labeled digits: copies, disputed, like poison, or no digit that validation would pass
    outcome: Outcome = "running"
    challenger: str | None = None  # digest of what it came to
    verdict: str = ""  # the gate's reason, what failed, or where it runs


def keep(store: Store, retraining: Retraining) -> Retraining:
    """Write the record, in place of an earlier state of it."""
    store.put(f"{PLACE}/{retraining.id}.json", retraining.model_dump_json(indent=2).encode())
    return retraining


def history(store: Store, newest: int = 100) -> list[Retraining]:
    """The newest retrainings, oldest first."""
    keys = store.list(f"{PLACE}/")[-newest:]
    return [Retraining.model_validate_json(store.get(key)) for key in keys]


def settled(store: Store, now: datetime) -> list[Retraining]:
    """The newest retrainings, oldest first, once those whose process died are said to have failed.

    Who holds the lease is asked first: a retraining that ended in between has said so by the time it is read.
    """
    holder = lease.holder(store, LEASE, now)
    since = holder.since if holder is not None else now - timedelta(seconds=lease.MARGIN_S)
    died = {"outcome": "failed", "verdict": "its process died", "ended": now}
    return [
        keep(store, each.model_copy(update=died)) if each.outcome == "running" and each.started < since else each
        for each in history(store)
    ]


def last_learned(tried: Sequence[Retraining]) -> datetime | None:
    """When the last of these retrainings took its labels; one that failed took none. None: none did."""
    return max((each.started for each in tried if each.outcome != "failed"), default=None)
