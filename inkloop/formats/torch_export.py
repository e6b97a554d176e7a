"""torch.export: the graph of a recognizer, run by torch without our code."""

import io
from pathlib import Path

import torch

from inkloop.files import written_whole
from inkloop.formats.answers import Answers, FromPixels, of_torch
from inkloop.model import Recognizer

SEEN = 2  # pictures that the graph is traced with; it then takes any number


@torch.no_grad()
def write(model: Recognizer, folder: Path) -> Path:
    """Write `model.pt2`. Raises torch's errors for a model whose graph depends on the pictures, as topology's does."""
    frame = model.settings.frame
    images = torch.zeros(SEEN, frame, frame, dtype=torch.uint8)
    program = torch.export.export(FromPixels(model), (images,), dynamic_shapes=({0: torch.export.Dim("n", min=1)},))
    content = io.BytesIO()
    torch.export.save(program, content)
    path = folder / "model.pt2"
    with written_whole(path) as unfinished:
        unfinished.write_bytes(content.getvalue())
    return path


def load(path: Path) -> Answers:
    """What answers by the file; on as many threads as torch is set to."""
    return of_torch(torch.export.load(path).module())
