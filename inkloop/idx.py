"""IDX, the file format of MNIST: a header of sizes, then the numbers."""

import gzip
import zlib
from math import prod
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from inkloop.errors import UserError

UINT8 = 0x08  # the one type of number that MNIST and its kin use


def read(path: Path) -> NDArray[np.uint8]:
    """The array in an IDX file of bytes, gzipped or not. Raises UserError naming the file if it is not whole."""
    try:
        data = path.read_bytes()
        if data[:2] == b"\x1f\x8b":
            data = gzip.decompress(data)
    except (OSError, EOFError, zlib.error) as error:
        raise UserError(f"{path}: not readable ({error}). Fetch it again.") from None
    if len(data) < 4 or data[:3] != bytes((0, 0, UINT8)):
        raise UserError(f"{path}: not an IDX file of bytes (it begins with {data[:4].hex() or 'nothing'}).")
    dimensions = data[3]
    start = 4 + 4 * dimensions
    shape = tuple(int.from_bytes(data[at : at + 4], "big") for at in range(4, start, 4))
    if len(data) != start + prod(shape):
        raise UserError(f"{path}: {len(data)} bytes where its header asks for {start + prod(shape)}. Fetch it again.")
    return np.frombuffer(data, np.uint8, offset=start).reshape(shape)


def to_bytes(array: NDArray[np.uint8]) -> bytes:
    """The array as an IDX file."""
    sizes = b"".join(size.to_bytes(4, "big") for size in array.shape)
    return bytes((0, 0, UINT8, array.ndim)) + sizes + array.tobytes()
