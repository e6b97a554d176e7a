"""Runs a graph on this machine by kfp's own local runner: cached by content, resumable, one run at a time, quiet."""

import contextlib
import errno
import fcntl
import hashlib
import json
import os
import shutil
import tempfile
import time
import traceback
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from kfp import local
from kfp.dsl.base_component import BaseComponent
from kfp.local import cache as kfp_cache
from kfp.local.graph_utils import topological_sort_tasks
from rich.console import Console

from infra.guard import guarded
from infra.ray_session import ONE_THREAD
from inkloop.errors import UserError
from inkloop.files import written_whole
from pipeline.cache import ContentCache, Values, sweep
from pipeline.log import Log, StepFailed
from pipeline.progress import Progress, remembered

# What a step may know of the caller's environment: where programs and certificates are, how to reach the network.
# On a cluster it would not see the rest either.
PASSED_ON = ("PATH", "HOME", "USER", "LANG", "PYTHONPATH", "LD_LIBRARY_PATH", "REQUESTS_CA_BUNDLE")
PASSED_ON_BY_PREFIX = ("AWS_", "CUDA_", "DVC_", "INKLOOP_", "LC_", "PIP_", "RAY_", "SSL_")
PASSED_ON_BY_ENDING = ("_PROXY", "_proxy")
FULL = os.strerror(errno.ENOSPC)


@dataclass(frozen=True)
class StepRun:
    """How one step of a run went: seconds it ran (0 if cached), its inputs (parameters too) and outputs by name."""

    name: str
    seconds: float
    cached: bool
    inputs: Values
    outputs: Values


@dataclass(frozen=True)
class Run:
    """A finished run: its steps in order and its wall time."""

    steps: tuple[StepRun, ...]
    wall_s: float

    def output(self, step: str, name: str) -> Path:
        """Where an output artifact of a step lies."""
        return next(Path(run.outputs[name].path) for run in self.steps if run.name == step)


def always_stands(step: str, inputs: Values, outputs: Values) -> bool:
    """No result depends on anything beside code, parameters and artifacts."""
    return True


def nothing(*_: object) -> None:
    """No step needs anything beside what the graph hands it, and nobody wants to know how it went."""


def run(
    graph: BaseComponent,
    arguments: Mapping[str, Any],
    folder: Path,
    console: Console,
    profile: str = "default",
    expected_s: Mapping[str, float] | None = None,
    stands: Callable[[str, Values, Values], bool] = always_stands,
    before: Callable[[str, Path], None] = nothing,
    after: Callable[[StepRun], None] = nothing,
) -> Run:
    """Run the graph; artifacts, cache and log go to the folder (`runs/`, `cache/`, `latest/`).

    expected_s: seconds a step takes, where no earlier run of the profile has measured it; `stands`: see `ContentCache`;
    `before` is called with each step that is about to run, and the run's scratch folder; `after` with each that has.
    Raises UserError if a step found a mistake of the user's or another run is going on here, StepFailed for the rest.
    """
    folder = folder.absolute()
    latest, timings = folder / "latest", folder / "timings.json"
    with _room(folder), _alone(folder), Log(_emptied(latest) / "run.log") as log:
        sweep(folder / "cache", folder / "runs")
        earlier = set((folder / "runs").glob("*"))
        known = json.loads(timings.read_text()) if timings.exists() else {}
        titles = _titles(graph)
        progress = Progress(titles, {**(expected_s or {}), **known.get(profile, {})}, console, lambda: log.last_line)
        observer = _Recorder(progress, log, latest, before, after)
        start = time.monotonic()
        try:
            with progress, _surroundings(folder), contextlib.redirect_stdout(log), contextlib.redirect_stderr(log):
                _run_by_kfp(graph, arguments, folder, ContentCache(folder / "cache", observer, stands))
        except Exception as error:
            failed = progress.failed_step()
            if failed is None:
                raise
            said = observer.failed(failed.name, set((folder / "runs").glob("*")) - earlier, log.user_error() or "")
            if log.speaks_of(FULL) or _is_full(error):
                raise _no_room(folder, failed.name) from error
            if said:
                raise UserError(said) from error
            ending = "\n".join(log.tail(20)) or "".join(traceback.format_exception(error))
            if not log.has_traceback():
                ending += (
                    "\nIt was ended from outside, without a word: by the system, if memory ran out, or by someone."
                )
            raise StepFailed(f"The step {failed.name} failed:\n{ending}\nThe whole log: {log.path}") from error
        finally:
            known[profile] = {**known.get(profile, {}), **remembered(list(progress.steps.values()))}
            with contextlib.suppress(OSError), written_whole(timings) as unfinished:  # no more than an estimate
                unfinished.write_text(json.dumps(known, indent=1))
        return Run(tuple(observer.steps), time.monotonic() - start)


class _Recorder:
    """Passes a run's events on to the progress, records them, and links outputs at `latest/STEP`, pages as HTML too."""

    def __init__(
        self,
        progress: Progress,
        log: Log,
        latest: Path,
        before: Callable[[str, Path], None],
        after: Callable[[StepRun], None],
    ) -> None:
        self.steps: list[StepRun] = []
        self._progress, self._log, self._latest, self._before, self._after = progress, log, latest, before, after

    def started(self, step: str) -> None:
        self._log.forget()
        self._before(step, Path.cwd())
        self._progress.started(step)

    def finished(self, step: str, seconds: float, cached: bool, inputs: Values, outputs: Values) -> None:
        self.steps.append(StepRun(step, seconds, cached, inputs, outputs))
        places = [Path(output.path).parent for output in outputs.values() if hasattr(output, "path")]
        if places:
            self._link(step, places[0])
        self._progress.finished(step, seconds, cached, outputs)
        self._after(self.steps[-1])

    def failed(self, step: str, ours: set[Path], said: str) -> str:
        """Link what the failed step left, such as a report of mistakes. Returns what it said, by these links.

        ours: this run's folder, if it has one; by its name, a time, it is not always the newest.
        """
        left = next(iter(ours), self._latest) / step
        if not left.is_dir() or left.parent == self._latest:
            return said
        self._link(step, left)
        for page in self._latest.glob(f"{step}-*.html"):
            said = said.replace(str(left / page.readlink().name), str(page))
        return said.replace(f"{left}/", f"{self._latest / step}/")

    def _link(self, step: str, place: Path) -> None:
        (self._latest / step).symlink_to(os.path.relpath(place, self._latest))
        for page in sorted(path for path in place.iterdir() if path.is_file()):
            with page.open("rb") as content:
                is_html = content.read(9).lower() == b"<!doctype"
            if is_html:  # kfp gives it no ending, and browsers go by that
                (self._latest / f"{step}-{page.name}.html").symlink_to(f"{step}/{page.name}")


def _run_by_kfp(graph: BaseComponent, arguments: Mapping[str, Any], folder: Path, cache: ContentCache) -> None:
    local.init(
        runner=local.SubprocessRunner(use_venv=False),
        pipeline_root=str(folder / "runs"),
        workspace_root=str(Path("workspace").absolute()),
        enable_caching=True,
        cache_root=cache.cache_root,
    )
    # kfp makes its cache on first use and offers no other way to bring one's own.
    kfp_cache._cache_singleton, kfp_cache._cache_singleton_root = cache, cache.cache_root
    graph(**arguments)


def _titles(graph: BaseComponent) -> dict[str, str]:
    tasks = graph.pipeline_spec.root.dag.tasks
    in_order = (tasks[name] for name in reversed(topological_sort_tasks(tasks)))
    return {task.component_ref.name.removeprefix("comp-"): task.task_info.name for task in in_order}


@contextlib.contextmanager
def _room(folder: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        if _is_full(error):
            raise _no_room(folder, "") from error
        raise


def _is_full(error: BaseException | None) -> bool:
    """Whether a full disk is behind the error."""
    while error is not None:
        if isinstance(error, OSError) and error.errno == errno.ENOSPC:
            return True
        error = error.__cause__ or error.__context__
    return False


def _no_room(folder: Path, step: str) -> UserError:
    where = f"the step {step} could not write what it made" if step else "the run could not begin"
    return UserError(
        f"{folder}: {FULL[0].lower()}{FULL[1:]}, there or in {tempfile.gettempdir()}, so {where}. "
        "Make room, then run again: it goes on from the last finished step."
    )


def _emptied(latest: Path) -> Path:
    shutil.rmtree(latest, ignore_errors=True)
    latest.mkdir(parents=True)
    return latest


@contextlib.contextmanager
def _alone(folder: Path) -> Iterator[None]:
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / "lock").open("a+") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)  # the system lets go of it when the process ends, however
        except BlockingIOError:
            lock.seek(0)
            raise UserError(f"{folder}: process {lock.read()} runs a pipeline here. Wait for it, or stop it.") from None
        lock.truncate(0)
        lock.write(str(os.getpid()))
        lock.flush()
        yield


@contextlib.contextmanager
def _surroundings(folder: Path) -> Iterator[None]:
    """Let steps start in an empty scratch folder, in a clean environment, and see to it that none outlives this run."""
    # One place for each folder, short enough for Ray's sockets, so that the next run clears up after a killed one.
    scratch = Path(tempfile.gettempdir()) / f"inkloop-{hashlib.sha256(str(folder).encode()).hexdigest()[:8]}"
    shutil.rmtree(scratch, ignore_errors=True)
    scratch.mkdir(mode=0o700)
    before = dict(os.environ)
    passed_on = {name: value for name, value in before.items() if _is_passed_on(name)}
    ours = {**ONE_THREAD, "TMPDIR": str(scratch), "PYTHONUNBUFFERED": "1"}
    try:
        with guarded() as mark, contextlib.chdir(scratch):
            os.environ.clear()
            os.environ.update({**passed_on, **ours, **mark})
            yield
    finally:
        os.environ.clear()
        os.environ.update(before)
        shutil.rmtree(scratch, ignore_errors=True)


def _is_passed_on(variable: str) -> bool:
    return variable in PASSED_ON or variable.startswith(PASSED_ON_BY_PREFIX) or variable.endswith(PASSED_ON_BY_ENDING)
