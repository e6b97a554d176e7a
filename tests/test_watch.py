"""The watch: sees other handwriting, asks for labels, starts a retraining, tries models, and survives being killed."""

import base64
from datetime import UTC, datetime, timedelta

import numpy as np
import pytest
from production import EAGER
from served import crown

from infra import challenger, lease, registry, runs
from infra.storage import Conflict
from inkloop.errors import UserError
from monitoring import decisions, requests, retrainings
from monitoring.drift.detector import Detector, DetectorSettings
from monitoring.retrainings import Retraining
from monitoring.watch import STATE, Watch


def test_the_usual_digits_are_no_news(production, first, usual):
    production.send(first, usual, labeled=True)

    state = production.look()

    assert (production.told, production.started, state.drifts) == ([], [], ())
    assert state.points[-1].answers == 400
    assert state.points[-1].accuracy == pytest.approx(
        (first.probabilities(usual.images).argmax(1) == usual.labels).mean()
    )
    assert decisions.latest(production.store).verdict == "quiet"


def test_other_handwriting_is_an_alarm_and_people_are_asked_for_labels(production, first, unusual):
    production.send(first, unusual)

    state = production.look()

    assert state.drifts and production.told[0].startswith("Drift: ")
    assert production.started == []
    assert decisions.latest(production.store).verdict == "ask for labels"


def test_once_labels_show_that_it_is_misread_a_retraining_starts_once(production, first, unusual):
    production.send(first, unusual, labeled=True)

    for _ in range(3):
        production.look()

    assert [cause for cause, _ in production.started] == ["regret"]
    assert decisions.history(production.store, 9)[0].start


def test_each_answer_is_taken_in_once_however_often_the_watch_dies(production, first, usual):
    for part in range(4):
        production.send(first, usual.take(slice(100 * part, 100 * (part + 1))))
        production.watch = production.another()
        production.look()
        production.look()

    assert production.seen() == 400


def test_a_watch_that_dies_before_it_has_kept_what_it_knows_tells_the_same_again(production, first, unusual):
    production.look()
    production.send(first, unusual)
    put = production.store.put

    def away(key, *arguments, **options):
        if key == STATE:
            raise UserError("the store is away")
        return put(key, *arguments, **options)

    production.store.put = away
    with pytest.raises(UserError, match="away"):
        production.look()
    production.store.put = put
    told = production.ids.copy()
    production.look()

    assert production.seen() == 400
    drift = production.ids[0]
    assert told.count(drift) == 1 and production.ids.count(drift) == 2, "the same event, with the same id"


def test_of_two_watches_at_once_one_gives_way(production, first, usual):
    production.look()
    production.send(first, usual)
    other = production.another()
    put = production.store.put

    def slower(key, *arguments, **options):
        if key == STATE:
            production.store.put = put
            other.look(datetime.now(UTC))
        return put(key, *arguments, **options)

    production.store.put = slower
    with pytest.raises(Conflict):
        production.look()

    assert production.seen() == 400


def test_a_new_champion_is_told_and_compared_with_its_own_reference(production, first, second, unusual):
    production.send(first, unusual)
    production.look()
    crown(production.store, second.digest)

    state = production.look()

    assert production.told[-1] == f"Champion {second.version} answers"
    assert (state.champion, state.drifts, production.seen()) == (second.digest, (), 0)


@pytest.mark.parametrize("jump", [timedelta(days=400), timedelta(days=-400)])
def test_a_server_whose_clock_jumps_is_still_listened_to(production, first, usual, jump):
    now = datetime.now(UTC)
    for part, when in enumerate([now, now + jump, now]):
        production.send(first, usual.take(slice(100 * part, 100 * (part + 1))), when=when)
        production.look()

    assert production.seen() == (300 if jump > timedelta(0) else 200)


def test_a_challenger_that_production_finds_no_worse_is_promoted(production, first, second, usual):
    crown(production.store, second.digest)
    challenger.challenge(production.store, first.digest, None, "ada")
    production.send(second, usual, labeled=True, when=datetime.now(UTC) + timedelta(seconds=5))

    production.look()

    champion = registry.reigning(production.store)
    assert champion.digest == first.digest
    assert "after a trial: " in champion.decision["reason"]
    assert challenger.challenger(production.store) is None


def test_a_challenger_that_misreads_production_is_withdrawn(production, first, second, usual):
    challenger.challenge(production.store, second.digest, 0.1, "ada")
    production.send(first, usual, labeled=True, when=datetime.now(UTC) + timedelta(seconds=5))

    production.look()

    assert registry.reigning(production.store).digest == first.digest
    assert challenger.challenger(production.store) is None
    assert production.told == [f"Challenger {second.version} was withdrawn"]


def test_a_champion_that_reads_worse_than_the_one_before_is_rolled_back_with_the_reason(
    production, first, second, usual
):
    crown(production.store, second.digest)
    production.send(second, usual, labeled=True, when=datetime.now(UTC) + timedelta(seconds=5))

    production.look()

    champion = registry.reigning(production.store)
    assert champion.digest == first.digest
    assert "of 400 labeled digits of production" in champion.rolled_back[0].reason
    production.look()
    assert registry.reigning(production.store).digest == first.digest, "and not back again"


def test_few_labels_are_no_trial(production, second, usual):
    crown(production.store, second.digest)
    production.send(second, usual.take(np.arange(199)), labeled=True, when=datetime.now(UTC) + timedelta(seconds=5))

    production.look()

    assert registry.reigning(production.store).digest == second.digest


def test_a_retraining_whose_process_died_is_said_to_have_failed_and_one_that_runs_is_not(production, first):
    with lease.held(production.store, decisions.LEASE):
        begun = begun_at(datetime.now(UTC), first)
        retrainings.keep(production.store, begun)
        production.look()
        assert retrainings.history(production.store) == [begun]
    production.watch.look(datetime.now(UTC) + timedelta(minutes=1))

    assert [(each.outcome, each.verdict) for each in retrainings.history(production.store)] == [
        ("failed", "its process died")
    ]
    assert production.told == [f"Retraining {begun.id}: failed"]


def test_one_that_died_is_known_as_soon_as_the_next_one_runs(production, first):
    retrainings.keep(production.store, begun_at(datetime.now(UTC) - timedelta(minutes=3), first))

    with lease.held(production.store, decisions.LEASE):
        production.look()

    assert [each.outcome for each in retrainings.history(production.store)] == ["failed"]


def test_what_people_started_counts_as_a_run_too(production, first, unusual):
    now = datetime.now(UTC)
    ended = {"outcome": "refused", "ended": now}
    retrainings.keep(production.store, begun_at(now, first).model_copy(update=ended))
    production.send(first, unusual, labeled=True, when=now + timedelta(seconds=1))

    decision = production.another().look(now + timedelta(seconds=2))[1]

    assert decision.cause == "regret"
    assert "a run is worth 80" in decision.reason, "twice the price after one in vain"


def test_a_detector_that_is_to_be_more_or_less_patient_begins_anew(production, first, usual):
    production.send(first, usual.take(slice(0, 100)))
    production.look()
    patient = EAGER.model_copy(update={"detector": DetectorSettings(expected_run=1_000)})
    production.send(first, usual.take(slice(100, 250)))

    changed = Watch(production.store, patient, lambda *_: None, lambda _: None).look(datetime.now(UTC))[0]

    detector = Detector.from_bytes(base64.b64decode(changed.detector))
    assert (detector.seen, changed.detector_settings) == (150, patient.detector)


@pytest.mark.parametrize(("outcome", "new"), [("failed", 400), ("refused", 0)])
def test_labels_stay_new_until_a_retraining_has_learned_from_them(production, first, unusual, outcome, new):
    production.send(first, unusual, labeled=True)
    later = datetime.now(UTC) + timedelta(hours=1)
    ended = begun_at(later, first).model_copy(update={"outcome": outcome, "ended": later})
    retrainings.keep(production.store, ended)

    decision = production.watch.look(later + timedelta(hours=3))[1]

    assert decision.signals.labels.usable == new


def test_who_asks_for_a_retraining_gets_one_unless_nothing_is_labeled(production, first, usual):
    now = datetime.now(UTC)
    requests.ask(production.store, "ada", "new pens", now)
    production.look()
    assert (production.started, production.told) == ([], ["No retraining"])

    production.send(first, usual, labeled=True)
    requests.ask(production.store, "ada", "new pens", now)
    requests.ask(production.store, "bert", "me too", now + timedelta(seconds=1))
    with lease.held(production.store, decisions.LEASE):
        production.look()
    assert production.started == [], "one runs, so they wait"
    production.look()

    assert production.started == [("asked for", "ada: new pens; bert: me too")]
    assert requests.pending(production.store) == []


def test_a_damaged_detector_is_made_anew(production, first, usual):
    production.send(first, usual.take(slice(0, 100)))
    known = production.look()
    damaged = known.model_copy(update={"detector": known.detector[:100]})
    production.store.put(STATE, damaged.model_dump_json().encode())
    production.send(first, usual.take(slice(100, 250)))

    production.look()

    assert production.seen() == 150


def test_a_retraining_that_is_starting_is_one_that_runs(production, first, unusual):
    production.send(first, unusual, labeled=True)
    production.look()
    production.send(first, unusual.take(slice(0, 50)))

    decision = production.watch.look(datetime.now(UTC))[1]

    assert (decision.verdict, decision.obstacle) == ("wait", "running")
    assert production.told[-1] == "Retraining: start", "that one waits for it is no news"


def begun_at(then, champion):
    return Retraining(
        id=runs.new_id(then),
        cause="regret",
        why="too many errors",
        started=then,
        champion=champion.digest,
        production="none",
        data_version=None,
        digits=200,
    )
