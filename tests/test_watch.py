"""The watch: sees other handwriting, asks for labels, starts a retraining, tries models, and survives being killed."""

from datetime import UTC, datetime, timedelta

import numpy as np
import pytest
from recorded import label_of, micros, write_segment
from served import crown

from infra import challenger, lease, reference, registry
from infra.storage import Conflict, FolderStore, Store
from inkloop import digits
from inkloop.corruptions import corrupt
from inkloop.digits import Digits
from inkloop.errors import UserError
from inkloop.runtime import Recognizer
from monitoring import decisions, requests, retrainings
from monitoring.detector import Detector
from monitoring.retrainings import Retraining
from monitoring.state import State, WatchSettings
from monitoring.triggers import TriggerSettings
from monitoring.watch import STATE, Watch
from serving import shipping
from serving.records import Record, new_id

EAGER = WatchSettings(triggers=TriggerSettings(cooldown_hours=0, min_labels=100, errors_per_training_minute=4.0))


class Production:
    """A store with a champion, what a server sends to it, and a watch of it."""

    def __init__(self, store: Store, folder) -> None:
        self.store, self.folder = store, folder
        self.started: list[tuple[str, str]] = []
        self.told: list[str] = []
        self.ids: list[str] = []
        self.watch = self.another()

    def another(self) -> Watch:
        """A watch that knows nothing but what is in the store."""
        return Watch(self.store, EAGER, lambda cause, why: self.started.append((cause, why)), self.tell)

    def tell(self, event) -> None:
        self.told.append(event.title)
        self.ids.append(event.id)

    def send(self, model: Recognizer, sent: Digits, labeled: bool = False, when: datetime | None = None) -> None:
        """Answers of the model to these digits arrive in the store, with their labels if people gave some."""
        said = model.probabilities(sent.images)
        rows = zip(sent.images, said, strict=True)
        seen = [
            Record("answer", new_id(), micros(when), int(each.argmax()), b"", "scans", model.version, image, each)
            for image, each in rows
        ]
        write_segment(self.folder, seen)
        if labeled:
            labels = zip(seen, sent.labels.tolist(), strict=True)
            write_segment(self.folder, [label_of(record, label, later_s=0.001) for record, label in labels])
        shipping.ship(self.folder, self.store)

    def look(self) -> State:
        return self.watch.look(datetime.now(UTC))[0]

    def seen(self) -> int:
        """How many answers the detector has had."""
        import base64

        state = State.model_validate_json(self.store.get(STATE))
        return Detector.from_bytes(base64.b64decode(state.detector)).seen


@pytest.fixture
def production(tmp_path, few_digits, first, second, publish_both) -> Production:
    store = FolderStore(tmp_path / "store")
    publish_both(store)
    for model in (first, second):
        reference.publish(store, model, digits.read_table(few_digits))
    return Production(store, tmp_path / "captured")


@pytest.fixture
def usual(mnist) -> Digits:
    """Digits of those that the champion was made for."""
    return mnist["validation"].take(slice(1000, 1400))


@pytest.fixture
def unusual(usual) -> Digits:
    """The same by a pen that the champion misreads."""
    return Digits(corrupt(usual.images, "canny edges", seed=0), usual.labels, usual.ids)


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

    assert production.seen() == 300 if jump > timedelta(0) else 200


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
    then = datetime.now(UTC) - timedelta(hours=1)
    begun = Retraining(
        id=retrainings.new_id(then),
        cause="regret",
        why="too many errors",
        started=then,
        champion=first.digest,
        production="none",
        data_version=None,
        digits=200,
    )
    retrainings.keep(production.store, begun)

    with lease.held(production.store, decisions.LEASE):
        production.look()
        assert retrainings.history(production.store) == [begun]
    production.look()

    assert [(each.outcome, each.verdict) for each in retrainings.history(production.store)] == [
        ("failed", "its process died")
    ]
    assert production.told == [f"Retraining {begun.id} failed"]


def test_who_asks_for_a_retraining_gets_one_unless_nothing_is_labeled(production, first, usual):
    now = datetime.now(UTC)
    requests.ask(production.store, "ada", "new pens", now)
    production.look()
    assert (production.started, production.told) == ([], ["No retraining"])

    production.send(first, usual, labeled=True)
    requests.ask(production.store, "ada", "new pens", now)
    requests.ask(production.store, "bert", "me too", now)
    with lease.held(production.store, decisions.LEASE):
        production.look()
    assert production.started == [], "one runs, so they wait"
    production.look()

    assert production.started == [("asked for", "ada: new pens")]
    assert [request.by for request in requests.pending(production.store)] == ["bert"]
