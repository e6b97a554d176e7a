"""A retraining: what it starts from, one at a time, and what is kept of it; on Kubeflow it is followed to its end."""

import subprocess
import sys
from datetime import UTC, datetime
from pathlib import Path

import pytest
from production import Production
from rich.console import Console
from served import crown, wait_until

from infra import datasets, lease, openlineage, registry, runs
from infra.storage import open_store
from inkloop.digits import Digits
from inkloop.errors import UserError
from monitoring import decisions, retrainings
from pipeline.local import StepFailed
from pipeline.retrain import Place, RetrainingSettings, retrain

QUIET = Console(quiet=True)
ROOT = Path(__file__).parents[1]


def started(store: str, folder: Path, host: str = "") -> retrainings.Retraining:
    place = Place(store, folder / "artifacts", folder / "data", host)
    return retrain(place, RetrainingSettings(), "regret", "errors", QUIET)


def without_mnist(folder: Path) -> None:
    """It cannot be fetched, for something stands in its place."""
    (folder / "data").mkdir()
    (folder / "data" / "mnist").write_text("in the way")


def test_without_a_champion_there_is_nothing_to_train_on(tmp_path):
    with pytest.raises(UserError, match=r"no champion in .* yet"):
        started(str(tmp_path / "store"), tmp_path)


def test_without_labels_there_is_nothing_to_learn(production, first, usual, tmp_path):
    production.send(first, usual)
    with pytest.raises(UserError, match=r"nothing in .* is labeled yet"):
        started(str(production.store), tmp_path)
    assert retrainings.history(production.store) == []


def test_two_at_a_time_are_one(production, tmp_path):
    with lease.held(production.store, decisions.LEASE), pytest.raises(lease.Taken, match="holds it since"):
        started(str(production.store), tmp_path)


def test_what_goes_wrong_is_kept(production, first, usual, tmp_path):
    production.send(first, usual, labeled=True)
    without_mnist(tmp_path)

    with pytest.raises(StepFailed, match="The step ingest failed"):
        started(str(production.store), tmp_path)

    (kept,) = retrainings.history(production.store)
    assert (kept.outcome, kept.digits, kept.champion) == ("failed", 400, first.digest)
    assert kept.verdict.startswith("The step ingest failed")
    assert datasets.read(production.store, kept.production).num_rows == 400
    (run,) = runs.history(production.store, 9)
    assert (run.failed, run.promoted, run.steps) == ("Ingest digits", False, ())
    assert "The whole log: " in run.verdict
    events = openlineage.read(production.store, run.id)
    assert [each["eventType"] for each in events] == ["START", "START", "FAIL", "FAIL"]


def test_it_is_for_the_hardware_that_the_champion_was_chosen_for(production, first, second, usual, tmp_path):
    decision = {"promoted": True, "hardware": "edge"}
    registry.promote(production.store, second.digest, decision, expected=first.digest)
    registry.rollback(production.store, "misreads 7", "ada")
    production.send(first, usual, labeled=True)
    without_mnist(tmp_path)

    with pytest.raises(StepFailed):
        started(str(production.store), tmp_path)

    (run,) = runs.history(production.store, 9)
    settings = openlineage.read(production.store, run.id)[0]["run"]["facets"]["inkloop_settings"]["parameters"]
    assert settings["hardware"] == {"name": "edge"}


def test_one_that_is_stopped_says_so_and_lets_the_next_begin(production, first, usual, tmp_path):
    production.send(first, usual, labeled=True)
    options = [f"--store={production.store}", f"--artifacts={tmp_path / 'artifacts'}", f"--data={tmp_path / 'data'}"]
    with subprocess.Popen([sys.executable, "-m", "pipeline", "retrain", *options], cwd=ROOT) as process:
        wait_until(lambda: bool(retrainings.history(production.store)), 60)
        process.terminate()
        process.wait(60)

    (kept,) = retrainings.history(production.store)
    assert (kept.outcome, kept.verdict) == ("failed", "it was stopped")
    assert lease.holder(production.store, decisions.LEASE, datetime.now(UTC)) is None


def test_pictures_that_validation_would_refuse_are_left_out(production, first, usual, tmp_path):
    inverted = Digits(255 - usual.images[:20], usual.labels[:20], usual.ids[:20])
    production.send(first, usual, labeled=True)
    production.send(first, inverted, labeled=True)
    without_mnist(tmp_path)

    with pytest.raises(StepFailed):
        started(str(production.store), tmp_path)

    (kept,) = retrainings.history(production.store)
    assert (kept.digits, kept.left_out) == (400, 20)


@pytest.mark.s3
@pytest.mark.parametrize(
    ("end", "outcome"), [("SUCCEEDED", "promoted"), ("SUCCEEDED", "refused"), ("FAILED", "failed")]
)
def test_on_kubeflow_the_same_graph_runs_and_the_lease_is_held_until_its_end(
    kubeflow, s3_bucket, first, second, publish_with_references, usual, tmp_path, monkeypatch, end, outcome
):
    url = f"s3://{s3_bucket}/cluster"
    store = open_store(url)
    publish_with_references(store)
    production = Production(store, tmp_path / "captured")
    production.send(first, usual, labeled=True)
    kubeflow.states = [end]
    held = []

    def while_it_runs(method: str, path: str, *rest: object):
        if path.endswith("/runs/r1"):
            held.append(lease.holder(store, decisions.LEASE, datetime.now(UTC)))
            if outcome == "promoted":
                crown(store, second.digest)
        return answer(method, path, *rest)

    answer = kubeflow.answer
    monkeypatch.setattr(kubeflow, "answer", while_it_runs)
    ended = started(url, tmp_path, kubeflow.url)

    assert (ended.outcome, ended.verdict) == (outcome, f"{end.lower()}: {kubeflow.url}/#/runs/details/r1")
    assert retrainings.history(store) == [ended]
    assert held[0] is not None and lease.holder(store, decisions.LEASE, datetime.now(UTC)) is None
    (run,) = kubeflow.bodies("POST", "/apis/v2beta1/runs")
    assert ended.production.encode() in run and first.digest.encode() in run
    assert registry.reigning(store).digest == (second if outcome == "promoted" else first).digest
