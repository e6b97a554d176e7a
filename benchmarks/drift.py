"""`make bench-drift`: false alarms and delays of the drift detector on real digits, beside tests on windows."""

import argparse
import statistics
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.compute as pc
from numpy.random import Generator
from numpy.typing import NDArray
from rich.console import Console
from rich.table import Table

from benchmarks import real_digits, record, windows
from infra import registry
from infra.storage import open_store
from inkloop import corruptions, digits
from inkloop.runtime import Recognizer
from monitoring.drift import conformal
from monitoring.drift.detector import BASIS_SHARE, Detector, DetectorSettings
from monitoring.drift.features import NAMES, features

BATCH = 1_000
SHARES = (1.0, 0.1)  # of the images after a change that are corrupted
GIVE_UP = 1_000  # images after a change; a test on windows that says nothing until then missed it
CALIBRATED_RUN = 100_000
CONTINUOUS = [place for place, name in enumerate(NAMES) if not name.startswith("answer")]

Floats = NDArray[np.float32]


@dataclass(frozen=True)
class Shown:
    """Pictures, uint8 (n, 28, 28), and the champion's answers, float32 (n, 10)."""

    images: NDArray[np.uint8]
    answers: Floats

    def take(self, rows: NDArray[np.int64]) -> "Shown":
        return Shown(self.images[rows], self.answers[rows])


def answered(model: Recognizer, images: NDArray[np.uint8]) -> Shown:
    parts = [model.probabilities(images[at : at + BATCH]) for at in range(0, len(images), BATCH)]
    return Shown(images, np.concatenate(parts))


def on(detector: Detector, shown: Shown) -> Floats:
    return features(shown.images, shown.answers, detector.basis)


def drawn(values: Floats, random: Generator, count: int) -> Floats:
    return values[random.integers(len(values), size=count)]


def runs_of(detector: Detector, values: Floats, random: Generator, alarms: int, block: int) -> list[int]:
    """Lengths of the runs between alarms on digits drawn at random."""
    ends = [-1]
    while len(ends) <= alarms:
        ends += [alarm.at for alarm in detector.update_features(drawn(values, random, block))]
    return np.diff(ends[: alarms + 1]).tolist()


def first_runs(pool: Shown, size: int, expected_run: int, alarms: int, random: Generator) -> Iterator[int]:
    """Runs to the first alarm, each after a reference of its own, drawn from the pool that the stream is drawn from."""
    drawn_reference = pool.take(random.integers(len(pool.images), size=size))
    first = Detector.from_reference(
        drawn_reference.images, drawn_reference.answers, DetectorSettings(expected_run=expected_run)
    )
    values = on(first, pool)
    for _ in range(alarms):
        reference = drawn(values, random, int((1 - BASIS_SHARE) * size)).astype(float)
        edges = conformal.edges_of(reference)
        counts = conformal.counts_of(conformal.bins_of(reference, edges))
        yield from runs_of(Detector(first.basis, edges, counts, first.threshold), values, random, 1, expected_run // 5)


def long_runs(reference: Shown, stream: Shown, expected_run: int, alarms: int, random: Generator) -> Iterator[int]:
    """Runs between alarms of detectors that go on, one for each seed."""
    for seed in range(10):
        settings = DetectorSettings(expected_run=expected_run)
        detector = Detector.from_reference(reference.images, reference.answers, settings, seed)
        yield from runs_of(detector, on(detector, stream), random, alarms // 10, expected_run // 5)


def false_alarms(setting: str, expected_run: int, runs: list[int]) -> dict[str, Any]:
    error = statistics.stdev(runs) / len(runs) ** 0.5
    return {
        "kind": "false alarms",
        "setting": setting,
        "asked": expected_run,
        "alarms": len(runs),
        "mean_run": statistics.mean(runs),
        "standard_error": error,
    }


def delays_of(start: bytes, clean: Floats, changed: Floats, share: float, runs: int, random: Generator) -> list[int]:
    """Images from a change to the first alarm after it; the change comes after 200 to 1,000 clean digits."""
    found = []
    for _ in range(runs):
        detector = Detector.from_bytes(start)
        detector.update_features(drawn(clean, random, int(random.integers(200, 1_000))))
        changed_at = detector.seen
        while True:
            if alarms := detector.update_features(mixed(clean, changed, share, random, 50)):
                found.append(alarms[0].at - changed_at + 1)
                break
    return found


def mixed(clean: Floats, changed: Floats, share: float, random: Generator, count: int) -> Floats:
    is_changed = random.random((count, 1)) < share
    return np.where(is_changed, drawn(changed, random, count), drawn(clean, random, count))


def threshold_of(
    statistic: Callable[[Floats], float], clean: Floats, size: int, count: int, random: Generator
) -> float:
    """What one window in CALIBRATED_RUN / size exceeds while nothing changes."""
    found = [statistic(drawn(clean, random, size)) for _ in range(count)]
    return float(np.quantile(found, 1 - size / CALIBRATED_RUN))


def window_delays(
    statistic: Callable[[Floats], float],
    threshold: float,
    size: int,
    clean: Floats,
    changed: Floats,
    share: float,
    runs: int,
    random: Generator,
) -> list[float]:
    """Images from a change to the end of the first window that exceeds the threshold; inf: none did in time."""
    found = []
    for _ in range(runs):
        before = int(random.integers(size))
        delay = size - before
        window = np.concatenate([drawn(clean, random, before), mixed(clean, changed, share, random, delay)])
        while statistic(window) <= threshold:
            delay += size
            if delay > GIVE_UP:
                break
            window = mixed(clean, changed, share, random, size)
        found.append(delay if delay <= GIVE_UP else float("inf"))
    return found


def delay_row(detector: str, corruption: str, share: float, delays: list[Any]) -> dict[str, Any]:
    median, late = np.quantile(delays, [0.5, 0.9], method="higher")
    return {
        "kind": "delay",
        "detector": detector,
        "corruption": corruption,
        "share": share,
        "runs": len(delays),
        "median": float(median) if np.isfinite(median) else None,
        "p90": float(late) if np.isfinite(late) else None,
    }


def cost(detector: Detector, shown: Shown) -> dict[str, Any]:
    """Microseconds an image, in batches of 1,000, over five passes."""
    passes: dict[str, list[float]] = {"features": [], "detector": []}
    for _ in range(5):
        started = time.perf_counter()
        values = [
            features(shown.images[at : at + BATCH], shown.answers[at : at + BATCH], detector.basis)
            for at in range(0, len(shown.images), BATCH)
        ]
        between = time.perf_counter()
        for part in values:
            detector.update_features(part)
        ended = time.perf_counter()
        passes["features"].append((between - started) / len(shown.images) * 1e6)
        passes["detector"].append((ended - between) / len(shown.images) * 1e6)
    return {
        "kind": "cost",
        **{f"{name}_us": {"median": statistics.median(took), "least": min(took)} for name, took in passes.items()},
    }


def loaded(store: str) -> tuple[Recognizer, Shown, Shown]:
    """The champion, the validation digits and the test digits with its answers."""
    opened = open_store(store)
    with tempfile.TemporaryDirectory() as folder:
        registry.fetch(opened, registry.reigning(opened).digest, Path(folder) / "model")
        model = Recognizer(Path(folder) / "model")
    table = real_digits.table()
    split = table.column("split")
    held_out, test = (
        answered(model, np.stack(list(digits.images_of(table.filter(pc.equal(split, name))))))
        for name in ("validation", "test")
    )
    return model, held_out, test


def rivals(size: int, reference: Shown, detector: Detector) -> dict[str, tuple[Callable[[Shown], Floats], Any]]:
    """Of each test on windows: what it looks at, and its statistic."""

    def columns(shown: Shown) -> Floats:
        return on(detector, shown)[:, CONTINUOUS]

    def embedding(shown: Shown) -> Floats:
        return (shown.images.reshape(len(shown.images), -1) - detector.basis.mean) @ detector.basis.components

    def answers(shown: Shown) -> Floats:
        return shown.answers

    few = reference.take(np.arange(1_000))
    return {
        f"Evidently, KS of columns, {size}": (columns, windows.evidently_columns("ks", columns(few))),
        f"Evidently, Wasserstein of columns, {size}": (columns, windows.evidently_columns("wasserstein", columns(few))),
        f"Evidently, embedding, {size}": (embedding, windows.evidently_embedding(embedding(few))),
        f"MMD of answers, {size}": (answers, windows.mmd(answers(few))),
    }


def _images(found: float | None) -> str:
    return "-" if found is None else f"{found:,.0f}"


def table_of(rows: list[dict[str, Any]]) -> Table:
    """Median and 90th percentile of the delays, side by side."""
    names = list(dict.fromkeys(row["detector"] for row in rows))
    table = Table("corruption", "share", *names, title="images until the alarm: median (90th percentile)")
    for corruption in corruptions.NAMES:
        for share in SHARES:
            mine = {row["detector"]: row for row in rows if (row["corruption"], row["share"]) == (corruption, share)}
            cells = [f"{_images(mine[name]['median'])} ({_images(mine[name]['p90'])})" for name in names]
            table.add_row(corruption, f"{share:.0%}", *cells)
    return table


def main() -> None:
    """Measure false alarms, delays and cost; print the tables, keep the rows."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--store", default=str(record.ROOT / "store"))
    parser.add_argument("--alarms", type=int, default=400, help="false alarms waited for in each setting")
    parser.add_argument(
        "--runs", type=int, default=100, help="changes of each kind; a fifth of them for tests on windows"
    )
    parser.add_argument("--windows", type=int, default=2_000, help="clean windows that a test on windows is set by")
    options = parser.parse_args()
    model, reference, test = loaded(options.store)
    random = np.random.default_rng(0)
    rows: list[dict[str, Any]] = []

    def keep(row: dict[str, Any]) -> None:
        rows.append(row)
        Console().print(row)

    detector = Detector.from_reference(reference.images, reference.answers, DetectorSettings())
    start = detector.to_bytes()
    keep(cost(detector, test.take(random.permutation(len(test.images)))))
    clean = on(detector, test)
    changed = {name: answered(model, corruptions.corrupt(test.images[::2], name, seed=0)) for name in corruptions.NAMES}
    delays: list[dict[str, Any]] = []
    for name, shown in changed.items():
        for share in SHARES:
            found = delays_of(start, clean, on(detector, shown), share, options.runs, random)
            delays.append(delay_row("Inkloop", name, share, found))
    for size in (100, 500):
        for rival, (look, statistic) in rivals(size, reference, detector).items():
            clean_looked = look(test)
            threshold = threshold_of(statistic, clean_looked, size, options.windows * 100 // size, random)
            for name, shown in changed.items():
                for share in SHARES:
                    arguments = (size, clean_looked, look(shown), share, options.runs // 5, random)
                    delays.append(delay_row(rival, name, share, window_delays(statistic, threshold, *arguments)))
    Console(width=200).print(table_of(delays))
    pool = Shown(np.concatenate([reference.images, test.images]), np.concatenate([reference.answers, test.answers]))
    for asked in (1_000, 10_000, CALIBRATED_RUN):
        runs = list(first_runs(pool, len(reference.images), asked, options.alarms, random))
        keep(false_alarms("reference and stream drawn from one pool, first alarm", asked, runs))
        runs = list(long_runs(reference, test, asked, options.alarms, random))
        keep(false_alarms("reference validation, stream test, all alarms", asked, runs))
    in_order = Detector.from_bytes(start)
    places = [alarm.at for alarm in in_order.update(test.images, test.answers)]
    halves = [sum(place < len(test.images) // 2 for place in places), len(places)]
    keep({"kind": "test digits in their order", "alarms_first_half": halves[0], "alarms": halves[1]})
    record.keep("drift", [*rows, *delays])


if __name__ == "__main__":
    main()
