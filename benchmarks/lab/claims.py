"""What the source articles claim, what to compare for it, and how a verdict comes about."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray
from scipy.stats import t as student_t

from benchmarks.lab.trial import Trial
from inkloop.evaluation import mcnemar

Verdict = Literal["reproduced", "refuted", "not decidable here"]
Measure = Literal["accuracy", "gain", "time", "parameters"]


@dataclass(frozen=True)
class Claim:
    """One claim. figure: accuracy in %, a gain in points, a ratio of times, or a number of parameters."""

    text: str
    printed: str  # as the article has it
    measure: Measure
    figure: float
    variant: str
    against: str = ""  # what a gain or a ratio is over
    on: str = "test"


@dataclass(frozen=True)
class Finding:
    """What was measured: mean and 95% interval over seeds, each seed's figure, p of the paired test (median)."""

    mean: float
    low: float
    high: float
    each: tuple[float, ...]
    p: float | None = None  # McNemar, two-sided, of the digits that one reads and the other does not


CLAIMS = (
    Claim("LSTM", "97.3%", "accuracy", 97.3, "described LSTM"),
    Claim("Bi-LSTM", "98.1%", "accuracy", 98.1, "described Bi-LSTM"),
    Claim("attention Bi-LSTM", "98.7%", "accuracy", 98.7, "described attention Bi-LSTM"),
    Claim("parameters of the LSTM", "1.2M", "parameters", 1.2e6, "described LSTM"),
    Claim("parameters of the Bi-LSTM", "2.4M", "parameters", 2.4e6, "described Bi-LSTM"),
    Claim("parameters of the attention Bi-LSTM", "3.1M", "parameters", 3.1e6, "described attention Bi-LSTM"),
    Claim("read by rows", "98.1%", "accuracy", 98.1, "attention Bi-LSTM"),
    Claim("read by columns", "97.8%", "accuracy", 97.8, "columns"),
    Claim("read as a checkerboard", "98.5%", "accuracy", 98.5, "checkerboard"),
    Claim("checkerboard over rows", "+0.4 points", "gain", 0.4, "checkerboard", "attention Bi-LSTM"),
    Claim("rows over columns", "+0.3 points", "gain", 0.3, "attention Bi-LSTM", "columns"),
    Claim("training time, columns to rows", "1.07 times", "time", 4.5 / 4.2, "columns", "attention Bi-LSTM"),
    Claim("training time, checkerboard to rows", "1.21 times", "time", 5.1 / 4.2, "checkerboard", "attention Bi-LSTM"),
    Claim("augmentation, on deformed digits", "+3.7 points", "gain", 3.7, "augmented", "attention Bi-LSTM", "deformed"),
    Claim("Bi-LSTM over a one-way RNN", "+4.7 points", "gain", 4.7, "Bi-LSTM", "one-way RNN"),
    Claim(
        "RNN over a CNN of equal size, on deformed digits",
        "+3.2 points",
        "gain",
        3.2,
        "attention Bi-LSTM",
        "CNN, equal parameters",
        "deformed",
    ),
    Claim("LSTM over a CNN", "+0.5 points at least", "gain", 0.5, "attention Bi-LSTM", "CNN, equal parameters"),
    Claim("batches of 64 to 128, training time", "1.8 times", "time", 1.8, "batches of 64", "attention Bi-LSTM"),
)
# Without a figure of the articles: asked of every part of the recipe.
QUESTIONS = tuple(
    Claim(text, "", "gain", 0.0, variant, against, on)
    for text, variant, against, on in (
        ("attention over last states", "attention Bi-LSTM", "Bi-LSTM", "test"),
        ("two ways over one, LSTM", "Bi-LSTM", "one-way LSTM", "test"),
        ("LSTM over GRU, two-way", "Bi-LSTM", "Bi-GRU", "test"),
        ("LSTM over plain RNN, two-way", "Bi-LSTM", "Bi-RNN", "test"),
        ("fused readings over rows", "fused readings", "attention Bi-LSTM", "test"),
        ("a second layer", "two layers", "attention Bi-LSTM", "test"),
        ("a narrower second layer (hierarchical)", "hierarchical", "attention Bi-LSTM", "test"),
        ("sweeps of half the width over rows", "sweeps", "attention Bi-LSTM", "test"),
        ("sweeps of half the width over a CNN of equal parameters", "sweeps", "CNN, equal parameters", "test"),
        ("highway", "highway", "attention Bi-LSTM", "test"),
        ("orthogonal start", "attention Bi-LSTM", "uniform start", "test"),
        ("topological features", "topology", "attention Bi-LSTM", "test"),
        ("over a CNN of equal MACs", "attention Bi-LSTM", "CNN, equal MACs", "test"),
        ("over a CNN of equal parameters, both augmented", "augmented", "CNN, augmented", "test"),
        ("the same on deformed digits", "augmented", "CNN, augmented", "deformed"),
        ("augmentation, on clean digits", "augmented", "attention Bi-LSTM", "test"),
        ("label smoothing", "attention Bi-LSTM", "no label smoothing", "test"),
        ("focal loss over cross entropy", "focal loss", "no label smoothing", "test"),
        ("class weights", "class weights", "attention Bi-LSTM", "test"),
        ("one-cycle over cosine", "attention Bi-LSTM", "cosine", "test"),
        ("cosine with restarts over one-cycle", "cosine with restarts", "attention Bi-LSTM", "test"),
        ("batches of 64 over 128", "batches of 64", "attention Bi-LSTM", "test"),
        ("batches of 256 over 128", "batches of 256", "attention Bi-LSTM", "test"),
    )
)


def find(claim: Claim, trials: dict[str, list[Trial]], counts: dict[str, int]) -> Finding:
    """What the trials say. trials: of each variant, by seed in one order; counts: digits of each test set."""
    ours = trials[claim.variant]
    if claim.measure == "parameters":
        return over_seeds([float(each.parameters) for each in ours])
    if claim.measure == "time":
        pairs = zip(ours, trials[claim.against], strict=True)
        return over_seeds([each.train_s / other.train_s for each, other in pairs])
    right = [each.is_right(claim.on, counts[claim.on]) for each in ours]
    if claim.measure == "accuracy":
        return over_seeds([100 * float(each.mean()) for each in right])
    other = [each.is_right(claim.on, counts[claim.on]) for each in trials[claim.against]]
    gains = [100 * float(one.mean() - two.mean()) for one, two in zip(right, other, strict=True)]
    found = over_seeds(gains) if len(gains) > 1 else _of_one_seed(right[0], other[0])
    p = float(np.median([min(1.0, 2 * min(mcnemar(a, b), mcnemar(b, a))) for a, b in zip(right, other, strict=True)]))
    return Finding(found.mean, found.low, found.high, found.each, p)


def over_seeds(each: Sequence[float]) -> Finding:
    """Mean and 95% interval (Student 1908); of a single seed the interval is the figure itself."""
    mean, count = float(np.mean(each)), len(each)
    width = float(student_t.ppf(0.975, count - 1) * np.std(each, ddof=1) / np.sqrt(count)) if count > 1 else 0.0
    return Finding(mean, mean - width, mean + width, tuple(each))


def _of_one_seed(right: NDArray[np.bool_], other: NDArray[np.bool_]) -> Finding:
    """The interval that the choice of test digits leaves, where there is one seed only."""
    gains = 100 * (right.astype(float) - other.astype(float))
    mean, width = float(gains.mean()), 1.96 * float(gains.std(ddof=1) / np.sqrt(len(gains)))
    return Finding(mean, mean - width, mean + width, (mean,))


def verdict(claim: Claim, found: Finding, is_full: bool) -> Verdict:
    """Reproduced: the interval reaches the figure (at least half of a gain, within a tenth of a ratio or a count).

    Refuted: it stays away from that; else not decidable from these trials. is_full: whether training went to its end,
    without which a low accuracy refutes nothing.
    """
    if claim.measure in ("time", "parameters"):
        low, high = 0.9 * claim.figure, 1.1 * claim.figure
    elif claim.measure == "gain":
        low, high = claim.figure / 2, np.inf
    else:
        low, high = claim.figure, np.inf
    if low <= found.low and found.high <= high:
        return "reproduced"
    is_away = found.high < low or found.low > high
    if is_away and (is_full or claim.measure != "accuracy"):
        return "refuted"
    return "not decidable here"


def answer(found: Finding) -> str:
    """What a question came to: yes or no only where the interval keeps off zero."""
    return "yes" if found.low > 0 else "no, the other way" if found.high < 0 else "no difference seen"
