"""The runtime of lines: digit strings from a model directory with ONNX Runtime, without torch."""

import math
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from inkloop import artifacts
from inkloop.errors import UserError
from inkloop.ink import Grey
from inkloop.line.ctc import BEAM_WIDTH, Place, align, beam_search
from inkloop.line.framing import MARGIN, frame_line, side_by_side
from inkloop.runtime import session


class PlacedDigit(NamedTuple):
    """A digit of a line, its probability where the model is surest of it, and from where to where it says so.

    start, stop: shares of the ink's width, 0 at its left end, 1 at its right.
    """

    digit: int
    probability: float
    start: float
    stop: float


class LineAnswer(NamedTuple):
    """The digits of a line, left to right, and the probability, 0..1, that the model gives to just these; then each."""

    digits: tuple[int, ...]
    confidence: float
    alignment: list[PlacedDigit]


class LineReader:
    """A loaded line model: one session, one thread, safe to call from several threads."""

    def __init__(self, folder: Path) -> None:
        """Load the model directory. Raises UserError if the folder holds no whole line model."""
        self.info = artifacts.info(folder)
        if self.info.kind != "line":
            raise UserError(f"{folder}: a model of single digits ({self.info.kind}). Name one that reads lines.")
        self.digest = artifacts.digest(folder)
        self._columns = int(self.info.architecture["columns"])
        self._session = session(folder)

    @property
    def version(self) -> str:
        """The start of the model directory's digest."""
        return self.digest[:12]

    def log_probabilities(self, images: list[NDArray[np.uint8]]) -> list[NDArray[np.float32]]:
        """What the model says at each step of framed lines, each uint8 (28, width): float32 (steps, 11)."""
        widths = np.array([image.shape[1] for image in images])
        log_p = self._session.run(["log_p"], {"images": side_by_side(images), "widths": widths})[0]
        return [said[: -(-width // self._columns)] for said, width in zip(log_p, widths.tolist(), strict=True)]

    def read(self, image: NDArray[np.uint8], beam_width: int = BEAM_WIDTH) -> LineAnswer:
        """Read one framed line, uint8 (28, width)."""
        log_p = self.log_probabilities([image])[0]
        decoded = beam_search(log_p, beam_width)
        aligned = align(log_p, decoded.digits)
        alignment = [self._placed(*each, image.shape[1]) for each in zip(decoded.digits, aligned, strict=True)]
        return LineAnswer(decoded.digits, min(1.0, math.exp(decoded.log_p)), alignment)

    def _placed(self, digit: int, place: Place, width: int) -> PlacedDigit:
        inked = width - 2 * MARGIN
        columns = (step * self._columns - MARGIN for step in (place.start, place.stop))
        start, stop = (min(max(column / inked, 0.0), 1.0) for column in columns)
        return PlacedDigit(digit, min(1.0, place.probability), start, stop)

    def read_line(self, picture: Grey) -> LineAnswer:
        """Read a picture, uint8 (height, width), of one line of digits, dark on light or light on dark.

        Raises UserError if it is blank, holds nothing like digits or is too long.
        """
        return self.read(frame_line(picture))
