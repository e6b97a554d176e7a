"""Requests for a retraining: none is lost, none is taken up for ever, and who asked and why stays."""

from datetime import UTC, datetime, timedelta

import pytest

from inkloop.errors import UserError
from monitoring import requests

NOON = datetime(2026, 11, 25, 12, tzinfo=UTC)


def test_what_was_asked_waits_oldest_first_until_it_is_done(store):
    later = requests.ask(store, "bob", "new pens", NOON + timedelta(minutes=1))
    first = requests.ask(store, "ada", " misreads sevens ", NOON)
    assert requests.pending(store) == [first, later]
    assert (first.by, first.why, first.at) == ("ada", "misreads sevens", NOON)
    requests.done(store, first)
    assert requests.pending(store) == [later]


def test_two_who_ask_at_the_same_moment_are_both_heard(store):
    asked = {requests.ask(store, name, "new pens", NOON).id for name in ("ada", "bob")}
    assert {request.id for request in requests.pending(store)} == asked
    assert len(asked) == 2


def test_who_asked_and_why_and_what_became_of_it_stays(store):
    asked = [requests.ask(store, "ada", f"reason {minute}", NOON + timedelta(minutes=minute)) for minute in range(3)]
    requests.done(store, asked[2], "nothing is labeled yet")
    requests.done(store, asked[0], "a retraining was started")
    requests.done(store, asked[0], "it was started twice")
    assert requests.pending(store) == [asked[1]]
    assert requests.answered(store, 9) == [(asked[0], "a retraining was started"), (asked[2], "nothing is labeled yet")]
    assert requests.answered(store, 1) == [(asked[2], "nothing is labeled yet")]
    assert requests.answered(store, 0) == []


@pytest.mark.parametrize("why", ["", " \n"])
def test_nothing_is_asked_for_without_a_reason(store, why):
    with pytest.raises(UserError, match="no reason"):
        requests.ask(store, "ada", why, NOON)
    assert requests.pending(store) == []
