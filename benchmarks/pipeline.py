"""`make bench-pipeline`: the profile from nothing, over seeds: wall time of each step, peak memory, accuracy."""

import argparse
import contextlib
import json
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any
from uuid import uuid4

import psutil
import yaml
from rich.console import Console
from rich.table import Table

from benchmarks import record
from benchmarks.record import ROOT
from infra import guard

POLL_S = 3.0
MARK = "INKLOOP_BENCHMARK"  # in the environment of all processes of one run


def memory_bytes(mark: str) -> int:
    """Proportional memory of a run's processes, so that pages they share count once."""
    total = 0
    for process in guard.family(MARK, mark):
        with contextlib.suppress(psutil.Error):  # gone meanwhile
            total += process.memory_full_info().pss
    return total


def run_once(profile: str, seed: int, folder: Path) -> dict[str, Any]:
    """One run into an empty folder; returns its summary, with peak memory."""
    settings = yaml.safe_load((ROOT / "pipeline" / "profiles" / f"{profile}.yaml").read_text()) or {}
    chosen = folder / f"{profile}-{seed}.yaml"
    chosen.write_text(yaml.safe_dump({**settings, "seed": seed}))
    artifacts = folder / f"artifacts-{seed}"
    store = folder / f"store-{seed}"
    command = [sys.executable, "-m", "pipeline", "run", "--profile", str(chosen)]
    command += ["--artifacts", str(artifacts), "--store", str(store)]
    started, peak, mark = time.monotonic(), 0, uuid4().hex
    with subprocess.Popen(command, cwd=ROOT, stdout=subprocess.DEVNULL, env={**os.environ, MARK: mark}) as process:
        while process.poll() is None:
            peak = max(peak, memory_bytes(mark))
            with contextlib.suppress(subprocess.TimeoutExpired):
                process.wait(POLL_S)
    wall_s = time.monotonic() - started
    if process.returncode != 0:
        raise SystemExit(f"seed {seed}: the run failed; its log is {artifacts / 'latest' / 'run.log'}")
    summary: dict[str, Any] = json.loads((artifacts / "latest" / "summary.json").read_text())
    shutil.rmtree(artifacts / "runs", ignore_errors=True)
    return {"seed": seed, "command_wall_s": wall_s, "peak_bytes": peak, **summary}


def table_of(runs: list[dict[str, Any]]) -> Table:
    """Median, least and most over the seeds."""
    table = Table("", "median", "min", "max", title=f"{len(runs)} runs from nothing")

    def add(name: str, values: list[float], form: str) -> None:
        table.add_row(name, *(form.format(figure(values)) for figure in (statistics.median, min, max)))

    for place, step in enumerate(runs[0]["steps"]):
        add(f"{step['name']}, s", [run["steps"][place]["seconds"] for run in runs], "{:.1f}")
    add("whole run, s", [run["command_wall_s"] for run in runs], "{:.1f}")
    add("peak memory, GB", [run["peak_bytes"] / 1e9 for run in runs], "{:.2f}")
    for name in runs[0]["models"]:
        add(f"{name}, test accuracy, %", [run["models"][name]["test_accuracy"] * 100 for run in runs], "{:.2f}")
        add(f"{name}, size, KB", [run["models"][name]["size_bytes"] / 1000 for run in runs], "{:.1f}")
        add(f"{name}, p50, us", [run["models"][name]["latency_p50_us"] for run in runs], "{:.0f}")
    return table


def main() -> None:
    """Run the seeds, print the table, keep the rows."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--profile", default="default")
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        runs = [run_once(options.profile, seed, Path(folder)) for seed in options.seeds]
    Console().print(table_of(runs))
    record.keep("pipeline", runs)


if __name__ == "__main__":
    main()
