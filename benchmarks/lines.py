"""`make bench-lines`: how well lines are read, over seeds.

A seed whose model is in `artifacts/lines` already is measured and not trained again. What other seeds came to before is
left as it is.
"""

import argparse
import statistics
import time
from pathlib import Path
from typing import Any, get_args

import numpy as np
import torch

from benchmarks import real_digits, record
from benchmarks.line_sheet import contact_sheet
from inkloop import artifacts, checkpoint
from inkloop.digits import Digits, Split
from inkloop.line.composition import Lines, LineSettings, compose, lengths
from inkloop.line.ctc import beam_search, edits, greedy
from inkloop.line.model import LineModel, LineModelSettings
from inkloop.line.runtime import LineReader
from inkloop.line.training import LineTrainingSettings, fit_lines

VALIDATION_LINES, TEST_LINES = 500, 2_000
VALIDATION_SEED, TEST_SEED = 1, 2
TIMED_LINES = 500


def lines_of(split: Digits, count: int, seed: int) -> Lines:
    """Lines of 1 to 20 digits of one split."""
    settings = LineSettings()
    return compose(split, lengths(count, settings.most_digits, seed), settings, seed)


def trained(seed: int, splits: dict[Split, Digits]) -> Path:
    """The directory of the model that this seed gives."""
    folder = record.ROOT / "artifacts" / "lines" / f"seed-{seed}"
    if (folder / artifacts.INFO_NAME).is_file():
        return folder
    torch.manual_seed(seed)
    model, settings = LineModel(LineModelSettings()), LineTrainingSettings()
    validation = lines_of(splits["validation"], VALIDATION_LINES, VALIDATION_SEED)
    began, cpu_began = time.perf_counter(), time.process_time()
    epochs = fit_lines(model, splits["train"], validation, settings, seed, lambda epoch: print(epoch, flush=True))
    best = min(epoch.validation_cer for epoch in epochs)
    took = {"train_s": time.perf_counter() - began, "train_cpu_s": time.process_time() - cpu_began}
    checkpoint.save_line(model, folder, {"validation_cer": best, **took}, {"seed": str(seed)})
    return folder


def figures(wrong: np.ndarray, written: np.ndarray) -> dict[str, float]:
    """Character error rate and share of whole lines right. wrong: edits of each line; written: its digits."""
    return {
        "lines": len(wrong),
        "digits": int(written.sum()),
        "cer": float(wrong.sum() / written.sum()),
        "whole_lines": float((wrong == 0).mean()),
    }


def groups(lines: Lines) -> dict[str, np.ndarray]:
    """Which lines are of which length, and how close their digits are."""
    written = np.array([len(digits) for digits in lines.labels])
    several = written > 1
    spans = [(1, 1), (2, 5), (6, 10), (11, 15), (16, 20)]
    return {
        "all": written > 0,
        **{f"{low}-{high} digits": (written >= low) & (written <= high) for low, high in spans},
        "overlapping (mean gap below 0)": several & (lines.gaps < 0),
        "close (0 to 2 px)": several & (lines.gaps >= 0) & (lines.gaps < 2),
        "apart (2 px or more)": several & (lines.gaps >= 2),
    }


def measured(folder: Path, test: Lines) -> list[dict[str, Any]]:
    """One model's figures on the test lines, in ONNX Runtime, by decoder and group; then what it costs."""
    reader = LineReader(folder)
    info, seed = reader.info, int(reader.info.lineage["seed"])
    said = [reader.log_probabilities([image])[0] for image in test.images]
    decoders = {"greedy": greedy, "beam": lambda log_p: beam_search(log_p).digits}
    written, rows = np.array([len(digits) for digits in test.labels]), []
    for decoder, decode in decoders.items():
        began = time.process_time()
        answers = [decode(log_p) for log_p in said]
        ms = 1000 * (time.process_time() - began) / len(said)
        wrong = np.array([edits(answer, truth) for answer, truth in zip(answers, test.labels, strict=True)])
        for group, rows_of in groups(test).items():
            rows.append({"seed": seed, "decoder": decoder, "group": group, **figures(wrong[rows_of], written[rows_of])})
        rows[-len(groups(test))]["decode_ms_a_line"] = ms
    took = [timed(reader, image) for image in test.images[:TIMED_LINES]]
    cost = {"parameters": info.parameters, "size_bytes": info.size_bytes, **info.metrics}
    return [*rows, {"seed": seed, **cost, "network_ms_a_line": 1000 * statistics.median(took)}]


def timed(reader: LineReader, image: np.ndarray) -> float:
    """Seconds that the network takes for one line."""
    began = time.perf_counter()
    reader.log_probabilities([image])
    return time.perf_counter() - began


def composing(split: Digits) -> dict[str, float]:
    """Lines of 1 to 20 digits, 10.5 on average, that one core composes in a second of its time: the most of five."""
    rates = []
    for seed in range(5):
        began = time.process_time()
        lines_of(split, 1_000, seed)
        rates.append(1_000 / (time.process_time() - began))
    return {"composed_lines_a_cpu_second": max(rates)}


def table(rows: list[dict[str, Any]]) -> str:
    """Each decoder and group: mean over the seeds, and the spread between them."""
    text = ["| lines | decoder | CER | whole lines right |", "| --- | --- | --- | --- |"]
    keys = dict.fromkeys((row["group"], row["decoder"]) for row in rows if "group" in row)
    for group, decoder in keys:
        of = [row for row in rows if (row.get("group"), row.get("decoder")) == (group, decoder)]
        cells = [spread([row[figure] for row in of]) for figure in ("cer", "whole_lines")]
        text.append(f"| {group} | {decoder} | {cells[0]} | {cells[1]} |")
    return "\n".join(text)


def spread(values: list[float]) -> str:
    """Mean and range of shares, in percent."""
    mean, low, high = statistics.mean(values), min(values), max(values)
    return f"{mean:.2%}" if len(values) == 1 else f"{mean:.2%} ({low:.2%} to {high:.2%})"


def main() -> None:
    """Train, measure, print the table and keep `benchmarks/results/lines.json`, after each seed what there is."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    seeds = parser.parse_args().seeds
    torch.set_num_threads(1)
    splits: dict[Split, Digits] = {side: real_digits.split(side) for side in get_args(Split)}
    test = lines_of(splits["test"], TEST_LINES, TEST_SEED)
    others = [row for row in record.rows("lines") if "seed" in row and row["seed"] not in seeds]
    rows: list[dict[str, Any]] = [composing(splits["train"]), *others]
    for seed in seeds:
        folder = trained(seed, splits)
        rows += measured(folder, test)
        rows.sort(key=lambda row: row.get("seed", -1))
        record.keep("lines", rows)
        if seed == 0:
            contact_sheet(LineReader(folder), test).save(record.ROOT / "docs" / "lines.png", optimize=True)
    print(table(rows), *(row for row in rows if "group" not in row), sep="\n")


if __name__ == "__main__":
    main()
