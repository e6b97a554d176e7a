"""Live quality: how right answers are by their labels, against what was promised, and guessed without labels."""

from datetime import UTC, datetime, timedelta

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import binomtest

from infra import captured
from inkloop.runtime import Recognizer
from monitoring import quality
from monitoring.quality import Quality

NOON = datetime(2026, 11, 25, 12, tzinfo=UTC)


def answered(probabilities: np.ndarray, labels, sources=None, minutes=None, version: str = "974982cc763f") -> pa.Table:
    """Captured answers, one a minute; labels: -1 = none has come in."""
    count = len(probabilities)
    labels = np.asarray(labels)
    minutes = range(count) if minutes is None else minutes
    columns = {
        "id": [f"{row:064}" for row in range(count)],
        "image": [b""] * count,
        "height": [28] * count,
        "width": [28] * count,
        "label": pa.array(labels.astype(np.int8), mask=labels < 0),
        "source": ["production"] * count if sources is None else list(sources),
        "file": pa.nulls(count, pa.string()),
        "writer": pa.nulls(count, pa.string()),
        "seen_at": [NOON + timedelta(minutes=int(minute)) for minute in minutes],
        "split": ["train"] * count,
        "prediction_id": [str(row) for row in range(count)],
        "answer": probabilities.argmax(1),
        "probabilities": list(probabilities.astype(np.float32)),
        "model_version": [version] * count,
    }
    return pa.table(columns).select(captured.SCHEMA.names).cast(captured.SCHEMA)


def saying(answers) -> np.ndarray:
    """Probabilities of these answers."""
    return np.eye(10, dtype=np.float32)[np.asarray(answers, int)] * 0.9 + 0.01


def of(right) -> pa.Table:
    """Answers of which these are right; None: not labeled."""
    return answered(saying([3] * len(right)), [-1 if each is None else 3 if each else 5 for each in right])


@pytest.fixture(scope="module")
def model(model_directory) -> Recognizer:
    return Recognizer(model_directory)


@pytest.fixture(scope="module")
def reference(model, mnist) -> pa.Table:
    known = mnist["validation"].take(slice(0, 2000))
    return answered(model.probabilities(known.images), known.labels)


@given(st.integers(1, 5000).flatmap(lambda n: st.tuples(st.integers(0, n), st.just(n))))
def test_the_interval_is_wilsons(counts):
    right, answers = counts
    expected = binomtest(right, answers).proportion_ci(0.95, method="wilson")
    found = Quality(right, answers)
    assert (found.low, found.high) == pytest.approx((expected.low, expected.high), abs=1e-4)
    assert 0 <= found.low <= found.accuracy + 1e-9
    assert found.accuracy - 1e-9 <= found.high <= 1


def test_accuracy_by_source_version_and_hour():
    sources = ["app"] * 60 + ["web"] * 60
    table = answered(saying([1] * 120), [1] * 60 + [1, 2] * 30, sources)
    assert quality.by(table, "source") == {"app": Quality(60, 60), "web": Quality(30, 60)}
    assert quality.by(table, "hour") == {"2026-11-25 12:00": Quality(60, 60), "2026-11-25 13:00": Quality(30, 60)}
    assert quality.by(table, "model_version") == {"974982cc763f": Quality(90, 120)}
    assert quality.by(table, "writer") == {"": Quality(90, 120)}
    assert quality.overall(table) == Quality(90, 120)
    assert quality.overall(table, newest=60) == Quality(30, 60)


def test_late_and_shuffled_rows_are_put_in_order():
    table = answered(saying([1] * 4), [1, 2, 1, 2], minutes=[0, 2, 1, 3])
    assert quality.overall(table, newest=2) == Quality(0, 2)


def test_unlabeled_answers_say_nothing_where_labels_are_a_sample():
    assert quality.overall(of([True, None, None, True, False, None])) == Quality(2, 3)


def test_where_only_errors_are_corrected_no_label_means_no_complaint():
    assert quality.overall(of([None] * 97 + [False] * 3)) == Quality(97, 100)
    assert quality.avoidable(of(([None] * 97 + [False] * 3) * 10), Quality(970, 1000)).errors < 4


def test_nothing_is_known_of_answers_without_any_label():
    assert quality.overall(of([None] * 9)) == Quality(0, 0)
    assert np.isnan(quality.overall(of([None] * 9)).low)
    assert quality.avoidable(of([None] * 9), Quality(99, 100)).errors == 0
    assert quality.overall(captured.SCHEMA.empty_table()) == Quality(0, 0)


def test_how_far_it_fell_and_whether_that_may_be_chance():
    promised = Quality(990, 1000)
    clear, unclear = quality.fall(Quality(700, 1000), promised), quality.fall(Quality(49, 50), promised)
    assert clear.points == pytest.approx(0.29)
    assert 0 < clear.low < 0.29 < clear.high
    assert unclear.low < 0 < unclear.high


def test_avoidable_errors_are_counted_from_when_the_model_got_worse():
    before, after = [True] * 1000, ([True] * 7 + [False] * 3) * 20
    found = quality.avoidable(of(before + after), Quality(990, 1000))
    assert found.since is not None
    assert timedelta(0) <= found.since - (NOON + timedelta(minutes=1000)) < timedelta(minutes=10)
    assert found.errors == found.seen
    assert 52 < found.seen < 60  # of 60 errors, some are promised and tolerated


def test_where_one_answer_in_four_is_labeled_each_labeled_error_stands_for_four():
    after = [right if row % 4 == 0 else None for row, right in enumerate([True, True, True, True, False] * 200)]
    found = quality.avoidable(of([True] * 400 + after), Quality(990, 1000))
    assert found.errors == pytest.approx(4 * found.seen, rel=0.03)


@given(st.lists(st.booleans() | st.none(), max_size=60), st.integers(0, 59))
def test_one_more_error_is_never_fewer_avoidable_ones(right, where):
    promised = Quality(95, 100)
    worse = [False if row == where and each else each for row, each in enumerate(right)]
    if sum(each is True for each in worse) >= sum(each is False for each in worse):  # still a sample of all answers
        assert quality.avoidable(of(worse), promised).seen >= quality.avoidable(of(right), promised).seen - 1e-9


def test_a_model_as_good_as_promised_has_few_avoidable_errors_whatever_chance_does():
    most = 0.0
    for seed in range(50):
        right = np.random.default_rng(seed).random(3000) < 0.97
        table = answered(saying(np.full(3000, 3)), np.where(right, 3, 5))
        most = max(most, quality.avoidable(table, Quality(1940, 2000)).seen)
    assert most < 20


def test_what_a_small_reference_promises_may_be_chance():
    live = of(([True] * 94 + [False] * 6) * 10)
    assert quality.avoidable(live, Quality(1940, 2000)).seen > quality.avoidable(live, Quality(97, 100)).seen


def test_without_labels_accuracy_is_guessed_from_confidence(model, reference, mnist):
    test = mnist["test"].take(slice(0, 1000))
    for strength in (0, 2, 3, 4):
        moved = np.roll(test.images, strength, 2)
        table = answered(model.probabilities(moved), np.full(1000, -1))
        real = float((table.column("answer").to_numpy() == test.labels).mean())
        assert quality.estimated(table, reference) == pytest.approx(real, abs=0.1), f"moved by {strength} pixels"


def test_a_guess_takes_no_model_that_is_as_promised_for_a_worse_one(model, reference, mnist):
    test = mnist["test"].take(slice(0, 1000))
    table = answered(model.probabilities(test.images), np.full(1000, -1))
    assert quality.estimated_errors(table, reference) == 0
    turned = answered(model.probabilities(np.rot90(test.images, axes=(1, 2)).copy()), np.full(1000, -1))
    assert quality.estimated_errors(turned, reference) > 100
    assert quality.estimated_errors(captured.SCHEMA.empty_table(), reference) == 0
