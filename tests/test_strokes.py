"""Pen strokes to the model's frame."""

import math

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from inkloop.errors import UserError
from inkloop.framing import is_framed
from inkloop.pen import strokes
from inkloop.training import logits

# Real pen strokes from UCI's pendigits, four of each digit that is written without lifting the pen: eight points each,
# x and y in 0..100, y turned to grow downward.
REAL = {
    0: [
        [(18, 27), (0, 27), (10, 76), (54, 100), (100, 78), (95, 29), (52, 0), (5, 16)],
        [(7, 11), (0, 55), (16, 95), (51, 100), (84, 80), (100, 39), (84, 0), (50, 2)],
        [(25, 23), (15, 18), (0, 60), (21, 100), (73, 100), (100, 62), (85, 21), (37, 0)],
        [(14, 19), (0, 60), (19, 99), (65, 100), (99, 70), (100, 27), (65, 0), (24, 19)],
    ],
    2: [
        [(12, 22), (40, 0), (74, 23), (52, 59), (13, 86), (0, 83), (50, 92), (100, 100)],
        [(0, 25), (36, 0), (63, 27), (47, 66), (14, 96), (4, 90), (52, 91), (100, 100)],
        [(17, 32), (27, 0), (68, 14), (54, 51), (21, 80), (0, 95), (50, 96), (100, 100)],
        [(10, 45), (33, 14), (95, 0), (88, 30), (48, 57), (0, 82), (28, 100), (100, 98)],
    ],
    3: [
        [(47, 14), (73, 0), (89, 25), (68, 51), (100, 72), (82, 96), (38, 100), (0, 87)],
        [(0, 10), (46, 0), (100, 2), (87, 24), (56, 44), (74, 66), (56, 88), (8, 100)],
        [(53, 8), (75, 0), (72, 29), (64, 40), (100, 56), (78, 85), (32, 100), (0, 90)],
        [(0, 12), (5, 0), (67, 2), (50, 33), (63, 40), (100, 64), (70, 93), (5, 100)],
    ],
    6: [
        [(100, 0), (58, 17), (31, 45), (17, 76), (43, 100), (80, 81), (50, 57), (0, 61)],
        [(100, 5), (87, 0), (49, 26), (16, 57), (6, 94), (52, 100), (48, 71), (0, 61)],
        [(82, 17), (100, 0), (54, 24), (17, 53), (0, 87), (46, 100), (50, 70), (0, 73)],
        [(92, 0), (37, 0), (1, 32), (0, 71), (41, 100), (100, 95), (67, 68), (8, 77)],
    ],
}

coordinates = st.floats(-1e6, 1e6)
drawings = st.lists(st.lists(st.tuples(coordinates, coordinates), min_size=1, max_size=8), min_size=1, max_size=4)


def longer_side(image) -> int:
    rows, columns = np.flatnonzero(image.max(1)), np.flatnonzero(image.max(0))
    return int(max(np.ptp(rows), np.ptp(columns))) + 1


@pytest.mark.parametrize("digit", REAL)
def test_real_strokes_fill_the_box_as_mnist_does(digit):
    for stroke in REAL[digit]:
        image = strokes.render([stroke])
        assert is_framed(image)
        assert longer_side(image) == 20
        assert image.max() == 255


def test_real_strokes_are_read_as_what_they_are(learnt):
    drawn = [(digit, strokes.render([stroke])) for digit, several in REAL.items() for stroke in several]
    labels, images = zip(*drawn, strict=True)
    answers = logits(learnt, torch.from_numpy(np.stack(images))).argmax(1)
    assert (answers == torch.tensor(labels)).float().mean() >= 0.8


def test_the_pen_is_as_wide_as_mnists(test_digits):
    ink = np.mean([strokes.render([stroke]).mean() for several in REAL.values() for stroke in several])
    assert 0.7 < ink / test_digits.images.mean() < 1.3


@given(drawings)
def test_any_strokes_are_drawn_within_the_box(drawing):
    image = strokes.render(drawing)
    assert image.shape == (28, 28)
    assert image.dtype == np.uint8
    assert image.max() > 0
    assert longer_side(image) <= 20


@given(scale=st.floats(1e-3, 1e3), right=coordinates, down=coordinates)
def test_unit_and_place_do_not_matter(scale, right, down):
    moved = [(x * scale + right, y * scale + down) for x, y in REAL[3][0]]
    difference = strokes.render([moved]).astype(int) - strokes.render([REAL[3][0]])
    assert np.abs(difference).mean() < 8  # what is left of a small drawing far from 0 is rounded


def test_times_are_not_needed_and_do_no_harm():
    timed = [(x, y, 0.01 * step) for step, (x, y) in enumerate(REAL[2][0])]
    assert np.array_equal(strokes.render([timed]), strokes.render([REAL[2][0]]))


def test_lifting_the_pen_leaves_a_gap():
    left, right = [(0, 0), (0, 100)], [(50, 0), (50, 100)]
    assert strokes.render([left + right]).astype(int).sum() > strokes.render([left, right]).astype(int).sum()


def test_a_dot_is_drawn():
    image = strokes.render([[(5, 5)]])
    assert 3 <= (image > 0).sum() <= 16
    assert image[13:15, 13:15].min() > 100


def test_a_dot_beside_a_stroke_is_drawn():
    with_dot = strokes.render([[(0, 0), (0, 100)], [(60, 50)]])
    assert np.ptp(np.flatnonzero(with_dot.max(0))) > 10


@pytest.mark.parametrize(
    ("drawing", "reason"),
    [
        ([], "not one point"),
        ([[], []], "not one point"),
        ([[(0, math.nan)]], "finite"),
        ([[(math.inf, 0)]], "finite"),
        ([[(1e300, 0), (0, 0)]], "finite"),
        ([[(10**400, 0)]], "lists of points"),
        ([[(0,)]], "lists of points"),
        ([[(0, 1, 2, 3)]], "lists of points"),
        ([[("a", "b")]], "lists of points"),
        ([[1, 2]], "lists of points"),
        ([1, 2], "lists of points"),
        ([[(0, 0)] * 5_001], "too many"),
    ],
)
def test_what_is_no_digit_is_refused_in_one_sentence(drawing, reason):
    with pytest.raises(UserError, match=reason) as caught:
        strokes.render(drawing)
    assert "\n" not in str(caught.value)
