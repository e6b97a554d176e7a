"""A Ray started by `ray start`, as a cluster's head is, for the tests that work on one."""

import contextlib
import os
import secrets
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import psutil
import pytest

START_S = 120

# Whoever can talk to a Ray can run code on it: those of the tests ask for a token. Ray reads this when it is imported.
os.environ["RAY_AUTH_MODE"] = "token"
os.environ.setdefault("RAY_AUTH_TOKEN", secrets.token_hex(32))  # a process that a test spawns imports this too
# On a busy machine a worker takes longer than Ray's minute to start, and would be killed and started again for ever.
os.environ.setdefault("RAY_worker_register_timeout_seconds", "600")


@pytest.fixture(scope="session")
def ray_head() -> Iterator[tuple[psutil.Process, str]]:
    """The head's process and its address."""
    with tempfile.TemporaryDirectory(prefix="ray") as folder:
        address, log = f"127.0.0.1:{free_port()}", Path(folder) / "start.log"
        port = address.rpartition(":")[2]
        options = ["--head", "--block", "--num-cpus=4", f"--port={port}", f"--temp-dir={folder}"]
        quiet = ["--include-dashboard=false", "--disable-usage-stats", "--object-store-memory=200000000"]
        command = [sys.executable, "-m", "ray.scripts.scripts", "start", *options, *quiet]
        with log.open("w") as output:
            environment = {**os.environ, "OMP_NUM_THREADS": "1"}
            head = psutil.Popen(command, stdout=output, stderr=subprocess.STDOUT, env=environment)
        try:
            wait_until(lambda: "Ray runtime started" in log.read_text() or head.poll() is not None)
            assert head.poll() is None, log.read_text()
            yield head, address
        finally:
            end(head)


@pytest.fixture
def cluster(ray_head, monkeypatch) -> psutil.Process:
    """The process of a Ray that `RAY_ADDRESS` names."""
    process, address = ray_head
    monkeypatch.setenv("RAY_ADDRESS", address)
    return process


def wait_until(condition: Callable[[], object]) -> None:
    """Wait until it holds."""
    deadline = time.monotonic() + START_S
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.02)


def free_port() -> int:
    """A port of loopback that nobody listens at."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def end(process: psutil.Process) -> None:
    """Kill the process and all that it started."""
    family = [*process.children(recursive=True), process]
    for each in family:
        with contextlib.suppress(psutil.NoSuchProcess):
            each.kill()
    psutil.wait_procs(family, timeout=30)
