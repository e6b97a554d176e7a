"""Decoding what a line model says at each step: the best path, and prefix beam search over all of them."""

import math
from collections import defaultdict
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

BLANK = 0  # the label of no digit; digit d is label d + 1
LABELS = 11
BEAM_WIDTH = 8
UNLIKELY = -12.0  # log probability below which a label at a step is not tried

LogP = NDArray[np.float32]
Prefix = tuple[int, ...]


class Decoded(NamedTuple):
    """The digits of a line, and the natural logarithm of the probability that the model gives them."""

    digits: Prefix
    log_p: float


def greedy(log_p: LogP) -> Prefix:
    """The digits of the likeliest path: repeats merged, blanks dropped (Graves 2006). log_p: (steps, 11)."""
    labels = log_p.argmax(1)
    begun = np.concatenate([[True], labels[1:] != labels[:-1]])
    return tuple((labels[begun & (labels != BLANK)] - 1).tolist())


def beam_search(log_p: LogP, width: int = BEAM_WIDTH) -> Decoded:
    """The likeliest digits, all paths to them summed: prefix beam search (Hannun 2014), without a language model.

    log_p: (steps, 11), natural logarithms; width: prefixes kept at each step. The probability is too low by the paths
    that the beam dropped.
    """
    # Of each prefix, how likely it is with a last step that is blank, and with one that is its last digit.
    beam: dict[Prefix, tuple[float, float]] = {(): (0.0, -math.inf)}
    for step in log_p.tolist():
        grown: defaultdict[Prefix, list[float]] = defaultdict(lambda: [-math.inf, -math.inf])
        likely = [(label - 1, p) for label, p in enumerate(step) if label != BLANK and p > UNLIKELY]
        for prefix, (blank, digit) in beam.items():
            either = _add(blank, digit)
            same = grown[prefix]
            same[0] = _add(same[0], either + step[BLANK])
            if prefix:
                same[1] = _add(same[1], digit + step[prefix[-1] + 1])
            for label, p in likely:
                longer = grown[(*prefix, label)]
                # The same digit twice needs a blank between.
                before = blank if prefix and prefix[-1] == label else either
                longer[1] = _add(longer[1], before + p)
        kept = sorted(grown.items(), key=lambda entry: _add(*entry[1]), reverse=True)[:width]
        beam = {prefix: (blank, digit) for prefix, (blank, digit) in kept}
    best, (blank, digit) = next(iter(beam.items()))
    return Decoded(best, _add(blank, digit))


def _add(one: float, other: float) -> float:
    """Logarithm of the sum of two probabilities, given by theirs."""
    low, high = (one, other) if one < other else (other, one)
    return high if low == -math.inf else high + math.log1p(math.exp(low - high))


class Place(NamedTuple):
    """Where a digit of a line is: steps from start to before stop; its probability, 0..1, at the surest of them."""

    start: int
    stop: int
    probability: float


def align(log_p: LogP, digits: Sequence[int]) -> list[Place]:
    """Where each of these digits is on the likeliest path to them (Viterbi, over the digits with blanks around each).

    log_p: (steps, 11), natural logarithms. Raises ValueError if the steps are too few for the digits.
    """
    labels = np.full(2 * len(digits) + 1, BLANK)
    labels[1::2] = np.asarray(digits, np.int64) + 1
    # A blank may be left out but between the same digit twice.
    may_skip = np.concatenate([[False, False], (labels[2:] != BLANK) & (labels[2:] != labels[:-2])])[: len(labels)]
    score = np.where(np.arange(len(labels)) < 2, log_p[0, labels], -np.inf)
    came_from = np.zeros((len(log_p), len(labels)), np.int64)  # how many states before
    for step in range(1, len(log_p)):
        one, two = (np.concatenate([np.full(by, -np.inf), score])[: len(score)] for by in (1, 2))
        ways = np.stack([score, one, np.where(may_skip, two, -np.inf)])
        came_from[step] = ways.argmax(0)
        score = ways.max(0) + log_p[step, labels]
    state = len(labels) - 1 - int(len(labels) > 1 and score[-2] > score[-1])
    if score[state] == -np.inf:
        raise ValueError(f"{len(log_p)} steps are too few for {len(digits)} digits")
    path = np.empty(len(log_p), np.int64)
    for step in reversed(range(len(log_p))):
        path[step] = state
        state -= came_from[step, state]
    starts = np.searchsorted(path, np.arange(1, len(labels), 2))
    stops = np.searchsorted(path, np.arange(1, len(labels), 2), side="right")
    return [
        Place(start, stop, math.exp(log_p[start:stop, digit + 1].max()))
        for start, stop, digit in zip(starts.tolist(), stops.tolist(), digits, strict=True)
    ]


def edits(read: Sequence[int], written: Sequence[int]) -> int:
    """Insertions, deletions and substitutions between two strings (Levenshtein 1966)."""
    row = np.arange(len(written) + 1)
    for digit in read:
        changed = np.minimum(row[1:] + 1, row[:-1] + (np.array(written) != digit))
        # An inserted digit costs one more than the cell before: a running minimum along the row.
        best = np.concatenate([[row[0] + 1], changed]) - np.arange(len(row))
        row = np.minimum.accumulate(best) + np.arange(len(row))
    return int(row[-1])
