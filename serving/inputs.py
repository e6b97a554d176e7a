"""What a client may send as one digit, brought to the model's frame or refused in one sentence."""

import base64
import re
from collections.abc import AsyncIterator, Callable
from http import HTTPStatus
from itertools import chain
from typing import Any

import anyio
import numpy as np
import orjson
from anyio.to_thread import run_sync
from numpy.typing import NDArray
from starlette.datastructures import Headers, UploadFile
from starlette.formparsers import MultiPartException, MultiPartParser
from starlette.requests import Request

from inkloop import framing, pictures
from inkloop.errors import UserError
from inkloop.line import framing as framing_of_lines
from inkloop.pen import strokes
from serving.problems import Problem

Image = NDArray[np.uint8]

FRAME = framing.FRAME
PIXELS = FRAME * FRAME
MAX_BODY_BYTES = 10 * 2**20  # a telephone's photograph has 2 to 8 MiB
FORM_FIELD = "image"
SMALL_PIXELS = 64 * 64
FILE_TYPES = "image/png, image/jpeg, multipart/form-data"
FILE_STARTS = (b"\x89PNG", b"\xff\xd8")
DATA_URL = re.compile(r"data:image/(png|jpeg);base64,")

# Decoding a large PNG takes up to a second and 100 MB: beside the event loop, and never many at once.
_decoders = anyio.CapacityLimiter(2)


async def read_image(request: Request) -> Image:
    """The digit in the request's body: uint8 (28, 28), white ink on black. Raises Problem if there is none."""
    match media_type(request.headers.get("content-type", "")):
        case "application/json":
            sent = from_json(await read_body(request))
            image = await _framed(sent) if isinstance(sent, bytes) else sent
        case "application/octet-stream":
            image = from_bytes(await read_body(request))
        case "image/png" | "image/jpeg" | "multipart/form-data":
            image = await _framed(await _file(request))
        case other:
            raise unsupported(other, f"accepted; send {FILE_TYPES}, application/json or application/octet-stream")
    if int(image.max()) - int(image.min()) < framing.MIN_CONTRAST:
        raise unusable("The picture is blank: all its pixels are nearly the same; send a picture of one digit.")
    return image


async def read_line(request: Request) -> Image:
    """The line in the picture file that the request sends: uint8 (28, width), white ink on black. Raises Problem."""
    match media_type(request.headers.get("content-type", "")):
        case "application/json":
            sent = parsed(await read_body(request), "image")
            if not isinstance(sent, str):
                raise unusable("The JSON must be base64 of a PNG or a JPEG of one line, alone or under the key image.")
            data = _decoded(sent)
        case "image/png" | "image/jpeg" | "multipart/form-data":
            data = await _file(request)
        case other:
            raise unsupported(other, f"accepted here; send {FILE_TYPES} or application/json")
    return await run_sync(from_picture, data, framing_of_lines.frame_line, limiter=_decoders)


def media_type(content_type: str) -> str:
    """The type alone, in lower case, without parameters such as the character set."""
    return content_type.partition(";")[0].strip().lower()


async def read_body(request: Request) -> bytes:
    """The body, of at least one byte and at most `MAX_BODY_BYTES`, never holding more than that. Raises Problem."""
    announced = request.headers.get("content-length", "0")
    if announced.isdigit() and int(announced) > MAX_BODY_BYTES:
        raise _too_large()
    body = bytearray()
    async for chunk in request.stream():
        body += chunk
        if len(body) > MAX_BODY_BYTES:
            raise _too_large()
    if not body:
        raise Problem(HTTPStatus.BAD_REQUEST, "The body is empty; send a picture of one digit.")
    return bytes(body)


def from_json(body: bytes) -> Image | bytes:
    """What the JSON holds, alone or under `image`: pixels (see `pixels_of`), or base64 of pixels or of a picture file.

    Returns the picture, or the bytes of the file, still to be framed. Raises Problem.
    """
    sent = parsed(body, "image")
    return _from_base64(sent) if isinstance(sent, str) else pixels_of(sent)


def from_strokes(body: bytes) -> tuple[Any, Image]:
    """Pen strokes as JSON, alone or under `strokes`: each a list of points `[x, y]` or `[x, y, time]`, y downward.

    Returns them, checked, and drawn: uint8 (28, 28). Raises Problem.
    """
    sent = parsed(body, "strokes")
    try:
        if not all(type(number) in (int, float) for stroke in sent for point in stroke for number in point):
            raise strokes.malformed()
        return sent, strokes.render(sent)
    except TypeError:
        raise _explained(strokes.malformed()) from None
    except UserError as error:
        raise _explained(error) from error


def parsed(body: bytes, key: str) -> Any:  # noqa: ANN401
    """What the JSON body holds, alone or as the one value of an object, under this key. Raises Problem."""
    try:
        sent = orjson.loads(body)
    except orjson.JSONDecodeError as error:
        raise Problem(HTTPStatus.BAD_REQUEST, f"The body is not JSON: {error}.") from None
    if not isinstance(sent, dict):
        return sent
    if list(sent) != [key]:
        raise unusable(f'The JSON object must have the one key "{key}", with what is sent under it.')
    return sent[key]


def pixels_of(sent: Any) -> Image:  # noqa: ANN401
    """An array of 784 numbers or of 28 rows of 28, each 0 (black) to 255 (white ink). Raises Problem."""
    if not isinstance(sent, list):
        raise unusable(f"The JSON must be an array of {PIXELS} numbers, of {FRAME} rows of {FRAME}, or base64.")
    if sent and all(isinstance(row, list) for row in sent):
        if len(sent) != FRAME or any(len(row) != FRAME for row in sent):
            raise unusable(f"The picture must have {FRAME} rows of {FRAME} numbers each.")
        sent = list(chain.from_iterable(sent))
    if len(sent) != PIXELS:
        raise unusable(f"The picture must have {PIXELS} numbers ({FRAME} x {FRAME}), and has {len(sent)}.")
    if not set(map(type, sent)) <= {int, float}:
        raise unusable("Every pixel must be a number from 0 to 255.")
    pixels = np.array(sent, np.float64)
    if not (pixels.min() >= 0 and pixels.max() <= 255):
        raise unusable("Every pixel must lie between 0 (black) and 255 (white ink).")
    if 0 < pixels.max() <= 1:
        raise unusable("The pixels look scaled to 0..1; send them as 0 (black) to 255 (white ink).")
    return np.rint(pixels).astype(np.uint8).reshape(FRAME, FRAME)


def _from_base64(text: str) -> Image | bytes:
    """784 bytes, row by row, or a PNG or JPEG file; a browser's `data:image/png;base64,` may stand before it."""
    data = _decoded(text)
    is_file = data.startswith(FILE_STARTS) or len(data) != PIXELS
    return data if is_file else from_bytes(data)


def _decoded(text: str) -> bytes:
    try:
        return base64.b64decode(DATA_URL.sub("", text, count=1), validate=True)
    except ValueError:
        raise unusable("The text is not base64; send base64 of the picture, never its URL.") from None


def from_bytes(body: bytes) -> Image:
    """784 bytes, row by row, 0 = black, 255 = white ink."""
    if len(body) != PIXELS:
        raise unusable(
            f"Raw pixels must be exactly {PIXELS} bytes ({FRAME} x {FRAME}), and there are {len(body)}; "
            "a picture file needs the content type image/png or image/jpeg."
        )
    return np.frombuffer(body, np.uint8).reshape(FRAME, FRAME)


def from_picture(data: bytes, frame: Callable[[Image], Image] = framing.frame) -> Image:
    """A PNG or JPEG of any size, dark ink on light paper or the other way round; `frame` brings it to a model's."""
    try:
        return frame(pictures.decode(data))
    except UserError as error:
        raise _explained(error) from error


async def _framed(data: bytes) -> Image:
    if _is_small_png(data):
        return from_picture(data)  # takes less time than handing it to a thread
    return await run_sync(from_picture, data, limiter=_decoders)


def _is_small_png(data: bytes) -> bool:
    """By the size that its header claims; one that lies has too few bytes for more than a few milliseconds' work."""
    if not data.startswith(b"\x89PNG") or data[12:16] != b"IHDR" or len(data) > SMALL_PIXELS:
        return False
    width, height = int.from_bytes(data[16:20]), int.from_bytes(data[20:24])
    return width * height <= SMALL_PIXELS


async def _file(request: Request) -> bytes:
    """The picture file that is the body, or in its form."""
    body = await read_body(request)
    is_form = media_type(request.headers["content-type"]) == "multipart/form-data"
    return await _uploaded(request.headers, body) if is_form else body


async def _uploaded(headers: Headers, body: bytes) -> bytes:
    async def stream() -> AsyncIterator[bytes]:
        yield body

    try:
        # The body is in memory already, so a part of it need not go through a file.
        parser = MultiPartParser(headers, stream(), max_files=1)  # type: ignore[arg-type]
        parser.spool_max_size = MAX_BODY_BYTES
        form = await parser.parse()
    except MultiPartException as error:
        raise Problem(HTTPStatus.BAD_REQUEST, f"The form is not readable: {error.message}") from None
    upload = form.get(FORM_FIELD)
    if not isinstance(upload, UploadFile):
        raise unusable(f'The form has no file named "{FORM_FIELD}"; send the picture under that name.')
    return await upload.read()


def _too_large() -> Problem:
    return Problem(HTTPStatus.REQUEST_ENTITY_TOO_LARGE, f"The body is over {MAX_BODY_BYTES // 2**20} MiB; send less.")


def _explained(error: UserError) -> Problem:
    return unusable(f"{str(error)[0].upper()}{str(error)[1:]}")


def unsupported(sent: str, wanted: str) -> Problem:
    """The refusal of a media type. wanted: what it is not, and what is, as in `accepted here; send image/png`."""
    detail = f"The content type {sent or '(none)'!r} is not {wanted}."
    return Problem(HTTPStatus.UNSUPPORTED_MEDIA_TYPE, detail)


def unusable(detail: str) -> Problem:
    """The refusal of a body in which there is no readable digit."""
    return Problem(HTTPStatus.UNPROCESSABLE_ENTITY, detail)
