"""Decoding: greedy and beam search find the digits that the steps say, and no other decoder finds likelier ones."""

from collections import defaultdict
from itertools import groupby, product

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from inkloop.line import ctc

strings = st.lists(st.integers(0, 9), max_size=8).map(tuple)


def steps_that_say(*labels: int, sure: float = 0.99) -> np.ndarray:
    """Steps each of which is sure of one label: 0 for the blank, d + 1 for the digit d."""
    p = np.full((len(labels), ctc.LABELS), (1 - sure) / (ctc.LABELS - 1))
    p[np.arange(len(labels)), labels] = sure
    return np.log(p).astype(np.float32)


def string_of(path: tuple[int, ...]) -> tuple[int, ...]:
    """The digits that a path of labels stands for."""
    return tuple(label - 1 for label, _ in groupby(path) if label != ctc.BLANK)


def every_string(log_p: np.ndarray) -> dict[tuple[int, ...], float]:
    """The probability of each string, summed over every path there is: few steps, please."""
    sums: defaultdict[tuple[int, ...], float] = defaultdict(float)
    p = np.exp(log_p.astype(np.float64))
    for path in product(range(ctc.LABELS), repeat=len(p)):
        sums[string_of(path)] += float(np.prod(p[np.arange(len(p)), path]))
    return sums


@pytest.mark.parametrize("decode", [ctc.greedy, lambda log_p: ctc.beam_search(log_p).digits])
def test_repeats_are_one_digit_unless_a_blank_is_between(decode):
    assert decode(steps_that_say(0, 4, 4, 4, 0, 0, 8)) == (3, 7)
    assert decode(steps_that_say(4, 4, 0, 4)) == (3, 3)
    assert decode(steps_that_say(0, 0)) == ()


def test_the_beam_sums_paths_where_the_likeliest_one_path_misleads():
    # The likeliest path is all blanks (0.36); but a 3, early, late or throughout, has 0.64.
    p = np.full((2, ctc.LABELS), 1e-9)
    p[:, ctc.BLANK], p[:, 4] = 0.6, 0.4
    assert ctc.greedy(np.log(p)) == ()
    found = ctc.beam_search(np.log(p))
    assert found.digits == (3,)
    assert np.exp(found.log_p) == pytest.approx(0.64, abs=1e-6)


@settings(max_examples=30)
@given(seed=st.integers(0, 10_000), digits=st.lists(st.integers(0, 2), min_size=1, max_size=3))
def test_digits_are_placed_by_the_likeliest_path_to_them(seed, digits):
    scores = np.random.default_rng(seed).normal(0, 2, (6, ctc.LABELS))
    log_p = (scores - np.logaddexp.reduce(scores, 1, keepdims=True)).astype(np.float32)
    paths = [path for path in product(range(4), repeat=6) if string_of(path) == tuple(digits)]
    likeliest = max(paths, key=lambda path: log_p[np.arange(6), path].sum())
    runs = [(label, len(list(steps))) for label, steps in groupby(likeliest)]
    stops = np.cumsum([length for _, length in runs]).tolist()
    expected = [(stop - length, stop) for (label, length), stop in zip(runs, stops, strict=True) if label != ctc.BLANK]
    places = ctc.align(log_p, digits)
    assert [(place.start, place.stop) for place in places] == expected
    for place, digit in zip(places, digits, strict=True):
        assert place.probability == pytest.approx(np.exp(log_p[place.start : place.stop, digit + 1].max()))


def test_no_digits_have_no_places_and_too_few_steps_are_refused():
    assert ctc.align(steps_that_say(0, 0, 0), ()) == []
    assert [place[:2] for place in ctc.align(steps_that_say(4, 0, 4), (3, 3))] == [(0, 1), (2, 3)]
    with pytest.raises(ValueError, match="2 steps are too few for 2 digits"):
        ctc.align(steps_that_say(4, 4), (3, 3))


@settings(max_examples=30)
@given(seed=st.integers(0, 10_000), count=st.integers(1, 4), sharpness=st.floats(0.5, 4))
def test_a_wide_beam_finds_the_likeliest_string_and_its_probability(seed, count, sharpness):
    scores = np.random.default_rng(seed).normal(0, sharpness, (count, ctc.LABELS))
    log_p = (scores - np.logaddexp.reduce(scores, 1, keepdims=True)).astype(np.float32)
    sums = every_string(log_p)
    found = ctc.beam_search(log_p, width=1000)
    assert np.exp(found.log_p) == pytest.approx(max(sums.values()), abs=1e-3)
    assert sums[found.digits] == pytest.approx(max(sums.values()), abs=1e-3)


@given(strings)
def test_where_every_step_is_sure_both_decoders_read_what_is_written(digits):
    labels = [label for digit in digits for label in (digit + 1, 0)]
    log_p = steps_that_say(0, *labels, sure=1 - 1e-6)
    assert ctc.greedy(log_p) == digits
    assert ctc.beam_search(log_p).digits == digits


@given(strings, strings, strings)
def test_edits_are_a_distance(one, other, third):
    assert (ctc.edits(one, other) == 0) == (one == other)
    assert ctc.edits(one, other) == ctc.edits(other, one)
    assert ctc.edits(one, third) <= ctc.edits(one, other) + ctc.edits(other, third)


@pytest.mark.parametrize(
    ("read", "written", "expected"),
    [((), (), 0), ((1, 2), (), 2), ((), (1,), 1), ((1, 2, 3), (1, 3), 1), ((1, 3), (1, 2, 3), 1), ((4, 2), (2, 4), 2)],
)
def test_edits_are_counted(read, written, expected):
    assert ctc.edits(read, written) == expected
