"""The whole pipeline on real digits, smoke profile: from MNIST to a champion in a real S3 store, killed and resumed."""

import json
import os
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psutil
import pytest

from infra import registry
from infra.guard import MARK
from infra.storage import open_store
from inkloop import artifacts
from pipeline import trace
from pipeline.graph import TITLES

pytestmark = pytest.mark.slow
STEPS = list(TITLES)


@dataclass(frozen=True)
class Place:
    """A folder of artifacts, a store, and the data."""

    folder: Path
    store: str
    data: Path

    def start(self) -> "subprocess.Popen[str]":
        """The command as a user gives it, but from a folder that has nothing to do with the checkout."""
        command = [sys.executable, "-m", "pipeline", "run", "--profile", "smoke", "--store", self.store]
        command += ["--artifacts", str(self.folder), "--data", str(self.data)]
        return subprocess.Popen(command, cwd="/", text=True, stdout=subprocess.PIPE, stderr=subprocess.STDOUT)

    def run(self) -> dict[str, Any]:
        """Run to the end; the summary."""
        process = self.start()
        said, _ = process.communicate(timeout=600)
        assert process.returncode == 0, said
        summary: dict[str, Any] = json.loads((self.folder / "latest" / "summary.json").read_text())
        return summary


def marked_processes() -> set[int]:
    """Ids of processes that belong to any run."""
    found = set()
    for process in psutil.process_iter():
        try:
            if MARK in process.environ():
                found.add(process.pid)
        except psutil.Error:
            continue
    return found


@pytest.fixture
def on_s3(tmp_path: Path, s3_bucket: str, data_dir: Path) -> Place:
    return Place(tmp_path / "artifacts", f"s3://{s3_bucket}/inkloop", data_dir)


@pytest.mark.s3
def test_from_mnist_to_a_champion_on_s3_and_again_from_the_cache(on_s3: Place):
    first = on_s3.run()
    assert set(first) == {"profile", "wall_s", "steps", "models", "chosen", "hardware", "gate"}
    assert [step["name"] for step in first["steps"]] == STEPS
    assert not any(step["cached"] for step in first["steps"])
    assert set(first["models"]) == {"teacher", "teacher_int8", "student", "student_int8", "pruned", "int8"}
    for model in first["models"].values():
        assert set(model) == {"validation_accuracy", "test_accuracy", "parameters", "size_bytes", "latency_p50_us"}
        assert 0.7 < model["test_accuracy"] <= 1
    assert first["models"]["int8"]["size_bytes"] < first["models"]["pruned"]["size_bytes"] / 2
    assert first["gate"]["promoted"]
    champion = registry.champion(open_store(on_s3.store))
    assert champion is not None
    assert "<h1>Evaluation</h1>" in (on_s3.folder / "latest" / "evaluate-table.html").read_text()
    assert champion.digest == artifacts.digest(on_s3.folder / "latest" / "evaluate" / "challenger")

    record = trace.record_of(open_store(on_s3.store), champion.digest)
    assert record is not None
    assert list(record.code()) == STEPS
    assert record.output("evaluate/challenger")["facets"]["version"]["datasetVersion"] == champion.digest

    second = on_s3.run()
    assert all(step["cached"] for step in second["steps"])
    assert second["wall_s"] < 30
    assert second["gate"] == first["gate"]


def test_killed_in_every_step_it_goes_on_from_the_last_finished_one_to_the_same_model(tmp_path: Path, data_dir: Path):
    killed = Place(tmp_path / "killed", str(tmp_path / "store"), data_dir)
    before = marked_processes()
    for number, step in enumerate(STEPS):
        process = killed.start()
        assert process.stdout is not None
        lines = []
        for line in process.stdout:
            lines.append(line.rstrip())
            if line.startswith(f"{TITLES[step]} runs"):
                break
        cached = [name for name in STEPS if f"{TITLES[name]} taken from cache" in lines]
        # The one before was killed in the last round, or was quick enough to end before that.
        assert cached in (STEPS[: max(0, number - 1)], STEPS[:number]), "\n".join(lines)
        time.sleep(0.7)
        process.kill()
        process.wait()
        process.stdout.close()
    deadline = time.monotonic() + 10
    while marked_processes() - before:
        assert time.monotonic() < deadline, "something of a killed run lives on"
        time.sleep(0.2)
    last = killed.run()
    assert {step["name"] for step in last["steps"] if not step["cached"]} <= set(STEPS[-1:])

    whole = Place(tmp_path / "whole", str(tmp_path / "another store"), data_dir)
    whole.run()
    for step, model in (("train", "teacher"), ("distill", "student"), ("quantize", "int8")):
        assert artifacts.digest(killed.folder / "latest" / step / model) == artifacts.digest(
            whole.folder / "latest" / step / model
        ), f"the {model} of the killed run differs"


def test_a_mistake_in_the_source_ends_with_one_sentence(tmp_path: Path):
    command = [sys.executable, "-m", "pipeline", "run", "--profile", "smoke", "--source", str(tmp_path / "nowhere")]
    ended = subprocess.run(
        [*command, "--artifacts", str(tmp_path / "artifacts"), "--store", str(tmp_path / "store")],
        env={**os.environ, "COLUMNS": "100"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert ended.returncode == 2
    assert "nowhere" in ended.stderr
    assert len(ended.stderr.splitlines()) == 1
