"""What a retraining starts from: a published model and the teacher it learned from, ready to train on."""

import tempfile
from pathlib import Path

from infra import registry
from infra.storage import Store
from inkloop import artifacts, checkpoint
from inkloop.errors import UserError
from inkloop.model import Recognizer

TEACHER = "teacher"  # of a model's lineage


def student(store: Store, digest: str) -> Recognizer:
    """The published model. Raises Missing if there is none."""
    with tempfile.TemporaryDirectory() as scratch:
        registry.fetch(store, digest, Path(scratch) / "model")
        return checkpoint.load(Path(scratch) / "model")


def teacher(store: Store, digest: str) -> Recognizer:
    """The teacher of a published model, which it may be itself. Raises UserError if it was not published with it."""
    with tempfile.TemporaryDirectory() as scratch:
        registry.fetch(store, digest, Path(scratch) / "model")
        info = artifacts.info(Path(scratch) / "model")
        lineage = {TEACHER: digest, **info.lineage} if info.kind == "teacher" else info.lineage
    if TEACHER not in lineage:
        raise UserError(f"model {digest[:12]}: published without its teacher. Run the whole pipeline once more.")
    return student(store, lineage[TEACHER])
