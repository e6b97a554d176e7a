"""`make bench-monitor`: seconds and memory of a report on a million captured rows, made of real digits' rows."""

import argparse
import os
import subprocess
import sys
import tempfile
import time
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from benchmarks import record
from benchmarks.record import ROOT
from infra import captured, reference, registry
from infra.storage import Store, open_store

DAY = datetime(2026, 1, 1, tzinfo=UTC)
SOURCES = ("kiosk", "telephone", "scanner")
LABELED_SHARE = 0.2


def ids_at(milliseconds: np.ndarray, rng: np.random.Generator) -> list[str]:
    """Prediction ids (UUIDs of version 7) made at these times."""
    random = rng.integers(0, 2**63, len(milliseconds))
    times = (f"{when:012x}" for when in milliseconds)
    tails = (f"{part:015x}" for part in random & (2**60 - 1))
    return [f"{w[:8]}-{w[8:]}-7{t[:3]}-8{t[3:6]}-{t[3:]}" for w, t in zip(times, tails, strict=True)]


def fill(store: Store, rows_of: pa.Table, rows: int, objects: int) -> None:
    """Put that many answers of one day into the store, drawn from these, in that many objects, a fifth labeled."""
    rng = np.random.default_rng(0)
    each = rows // objects
    for number in range(objects):
        start = DAY + timedelta(days=1) * (number / objects)
        start = start.replace(minute=0, second=0, microsecond=0)  # an object is of one hour
        milliseconds = np.sort(rng.integers(0, 3_600_000, each)) + int(start.timestamp() * 1000)
        seen_at = pa.array(milliseconds * 1000, pa.timestamp("us", tz="UTC"))
        table = rows_of.take(pa.array(rng.integers(0, rows_of.num_rows, each)))
        truth, ids = table.column("label"), pa.array(ids_at(milliseconds, rng))
        columns = {
            "prediction_id": ids,
            "seen_at": seen_at,
            "source": pa.array([SOURCES[n] for n in rng.integers(0, len(SOURCES), each)]),
            "label": pa.nulls(each, pa.int8()),
        }
        for name, column in columns.items():
            table = table.set_column(table.schema.get_field_index(name), name, column)
        segment = f"{number:05}"
        store.put(captured.key_of(captured.ANSWERS, start, segment), captured.to_parquet(table.cast(captured.SCHEMA)))
        known = pa.array(np.flatnonzero(rng.random(each) < LABELED_SHARE))
        given = {
            "prediction_id": ids.take(known),
            "label": truth.take(known),
            "writer": pa.nulls(len(known), pa.string()),
            "source": pa.repeat("desk", len(known)),
            "seen_at": seen_at.take(known),
        }
        labels = pa.table(given, captured.LABEL_SCHEMA)
        store.put(captured.key_of(captured.LABELS, start, segment), captured.to_parquet(labels))


def report(store: str, folder: str) -> dict[str, Any]:
    """Run the command once; its seconds and peak memory."""
    command = [sys.executable, "-m", "pipeline", "monitor", "--update-only", "--store", store, "--folder", folder]
    started = time.monotonic()
    process = subprocess.Popen(command, cwd=ROOT, env={**os.environ, "OMP_NUM_THREADS": "1"})
    _, status, usage = os.wait4(process.pid, 0)
    if status:
        raise SystemExit(f"the command failed: {' '.join(command)}")
    return {
        "seconds": time.monotonic() - started,
        "cpu_s": usage.ru_utime + usage.ru_stime,
        "peak_mb": usage.ru_maxrss * 1024 / 1e6,
    }


def main() -> None:
    """Fill a store, report on it from nothing, and once more with nothing new."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--store", default=str(ROOT / "store"), help="where the champion and its reference are")
    parser.add_argument("--rows", type=int, default=1_000_000)
    parser.add_argument("--objects", type=int, default=480)
    given = parser.parse_args()
    home = open_store(given.store)
    champion = registry.reigning(home)
    with tempfile.TemporaryDirectory(prefix="inkloop-bench-") as scratch:
        place = Path(scratch)
        store = open_store(str(place / "store"))
        for key in (registry.CHAMPION, *home.list("references/")):
            store.put(key, home.get(key))
        fill(store, reference.read(home, champion.digest), given.rows, given.objects)
        rows = []
        for what in ("from nothing", "nothing new"):
            measured = report(str(place / "store"), str(place / "monitoring"))
            rows.append({"what": what, "rows": given.rows, "objects": given.objects, **measured})
            print("{what}: {seconds:.1f} s, {cpu_s:.1f} s of a core, {peak_mb:.0f} MB at most".format(**rows[-1]))
    record.keep("monitor", rows)


if __name__ == "__main__":
    main()
