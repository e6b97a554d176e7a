"""kfp's local cache made to see content: a result is reused for the same code, parameters and input bytes, if whole."""

import hashlib
import json
import os
import shutil
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, Protocol

from kfp import dsl
from kfp.local.cache import LocalCache

ABOUT = "__about__"  # what we add to a kfp entry, as one more output
KEPT_PER_STEP = 8  # results of one step, the latest used
# They read and change the champion in the store, which the keys of a cache do not show.
LOOK_AROUND = frozenset({"gate", "package"})
PLACES = frozenset({"store", "data_dir"})  # where the other steps find what further inputs name by digest, and no more

Values = dict[str, Any]  # a step's inputs or outputs by name: artifacts and plain values


class Observer(Protocol):
    """Who is told how a run goes on, from the thread that runs it."""

    def started(self, step: str) -> None:
        """The step's result is not in the cache: it runs now."""

    def finished(self, step: str, seconds: float, cached: bool, inputs: Values, outputs: Values) -> None:
        """The step's outputs are there, made from its inputs or taken from the cache."""


class ContentCache(LocalCache):  # type: ignore[misc]
    """Keys hold the SHA-256 of each input artifact's files instead of its place; entries hold those of the outputs.

    Cuts off early: where a step that had to run again makes the same bytes, what follows is still taken from the cache.
    `stands(step, inputs, outputs)` may refuse to keep or use a result that the world outside has overtaken.
    """

    def __init__(self, folder: Path, observer: Observer, stands: Callable[[str, Values, Values], bool]) -> None:
        super().__init__(str(folder))
        self._observer, self._stands = observer, stands
        self._running: dict[str, tuple[str, Values, float]] = {}  # step, inputs and start, by key
        self._sums: dict[tuple[str, int, int], str] = {}  # of a file, by path, time and size

    def compute_key(
        self,
        component_name: str,
        image: str,
        full_command: list[str],
        arguments: Values,
        env_vars: dict[str, str] | None = None,
        custom_cache_key: str | None = None,
    ) -> str:
        """The key of a step about to start; `arguments` are its inputs."""
        step = component_name.removeprefix("comp-")
        places = frozenset() if step in LOOK_AROUND else PLACES
        inputs = {name: self._by_content(value) for name, value in arguments.items() if name not in places}
        key: str = super().compute_key(component_name, image, full_command, inputs, env_vars, custom_cache_key)
        self._running[key] = (step, arguments, time.monotonic())
        return key

    def get(self, key: str) -> Values | None:
        """The outputs under the key, None if there are none or if a byte of them is not as it was put."""
        step, inputs, _ = self._running[key]
        outputs: Values | None = super().get(key)
        if outputs is not None:
            about = outputs.pop(ABOUT, {})
            if about.get("content") == self._contents(outputs) and self._stands(step, inputs, outputs):
                os.utime(self._entry_path(key))
                self._observer.finished(step, 0.0, True, inputs, outputs)
                return outputs
        self._observer.started(step)
        return None

    def put(self, key: str, outputs: Values) -> None:
        """Keep the outputs of a step that has just succeeded, unless the world has overtaken them already."""
        step, inputs, start = self._running[key]
        for artifact in _artifacts(outputs):
            # A step that only sets an artifact's metadata leaves no file, and kfp takes that for a lost artifact.
            if not Path(artifact.path).exists():
                Path(artifact.path).touch()
        if self._stands(step, inputs, outputs):
            super().put(key, {**outputs, ABOUT: {"step": step, "content": self._contents(outputs)}})
        self._observer.finished(step, time.monotonic() - start, False, inputs, outputs)

    def _contents(self, outputs: Values) -> list[str]:
        return [self._sum_of(Path(artifact.path)) for artifact in _artifacts(outputs)]

    def _by_content(self, value: Any) -> Any:  # noqa: ANN401 - whatever a pipeline hands on
        if isinstance(value, list):
            return [self._by_content(each) for each in value]
        if isinstance(value, dsl.Artifact):
            return {"schema": value.schema_title, "metadata": value.metadata, "content": self._sum_of(Path(value.path))}
        return value

    def _sum_of(self, path: Path) -> str:
        if not path.is_dir():
            return self._sum_of_file(path)
        files = sorted(below for below in path.rglob("*") if below.is_file())
        lines = (f"{file.relative_to(path).as_posix()}\0{self._sum_of_file(file)}\n" for file in files)
        return hashlib.sha256("".join(lines).encode()).hexdigest()

    def _sum_of_file(self, path: Path) -> str:
        state = path.stat()
        seen = (str(path), state.st_mtime_ns, state.st_size)
        if seen not in self._sums:
            with path.open("rb") as file:
                self._sums[seen] = hashlib.file_digest(file, "sha256").hexdigest()
        return self._sums[seen]


def sweep(cache: Path, runs: Path) -> None:
    """Forget all but the latest used results of each step and remove all other outputs. Not while a run goes on."""
    kept: dict[str, int] = {}
    needed: set[Path] = set()
    for entry in sorted(cache.glob("*.json"), key=lambda path: path.stat().st_mtime, reverse=True):
        try:
            outputs = json.loads(entry.read_text())
            step = outputs[ABOUT]["step"]
        except (ValueError, KeyError):
            entry.unlink()
            continue
        kept[step] = kept.get(step, 0) + 1
        if kept[step] > KEPT_PER_STEP:
            entry.unlink()
        else:
            artifacts = (output for output in outputs.values() if isinstance(output, dict) and "uri" in output)
            needed.update(Path(artifact["uri"]).parent for artifact in artifacts)
    for run in runs.glob("*/"):
        for step_folder in run.iterdir():
            if step_folder not in needed:
                shutil.rmtree(step_folder) if step_folder.is_dir() else step_folder.unlink()
        if not any(run.iterdir()):
            run.rmdir()


def _artifacts(values: Values) -> Iterator[dsl.Artifact]:
    for _, value in sorted(values.items()):
        yield from (each for each in (value if isinstance(value, list) else [value]) if isinstance(each, dsl.Artifact))
