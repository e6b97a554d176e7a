"""The page: every claim, the article's figure, ours with its spread, and the verdict; a plot of each beside it."""

from collections.abc import Sequence

import matplotlib.pyplot as plt
import numpy as np

from benchmarks import record
from benchmarks.lab import claims
from benchmarks.lab.claims import Claim, Finding
from benchmarks.lab.trial import Scale, Trial
from inkloop.files import written_whole

PAGE = record.ROOT / "docs" / "claims.md"
PLOT = record.ROOT / "docs" / "claims.svg"
PAIRS = ((3, 8), (5, 6))
ELSEWHERE = """## Not settled here

| claim | figure | why |
| --- | --- | --- |
| inference on a T4, on a Snapdragon 865; TensorRT 3-5x faster; 82% GPU use | 8.2 ms, 45 ms | needs that hardware |
| pruning 20% of neurons | 1.8x faster | compression, not the recognizer |
| INT8 | 4x smaller, 2.3x faster, 0.8 points lost | compression, not the recognizer |
"""


def write(trials: dict[str, list[Trial]], counts: dict[str, int], scale: Scale, epochs: int) -> None:
    """Write page and plot from the trials of all variants, by name."""
    found = {claim: claims.find(claim, trials, counts) for claim in (*claims.CLAIMS, *claims.QUESTIONS)}
    _draw(found)
    seeds = [trial.seed for trial in next(iter(trials.values()))]
    parts = [
        "# The articles' claims",
        _said(scale, seeds, epochs),
        "| claim | article | ours (95% interval) | p | verdict |\n| --- | --- | --- | --- | --- |\n"
        + "\n".join(_row(claim, found[claim], scale) for claim in claims.CLAIMS),
        "![Each claim: every seed's figure, the mean with its interval, the article's figure as a line](claims.svg)",
        "## What else was asked\n\nGains of the first over the second, in points.\n\n"
        "| does it help | on | gain (95% interval) | p | |\n| --- | --- | --- | --- | --- |\n"
        + "\n".join(_question(claim, found[claim]) for claim in claims.QUESTIONS),
        "## Confused digits\n\n" + _pairs(trials),
        "## All variants\n\n" + _all(trials, counts),
        ELSEWHERE,
    ]
    with written_whole(PAGE) as unfinished:
        unfinished.write_text("\n\n".join(parts))


def _said(scale: Scale, seeds: Sequence[int], epochs: int) -> str:
    much = "all training digits" if scale.images is None else f"**{scale.images:,} training digits only**"
    short = "" if scale.name == "full" else "-quick"
    lines = [
        f"    make lab{short}        # writes this page; what it tries is declared in `benchmarks/lab/`",
        "",
        f"Every variant under one recipe: {much}, {epochs} epochs, the epoch chosen by",
        f"validation digits, seeds {', '.join(map(str, seeds))}, one thread ({record.machine()['cpu']}).",
        "Test sets: MNIST's 10,000 test digits, and a deformed copy of them (seeded: turned up to 15 degrees, scaled,",
        "slanted, shifted, elastic waves of 2 pixels). Intervals are over seeds (Student's t), of one over digits;",
        "p is McNemar's, two-sided, the median over seeds. A gain is reproduced if its interval lies above half of the",
        "article's; an accuracy, if above the article's; times and counts, within a tenth.",
    ]
    if short:
        lines += [
            "",
            "**This is the short form: few digits, few epochs. It refutes no accuracy: more training may reach it.**",
        ]
    return "\n".join(lines)


def _row(claim: Claim, found: Finding, scale: Scale) -> str:
    unit = {"accuracy": "{:.2f}%", "gain": "{:+.2f}", "time": "{:.2f}", "parameters": "{:,.0f}"}[claim.measure]
    ours = unit.format(found.mean)
    if found.high > found.low:
        ours += f" ({unit.format(found.low)} to {unit.format(found.high)})"
    on = ", deformed digits" if claim.on == "deformed" and "deformed" not in claim.text else ""
    p = "" if found.p is None else f"{found.p:.2g}"
    said = claims.verdict(claim, found, is_full=scale.name == "full")
    return f"| {claim.text}{on} | {claim.printed} | {ours} | {p} | **{said}** |"


def _question(claim: Claim, found: Finding) -> str:
    gain = f"{found.mean:+.2f} ({found.low:+.2f} to {found.high:+.2f})"
    return f"| {claim.text} | {claim.on} | {gain} | {found.p:.2g} | {claims.answer(found)} |"


def _pairs(trials: dict[str, list[Trial]]) -> str:
    """How many of the test errors are of each pair, without and with topological features."""
    head = " | ".join(f"{one}/{two}, of all errors" for one, two in PAIRS)
    rows = []
    for name in ("attention Bi-LSTM", "topology"):
        shares = []
        for one, two in PAIRS:
            confusions = [np.array(trial.confusion) for trial in trials[name]]
            pair = sum(int(each[one, two] + each[two, one]) for each in confusions)
            errors = sum(int(each.sum() - np.trace(each)) for each in confusions)
            shares.append(f"{pair} of {errors} ({pair / max(1, errors):.0%})")
        rows.append(f"| {name} | {' | '.join(shares)} |")
    claimed = "The articles: 42% of errors are 3/8, 28% are 5/6. Errors of all seeds together."
    return f"{claimed}\n\n| | {head} |\n| --- | --- | --- |\n" + "\n".join(rows)


def _all(trials: dict[str, list[Trial]], counts: dict[str, int]) -> str:
    names = list(counts)
    rows = []
    for variant, of in trials.items():
        figures = []
        for name in names:
            found = claims.over_seeds([100 * float(each.is_right(name, counts[name]).mean()) for each in of])
            spread = f" ± {(found.high - found.mean):.2f}" if len(of) > 1 else ""
            figures.append(f"{found.mean:.2f}{spread}")
        seconds = float(np.median([each.train_s for each in of]))
        rows.append(
            f"| {variant} | {' | '.join(figures)} | {of[0].parameters:,} | {of[0].macs / 1e6:.2f} | {seconds:.0f} |"
        )
    columns = " | ".join(f"{name}, %" for name in names)
    head = f"| variant | {columns} | parameters | million MACs | training, s |"
    return "\n".join([head, "| --- " * (len(names) + 4) + "|", *rows])


def _draw(found: dict[Claim, Finding]) -> None:
    """A panel a claim: seeds as dots, mean and interval beside them, the article's figure (or zero) as a line."""
    wide = 4
    figure, axes = plt.subplots(
        -(-len(found) // wide), wide, figsize=(11, 1.5 * -(-len(found) // wide)), layout="constrained"
    )
    for axis in axes.flat[len(found) :]:
        axis.set_visible(False)
    for axis, (claim, each) in zip(axes.flat, found.items(), strict=False):
        axis.axvline(claim.figure, color="#c0392b", linewidth=1)
        axis.plot(each.each, [0] * len(each.each), "o", color="#7f8c8d", markersize=4, alpha=0.7)
        error = [[each.mean - each.low], [each.high - each.mean]]
        axis.errorbar(each.mean, 0.35, xerr=error, fmt="D", color="#1f4e79", markersize=4, capsize=3)
        axis.set_ylim(-0.5, 0.8)
        axis.set_yticks([])
        axis.tick_params(labelsize=7)
        axis.set_title(claim.text, fontsize=7, loc="left", pad=2)
    figure.savefig(PLOT, metadata={"Date": None})
    plt.close(figure)
