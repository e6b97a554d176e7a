"""One picture in every encoding that PNG and JPEG know, and files made to hurt whoever reads them."""

import io
import struct
import zlib

import numpy as np
from numpy.typing import NDArray
from PIL import Image

Grey = NDArray[np.uint8]

SIGNATURE = b"\x89PNG\r\n\x1a\n"
ORIENTATION = 0x0112  # the EXIF tag
# How a camera held so stores the picture: what must be done to the upright one.
TURNS = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_90,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_270,
}


def photographed(digit: Grey) -> Grey:
    """Dark ink on white paper, 160 x 120, every pixel black or white so that no encoding loses anything."""
    ink = np.asarray(Image.fromarray(digit).resize((84, 84), Image.Resampling.BICUBIC)) > 127
    return np.where(np.pad(ink, ((38, 38), (18, 18))), 0, 255).astype(np.uint8)


def saved(image: Image.Image, kind: str = "PNG", **options: object) -> bytes:
    """The picture as a file."""
    file = io.BytesIO()
    image.save(file, kind, **options)
    return file.getvalue()


def encodings(page: Grey) -> dict[str, bytes]:
    """The same page in every mode of PNG and JPEG, and turned in every way that EXIF can say."""
    grey = Image.fromarray(page)
    transparent = Image.merge("LA", (Image.new("L", grey.size), Image.fromarray(255 - page)))
    colors = grey.convert("RGB").quantize(4)
    see_through = grey.convert("P")
    found = {
        "8-bit grey PNG": saved(grey),
        "1-bit PNG": saved(grey.convert("1")),
        "2-bit palette PNG": saved(colors, bits=2),
        "palette PNG whose paper is transparent": saved(see_through, transparency=255),
        "16-bit grey PNG": saved(Image.fromarray(page.astype(np.uint16) * 257)),
        "16-bit color PNG": png(page.shape, 16, 2, np.repeat(page[..., None], 6, 2)),
        "color PNG": saved(grey.convert("RGB")),
        "black ink on nothing, with alpha": saved(transparent),
        "the same in color": saved(transparent.convert("RGBA")),
        "an animated PNG": saved(grey, save_all=True, append_images=[Image.new("L", grey.size, 90)] * 20),
        "color JPEG": saved(grey.convert("RGB"), "JPEG", quality=100),
        "progressive JPEG": saved(grey, "JPEG", quality=100, progressive=True),
        "CMYK JPEG": saved(grey.convert("RGB").convert("CMYK"), "JPEG", quality=100),
    }
    for orientation, turn in TURNS.items():
        exif = Image.Exif()
        exif[ORIENTATION] = orientation
        found[f"PNG held as EXIF {orientation}"] = saved(grey.transpose(turn), exif=exif)
        found[f"JPEG held as EXIF {orientation}"] = saved(grey.transpose(turn), "JPEG", quality=100, exif=exif)
    return found


def chunk(kind: bytes, data: bytes) -> bytes:
    """A chunk of a PNG."""
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


def png(shape: tuple[int, ...], depth: int, color: int, samples: Grey, *extra: bytes) -> bytes:
    """A PNG of these bytes, row by row; extra: chunks before its pixels."""
    height, width = shape
    head = chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, depth, color, 0, 0, 0))
    rows = b"".join(b"\0" + row.tobytes() for row in samples)
    return SIGNATURE + head + b"".join(extra) + chunk(b"IDAT", zlib.compress(rows)) + chunk(b"IEND", b"")


def with_chunks(file: bytes, *extra: bytes) -> bytes:
    """The PNG with these chunks after its header."""
    after = len(SIGNATURE) + 25
    return file[:after] + b"".join(extra) + file[after:]


def foreign(page: Grey) -> dict[str, bytes]:
    """Good pictures of kinds that are not taken, whatever they are called."""
    image = Image.fromarray(page)
    svg = b'<svg xmlns="http://www.w3.org/2000/svg"><image href="file:///etc/passwd"/></svg>'
    return {"SVG": svg, **{kind: saved(image, kind) for kind in ("GIF", "TIFF", "WEBP", "BMP", "PDF", "ICO", "PPM")}}


def malicious(page: Grey) -> dict[str, bytes]:
    """Files that must be refused: by their text, their profile, their size, their EXIF or their lies."""
    grey, good = Image.fromarray(page), saved(Image.fromarray(page))
    bomb = zlib.compress(bytes(200 * 2**20), 9)  # 200 KB that become 200 MiB
    jpeg = bytearray(saved(grey, "JPEG"))
    size_at = jpeg.index(b"\xff\xc0") + 5
    jpeg[size_at : size_at + 4] = b"\0\0\0\0"
    return {
        "text that grows to 200 MiB": with_chunks(good, chunk(b"zTXt", b"a\0\0" + bomb)),
        "text that grows to 3 MiB in a small picture": with_chunks(
            saved(grey.resize((28, 28))), chunk(b"zTXt", b"a\0\0" + zlib.compress(bytes(3 * 2**20), 9))
        ),
        "the same as Unicode": with_chunks(good, chunk(b"iTXt", b"a\0\1\0\0\0" + bomb)),
        "a color profile that does": with_chunks(good, chunk(b"iCCP", b"a\0\0" + bomb)),
        "pixels that do": png(page.shape, 8, 0, np.zeros((200, 2**20), np.uint8)),
        "nine MiB of text": with_chunks(good, *[chunk(b"tEXt", b"a\0" + b"b" * 2**20)] * 9),
        "a hundred thousand texts": with_chunks(good, *[chunk(b"tEXt", b"a\0b")] * 100_000),
        "a chunk longer than the file": with_chunks(good, struct.pack(">I", 2**31 - 1) + b"tEXt"),
        "no pixels at all": png((0, 0), 8, 0, page[:0]),
        "no rows": png((0, 28), 8, 0, page[:0]),
        "no columns": png((28, 0), 8, 0, page[:28, :0]),
        "a JPEG of no size": bytes(jpeg),
        "a wrong checksum": good[:-20] + bytes([good[-20] ^ 1]) + good[-19:],
        "a claim of 4 gigapixels a side": png((2**31 - 1, 2**31 - 1), 8, 0, page),
    }
