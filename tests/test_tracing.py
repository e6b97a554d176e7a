"""Tracing: pictures of digits followed as a pen might have written them."""

import numpy as np
import pytest
import torch

from inkloop.pen import strokes, tracing
from inkloop.topology import packed, unpacked

PICTURES = {
    "a stick": (["..#..", "..#..", "..#..", "..#.."], [[(2, 0), (2, 3)]]),
    "an open angle, from its upper end": (["#....", "#....", "#....", "####."], [[(0, 0), (3, 3)]]),
    "a ring, from its top back to it": (["..###..", ".#...#.", "#.....#", ".#...#.", "..###.."], [[(2, 0), (2, 0)]]),
    "a cross, each line straight on": (
        ["...#...", "...#...", "...#...", "#######", "...#...", "...#...", "...#..."],
        [[(3, 0), (3, 6)], [(0, 3), (6, 3)]],
    ),
    "two strokes": (["#....#", "#....#", "#....#", "#....#"], [[(0, 0), (0, 3)], [(5, 0), (5, 3)]]),
    "a dot": (["...", ".#.", "..."], [[(1, 1), (1, 1)]]),
}


def skeleton(rows: list[str]) -> np.ndarray:
    return np.array([[pixel == "#" for pixel in row] for row in rows])


@pytest.mark.parametrize("name", PICTURES)
def test_a_pen_starts_and_ends_where_it_should(name):
    rows, expected = PICTURES[name]
    traced = tracing.trace(skeleton(rows))
    assert [[tuple(stroke[0]), tuple(stroke[-1])] for stroke in traced] == expected


def test_most_zeros_are_followed_to_the_left_first(test_digits):
    zeros = tracing.skeletons(test_digits.images[test_digits.labels == 0])
    first = [tracing.trace(each)[0] for each in zeros]
    assert np.mean([stroke[len(stroke) // 4][0] < stroke[-len(stroke) // 4][0] for stroke in first]) > 0.9


def test_a_junction_torn_apart_by_thinning_is_one():
    torn = ["#.....#", ".#...#.", "..#.#..", "...#...", "...#...", "..#.#..", ".#...#.", "#.....#"]
    ends = {(tuple(stroke[0]), tuple(stroke[-1])) for stroke in tracing.trace(skeleton(torn))}
    assert ends == {((0, 0), (6, 7)), ((6, 0), (0, 7))}, "each line goes straight on"


def test_what_thinning_leaves_at_the_side_of_a_stroke_is_dropped():
    assert len(tracing.trace(skeleton(["..#..", "..#..", "..###", "..#..", "..#..", "..#.."]))) == 1


def test_no_ink_no_strokes():
    assert tracing.trace(np.zeros((28, 28), bool)) == []


def test_pictures_come_back_from_words_as_they_were(test_digits):
    ink = torch.from_numpy(test_digits.images[:100] > 127)
    assert torch.equal(unpacked(packed(ink))[:100], ink)


def test_tracings_of_real_digits_drawn_again_look_like_them(test_digits):
    images = test_digits.images[:200]
    for image, each in zip(images, tracing.skeletons(images), strict=True):
        traced = tracing.trace(each)
        assert 1 <= len(traced) <= 5
        assert [a.tolist() for a in tracing.trace(each)] == [a.tolist() for a in traced]
        covered = image[tuple(np.rint(np.concatenate(traced)).astype(int).T[::-1])] > 0
        assert covered.mean() > 0.9, "the pen left the ink"
    drawn = np.stack([strokes.render(tracing.trace(each)) for each in tracing.skeletons(images)])
    both = ((drawn > 127) & (images > 127)).sum() / (images > 127).sum()
    assert both > 0.6


def test_most_tracings_of_simple_digits_are_one_stroke(test_digits):
    for digit in (0, 1, 6, 7):
        traced = [tracing.trace(each) for each in tracing.skeletons(test_digits.images[test_digits.labels == digit])]
        assert np.mean([len(each) == 1 for each in traced]) > 0.7
