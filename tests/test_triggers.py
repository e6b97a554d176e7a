"""The decision whether a retraining starts: what starts one, what stands against it, and laws that always hold."""

from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from monitoring.triggers import Decision, Labels, Past, Signals, TriggerSettings, decide

NOW = datetime(2026, 11, 25, 12, tzinfo=UTC)
DEFAULT = TriggerSettings()
LONG_AGO = Past(counted_from=NOW - timedelta(days=3))
MANY = Labels(by_class=(60,) * 10, by_source={"production": 600})
# Everything is lost that one would retrain for.
BAD = Signals(
    promised=0.99,
    accuracy=0.7,
    accuracy_high=0.74,
    quality_labels=600,
    avoidable_errors=5_000,
    seen_errors=170,
    drift_alarms=3,
    labels=MANY,
)

shares = st.floats(0, 1)
counts = st.integers(0, 50_000)
errors = st.floats(0, 1e6)


@st.composite
def labels(draw, of_class=counts) -> Labels:
    by_class = tuple(draw(st.lists(of_class, min_size=10, max_size=10)))
    names = draw(st.lists(st.sampled_from(["app", "web", "scans"]), max_size=3, unique=True))
    by_source = {name: sum(by_class) // len(names) for name in names}
    return Labels(by_class=by_class, by_source=by_source, suspicious=draw(counts))


signals = st.builds(
    Signals,
    drift_alarms=st.integers(0, 9),
    promised=st.none() | shares,
    accuracy=shares,
    accuracy_high=shares,
    quality_labels=counts,
    avoidable_errors=errors,
    seen_errors=errors,
    estimated_errors=errors,
    labels=labels(),
)
moments = st.datetimes(datetime(2020, 1, 1), datetime(2035, 1, 1), timezones=st.just(UTC))
pasts = st.builds(
    Past,
    counted_from=moments,
    running=st.none() | st.just("process 7 on a"),
    in_vain=st.integers(0, 40),
    training_minutes=st.floats(0.1, 1e4),
)
options = st.builds(
    TriggerSettings,
    errors_per_training_minute=st.none() | st.floats(0.01, 1e4),
    max_fall=st.none() | shares,
    new_labels=st.none() | st.integers(1, 50_000),
    every_hours=st.none() | st.floats(0.1, 1e4),
    drift_starts=st.booleans(),
    cooldown_hours=st.floats(0, 1e3),
    min_labels=st.integers(1, 5_000),
    max_suspicious_share=shares,
)
# Nothing stands in the way of a run but now and then suspicion: what is left is whether a trigger fires.
promising = signals.flatmap(lambda found: labels(st.integers(500, 900)).map(lambda given: changed(found, labels=given)))
free = st.builds(Past, counted_from=st.datetimes(datetime(2000, 1, 1), datetime(2010, 1, 1), timezones=st.just(UTC)))


def changed(known: Signals, **fields) -> Signals:
    return known.model_copy(update=fields)


@pytest.mark.parametrize(
    ("cause", "found", "settings", "reason"),
    [
        ("regret", BAD, DEFAULT, "Some 5000 answers were wrong that need not be, a run is worth 100."),
        (
            "quality",
            changed(BAD, avoidable_errors=99),
            DEFAULT,
            "70.0% of 600 answers were right, where 99.0% were promised.",
        ),
        (
            "labels",
            Signals(labels=MANY),
            TriggerSettings(new_labels=600),
            "600 digits were labeled since the last run.",
        ),
        ("schedule", Signals(labels=MANY), TriggerSettings(every_hours=24), "The last run was 72.0 hours ago."),
        ("drift", Signals(drift_alarms=2, labels=MANY), TriggerSettings(drift_starts=True), "The input has drifted."),
        (
            "estimate",
            Signals(estimated_errors=300, labels=MANY),
            DEFAULT,
            "Going by its confidence, the model misread some 300 digits more than promised.",
        ),
    ],
)
def test_each_trigger_starts_a_run_and_says_why(cause, found, settings, reason):
    decision = decide(found, LONG_AGO, settings, NOW)
    assert (decision.verdict, decision.cause, decision.reason) == ("start", cause, reason)
    assert decision.signals == found
    assert decision.counted_from == NOW


@pytest.mark.parametrize(
    ("obstacle", "verdict", "found", "past", "reason"),
    [
        (
            "running",
            "wait",
            BAD,
            Past(counted_from=NOW, running="process 7 on a"),
            "a run is on its way (process 7 on a).",
        ),
        (
            "cooldown",
            "wait",
            changed(BAD, avoidable_errors=0),
            Past(counted_from=NOW - timedelta(minutes=20), in_vain=1),
            "the last run was 20 minutes ago (1 in a row brought nothing better), the next may start after 30 minutes.",
        ),
        (
            "too little",
            "ask for labels",
            changed(BAD, labels=Labels(by_class=(19,) * 10)),
            LONG_AGO,
            "only 190 labels are new, 200 are needed.",
        ),
        (
            "one-sided",
            "refuse",
            changed(BAD, labels=Labels(by_class=(100,) * 7 + (4,) * 3)),
            LONG_AGO,
            "the labels are of 7 classes, 8 are needed.",
        ),
        (
            "one-sided",
            "refuse",
            changed(BAD, labels=Labels(by_class=(20,) * 7 + (200, 20, 20))),
            LONG_AGO,
            "200 of 380 labels are the digit 7.",
        ),
        (
            "suspicious",
            "refuse",
            changed(BAD, labels=Labels(by_class=(30,) * 10, suspicious=100, suspicions=("web: 90 contradict",))),
            LONG_AGO,
            "100 of 400 labels are suspicious (web: 90 contradict).",
        ),
    ],
)
def test_what_stands_against_a_run_is_said(obstacle, verdict, found, past, reason):
    decision = decide(found, past, DEFAULT, NOW)
    assert (decision.verdict, decision.obstacle) == (verdict, obstacle)
    assert decision.reason.endswith(f", but {reason}")
    assert decision.counted_from == past.counted_from


def test_one_source_may_be_required_not_to_give_nearly_all_labels():
    found = changed(BAD, labels=Labels(by_class=(60,) * 10, by_source={"app": 590, "web": 10}))
    assert decide(found, LONG_AGO, DEFAULT, NOW).start
    decision = decide(found, LONG_AGO, TriggerSettings(max_source_share=0.9), NOW)
    assert decision.reason.endswith("590 of 600 labels are from app.")


def test_by_default_drift_alone_asks_for_labels():
    decision = decide(Signals(drift_alarms=2), LONG_AGO, DEFAULT, NOW)
    assert decision.verdict == "ask for labels"
    assert "0 labeled answers cannot tell" in decision.reason


def test_by_default_drift_that_leaves_the_answers_right_starts_nothing():
    fine = Signals(drift_alarms=9, promised=0.99, accuracy=0.985, accuracy_high=0.99, quality_labels=2_000, labels=MANY)
    decision = decide(fine, LONG_AGO, DEFAULT, NOW)
    assert decision.verdict == "ask for labels"
    assert "about as right as promised" in decision.reason


def test_a_single_drift_alarm_may_be_the_false_one():
    assert (
        decide(Signals(drift_alarms=1, labels=MANY), LONG_AGO, TriggerSettings(drift_starts=True), NOW).verdict
        == "quiet"
    )


def test_many_errors_of_which_hardly_one_was_seen_are_no_evidence():
    found = changed(BAD, accuracy_high=1.0, seen_errors=9)
    assert decide(found, LONG_AGO, DEFAULT, NOW).cause is None


@pytest.mark.parametrize("cause", ["regret", "quality"])
def test_with_few_misread_digits_to_learn_from_more_labels_are_asked_for(cause):
    found = changed(BAD, seen_errors=49, avoidable_errors=5_000 if cause == "regret" else 0)
    decision = decide(found, LONG_AGO, DEFAULT, NOW)
    assert (decision.verdict, decision.cause, decision.obstacle) == ("ask for labels", cause, "too little")
    assert decision.reason.endswith("but only 49 misread digits were labeled, 50 are needed.")
    assert decide(changed(found, seen_errors=50), LONG_AGO, DEFAULT, NOW).start


def test_confidence_has_no_say_where_labels_have():
    found = Signals(
        promised=0.99, accuracy=0.99, accuracy_high=1, quality_labels=600, estimated_errors=1e5, labels=MANY
    )
    assert decide(found, LONG_AGO, DEFAULT, NOW).verdict == "quiet"


def test_runs_in_vain_cost_twice_as_much_each():
    found = changed(BAD, max_fall=None, accuracy_high=1.0, avoidable_errors=350)
    assert decide(found, Past(counted_from=LONG_AGO.counted_from, in_vain=1), DEFAULT, NOW).start
    assert not decide(found, Past(counted_from=LONG_AGO.counted_from, in_vain=2), DEFAULT, NOW).start


def test_a_trigger_that_must_wait_does_not_hold_up_another():
    found = changed(BAD, seen_errors=12, labels=Labels(by_class=(3_000,) * 10))
    decision = decide(found, LONG_AGO, DEFAULT, NOW)
    assert (decision.verdict, decision.cause) == ("start", "labels")


def test_runs_in_vain_make_all_but_regret_wait_longer():
    vain = Past(counted_from=NOW - timedelta(minutes=20), in_vain=1)
    assert decide(BAD, vain, DEFAULT, NOW).cause == "regret"
    assert decide(BAD, vain, DEFAULT, NOW).start
    assert decide(changed(BAD, avoidable_errors=0), vain, DEFAULT, NOW).obstacle == "cooldown"


@given(signals, pasts, options, moments)
def test_never_two_at_once(found, past, settings, now):
    assert not decide(found, past.model_copy(update={"running": "process 7 on a"}), settings, now).start


@given(signals, pasts, options, moments)
def test_never_within_the_cooldown(found, past, settings, now):
    decision = decide(found, past, settings, now)
    if decision.start:
        assert max(now - past.counted_from, timedelta(0)) >= timedelta(hours=settings.cooldown_hours)


@given(signals, pasts, options, moments)
def test_never_on_too_little_or_too_suspicious_labels(found, past, settings, now):
    decision = decide(found, past, settings, now)
    if decision.start:
        usable, suspicious = found.labels.usable, found.labels.suspicious
        assert usable >= settings.min_labels
        assert suspicious <= settings.max_suspicious_share * (usable + suspicious)
        assert max(found.labels.by_class) <= settings.max_class_share * usable


@given(signals, pasts, options, moments)
def test_the_same_input_gives_the_same_decision_and_a_sentence(found, past, settings, now):
    decision = decide(found, past, settings, now)
    assert decision == decide(found, past, settings, now)
    assert decision == Decision.model_validate_json(decision.model_dump_json())
    assert decision.reason.endswith(".")
    assert "None" not in decision.reason
    assert (decision.obstacle is None) == (decision.verdict in ("start", "quiet") or decision.cause is None)


@given(promising, free, options, moments, st.integers(2, 5))
def test_more_labels_of_the_same_kind_never_keep_a_run_from_starting(found, past, settings, now, times):
    assume(decide(found, past, settings, now).start)
    more = Labels(
        by_class=tuple(times * count for count in found.labels.by_class),
        by_source={source: times * count for source, count in found.labels.by_source.items()},
        suspicious=times * found.labels.suspicious,
    )
    assert decide(changed(found, labels=more), past, settings, now).start


@given(promising, free, options, moments, st.floats(0, 1e6), shares)
def test_a_worse_model_never_keeps_a_run_from_starting(found, past, settings, now, more, lower):
    assume(decide(found, past, settings, now).start)
    worse = changed(
        found,
        avoidable_errors=found.avoidable_errors + more,
        seen_errors=found.seen_errors + more,
        accuracy_high=found.accuracy_high * lower,
    )
    assert decide(worse, past, settings, now).start


@given(promising, free, options, moments, st.timedeltas(timedelta(0), timedelta(days=999)))
def test_waiting_never_keeps_a_run_from_starting(found, past, settings, now, longer):
    assume(decide(found, past, settings, now).start)
    assert decide(found, past, settings, now + longer).start


@given(signals, options, moments, st.timedeltas(timedelta(minutes=2), timedelta(days=9_999)))
def test_a_last_run_in_the_future_neither_starts_one_by_the_schedule_nor_blocks_for_ever(found, settings, now, ahead):
    assume(
        settings.cooldown_hours > 0.01
        and decide(found, LONG_AGO, settings, LONG_AGO.counted_from + timedelta(days=9_999)).start
    )
    first = decide(found, Past(counted_from=now + ahead), settings, now)
    assert not first.start
    assert first.counted_from == now
    again = Past(counted_from=first.counted_from)
    waited = timedelta(hours=max(settings.cooldown_hours, settings.every_hours or 0))
    assert decide(found, again, settings, now + waited).start


@given(signals, options, moments, st.timedeltas(timedelta(0), timedelta(minutes=1)))
def test_another_machines_clock_may_be_a_little_ahead(found, settings, now, ahead):
    decision = decide(found, Past(counted_from=now + ahead), settings, now)
    assert decision.start or decision.counted_from == now
