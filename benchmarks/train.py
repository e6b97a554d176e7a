"""`make bench-train`: time to accuracy on one core, and the training loop beside the articles' plain one."""

import argparse
import statistics
import time
from typing import Any

import torch
from rich.console import Console
from rich.table import Table

from benchmarks import real_digits, record
from benchmarks.rivals import plain_training
from inkloop.augmentation import AugmentationSettings, deform
from inkloop.digits import Digits, Split
from inkloop.distillation import DistillationSettings
from inkloop.model import ModelSettings, Recognizer, count_parameters
from inkloop.readings import Reading
from inkloop.search import TeacherSettings
from inkloop.training import TrainingSettings, accuracy, fit

# The shape that the articles describe: rows of one pixel, 128 units each way, attention.
DESCRIBED = ModelSettings(readings=(Reading(kind="rows", size=1),))
SHAPE = ModelSettings(hidden_size=40, attention_size=16, fc_size=40, dropout=0.0)
FAST = TrainingSettings(epochs=6, batch_size=128, optimizer="muon", learning_rate=1e-2, ema_decay=0.99)
LIGHT = AugmentationSettings(rotation_deg=8, scale=0.08, shear=0.08, shift_px=1.5, elastic_px=1)
SHAPES = {
    "described": DESCRIBED,
    "40 units": SHAPE,
    "default student": DistillationSettings().model,
    "default teacher": TeacherSettings().model,
}
SPLITS: tuple[Split, ...] = ("train", "validation", "test")
SAMPLE = 6_000  # digits that the loops are compared on
BATCH_SIZE = 64  # the articles'


def to_accuracy(train: Digits, validation: Digits, test: Digits, seed: int) -> dict[str, Any]:
    """Train from scratch with the fast recipe; the epoch is chosen by validation digits."""
    torch.manual_seed(seed)
    model = Recognizer(SHAPE)
    state = fit(model, train, validation, FAST, LIGHT, seed)
    seconds = sum(epoch.seconds for epoch in state.epochs)
    return {
        "kind": "time to accuracy",
        "seed": seed,
        "parameters": count_parameters(model),
        "train_s": seconds,
        "train_cpu_s": sum(epoch.cpu_seconds for epoch in state.epochs),
        "images_per_s": len(train) * len(state.epochs) / seconds,
        "validation_accuracy": state.best_accuracy,
        "test_accuracy": accuracy(model, test),
    }


def ours_per_s(shape: ModelSettings, digits: Digits, seed: int) -> float:
    """Digits a second of one epoch of our loop, with all of the augmentation."""
    torch.manual_seed(seed)
    settings = TrainingSettings(epochs=1, batch_size=BATCH_SIZE)
    state = fit(Recognizer(shape), digits, digits.take(slice(0, 10)), settings, AugmentationSettings(), seed)
    return len(digits) / state.epochs[0].seconds


def augmented_per_s(digits: Digits) -> float:
    """Digits deformed a second by the whole recipe, in batches as in training."""
    random, started = torch.Generator().manual_seed(0), time.perf_counter()
    for part in torch.from_numpy(digits.images).split(256):
        deform(part.float(), AugmentationSettings(), random)
    return len(digits) / (time.perf_counter() - started)


def loops(sample: Digits, rounds: int) -> list[dict[str, Any]]:
    """Our loop and the plain one, in turns, on the articles' shape and on ours."""
    rows: list[dict[str, Any]] = []
    for name, shape in SHAPES.items():
        pairs = [
            (ours_per_s(shape, sample, seed), plain_training.images_per_s(shape, sample, BATCH_SIZE, seed))
            for seed in range(rounds)
        ]
        ours, plain = (statistics.median(pair[place] for pair in pairs) for place in (0, 1))
        ratio = statistics.median(one / other for one, other in pairs)
        rows.append({"kind": "loops", "shape": name, "ours_per_s": ours, "plain_per_s": plain, "ratio": ratio})
    return rows


def shown(rows: list[dict[str, Any]]) -> Table:
    """What was measured, in words and figures."""
    table = Table("", "")
    runs = [row for row in rows if row["kind"] == "time to accuracy"]
    tests = [100 * row["test_accuracy"] for row in runs]
    for key, said in (("train_s", "training, s"), ("train_cpu_s", "training, CPU s")):
        seconds = [row[key] for row in runs]
        table.add_row(said, f"{statistics.mean(seconds):.0f} ({min(seconds):.0f}-{max(seconds):.0f})")
    table.add_row("test accuracy, %", f"{statistics.mean(tests):.2f} ({min(tests):.2f}-{max(tests):.2f})")
    for row in rows:
        if row["kind"] == "loops":
            said = f"{row['ours_per_s']:,.0f} and {row['plain_per_s']:,.0f} digits a second, {row['ratio']:.1f} times"
            table.add_row(f"our loop and the plain one, {row['shape']} shape", said)
        if row["kind"] == "augmentation":
            table.add_row("augmentation alone", f"{row['images_per_s']:,.0f} digits a second")
    return table


def main() -> None:
    """Measure on one thread, print the table, keep the rows."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2, 3, 4])
    parser.add_argument("--rounds", type=int, default=3, help="of the comparison of loops")
    options = parser.parse_args()
    torch.set_num_threads(1)
    train, validation, test = (real_digits.split(name) for name in SPLITS)
    rows: list[dict[str, Any]] = []

    def keep(row: dict[str, Any]) -> None:
        rows.append(row)
        Console().print(row)

    rates = [augmented_per_s(train.take(slice(0, 20_000))) for _ in range(5)]
    keep({"kind": "augmentation", "images_per_s": statistics.median(rates), "most": max(rates)})
    for row in loops(train.take(slice(0, SAMPLE)), options.rounds):
        keep(row)
    for seed in options.seeds:
        keep(to_accuracy(train, validation, test, seed))
    record.keep("train", rows)
    Console().print(shown(rows))


if __name__ == "__main__":
    main()
