"""Evaluation: accuracy, confusion, slices, latency, and the paired test that tells two models apart."""

import time
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from pydantic import PositiveInt
from scipy.stats import binomtest

from inkloop.digits import Digits
from inkloop.hardware import Offer
from inkloop.runtime import Answers, Recognizer, probabilities_of
from inkloop.settings import Settings
from inkloop.slices import slices_of

CLASSES = 10
WARMUP_CALLS = 50
FIGURES = ("model", "validation", "test accuracy", "deformed test", "parameters", "size", "p50", "p99")


class EvaluationSettings(Settings):
    """How models are measured."""

    latency_calls: PositiveInt = 1_000  # single images timed


@dataclass(frozen=True)
class EvaluationDigits:
    """What models are measured on. The last of them, those that production sent, may be none."""

    validation: Digits
    test: Digits
    deformed: Digits
    production: Digits


class ModelReport(Settings):
    """What one model was measured at. Accuracies in 0..1, latencies of one image on one thread."""

    validation_accuracy: float  # by which one of several models is chosen
    test_accuracy: float  # on the fixed test digits
    production_accuracy: float | None = None  # on the labeled test digits that production sent, where there are any
    deformed_accuracy: float
    parameters: int
    size_bytes: int
    latency_p50_us: float
    latency_p99_us: float
    slices: dict[str, float]  # accuracy by slice of the test digits


class Report(Settings):
    """What `evaluate` hands on: every model's figures, and which was chosen, with its confusion of the test digits."""

    models: dict[str, ModelReport]
    chosen: str
    hardware: str  # for which it was chosen, with its limits
    confusion: tuple[tuple[int, ...], ...]  # [label][answer]


def figures_as_text(report: Report) -> list[list[str]]:
    """Each model's row for people; `FIGURES` says what is in it."""
    return [
        [
            f"{name}, chosen" if name == report.chosen else name,
            f"{figures.validation_accuracy:.2%}",
            f"{figures.test_accuracy:.2%}",
            f"{figures.deformed_accuracy:.2%}",
            f"{figures.parameters:,}",
            f"{figures.size_bytes / 1000:,.1f} KB",
            f"{figures.latency_p50_us:,.0f} us",
            f"{figures.latency_p99_us:,.0f} us",
        ]
        for name, figures in report.models.items()
    ]


def answers(model: Recognizer, digits: Digits) -> NDArray[np.int64]:
    """The label that the model gives each digit, (n,)."""
    labels: NDArray[np.int64] = probabilities_of(model.probabilities, digits.images).argmax(1)
    return labels


def confusion_matrix(labels: NDArray[np.int64], answered: NDArray[np.int64]) -> NDArray[np.int64]:
    """Counts (10, 10): rows are labels, columns answers."""
    return np.bincount(labels * CLASSES + answered, minlength=CLASSES**2).reshape(CLASSES, CLASSES)


@dataclass(frozen=True)
class Roc:
    """Points of a receiver operating characteristic, (points,) each, from nothing accepted to everything accepted.

    An answer is accepted if its probability is the threshold or more.
    """

    false_positive_rate: NDArray[np.float64]
    true_positive_rate: NDArray[np.float64]
    threshold: NDArray[np.float64]


def roc(probabilities: NDArray[np.float32], labels: NDArray[np.int64], points: int = 50) -> Roc:
    """The ROC of ten one-against-the-rest questions taken together (micro-average), in few points of even distance.

    probabilities: (n, 10); labels: (n,).
    """
    scores, is_it = probabilities.ravel(), (np.arange(CLASSES) == labels[:, None]).ravel()
    order = np.argsort(-scores, kind="stable")
    scores, is_it = scores[order].astype(np.float64), is_it[order]
    last = np.flatnonzero(np.diff(scores, append=-1.0))  # equal ones are accepted together
    right, wrong = np.cumsum(is_it)[last], np.cumsum(~is_it)[last]
    true = np.concatenate([[0.0], right / is_it.sum()])
    false = np.concatenate([[0.0], wrong / (~is_it).sum()])
    threshold = np.concatenate([[np.nextafter(scores[0], 2.0)], scores[last]])
    chosen = np.unique(np.searchsorted(true + false, np.linspace(0, 2, points)).clip(max=len(true) - 1))
    return Roc(false[chosen], true[chosen], threshold[chosen])


def latency_us(answers: Answers, images: NDArray[np.uint8], calls: int) -> NDArray[np.float64]:
    """Microseconds that each call with one image took, (calls,), after a warm-up. images: (n, frame, frame)."""
    durations = np.empty(WARMUP_CALLS + calls)
    for call in range(len(durations)):
        row = call % len(images)
        image = images[row : row + 1]
        started = time.perf_counter_ns()
        answers(image)
        durations[call] = (time.perf_counter_ns() - started) / 1000
    return durations[WARMUP_CALLS:]


def measure(model: Recognizer, on: EvaluationDigits, settings: EvaluationSettings) -> ModelReport:
    """Measure one model."""
    right = answers(model, on.test) == on.test.labels
    took_us = latency_us(model.probabilities, on.test.images, settings.latency_calls)
    return ModelReport(
        validation_accuracy=_accuracy(model, on.validation),
        test_accuracy=float(right.mean()),
        production_accuracy=_accuracy(model, on.production) if len(on.production) else None,
        deformed_accuracy=_accuracy(model, on.deformed),
        parameters=model.info.parameters,
        size_bytes=model.info.size_bytes,
        latency_p50_us=float(np.percentile(took_us, 50)),
        latency_p99_us=float(np.percentile(took_us, 99)),
        slices={name: float(right[mask].mean()) for name, mask in slices_of(on.test).items()},
    )


def offer_of(report: ModelReport) -> Offer:
    """What the model costs and how good it is, as hardware sees it."""
    return Offer(report.validation_accuracy, report.size_bytes / 1000, report.latency_p50_us / 1000)


def _accuracy(model: Recognizer, digits: Digits) -> float:
    return float((answers(model, digits) == digits.labels).mean())


def mcnemar(challenger_right: NDArray[np.bool_], champion_right: NDArray[np.bool_]) -> float:
    """Exact one-sided McNemar test: how likely the challenger's lead (p in 0..1) is if both are equally good."""
    gained = int((challenger_right & ~champion_right).sum())
    lost = int((champion_right & ~challenger_right).sum())
    if gained + lost == 0:
        return 1.0
    return float(binomtest(gained, gained + lost, 0.5, alternative="greater").pvalue)
