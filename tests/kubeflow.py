"""A small server that speaks Kubeflow Pipelines' v2beta1 API, and holds all that is said to its OpenAPI."""

import contextlib
import json
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest
from openapi import complaints

API = "/apis/v2beta1"
SINCE = "2026-11-25T12:00:00Z"
# What is asked with, and what is answered, by method and the last word of the path.
BODIES = {"runs": "V2beta1Run", "recurringruns": "V2beta1RecurringRun", "experiments": "V2beta1Experiment"}
ANSWERS = {
    ("GET", "healthz"): "V2beta1GetHealthzResponse",
    ("GET", "pipelines"): "V2beta1ListPipelinesResponse",
    ("GET", "versions"): "V2beta1ListPipelineVersionsResponse",
    ("GET", "experiments"): "V2beta1ListExperimentsResponse",
    ("GET", "recurringruns"): "V2beta1ListRecurringRunsResponse",
    ("POST", "upload"): "V2beta1Pipeline",
    ("POST", "upload_version"): "V2beta1PipelineVersion",
    ("POST", "experiments"): "V2beta1Experiment",
    ("POST", "runs"): "V2beta1Run",
    ("POST", "recurringruns"): "V2beta1RecurringRun",
}
Query = dict[str, list[str]]


@dataclass
class Failure:
    """An answer that is none: its status and content, after some seconds."""

    status: int = 200
    content: str = "{}"
    after_s: float = 0


@dataclass
class Kubeflow:
    """What the server holds, and the calls it got: (method, path, query, body)."""

    url: str = ""
    pipelines: list[dict[str, Any]] = field(default_factory=list)
    versions: list[dict[str, Any]] = field(default_factory=list)
    experiments: list[dict[str, Any]] = field(default_factory=list)
    recurring: list[dict[str, Any]] = field(default_factory=list)
    calls: list[tuple[str, str, Query, bytes]] = field(default_factory=list)
    answers: list[Any] = field(default_factory=list)  # to each call that was answered
    answered: list[tuple[str, str, Query, bytes]] = field(default_factory=list)
    tokens: list[str | None] = field(default_factory=list)
    states: list[str] = field(default_factory=list)  # of the run, one each time it is asked
    tasks: list[dict[str, Any]] = field(default_factory=list)  # of the run
    failures: dict[tuple[str, str], list[Failure]] = field(default_factory=dict)  # the next answers to such a call
    wrong: list[str] = field(default_factory=list)  # what does not follow the OpenAPI
    page_size: int = 100

    def bodies(self, method: str, path: str) -> list[bytes]:
        return [body for m, p, _, body in self.calls if (m, p) == (method, path)]

    def queries(self, method: str, path: str) -> list[Query]:
        return [query for m, p, query, _ in self.calls if (m, p) == (method, path)]

    def fail(self, method: str, path: str, *failures: Failure) -> None:
        self.failures[method, f"{API}{path}"] = list(failures)

    def answer(self, method: str, path: str, query: Query, body: bytes) -> dict[str, Any] | None:
        match (method, path.removeprefix(API)):
            case ("GET", "/healthz"):
                return {"multi_user": False}
            case ("GET", "/pipelines"):
                return self._page("pipelines", self.pipelines, query)
            case ("POST", "/pipelines/upload"):
                return self._kept(self.pipelines, pipeline_id="p1", display_name=query["display_name"][0])
            case ("GET", "/pipelines/p1/versions"):
                return self._page("pipeline_versions", self.versions, query)
            case ("POST", "/pipelines/upload_version"):
                return self._kept(
                    self.versions,
                    pipeline_id=query["pipelineid"][0],
                    pipeline_version_id=f"v{len(self.versions) + 1}",
                    display_name=query["display_name"][0],
                    description=query["description"][0] if "description" in query else "",
                )
            case ("GET", "/experiments"):
                return self._page("experiments", self.experiments, query)
            case ("POST", "/experiments"):
                number = f"e{len(self.experiments) + 1}"
                return self._kept(self.experiments, **json.loads(body), experiment_id=number)
            case ("POST", "/runs"):
                return {**json.loads(body), "run_id": "r1"}
            case ("GET", "/runs/r1"):
                state = self.states.pop(0) if self.states else "RUNNING"
                return {"run_id": "r1", "state": state, "run_details": {"task_details": self.tasks}}
            case ("GET", "/recurringruns"):
                mine = [each for each in self.recurring if each["experiment_id"] == query["experiment_id"][0]]
                return self._page("recurringRuns", mine, query)
            case ("POST", "/recurringruns"):
                asked = {"service_account": "pipeline-runner", **json.loads(body)}
                number = f"s{sum(call[:2] == (method, path) for call in self.calls)}"
                status = "ENABLED" if asked["mode"] == "ENABLE" else "DISABLED"
                return self._kept(self.recurring, **asked, recurring_run_id=number, status=status)
            case ("DELETE", given) if given.startswith("/recurringruns/"):
                there = [each for each in self.recurring if given.endswith(f"/{each['recurring_run_id']}")]
                if there:
                    self.recurring.remove(there[0])
                    return {}
        return None

    def _kept(self, place: list[dict[str, Any]], **made: Any) -> dict[str, Any]:
        place.append({**made, "created_at": SINCE})
        return dict(place[-1])

    def _page(self, items: str, held: list[dict[str, Any]], query: Query) -> dict[str, Any]:
        if "filter" in query:
            asked = json.loads(query["filter"][0])
            self.wrong += complaints(asked, "V2beta1Filter", "filter")
            (predicate,) = asked["predicates"]
            held = [each for each in held if each[predicate["key"]] == predicate["string_value"]]
        size = min(self.page_size, int(query["page_size"][0]))
        start = int(query["page_token"][0]) if "page_token" in query else 0
        page: dict[str, Any] = {items: held[start : start + size], "total_size": len(held)}
        return page | ({"next_page_token": str(start + size)} if start + size < len(held) else {})

    def check(self, method: str, path: str, body: bytes, answer: dict[str, Any]) -> None:
        last = path.rpartition("/")[2]
        if method == "POST" and last in BODIES:
            self.wrong += complaints(json.loads(body), BODIES[last], f"POST {path}")
        kind = "V2beta1Run" if method == "GET" and "/runs/" in path else ANSWERS.get((method, last), "object")
        self.wrong += complaints(answer, kind, f"answer to {method} {path}")


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
            if failures := state.failures.get(call[:2]):
                failure = failures.pop(0)
                time.sleep(failure.after_s)
                self._say(failure.status, failure.content)
                return
            answer = state.answer(*call)
            if answer is None:
                self._say(404, json.dumps({"error": f"no such path: {self.path}", "code": 5}))
                return
            state.check(self.command, url.path, body, answer)
            state.answered.append(call)
            state.answers.append(answer)
            self._say(200, json.dumps(answer))

        def _say(self, status: int, content: str) -> None:
            self.send_response(status)
            self.send_header("Content-Type", "application/json" if content.startswith("{") else "text/html")
            self.send_header("Content-Length", str(len(content.encode())))
            self.end_headers()
            with contextlib.suppress(BrokenPipeError):  # who waited too long has gone
                self.wfile.write(content.encode())

        do_POST = do_DELETE = do_GET

        def log_message(self, *_: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    threading.Thread(target=server.serve_forever, daemon=True).start()
    state.url = f"http://127.0.0.1:{server.server_port}"
    yield state
    server.shutdown()
    server.server_close()
    assert state.wrong == [], "the OpenAPI was not followed"
