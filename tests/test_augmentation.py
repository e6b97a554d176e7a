"""Augmentation: each part does what its name says to real digits, and the seed decides all of it."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from inkloop import digits
from inkloop.augmentation import AugmentationSettings, deform
from inkloop.deformed import deform_split, throughput
from inkloop.preview import augmentation_page

OFF = AugmentationSettings(rotation_deg=0, scale=0, shear=0, shift_px=0, elastic_px=0)
SOIL_OFF = OFF.model_copy(
    update={"noise": 0.0, "salt_and_pepper": 0.0, "paper": 0.0, "watermark": 0.0, "pixel_share": 1.0}
)
LOOKS = ("other_pen", "solarize", "clutter", "erase", "relight")
EVERYTHING = AugmentationSettings(pixel_share=0.5, **dict.fromkeys(LOOKS, 0.5))


def only(**changes: float) -> AugmentationSettings:
    return SOIL_OFF.model_copy(update=changes)


def seeded(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def center(images: torch.Tensor) -> torch.Tensor:
    """Center of mass, (n, 2): x, y in pixels."""
    mass = images.sum((1, 2))
    down, across = (torch.arange(size, dtype=torch.float32) for size in images.shape[1:])
    return torch.stack([(images.sum(1) * across).sum(1) / mass, (images.sum(2) * down).sum(1) / mass], 1)


@pytest.fixture(scope="module")
def images(mnist) -> torch.Tensor:
    return torch.from_numpy(mnist["train"].images[:64]).float()


def test_the_same_seed_deforms_alike_bit_for_bit(images):
    assert torch.equal(deform(images, EVERYTHING, seeded(3)), deform(images, EVERYTHING, seeded(3)))


def test_another_seed_deforms_otherwise(images):
    assert not torch.equal(deform(images, EVERYTHING, seeded(3)), deform(images, EVERYTHING, seeded(4)))


@pytest.mark.parametrize("off", [OFF, SOIL_OFF])
def test_with_all_parts_off_a_digit_stays_as_it_is(images, off):
    assert (deform(images, off, seeded()) - images).abs().max() < 1


@settings(max_examples=25)
@given(
    recipe=st.builds(
        AugmentationSettings,
        rotation_deg=st.floats(0, 180),
        scale=st.floats(0, 0.5),
        shear=st.floats(0, 1),
        shift_px=st.floats(0, 14),
        elastic_px=st.floats(0, 10),
        noise=st.floats(0, 1),
        salt_and_pepper=st.floats(0, 1),
        paper=st.floats(0, 1),
        watermark=st.floats(0, 1),
        pixel_share=st.floats(0, 1),
        other_pen=st.floats(0, 1),
        solarize=st.floats(0, 1),
        clutter=st.floats(0, 1),
        erase=st.floats(0, 1),
        relight=st.floats(0, 1),
    ),
    height=st.integers(8, 40),
    width=st.integers(8, 40),
    seed=st.integers(0, 1000),
)
def test_whatever_the_recipe_shape_and_range_are_kept(recipe, height, width, seed):
    ink = torch.rand((3, height, width), generator=seeded(seed)) * 255
    deformed = deform(ink, recipe, seeded(seed))
    assert deformed.shape == ink.shape
    assert deformed.isfinite().all()
    assert deformed.min() >= 0
    assert deformed.max() <= 255


def test_shift_moves_the_center_by_up_to_that_many_pixels(images):
    moved = center(deform(images, only(shift_px=2), seeded())) - center(images)
    assert moved.abs().max() <= 2.05
    assert (moved.abs().max(0).values > 1.5).all()  # both ways, x and y


def test_shift_moves_as_far_down_as_across_whatever_the_shape(images):
    tall = torch.nn.functional.pad(images, (0, 0, 28, 28))
    moved = center(deform(tall, only(shift_px=2), seeded())) - center(tall)
    assert moved.abs().max() <= 2.05
    assert (moved.abs().max(0).values > 1.5).all()


def test_rotation_turns_a_bar_by_up_to_that_many_degrees():
    bar = torch.zeros(200, 28, 28)
    bar[:, 4:24, 13:15] = 255
    turned = deform(bar, only(rotation_deg=15), seeded())
    down, across = torch.arange(28.0)[:, None] - 13.5, torch.arange(28.0) - 13.5
    angle = torch.rad2deg(torch.atan((turned * down * across).sum((1, 2)) / (turned * down * down).sum((1, 2))))
    assert 12 < angle.max() < 16
    assert -16 < angle.min() < -12


def test_scale_changes_a_squares_area():
    square = torch.zeros(200, 28, 28)
    square[:, 9:19, 9:19] = 255
    sides = (deform(square, only(scale=0.1), seeded()).sum((1, 2)) / 255).sqrt()
    assert 8.9 < sides.min() < 9.4
    assert 10.6 < sides.max() < 11.2


def test_shear_slants_a_bar_and_leaves_its_height():
    bar = torch.zeros(200, 28, 28)
    bar[:, 4:24, 13:15] = 255
    slanted = deform(bar, only(shear=0.3), seeded())
    assert torch.allclose(slanted.sum(2), bar.sum(2), atol=1)
    lean = center(slanted[:, 4:8])[:, 0] - center(slanted[:, 20:24])[:, 0]
    assert 0.2 < lean.abs().max() / 16 < 0.31


def test_elastic_waves_bend_without_moving_far(images):
    waved = deform(images, only(elastic_px=2), seeded())
    assert (waved - images).abs().mean() > 5
    assert (center(waved) - center(images)).abs().max() < 3


def test_noise_has_the_deviation_asked_for():
    grey = torch.full((20, 28, 28), 128.0)
    noise = deform(grey, only(noise=0.05), seeded())[:, 4:-4, 4:-4] - 128
    assert abs(noise.std().item() / 255 - 0.05) < 0.003


def test_salt_and_pepper_touches_the_share_of_pixels_asked_for_half_each():
    grey = torch.full((50, 28, 28), 128.0)
    grains = deform(grey, only(salt_and_pepper=0.1), seeded())[:, 4:-4, 4:-4]
    assert abs((grains == 0).float().mean().item() - 0.05) < 0.005
    assert abs((grains == 255).float().mean().item() - 0.05) < 0.005


@pytest.mark.parametrize("part", ["paper", "watermark"])
def test_paper_and_watermark_lie_behind_the_ink(images, part):
    printed = deform(images, only(**{part: 0.2}), seeded())
    assert (printed >= images - 1).all()
    assert (printed - images)[images == 0].max() <= 0.2 * 255 + 1
    assert (printed - images)[images == 0].mean() > 5


def test_only_the_share_asked_for_is_soiled(images):
    many = images.repeat(10, 1, 1)
    soiled = deform(many, only(noise=0.05, pixel_share=0.3), seeded())
    share = ((soiled - many).abs().amax((1, 2)) > 1).float().mean().item()
    assert abs(share - 0.3) < 0.06


def alone(part: str, images: torch.Tensor, share: float = 1.0) -> torch.Tensor:
    return deform(images, only(**{part: share}), seeded()) - deform(images, SOIL_OFF, seeded())


@pytest.mark.parametrize("part", LOOKS)
def test_each_part_changes_the_share_of_digits_asked_for(images, part):
    many = images.repeat(10, 1, 1)
    changed = (alone(part, many, 0.3).abs().amax((1, 2)) > 1).float().mean().item()
    chances = 2 if part in ("clutter", "erase") else 1  # two pieces, two holes: some fall where nothing is to be seen
    assert 0.15 < changed < 1 - (1 - 0.3) ** chances + 0.06


def test_other_pens_are_thicker_or_thinner_and_keep_to_the_stroke(images):
    changed = alone("other_pen", images).sum((1, 2)) / images.sum((1, 2))
    assert changed.max() > 0.3
    assert changed.min() < -0.2
    near = torch.nn.functional.max_pool2d(images[:, None], 3, 1, 1)[:, 0] > 0
    assert not alone("other_pen", images)[~near].abs().max() > 1


def test_solarized_ink_is_dark_where_it_was_brightest(images):
    solarized = deform(images, only(solarize=1), seeded())
    assert solarized[images == 255].max() < 200
    assert solarized[images == 0].max() < 1


def test_clutter_only_adds_ink_and_holes_only_take_it(images):
    assert alone("clutter", images).min() > -1
    assert alone("erase", images).max() < 1


def test_light_is_a_slope_of_grey_over_fainter_ink():
    blank = deform(torch.zeros(50, 28, 28), only(relight=1), seeded())
    assert 20 < blank[:, 13:15, 13:15].mean() < 40
    inner = blank[(blank > 0).all(2).all(1) & (blank < 255).all(2).all(1)]
    assert len(inner) > 5
    assert inner.diff(n=2, dim=1).abs().max() < 0.01
    assert inner.diff(n=2, dim=2).abs().max() < 0.01


def test_the_deformed_test_set_keeps_labels_and_repeats_by_seed(few_digits, tmp_path):
    for name in ("once", "again"):
        deform_split(few_digits, tmp_path / name, "test", AugmentationSettings(), seed=5)
    original, once, again = (
        digits.read(folder, "test") for folder in (few_digits, tmp_path / "once", tmp_path / "again")
    )
    assert (once.images == again.images).all()
    assert once.ids == again.ids
    assert (once.labels == original.labels).all()
    assert (once.images != original.images).any((1, 2)).all()


def test_deformed_digits_say_which_digit_they_were(few_digits, tmp_path):
    deform_split(few_digits, tmp_path / "deformed", "test", AugmentationSettings(), seed=5)
    sources = digits.read_table(tmp_path / "deformed").column("source").to_pylist()
    assert sources == [f"deformed:{each}" for each in digits.read(few_digits, "test").ids]


def test_the_preview_shows_every_part(few_digits):
    page = augmentation_page(few_digits, AugmentationSettings(), seed=0)
    for part in ("As they are", "rotation alone", "elastic waves alone", "watermark alone"):
        assert part in page
    assert page.count("<img") == 11


def test_throughput_is_measured(few_digits):
    assert throughput(few_digits, AugmentationSettings(), seed=0, count=500) > 100
