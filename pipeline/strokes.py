"""Training of the model that reads pen strokes: on traced MNIST digits, and on a file of strokes where there is one."""

import hashlib
import tempfile
from pathlib import Path

import numpy as np
import torch
from pydantic import NonNegativeInt, PositiveInt

from infra import readers, registry
from infra.storage import Store
from inkloop import checkpoint, digits, download, mnist, sources
from inkloop.digits import Split
from inkloop.pen import pendigits, tracing, trajectory, unipen
from inkloop.pen.augmentation import TRACED_HANDS
from inkloop.pen.model import PenModelSettings, PenRecognizer
from inkloop.pen.training import fit
from inkloop.pen.trajectory import PenDigits
from inkloop.settings import Settings, ShareBelowOne
from inkloop.training import TrainingSettings


class StrokesSettings(Settings):
    """How the model that reads pen strokes is trained."""

    tracings: PositiveInt = 20_000  # of MNIST's digits, the same number of each class
    validation_share: ShareBelowOne = 0.1  # of the file's digits
    model: PenModelSettings = PenModelSettings()
    training: TrainingSettings = TrainingSettings(epochs=12, learning_rate=1e-2, patience_epochs=12)
    seed: NonNegativeInt = 0


def train(store: Store, data_dir: Path, file: Path | None, settings: StrokesSettings, by: str) -> tuple[str, float]:
    """Train, publish and appoint it. Returns its version and its accuracy on the digits held out, 0..1.

    Raises UserError if the file holds no pen strokes, or MNIST can be had nowhere.
    """
    parts = tracings(data_dir, settings.tracings)
    lineage = {"mnist": mnist.pin(), "seed": str(settings.seed)}
    if file is not None:
        brought = read(file)
        order = np.random.default_rng(settings.seed).permutation(len(brought))
        held_out = round(settings.validation_share * len(brought))
        own = (brought.take(order[held_out:]), brought.take(order[:held_out]))
        parts = (trajectory.joined(parts[0], own[0]), trajectory.joined(parts[1], own[1]))
        lineage["file"] = hashlib.sha256(file.read_bytes()).hexdigest()
    torch.manual_seed(settings.seed)
    model = PenRecognizer(settings.model)
    accuracy = fit(model, *parts, settings.training, TRACED_HANDS, settings.seed, on_epoch=_tell)
    with tempfile.TemporaryDirectory() as scratch:
        checkpoint.save_pen(model.eval(), Path(scratch) / "pen", {"validation_accuracy": accuracy}, lineage)
        digest = registry.publish(store, Path(scratch) / "pen")
    readers.appoint(store, "pen", digest, by)
    return registry.version_of(digest), accuracy


def read(file: Path) -> PenDigits:
    """The digits of a file of pen strokes: UNIPEN if any of its lines begins with a keyword, else UCI's rows.

    Raises UserError if it is neither.
    """
    try:
        is_unipen = any(line.startswith(b".") for line in file.read_bytes().splitlines())
    except OSError:
        is_unipen = False
    return unipen.read(file) if is_unipen else pendigits.read(file)


def tracings(data_dir: Path, count: int) -> tuple[PenDigits, PenDigits]:
    """Traced digits of MNIST to learn from, and to hold out. Raises UserError if MNIST can be had nowhere."""
    download.ensure(data_dir / mnist.NAME)
    table, _ = sources.read(mnist.NAME, data_dir, sources.IngestSettings(limit_train=count))

    def part(split: Split) -> PenDigits:
        pictures = digits.of(table, split)
        return tracing.traced(pictures.images, pictures.labels)

    return part("train"), part("validation")


def _tell(epoch: int, accuracy: float) -> None:
    print(f"epoch {epoch + 1}: {accuracy:.2%} of the digits held out", flush=True)
