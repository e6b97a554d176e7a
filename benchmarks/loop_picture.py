"""The loop in one picture: traffic, drift, accuracy and versions on one time axis."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import matplotlib as mpl
import numpy as np

mpl.use("Agg")
from matplotlib import pyplot as plt
from matplotlib.axes import Axes

from benchmarks.traffic import Answered
from infra.registry import Champion
from monitoring.state import Point

BIN_S = 5.0
SMOOTH = 100  # answers that accuracy is averaged over
COLORS = {"mnist": "#4477aa", "another": "#ee6677"}  # of Paul Tol's, told apart by the color-blind
STARTS = "Retraining: start"
MARKED = {"drift": "alarm", "champion": "new champion"}


def draw(
    path: Path,
    answered: Sequence[Answered],
    points: Sequence[Point],
    champions: Sequence[Champion],
    events: Sequence[Mapping[str, Any]],
) -> None:
    """Write the picture. events: what the watch told people, each with `received` in seconds since 1970."""
    start = answered[0].at
    figure, (traffic, drift, accuracy, versions) = plt.subplots(
        4, 1, sharex=True, figsize=(10, 8), height_ratios=(2, 2, 3, 1), layout="constrained"
    )
    _traffic(traffic, answered, start)
    drift.step(
        [each.at.timestamp() - start for each in points], [each.score for each in points], where="post", color="#228833"
    )
    drift.axhline(1, color="gray", linewidth=0.8, linestyle="--")
    drift.set_ylabel("drift score\n(1 = alarm)")
    _accuracy(accuracy, answered, start)
    _versions(versions, answered, champions, start)
    for event in events:
        name = "retraining starts" if event["title"] == STARTS else MARKED.get(event["kind"])
        if name is not None:
            for axes in (traffic, drift, accuracy):
                axes.axvline(event["received"] - start, color="black", linewidth=0.8, alpha=0.5)
            traffic.annotate(
                name, (event["received"] - start, 1), xycoords=("data", "axes fraction"), fontsize=8, rotation=30
            )
    versions.set_xlabel("seconds")
    figure.savefig(path, dpi=110)
    plt.close(figure)


def _traffic(axes: Axes, answered: Sequence[Answered], start: float) -> None:
    edges = np.arange(0, answered[-1].at - start + BIN_S, BIN_S)
    counts = [
        np.histogram([each.at - start for each in answered if each.population == name], edges)[0] / BIN_S
        for name in COLORS
    ]
    axes.stackplot(edges[:-1], counts, labels=list(COLORS), colors=list(COLORS.values()), step="post")
    axes.set_ylabel("digits/s")
    axes.legend(loc="lower right", fontsize=8)


def _accuracy(axes: Axes, answered: Sequence[Answered], start: float) -> None:
    for name, color in COLORS.items():
        own = [each for each in answered if each.population == name]
        if len(own) < SMOOTH:
            continue
        right = np.convolve([each.is_right for each in own], np.full(SMOOTH, 1 / SMOOTH), "valid")
        axes.plot([each.at - start for each in own[SMOOTH - 1 :]], right, color=color)
    axes.set_ylabel(f"right, of the last {SMOOTH}")
    axes.grid(alpha=0.3)


def _versions(axes: Axes, answered: Sequence[Answered], champions: Sequence[Champion], start: float) -> None:
    for place, champion in enumerate(champions):
        own = [each.at - start for each in answered if each.version == champion.version]
        if own:
            axes.barh(0, max(own) - min(own), left=min(own), color=plt.colormaps["Pastel1"](place), edgecolor="black")
            axes.text((min(own) + max(own)) / 2, 0, champion.version, ha="center", va="center", fontsize=8)
    axes.set_yticks([])
    axes.set_ylabel("champion")
