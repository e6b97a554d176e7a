"""Paper taken away inside the model: strokes stay, what is broader goes."""

import pytest
import torch

from inkloop.background import remove_background
from inkloop.model import normalize
from inkloop.readings import BACKGROUND, PIXEL_MEAN, PIXEL_STD


@pytest.fixture
def images(mnist) -> torch.Tensor:
    return normalize(torch.from_numpy(mnist["test"].images[:200]))


def ink(images: torch.Tensor) -> torch.Tensor:
    return images * PIXEL_STD + PIXEL_MEAN


def test_a_clean_digit_stays_as_it_is_but_for_the_thickest_strokes(images):
    changed = (remove_background(images) - images).abs().amax((1, 2))
    assert (changed < 0.05).float().mean() > 0.8


@pytest.mark.parametrize("grey", [0.1, 0.3])
def test_an_even_grey_is_taken_away_whole(images, grey):
    faint = 0.5 * ink(images) + grey
    torch.testing.assert_close(
        remove_background((faint - PIXEL_MEAN) / PIXEL_STD), remove_background(images), atol=1e-4, rtol=0
    )


def test_a_broad_bar_beside_the_digit_is_taken_away(images):
    barred = images.clone()
    barred[:, :, :4] = (1 - PIXEL_MEAN) / PIXEL_STD
    without = remove_background(barred)
    assert (without[:, :, :4] - BACKGROUND).abs().max() < 1e-5
    torch.testing.assert_close(without[:, :, 8:], remove_background(images)[:, :, 8:], atol=0.1, rtol=0)


def test_a_blank_picture_stays_blank():
    assert (remove_background(torch.full((2, 28, 28), 1.3)) - BACKGROUND).abs().max() < 1e-5
