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


def test_who_asked_and_why_stays_after_it_was_done(store):
    request = requests.ask(store, "ada", "misreads sevens", NOON)
    requests.done(store, request)
    requests.done(store, request)
    assert requests.pending(store) == []
    kept = [store.get(key) for key in store.list(requests.FOLDER) if key.endswith(requests.ASKED)]
    assert [requests.Request.model_validate_json(each) for each in kept] == [request]


@pytest.mark.parametrize("why", ["", " \n"])
def test_nothing_is_asked_for_without_a_reason(store, why):
    with pytest.raises(UserError, match="no reason"):
        requests.ask(store, "ada", why, NOON)
    assert requests.pending(store) == []
