"""Evaluation: accuracy, confusion, slices, latency, and the paired test that tells two models apart."""

import time

import numpy as np
from numpy.typing import NDArray
from pydantic import PositiveInt
from scipy.stats import binomtest

from inkloop.artifacts import Kind
from inkloop.digits import Digits
from inkloop.runtime import Recognizer
from inkloop.settings import Settings
from inkloop.slices import slices_of

CLASSES = 10
BATCH_SIZE = 64
WARMUP_CALLS = 50


class EvaluationSettings(Settings):
    """How models are measured."""

    latency_calls: PositiveInt = 1_000  # single images timed


class ModelReport(Settings):
    """What one model was measured at. Accuracies in 0..1, latencies of one image on one thread."""

    test_accuracy: float  # on the fixed test digits
    production_accuracy: float | None = None  # on the labeled test digits that production sent, where there are any
    deformed_accuracy: float
    parameters: int
    size_bytes: int
    latency_p50_us: float
    latency_p99_us: float
    slices: dict[str, float]  # accuracy by slice of the test digits


class Report(Settings):
    """What `evaluate` hands on: every model's figures, and the INT8 student's confusion of the test digits."""

    models: dict[Kind, ModelReport]
    confusion: tuple[tuple[int, ...], ...]  # [label][answer]


def figures_as_text(report: Report) -> list[list[str]]:
    """Each model's row for people: name, accuracy, deformed accuracy, parameters, size, p50 and p99 latency."""
    return [
        [
            name,
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
    parts = range(0, len(digits), BATCH_SIZE)
    return np.concatenate([model.probabilities(digits.images[i : i + BATCH_SIZE]).argmax(1) for i in parts])


def confusion_matrix(labels: NDArray[np.int64], answered: NDArray[np.int64]) -> NDArray[np.int64]:
    """Counts (10, 10): rows are labels, columns answers."""
    return np.bincount(labels * CLASSES + answered, minlength=CLASSES**2).reshape(CLASSES, CLASSES)


def latency_us(model: Recognizer, digits: Digits, calls: int) -> NDArray[np.float64]:
    """Microseconds that each call with one image took, (calls,), after a warm-up."""
    durations = np.empty(WARMUP_CALLS + calls)
    for call in range(len(durations)):
        row = call % len(digits)
        image = digits.images[row : row + 1]
        started = time.perf_counter_ns()
        model.probabilities(image)
        durations[call] = (time.perf_counter_ns() - started) / 1000
    return durations[WARMUP_CALLS:]


def measure(
    model: Recognizer, test: Digits, deformed: Digits, production: Digits, settings: EvaluationSettings
) -> ModelReport:
    """Measure one model on the test digits, on their deformed copies, and on what production sent, if it sent any."""
    right = answers(model, test) == test.labels
    took_us = latency_us(model, test, settings.latency_calls)
    return ModelReport(
        test_accuracy=float(right.mean()),
        production_accuracy=_accuracy(model, production) if len(production) else None,
        deformed_accuracy=_accuracy(model, deformed),
        parameters=model.info.parameters,
        size_bytes=model.info.size_bytes,
        latency_p50_us=float(np.percentile(took_us, 50)),
        latency_p99_us=float(np.percentile(took_us, 99)),
        slices={name: float(right[mask].mean()) for name, mask in slices_of(test).items()},
    )


def _accuracy(model: Recognizer, digits: Digits) -> float:
    return float((answers(model, digits) == digits.labels).mean())


def mcnemar(challenger_right: NDArray[np.bool_], champion_right: NDArray[np.bool_]) -> float:
    """Exact one-sided McNemar test: how likely the challenger's lead (p in 0..1) is if both are equally good."""
    gained = int((challenger_right & ~champion_right).sum())
    lost = int((champion_right & ~challenger_right).sum())
    if gained + lost == 0:
        return 1.0
    return float(binomtest(gained, gained + lost, 0.5, alternative="greater").pvalue)
