"""`make bench-serve`: the served champion beside other servers of the same model, on the same two cores."""

import argparse
import statistics
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from rich.console import Console
from rich.table import Table

from benchmarks import real_digits, record, servers
from benchmarks.load import all_at_once, one_after_another
from benchmarks.servers import Server
from infra import registry
from infra.storage import open_store
from inkloop import idx

CONNECTIONS = 64
BATCH = 2_000


def measure(server: Server, model: Path, images: NDArray[np.uint8], scratch: Path, seconds: float) -> dict[str, Any]:
    """One round of one server: latency on one connection, requests a second on many, digits a second in batches."""
    with servers.running(server, model, scratch, images[:1]) as port:
        one, many = server.one(images[:1]), server.many(images[:BATCH])
        took = sorted(one_after_another(port, one, count=int(500 * seconds)))
        requests_per_s = all_at_once(port, one, CONNECTIONS, seconds)
        batches_per_s = all_at_once(port, many, 2, seconds)
    return {
        "p50_ms": statistics.median(took) * 1e3,
        "p99_ms": took[int(0.99 * len(took))] * 1e3,
        "requests_per_s": requests_per_s,
        "images_per_s": batches_per_s * BATCH,
    }


def summary(name: str, rounds: list[dict[str, Any]]) -> dict[str, Any]:
    """Median of each figure over the rounds, and the rounds."""
    return {
        "server": name,
        **{key: statistics.median(each[key] for each in rounds) for key in rounds[0]},
        "rounds": rounds,
    }


def table_of(rows: list[dict[str, Any]]) -> Table:
    """The medians, side by side."""
    table = Table("server", title="medians of the rounds")
    for heading in ("p50, ms", "p99, ms", f"requests/s, {CONNECTIONS} connections", "images/s in batches"):
        table.add_column(heading, justify="right")
    for row in rows:
        figures = (f"{row['p50_ms']:.2f}", f"{row['p99_ms']:.2f}", f"{row['requests_per_s']:,.0f}")
        table.add_row(row["server"], *figures, f"{row['images_per_s']:,.0f}")
    return table


def main() -> None:
    """Run the rounds, each with every server in turn; print the table, keep the rows."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--store", default=str(record.ROOT / "store"))
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--seconds", type=float, default=5.0, help="of each measurement")
    options = parser.parse_args()
    images = idx.read(real_digits.folder() / "t10k-images-idx3-ubyte")
    raw, as_json, as_png = servers.raw("/predict"), servers.as_json("/predict"), servers.as_png("/predict")
    ours = [
        servers.inkloop("Inkloop, JSON", options.store, as_json, capture=True),
        servers.inkloop("Inkloop, raw pixels", options.store, raw, capture=True),
        servers.inkloop("Inkloop, PNG", options.store, as_png, capture=True),
        servers.inkloop("Inkloop, raw pixels, no capture", options.store, raw, capture=False),
    ]
    compared = [*ours, *servers.rivals()]
    rounds: dict[str, list[dict[str, Any]]] = {server.name: [] for server in compared}
    with tempfile.TemporaryDirectory() as folder:
        store = open_store(options.store)
        model = Path(folder) / "model"
        registry.fetch(store, registry.reigning(store).digest, model)
        for _ in range(options.rounds):
            for server in compared:
                figures = measure(server, model / "model.onnx", images, Path(folder), options.seconds)
                rounds[server.name].append(figures)
    rows = [summary(name, each) for name, each in rounds.items()]
    Console().print(table_of(rows))
    record.keep("serve", rows)


if __name__ == "__main__":
    main()
