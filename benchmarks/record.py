"""What every benchmark leaves: its rows, with machine, date and command, in `benchmarks/results/NAME.json`."""

import json
import platform
import sys
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import psutil

ROOT = Path(__file__).parent.parent
RESULTS = ROOT / "benchmarks" / "results"


def machine() -> dict[str, Any]:
    """What the figures were measured on."""
    lines = Path("/proc/cpuinfo").read_text().splitlines()
    model = next((line.split(":")[1].strip() for line in lines if line.startswith("model name")), "")
    memory_gb = round(psutil.virtual_memory().total / 1e9)
    return {"cpu": model, "cores": psutil.cpu_count(), "memory_gb": memory_gb, "system": platform.platform()}


def rows(name: str) -> list[dict[str, Any]]:
    """What was kept of a benchmark so far."""
    path = RESULTS / f"{name}.json"
    found: list[dict[str, Any]] = json.loads(path.read_text())["rows"] if path.is_file() else []
    return found


def keep(name: str, rows: list[dict[str, Any]]) -> None:
    """Write `benchmarks/results/NAME.json`."""
    RESULTS.mkdir(parents=True, exist_ok=True)
    command = " ".join(["python", "-m", f"benchmarks.{name}", *sys.argv[1:]])
    kept = {"machine": machine(), "date": datetime.now(UTC).date().isoformat(), "command": command, "rows": rows}
    (RESULTS / f"{name}.json").write_text(json.dumps(kept, indent=2) + "\n")
