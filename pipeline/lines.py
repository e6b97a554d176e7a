"""Training of the model that reads lines: on lines composed of MNIST's digits."""

import tempfile
from pathlib import Path

import torch
from pydantic import NonNegativeInt, PositiveInt

from infra import readers, registry
from infra.storage import Store
from inkloop import checkpoint, digits, download, mnist, sources
from inkloop.digits import Digits
from inkloop.line.composition import LineSettings, compose, lengths
from inkloop.line.model import LineModel, LineModelSettings
from inkloop.line.training import LineEpoch, LineTrainingSettings, fit_lines
from inkloop.settings import Settings

VALIDATION_SEED = 1


class LinesSettings(Settings):
    """How the model that reads lines is trained."""

    model: LineModelSettings = LineModelSettings()
    training: LineTrainingSettings = LineTrainingSettings()
    validation: LineSettings = LineSettings()  # lines that choose the epoch
    validation_lines: PositiveInt = 500
    seed: NonNegativeInt = 0


def train(store: Store, data_dir: Path, settings: LinesSettings, by: str) -> tuple[str, float]:
    """Train, publish and appoint it. Returns its version and its character error rate on validation lines, 0..1.

    Raises UserError if MNIST can be had nowhere.
    """
    learned, held_out = _mnist(data_dir)
    written = lengths(settings.validation_lines, settings.validation.most_digits, VALIDATION_SEED)
    validation = compose(held_out, written, settings.validation, VALIDATION_SEED)
    torch.manual_seed(settings.seed)
    model = LineModel(settings.model)
    epochs = settings.training.rounds * settings.training.epochs

    def tell(epoch: LineEpoch) -> None:
        misread = f"{epoch.validation_cer:.2%} of the validation lines' digits misread"
        print(f"epoch {epoch.epoch + 1} of {epochs}: {misread}", flush=True)

    results = fit_lines(model, learned, validation, settings.training, settings.seed, tell)
    cer = min(epoch.validation_cer for epoch in results)
    lineage = {"mnist": mnist.pin(), "seed": str(settings.seed)}
    with tempfile.TemporaryDirectory() as scratch:
        checkpoint.save_line(model.eval(), Path(scratch) / "line", {"validation_cer": cer}, lineage)
        digest = registry.publish(store, Path(scratch) / "line")
    readers.appoint(store, "line", digest, by)
    return registry.version_of(digest), cer


def _mnist(data_dir: Path) -> tuple[Digits, Digits]:
    """MNIST's digits to learn from, and those that are held out. Raises UserError if they can be had nowhere."""
    table = mnist.read(download.ensure(data_dir / mnist.NAME), sources.IngestSettings().validation_share)
    return digits.of(table, "train"), digits.of(table, "validation")
