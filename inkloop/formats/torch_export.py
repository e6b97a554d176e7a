"""torch.export: the graph of a recognizer, run by torch without our code."""

import io
import warnings
from pathlib import Path

import torch

from inkloop.files import written_whole
from inkloop.formats.answers import of_torch, traceable
from inkloop.model import Recognizer
from inkloop.runtime import Answers

SEEN = 2  # pictures that the graph is traced with; it then takes any number


@torch.no_grad()
def write(model: Recognizer, folder: Path) -> Path:
    """Write `model.pt2`. Raises ValueError for a model with topology."""
    frame = model.settings.frame
    images = torch.zeros(SEEN, frame, frame, dtype=torch.uint8)
    count = {0: torch.export.Dim("n", min=1)}
    with warnings.catch_warnings():
        # PyTorch's recurrent layers list their weights anew when they are traced, which is of no consequence.
        warnings.filterwarnings("ignore", "The tensor attributes", UserWarning)
        program = torch.export.export(traceable(model), (images,), dynamic_shapes=(count,))
    content = io.BytesIO()
    torch.export.save(program, content)
    path = folder / "model.pt2"
    with written_whole(path) as unfinished:
        unfinished.write_bytes(content.getvalue())
    return path


def load(path: Path) -> Answers:
    """What answers by the file; on as many threads as torch is set to."""
    return of_torch(torch.export.load(path).module())
