"""What `pipeline-submit` sends to Kubeflow Pipelines, against a small server that speaks its v2beta1 API."""

import json
import re
import subprocess
import sys
from dataclasses import replace

import pytest
import yaml
from kfp import dsl
from kubeflow import Failure, Kubeflow

from components.component import component
from infra import kubeflow as api
from inkloop.errors import UserError
from pipeline import cluster, profile
from pipeline.cluster import Job, ended, submit
from pipeline.cluster_settings import ClusterSettings

RUNS, UPLOAD, UPLOAD_VERSION = "/runs", "/pipelines/upload", "/pipelines/upload_version"
ANSWER_404 = Failure(404, '{"error": "Pipeline p1 not found", "code": 5, "message": "Pipeline p1 not found"}')
ANSWER_409 = Failure(409, '{"error": "Already exist error", "code": 6, "message": "Already exist error"}')


@component
def count(config: dict, seed: int) -> int:
    return seed


@dsl.pipeline(name="digits")
def digits(training: dict, seed: int) -> None:
    count(config=training, seed=seed)


JOB = Job(digits, {"training": {"epochs": 3}, "seed": 7}, "smoke", "commit 0d751dc", "s3://bucket/artifacts", "nightly")


def test_the_first_submission_uploads_the_pipeline_and_starts_it(kubeflow: Kubeflow):
    submitted = submit(replace(JOB, service_account="trainer"), kubeflow.url, "smoke at noon")
    (run,) = (json.loads(body) for body in kubeflow.bodies("POST", f"/apis/v2beta1{RUNS}"))
    assert run["display_name"] == "smoke at noon"
    assert run["experiment_id"] == "e1"
    assert run["service_account"] == "trainer"
    assert run["pipeline_version_reference"] == {"pipeline_id": "p1", "pipeline_version_id": "v1"}
    assert run["runtime_config"]["parameters"] == {"training": {"epochs": 3}, "seed": 7}
    assert run["runtime_config"]["pipeline_root"] == "s3://bucket/artifacts"
    assert submitted.url == f"{kubeflow.url}/#/runs/details/r1"
    assert [each["display_name"] for each in kubeflow.experiments] == ["nightly"]


def test_a_version_is_named_by_profile_and_digest_and_tells_of_its_commit(kubeflow: Kubeflow):
    submitted = submit(replace(JOB, profile="My GPU"), kubeflow.url, "a run")
    assert re.fullmatch(r"my-gpu-[0-9a-f]{12}", submitted.version)
    (version,) = kubeflow.versions
    assert version["display_name"] == submitted.version
    assert version["description"] == "commit 0d751dc"


def test_the_ir_that_was_compiled_is_what_is_uploaded(kubeflow: Kubeflow):
    submit(JOB, kubeflow.url, "a run")
    (body,) = kubeflow.bodies("POST", f"/apis/v2beta1{UPLOAD_VERSION}")
    ir = body.partition(b"\r\n\r\n")[2].rpartition(b"\r\n--")[0]
    spec = next(yaml.safe_load_all(ir))
    assert spec["pipelineInfo"]["name"] == "digits"
    assert set(spec["root"]["inputDefinitions"]["parameters"]) == {"training", "seed"}


def test_the_same_graph_again_is_the_same_version_and_a_changed_one_a_new_version(kubeflow: Kubeflow):
    first = submit(JOB, kubeflow.url, "first")
    second = submit(replace(JOB, arguments={"training": {}, "seed": 2}), kubeflow.url, "second")
    assert first.version == second.version
    assert len(kubeflow.bodies("POST", f"/apis/v2beta1{UPLOAD}")) == 1
    assert len(kubeflow.versions) == len(kubeflow.experiments) == 1

    @dsl.pipeline(name="digits")
    def changed(training: dict, seed: int) -> None:
        count(config=training, seed=seed).set_retry(1)

    third = submit(replace(JOB, graph=changed), kubeflow.url, "third")
    assert third.version != first.version
    assert [version["display_name"] for version in kubeflow.versions] == [first.version, third.version]


def test_a_version_is_found_beyond_the_first_page(kubeflow: Kubeflow):
    first = submit(JOB, kubeflow.url, "first")
    kubeflow.versions[:0] = [{**kubeflow.versions[0], "pipeline_version_id": f"x{n}"} for n in range(3)]
    kubeflow.page_size = 2
    found = cluster.listed(lambda **given: _versions(kubeflow, **given), "pipeline_versions", first.version)
    assert [each.pipeline_version_id for each in found] == ["x0", "x1", "x2", "v1"]


def _versions(kubeflow: Kubeflow, **given: object) -> object:
    service = api.kfp_server_api.PipelineServiceApi(api.connect(kubeflow.url))
    return service.pipeline_service_list_pipeline_versions("p1", **given)


def test_two_that_upload_at_the_same_time_use_one_version(kubeflow: Kubeflow, monkeypatch: pytest.MonkeyPatch):
    """The other's version comes between our look and our upload, which Kubeflow then refuses."""
    theirs = submit(JOB, kubeflow.url, "theirs")
    looks = []

    def hidden_at_first(method: str, path: str, *rest: object) -> object:
        if path.endswith("/versions"):
            looks.append(path)
            if len(looks) == 1:
                return {"pipeline_versions": []}
        return answer(method, path, *rest)

    answer = kubeflow.answer
    monkeypatch.setattr(kubeflow, "answer", hidden_at_first)
    kubeflow.fail("POST", UPLOAD_VERSION, ANSWER_409)
    assert submit(JOB, kubeflow.url, "ours").version == theirs.version
    assert len(kubeflow.versions) == 1


def test_the_job_is_the_profiles(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.delenv("INKLOOP_IMAGE", raising=False)
    settings = ClusterSettings(image="registry/inkloop:7", service_account="trainer")
    job = cluster.job("smoke", profile.Profile(cluster=settings), "mnist", "s3://bucket/inkloop/", cause="schedule")
    assert (job.profile, job.root, job.service_account) == ("smoke", "s3://bucket/inkloop/artifacts", "trainer")
    assert (job.arguments["profile"], job.arguments["cause"]) == ("smoke", "schedule")
    assert re.match(
        r"Profile smoke, image registry/inkloop:7, (commit [0-9a-f]+(-dirty)?|no commit known)", job.description
    )
    elsewhere = profile.Profile(cluster=ClusterSettings(pipeline_root="minio://mlpipeline/v2"))
    assert cluster.job("smoke", elsewhere, "mnist", "s3://bucket").root == "minio://mlpipeline/v2"


@pytest.mark.parametrize("end", ["SUCCEEDED", "FAILED", "CANCELED"])
def test_a_run_is_followed_to_its_end(kubeflow: Kubeflow, end: str):
    kubeflow.states = ["PENDING", "RUNNING", end, "RUNNING"]
    assert ended(kubeflow.url, "r1", poll_s=0.01) == end


def test_a_run_that_the_host_does_not_know_is_an_error(kubeflow: Kubeflow):
    with pytest.raises(UserError, match="404"):
        ended(kubeflow.url, "r9", poll_s=0.01)


def test_a_host_that_is_away_for_a_while_is_asked_again(kubeflow: Kubeflow):
    kubeflow.states = ["SUCCEEDED"]
    kubeflow.fail("GET", "/runs/r1", Failure(503, "<html>restarting</html>"), Failure(502, ""))
    assert ended(kubeflow.url, "r1", poll_s=0.01) == "SUCCEEDED"


def test_a_user_of_several_names_their_namespace(kubeflow: Kubeflow, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("KFP_NAMESPACE", "ada")
    submit(JOB, kubeflow.url, "a run")
    assert [query["namespace"] for query in kubeflow.queries("GET", "/apis/v2beta1/experiments")] == [["ada"]]
    assert kubeflow.experiments[0]["namespace"] == "ada"


@pytest.mark.parametrize(
    ("method", "path", "failure", "said"),
    [
        (
            "GET",
            "/healthz",
            Failure(401, "<html>who?</html>"),
            r"answered 401 .*Set KFP_TOKEN to a token that is valid",
        ),
        ("GET", "/healthz", Failure(302, "<html>login</html>"), r"answered 302"),
        ("GET", "/healthz", Failure(200, "<html>Kubeflow</html>"), r"answered with a web page.*set KFP_TOKEN"),
        ("GET", "/pipelines", Failure(200, "<html>log in</html>"), r"answered with a web page"),
        (
            "GET",
            "/pipelines",
            Failure(400, '{"message": "no namespace"}'),
            r"answered 400 .*no namespace\. .*set KFP_NAMESPACE",
        ),
        ("POST", RUNS, Failure(403, '{"message": "may not create"}'), r"answered 403 .*may not create\. The token"),
        ("POST", RUNS, ANSWER_404, r"answered 404 .*Pipeline p1 not found"),
        ("POST", UPLOAD_VERSION, ANSWER_409, r"answered 409 .*Already exist"),
        ("POST", RUNS, Failure(500, "Internal Server Error"), r"answered 500"),
    ],
)
def test_what_goes_wrong_is_said_in_a_sentence(kubeflow: Kubeflow, method, path, failure, said):
    kubeflow.fail(method, path, failure)
    with pytest.raises(UserError, match=rf"^KFP_HOST {re.escape(kubeflow.url)}: {said}"):
        submit(JOB, kubeflow.url, "a run")


@pytest.mark.parametrize(("method", "path"), [("GET", "/healthz"), ("GET", "/pipelines"), ("POST", RUNS)])
def test_a_host_that_never_answers_is_given_up(kubeflow: Kubeflow, monkeypatch: pytest.MonkeyPatch, method, path):
    monkeypatch.setattr(api, "TIMEOUT_S", 0.2)
    kubeflow.fail(method, path, Failure(after_s=1), Failure(after_s=1))
    with pytest.raises(UserError, match="does not answer"):
        submit(JOB, kubeflow.url, "a run")


def test_an_address_without_http_is_none():
    with pytest.raises(UserError, match="KFP_HOST localhost:8080: not an address"):
        submit(JOB, "localhost:8080", "a run")


def test_the_token_is_sent_with_every_call(kubeflow: Kubeflow, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("KFP_TOKEN", "secret")
    submit(JOB, kubeflow.url, "a run")
    assert set(kubeflow.tokens) == {"Bearer secret"}


def test_a_host_that_refuses_is_named(kubeflow: Kubeflow):
    with pytest.raises(UserError, match=re.escape(kubeflow.url + "/wrong") + ".*404"):
        submit(JOB, kubeflow.url + "/wrong", "a run")


def test_a_host_that_is_not_there_is_named():
    with pytest.raises(UserError, match=r"127\.0\.0\.1:1: does not answer"):
        submit(JOB, "http://127.0.0.1:1", "a run")


def test_without_a_host_the_command_says_what_is_missing():
    command = [sys.executable, "-m", "pipeline", "submit", "--host", "", "--profile", "smoke"]
    ended = subprocess.run(command, capture_output=True, text=True, check=False)
    assert ended.returncode == 2
    assert ended.stderr.startswith("KFP_HOST, STORE: not set.")
    assert "Traceback" not in ended.stderr
