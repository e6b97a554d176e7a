"""The operators' page of the tests: a store with all that a loop leaves in it, and the page over it on a port."""

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta

import httpx
import pytest
import uvicorn
from served import crown, wait_until
from server import free_port

from infra import api_keys, registry, runs
from infra.runs import Model, Run, Step
from infra.storage import FolderStore, Store
from monitoring import decisions, retrainings
from monitoring.operator.app import create_app
from monitoring.retrainings import Retraining
from monitoring.state import Drift, Point, State
from monitoring.triggers import Labels, Past, Signals, TriggerSettings, decide
from monitoring.watch import STATE

HTML = {"accept": "text/html"}
STEPS = ("Ingest digits", "Validate data", "Train teacher", "Judge challenger")


@pytest.fixture
def home(tmp_path, model_directory, other_model_directory) -> FolderStore:
    """A store whose champion came after another."""
    store = FolderStore(tmp_path / "store")
    crown(store, registry.publish(store, other_model_directory))
    crown(store, registry.publish(store, model_directory))
    return store


@pytest.fixture
def key(home) -> str:
    """Ada's key, an operator's."""
    return api_keys.add(home, "ada", operator=True)


@pytest.fixture
def corrections_key(home) -> str:
    """Bob's key, for corrections alone."""
    return api_keys.add(home, "bob")


@pytest.fixture
def operators(home) -> Iterator[httpx.Client]:
    """A client of the page, as a browser asks, on this machine."""
    with showing(home) as client:
        yield client


@contextmanager
def showing(store: Store, local: bool = True) -> Iterator[httpx.Client]:
    port = free_port()
    server = uvicorn.Server(uvicorn.Config(create_app(store, local), port=port, log_level="warning"))
    thread = threading.Thread(target=server.run)
    thread.start()
    wait_until(lambda: server.started, 20)
    try:
        with httpx.Client(base_url=f"http://127.0.0.1:{port}", headers=HTML, timeout=30) as client:
            yield client
    finally:
        server.should_exit = True
        thread.join()


def digests(store: Store) -> tuple[str, str]:
    """The champion before and the champion."""
    before, now = registry.history(store)[-2:]
    return before.digest, now.digest


def run_of(challenger: str, text: str = "reads 98.99% of the test digits", promoted: bool = True) -> Run:
    now = datetime.now(UTC)
    return Run(
        id=runs.new_id(now),
        started=now,
        wall_s=71.5,
        profile="retrain",
        cause="drift",
        steps=[Step(name=name[:5], title=name, seconds=12 * at, cached=not at) for at, name in enumerate(STEPS)],
        models={"int8": Model(test_accuracy=0.9871, parameters=79_069, size_bytes=97_239, latency_p50_us=109.8)},
        challenger=challenger,
        promoted=promoted,
        verdict=text,
    )


def watched(store: Store, text: str = "slant") -> State:
    """What a watch leaves: points, a drift, a decision, a retraining."""
    champion, now = registry.reigning(store), datetime.now(UTC)
    signals = Signals(
        model_version=champion.version,
        promised=0.9886,
        accuracy=0.9,
        accuracy_high=0.92,
        quality_labels=500,
        labels=Labels(by_class=(60,) * 10, suspicious=400, suspicions=(text,)),
    )
    decided = decide(signals, Past(counted_from=now - timedelta(hours=3)), TriggerSettings(), now)
    decisions.record(store, decided)
    drift = Drift(at=now, version=champion.version, feature=text, direction="higher", images=120)
    point = Point(at=now, version=champion.version, answers=1234, score=0.42, loudest=text, accuracy=0.9, labels=500)
    state = State(champion=champion.digest, drifts=(drift,), points=(point,))
    store.put(STATE, state.model_dump_json().encode())
    started = {"started": now, "champion": champion.digest, "production": "p", "data_version": None, "digits": 4_321}
    retrainings.keep(store, Retraining(id=runs.new_id(now), cause="regret", why=text, verdict=text, **started))
    return state
