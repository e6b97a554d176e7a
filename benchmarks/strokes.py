"""`make bench-strokes FILE=...`: the pen's recognizer trained on UCI's pen digits, on traced MNIST, and on both.

FILE is the one file with the 7,494 training digits and after them the test digits of other writers.
"""

import argparse
import json
import statistics
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import torch

from benchmarks import real_digits, record
from inkloop import idx
from inkloop.errors import UserError
from inkloop.model import count_parameters
from inkloop.pen import pendigits, tracing, trajectory
from inkloop.pen.augmentation import TRACED_HANDS, PenAugmentationSettings
from inkloop.pen.model import PenModelSettings, PenRecognizer
from inkloop.pen.training import TRAINING, accuracy, fit
from inkloop.pen.trajectory import PenDigits

VALIDATION_SHARE = 0.1  # of the training digits, by seed; the test digits choose nothing
TRACED = 12_000  # of MNIST's training digits
PEN_EPOCHS, TRACED_EPOCHS = 25, 12


def mnist(part: str, count: int | None) -> tuple[PenDigits, float]:
    """The first tracings of `train` or `t10k`, all if count is None, and how many were made in a second of CPU time."""
    kinds = ("images-idx3", "labels-idx1")
    images, labels = (idx.read(real_digits.folder() / f"{part}-{kind}-ubyte")[:count] for kind in kinds)
    started = time.process_time()
    digits = tracing.traced(images, labels.astype(np.int64))
    return digits, len(digits) / (time.process_time() - started)


def trained(learnt: PenDigits, epochs: int, hands: PenAugmentationSettings, seed: int) -> tuple[PenRecognizer, float]:
    """A recognizer that learned these digits, and its accuracy on those of them that were held out."""
    order = np.random.default_rng(seed).permutation(len(learnt))
    held_out = round(VALIDATION_SHARE * len(learnt))
    torch.manual_seed(seed)
    model = PenRecognizer(PenModelSettings())
    settings = TRAINING.model_copy(update={"epochs": epochs, "patience_epochs": epochs})
    return model, fit(model, learnt.take(order[held_out:]), learnt.take(order[:held_out]), settings, hands, seed)


def table(rows: list[dict[str, Any]]) -> str:
    """Means over seeds, with the smallest and the largest."""

    def spread(name: str, of: list[dict[str, Any]]) -> str:
        values = [100 * row[name] for row in of]
        return f"{statistics.fmean(values):.2f} ({min(values):.2f} to {max(values):.2f})"

    lines = ["| trained on | seeds | pen digits, % | traced MNIST, % |", "| --- | --- | --- | --- |"]
    for name in dict.fromkeys(row["trained_on"] for row in rows):
        of = [row for row in rows if row["trained_on"] == name]
        lines.append(f"| {name} | {len(of)} | {spread('pen_digits', of)} | {spread('traced_mnist', of)} |")
    return "\n".join(lines)


def kept() -> list[dict[str, Any]]:
    """The rows of `benchmarks/results/strokes.json`; none if there is no such file."""
    path = record.RESULTS / "strokes.json"
    return json.loads(path.read_text())["rows"] if path.is_file() else []


def measure(file: Path, seeds: int, seeds_traced: int, rows: list[dict[str, Any]]) -> None:
    """Train what is not in the rows, test, and keep `benchmarks/results/strokes.json`, anew after each training."""
    pen_train, pen_test = pendigits.split(pendigits.read(file), file)
    (traced_train, a_second), (traced_test, _) = mnist("train", TRACED), mnist("t10k", None)
    print(f"{a_second:,.0f} pictures traced in a second")
    plan = [
        ("pen digits", pen_train, PEN_EPOCHS, PenAugmentationSettings(), seeds),
        ("traced MNIST", traced_train, TRACED_EPOCHS, TRACED_HANDS, seeds_traced),
        ("both", trajectory.joined(pen_train, traced_train), TRACED_EPOCHS, TRACED_HANDS, seeds_traced),
    ]
    done = {(row["trained_on"], row["seed"]) for row in rows}
    every = ((seed, each) for seed in range(max(seeds, seeds_traced)) for each in plan if seed < each[-1])
    turns = [(seed, each) for seed, each in every if (each[0], seed) not in done]
    for seed, (name, learnt, epochs, hands, _) in turns:
        started = time.process_time()
        model, validation = trained(learnt, epochs, hands, seed)
        row = {"trained_on": name, "seed": seed, "digits": len(learnt), "epochs": epochs, "validation": validation}
        row |= {"cpu_s": time.process_time() - started, "parameters": count_parameters(model)}
        row |= {"pen_digits": accuracy(model, pen_test), "traced_mnist": accuracy(model, traced_test)}
        rows.append(row | {"traced_a_second": a_second})
        print(rows[-1], flush=True)
        record.keep("strokes", rows)
    print(table(rows))


def main() -> int:
    """Measure; exit code 2 and one sentence if the file is not what it should be."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("file", type=Path, help="UCI's pen digits: 7,494 rows to learn from, then the test digits")
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--seeds-traced", type=int, default=3)
    parser.add_argument("--resume", action="store_true", help="keep the trainings that were kept, and add the others")
    asked = parser.parse_args()
    torch.set_num_threads(1)
    try:
        measure(asked.file, asked.seeds, asked.seeds_traced, kept() if asked.resume else [])
    except UserError as error:
        print(error, file=sys.stderr)
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main())
