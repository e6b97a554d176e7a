"""A Ray of several nodes, all on this machine: a head without work, and nodes of one CPU each."""

import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest
from ray_cluster import end, free_port, wait_until
from s3 import fresh_bucket


class Nodes:
    """The nodes, each with all its processes."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.address = folder, f"127.0.0.1:{free_port()}"
        port = self.address.rpartition(":")[2]
        self.head = self._start("--head", f"--port={port}", f"--temp-dir={folder}", "--include-dashboard=false")
        self.workers: list[psutil.Process] = []

    def add(self) -> psutil.Process:
        """Start one more node."""
        self.workers.append(self._start(f"--address={self.address}", cpus=1))
        return self.workers[-1]

    def kill(self, node: psutil.Process) -> None:
        """`kill -9` a node, with all that runs on it."""
        end(node)
        if node in self.workers:
            self.workers.remove(node)

    def end(self) -> None:
        """End all of them."""
        for node in [*self.workers, self.head]:
            end(node)

    def _start(self, *options: str, cpus: int = 0) -> psutil.Process:
        log = self.folder / f"start-{free_port()}.log"
        quiet = ("--block", "--disable-usage-stats", "--object-store-memory=100000000", "--node-ip-address=127.0.0.1")
        command = [sys.executable, "-m", "ray.scripts.scripts", "start", f"--num-cpus={cpus}", *options, *quiet]
        with log.open("w") as output:
            environment = {**os.environ, "OMP_NUM_THREADS": "1"}
            node = psutil.Popen(command, stdout=output, stderr=subprocess.STDOUT, env=environment)
        wait_until(lambda: "Ray runtime started" in log.read_text() or node.poll() is not None)
        assert node.poll() is None, log.read_text()
        return node


@pytest.fixture(scope="module")
def node_store(s3_server) -> Iterator[str]:
    """The S3 store that all nodes reach; AWS_* in the environment point at its server."""
    with pytest.MonkeyPatch.context() as environment:
        yield f"s3://{fresh_bucket(s3_server, environment)}/store"


@pytest.fixture(scope="module")
def started_nodes(node_store) -> Iterator[Nodes]:
    """A head and two nodes, started once."""
    with tempfile.TemporaryDirectory(prefix="ray") as folder:
        nodes = Nodes(Path(folder))
        try:
            for _ in range(2):
                nodes.add()
            yield nodes
        finally:
            nodes.end()


@pytest.fixture
def nodes(started_nodes, monkeypatch) -> Nodes:
    """A Ray of two nodes with one CPU each, at `RAY_ADDRESS`."""
    while len(started_nodes.workers) < 2:
        started_nodes.add()
    monkeypatch.setenv("RAY_ADDRESS", started_nodes.address)
    return started_nodes
