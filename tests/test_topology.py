"""Topology: holes, end points and crossings, of real digits and of any picture."""

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from scipy import ndimage
from torch.nn import functional as F

from inkloop.model import ModelSettings, Recognizer, normalize
from inkloop.readings import BACKGROUND
from inkloop.topology import INK_LEVEL, counted, holes_of, strokes_of, topology

WHITE = normalize(torch.tensor(255))


def drawn(*rows: str) -> torch.Tensor:
    """A picture, bool (1, height, width): `#` is ink."""
    return torch.tensor([[[each == "#" for each in row] for row in rows]])


def picture_of(ink: torch.Tensor) -> torch.Tensor:
    """As the model gets it."""
    return torch.where(ink, WHITE, BACKGROUND)


@st.composite
def blots(draw: st.DrawFn) -> torch.Tensor:
    """A picture of any ink, bool (1, height, width): from specks to blots with holes."""
    random = torch.Generator().manual_seed(draw(st.integers(0, 10_000)))
    size = draw(st.tuples(st.integers(1, 30), st.integers(1, 30)))
    rough = torch.rand(1, *size, generator=random)
    smooth = F.avg_pool2d(rough, 3, stride=1, padding=1, count_include_pad=False)
    return (smooth if draw(st.booleans()) else rough) > draw(st.floats(0.3, 0.9))


@pytest.fixture(scope="session")
def labeled_holes(mnist) -> dict[int, torch.Tensor]:
    """The holes of real training digits, by label."""
    digits = mnist["train"].take(slice(0, 3000))
    holes = topology(normalize(torch.from_numpy(digits.images)))[:, 0]
    return {label: holes[torch.from_numpy(digits.labels) == label] for label in range(10)}


@pytest.mark.parametrize(("label", "holes"), [(0, 1), (1, 0), (6, 1), (8, 2), (9, 1)])
def test_real_digits_mostly_have_the_holes_of_their_class(labeled_holes, label, holes):
    assert (labeled_holes[label] == holes).float().mean() > 0.55
    assert labeled_holes[label].mode().values == holes


def test_real_fours_and_eights_cross_themselves_and_ones_and_zeros_do_not(mnist):
    digits = mnist["train"].take(slice(0, 3000))
    crossings = topology(normalize(torch.from_numpy(digits.images)))[:, 2]
    crosses = {label: (crossings[torch.from_numpy(digits.labels) == label] > 0).float().mean() for label in range(10)}
    assert min(crosses[4], crosses[8]) > 0.8
    assert max(crosses[0], crosses[1]) < 0.25


@pytest.mark.parametrize(
    ("ink", "features"),
    [
        (drawn("......", "......"), (0, 0, 0)),
        (drawn(".....", ".###.", "....."), (0, 2, 0)),
        (drawn("#####", "#...#", "#####"), (1, 0, 0)),
        (drawn("..#..", "..#..", "#####", "..#..", "..#.."), (0, 4, 1)),
        (drawn("#####", "..#..", "..#..", "..#.."), (0, 3, 1)),
        (drawn("#####", "#...#", "#####", "#...#", "#####"), (2, 0, 2)),
        (drawn("#....", ".#...", "..#..", "...#."), (0, 2, 0)),
        (drawn("##", "##"), (0, 0, 0)),
    ],
    ids=["nothing", "a line", "a ring", "a cross", "a T", "an eight", "a diagonal", "a dot"],
)
def test_drawn_figures_have_what_one_sees_in_them(ink, features):
    assert topology(picture_of(ink))[0].tolist() == list(features)


def test_a_thick_line_has_two_ends():
    ink = torch.zeros(1, 28, 28, dtype=torch.bool)
    ink[:, 5:22, 12:16] = True
    assert topology(picture_of(ink))[0].tolist() == [0, 2, 0]


def test_a_pixel_is_ink_above_the_stated_level():
    levels = normalize(torch.tensor([INK_LEVEL - 0.01, INK_LEVEL + 0.01]) * 255)
    rings = torch.where(drawn("###", "#.#", "###"), levels[:, None, None], BACKGROUND)
    assert topology(rings)[:, 0].tolist() == [0, 1]


@given(ink=blots())
def test_holes_and_strokes_are_those_that_labeling_finds(ink):
    padded = F.pad(ink, (1, 1, 1, 1))[0].numpy()
    assert counted(holes_of, ink).item() == ndimage.label(~padded)[1] - 1
    assert counted(strokes_of, ink).item() == ndimage.label(padded, np.ones((3, 3)))[1]


@given(height=st.integers(1, 40), width=st.integers(1, 40))
def test_an_empty_picture_has_none(height, width):
    assert not topology(torch.full((2, height, width), BACKGROUND)).any()


@given(ink=blots(), margins=st.tuples(*[st.integers(0, 9)] * 4))
def test_neither_a_shift_nor_a_margin_changes_them(ink, margins):
    moved = F.pad(picture_of(ink), margins, value=BACKGROUND)
    assert torch.equal(topology(moved), topology(picture_of(ink)))


@given(ink=blots())
def test_a_mirrored_picture_has_the_same(ink):
    assert torch.equal(topology(picture_of(ink.flip(2))), topology(picture_of(ink)))


@given(ink=blots())
def test_holes_are_the_same_upside_down_and_on_the_side(ink):
    for turned in (ink.flip(1), ink.transpose(1, 2)):
        assert torch.equal(counted(holes_of, turned), counted(holes_of, ink))


def test_a_batch_has_what_each_of_its_pictures_has(mnist):
    """Also where it is more than a word's 64 pictures, and more than are counted at a time."""
    images = normalize(torch.from_numpy(mnist["test"].images[:700]))
    together = topology(images)
    alone = [topology(images[row : row + 1]) for row in (0, 1, 63, 64, 65, 511, 512, 699)]
    assert torch.equal(together[[0, 1, 63, 64, 65, 511, 512, 699]], torch.cat(alone))
    assert topology(images[:0]).shape == (0, 3)


def test_a_model_reads_them_beside_its_sequences(mnist):
    """A closed ring and an open one differ in a pixel; with all readings deaf, only their topology can tell."""
    torch.manual_seed(0)
    model = Recognizer(ModelSettings(hidden_size=4, topology=True)).eval()
    for reader in model.readers:
        torch.nn.init.zeros_(reader.get_submodule("project").weight)
    images = normalize(torch.from_numpy(mnist["test"].images[:50]))
    features = topology(images)
    answers = model(images).logits
    for row in range(50):
        same = (features == features[row]).all(1)
        torch.testing.assert_close(answers[same], answers[row].expand_as(answers[same]))
    assert len(answers.unique(dim=0)) > 5
