"""The constants of an ONNX file, read without the packages that write one: serving has neither onnx nor protobuf."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

SCALES = ".scales"  # ends the name of a matrix's scales, one a row, where it is in INT8
GRAPH, INITIALIZER = 7, 5  # fields of ModelProto and GraphProto, in onnx.proto
DIMENSIONS, DATA_TYPE, NAME, RAW_DATA = 1, 2, 8, 9  # of TensorProto
DTYPES: dict[int, np.dtype[Any]] = {1: np.dtype(np.float32), 3: np.dtype(np.int8)}
VARINT, FIXED64, BYTES, FIXED32 = 0, 1, 2, 5  # how protobuf lays a field out


def read(path: Path) -> dict[str, NDArray[np.generic]]:
    """The float32 and int8 constants of an ONNX file by name. Raises ValueError if it is cut short or no such file."""
    found = {}
    for field, content in _fields(path.read_bytes()):
        if field == GRAPH and isinstance(content, bytes):
            for inner, tensor in _fields(content):
                if inner == INITIALIZER and isinstance(tensor, bytes):
                    found.update(_tensor(tensor))
    return found


def _tensor(data: bytes) -> dict[str, NDArray[np.generic]]:
    shape: list[int] = []
    dtype, name, raw = 0, "", b""
    for field, content in _fields(data):
        if isinstance(content, bytes):
            name = content.decode() if field == NAME else name
            raw = content if field == RAW_DATA else raw
        elif field == DIMENSIONS:
            shape.append(content)
        elif field == DATA_TYPE:
            dtype = content
    return {name: np.frombuffer(raw, DTYPES[dtype]).reshape(shape)} if dtype in DTYPES else {}


def _fields(data: bytes) -> Iterator[tuple[int, int | bytes]]:
    """A message's fields, by number. Raises ValueError if it is cut short."""
    at = 0
    while at < len(data):
        key, at = _varint(data, at)
        layout = key & 7
        if layout == VARINT:
            value, at = _varint(data, at)
            yield key >> 3, value
            continue
        if layout == BYTES:
            size, at = _varint(data, at)
        elif layout in (FIXED32, FIXED64):
            size = 4 if layout == FIXED32 else 8
        else:
            raise ValueError("not an ONNX file")
        if at + size > len(data):
            raise ValueError("the ONNX file is cut short")
        yield key >> 3, data[at : at + size]
        at += size


def _varint(data: bytes, at: int) -> tuple[int, int]:
    value = shift = 0
    while at < len(data):
        byte = data[at]
        value |= (byte & 127) << shift
        at, shift = at + 1, shift + 7
        if byte < 128:
            return value, at
    raise ValueError("the ONNX file is cut short")
