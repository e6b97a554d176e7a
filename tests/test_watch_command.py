"""`make watch`: what it refuses to start with, in one sentence."""

import socket
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

ROOT = Path(__file__).parents[1]


def ended(store: str, settings: Path) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "pipeline", "watch", f"--store={store}", f"--settings={settings}"]
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=120, check=False)


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (None, "there is no such file"),
        ({"interval": 3}, "interval: no such key"),
        ({"metrics_port": 70_000}, "metrics_port: Input should be less than or equal to 65535"),
        ({"profile": "nosuch"}, "profile 'nosuch': no such profile"),
    ],
)
def test_settings_that_cannot_be(production, tmp_path, content, said):
    settings = tmp_path / "watch.yaml"
    if content is not None:
        settings.write_text(yaml.safe_dump(content))
    run = ended(str(production.store), settings)
    assert (run.returncode, "Traceback" in run.stderr) == (2, False)
    assert said in run.stderr


def test_a_port_that_is_taken(production, tmp_path):
    settings = tmp_path / "watch.yaml"
    with socket.create_server(("127.0.0.1", 0)) as taken:
        settings.write_text(yaml.safe_dump({"metrics_port": taken.getsockname()[1]}))
        run = ended(str(production.store), settings)
    assert (run.returncode, "Traceback" in run.stderr) == (2, False)
    assert "cannot be had" in run.stderr


def test_a_store_without_a_champion(tmp_path):
    settings = tmp_path / "watch.yaml"
    settings.write_text("metrics_port: 0\n")
    run = ended(str(tmp_path / "store"), settings)
    assert (run.returncode, run.stderr.startswith("no champion in ")) == (2, True)
