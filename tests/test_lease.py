"""The lease: one holder at a time, which survives crashes, lost answers and clocks that are a little off."""

import os
import signal
import subprocess
import sys
import threading
import time
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from infra import lease
from infra.lease import Lease, Taken
from infra.storage import Store, open_store
from inkloop.errors import UserError

KEY = "loop/lease.json"
NOON = datetime(2026, 11, 25, 12, tzinfo=UTC)
HOLD = """
import sys, time
from infra import lease
from infra.storage import open_store
with lease.held(open_store(sys.argv[1]), sys.argv[2], lifetime_s=1, margin_s=0.5):
    print("held", flush=True)
    time.sleep(60)
"""


def at(when: datetime):
    return lambda: when


def take(store: Store, when: datetime = NOON) -> lease.Holding:
    return lease.take(store, KEY, lifetime_s=60, margin_s=10, clock=at(when))


def test_while_one_holds_it_another_is_told_who(store):
    with lease.held(store, KEY), pytest.raises(Taken, match=rf"process {os.getpid()} on .* holds it since"):  # noqa: SIM117
        with lease.held(store, KEY):
            pass


def test_once_given_back_the_next_one_has_it_at_once(store):
    with lease.held(store, KEY) as first:
        pass
    with lease.held(store, KEY) as second:
        assert second.lease.number == first.lease.number + 1
        assert second.is_ours()


def test_it_is_given_back_when_the_work_fails(store):
    with pytest.raises(ZeroDivisionError), lease.held(store, KEY):
        _ = 1 / 0
    assert lease.holder(store, KEY, datetime.now(UTC)) is None


def test_it_outlives_its_lifetime_as_long_as_it_is_renewed(store):
    with lease.held(store, KEY, lifetime_s=1.5, margin_s=0) as holding:
        time.sleep(2.5)
        with pytest.raises(Taken):
            lease.take(store, KEY, 1.5, 0, lambda: datetime.now(UTC))
        assert holding.is_ours()


def test_after_its_holder_was_killed_the_next_one_has_it_within_lifetime_and_margin(store):
    process = subprocess.Popen([sys.executable, "-c", HOLD, str(store), KEY], stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    assert process.stdout.readline() == "held\n"
    with pytest.raises(Taken):
        lease.take(store, KEY, 1, 0.5, lambda: datetime.now(UTC))
    process.send_signal(signal.SIGKILL)
    process.wait()
    killed = time.monotonic()
    while True:
        try:
            with lease.held(store, KEY, lifetime_s=1, margin_s=0.5) as holding:
                assert holding.lease.number == 2
            break
        except Taken:
            assert time.monotonic() - killed < 4
            time.sleep(0.05)


def test_of_many_that_take_it_at_once_exactly_one_gets_it(store):
    start, got = threading.Barrier(6), []

    def try_it() -> None:
        own = open_store(str(store))
        start.wait()
        try:
            got.append(take(own))
        except Taken:
            got.append(None)

    threads = [threading.Thread(target=try_it) for _ in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(got) == 6
    assert len([each for each in got if each is not None]) == 1


def test_one_that_was_taken_over_notices_at_its_next_renewal_and_gives_nothing_back(store):
    first = lease.take(store, KEY, 60, 10, at(NOON))
    second = take(store, NOON + timedelta(seconds=71))
    first.renew()
    assert not first.is_ours()
    first.give_back()
    assert lease.holder(store, KEY, NOON + timedelta(seconds=80), 10) == second.lease


def test_a_holder_whose_store_is_away_does_not_count_on_it_after_the_lifetime(tmp_path):
    away = Unreachable(open_store(str(tmp_path)))
    with lease.held(away, KEY, lifetime_s=1.2, margin_s=0) as holding:
        away.is_away = True
        assert holding.is_ours()
        time.sleep(1.3)
        assert not holding.is_ours()
        away.is_away = False
        time.sleep(0.8)
        assert holding.is_ours()  # nobody else took it meanwhile


def test_a_holder_whose_machine_slept_does_not_count_on_it(tmp_path):
    now = [NOON]
    holding = lease.take(open_store(str(tmp_path)), KEY, 60, 10, lambda: now[0])
    assert holding.is_ours()
    now[0] += timedelta(minutes=5)
    assert not holding.is_ours()


def test_a_put_whose_answer_was_lost_is_still_ours(tmp_path):
    store = LosesAnswers(open_store(str(tmp_path)))
    holding = take(store)
    holding.renew()
    assert holding.is_ours()
    holding.give_back()
    assert lease.holder(store, KEY, NOON, 10) is None


@given(skew_s=st.floats(-10, 10), after_s=st.floats(0, 59.9))
def test_a_clock_that_is_off_by_less_than_the_margin_takes_nothing_over(skew_s, after_s):
    held = of(NOON)
    assert held.holds(NOON + timedelta(seconds=after_s + skew_s), margin_s=10)


@given(ahead_s=st.floats(71, 1e8))
def test_one_written_by_a_clock_far_ahead_does_not_hold_for_ever(ahead_s):
    assert not of(NOON + timedelta(seconds=ahead_s)).holds(NOON, margin_s=10)
    assert not of(NOON).holds(NOON + timedelta(seconds=ahead_s), margin_s=10)


def of(when: datetime) -> Lease:
    expires_at = when + timedelta(seconds=60)
    return Lease(number=1, holder="h", by="someone", since=when, expires_at=expires_at, lifetime_s=60)


class Unreachable(Store):
    """A store that can be away."""

    def __init__(self, store: Store) -> None:
        self.store, self.is_away = store, False

    def put(self, key, content, if_match=None, if_none_match=False):
        if self.is_away:
            raise UserError("the store is away.")
        return self.store.put(key, content, if_match, if_none_match)

    def get_with_etag(self, key):
        return self.store.get_with_etag(key)

    def list(self, prefix=""):
        return self.store.list(prefix)

    def delete(self, key):
        self.store.delete(key)


class LosesAnswers(Unreachable):
    """A store whose answers to a put are lost, so that it is sent twice, as S3's client does."""

    def put(self, key, content, if_match=None, if_none_match=False):
        self.store.put(key, content, if_match, if_none_match)
        return self.store.put(key, content, if_match, if_none_match)
