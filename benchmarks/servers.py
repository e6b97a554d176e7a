"""The servers that are compared, each started with the same model on a port of this machine."""

import contextlib
import io
import json
import os
import shutil
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from benchmarks.load import Connection, Request
from benchmarks.record import ROOT
from infra.guard import guarded

RIVALS = ROOT / "benchmarks" / "rivals"
PLACE = ROOT / ".bench"  # the rivals' packages, installed once
UV = Path(sys.executable).with_name("uv")
START_S = 300

Images = NDArray[np.uint8]


@dataclass(frozen=True)
class Server:
    """How to start a server, and how it is asked: for one digit, and for many."""

    name: str
    command: Callable[[int, Path], list[str]]  # of a port and a scratch folder
    one: Callable[[Images], Request]
    many: Callable[[Images], Request]
    environment: dict[str, str]


def raw(path: str) -> Callable[[Images], Request]:
    """Pixels as they lie in memory."""
    return lambda images: Request.post(path, "application/octet-stream", images.tobytes())


def as_png(path: str) -> Callable[[Images], Request]:
    """A PNG file of the one digit."""

    def request(images: Images) -> Request:
        file = io.BytesIO()
        Image.fromarray(images[0]).save(file, "PNG")
        return Request.post(path, "image/png", file.getvalue())

    return request


def as_json(path: str) -> Callable[[Images], Request]:
    """`{"image": [784 numbers]}`, without spaces."""

    def request(images: Images) -> Request:
        body = json.dumps({"image": images.ravel().tolist()}, separators=(",", ":"))
        return Request.post(path, "application/json", body.encode())

    return request


def arrays(path: str) -> Callable[[Images], Request]:
    """`{"images": [[[...]]]}`, as BentoML's arrays are sent."""

    def request(images: Images) -> Request:
        return Request.post(path, "application/json", json.dumps({"images": images.tolist()}).encode())

    return request


def v2(images: Images) -> Request:
    """The V2 inference protocol, as MLServer speaks it."""
    tensor = {"name": "images", "shape": list(images.shape), "datatype": "UINT8", "data": images.ravel().tolist()}
    return Request.post("/v2/models/reader/infer", "application/json", json.dumps({"inputs": [tensor]}).encode())


def inkloop(name: str, store: str, one: Callable[[Images], Request], capture: bool) -> Server:
    """Our own, as `make serve` starts it."""
    environment = {} if capture else {"INKLOOP_CAPTURE_SHARE": "0"}
    command = [sys.executable, "-m", "pipeline", "serve", "--store", store, "--port"]
    return Server(name, lambda port, _: [*command, str(port)], one, raw("/predict/batch"), environment)


def rivals() -> list[Server]:
    """The others, whose packages are installed first where they are not yet."""
    python = _installed("requirements.txt")
    mlserver = _installed("requirements-mlserver.txt").with_name("mlserver")
    uvicorn = [str(python), "-m", "uvicorn", "fastapi_app:app", "--no-access-log", "--log-level", "warning", "--port"]
    bento = [str(python), "-m", "bentoml", "serve", "bentoml_service:Reader", "--host", "127.0.0.1", "--port"]
    one, many = as_json("/predict"), raw("/predict/batch")
    quiet = {"BENTOML_DO_NOT_TRACK": "True", "RAY_USAGE_STATS_ENABLED": "0", "RAY_SERVE_LOG_TO_STDERR": "0"}
    return [
        Server("FastAPI + ONNX Runtime", lambda port, _: [*uvicorn, str(port)], one, many, quiet),
        Server("BentoML, quick start", lambda port, _: [*bento, str(port)], one, arrays("/predict_batch"), quiet),
        Server("Ray Serve", lambda port, _: [str(python), "ray_serve_app.py", str(port)], one, many, quiet),
        Server("MLServer", lambda port, scratch: [str(mlserver), "start", _settings(port, scratch)], v2, v2, quiet),
    ]


@contextlib.contextmanager
def running(server: Server, model: Path, scratch: Path, digit: Images) -> Iterator[int]:
    """The port of the server, once it answers. digit: uint8 (1, 28, 28)."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
    ours = {"MODEL": str(model), "OMP_NUM_THREADS": "1", "PYTHONPATH": f"{RIVALS}:{ROOT}"}
    with guarded() as mark, (scratch / f"{server.name}.log".replace("/", " ")).open("w") as log:
        environment = {**os.environ, **ours, **server.environment, **mark}
        command, folder = server.command(port, scratch), RIVALS
        with subprocess.Popen(command, cwd=folder, env=environment, stdout=log, stderr=log) as process:
            try:
                _wait(process, port, server.one(digit), Path(log.name))
                yield port
            finally:
                process.terminate()


def _wait(process: "subprocess.Popen[bytes]", port: int, request: Request, log: Path) -> None:
    deadline = time.monotonic() + START_S
    while time.monotonic() < deadline and process.poll() is None:
        with contextlib.suppress(OSError, RuntimeError):
            Connection(port).ask(request)
            return
        time.sleep(0.5)
    raise SystemExit(f"{log.stem} did not start:\n{log.read_text()[-2000:]}")


def _installed(requirements: str) -> Path:
    place = PLACE / Path(requirements).stem
    done, wanted = place / "installed.txt", RIVALS / requirements
    if not done.exists() or done.read_text() != wanted.read_text():
        shutil.rmtree(place, ignore_errors=True)
        subprocess.run([UV, "venv", "--quiet", "--python", sys.executable, place], check=True)
        python = place / "bin" / "python"
        subprocess.run([UV, "pip", "install", "--quiet", "--python", python, "-r", wanted], check=True)
        shutil.copy(wanted, done)
    return place / "bin" / "python"


def _settings(port: int, scratch: Path) -> str:
    folder = scratch / "mlserver"
    folder.mkdir(exist_ok=True)
    server = {"http_port": port, "grpc_port": 0, "metrics_port": 0, "parallel_workers": 0, "debug": False}
    (folder / "settings.json").write_text(json.dumps({**server, "host": "127.0.0.1"}))
    (folder / "model-settings.json").write_text(
        json.dumps({"name": "reader", "implementation": "mlserver_model.Reader"})
    )
    return str(folder)
