"""The pen's runtime: answers to strokes from a model directory with ONNX Runtime, without torch."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from inkloop import artifacts
from inkloop.errors import UserError
from inkloop.pen import trajectory
from inkloop.pen.strokes import Stroke
from inkloop.runtime import session


class PenReader:
    """A loaded pen's recognizer: one session, one thread, safe to call from several threads."""

    def __init__(self, folder: Path) -> None:
        """Load the model directory. Raises UserError if the folder holds no whole model, or one that reads pictures."""
        self.info = artifacts.info(folder)
        if self.info.kind != "pen":
            raise UserError(f"{folder}: a {self.info.kind}, which reads pictures. Name a model that reads pen strokes.")
        self.digest = artifacts.digest(folder)
        self._session = session(folder)

    @property
    def version(self) -> str:
        """The start of the model directory's digest."""
        return self.digest[:12]

    def explained(self, drawing: Sequence[Stroke]) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        """Ten probabilities, and how much each step of the pen's path counted (STEPS,); each sums to 1.

        Raises UserError as `strokes.paths` does.
        """
        steps = trajectory.features(trajectory.path(drawing)[None])
        probabilities, attention = self._session.run(["probabilities", "attention_pen"], {"steps": steps})
        return probabilities[0], attention[0]
