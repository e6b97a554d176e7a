"""Our app on a server in a process of its own, models with different answers, and a network that can fail."""

import os
import select
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import httpx
import numpy as np
import pytest
import torch
from server import free_port

from infra import registry
from infra.storage import Store
from inkloop import checkpoint
from inkloop.model import ModelSettings
from inkloop.model import Recognizer as Net
from inkloop.readings import Reading
from inkloop.runtime import Recognizer
from inkloop.training import TrainingSettings, fit

SERVE = """
import logging, sys, uvicorn
from serving import service
logging.basicConfig()
service.Inkloop.inner()
uvicorn.run(service.app, port=int(sys.argv[1]), log_level="warning")
"""


@pytest.fixture(scope="session")
def other_model_directory(train_digits, validation_digits, tmp_path_factory) -> Path:
    """Another INT8 model, of one epoch, that misreads most real digits; not to be written to."""
    torch.manual_seed(1)
    net = Net(ModelSettings(readings=(Reading(kind="rows"),), hidden_size=16, attention_size=8, fc_size=24))
    fit(net, train_digits, validation_digits, TrainingSettings(epochs=1, learning_rate=1e-2), None, seed=1)
    folder = tmp_path_factory.mktemp("other") / "int8"
    checkpoint.save(net.eval(), folder, "int8", {"validation_accuracy": 0.8}, {"seed": "1"})
    return folder


@pytest.fixture(scope="session")
def first(model_directory) -> Recognizer:
    """The first champion of these tests."""
    return Recognizer(model_directory)


@pytest.fixture(scope="session")
def second(other_model_directory) -> Recognizer:
    """The model that comes after it."""
    return Recognizer(other_model_directory)


@pytest.fixture
def publish_both(model_directory, other_model_directory) -> Callable[[Store], None]:
    """Publishes both models and makes the first one champion."""

    def publish(store: Store) -> None:
        registry.publish(store, other_model_directory)
        crown(store, registry.publish(store, model_directory))

    return publish


def crown(store: Store, digest: str) -> None:
    """Make it champion, whoever is champion now."""
    now = registry.champion(store)
    registry.promote(store, digest, {"promoted": True}, expected=now.digest if now else None)


class Server:
    """A running server and a client of it; a context manager."""

    def __init__(self, store_url: str, log: Path, **environment: str) -> None:
        self.port, self._log = free_port(), log
        variables = {**os.environ, "INKLOOP_STORE": store_url, "OMP_NUM_THREADS": "1", **environment}
        command = [sys.executable, "-c", SERVE, str(self.port)]
        with log.open("w") as output:
            self.process = subprocess.Popen(command, stdout=output, stderr=output, env=variables)
        self.client = httpx.Client(base_url=f"http://127.0.0.1:{self.port}", timeout=30)

    def __enter__(self) -> "Server":
        try:
            wait_until(self.is_ready, 60)
        except BaseException:
            self.__exit__()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        self.client.close()
        self.process.terminate()
        self.process.wait()

    @property
    def log(self) -> str:
        return self._log.read_text()

    def is_ready(self) -> bool:
        assert self.process.poll() is None, self.log
        try:
            return self.client.get("/readyz").status_code == 200
        except httpx.TransportError:
            return False

    def predict(self, image: np.ndarray, person: str | None = None) -> dict:
        headers = {"content-type": "application/octet-stream"} | ({"Inkloop-Person": person} if person else {})
        answer = self.client.post("/predict", content=image.tobytes(), headers=headers)
        assert answer.status_code == 200, answer.text
        return answer.json()

    def version(self) -> str:
        return self.client.get("/model").json()["model_version"]

    def metric(self, start: str) -> float:
        """The sum of all samples whose line begins so."""
        lines = [line for line in self.client.get("/metrics").text.splitlines() if line.startswith(start)]
        return sum(float(line.split()[-1]) for line in lines)


def wait_until(holds: Callable[[], bool], timeout_s: float) -> float:
    """Seconds until it held."""
    start = time.monotonic()
    while not holds():
        assert time.monotonic() - start < timeout_s, f"not within {timeout_s} s"
        time.sleep(0.05)
    return time.monotonic() - start


class Network:
    """The way to a server on loopback; `down()` cuts it, `hang()` lets it take connections and say nothing."""

    def __init__(self, endpoint: str) -> None:
        self._target = int(endpoint.rsplit(":", 1)[1])
        self._state, self._open = "up", set()
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.endpoint = f"http://127.0.0.1:{self._listener.getsockname()[1]}"
        threading.Thread(target=self._accept, daemon=True).start()

    def up(self) -> None:
        self._become("up")

    def down(self) -> None:
        self._become("down")

    def hang(self) -> None:
        self._become("hanging")

    def _become(self, state: str) -> None:
        self._state = state
        for each in list(self._open):
            each.close()

    def _accept(self) -> None:
        while True:
            client, _ = self._listener.accept()
            if self._state == "down":
                client.close()
            else:
                self._open.add(client)
                threading.Thread(target=self._forward, args=(client,), daemon=True).start()

    def _forward(self, client: socket.socket) -> None:
        try:
            if self._state == "hanging":
                while self._state == "hanging" and client.recv(1 << 16):
                    pass
                return
            with socket.create_connection(("127.0.0.1", self._target)) as server:
                pairs = {client: server, server: client}
                while True:
                    for ready in select.select(list(pairs), [], [], 0.2)[0]:
                        if not (data := ready.recv(1 << 16)):
                            return
                        pairs[ready].sendall(data)
        except (OSError, ValueError):  # cut
            pass
        finally:
            self._open.discard(client)
            client.close()


@pytest.fixture
def network(s3_bucket, s3_server, monkeypatch) -> Iterator[Network]:
    """The way to the S3 server; AWS_ENDPOINT_URL leads over it."""
    way = Network(s3_server)
    monkeypatch.setenv("AWS_ENDPOINT_URL", way.endpoint)
    yield way
    way.down()
