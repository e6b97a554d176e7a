"""Photographs, scans and drawings of real digits are framed as MNIST's are, and read as the digits they are."""

import time

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from benchmarks import photographs
from inkloop.errors import UserError
from inkloop.framing import frame
from inkloop.training import logits

FEW = settings(max_examples=12, deadline=None)
FLOORS = dict.fromkeys(photographs.KINDS, 0.95) | {"cut_close": 0.75}  # share of digits still read as when clean

rows = st.integers(0, 999)
KINDS = [kind for kind in photographs.KINDS if kind != "cut_close"]


def taken(kind, test_digits, row):
    return photographs.KINDS[kind](test_digits.images[row], np.random.default_rng(row))


def framed(picture):
    """The framed picture; an empty frame where it is refused."""
    try:
        return frame(picture)
    except UserError:
        return np.zeros((28, 28), np.uint8)


def likeness(one, other) -> float:
    """Correlation of two frames, up to 1; that rounding may move a center of mass by a pixel does not count."""
    if not (one.any() and other.any()):
        return 0.0  # no digit was found in one of them
    shifted = [np.roll(other, (down, across), (0, 1)) for down in (-1, 0, 1) for across in (-1, 0, 1)]
    return max(float(np.corrcoef(one.ravel(), each.ravel())[0, 1]) for each in shifted)


@pytest.mark.parametrize("kind", photographs.KINDS)
def test_a_photographed_digit_is_read_like_the_clean_one(kind, learnt, test_digits):
    clean = test_digits.images[:60]
    dirty = np.stack([framed(taken(kind, test_digits, row)) for row in range(len(clean))])
    before, after = (logits(learnt, torch.from_numpy(images)).argmax(1) for images in (clean, dirty))
    assert (before == after).float().mean() >= FLOORS[kind]


def share_alike(test_digits, change) -> float:
    """The share of 27 photographs, of all kinds, whose frame a change hardly changes."""
    pictures = [taken(kind, test_digits, row) for row in range(200, 203) for kind in KINDS]
    return float(np.mean([likeness(framed(each), framed(change(each))) > 0.9 for each in pictures]))


def test_a_negative_is_the_same_digit(test_digits):
    assert share_alike(test_digits, lambda picture: 255 - picture) >= 0.9


@pytest.mark.parametrize("times", [2, 3])
def test_a_larger_picture_is_the_same_digit(test_digits, times):
    def enlarge(picture):
        height, width = picture.shape
        return np.asarray(Image.fromarray(picture).resize((times * width, times * height), Image.Resampling.BICUBIC))

    assert share_alike(test_digits, enlarge) >= 0.9


@pytest.mark.parametrize("brightness", [0, 0.5, 1])
def test_brightness_and_contrast_do_not_matter(test_digits, brightness):
    def dull(picture):
        return np.rint(picture * 0.7 + brightness * 255 * 0.3).astype(np.uint8)

    assert share_alike(test_digits, dull) >= 0.9


@FEW
@given(row=rows, margins=st.tuples(*[st.integers(0, 150)] * 4))
def test_more_paper_around_it_does_not_matter(test_digits, row, margins):
    random = np.random.default_rng(row)
    ink = photographs.placed(test_digits.images[row], (300, 280), 240, random)
    wider = np.pad(ink, (margins[:2], margins[2:]))
    one, other = (photographs.as_grey(200 - 90 * each + random.normal(0, 4, each.shape)) for each in (ink, wider))
    assert likeness(frame(one), frame(other)) > 0.8  # the grain of the paper is another, too


@pytest.mark.parametrize("kind", ["plain", "coarse", "hard_shadow", "on_a_table", "chalk"])
@pytest.mark.parametrize("seed", range(4))
def test_a_photograph_without_a_digit_is_refused(kind, seed):
    random = np.random.default_rng(seed)
    if kind in photographs.KINDS:
        picture = photographs.KINDS[kind](np.eye(28, dtype=np.uint8), random)  # as good as empty: ink of 1 in 255
    else:
        picture = photographs.as_grey(random.normal(150, 8 if kind == "plain" else 40, (480, 360)))
    with pytest.raises(UserError, match="blank") as caught:
        frame(picture)
    assert "\n" not in str(caught.value)


def test_a_large_photograph_is_framed_in_little_time(test_digits):
    picture = np.asarray(Image.fromarray(taken("telephone", test_digits, 0)).resize((3000, 4000)))
    start = time.process_time()
    frame(picture)
    assert time.process_time() - start < 0.5  # a tenth of that on an idle machine
