import numpy as np
import pytest

from inkloop import corruptions
from inkloop.corruptions import corrupt


@pytest.fixture(scope="module")
def pictures(mnist):
    return mnist["validation"].images[:60]


@pytest.mark.parametrize("name", corruptions.NAMES)
def test_a_corruption_changes_every_picture_and_can_be_repeated(name, pictures):
    corrupted = corrupt(pictures, name, seed=7)
    assert corrupted.shape == pictures.shape
    assert corrupted.dtype == np.uint8
    assert (corrupted != pictures).any((1, 2)).all()
    assert np.array_equal(corrupted, corrupt(pictures, name, seed=7))


@pytest.mark.parametrize("name", corruptions.NAMES)
def test_more_strength_changes_more(name, pictures):
    changes = [
        np.abs(corrupt(pictures, name, 7, strength).astype(int) - pictures).mean() for strength in (0.25, 0.5, 1.0)
    ]
    assert 0 < changes[0] < changes[1] < changes[2]


@pytest.mark.parametrize("name", sorted({*corruptions.NAMES} - {"brightness", "scale", "stripe", "canny edges"}))
def test_each_seed_and_each_picture_has_a_draw_of_its_own(name, pictures):
    same = np.repeat(pictures[:1], 40, 0)
    corrupted = corrupt(same, name, seed=7)
    assert (corrupted != corrupted[0]).any()
    assert (corrupted != corrupt(same, name, seed=8)).any()


def test_a_name_that_is_not_known_is_refused(pictures):
    with pytest.raises(KeyError):
        corrupt(pictures, "rust", seed=0)
