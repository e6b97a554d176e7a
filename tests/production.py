"""A store with a champion, what servers send to it, and a watch of it."""

import base64
from collections.abc import Callable
from datetime import UTC, datetime

import numpy as np
import pytest
from recorded import label_of, micros, write_segment

from infra import reference
from infra.storage import FolderStore, Store
from inkloop import digits
from inkloop.corruptions import corrupt
from inkloop.digits import Digits
from inkloop.runtime import Recognizer
from monitoring.drift.detector import Detector
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
        state = State.model_validate_json(self.store.get(STATE))
        return Detector.from_bytes(base64.b64decode(state.detector)).seen


@pytest.fixture(scope="session")
def mixed(mnist) -> Digits:
    """Validation digits in an order that says nothing: MNIST's own has one writer's together."""
    return mnist["validation"].take(np.random.default_rng(0).permutation(len(mnist["validation"])))


@pytest.fixture
def publish_with_references(publish_both, mixed, first, second) -> Callable[[Store], None]:
    """Publishes both models, each with 1,000 digits as its reference, and makes the first one champion."""

    def publish(store: Store) -> None:
        publish_both(store)
        known = mixed.take(slice(0, 1000))
        for model in (first, second):
            reference.publish(store, model, digits.to_table(known.images, known.labels, "mnist", "validation"))

    return publish


@pytest.fixture
def production(tmp_path, publish_with_references) -> Production:
    store = FolderStore(tmp_path / "store")
    publish_with_references(store)
    return Production(store, tmp_path / "captured")


@pytest.fixture
def usual(mixed) -> Digits:
    """Digits of those that the champion was made for."""
    return mixed.take(slice(1000, 1400))


@pytest.fixture
def unusual(usual) -> Digits:
    """The same by a pen that the champion misreads."""
    return Digits(corrupt(usual.images, "canny edges", seed=0), usual.labels, usual.ids)
