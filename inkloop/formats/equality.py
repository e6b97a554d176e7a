"""Whether a loaded format answers as torch does, and how soon."""

import statistics
import time
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from inkloop.formats.answers import Answers, FromPixels, of_torch
from inkloop.model import Recognizer
from inkloop.quantization import rounded_weights

EQUAL = 1e-5  # of a probability; sums of fp32 in another order differ by less
BATCH_SIZE = 64
WARMUP_CALLS = 20


@dataclass(frozen=True)
class Timing:
    """How much is timed; each round gives one figure."""

    rounds: int = 5
    calls: int = 200  # of one picture, a round
    batches: int = 10  # a round


@dataclass(frozen=True)
class Timed:
    """The median of the rounds, and the least and most."""

    median: float
    least: float
    most: float


@dataclass(frozen=True)
class Figures:
    """What a format was measured at, on one thread."""

    difference: float  # the most by which a probability differs from torch's
    same_answers: float  # share of digits that torch gives the same label, 0..1
    accuracy: float  # 0..1
    p50_us: Timed  # of one picture
    images_per_s: Timed  # in batches of 64


@dataclass(frozen=True)
class Asked:
    """Digits, uint8 (n, frame, frame), with labels (n,), and torch's probabilities, float32 (n, 10)."""

    images: NDArray[np.uint8]
    labels: NDArray[np.integer]
    exact: NDArray[np.float32]
    rounded: NDArray[np.float32]  # with its weights as our INT8 holds them


def asked_of_torch(model: Recognizer, images: NDArray[np.uint8], labels: NDArray[np.integer]) -> Asked:
    """The digits with torch's answers. images: uint8 (n, frame, frame), labels (n,)."""
    exact = probabilities_of(of_torch(FromPixels(model)), images)
    with rounded_weights(model):
        rounded = probabilities_of(of_torch(FromPixels(model)), images)
    return Asked(images, labels, exact, rounded)


def probabilities_of(answers: Answers, images: NDArray[np.uint8]) -> NDArray[np.float32]:
    """The answers to all images (n, frame, frame), asked in batches: (n, 10)."""
    parts = range(0, len(images), BATCH_SIZE)
    return np.concatenate([answers(images[at : at + BATCH_SIZE]) for at in parts])


def measured(answers: Answers, asked: Asked, expected: NDArray[np.float32], timing: Timing) -> Figures:
    """Ask and time. expected: torch's probabilities (n, 10). Raises ValueError if the answers are not probabilities."""
    images = asked.images
    found = probabilities_of(answers, images)
    if found.shape != expected.shape or not np.isfinite(found).all():
        raise ValueError(f"it answered {len(images)} pictures with {found.shape}, or not with numbers")
    labels = found.argmax(1)
    rounds = [_round(answers, images, timing) for _ in range(timing.rounds)]
    return Figures(
        difference=float(np.abs(found - expected).max()),
        same_answers=float((labels == expected.argmax(1)).mean()),
        accuracy=float((labels == asked.labels).mean()),
        p50_us=_timed([p50_us for p50_us, _ in rounds]),
        images_per_s=_timed([images_per_s for _, images_per_s in rounds]),
    )


def _round(answers: Answers, images: NDArray[np.uint8], timing: Timing) -> tuple[float, float]:
    """p50 of one picture in microseconds, and pictures a second in batches."""
    rows = np.arange(WARMUP_CALLS + timing.calls) % len(images)
    singles = [_seconds(answers, images[row : row + 1]) for row in rows]
    batch = images[np.arange(BATCH_SIZE) % len(images)]
    _seconds(answers, batch)
    batches = [_seconds(answers, batch) for _ in range(timing.batches)]
    return 1e6 * statistics.median(singles[WARMUP_CALLS:]), BATCH_SIZE / statistics.median(batches)


def _seconds(answers: Answers, images: NDArray[np.uint8]) -> float:
    started = time.perf_counter()
    answers(images)
    return time.perf_counter() - started


def _timed(rounds: list[float]) -> Timed:
    return Timed(median=statistics.median(rounds), least=min(rounds), most=max(rounds))
