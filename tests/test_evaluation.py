"""Evaluation: figures checked against sums done by hand, and real digits sliced sensibly."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as npst
from sklearn.metrics import roc_auc_score, roc_curve

from inkloop.evaluation import (
    EvaluationDigits,
    EvaluationSettings,
    Report,
    answers,
    confusion_matrix,
    latency_us,
    mcnemar,
    measure,
    roc,
)
from inkloop.report import report_page
from inkloop.runtime import Recognizer

KINDS = ("teacher", "student", "pruned", "int8")


@pytest.fixture(scope="module")
def recognizer(model_directory) -> Recognizer:
    return Recognizer(model_directory)


@pytest.fixture(scope="module")
def measured(recognizer, test_digits):
    some, none = test_digits.take(slice(0, 100)), test_digits.take(slice(0, 0))
    on = EvaluationDigits(validation=some, test=test_digits, deformed=some, production=none)
    return measure(recognizer, on, EvaluationSettings(latency_calls=100))


def right(gained: int, lost: int, both: int = 50) -> tuple[np.ndarray, np.ndarray]:
    """What challenger and champion read right, where each alone reads some right."""
    challenger = [True] * gained + [False] * lost + [True] * both
    champion = [False] * gained + [True] * lost + [True] * both
    return np.array(challenger, bool), np.array(champion, bool)


@pytest.mark.parametrize(
    ("gained", "lost", "p"),
    [
        (0, 0, 1.0),
        (1, 0, 1 / 2),
        (5, 0, 1 / 32),
        (4, 1, 6 / 32),  # (C(5,4) + C(5,5)) / 2^5
        (8, 2, 56 / 1024),  # (45 + 10 + 1) / 2^10
        (9, 1, 11 / 1024),
        (0, 5, 1.0),
    ],
)
def test_the_paired_test_agrees_with_sums_by_hand(gained, lost, p):
    assert mcnemar(*right(gained, lost)) == pytest.approx(p)


@given(gained=st.integers(0, 40), lost=st.integers(0, 40), both=st.integers(0, 100))
def test_digits_that_both_read_right_do_not_count(gained, lost, both):
    assert mcnemar(*right(gained, lost, both)) == mcnemar(*right(gained, lost, 0))


@given(gained=st.integers(0, 40), lost=st.integers(0, 40))
def test_a_larger_lead_is_more_certain(gained, lost):
    assert mcnemar(*right(gained + 1, lost)) <= mcnemar(*right(gained, lost))


def test_confusion_has_labels_down_and_answers_across():
    counts = confusion_matrix(np.array([3, 3, 3, 9]), np.array([3, 8, 8, 9]))
    assert counts.shape == (10, 10)
    assert (counts[3, 3], counts[3, 8], counts[9, 9], counts.sum()) == (1, 2, 1, 4)


@given(npst.arrays(np.int64, st.tuples(st.integers(1, 50), st.just(2)), elements=st.integers(0, 9)))
def test_confusion_counts_every_digit_once(pairs):
    labels, answered = pairs.T
    counts = confusion_matrix(labels, answered)
    assert (counts.sum(1) == np.bincount(labels, minlength=10)).all()
    assert (counts.sum(0) == np.bincount(answered, minlength=10)).all()
    assert np.trace(counts) == (labels == answered).sum()


def test_the_batch_does_not_matter_for_whom_it_answers(recognizer, test_digits):
    odd = test_digits.take(slice(0, 131))
    assert answers(recognizer, odd).shape == (131,)
    assert (answers(recognizer, odd)[:64] == answers(recognizer, test_digits)[:64]).all()


def test_a_model_is_measured_on_real_digits(measured, recognizer, test_digits):
    right = answers(recognizer, test_digits) == test_digits.labels
    assert measured.test_accuracy == pytest.approx(right.mean())
    assert measured.deformed_accuracy == pytest.approx(right[:100].mean(), abs=0.02)
    assert measured.size_bytes == recognizer.info.size_bytes
    assert measured.parameters == recognizer.info.parameters
    assert 0 < measured.latency_p50_us <= measured.latency_p99_us
    assert {f"digit {label}" for label in range(10)} < measured.slices.keys()


def test_accuracy_by_class_adds_up_to_the_whole(measured, test_digits):
    counts = np.bincount(test_digits.labels, minlength=10)
    total = sum(measured.slices[f"digit {label}"] * counts[label] for label in range(10))
    assert total / len(test_digits) == pytest.approx(measured.test_accuracy)


def test_latency_is_of_single_images(recognizer, test_digits):
    took_us = latency_us(recognizer.probabilities, test_digits.images[:3], calls=20)
    assert took_us.shape == (20,)
    assert (took_us > 1).all()


def test_the_report_survives_being_written(measured, test_digits):
    report = Report(models=dict.fromkeys(KINDS, measured), chosen="int8", hardware="cpu", confusion=((1, 2), (3, 4)))
    assert Report.model_validate_json(report.model_dump_json()) == report


def test_the_report_page_shows_models_slices_and_every_misread_digit(measured, recognizer, test_digits):
    answered = answers(recognizer, test_digits)
    counts = confusion_matrix(test_digits.labels, answered).tolist()
    report = Report(
        models=dict.fromkeys(KINDS, measured), chosen="pruned", hardware="edge (40 KB, 0.1 ms)", confusion=counts
    )
    page = report_page(report, test_digits, answered)
    for expected in (
        *KINDS,
        "Chosen for edge (40 KB, 0.1 ms): pruned",
        "</svg>",
        "thick pen",
        "leaning left",
        f"{measured.test_accuracy:.2%}",
    ):
        assert expected in page
    assert page.count("&rarr;") == (answered != test_digits.labels).sum()


def test_a_faultless_model_has_no_misread_digits_to_show(measured, test_digits):
    report = Report(models=dict.fromkeys(KINDS, measured), chosen="int8", hardware="cpu", confusion=((0,) * 10,) * 10)
    assert "The 0 digits that it misreads" in report_page(report, test_digits, test_digits.labels)


def test_the_roc_lies_on_that_of_all_ten_questions_and_needs_few_points(recognizer, test_digits):
    probabilities = recognizer.probabilities(test_digits.images)
    curve = roc(probabilities, test_digits.labels)
    truth = np.eye(10)[test_digits.labels].ravel()
    false, true, _ = roc_curve(truth, probabilities.ravel(), drop_intermediate=False)
    exact = set(zip(false.round(9), true.round(9), strict=True))
    drawn = list(zip(curve.false_positive_rate.round(9), curve.true_positive_rate.round(9), strict=True))
    assert set(drawn) <= exact
    assert drawn[0] == (0, 0) and drawn[-1] == (1, 1) and len(drawn) <= 50
    area = np.trapezoid(curve.true_positive_rate, curve.false_positive_rate)
    assert area == pytest.approx(roc_auc_score(truth, probabilities.ravel()), abs=2e-3)
    assert np.isfinite(curve.threshold).all() and (np.diff(curve.threshold) < 0).all()


@pytest.mark.parametrize("told", [0.0, 0.1, 1.0])
def test_the_roc_of_answers_that_are_all_alike_is_the_diagonal(told):
    curve = roc(np.full((30, 10), told, np.float32), np.arange(30) % 10)
    assert curve.false_positive_rate.tolist() == curve.true_positive_rate.tolist() == [0, 1]
