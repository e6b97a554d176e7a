"""A trial: one variant trained with one seed, and what it reads of each test set."""

import base64
import hashlib
import json
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from benchmarks.lab.variants import Variant
from inkloop.control import Control, ControlSettings
from inkloop.digits import Digits
from inkloop.evaluation import confusion_matrix
from inkloop.files import written_whole
from inkloop.macs import count_macs
from inkloop.model import Recognizer, count_parameters
from inkloop.training import fit, logits


@dataclass(frozen=True)
class Scale:
    """How much is spent on a trial. None: all training digits, or as many epochs as the variant says."""

    name: str
    images: int | None = None
    epochs: int | None = None


FULL, QUICK = Scale("full"), Scale("quick", images=8_000, epochs=4)


@dataclass(frozen=True)
class Trial:
    """What came of it. Accuracies in 0..1; right: for each test set, which of its digits were read right, packed."""

    variant: str
    seed: int
    digest: str  # of all settings: with others it is another trial
    parameters: int
    macs: int
    train_s: float  # of the processor: other work beside it does not count
    validation_accuracy: float
    right: dict[str, str]
    confusion: tuple[tuple[int, ...], ...]  # of the test set, [label][answer]

    def is_right(self, name: str, count: int) -> NDArray[np.bool_]:
        """Which digits of a test set of so many it reads right, (count,)."""
        packed = np.frombuffer(base64.b64decode(self.right[name]), np.uint8)
        return np.unpackbits(packed, count=count).astype(bool)


def digest_of(variant: Variant, seed: int, scale: Scale) -> str:
    """SHA-256, hex, of all that decides what a trial comes to, but for the code and the data."""
    parts = (variant.model, variant.training, variant.augmentation)
    # Defaults are left out, so that a new setting, off by default, leaves trials what they are.
    said = [None if part is None else part.model_dump(exclude_defaults=True) for part in parts]
    settings = [type(variant.model).__name__, *said, seed, asdict(scale)]
    return hashlib.sha256(json.dumps(settings, sort_keys=True).encode()).hexdigest()


def run(
    variant: Variant, seed: int, scale: Scale, train: Digits, validation: Digits, tests: dict[str, Digits]
) -> Trial:
    """Train it on one thread, choose its epoch by the validation digits, and only then read the tests."""
    torch.set_num_threads(1)
    torch.manual_seed(seed)
    is_control = isinstance(variant.model, ControlSettings)
    model: Any = Control(variant.model) if is_control else Recognizer(variant.model)  # type: ignore[arg-type]
    training = (
        variant.training if scale.epochs is None else variant.training.model_copy(update={"epochs": scale.epochs})
    )
    state = fit(model, train.take(slice(0, scale.images)), validation, training, variant.augmentation, seed)
    answers = {name: logits(model, torch.from_numpy(test.images)).argmax(1).numpy() for name, test in tests.items()}
    right = {name: base64.b64encode(np.packbits(answers[name] == tests[name].labels)).decode() for name in tests}
    confusion = confusion_matrix(tests["test"].labels, answers["test"])
    return Trial(
        variant=variant.name,
        seed=seed,
        digest=digest_of(variant, seed, scale),
        parameters=count_parameters(model),
        macs=count_macs(model),
        train_s=sum(epoch.cpu_seconds for epoch in state.epochs),
        validation_accuracy=state.best_accuracy,
        right=right,
        confusion=tuple(tuple(map(int, row)) for row in confusion),
    )


def keep(trial: Trial, folder: Path) -> None:
    """Write it, whole or not at all."""
    folder.mkdir(parents=True, exist_ok=True)
    with written_whole(folder / f"{trial.digest[:16]}.json") as unfinished:
        unfinished.write_text(json.dumps(asdict(trial)))


def kept(folder: Path) -> dict[str, Trial]:
    """The trials in the folder, by digest."""
    found = (Trial(**json.loads(path.read_text())) for path in sorted(folder.glob("*.json")))
    return {trial.digest: replace(trial, confusion=tuple(map(tuple, trial.confusion))) for trial in found}
