"""What `pipeline-submit` sends to Kubeflow Pipelines, against a small server that speaks its v2beta1 API."""

import json
import re
import subprocess
import sys

import pytest
import yaml
from kfp import dsl
from kubeflow import Kubeflow

from components.component import component
from inkloop.errors import UserError
from pipeline.cluster import ended, submit


@component
def count(config: dict, seed: int) -> int:
    return seed


@dsl.pipeline(name="digits")
def digits(training: dict, seed: int) -> None:
    count(config=training, seed=seed)


def test_the_first_submission_uploads_the_pipeline_and_starts_it(kubeflow: Kubeflow):
    submitted = submit(digits, {"training": {"epochs": 3}, "seed": 7}, kubeflow.url, "smoke at noon")
    (run,) = (json.loads(body) for body in kubeflow.bodies("POST", "/apis/v2beta1/runs"))
    assert run["display_name"] == "smoke at noon"
    assert run["experiment_id"] == "e1"
    assert run["pipeline_version_reference"] == {"pipeline_id": "p1", "pipeline_version_id": "v1"}
    assert run["runtime_config"]["parameters"] == {"training": {"epochs": 3}, "seed": 7}
    assert submitted.url == f"{kubeflow.url}/#/runs/details/r1"


def test_the_ir_that_was_compiled_is_what_is_uploaded(kubeflow: Kubeflow):
    submit(digits, {"training": {}, "seed": 7}, kubeflow.url, "a run")
    (body,) = kubeflow.bodies("POST", "/apis/v2beta1/pipelines/upload_version")
    ir = body.partition(b"\r\n\r\n")[2].rpartition(b"\r\n--")[0]
    spec = next(yaml.safe_load_all(ir))
    assert spec["pipelineInfo"]["name"] == "digits"
    assert set(spec["root"]["inputDefinitions"]["parameters"]) == {"training", "seed"}


def test_the_same_graph_again_is_the_same_version_and_a_changed_one_a_new_version(kubeflow: Kubeflow):
    first = submit(digits, {"training": {}, "seed": 1}, kubeflow.url, "first")
    second = submit(digits, {"training": {}, "seed": 2}, kubeflow.url, "second")
    assert first.version == second.version
    assert len(kubeflow.bodies("POST", "/apis/v2beta1/pipelines/upload")) == 1
    assert len(kubeflow.versions) == 1

    @dsl.pipeline(name="digits")
    def changed(training: dict, seed: int) -> None:
        count(config=training, seed=seed).set_retry(1)

    third = submit(changed, {"training": {}, "seed": 2}, kubeflow.url, "third")
    assert third.version != first.version
    assert [version["display_name"] for version in kubeflow.versions] == [first.version, third.version]


@pytest.mark.parametrize("end", ["SUCCEEDED", "FAILED", "CANCELED"])
def test_a_run_is_followed_to_its_end(kubeflow: Kubeflow, end: str):
    kubeflow.states = ["PENDING", "RUNNING", end, "RUNNING"]
    assert ended(kubeflow.url, "r1", poll_s=0.01) == end


def test_a_run_that_the_host_does_not_know_is_an_error(kubeflow: Kubeflow):
    with pytest.raises(UserError, match="404"):
        ended(kubeflow.url, "r9", poll_s=0.01)


def test_the_token_is_sent_with_every_call(kubeflow: Kubeflow, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("KFP_TOKEN", "secret")
    submit(digits, {"training": {}, "seed": 1}, kubeflow.url, "a run")
    assert set(kubeflow.tokens) == {"Bearer secret"}


def test_a_host_that_refuses_is_named(kubeflow: Kubeflow):
    with pytest.raises(UserError, match=re.escape(kubeflow.url + "/wrong") + ".*404"):
        submit(digits, {"training": {}, "seed": 1}, kubeflow.url + "/wrong", "a run")


def test_a_host_that_is_not_there_is_named():
    with pytest.raises(UserError, match=r"127\.0\.0\.1:1: does not answer"):
        submit(digits, {"training": {}, "seed": 1}, "http://127.0.0.1:1", "a run")


def test_without_a_host_the_command_says_what_is_missing():
    command = [sys.executable, "-m", "pipeline", "submit", "--host", "", "--profile", "smoke"]
    ended = subprocess.run(command, capture_output=True, text=True, check=False)
    assert ended.returncode == 2
    assert ended.stderr.startswith("KFP_HOST: not set.")
    assert "Traceback" not in ended.stderr
