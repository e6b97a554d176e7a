"""The directory of a model: what is served, what training goes on from, and what is known about it."""

import hashlib
from pathlib import Path
from typing import Any, Literal

from inkloop.errors import UserError
from inkloop.files import written_whole
from inkloop.settings import Settings

ONNX_NAME = "model.onnx"
WEIGHTS_NAME = "weights.safetensors"
INFO_NAME = "model.json"
CARD_NAME = "card.md"

Kind = Literal["teacher", "student", "pruned", "int8", "pen", "line"]


class ModelInfo(Settings):
    """What `model.json` holds: architecture (`ModelSettings` or `PenModelSettings`), size, metrics and lineage."""

    kind: Kind
    architecture: dict[str, Any]
    parameters: int
    size_bytes: int  # of model.onnx
    metrics: dict[str, float]
    lineage: dict[str, str]


def info(folder: Path) -> ModelInfo:
    """Read `model.json`. Raises UserError if the folder holds no whole model."""
    for name in (INFO_NAME, ONNX_NAME, WEIGHTS_NAME):
        if not (folder / name).is_file():
            raise UserError(
                f"{folder}: not a model directory ({name} is missing). Name one that a training step wrote."
            )
    path = folder / INFO_NAME
    try:
        return ModelInfo.model_validate_json(path.read_text())
    except ValueError as error:
        raise unreadable(path, error) from error


def unreadable(path: Path, error: Exception) -> UserError:
    """The error of a file of a model directory that is there but broken."""
    return UserError(f"{path}: not readable ({str(error).splitlines()[0]}). Fetch or train the model again.")


def write_info(folder: Path, model_info: ModelInfo) -> None:
    """Write `model.json`, whole or not at all."""
    with written_whole(folder / INFO_NAME) as unfinished:
        unfinished.write_text(model_info.model_dump_json(indent=2) + "\n")


def digest(folder: Path) -> str:
    """SHA-256 over the names and bytes of the directory's files: the model's identity."""
    total = hashlib.sha256()
    for path in sorted(p for p in folder.rglob("*") if p.is_file()):
        content = hashlib.sha256(path.read_bytes()).hexdigest()
        total.update(f"{path.relative_to(folder).as_posix()}\0{content}\n".encode())
    return total.hexdigest()
