"""Lines: real digits side by side, as many as asked, none lost, the same ones for the same seed."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

from inkloop.augmentation import AugmentationSettings
from inkloop.digits import digit_id
from inkloop.line.composition import LineSettings, compose, lengths

AS_THEY_ARE = AugmentationSettings(rotation_deg=0, scale=0, shear=0, shift_px=0, elastic_px=0)
STRAIGHT = LineSettings(hand=AS_THEY_ARE, slant=0, baseline_px=0, slope=0, gap_jitter_px=0)


def spaced(gap: float) -> LineSettings:
    return STRAIGHT.model_copy(update={"closest_px": gap, "widest_px": gap})


def test_the_same_seed_writes_the_same_lines(test_digits):
    once, again, other = (compose(test_digits, [3, 9], LineSettings(), seed) for seed in (5, 5, 6))
    assert once.labels == again.labels != other.labels
    for one, two in zip(once.images, again.images, strict=True):
        assert np.array_equal(one, two)


@settings(max_examples=15)
@given(counts=st.lists(st.integers(1, 20), min_size=1, max_size=4), seed=st.integers(0, 1000))
def test_a_line_has_as_many_digits_as_asked_in_a_picture_28_high(test_digits, counts, seed):
    lines = compose(test_digits, counts, LineSettings(), seed)
    assert [len(digits) for digits in lines.labels] == counts
    assert len(lines) == len(counts)
    for image in lines.images:
        assert image.dtype == np.uint8
        assert image.shape[0] == 28
        ink = np.flatnonzero(image.max(1))
        assert 22 <= np.ptp(ink) + 1 <= 24  # its own height, whatever was written


def test_a_line_is_composed_of_the_given_digits_alone(test_digits):
    few = test_digits.take(np.flatnonzero(test_digits.labels == 7)[:3])
    lines = compose(few, lengths(20, 20, seed=0), LineSettings(), seed=0)
    assert set().union(*lines.labels) == {7}


def test_digits_of_training_validation_and_test_never_mix(mnist):
    ids = {split: {digit_id(image) for image in digits.images} for split, digits in mnist.items()}
    assert not ids["train"] & ids["validation"]
    assert not (ids["train"] | ids["validation"]) & ids["test"]


def test_a_line_of_one_digit_is_that_digit(test_digits):
    one = test_digits.take(slice(0, 1))
    image = compose(one, [1], STRAIGHT, seed=0).images[0]
    rows, columns = (np.flatnonzero(one.images[0].max(side)) for side in (1, 0))
    height, width = np.ptp(rows) + 1, np.ptp(columns) + 1
    assert abs(image.shape[1] - 4 - width * 24 / height) <= 3
    assert image.max() == 255


def test_digits_that_are_apart_have_a_gap_and_those_that_are_not_have_none(test_digits):
    eights = test_digits.take(np.flatnonzero(test_digits.labels == 8))

    def gaps_in(image: np.ndarray) -> int:
        empty = image[:, 2:-2].max(0) < 20
        return int((empty[1:] & ~empty[:-1]).sum())

    apart = compose(eights, [6] * 10, spaced(8), seed=0)
    touching = compose(eights, [6] * 10, spaced(-2), seed=0)
    assert [gaps_in(image) for image in apart.images] == [5] * 10
    assert np.mean([gaps_in(image) for image in touching.images]) < 1
    assert (apart.gaps == 8).all()
    assert (touching.gaps < 0).all()


def test_overlapping_ink_is_no_whiter_and_no_digit_is_hidden(test_digits):
    ones = test_digits.take(np.flatnonzero(test_digits.labels == 1))
    crowded = compose(ones, [10] * 5, spaced(-20), seed=0)
    alone = compose(ones, [1] * 50, STRAIGHT, seed=0)
    narrowest = min(image.shape[1] - 4 for image in alone.images)
    for image, gap in zip(crowded.images, crowded.gaps, strict=True):
        assert image.max() <= 255
        assert image.shape[1] - 4 >= 0.6 * narrowest * 10
        assert gap > -5


def test_slant_leans_the_whole_line(test_digits):
    ones = test_digits.take(np.flatnonzero(test_digits.labels == 1)[:40])

    def lean(line: np.ndarray) -> float:
        """How far each row's center lies to the right of the one below, in columns."""
        rows = np.flatnonzero(line.sum(1))
        centers = (line[rows] * np.arange(line.shape[1])).sum(1) / line[rows].sum(1)
        return float(-np.polyfit(rows, centers, 1)[0])

    upright = [lean(image.astype(float)) for image in compose(ones, [1] * 40, STRAIGHT, seed=0).images]
    leaning = STRAIGHT.model_copy(update={"slant": 0.5})
    slanted = [lean(image.astype(float)) for image in compose(ones, [1] * 40, leaning, seed=0).images]
    assert np.std(slanted) > 1.5 * np.std(upright)


def test_lengths_are_drawn_evenly():
    counts = np.bincount(lengths(20_000, 20, seed=0), minlength=21)
    assert counts[0] == 0
    assert counts[1:].min() > 850
    assert counts[1:].max() < 1150


def test_gaps_the_wrong_way_round_are_refused():
    with pytest.raises(ValidationError, match="closest_px 3 is more than widest_px 2"):
        LineSettings(closest_px=3, widest_px=2)


def test_taken_lines_stay_together(test_digits):
    lines = compose(test_digits, [2, 5, 9], LineSettings(), seed=0)
    taken = lines.take([2, 0])
    assert taken.labels == [lines.labels[2], lines.labels[0]]
    assert taken.images[0] is lines.images[2]
