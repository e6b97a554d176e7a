"""Readings: a picture cut into steps, nothing lost, whatever its size."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from inkloop.model import normalize
from inkloop.readings import BACKGROUND, Reading, read, read_ragged

FRAME = 28
READINGS = st.builds(Reading, kind=st.sampled_from(["rows", "columns", "patches"]), size=st.integers(1, 11))
SIDES = st.integers(1, 70)  # pixels


def drawing(height: int, width: int, count: int = 1) -> torch.Tensor:
    """Pictures in which no two pixels are alike, and none is background."""
    return torch.arange(1, count * height * width + 1, dtype=torch.float32).view(count, height, width)


@pytest.mark.parametrize(
    ("kind", "size", "steps", "features"),
    [
        ("rows", 1, 28, 28),
        ("rows", 2, 14, 56),
        ("rows", 3, 10, 84),
        ("columns", 1, 28, 28),
        ("columns", 4, 7, 112),
        ("patches", 7, 16, 49),
        ("patches", 5, 36, 25),
    ],
)
def test_a_digit_has_as_many_steps_as_tiles_cover_it(mnist, kind, size, steps, features):
    reading = Reading(kind=kind, size=size)
    images = normalize(torch.from_numpy(mnist["test"].images[:3]))
    assert read(images, reading, FRAME).shape == (3, steps, features)
    assert reading.features(FRAME) == features


@given(reading=READINGS, height=SIDES, width=SIDES)
def test_nothing_of_a_picture_of_any_size_is_cropped_or_doubled(reading, height, width):
    image = drawing(height, width)
    pixels = read(image, reading, FRAME).flatten()
    assert torch.equal(pixels[pixels != BACKGROUND].sort().values, image.flatten())


@given(reading=READINGS, height=SIDES, width=SIDES)
def test_columns_of_a_picture_are_the_rows_of_its_transpose(reading, height, width):
    image = drawing(height, width)
    rows, columns = (Reading(kind=kind, size=reading.size) for kind in ("rows", "columns"))
    assert torch.equal(read(image, columns, FRAME), read(image.transpose(1, 2), rows, FRAME))


@given(reading=READINGS, height=SIDES, width=SIDES)
def test_a_picture_twice_as_large_is_at_least_as_long_to_read(reading, height, width):
    steps = read(drawing(height, width), reading, FRAME).shape[1]
    wider, taller = read(drawing(height, 2 * width), reading, FRAME), read(drawing(2 * height, width), reading, FRAME)
    assert wider.shape[1] >= steps
    assert taller.shape[1] >= steps


@pytest.mark.parametrize("kind", ["rows", "columns", "patches"])
def test_a_picture_of_two_frames_is_twice_as_long_to_read(kind):
    reading = Reading(kind=kind, size=7)
    steps = read(drawing(28, 28), reading, FRAME).shape[1]
    assert read(drawing(28, 56), reading, FRAME).shape[1] == 2 * steps
    assert read(drawing(56, 28), reading, FRAME).shape[1] == 2 * steps


def test_rows_are_read_from_top_to_bottom():
    image = drawing(28, 28)
    assert torch.equal(read(image, Reading(kind="rows", size=2), FRAME)[0], image[0].reshape(14, 56))


def test_patches_are_read_as_one_reads_a_page():
    steps = read(drawing(28, 28), Reading(kind="patches", size=14), FRAME)[0]
    corners = steps[:, 0].tolist()  # the upper left pixel of each patch
    assert corners == [1, 15, 14 * 28 + 1, 14 * 28 + 15]


@given(size=st.integers(1, 11), height=SIDES, width=SIDES)
def test_sweeps_go_over_the_patches_where_they_lie(size, height, width):
    image = drawing(height, width)
    grid = read(image, Reading(kind="sweeps", size=size), FRAME)
    assert grid.shape[:3] == (1, -(-height // size), -(-width // size))
    assert torch.equal(grid.flatten(1, 2), read(image, Reading(kind="patches", size=size), FRAME))


@given(size=st.integers(1, 9), margin=st.integers(1, 4), height=SIDES, width=SIDES)
def test_with_a_margin_a_patch_sees_its_neighbors_too(size, margin, height, width):
    image = drawing(height, width)
    wide, plain = (read(image, Reading(kind="patches", size=size, margin=each), FRAME)[0] for each in (margin, 0))
    side = size + 2 * margin
    patches = wide.view(-1, side, side)
    assert torch.equal(patches[:, margin:-margin, margin:-margin].flatten(1), plain)
    if width > size:  # what the first patch sees to its right is what the second begins with
        seen = min(margin, size)
        assert torch.equal(patches[0, margin:-margin, size + margin :][:, :seen], plain[1].view(size, size)[:, :seen])


@pytest.mark.parametrize("kind", ["rows", "columns"])
def test_rows_and_columns_have_no_margin(kind):
    with pytest.raises(ValueError, match="have no margin"):
        Reading(kind=kind, margin=1)


def test_what_fills_a_picture_up_is_background():
    steps = read(torch.zeros(1, 28, 28), Reading(kind="rows", size=3), FRAME)[0]
    assert torch.equal(steps[9, 28:], torch.full((56,), BACKGROUND))


@given(reading=READINGS, sizes=st.lists(st.tuples(SIDES, SIDES), min_size=1, max_size=4))
def test_pictures_of_different_sizes_keep_their_own_lengths(reading, sizes):
    images = [drawing(height, width)[0] for height, width in sizes]
    sequences, lengths = read_ragged(images, reading, FRAME)
    for image, sequence, length in zip(images, sequences, lengths.tolist(), strict=True):
        assert torch.equal(sequence[:length], read(image[None], reading, FRAME)[0])
        assert not sequence[length:].any()
