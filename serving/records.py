"""What is captured: an answer with its input, or the label that someone gave later; and how it lies in a segment."""

import os
import struct
import time
from typing import Literal, NamedTuple
from uuid import UUID

import numpy as np
from numpy.typing import NDArray

Kind = Literal["answer", "label"]

# kind, prediction id, seen_at, label, height, width, and the lengths of person, source, version and probabilities
HEAD = struct.Struct("<B16sqbHHBBBB")
KINDS: tuple[Kind, ...] = ("answer", "label")
MAX_TEXT_BYTES = 255


class Record(NamedTuple):
    """One answer or label. Made on the way to an answer, so a tuple: a frozen dataclass takes three times as long."""

    kind: Kind
    prediction_id: bytes  # 16 bytes that sort by time; see `new_id`
    seen_at: int  # microseconds since 1970, UTC
    label: int  # what the model answered, or what someone said it is
    person: bytes = b""  # pseudonym (`infra.persons`), empty if unknown
    source: str = ""
    model_version: str = ""
    image: NDArray[np.uint8] | None = None  # (height, width); None in a label
    probabilities: NDArray[np.float32] | None = None  # (10,)


def new_id() -> bytes:
    """A UUID of version 7, 16 bytes: its first 48 bits are the time in milliseconds, so that ids sort by time."""
    random = bytearray(os.urandom(10))  # unguessable, since whoever knows the id may label the prediction
    random[0] = random[0] & 0x0F | 0x70
    random[2] = random[2] & 0x3F | 0x80
    return (time.time_ns() // 1_000_000).to_bytes(6, "big") + random


def id_text(prediction_id: bytes) -> str:
    """The id as answers and tables carry it: 8-4-4-4-12 hexadecimal digits."""
    digits = prediction_id.hex()
    return f"{digits[:8]}-{digits[8:12]}-{digits[12:16]}-{digits[16:20]}-{digits[20:]}"


def id_from(text: str) -> bytes:
    """The 16 bytes of an id's text. Raises ValueError."""
    return UUID(text).bytes


def share_position(prediction_id: bytes) -> float:
    """Where in 0..1 the id falls, evenly: an answer is sampled if this is below the share."""
    return int.from_bytes(prediction_id[12:], "big") / 2**32


def encode(record: Record) -> bytes:
    """The record as bytes; texts are cut at `MAX_TEXT_BYTES`."""
    image, probabilities = record.image, record.probabilities
    height, width = image.shape if image is not None else (0, 0)
    source = record.source.encode(errors="replace")[:MAX_TEXT_BYTES]
    version = record.model_version.encode()[:MAX_TEXT_BYTES]
    head = HEAD.pack(
        KINDS.index(record.kind),
        record.prediction_id,
        record.seen_at,
        record.label,
        height,
        width,
        len(record.person),
        len(source),
        len(version),
        len(probabilities) if probabilities is not None else 0,
    )
    answer = probabilities.tobytes() if probabilities is not None else b""
    return b"".join((head, record.person, source, version, answer, image.tobytes() if image is not None else b""))


def decode(content: bytes) -> Record:
    """The record that these bytes are."""
    kind, prediction_id, seen_at, label, height, width, *lengths, count = HEAD.unpack_from(content)
    position = HEAD.size
    parts: list[bytes] = []
    for length in (*lengths, 4 * count, height * width):
        parts.append(content[position : position + length])
        position += length
    person, source, version, answer, pixels = parts
    return Record(
        KINDS[kind],
        prediction_id,
        seen_at,
        label,
        person,
        source.decode(errors="ignore"),
        version.decode(errors="ignore"),
        np.frombuffer(pixels, np.uint8).reshape(height, width) if pixels else None,
        np.frombuffer(answer, np.float32) if count else None,
    )
