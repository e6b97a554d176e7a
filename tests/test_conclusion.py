"""The record of a run on Kubeflow: kept if it succeeded, kept if it failed, and people hear of a failure."""

import json
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from figures import FIGURES, REPORT
from kfp import dsl, local
from kubeflow import Failure, Kubeflow

from components.component import component
from components.conclude import conclude
from components.record import record
from infra import runs
from infra.storage import open_store
from inkloop.errors import UserError
from inkloop.gate import Decision
from pipeline import graph

STARTED = "2026-11-25T12:00:00Z"
RUN = {"run_id": "r1", "started": STARTED, "profile": "smoke", "cause": "schedule"}
ID = "20261125T120000.000000Z-r1"
DECISION = Decision(
    promoted=True,
    reason="reads 99.00% of the test digits",
    challenger="0d751dc55293",
    champion=None,
    challenger_accuracy=0.99,
    worse_slices=(),
)


@pytest.fixture
def receiver(kubeflow: Kubeflow, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Kubeflow:
    """A server that takes one webhook, and is the address that people are told at."""
    monkeypatch.setenv("INKLOOP_NOTIFY_WEBHOOK_URL", f"{kubeflow.url}/webhook")
    monkeypatch.setenv("INKLOOP_NOTIFY_FOLDER", str(tmp_path / "waiting"))
    kubeflow.failures["POST", "/webhook"] = [Failure(200)]
    return kubeflow


def status(state: str, message: str | None = None) -> dsl.PipelineTaskFinalStatus:
    return dsl.PipelineTaskFinalStatus(
        state=state,
        pipeline_job_resource_name="inkloop-x",
        pipeline_task_name="exit-handler-1",
        error_code=None,
        error_message=message,
    )


def task(name: str, state: str, seconds: int = 60, said: str = "") -> dict:
    end = datetime.fromisoformat(STARTED) + timedelta(seconds=seconds)
    error = {"error": {"code": 13, "message": said}} if said else {}
    return {"display_name": name, "state": state, "start_time": STARTED, "end_time": end.isoformat(), **error}


def succeed(store: Path, folder: Path) -> None:
    """The last step of the main line."""
    for name, value in (("report", REPORT), ("decision", DECISION)):
        (folder / name).write_text(value.model_dump_json())
    record.python_func(
        report=dsl.Artifact(uri=str(folder / "report")),
        decision=dsl.Artifact(uri=str(folder / "decision")),
        store=str(store),
        **RUN,
    )


def end(store: Path, kubeflow: Kubeflow, state: str, message: str | None = None) -> runs.Run:
    conclude.python_func(status=status(state, message), titles=graph.TITLES, store=str(store), api=kubeflow.url, **RUN)
    (kept,) = runs.history(open_store(str(store)), 5)
    return kept


def told(receiver: Kubeflow) -> list[dict[str, str]]:
    return [json.loads(body) for body in receiver.bodies("POST", "/webhook")]


def test_a_run_that_succeeded_is_kept_with_its_figures_and_steps(receiver: Kubeflow, tmp_path: Path):
    succeed(tmp_path / "store", tmp_path)
    receiver.tasks = [task("train-driver", "SUCCEEDED"), task("train", "SUCCEEDED", 90), task("ingest", "SUCCEEDED", 4)]
    kept = end(tmp_path / "store", receiver, "COMPLETE")
    assert (kept.id, kept.profile, kept.cause, kept.failed) == (ID, "smoke", "schedule", "")
    assert kept.models["int8"].test_accuracy == FIGURES.test_accuracy
    assert (kept.promoted, kept.challenger, kept.verdict) == (True, DECISION.challenger, DECISION.reason)
    assert [(step.title, step.seconds) for step in kept.steps] == [("Ingest digits", 4), ("Train teacher", 90)]
    assert kept.wall_s > 0
    assert told(receiver) == []


def test_a_run_that_failed_is_kept_with_its_step_and_people_hear_of_it(receiver: Kubeflow, tmp_path: Path):
    receiver.tasks = [task("ingest", "SUCCEEDED"), task("train", "FAILED", said="OOMKilled"), task("root", "FAILED")]
    kept = end(tmp_path / "store", receiver, "FAILED")
    assert (kept.failed, kept.verdict) == ("Train teacher", "OOMKilled")
    assert [step.name for step in kept.steps] == ["ingest"]
    assert kept.models == {}
    (event,) = told(receiver)
    assert event["kind"] == "run"
    assert event["title"] == "Run smoke on Kubeflow failed: Train teacher"
    assert event["text"] == "OOMKilled"


def test_some_kubeflows_say_running_of_a_run_that_failed(receiver: Kubeflow, tmp_path: Path):
    kept = end(tmp_path / "store", receiver, "RUNNING")
    assert kept.failed == "a step that Kubeflow did not name"
    assert "Kubeflow says running" in kept.verdict


def test_a_run_that_failed_after_its_figures_were_kept_has_failed(receiver: Kubeflow, tmp_path: Path):
    succeed(tmp_path / "store", tmp_path)
    kept = end(tmp_path / "store", receiver, "FAILED", "disk full")
    assert (kept.verdict, kept.models, kept.promoted) == ("disk full", {}, False)


@pytest.mark.parametrize("failure", [Failure(401, "<html>who?</html>"), Failure(200, "<html>log in</html>")])
def test_the_record_is_kept_where_kubeflow_does_not_tell(receiver: Kubeflow, tmp_path: Path, failure: Failure):
    succeed(tmp_path / "store", tmp_path)
    receiver.fail("GET", "/healthz", failure)
    kept = end(tmp_path / "store", receiver, "SUCCEEDED")
    assert (kept.failed, kept.steps, kept.promoted) == ("", (), True)


def test_a_step_that_could_not_tell_people_fails_and_the_next_try_tells_them_once(receiver: Kubeflow, tmp_path: Path):
    receiver.failures["POST", "/webhook"] = [Failure(404)]
    with pytest.raises(UserError, match="not everyone was told"):
        end(tmp_path / "store", receiver, "FAILED")
    receiver.failures["POST", "/webhook"] = [Failure(200)]
    end(tmp_path / "store", receiver, "FAILED")
    assert len({event["id"] for event in told(receiver)}) == 1
    assert list((tmp_path / "waiting").iterdir()) == []


def test_two_runs_of_one_second_have_a_record_each(receiver: Kubeflow, tmp_path: Path):
    started = datetime(2026, 11, 25, 12, tzinfo=UTC)
    assert runs.new_id(started, "r1") == ID < runs.new_id(started, "r2")


@component
def fail() -> None:
    raise ValueError("no such digit")


def test_kfps_own_exit_handler_calls_it_when_a_step_fails(kubeflow: Kubeflow, tmp_path: Path):
    """By kfp's local runner, which hands it what happened as a cluster does."""
    given = {**RUN, "titles": graph.TITLES, "store": str(tmp_path / "store"), "api": kubeflow.url}

    @dsl.pipeline(name="digits")
    def digits() -> None:
        with dsl.ExitHandler(conclude(**given)):
            fail()

    local.init(local.SubprocessRunner(use_venv=False), str(tmp_path / "runs"), raise_on_error=False)
    digits()
    (kept,) = runs.history(open_store(str(tmp_path / "store")), 5)
    assert kept.failed and kept.profile == "smoke"
