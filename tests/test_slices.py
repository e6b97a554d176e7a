"""Slices: every digit in its class, pen width and slant; real digits ordered as the eye orders them."""

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch.nn import functional as F

from inkloop.digits import Digits
from inkloop.slices import pen_width, slant, slices_of

PENS = ("thin pen", "medium pen", "thick pen")
SLANTS = ("leaning left", "upright", "leaning right")


def leaned(images: np.ndarray, columns_per_row: float) -> np.ndarray:
    """The digits sheared to the right about their middle."""
    theta = torch.tensor([[1.0, columns_per_row, 0], [0, 1, 0]]).repeat(len(images), 1, 1)
    pixels = torch.from_numpy(images)[:, None].float()
    grid = F.affine_grid(theta, list(pixels.shape), align_corners=False)
    return F.grid_sample(pixels, grid, align_corners=False)[:, 0].round().byte().numpy()


def thickened(images: np.ndarray) -> np.ndarray:
    return F.max_pool2d(torch.from_numpy(images).float(), 3, stride=1, padding=1).byte().numpy()


@pytest.mark.parametrize("names", [[f"digit {label}" for label in range(10)], PENS, SLANTS])
def test_every_digit_is_in_exactly_one_class_pen_and_slant(test_digits, names):
    slices = slices_of(test_digits)
    assert (sum(slices[name].astype(int) for name in names) == 1).all()


@pytest.mark.parametrize("names", [PENS, SLANTS])
def test_extreme_pens_and_slants_are_each_about_a_quarter_of_mnist(mnist, names):
    slices = slices_of(mnist["test"])
    for name in (names[0], names[2]):
        assert 0.15 < slices[name].mean() < 0.35, name


def test_a_thickened_digit_was_written_with_a_thicker_pen(test_digits):
    thin, thick = pen_width(test_digits.images), pen_width(thickened(test_digits.images))
    assert (thick > thin).all()
    assert 1.5 < (thick - thin).mean() < 3  # a pixel to each side, more where loops close


@pytest.mark.parametrize("columns_per_row", [0.1, 0.3])
def test_a_digit_leaned_to_the_right_leans_that_much_more(test_digits, columns_per_row):
    before, after = slant(test_digits.images), slant(leaned(test_digits.images, columns_per_row))
    assert np.abs(after - before - columns_per_row).max() < 0.1


@given(width=st.integers(1, 8))
def test_the_pen_of_a_straight_bar_is_about_as_wide_as_the_bar(width):
    bar = np.zeros((1, 28, 28), np.uint8)
    bar[:, 2:26, 10 : 10 + width] = 255
    assert pen_width(bar)[0] == pytest.approx(width * 4 / np.pi, rel=0.3)


def test_a_mirrored_digit_leans_the_other_way(test_digits):
    mirrored = np.ascontiguousarray(test_digits.images[:, :, ::-1])
    np.testing.assert_allclose(slant(mirrored), -slant(test_digits.images), atol=1e-9)


def test_ones_are_written_with_one_stroke_as_thin_as_others(mnist):
    """A class must not decide the pen, or the slices would say nothing new."""
    width, labels = pen_width(mnist["test"].images), mnist["test"].labels
    means = [width[labels == label].mean() for label in range(10)]
    assert max(means) - min(means) < 1.2


def test_an_empty_picture_has_no_pen_and_stands_upright():
    nothing = np.zeros((1, 28, 28), np.uint8)
    assert pen_width(nothing)[0] == 0
    assert slant(nothing)[0] == 0


def test_digits_are_sliced_by_source_where_it_is_known(test_digits):
    three = test_digits.take(slice(0, 3))
    slices = slices_of(three, ("mnist", "tablet", "mnist"))
    assert slices["source mnist"].tolist() == [True, False, True]
    assert slices["source tablet"].tolist() == [False, True, False]


def test_a_slice_that_no_digit_is_in_is_left_out(test_digits):
    sevens = test_digits.labels == 7
    only = Digits(test_digits.images[sevens], test_digits.labels[sevens], ("id",) * int(sevens.sum()))
    slices = slices_of(only)
    assert [name for name in slices if name.startswith("digit")] == ["digit 7"]
    assert all(mask.any() for mask in slices.values())
