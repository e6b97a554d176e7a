"""Recurring runs on Kubeflow: one for each profile, whatever is repeated, changed, or cut off in between."""

import json
import os
from dataclasses import replace
from pathlib import Path

import pytest
from kfp import dsl
from kubeflow import Failure, Kubeflow
from openapi import FILE, Swagger
from typer.testing import CliRunner

from components.component import component
from inkloop.errors import UserError
from pipeline.cluster import Job, ended, submit
from pipeline.commands.graph import app
from pipeline.schedule import schedule, schedules, unschedule

RECURRING = "/apis/v2beta1/recurringruns"
SWAGGER_VARIABLE = "INKLOOP_KFP_SWAGGER"  # a folder with kubeflow/pipelines' backend/api/v2beta1/swagger


@component
def count(seed: int) -> int:
    return seed


@dsl.pipeline(name="inkloop")
def digits(training: dict, seed: int) -> None:
    count(seed=seed)


JOB = Job(digits, {"training": {"epochs": 3}, "seed": 7}, "smoke", "commit 0d751dc", "s3://bucket/artifacts")


def test_a_recurring_run_starts_the_profiles_version_one_at_a_time(kubeflow: Kubeflow):
    made, is_new = schedule(replace(JOB, service_account="trainer"), kubeflow.url, "0 3 * * *")
    assert is_new and made.name == "inkloop smoke" and made.status == "ENABLED"
    (body,) = (json.loads(each) for each in kubeflow.bodies("POST", RECURRING))
    assert body["trigger"] == {"cron_schedule": {"cron": "0 0 3 * * *"}}
    assert body["pipeline_version_reference"] == {"pipeline_id": "p1", "pipeline_version_id": "v1"}
    assert body["runtime_config"] == {"parameters": dict(JOB.arguments), "pipeline_root": "s3://bucket/artifacts"}
    assert (body["max_concurrency"], body["no_catchup"], body["service_account"]) == ("1", True, "trainer")


def test_the_same_again_changes_nothing(kubeflow: Kubeflow):
    first, _ = schedule(JOB, kubeflow.url, "@daily")
    again, is_new = schedule(JOB, kubeflow.url, "0 0 * * *")
    assert (again, is_new) == (first, False)
    assert len(kubeflow.recurring) == len(kubeflow.bodies("POST", RECURRING)) == 1


@pytest.mark.parametrize(
    ("job", "cron"),
    [
        (JOB, "0 4 * * *"),
        (replace(JOB, arguments={"training": {"epochs": 4}, "seed": 7}), "0 3 * * *"),
        (replace(JOB, root="s3://other"), "0 3 * * *"),
        (replace(JOB, service_account="trainer"), "0 3 * * *"),
    ],
)
def test_what_has_changed_replaces_what_was_there(kubeflow: Kubeflow, job: Job, cron: str):
    first, _ = schedule(JOB, kubeflow.url, "0 3 * * *")
    second, is_new = schedule(job, kubeflow.url, cron)
    assert is_new
    assert schedules(kubeflow.url) == [second]
    assert second.id != first.id


def test_one_that_was_switched_off_is_on_again(kubeflow: Kubeflow):
    schedule(JOB, kubeflow.url, "@daily")
    kubeflow.recurring[0]["status"] = "DISABLED"
    schedule(JOB, kubeflow.url, "@daily")
    assert [each.status for each in schedules(kubeflow.url)] == ["ENABLED"]


def test_cut_off_in_between_there_are_two_and_the_same_command_mends_it(kubeflow: Kubeflow):
    first, _ = schedule(JOB, kubeflow.url, "@daily")
    kubeflow.fail("DELETE", f"/recurringruns/{first.id}", Failure(503, "<html>restarting</html>"))
    with pytest.raises(UserError, match="answered 503"):
        schedule(JOB, kubeflow.url, "@hourly")
    assert len(kubeflow.recurring) == 2
    schedule(JOB, kubeflow.url, "@hourly")
    assert [each.cron for each in schedules(kubeflow.url)] == ["0 0 * * * *"]


def test_each_profile_has_its_own(kubeflow: Kubeflow):
    kubeflow.page_size = 1
    for profile in ("smoke", "full"):
        schedule(replace(JOB, profile=profile), kubeflow.url, "@daily")
    assert {each.name for each in schedules(kubeflow.url)} == {"inkloop smoke", "inkloop full"}
    assert unschedule(kubeflow.url, "smoke") == 1
    assert unschedule(kubeflow.url, "smoke") == 0
    assert [each.name for each in schedules(kubeflow.url)] == ["inkloop full"]


def test_where_nothing_ever_ran_there_is_nothing_to_list_or_remove(kubeflow: Kubeflow):
    assert schedules(kubeflow.url) == []
    assert unschedule(kubeflow.url, "smoke") == 0


def test_a_wrong_cron_is_refused_before_anything_is_uploaded(kubeflow: Kubeflow):
    with pytest.raises(UserError, match="CRON"):
        schedule(JOB, kubeflow.url, "0 25 * * *")
    assert kubeflow.calls == []


def test_the_commands_from_a_schedule_to_none(kubeflow: Kubeflow):
    def said(*command: str) -> str:
        ended = CliRunner().invoke(app, [*command, "--host", kubeflow.url])
        assert ended.exit_code == 0, ended.output
        return ended.stdout

    make = ("schedule", "--profile", "smoke", "--store", "s3://bucket/inkloop", "--cron", "0 3 * * 1")
    assert said(*make) == "inkloop smoke: 0 0 3 * * 1 (seconds first).\n"
    assert said(*make) == "inkloop smoke: 0 0 3 * * 1 (seconds first), as before.\n"
    assert said("schedules") == "inkloop smoke: 0 0 3 * * 1 (enabled)\n"
    assert said("unschedule", "--profile", "smoke") == "smoke: removed.\n"
    assert said("unschedule", "--profile", "smoke") == "smoke: there was no recurring run.\n"
    assert said("schedules") == "Experiment inkloop: no recurring runs.\n"


def test_every_call_is_in_kubeflows_own_openapi_document(kubeflow: Kubeflow):
    folder = os.environ.get(SWAGGER_VARIABLE)
    if not folder or not (Path(folder) / FILE).exists():
        pytest.skip(f"{SWAGGER_VARIABLE} names no folder with {FILE} of kubeflow/pipelines")
    submit(JOB, kubeflow.url, "a run")
    kubeflow.states = ["RUNNING", "SUCCEEDED"]
    kubeflow.tasks = [{"display_name": "train", "state": "SUCCEEDED", "start_time": "2026-11-25T12:00:00Z"}]
    ended(kubeflow.url, "r1", poll_s=0.01)
    for cron in ("@daily", "@hourly"):
        schedule(JOB, kubeflow.url, cron)
    schedules(kubeflow.url)
    unschedule(kubeflow.url, "smoke")
    swagger = Swagger(Path(folder))
    assert {path for _, path, *_ in kubeflow.answered} >= {RECURRING, f"{RECURRING}/s1", "/apis/v2beta1/runs/r1"}
    for (method, path, query, body), answer in zip(kubeflow.answered, kubeflow.answers, strict=True):
        is_upload = "/upload" in path
        assert swagger.complaints(method, path, query, body, is_upload, answer) == []
    assert swagger.complaints("POST", RECURRING, {}, b'{"crom": 1}', False, {}) != []
