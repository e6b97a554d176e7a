"""A small server that speaks the paths of Kubeflow Pipelines' v2beta1 API that we ask."""

import json
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import parse_qs, urlsplit

import pytest


@dataclass
class Kubeflow:
    """What the server holds, and the calls it got: (method, path, query, body)."""

    url: str = ""
    pipelines: list[dict[str, str]] = field(default_factory=list)
    versions: list[dict[str, str]] = field(default_factory=list)
    calls: list[tuple[str, str, dict[str, list[str]], bytes]] = field(default_factory=list)
    tokens: list[str | None] = field(default_factory=list)
    states: list[str] = field(default_factory=list)  # of the run, one each time it is asked

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
            case ("GET", "/apis/v2beta1/runs/r1"):
                return {"run_id": "r1", "state": self.states.pop(0)}
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
