"""docs/compression.md, from what was measured."""

import statistics
from collections.abc import Iterable
from typing import Any

import matplotlib.pyplot as plt

from benchmarks import record
from inkloop.card import table
from inkloop.files import written_whole

PAGE = record.ROOT / "docs" / "compression.md"
PLOT = record.ROOT / "docs" / "compression.svg"

Rows = list[dict[str, Any]]


def write(rows: Rows) -> None:
    """Write page and plot."""
    students, curve = ([row for row in rows if row["part"] == part] for part in ("students", "pruning"))
    parts = [
        "# Compression",
        "    make bench-compress     # writes this page; goes on where it was stopped",
        f"One thread ({record.machine()['cpu']}). The teacher is `benchmarks/models/teacher`; where two teach,\n"
        "`small` is the other. Students have the shape of the profile `edge` and are trained as it says. Everything\n"
        "was chosen by validation digits; accuracies are of MNIST's 10,000 test digits, means over seeds with the\n"
        "least and the most in brackets.",
        "## Distillation",
        _compared(students, ("alone", "taught", "taught by two")),
        "Temperature and the teacher's share of the loss (the rest is the labels'), one seed, a short training,\n"
        "validation digits:",
        _teaching([row for row in rows if row["part"] == "teaching"]),
        "## Pruning",
        "Whole units of every recurrent layer of `benchmarks/models/small` are pushed to nothing, cut, and the rest\n"
        "recovers. In INT8, one seed.",
        _curve(curve),
        "![Accuracy and time against the share of units cut](compression.svg)",
        _pruning_claim(curve),
        "## INT8",
        _compared(students, ("alone", "rounded afterwards", "trained in rounded weights")),
        "## Engines",
        _engines([row for row in rows if row["part"] == "engines"]),
    ]
    _draw(curve)
    with written_whole(PAGE) as unfinished:
        unfinished.write_text("\n\n".join(part for part in parts if part) + "\n")


def spread(values: Iterable[float], form: str = "{:.2f}") -> str:
    """Mean, and in brackets the least and the most where there are several."""
    known = list(values)
    mean = form.format(statistics.mean(known))
    return mean if len(known) == 1 else f"{mean} ({form.format(min(known))} to {form.format(max(known))})"


def _compared(rows: Rows, names: tuple[str, ...]) -> str:
    """Students side by side; the first is the one that the others are compared with."""
    of = {name: [row for row in rows if row["name"] == name] for name in names}
    first = {row["seed"]: row["test_accuracy"] for row in of[names[0]]}
    lines = []
    for name, each in of.items():
        gains = [100 * (row["test_accuracy"] - first[row["seed"]]) for row in each]
        test = spread(100 * row["test_accuracy"] for row in each)
        equal = spread((100 * row["equal"] for row in each), "{:.2f}")
        lines.append((name, f"{len(each)}", test, "" if name == names[0] else spread(gains, "{:+.2f}"), equal))
    return table(("student", "seeds", "test, %", f"over {names[0]}, points", f"answers as {names[0]}, %"), lines)


def _teaching(rows: Rows) -> str:
    shares = sorted({row["teacher_share"] for row in rows})
    found = {(row["temperature"], row["teacher_share"]): row["validation_accuracy"] for row in rows}
    lines = [
        (f"temperature {temperature:g}", *(f"{found[temperature, share]:.2%}" for share in shares))
        for temperature in sorted({row["temperature"] for row in rows})
    ]
    return table(("", *(f"share {share:g}" for share in shares)), lines) if rows else ""


def _curve(rows: Rows) -> str:
    head = (
        "units cut",
        "test, %",
        "validation, %",
        "parameters",
        "KB",
        "million MACs",
        "ONNX Runtime, us",
        "kernel, us",
    )
    return table(
        head,
        (
            (
                f"{row['share']:.0%}",
                f"{100 * row['test_accuracy']:.2f}",
                f"{100 * row['validation_accuracy']:.2f}",
                f"{row['parameters']:,}",
                f"{row['size_bytes'] / 1000:.1f}",
                f"{row['macs'] / 1e6:.2f}",
                f"{row['onnxruntime_us']:.0f}",
                f"{row['kernel_us']:.0f}" if "kernel_us" in row else "",
            )
            for row in rows
        ),
    )


def _pruning_claim(rows: Rows) -> str:
    by_share = {row["share"]: row for row in rows}
    if not {0.0, 0.2} <= by_share.keys():
        return ""
    whole, cut = by_share[0.0], by_share[0.2]
    ratios = {
        name: whole[key] / cut[key]
        for name, key in (("arithmetic", "macs"), ("ONNX Runtime", "onnxruntime_us"), ("the kernel", "kernel_us"))
        if key in cut
    }
    said = ", ".join(f"{name} {ratio:.2f} times" for name, ratio in ratios.items())
    verdict = "reproduced" if max(ratios.values()) >= 1.8 else "refuted"
    return f"The articles: 20% fewer neurons are 1.8 times faster. Here: {said}. **{verdict.capitalize()}.**"


def _engines(rows: Rows) -> str:
    if not rows:
        return ""
    fastest = min(statistics.median(row["single_us"]) for row in rows if "single_us" in row)
    lines = []
    for row in rows:
        if "floor_us" in row:
            lines.append(("the arithmetic alone, at the core's peak", f"{row['floor_us']:.1f}", "", "", "", ""))
            continue
        single, batch = statistics.median(row["single_us"]), statistics.median(row["batch_us"])
        speed = f"{1e6 / batch:,.0f}"
        beside = f"{single / fastest:.1f}"
        lines.append((row["engine"], f"{single:.1f}", beside, speed, f"{row['furthest']:.1e}", f"{row['equal']:.2%}"))
    head = ("engine", "one image, us", "times the fastest", "images/s in 64s", "furthest from torch", "equal answers")
    return table(head, lines)


def _draw(rows: Rows) -> None:
    figure, (accuracy, took) = plt.subplots(1, 2, figsize=(9, 3), layout="constrained")
    shares = [100 * row["share"] for row in rows]
    accuracy.plot(shares, [100 * row["test_accuracy"] for row in rows], "o-", label="test")
    accuracy.plot(shares, [100 * row["validation_accuracy"] for row in rows], "o--", label="validation")
    accuracy.set(xlabel="units cut, %", ylabel="accuracy, %")
    for name, key in (("ONNX Runtime", "onnxruntime_us"), ("kernel", "kernel_us")):
        took.plot(shares, [row.get(key) for row in rows], "o-", label=name)
    took.set(xlabel="units cut, %", ylabel="one image, us", ylim=(0, None))
    for axis in (accuracy, took):
        axis.legend()
    figure.savefig(PLOT, metadata={"Date": None})
    plt.close(figure)
