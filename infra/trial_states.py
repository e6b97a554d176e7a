"""The states of a search's trials, kept so that a search which is started again trains no epoch twice."""

import hashlib
import json
import secrets
import tempfile
from pathlib import Path
from typing import Any

from pyarrow import fs

from inkloop.checkpoint import STATE_NAME, load_state, save_state
from inkloop.training import EpochResult, TrainingState


class TrialStates:
    """States under what led to them: the epochs before, and the choice of settings that the last one was trained with.

    Ray's own restore brings back trials, but not what a scheduler knew of them. Here everything is decided anew, and
    alike; only what would be trained comes from here.
    """

    def __init__(self, place: str) -> None:
        """place: a folder, or an S3 URL."""
        self.filesystem, self.path = fs.FileSystem.from_uri(place)
        self.filesystem.create_dir(self.path)

    def next(self, choice: dict[str, Any], state: TrainingState | None) -> TrainingState | None:
        """The state one epoch on with this choice; None if it was never kept."""
        name = self._name(choice, state.epochs if state else [])
        if self.filesystem.get_file_info(name).type != fs.FileType.File:
            return None
        with tempfile.TemporaryDirectory() as folder:
            with self.filesystem.open_input_file(name) as file:
                (Path(folder) / STATE_NAME).write_bytes(file.read())
            return load_state(Path(folder))

    def keep(self, choice: dict[str, Any], state: TrainingState) -> None:
        """Keep a state, whole or not at all."""
        name = self._name(choice, state.epochs[:-1])
        unfinished = f"{name}.{secrets.token_hex(4)}"
        with tempfile.TemporaryDirectory() as folder:
            save_state(state, Path(folder))
            with self.filesystem.open_output_stream(unfinished) as file:
                file.write((Path(folder) / STATE_NAME).read_bytes())
        self.filesystem.move(unfinished, name)

    def _name(self, choice: dict[str, Any], epochs: list[EpochResult]) -> str:
        figures = [(each.train_loss, each.validation_accuracy, each.learning_rate) for each in epochs]
        led_there = json.dumps([choice, figures], sort_keys=True)
        return f"{self.path}/{hashlib.sha256(led_there.encode()).hexdigest()}"
