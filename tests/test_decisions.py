"""The record of decisions: only what is new, never changed, in order whatever the clocks say."""

from datetime import UTC, datetime, timedelta

import pytest

from infra import lease
from infra.registry import Champion
from monitoring import decisions
from monitoring.triggers import Labels, Past, Signals, TriggerSettings, decide

NOW = datetime(2026, 11, 25, 12, tzinfo=UTC)
MINUTE = timedelta(minutes=1)
QUIET = Signals(model_version="974982cc763f")
BAD = Signals(model_version="974982cc763f", avoidable_errors=5_000, seen_errors=170, labels=Labels(by_class=(60,) * 10))
SETTINGS = TriggerSettings()


def champion(version: str = "974982cc763f", since: datetime = NOW - timedelta(days=3)) -> Champion:
    return Champion(number=1, digest=version * 5, version=version, since=since, decision={}, previous=None)


def look(store, now: datetime, found: Signals = QUIET, of: Champion | None = None) -> bool:
    """One turn of the monitor; returns whether its decision was kept."""
    past = decisions.past(store, of or champion(), training_minutes=10, now=now)
    return decisions.record(store, decide(found, past, SETTINGS, now))


def verdicts(store) -> list[str]:
    return [decision.verdict for decision in decisions.history(store, 99)]


def test_what_says_nothing_new_is_not_kept(store):
    kept = [look(store, NOW + minute * MINUTE) for minute in range(5)]
    assert kept == [True, False, False, False, False]
    found = BAD.model_copy(update={"labels": Labels(by_class=(2,) * 10)})
    assert look(store, NOW + 5 * MINUTE, found)
    assert not look(store, NOW + 6 * MINUTE, found.model_copy(update={"avoidable_errors": 5_100.0}))
    assert look(store, NOW + 7 * MINUTE)
    assert verdicts(store) == ["quiet", "ask for labels", "quiet"]


def test_every_start_is_kept_with_what_was_looked_at(store):
    look(store, NOW, BAD)
    look(store, NOW + timedelta(days=1), BAD)
    assert verdicts(store) == ["start", "start"]
    latest = decisions.latest(store)
    assert latest is not None
    assert (latest.at, latest.cause, latest.signals) == (NOW + timedelta(days=1), "regret", BAD)


def test_a_run_in_vain_makes_the_next_one_wait_twice_as_long(store):
    fallen = BAD.model_copy(
        update={
            "promised": 0.99,
            "accuracy": 0.7,
            "accuracy_high": 0.74,
            "quality_labels": 600,
            "avoidable_errors": 0.0,
        }
    )
    assert look(store, NOW, fallen)
    past = decisions.past(store, champion(), 10, NOW + 16 * MINUTE)
    assert (past.counted_from, past.in_vain) == (NOW, 1)
    look(store, NOW + 16 * MINUTE, fallen)
    assert verdicts(store) == ["start", "wait"]
    look(store, NOW + 31 * MINUTE, fallen)
    assert verdicts(store) == ["start", "wait", "start"]


def test_with_a_new_champion_all_counts_begin_anew(store):
    look(store, NOW, BAD)
    new = champion("0f0f0f0f0f0f", since=NOW + 10 * MINUTE)
    past = decisions.past(store, new, 10, NOW + 20 * MINUTE)
    assert (past.counted_from, past.in_vain) == (new.since, 0)


def test_who_holds_the_lease_is_running(store):
    with lease.held(store, decisions.LEASE) as holding:
        now = datetime.now(UTC)
        assert decisions.past(store, champion(), 10, now).running == holding.lease.by
        look(store, now, BAD)
        assert decisions.past(store, champion(), 10, now, own=holding).running is None
    assert verdicts(store) == ["wait"]
    assert decisions.past(store, champion(), 10, datetime.now(UTC)).running is None


def test_a_clock_set_back_neither_reorders_nor_blocks(store):
    ahead = NOW + timedelta(days=400)
    look(store, ahead, BAD)
    look(store, NOW, BAD)
    assert verdicts(store) == ["start", "wait"]  # counted from now on: the cooldown, not 400 days
    assert [decision.at for decision in decisions.history(store, 9)] == [ahead, NOW]
    look(store, NOW + 121 * MINUTE, BAD)
    assert verdicts(store) == ["start", "wait", "start"]
    kept = [look(store, NOW + (122 + minute) * MINUTE, BAD) for minute in range(3)]
    assert kept == [True, False, False]


def test_a_champion_from_the_future_blocks_for_one_cooldown_at_most(store):
    of = champion(since=NOW + timedelta(days=400))
    look(store, NOW, BAD, of)
    look(store, NOW + 14 * MINUTE, BAD, of)
    assert verdicts(store) == ["wait"]
    look(store, NOW + 15 * MINUTE, BAD, of)
    assert verdicts(store) == ["wait", "start"]


def test_the_same_decision_of_two_monitors_at_once_is_kept_once(store, monkeypatch):
    decision = decide(QUIET, Past(counted_from=NOW - MINUTE), SETTINGS, NOW)
    listed = type(store).list
    monkeypatch.setattr(type(store), "list", lambda self, prefix="": [])  # as both saw it before either wrote
    assert decisions.record(store, decision)
    assert not decisions.record(store, decision)
    monkeypatch.setattr(type(store), "list", listed)
    assert len(decisions.history(store, 9)) == 1


def test_history_gives_the_last_ones_oldest_first(store):
    for hour in range(4):
        look(store, NOW + timedelta(days=hour), BAD)
    last = decisions.history(store, 2)
    assert [decision.at for decision in last] == [NOW + timedelta(days=2), NOW + timedelta(days=3)]


@pytest.mark.parametrize("limit", [0, 5])
def test_an_empty_store_has_no_history(store, limit):
    assert decisions.history(store, limit) == []
    assert decisions.latest(store) is None
