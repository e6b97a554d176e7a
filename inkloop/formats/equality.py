"""Whether a loaded format answers as torch does, and how soon."""

import statistics
import time
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from inkloop.evaluation import latency_us
from inkloop.formats.answers import FromPixels, of_torch
from inkloop.model import Recognizer
from inkloop.quantization import rounded_weights
from inkloop.runtime import BATCH_SIZE, Answers, probabilities_of

EQUAL = 1e-5  # of a probability; sums of fp32 in another order differ by less


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


def measured(answers: Answers, asked: Asked, expected: NDArray[np.float32], timing: Timing) -> Figures:
    """Ask and time. expected: torch's probabilities (n, 10). Raises ValueError if the answers are not probabilities."""
    images = asked.images
    found = probabilities_of(answers, images)
    if found.shape != expected.shape or not np.isfinite(found).all():
        raise ValueError(f"it answered {len(images)} pictures with {found.shape}, or not with numbers")
    labels = found.argmax(1)
    rounds = [timed_round(answers, images, timing) for _ in range(timing.rounds)]
    return Figures(
        difference=float(np.abs(found - expected).max()),
        same_answers=float((labels == expected.argmax(1)).mean()),
        accuracy=float((labels == asked.labels).mean()),
        p50_us=_timed([p50_us for p50_us, _ in rounds]),
        images_per_s=_timed([images_per_s for _, images_per_s in rounds]),
    )


def timed_round(answers: Answers, images: NDArray[np.uint8], timing: Timing) -> tuple[float, float]:
    """p50 of one picture in microseconds, and pictures a second in batches."""
    p50_us = float(np.median(latency_us(answers, images, timing.calls)))
    batch = images[np.arange(BATCH_SIZE) % len(images)]
    took = []
    for _ in range(1 + timing.batches):  # the first warms up
        started = time.perf_counter()
        answers(batch)
        took.append(time.perf_counter() - started)
    return p50_us, BATCH_SIZE / statistics.median(took[1:])


def _timed(rounds: list[float]) -> Timed:
    return Timed(median=statistics.median(rounds), least=min(rounds), most=max(rounds))
