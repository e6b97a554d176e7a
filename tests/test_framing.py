"""Any picture to the model's frame, and bytes to pixels."""

import io

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays
from PIL import Image

from inkloop import pictures
from inkloop.errors import UserError
from inkloop.framing import frame

FEW = settings(max_examples=40, deadline=None)


def file_of(picture, kind="PNG", **options) -> bytes:
    image = picture if isinstance(picture, Image.Image) else Image.fromarray(picture)
    buffer = io.BytesIO()
    image.save(buffer, kind, **options)
    return buffer.getvalue()


def test_every_mnist_digit_comes_back_as_it_was(mnist):
    assert all(np.array_equal(frame(image), image) for split in mnist.values() for image in split.images)


def test_what_is_framed_stays_as_it_is(test_digits):
    once = [frame(np.roll(image, 3, 0)) for image in test_digits.images[:50]]
    assert all(np.array_equal(frame(each), each) for each in once)


@FEW
@given(row=st.integers(0, 999), top=st.integers(1, 60), left=st.integers(1, 60), bottom=st.integers(1, 60))
def test_where_the_digit_lies_does_not_matter(test_digits, row, top, left, bottom):
    digit = test_digits.images[row]
    assert np.array_equal(frame(np.pad(digit, ((top, bottom), (left, 7)))), digit)


@FEW
@given(row=st.integers(0, 999))
def test_dark_ink_on_light_paper_is_the_same_digit(test_digits, row):
    digit = test_digits.images[row]
    assert np.array_equal(frame(255 - digit), digit)


def test_a_digit_drawn_large_is_scaled_down_whole(test_digits):
    large = np.asarray(Image.fromarray(test_digits.images[0]).resize((840, 840), Image.Resampling.BICUBIC))
    framed = frame(large)
    rows, columns = np.flatnonzero(framed.max(1)), np.flatnonzero(framed.max(0))
    assert max(np.ptp(rows), np.ptp(columns)) + 1 == 20


def test_a_thin_pen_still_leaves_strong_ink():
    drawing = np.full((900, 900), 255, np.uint8)
    drawing[150:750, 448:452] = 0
    framed = frame(drawing)
    assert framed.max() == 255
    assert (framed > 127).sum() >= 20


@pytest.mark.parametrize("grey", [0, 128, 255])
def test_a_blank_picture_is_refused(grey):
    with pytest.raises(UserError, match="blank"):
        frame(np.full((50, 40), grey, np.uint8))


@FEW
@given(arrays.arrays(np.uint8, st.tuples(st.integers(1, 40), st.integers(1, 40))))
def test_any_picture_is_framed_or_refused(picture):
    try:
        framed = frame(picture)
    except UserError:
        return
    assert framed.shape == (28, 28)
    assert framed.dtype == np.uint8
    assert framed.max() > 0


def test_a_png_decodes_to_its_pixels(test_digits):
    digit = test_digits.images[0]
    assert np.array_equal(pictures.decode(file_of(digit)), digit)


def test_a_photograph_is_turned_as_its_camera_was_held():
    exif = Image.Exif()
    exif[0x0112] = 6  # turned a quarter
    upright = pictures.decode(file_of(Image.new("L", (40, 20)), "JPEG", exif=exif))
    assert upright.shape == (40, 20)


def test_a_telephones_photograph_is_decoded_at_a_quarter():
    large = file_of(Image.linear_gradient("L").resize((4000, 3000)), "JPEG")
    assert pictures.decode(large).shape == (750, 1000)


def test_what_is_transparent_is_white():
    assert pictures.decode(file_of(Image.new("RGBA", (3, 3), (0, 0, 0, 0)))).min() == 255


def test_sixteen_bit_grey_is_scaled_and_not_clipped():
    picture = np.array([[0, 1000, 0x8000, 0xFFFF]], np.uint16)
    assert pictures.decode(file_of(picture)).tolist() == [[0, 3, 128, 255]]


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (b"", "empty"),
        (b"hello, I am not a picture", "neither a PNG nor a JPEG"),
        (file_of(Image.effect_noise((64, 64), 50))[:900], "not a readable picture"),
        (file_of(Image.new("RGB", (9, 9)), "GIF"), "neither a PNG nor a JPEG"),
    ],
    ids=["empty", "text", "truncated", "GIF"],
)
def test_what_is_not_a_picture_is_refused_in_one_sentence(data, reason):
    with pytest.raises(UserError, match=reason) as caught:
        pictures.decode(data)
    assert "\n" not in str(caught.value)


def test_a_fifty_megapixel_picture_is_refused_before_it_is_decoded():
    bomb = file_of(Image.new("1", (10_000, 5_000)))
    with pytest.raises(UserError, match="10000 x 5000"):
        pictures.decode(bomb)


@FEW
@given(st.data())
def test_a_damaged_picture_decodes_or_is_refused(test_digits, data):
    whole = bytearray(file_of(test_digits.images[0], data.draw(st.sampled_from(["PNG", "JPEG"]))))
    for _ in range(data.draw(st.integers(1, 4))):
        whole[data.draw(st.integers(0, len(whole) - 1))] = data.draw(st.integers(0, 255))
    try:
        assert pictures.decode(bytes(whole)).ndim == 2
    except UserError as error:
        assert str(error)
