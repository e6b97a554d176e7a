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


def edits(read: Sequence[int], written: Sequence[int]) -> int:
    """Insertions, deletions and substitutions between two strings (Levenshtein 1966)."""
    row = np.arange(len(written) + 1)
    for digit in read:
        changed = np.minimum(row[1:] + 1, row[:-1] + (np.array(written) != digit))
        # An inserted digit costs one more than the cell before: a running minimum along the row.
        best = np.concatenate([[row[0] + 1], changed]) - np.arange(len(row))
        row = np.minimum.accumulate(best) + np.arange(len(row))
    return int(row[-1])
