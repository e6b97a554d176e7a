"""What `pipeline-submit` sends to Kubeflow Pipelines, against a small server that speaks its v2beta1 API."""

import json
import re
import subprocess
import sys
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import parse_qs, urlsplit

import pytest
import yaml
from kfp import dsl

from components.component import component
from inkloop.errors import UserError
from pipeline.cluster import submit


@component
def count(config: dict, seed: int) -> int:
    return seed


@dsl.pipeline(name="digits")
def digits(training: dict, seed: int) -> None:
    count(config=training, seed=seed)


@dataclass
class Kubeflow:
    """What the server holds, and the calls it got: (method, path, query, body)."""

    url: str = ""
    pipelines: list[dict[str, str]] = field(default_factory=list)
    versions: list[dict[str, str]] = field(default_factory=list)
    calls: list[tuple[str, str, dict[str, list[str]], bytes]] = field(default_factory=list)
    tokens: list[str | None] = field(default_factory=list)

    def bodies(self, method: str, path: str) -> list[bytes]:
        return [body for m, p, _, body in self.calls if (m, p) == (method, path)]

    def answer(self, method: str, path: str, query: dict[str, list[str]], body: bytes) -> dict[str, object] | None:
        match (method, path):
            case ("GET", "/apis/v2beta1/healthz"):
                return {"multi_user": False}
            case ("GET", "/apis/v2beta1/pipelines"):
                asked = json.loads(query["filter"][0])["predicates"][0]["stringValue"]
                return {"pipelines": [each for each in self.pipelines if each["display_name"] == asked]}
            case ("POST", "/apis/v2beta1/pipelines/upload"):
                self.pipelines.append({"pipeline_id": "p1", "display_name": query["name"][0]})
                return dict(self.pipelines[-1])
            case ("GET", "/apis/v2beta1/pipelines/p1/versions"):
                return {"pipeline_versions": self.versions}
            case ("POST", "/apis/v2beta1/pipelines/upload_version"):
                number = f"v{len(self.versions) + 1}"
                version = {"pipeline_id": query["pipelineid"][0], "pipeline_version_id": number}
                self.versions.append({**version, "display_name": query["name"][0]})
                return dict(self.versions[-1])
            case ("GET", "/apis/v2beta1/experiments"):
                return {"experiments": [{"experiment_id": "e1", "display_name": "digits"}]}
            case ("POST", "/apis/v2beta1/runs"):
                return {"run_id": "r1"}
        return None


@pytest.fixture
def kubeflow() -> Iterator[Kubeflow]:
    state = Kubeflow()

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            url = urlsplit(self.path)
            body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
            call = (self.command, url.path, parse_qs(url.query), body)
            state.calls.append(call)
            state.tokens.append(self.headers.get("Authorization"))
            answer = state.answer(*call)
            content = json.dumps(answer if answer is not None else {"error": f"no such path: {self.path}"}).encode()
            self.send_response(200 if answer is not None else 404)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(content)))
            self.end_headers()
            self.wfile.write(content)

        do_POST = do_GET

        def log_message(self, *_: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    state.url = f"http://127.0.0.1:{server.server_port}"
    yield state
    server.shutdown()
    server.server_close()


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
