"""`make bench-accuracy`: how far the recurrent core gets, by size; each model is kept, with its card.

A seed whose model is in `artifacts/accuracy` is measured, not trained again; one that was stopped goes on after
its last epoch. What other goals and seeds came to before is left as it is. The epoch is chosen by validation digits;
the test digits are read once, in the end.
"""

import argparse
import statistics
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import torch
from rich.console import Console
from rich.table import Table
from torch import nn

from benchmarks import hard_digits, real_digits, record
from inkloop import artifacts, checkpoint
from inkloop.augmentation import AugmentationSettings
from inkloop.card import PackagingSettings, network, table
from inkloop.digits import Digits
from inkloop.files import written_whole
from inkloop.model import ModelSettings, Recognizer
from inkloop.readings import SWEEPS
from inkloop.training import EpochResult, TrainingSettings, TrainingState, accuracy, fit

FOLDER = record.ROOT / "artifacts" / "accuracy"
STRONG = AugmentationSettings(rotation_deg=12, scale=0.12, shear=0.12, shift_px=1.5, elastic_px=1.5)
# Of MNIST-C's corruptions it has shear, scale, rotation and shift, as any recipe does, and none of the other eleven.
VARIED = AugmentationSettings(
    rotation_deg=20,
    scale=0.25,
    shear=0.25,
    shift_px=3,
    elastic_px=1.5,
    noise=0.1,
    salt_and_pepper=0,
    pixel_share=0.3,
    other_pen=0.5,
    solarize=0.15,
    clutter=0.4,
    erase=0.25,
)
LONG = TrainingSettings(epochs=20, batch_size=128, learning_rate=6e-3, ema_decay=0.998, patience_epochs=20)


@dataclass(frozen=True)
class Goal:
    """A model that is to read so many digits right (mean over seeds, 0..1), with at most so many parameters."""

    name: str
    accuracy: float
    model: ModelSettings
    training: TrainingSettings
    parameters: int | None = None
    augmentation: AugmentationSettings = STRONG
    on: Literal["test", "mnist_c"] = "test"


def swept(hidden_size: int, upper_sizes: tuple[int, int, int], **more: Any) -> ModelSettings:  # noqa: ANN401
    """A shape of four sweeps."""
    return ModelSettings(readings=SWEEPS, hidden_size=hidden_size, upper_sizes=upper_sizes, **more)


GOALS = (
    Goal("teacher", 0.9960, swept(32, (32, 64, 64), attention_size=48, fc_size=128, dropout=0.3), LONG),
    Goal(
        "small",
        0.9940,
        swept(16, (16, 28, 28), attention_size=24, fc_size=48, dropout=0.1),
        LONG.model_copy(update={"epochs": 24, "learning_rate": 8e-3}),
        parameters=50_000,
    ),
    Goal(
        "tiny",
        0.9900,
        swept(8, (8, 11, 11), attention_size=8, fc_size=16, dropout=0.0),
        LONG.model_copy(update={"epochs": 24, "learning_rate": 1e-2}),
        parameters=10_000,
    ),
    Goal(
        "robust",
        0.95,
        swept(16, (16, 32, 32), attention_size=32, fc_size=64, dropout=0.1, remove_background=True),
        LONG.model_copy(update={"epochs": 14, "learning_rate": 8e-3}),
        augmentation=VARIED,
        on="mnist_c",
    ),
)


def trained(goal: Goal, seed: int, train: Digits, validation: Digits, console: Console) -> Path:
    """The directory of the goal's model of a seed; trained if it is not there."""
    folder = FOLDER / f"{goal.name}-{seed}"
    if (folder / artifacts.INFO_NAME).is_file():
        return folder
    torch.manual_seed(seed)
    model, unfinished = Recognizer(goal.model), folder / checkpoint.STATE_NAME
    state = checkpoint.load_state(folder) if unfinished.is_file() else None

    def keep(_: nn.Module, result: EpochResult, after: TrainingState) -> None:
        checkpoint.save_state(after, folder)
        console.print(f"{goal.name}, seed {seed}: {result.line()}")

    state = fit(model, train, validation, goal.training, goal.augmentation, seed, on_epoch=keep, state=state)
    metrics = {
        "validation_accuracy": state.best_accuracy,
        "train_s": sum(epoch.seconds for epoch in state.epochs),
        "train_cpu_s": sum(epoch.cpu_seconds for epoch in state.epochs),
    }
    checkpoint.save(model, folder, "teacher", metrics, {"seed": str(seed), "goal": goal.name})
    unfinished.unlink()
    return folder


def measured(goal: Goal, seed: int, folder: Path, test: Digits, hard: dict[str, Digits]) -> dict[str, Any]:
    """What a trained model comes to on the test digits and on hard ones by name."""
    info, model = artifacts.info(folder), checkpoint.load(folder)
    corrupted = {name: accuracy(model, digits) for name, digits in hard.items()}
    return {
        "goal": goal.name,
        "wanted": goal.accuracy,
        "on": goal.on,
        "seed": seed,
        "parameters": info.parameters,
        "size_bytes": info.size_bytes,
        **info.metrics,
        "test_accuracy": accuracy(model, test),
        "mnist_c_accuracy": statistics.mean(corrupted.values()),
        "corrupted": corrupted,
    }


def card(goal: Goal, row: dict[str, Any]) -> str:
    """The model card, in Markdown (Mitchell 2019)."""
    corrupted = table(("corruption", "accuracy"), ((name, f"{share:.1%}") for name, share in row["corrupted"].items()))
    return f"""# Model card: {goal.name}, seed {row["seed"]}

{network(goal.model.model_dump(mode="json"))} that sweeps over patches of a picture of 28 x 28 pixels;
{row["parameters"]:,} parameters, {row["size_bytes"] / 1000:,.1f} KB as fp32 ONNX.

It reads {row["test_accuracy"]:.2%} of MNIST's 10,000 test digits, and {row["mnist_c_accuracy"]:.2%} of them as
MNIST-C corrupts them (mean). Of the validation digits, which chose the epoch: {row["validation_accuracy"]:.2%}.

{corrupted}

## Intended use

{PackagingSettings().intended_use}

## Limits

{PackagingSettings().limits}

## Lineage

`python -m benchmarks.accuracy --goals {goal.name} --seeds {row["seed"]}`: MNIST's training digits but for the tenth
that validates; {goal.training.epochs} epochs, {row["train_cpu_s"] / 60:.0f} minutes of one core.
"""


def shown(rows: list[dict[str, Any]]) -> Table:
    """Each goal beside what was reached: mean over its seeds, and their range."""
    sheet = Table("goal", "wanted, %", "test, %", "MNIST-C, %", "seeds", "parameters", "training, CPU minutes a seed")
    for name in dict.fromkeys(row["goal"] for row in rows):
        of = [row for row in rows if row["goal"] == name]
        minutes = statistics.mean(row["train_cpu_s"] for row in of) / 60
        wanted = f"{100 * of[0]['wanted']:.2f} of {'MNIST-C' if of[0]['on'] == 'mnist_c' else 'test'}"
        reached = [spread([100 * row[key] for row in of]) for key in ("test_accuracy", "mnist_c_accuracy")]
        sheet.add_row(name, wanted, *reached, f"{len(of)}", f"{of[0]['parameters']:,}", f"{minutes:.0f}")
    return sheet


def spread(values: list[float]) -> str:
    """Mean and range."""
    return f"{statistics.mean(values):.2f} ({min(values):.2f}-{max(values):.2f})"


def main() -> None:
    """Train what is missing, print the table, keep the rows after each model."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--goals", nargs="+", choices=[goal.name for goal in GOALS])
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2, 3, 4])
    options = parser.parse_args()
    torch.set_num_threads(1)
    console = Console()
    train, validation, test = (real_digits.split(name) for name in ("train", "validation", "test"))
    hard = dict(hard_digits.corrupted(test))
    chosen = [goal for goal in GOALS if goal.name in (options.goals or [each.name for each in GOALS])]
    rows = {(row["goal"], row["seed"]): row for row in record.rows("accuracy")}
    for seed in options.seeds:
        for goal in chosen:
            folder = trained(goal, seed, train, validation, console)
            row = rows[goal.name, seed] = measured(goal, seed, folder, test, hard)
            with written_whole(folder / artifacts.CARD_NAME) as path:
                path.write_text(card(goal, row))
            record.keep("accuracy", [rows[each] for each in sorted(rows)])
    console.print(shown([rows[each] for each in sorted(rows)]))


if __name__ == "__main__":
    main()
