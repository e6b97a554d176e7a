"""The lease: one holder at a time of a key in the store, taken over once a holder that died no longer renews it.

Mutual exclusion by expiry (Gray 1989, "Leases") over compare-and-swap. It rests on one assumption: no two machines'
clocks differ by more than `MARGIN_S`. Where they do, two may hold it until the first one's next renewal, which fails.
"""

import os
import secrets
import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta

from pydantic import PositiveFloat, PositiveInt

from infra.storage import Conflict, Missing, Store
from inkloop.errors import UserError
from inkloop.settings import Settings

LIFETIME_S = 120.0  # of a lease that nobody renews
MARGIN_S = 30.0  # by which the clocks of two machines may differ
RENEWALS = 3  # in a lifetime, so that one may fail

Clock = Callable[[], datetime]


class Taken(UserError):
    """Someone else holds the lease."""


class Lease(Settings):
    """What lies in the store. Times are UTC, by the holder's clock."""

    number: PositiveInt  # of takings up to this one: whoever has the higher number came later
    holder: str  # random, of this taking
    by: str  # for people: which process of which machine
    since: datetime
    expires_at: datetime
    lifetime_s: PositiveFloat
    given_back: bool = False

    def holds(self, now: datetime, margin_s: float = MARGIN_S) -> bool:
        """Whether it is held at `now`, by a clock that may be off by the margin.

        An expiry further ahead than any right clock would have written is no lease: it would hold for ever.
        """
        left_s = (self.expires_at - now).total_seconds()
        return not self.given_back and -margin_s <= left_s <= self.lifetime_s + margin_s


class Holding:
    """A lease that this process holds and renews."""

    def __init__(self, store: Store, key: str, lease: Lease, etag: str, clock: Clock) -> None:
        self.lease = lease
        self._store, self._key, self._etag, self._clock = store, key, etag, clock
        self._renewed_s = time.monotonic()
        self._is_lost, self._ended = threading.Event(), threading.Event()

    def is_ours(self) -> bool:
        """Whether nobody else can have taken it: ask before a step that must not happen twice."""
        # By both clocks: one stands still while the machine sleeps, the other may be set back.
        in_time = time.monotonic() - self._renewed_s < self.lease.lifetime_s and self._clock() < self.lease.expires_at
        return in_time and not self._is_lost.is_set()

    def renew(self) -> None:
        """Put off the expiry. A store that is away costs nothing until the lease has expired; see `is_ours`."""
        asked_s = time.monotonic()
        expires_at = self._clock() + timedelta(seconds=self.lease.lifetime_s)
        try:
            self._swap(self.lease.model_copy(update={"expires_at": expires_at}))
        except Conflict:
            self._is_lost.set()
        except UserError:
            return  # away: the next renewal may come through
        else:
            self._renewed_s = asked_s

    def keep_renewing(self) -> None:
        """Renew until it is given back or lost."""
        while not self._is_lost.is_set() and not self._ended.wait(self.lease.lifetime_s / RENEWALS):
            self.renew()

    def stop_renewing(self) -> None:
        """Have `keep_renewing` return."""
        self._ended.set()

    def give_back(self) -> None:
        """Let the next one have it now; a lease that was lost, or a store that is away, is left alone."""
        try:
            self._swap(self.lease.model_copy(update={"given_back": True}))
        except UserError:
            return

    def _swap(self, changed: Lease) -> None:
        self._etag = _put(self._store, self._key, changed, self._etag)
        self.lease = changed


@contextmanager
def held(
    store: Store, key: str, lifetime_s: float = LIFETIME_S, margin_s: float = MARGIN_S, clock: Clock | None = None
) -> Iterator[Holding]:
    """Hold the lease while the block runs, renewing it. Raises Taken if someone else holds it."""
    holding = take(store, key, lifetime_s, margin_s, clock or _utc)
    renewing = threading.Thread(target=holding.keep_renewing, name=f"lease {key}", daemon=True)
    renewing.start()
    try:
        yield holding
    finally:
        holding.stop_renewing()
        renewing.join()
        holding.give_back()


def take(store: Store, key: str, lifetime_s: float, margin_s: float, clock: Clock) -> Holding:
    """Take the lease, without renewing it by itself. Raises Taken if someone else holds it, or was quicker."""
    last, etag = _read(store, key)
    now = clock()
    if last is not None and last.holds(now, margin_s):
        raise _taken(key, last)
    lease = Lease(
        number=last.number + 1 if last else 1,
        holder=secrets.token_hex(8),
        by=f"process {os.getpid()} on {socket.gethostname()}",
        since=now,
        expires_at=now + timedelta(seconds=lifetime_s),
        lifetime_s=lifetime_s,
    )
    try:
        return Holding(store, key, lease, _put(store, key, lease, etag), clock)
    except Conflict:
        quicker, _ = _read(store, key)
        raise _taken(key, quicker or lease) from None


def holder(store: Store, key: str, now: datetime, margin_s: float = MARGIN_S) -> Lease | None:
    """The lease as it is held now, None if it is free."""
    last, _ = _read(store, key)
    return last if last is not None and last.holds(now, margin_s) else None


def _put(store: Store, key: str, lease: Lease, etag: str | None) -> str:
    """Put the lease over what had this etag. Raises Conflict if another holder came first."""
    try:
        return store.put(key, lease.model_dump_json(indent=1).encode(), if_match=etag, if_none_match=etag is None)
    except Conflict:
        # A put whose answer was lost on the way is sent again, and then meets what it wrote itself.
        found, written = _read(store, key)
        if found != lease or written is None:
            raise
        return written


def _read(store: Store, key: str) -> tuple[Lease | None, str | None]:
    try:
        content, etag = store.get_with_etag(key)
    except Missing:
        return None, None
    return Lease.model_validate_json(content), etag


def _taken(key: str, lease: Lease) -> Taken:
    return Taken(f"{key}: {lease.by} holds it since {lease.since:%Y-%m-%d %H:%M} UTC.")


def _utc() -> datetime:
    return datetime.now(UTC)
