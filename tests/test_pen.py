"""Pen paths: what a stroke is to the recurrent core, whatever its unit, place, speed and number of points."""

from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from test_strokes import REAL

from inkloop.errors import UserError
from inkloop.pen import trajectory

WRITTEN = [[stroke] for several in REAL.values() for stroke in several] + [
    [[(20, 0), (0, 60), (90, 60)], [(60, 0), (60, 100)]],  # a 4, and a 7 with its bar
    [[(0, 0), (80, 0), (30, 100)], [(20, 50), (70, 50)]],
]
written = st.sampled_from(WRITTEN)


def read(drawing) -> np.ndarray:
    return trajectory.features(trajectory.path(drawing)[None])[0]


@given(written, st.floats(1e-3, 1e3), st.floats(-1e4, 1e4), st.floats(-1e4, 1e4))
def test_place_and_size_of_the_digit_do_not_matter(drawing, scale, right, down):
    moved = [[(x * scale + right, y * scale + down) for x, y in stroke] for stroke in drawing]
    np.testing.assert_allclose(read(moved), read(drawing), atol=1e-4)


@given(written, st.lists(st.floats(0.01, 0.99), min_size=1, max_size=9))
def test_the_rate_at_which_the_pen_is_sampled_does_not_matter(drawing, between):
    def oftener(stroke):
        for (x, y), (next_x, next_y) in pairwise(stroke):
            yield (x, y)
            yield from ((x + (next_x - x) * share, y + (next_y - y) * share) for share in sorted(between))
        yield stroke[-1]

    np.testing.assert_allclose(read([list(oftener(stroke)) for stroke in drawing]), read(drawing), atol=1e-5)


@given(written)
def test_times_and_points_sent_twice_do_not_matter(drawing):
    timed = [[(x, y, step) for step, (x, y) in enumerate(stroke) for _ in range(2)] for stroke in drawing]
    np.testing.assert_allclose(read(timed), read(drawing), atol=1e-6)


@given(written)
def test_a_digit_keeps_its_aspect_and_its_steps_are_equally_long(drawing):
    path = trajectory.path(drawing)
    line = np.concatenate([np.array(stroke) for stroke in drawing])
    steps = read(drawing)
    assert steps.shape == (trajectory.STEPS, trajectory.FEATURES)
    assert steps.dtype == np.float32
    placed = trajectory.placed(path[None, :, :2])[0]
    assert np.abs(placed).max() == pytest.approx(1)
    sides, own = np.ptp(placed, axis=0), np.ptp(line, axis=0)
    assert sides[0] / sides[1] == pytest.approx(own[0] / own[1], rel=0.15)  # corners are cut by part of a step
    assert np.hypot(steps[:, 2], steps[:, 3]).max() < 1.25


def test_the_pen_in_the_air_is_seen():
    together, apart = [[(0, 0), (0, 10), (10, 10), (10, 0)]], [[(0, 0), (0, 10)], [(10, 10), (10, 0)]]
    assert (read(together)[:, 4] == 0).all()
    in_air = read(apart)[:, 4]
    assert in_air.sum() == pytest.approx(trajectory.STEPS / 3, abs=1e-4)
    assert in_air[:13].max() == pytest.approx(0, abs=1e-6)
    assert in_air[14:26].min() == pytest.approx(1, abs=1e-6)
    np.testing.assert_allclose(read(together)[:, :4], read(apart)[:, :4], atol=1e-6)


def test_a_dot_stays_where_it_is():
    assert (read([[(7, 3)]]) == 0).all()
    assert (read([[(7, 3), (7, 3)]]) == 0).all()


def test_a_stroke_without_points_is_passed_over_and_none_at_all_is_refused():
    np.testing.assert_array_equal(read([[], *WRITTEN[0], []]), read(WRITTEN[0]))
    with pytest.raises(UserError, match="not one point"):
        trajectory.path([[]])


@given(written)
def test_one_digit_alone_is_read_as_in_company(drawing):
    company = np.stack([trajectory.path(each) for each in [*WRITTEN, drawing]])
    np.testing.assert_array_equal(trajectory.features(company)[-1], read(drawing))
