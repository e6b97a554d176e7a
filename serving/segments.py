"""The segment: an append-only file of records, whole or noticed. A kill, a full disk or a flipped bit tears no record.

A segment starts with `MAGIC` and a random marker. Each record is framed by that marker, its length and a CRC-32; a
frame of length 0 seals the segment. No segment is ever opened again for writing: each process begins its own.
"""

import contextlib
import fcntl
import os
import secrets
import struct
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import BinaryIO
from zlib import crc32

from inkloop.files import sync_folder

SUFFIX = ".segment"
MAGIC = b"INKSEG1\n"
MARKER_BYTES = 8  # random, so that nobody can send a picture that looks like a frame
FRAME = struct.Struct(f"<{MARKER_BYTES}sII")  # marker, length of the record, CRC-32 of the record started at the length
HEADER_BYTES = len(MAGIC) + MARKER_BYTES


@dataclass(frozen=True)
class Contents:
    """What a segment holds, in the order written: its whole records, and what is not whole."""

    records: tuple[bytes, ...]
    sealed: bool  # its writer closed it
    damaged: int  # places within where records are lost: a file that was changed, not a writer that was killed
    torn_bytes: int  # after the last whole record: of a write that a kill cut off


class Segment:
    """One segment being written, by this process alone."""

    def __init__(self, folder: Path) -> None:
        """Begin a new segment in the folder, made if missing. Raises OSError."""
        folder.mkdir(parents=True, exist_ok=True)
        self.path, self._fd = _new_file(folder)
        self._marker = secrets.token_bytes(MARKER_BYTES)
        self.begun = time.monotonic()
        self.size = 0
        try:
            self._append(MAGIC + self._marker)
            sync_folder(folder)
        except OSError:
            self.path.unlink(missing_ok=True)
            os.close(self._fd)
            raise

    def append(self, records: Sequence[bytes]) -> None:
        """Make the records durable in one write; after an OSError none of them is in the segment."""
        self._append(b"".join([self._framed(record) for record in records]))

    def seal(self) -> None:
        """End the segment: nothing may be missing in it from now on. Raises OSError."""
        try:
            self._append(self._framed(b""))
        finally:
            self.abandon()

    def abandon(self) -> None:
        """End the segment as a kill would."""
        os.close(self._fd)

    def _framed(self, record: bytes) -> bytes:
        return FRAME.pack(self._marker, len(record), crc32(record, len(record))) + record

    def _append(self, content: bytes) -> None:
        try:
            rest = memoryview(content)
            while rest:
                rest = rest[os.write(self._fd, rest) :]
            os.fdatasync(self._fd)
        except OSError:
            with contextlib.suppress(OSError):  # a torn tail is as good, for a reader
                os.ftruncate(self._fd, self.size)
            raise
        self.size += len(content)


def waiting(folder: Path) -> list[Path]:
    """The segments in the folder, oldest first, those still being written too."""
    return sorted(folder.glob(f"*{SUFFIX}"))


@contextlib.contextmanager
def claimed(path: Path) -> Iterator[BinaryIO | None]:
    """The segment's file, for this process alone; None while someone writes or ships it, or once it is gone."""
    try:
        file = path.open("rb")
    except FileNotFoundError:
        yield None
        return
    with file:
        yield file if _owned(file.fileno()) else None


def parse(content: bytes) -> Contents:
    """The whole records of a segment's bytes, and how much of it is not whole."""
    if len(content) < HEADER_BYTES and MAGIC.startswith(content[: len(MAGIC)]):
        return Contents((), sealed=False, damaged=0, torn_bytes=len(content))
    marker = content[len(MAGIC) : HEADER_BYTES]
    if not content.startswith(MAGIC):
        return Contents((), sealed=False, damaged=1, torn_bytes=0)
    records: list[bytes] = []
    position, damaged, sealed = HEADER_BYTES, 0, False
    while position < len(content):
        record = _record_at(content, position, marker)
        if record is None:
            following = _next_frame(content, position + 1, marker)
            if following is None:
                break
            damaged += 1
            position = following
            continue
        sealed = not record
        if record:
            records.append(record)
        position += FRAME.size + len(record)
    tail = content[position:]
    torn = _is_cut_frame(tail, marker)
    return Contents(tuple(records), sealed and not tail, damaged + (bool(tail) and not torn), len(tail) if torn else 0)


def _is_cut_frame(tail: bytes, marker: bytes) -> bool:
    """Whether a kill may have left this: the beginning of a frame and not all of it."""
    if len(tail) < FRAME.size:
        return marker.startswith(tail[:MARKER_BYTES])
    found, length, _ = FRAME.unpack_from(tail)
    return bool(found == marker and length > len(tail) - FRAME.size)


def _record_at(content: bytes, position: int, marker: bytes) -> bytes | None:
    start = position + FRAME.size
    if start > len(content):
        return None
    found, length, checksum = FRAME.unpack_from(content, position)
    record = content[start : start + length]
    return record if found == marker and len(record) == length and crc32(record, length) == checksum else None


def _next_frame(content: bytes, position: int, marker: bytes) -> int | None:
    while (position := content.find(marker, position)) >= 0:
        if _record_at(content, position, marker) is not None:
            return position
        position += 1
    return None


def _new_file(folder: Path) -> tuple[Path, int]:
    while True:
        path = folder / f"{datetime.now(UTC):%Y%m%dT%H%M%S%f}-{secrets.token_hex(4)}{SUFFIX}"
        fd = os.open(path, os.O_CREAT | os.O_EXCL | os.O_WRONLY | os.O_APPEND, 0o600)
        if _owned(fd):
            return path, fd
        os.close(fd)  # whoever looks for segments to ship came between; another name


def _owned(fd: int) -> bool:
    """Take the file's lock, which ends with the process; False if it is taken, or the file was removed meanwhile."""
    try:
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return os.fstat(fd).st_nlink > 0
