"""Decoding: the bytes of a PNG or JPEG to grey pixels, without trusting them."""

import io

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageOps, UnidentifiedImageError

from inkloop.errors import UserError

MAX_PIXELS = 25_000_000  # a telephone's photograph has 12 million; beyond this, memory is at risk
ENOUGH = 640  # pixels of the shorter side: a JPEG of twice that or more is decoded at a half, a quarter or an eighth


def decode(data: bytes, max_pixels: int = MAX_PIXELS) -> NDArray[np.uint8]:
    """Grey pixels of a PNG or JPEG: uint8 (height, width), turned as its EXIF says, transparency laid on white.

    A large JPEG comes reduced, no side under `ENOUGH` pixels: so a telephone's photograph is read in milliseconds.
    Raises UserError, in one sentence, if the bytes are no such picture or it has more than `max_pixels`.
    """
    if not data:
        raise UserError("not a readable picture: it is empty (0 bytes). Send a PNG or a JPEG.")
    try:
        with Image.open(io.BytesIO(data), formats=("PNG", "JPEG")) as image:
            check_size(image.width, image.height, max_pixels)
            if min(image.size) >= 2 * ENOUGH:
                image.draft("L", (ENOUGH, ENOUGH))
            ImageOps.exif_transpose(image, in_place=True)  # else it copies what need not be turned, too
            return grey(image)
    except UserError:
        raise
    except UnidentifiedImageError:
        raise UserError(f"not a readable picture: its {len(data)} bytes are neither a PNG nor a JPEG.") from None
    except Image.DecompressionBombError:
        raise UserError(f"too large a picture: more than {max_pixels:,} pixels. Send a smaller one.") from None
    except Exception as error:  # a broken file makes Pillow raise whatever its decoder ran into
        reason = str(error).split("\n")[0] or type(error).__name__
        raise UserError(f"not a readable picture: {reason} (the file has {len(data)} bytes).") from None


def check_size(width: int, height: int, max_pixels: int) -> None:
    """Raise UserError if a picture of this size is too large to decode."""
    if width * height > max_pixels:
        raise UserError(f"too large a picture: {width} x {height} is over {max_pixels:,} pixels. Send a smaller one.")


def grey(image: Image.Image) -> NDArray[np.uint8]:
    """Luma of a decoded picture, uint8 (height, width)."""
    if image.mode.startswith("I"):  # 16-bit grey, which Pillow would clip instead of scale
        return (np.asarray(image) >> 8).clip(0, 255).astype(np.uint8)
    if image.has_transparency_data:
        # In grey, since compositing in color would take three pictures of four bytes a pixel at once.
        image = image if image.mode in ("LA", "RGBA") else image.convert("RGBA")
        paper = Image.new("L", image.size, "white")
        paper.paste(image.convert("L"), mask=image.getchannel("A"))
        image = paper
    return np.array(image.convert("L"), np.uint8)
