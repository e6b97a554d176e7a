"""`make bench-policies`: one stream of real digits with declared drifts, replayed under each policy of retraining.

For each policy: accuracy over time, against number and seconds of retrainings. They differ in `TriggerSettings` alone.
"""

import argparse
from typing import Any

import matplotlib.pyplot as plt
import numpy as np
import torch
from rich.console import Console
from rich.table import Table

from benchmarks import record, stream
from benchmarks.record import ROOT
from benchmarks.replay import LOOK, RUN_IMAGES, Replay, first_model, replay
from monitoring.triggers import TriggerSettings

PLOT = ROOT / "docs" / "policies.svg"
DRAWN = ("accuracy", "drift_alarms")  # at every look: in the plot, not in the kept rows

# Policies that others use know no cooldown.
OFF: dict[str, Any] = {"errors_per_training_minute": None, "max_fall": None, "new_labels": None, "cooldown_hours": 0}
POLICIES = {
    "default": TriggerSettings(),
    "never": TriggerSettings(**OFF),
    "schedule, each hour": TriggerSettings(**OFF | {"every_hours": 1.0}),
    "schedule, every 2 hours": TriggerSettings(**OFF | {"every_hours": 2.0}),
    "amount, 1,000 labels": TriggerSettings(**OFF | {"new_labels": 1_000}),
    "drift": TriggerSettings(**OFF, drift_starts=True, min_drift_alarms=1),
    "falling accuracy": TriggerSettings(**OFF | {"max_fall": 0.05}),
    "cost against regret": TriggerSettings(**OFF | {"errors_per_training_minute": 10.0}),
}
WATCHING = ("drift", "default")  # what the others decide, the detector has no say in


def summary(run: Replay, digits: stream.Stream) -> dict[str, Any]:
    """A run's row in the results."""
    right = np.array(run.right)
    harmless = [(start, end) for name, start, end in digits.phases if name.startswith("harmless")]
    return {
        "policy": run.policy,
        "seed": run.seed,
        "mean_accuracy": float(right.mean()),
        "phases": [[name, float(right[start:end].mean())] for name, start, end in digits.phases],
        "lengths": [[name, end - start] for name, start, end in digits.phases],
        "retrainings": run.started,
        "causes": run.causes,
        "promotions": run.promoted,
        "harmless_retrainings": sum(start < image <= end for start, end in harmless for image in run.started),
        "training_s": run.training_s,
        "drift_alarms": run.alarms,
        "accuracy": [float(part.mean()) for part in right.reshape(-1, LOOK)],
    }


def printed(rows: list[dict[str, Any]]) -> Table:
    """Means over the seeds, in brackets the least and the most."""
    table = Table("policy", "mean accuracy, %", "retrainings", "promoted", "in the harmless drift", "training, s")
    for policy in dict.fromkeys(row["policy"] for row in rows):
        of = [row for row in rows if row["policy"] == policy]
        counts = ([len(row[name]) for row in of] for name in ("retrainings", "promotions"))
        table.add_row(
            policy,
            spread([100 * row["mean_accuracy"] for row in of], "{:.2f}"),
            *(spread(each, "{:.1f}") for each in counts),
            spread([row["harmless_retrainings"] for row in of], "{:.1f}"),
            spread([row["training_s"] for row in of], "{:.0f}"),
        )
    return table


def spread(values: list[float], form: str) -> str:
    """Mean, and least to most."""
    mean, low, high = (form.format(figure) for figure in (np.mean(values), min(values), max(values)))
    return f"{mean} ({low}-{high})"


def draw(rows: list[dict[str, Any]]) -> None:
    """The plot of the first seed: accuracy over time for each policy, its retrainings as marks, the drifts shaded."""
    rows = [row for row in rows if row["seed"] == rows[0]["seed"]]
    figure, axes = plt.subplots(
        len(rows), sharex=True, sharey=True, figsize=(9, 1.25 * len(rows)), layout="constrained"
    )
    for axis, row in zip(np.atleast_1d(axes), rows, strict=True):
        smooth = np.convolve(row["accuracy"], np.ones(3) / 3, "valid")
        axis.plot((np.arange(len(smooth)) + 2) * LOOK, 100 * smooth, color="#1f4e79", linewidth=1.2)
        for image in row["retrainings"]:
            is_kept = any(image < promotion <= image + 2 * LOOK + RUN_IMAGES for promotion in row["promotions"])
            axis.plot(image, 24, marker="^", color="#c0392b" if is_kept else "#bbbbbb", markersize=5)
        at = 0
        for name, images in row["lengths"]:
            if not name.startswith(("as learned", "away")):
                axis.axvspan(
                    at, at + images, color="#27ae60" if "harmless" in name else "#e67e22", alpha=0.13, linewidth=0
                )
            at += images
        kept = f"{100 * row['mean_accuracy']:.1f}% with {len(row['retrainings'])} retrainings"
        axis.set_title(f"{row['policy']}: {kept}", fontsize=8, loc="left", pad=2)
        axis.set_ylim(20, 101)
        axis.tick_params(labelsize=7)
    axis.set_xlabel(
        "images answered; triangles: retrainings (red: promoted); green: harmless drift; orange: drifts", fontsize=8
    )
    figure.supylabel("accuracy, %", fontsize=8)
    figure.savefig(PLOT, metadata={"Date": None})


def main() -> None:
    """Replay all policies over the seeds, print the table, keep rows and plot."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2, 3, 4])
    parser.add_argument("--development", action="store_true", help="replay the digits that settings are chosen on")
    options = parser.parse_args()
    torch.set_num_threads(1)
    rows: list[dict[str, Any]] = []
    for seed in options.seeds:
        start = first_model(seed, options.development)
        digits = stream.make(start.unseen, seed)
        for policy, settings in POLICIES.items():
            row = summary(replay(policy, settings, policy in WATCHING, start, digits, seed), digits)
            print(
                f"seed {seed}, {policy}: {row['mean_accuracy']:.2%}, {len(row['retrainings'])} retrainings", flush=True
            )
            rows.append(row)
            record.keep("policies", [{name: row[name] for name in row if name not in DRAWN} for row in rows])
    Console(width=120).print(printed(rows))
    draw(rows)


if __name__ == "__main__":
    main()
