"""The watch under attack: killed at any point, its store away for a minute, a second watch beside it."""

import os
import random
import signal
import subprocess
import sys
import time
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path

import pytest
import yaml
from production import Production
from served import wait_until

from infra import lease
from infra.storage import Missing, Store, open_store
from monitoring import decisions
from monitoring.state import State
from monitoring.watch import STATE

ROOT = Path(__file__).parents[1]
QUICK = {"interval_s": 0.1, "metrics_port": 0, "lease_s": 2, "watch": {"triggers": {"cooldown_hours": 24}}}
KILLS = 12

pytestmark = pytest.mark.faults


@contextmanager
def watching(store: str, folder: Path, name: str = "watch"):
    """A watch as `make watch` starts it."""
    settings = folder / "watch.yaml"
    settings.write_text(yaml.safe_dump(QUICK))
    command = [sys.executable, "-m", "pipeline", "watch", f"--store={store}", f"--settings={settings}"]
    with (folder / f"{name}.log").open("a") as log:
        process = subprocess.Popen(
            [*command, f"--artifacts={folder / 'artifacts'}"], cwd=ROOT, stdout=log, stderr=log, start_new_session=True
        )
    try:
        yield process
    finally:
        process.kill()
        process.wait()


def answers_known(store: Store) -> int:
    try:
        return sum(point.answers for point in State.model_validate_json(store.get(STATE)).points)
    except Missing:
        return 0


def has_begun(store: Store, after: datetime) -> bool:
    """Whether a watch took the lease since then."""
    held = lease.holder(store, decisions.WATCH_LEASE, datetime.now(UTC))
    return held is not None and held.since > after


def test_killed_at_any_point_it_takes_in_each_answer_once(production, first, usual, tmp_path):
    chance = random.Random(0)
    for part in range(KILLS):
        production.send(first, usual.take(slice(33 * part, 33 * (part + 1))))
        begun = datetime.now(UTC)
        with watching(str(production.store), tmp_path) as process:
            wait_until(lambda: has_begun(production.store, begun), 60)  # noqa: B023
            time.sleep(chance.random())
            os.kill(process.pid, signal.SIGKILL)
    with watching(str(production.store), tmp_path):
        wait_until(lambda: answers_known(production.store) == 33 * KILLS, 60)
        time.sleep(2)

    assert production.seen() == answers_known(production.store) == 33 * KILLS


def test_of_two_at_once_one_waits_and_takes_over_when_the_other_dies(production, first, unusual, tmp_path):
    with watching(str(production.store), tmp_path, "one") as one, watching(str(production.store), tmp_path, "other"):
        production.send(first, unusual.take(slice(0, 200)))
        wait_until(lambda: answers_known(production.store) == 200, 60)
        os.kill(one.pid, signal.SIGKILL)
        production.send(first, unusual.take(slice(200, 400)))
        wait_until(lambda: answers_known(production.store) == 400, 60)

    assert production.seen() == 400
    assert len(decisions.history(production.store, 99)) <= 2
    assert "holds it since" in (tmp_path / "one.log").read_text() + (tmp_path / "other.log").read_text()


@pytest.mark.s3
def test_a_store_that_is_away_for_a_minute_costs_nothing(
    network, s3_bucket, first, publish_with_references, usual, tmp_path
):
    url = f"s3://{s3_bucket}/loop"
    store = open_store(url)
    publish_with_references(store)
    production = Production(store, tmp_path / "captured")
    production.send(first, usual.take(slice(0, 200)))
    with watching(url, tmp_path) as process:
        wait_until(lambda: answers_known(store) == 200, 60)
        network.down()
        time.sleep(30)
        network.hang()
        time.sleep(30)
        network.up()
        production.send(first, usual.take(slice(200, 400)))
        wait_until(lambda: answers_known(store) == 400, 120)
        assert process.poll() is None

    assert production.seen() == 400
    assert datetime.now(UTC) > State.model_validate_json(store.get(STATE)).points[-1].at
