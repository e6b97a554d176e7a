from contextlib import suppress

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from inkloop.corruptions import corrupt
from inkloop.errors import UserError
from inkloop.runtime import Recognizer
from monitoring.drift import conformal
from monitoring.drift.detector import Detector, DetectorSettings
from monitoring.drift.features import NAMES


@pytest.fixture(scope="module")
def recognizer(model_directory):
    return Recognizer(model_directory)


@pytest.fixture(scope="module")
def reference(mnist, recognizer):
    images = mnist["validation"].images[:3000]
    return images, recognizer.probabilities(images)


@pytest.fixture(scope="module")
def clean(mnist, recognizer):
    """1,000 digits like the reference's that are not among them."""
    images = mnist["validation"].images[3000:4000]
    return images, recognizer.probabilities(images)


@pytest.fixture(scope="module")
def striped(clean, recognizer):
    images = corrupt(clean[0], "stripe", seed=0)
    return images, recognizer.probabilities(images)


@pytest.fixture(scope="module")
def state(reference):
    """A detector at its start."""
    return Detector.from_reference(*reference, DetectorSettings()).to_bytes()


@pytest.fixture
def detector(state):
    return Detector.from_bytes(state)


def test_a_change_is_seen_at_once_and_dated(detector, clean, striped):
    assert detector.update(*clean) == []
    assert 0 <= detector.score < 1
    first = detector.update(*striped)[0]
    assert 1000 <= first.at < 1020
    assert 950 <= first.since <= first.at
    assert first.feature in NAMES
    assert first.direction in conformal.DIRECTIONS


def test_one_shifted_picture_in_ten_is_seen(detector, clean, striped, recognizer):
    images = clean[0].copy()
    images[::10] = striped[0][::10]
    assert detector.update(images, recognizer.probabilities(images))[0].at < 300


def test_an_alarm_names_the_feature_a_person_would(detector, clean, recognizer):
    detector.update(*clean)
    smaller = corrupt(clean[0], "scale", seed=0)
    alarm = detector.update(smaller, recognizer.probabilities(smaller))[0]
    assert (alarm.feature, alarm.direction) in {("height", "lower"), ("width", "lower"), ("ink", "lower")}


def test_more_of_one_digit_than_ever_is_a_change(detector, mnist, recognizer):
    sevens = mnist["validation"].images[mnist["validation"].labels == 7][:200]
    alarms = detector.update(sevens, recognizer.probabilities(sevens))
    assert alarms[0].at < 60


def test_after_an_alarm_it_starts_anew(detector, striped):
    first = detector.update(striped[0][:20], striped[1][:20])[0]
    rest = Detector.from_bytes(detector.to_bytes()).update(striped[0][20:], striped[1][20:])
    assert rest[0].since > first.at


@given(cuts=st.lists(st.integers(0, 1000), max_size=6))
@settings(max_examples=15)
def test_how_a_stream_is_cut_changes_nothing(cuts, state, clean, striped):
    images, answers = (np.concatenate([c[:600], s[:400]]) for c, s in zip(clean, striped, strict=True))
    whole, pieces = Detector.from_bytes(state), Detector.from_bytes(state)
    alarms = []
    for start, end in zip([0, *sorted(cuts)], [*sorted(cuts), 1000], strict=True):
        alarms += pieces.update(images[start:end], answers[start:end])
    assert alarms == whole.update(images, answers) != []
    assert pieces.seen == whole.seen == 1000
    assert pieces.loudest() == whole.loudest()


@given(killed_after=st.integers(0, 1000))
@settings(max_examples=15)
def test_it_goes_on_where_it_was_killed(killed_after, state, clean, striped):
    images, answers = (np.concatenate([c[:600], s[:400]]) for c, s in zip(clean, striped, strict=True))
    steady, killed = Detector.from_bytes(state), Detector.from_bytes(state)
    alarms = killed.update(images[:killed_after], answers[:killed_after])
    revived = Detector.from_bytes(killed.to_bytes())
    alarms += revived.update(images[killed_after:], answers[killed_after:])
    assert alarms == steady.update(images, answers)
    assert revived.to_bytes() == steady.to_bytes()


def test_its_memory_does_not_grow_with_the_stream(detector, clean):
    for _ in range(4):
        detector.update(*clean)
    early = detector.to_bytes()
    for _ in range(20):
        detector.update(*clean)
    assert len(detector.to_bytes()) < 1.1 * len(early)


@pytest.mark.parametrize("damaged", [b"", b"rust", b"PK\x03\x04rust"])
def test_what_is_not_a_detector_is_refused_in_a_sentence(damaged):
    with pytest.raises(UserError, match="not the state of a detector"):
        Detector.from_bytes(damaged)


@given(place=st.integers(0, 10**9), bit=st.integers(0, 7))
@settings(max_examples=30)
def test_a_flipped_bit_is_noticed_or_does_no_harm(place, bit, state):
    damaged = bytearray(state)
    damaged[place % len(state)] ^= 1 << bit
    with suppress(UserError):
        assert Detector.from_bytes(bytes(damaged)).to_bytes() == state


def test_the_run_asked_for_is_met(reference, state):
    """Streams drawn from the reference itself, at a low setting: some 200 alarms, a standard error of 7%."""
    values = np.random.default_rng(0).normal(size=(3000, len(NAMES))).astype(np.float32)
    edges = conformal.edges_of(values.astype(float))
    bins = conformal.bins_of(values.astype(float), edges)
    threshold = conformal.threshold_for(1000, bins, seed=0)
    basis = Detector.from_bytes(state).basis
    detector = Detector(basis, edges, conformal.counts_of(bins), threshold)
    random = np.random.default_rng(1)
    alarms = [
        alarm
        for _ in range(50)
        for alarm in detector.update_features(random.normal(size=(4000, len(NAMES))).astype(np.float32))
    ]
    assert 1000 / 1.3 < 200_000 / len(alarms) < 1000 * 1.3


def test_a_tiny_reference_and_a_feature_that_never_varies_work(mnist, recognizer):
    sevens = mnist["validation"].images[mnist["validation"].labels == 7][:300]
    answers = np.eye(10, dtype=np.float32)[np.full(300, 7)]
    detector = Detector.from_reference(sevens[:200], answers[:200], DetectorSettings())
    assert detector.update(sevens[200:], answers[200:]) == []
    other = np.eye(10, dtype=np.float32)[np.full(100, 1)]
    assert detector.update(sevens[200:], other)[0].at < 110


@given(
    counts=st.lists(st.integers(0, 1000), min_size=34, max_size=34).filter(any),
)
def test_a_bet_is_fair_while_nothing_changes(counts):
    table = np.array([counts])
    ratios = conformal.ratios_of(table, newcomer=0)[0]
    shares = table[0] / table.sum()
    assert (shares @ ratios) == pytest.approx(np.ones(ratios.shape[1]), rel=1e-9)
