"""The server of the tests: the real Bento of a small trained model, on a port of this machine."""

import io
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import httpx
import numpy as np
import pytest
import torch
from PIL import Image
from starlette.applications import Starlette

from infra import readers, registry
from infra.storage import FolderStore, open_store
from inkloop import checkpoint
from inkloop.line.model import LineModel, LineModelSettings
from inkloop.runtime import Recognizer
from serving import champion
from serving.app import answer_with, create_app

DECISION = {"promoted": True, "reason": "the first champion"}
LAUNCH = "import sys; from serving.launch import serve; sys.exit(serve(sys.argv[1], port=int(sys.argv[2])))"


def store_of(folder: Path, champion_directory: Path, *others: Path) -> FolderStore:
    """A store with a champion; other models are published, and read nothing yet."""
    store = FolderStore(folder)
    registry.promote(store, registry.publish(store, champion_directory), DECISION, expected=None)
    for other in others:
        registry.publish(store, other)
    return store


def app_of(store: FolderStore, folder: Path) -> Starlette:
    """The service's application, answering with the store's champion."""
    app = create_app(folder)
    answer_with(app, champion.load(store, registry.reigning(store).digest))
    return app


@pytest.fixture(scope="session")
def champion_store(model_directory, tmp_path_factory) -> str:
    """The URL of a store whose champion is the small trained model; its model of lines has learned nothing."""
    url = str(tmp_path_factory.mktemp("champion") / "store")
    store = open_store(url)
    registry.promote(store, registry.publish(store, model_directory), DECISION, expected=None)
    torch.manual_seed(0)
    folder = tmp_path_factory.mktemp("line") / "line"
    checkpoint.save_line(LineModel(LineModelSettings(hidden_size=8, upper_sizes=())), folder, {}, {"seed": "0"})
    readers.appoint(store, "line", registry.publish(store, folder), by="ada")
    return url


@pytest.fixture(scope="session")
def server(champion_store) -> httpx.Client:
    """A client of the served champion."""
    port = free_port()
    process = launch(champion_store, port)
    with httpx.Client(base_url=f"http://127.0.0.1:{port}", timeout=30) as client:
        wait_until_ready(process, client)
        yield client
    process.send_signal(signal.SIGTERM)
    assert process.wait(timeout=30) == 0


@pytest.fixture(scope="session")
def recognizer(model_directory) -> Recognizer:
    return Recognizer(model_directory)


@pytest.fixture(scope="session")
def digit(test_digits) -> np.ndarray:
    """A real digit, uint8 (28, 28)."""
    return test_digits.images[0]


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def launch(store: str, port: int, **options) -> subprocess.Popen:
    return subprocess.Popen([sys.executable, "-c", LAUNCH, store, str(port)], **options)


def wait_until_ready(process: subprocess.Popen, client: httpx.Client) -> None:
    for _ in range(600):
        assert process.poll() is None, "the server ended before it was ready"
        try:
            if client.get("/readyz").status_code == 200:
                return
        except httpx.TransportError:
            pass
        time.sleep(0.1)
    raise TimeoutError("the server was not ready within a minute")


def encoded(image: np.ndarray, kind: str = "PNG") -> bytes:
    """The picture as a file."""
    file = io.BytesIO()
    Image.fromarray(image).save(file, kind)
    return file.getvalue()
