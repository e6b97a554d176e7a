"""Conformal bets on a stream: how much likelier each value is if a feature has shifted than if nothing has.

A value's p is its rank among all seen before and itself, so it is uniform while nothing changes, whatever the feature's
law and however small the reference (Vovk, Gammerman and Shafer 2005). A bet is a density on p; within a bin its mean
stands for it.
"""

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
Counts = NDArray[np.int64]

DIRECTIONS = ("lower", "higher", "wider")
# (share of the values that shift, exponent of their p): all of them mildly, or few of them far.
BETS = ((1.0, 0.5), (0.1, 0.15))

_TAIL = np.array([0, 0.0005, 0.001, 0.002, 0.005, 0.01, 0.02, 0.03, 0.05, 0.075, 0.1, 0.15, 0.2, 0.25, 0.3, 0.4])
LEVELS = np.concatenate([_TAIL, [0.5], 1 - _TAIL[::-1]])

ALARMS = 2_000  # that a calibration waits for: a standard error of some 2%
STREAMS = 500
TRIAL_THRESHOLD = 1_000.0


def edges_of(values: Floats) -> Floats:
    """Edges of each feature's bins, at quantiles of the reference. values: (n, features).

    Returns (features, len(LEVELS)), growing, inf where a feature has fewer. An edge lies halfway between two values, or
    just outside of all: a value that the reference never reached has a bin of its own.
    """
    edges = np.full((values.shape[1], len(LEVELS)), np.inf)
    for row, feature in zip(edges, values.T, strict=True):
        distinct, counts = np.unique(feature, return_counts=True)
        margin = 1e-3 * (1 + np.abs(distinct[[0, -1]]))
        around = np.concatenate([[distinct[0] - 2 * margin[0]], distinct, [distinct[-1] + 2 * margin[1]]])
        between = (around[1:] + around[:-1]) / 2
        below = np.concatenate([[0], counts.cumsum()])
        found = np.unique(between[np.searchsorted(below, np.round(LEVELS * len(feature)))])
        row[: len(found)] = found
    return edges


def bins_of(values: Floats, edges: Floats) -> Counts:
    """The bin of each value, (n, features). values: (n, features)."""
    columns = [np.searchsorted(row, column) for row, column in zip(edges, values.T, strict=True)]
    return np.stack(columns, 1)


def counts_of(bins: Counts) -> Counts:
    """How many values lie in each bin: (features, len(LEVELS) + 1). bins: (n, features)."""
    return np.stack([np.bincount(column, minlength=len(LEVELS) + 1) for column in bins.T])


def ratios_of(counts: Counts, newcomer: int = 1) -> Floats:
    """The likelihood ratio of each bet in each bin, (features, bins, directions * bets); 1 on average without change.

    counts: (features, bins), of the values seen before; newcomer: 0 if the value to be judged is among them.
    """
    total = counts.sum(1, keepdims=True)
    below = counts.cumsum(1) - counts
    lower = _ratio(below, counts, newcomer, total)
    higher = _ratio(total - below - counts, counts, newcomer, total)
    return np.concatenate([lower, higher, (lower + higher) / 2], -1)


def _ratio(before: Counts, within: Counts, newcomer: int, total: Counts) -> Floats:
    """The mean over each bin of the bets' densities, which lie on small p: (features, bins, bets)."""
    start, end = before / (total + newcomer), (before + within + newcomer) / (total + newcomer)
    share = np.maximum(end - start, 1 / (total + 1))  # of an empty bin any will do: no value lies there
    means = [(1 - shifted) + shifted * (end**exponent - start**exponent) / share for shifted, exponent in BETS]
    return np.stack(means, -1)


def picked(ratios: Floats, bins: Counts) -> Floats:
    """What each bet makes of each value: (n, features * directions * bets). bins: (n, features)."""
    return ratios[np.arange(bins.shape[1]), bins].reshape(len(bins), -1)


def threshold_for(expected_run: int, bins: Counts, seed: int) -> float:
    """The Shiryaev-Roberts threshold that lets a stream without change run so long on average between alarms.

    bins: (n, features) of the reference. Without overshoot it would be the run itself (Pollak 1987); how far the
    statistic jumps beyond a threshold is found on streams drawn from the reference's rows, at a low threshold.
    """
    random = np.random.default_rng(seed)
    ratios = picked(ratios_of(counts_of(bins), newcomer=0), bins).astype(np.float32)
    sums = np.zeros((STREAMS, ratios.shape[1]), np.float32)
    alarms = images = 0
    while alarms < ALARMS:
        sums = (sums + 1) * ratios[random.integers(len(ratios), size=STREAMS)]
        fired = sums.mean(1) >= TRIAL_THRESHOLD
        sums[fired] = 0
        alarms, images = alarms + int(fired.sum()), images + STREAMS
    return expected_run * TRIAL_THRESHOLD * alarms / images
