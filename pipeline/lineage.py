"""The lineage of a run: which bytes each step read and wrote, by which code and settings, as OpenLineage's events."""

import hashlib
import json
import subprocess
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime, timedelta
from functools import cached_property
from importlib.metadata import version
from pathlib import Path
from typing import Any

from kfp import dsl

from infra import dvc, openlineage, sbom
from infra.openlineage import Event, Kind, facets
from infra.storage import Store, open_store
from inkloop import artifacts, mnist, sources
from pipeline.cache import Values
from pipeline.local import StepRun

JOB = "pipeline"
FILES = "loop/sources"  # in the store: a list of a source's files by the source's digest
ROOT = Path(__file__).parents[1]


class Lineage:
    """Takes down one run: `begin`, each step as it ends, and `end`. Kept at the start, and whole at the end."""

    def __init__(self, run: str, arguments: Mapping[str, Any], code: Mapping[str, str], started: datetime) -> None:
        """run: its id in `infra.runs`; arguments: of the graph; code: the digest of each step's code."""
        self._run, self._arguments, self._code, self._started = run, dict(arguments), dict(code), started
        self._store = open_store(arguments["store"])
        self._id = openlineage.run_uuid(arguments["store_id"], run)
        self._commit = commit(ROOT)
        self._endpoint = openlineage.endpoint()  # now: steps run in a clean environment
        self._events: list[Event] = []
        self.complaint: str | None = None  # about that endpoint

    def begin(self) -> None:
        """The first step begins, or was found in the cache. A run that is killed leaves this alone."""
        if not self._events:
            self._add(self._of_run("START", self._started))
            openlineage.keep(self._store, self._run, self._events)

    def step(self, step: StepRun) -> None:
        """A step has ended well."""
        self.begin()
        ended = datetime.now(UTC)
        read, written = _artifacts(step.inputs), _artifacts(step.outputs)
        if step.name == "ingest":
            read = self._sources
        said = {
            "inkloop_settings": {"parameters": _parameters(step.inputs)},
            "inkloop_step": {"code": self._code[step.name], "seconds": round(step.seconds, 3), "cached": step.cached},
        }
        self._add(self._of_step("START", ended - timedelta(seconds=step.seconds), step.name, said, read))
        self._add(self._of_step("COMPLETE", ended, step.name, said, read, written))

    def end(self, published: Sequence[str]) -> None:
        """The run has ended well. published: digests of models that are in the store now."""
        asked = self._arguments
        keep_files(self._store, asked["source_digest"], sources.files(asked["source"], Path(asked["data_dir"])))
        models = [openlineage.in_store(self._store, f"models/{digest}", digest) for digest in published]
        for key in (sbom.key_of(digest) for digest in published):
            if self._store.exists(key):
                content = hashlib.sha256(self._store.get(key)).hexdigest()
                models.append(openlineage.in_store(self._store, key, content))
        self._add(self._of_run("COMPLETE", datetime.now(UTC), inputs=self._sources, outputs=models))
        openlineage.keep(self._store, self._run, self._events)

    def failed(self, step: str, why: str, was_stopped: bool) -> None:
        """The run has ended in this step."""
        now = datetime.now(UTC)
        kind: Kind = "ABORT" if was_stopped else "FAIL"
        said = {"errorMessage": {"message": why, "programmingLanguage": "python"}}
        self._add(self._of_step("START", now, step, {}))
        self._add(self._of_step(kind, now, step, said))
        self._add(self._of_run(kind, now, said))
        openlineage.keep(self._store, self._run, self._events)

    def _add(self, event: Event) -> None:
        self._events.append(event)
        if self._endpoint is not None and self.complaint is None:  # one that is away is asked once
            self.complaint = openlineage.post(event, self._endpoint)

    def _of_run(self, kind: Kind, when: datetime, said: Values | None = None, **datasets: Any) -> Event:  # noqa: ANN401
        settings = {"inkloop_settings": {"parameters": _parameters(self._arguments)}}
        engine = {"processing_engine": {"name": "kfp", "version": version("kfp")}}
        run_facets = facets(**settings, **engine, **(said or {}))
        return openlineage.event(kind, when, self._id, JOB, run_facets, self._job("DAG"), **datasets)

    def _of_step(
        self,
        kind: Kind,
        when: datetime,
        step: str,
        said: Values,
        inputs: list[dict[str, Any]] | None = None,
        outputs: list[dict[str, Any]] | None = None,
    ) -> Event:
        parent = {"run": {"runId": self._id}, "job": {"namespace": openlineage.NAMESPACE, "name": JOB}}
        run_id = openlineage.run_uuid(self._id, step)
        run_facets = facets(parent=parent, **said)
        job = f"{JOB}.{step}"
        return openlineage.event(kind, when, run_id, job, run_facets, self._job("TASK"), inputs or (), outputs or ())

    def _job(self, kind: str) -> openlineage.Facets:
        what = {"processingType": "BATCH", "integration": "KUBEFLOW", "jobType": kind}
        return facets(jobType=what, sourceCodeLocation=self._commit)

    @cached_property
    def _sources(self) -> list[dict[str, Any]]:
        """What the run read from outside: the source, production's digits, the model that it went on from."""
        source, data = self._arguments["source"], Path(self._arguments["data_dir"])
        digest = self._arguments["source_digest"]
        place = data / mnist.NAME if source == mnist.NAME else Path(source)
        about = {"source": source, "data_dvc": dvc.pinned(data) if source == mnist.NAME else None}
        found = [openlineage.dataset("file", str(place), digest, inkloop_source=about)]
        for place_in_store, name in (("datasets", "production"), ("models", "warm_start")):
            if digest := self._arguments[name]:
                found.append(openlineage.in_store(self._store, f"{place_in_store}/{digest}", digest))
        return found


def keep_files(store: Store, source_digest: str, files: Mapping[str, str]) -> None:
    """Keep the SHA-256 sums of a source's files, once for each state of the source."""
    store.get_or_put(f"{FILES}/{source_digest}.json", json.dumps(files, indent=1).encode())


def files_of(store: Store, source_digest: str) -> dict[str, str]:
    """The SHA-256 sums of a source's files by name. Raises Missing if they were not kept."""
    files: dict[str, str] = json.loads(store.get(f"{FILES}/{source_digest}.json"))
    return files


def content_digest(path: Path) -> str:
    """SHA-256 of a file; of a folder as `inkloop.artifacts.digest` has it."""
    return artifacts.digest(path) if path.is_dir() else hashlib.sha256(path.read_bytes()).hexdigest()


def commit(root: Path) -> dict[str, Any] | None:
    """The commit that is checked out there, and whether files differ from it; None outside git."""
    head, status = _git(root, "rev-parse", "HEAD"), _git(root, "status", "--porcelain", "--untracked-files=no")
    if head is None:
        return None
    return {"type": "git", "url": f"urn:git:{head}", "version": head, "inkloop_changed": bool(status)}


def has_commit(root: Path, commit: str) -> bool:
    """Whether the repository there holds the commit."""
    return _git(root, "cat-file", "-e", f"{commit}^{{commit}}") is not None


def _git(root: Path, *arguments: str) -> str | None:
    try:
        done = subprocess.run(["git", *arguments], cwd=root, capture_output=True, text=True, check=True)
    except (OSError, subprocess.CalledProcessError):
        return None
    return done.stdout.strip()


def _artifacts(values: Values) -> list[dict[str, Any]]:
    return [
        openlineage.dataset(
            openlineage.NAMESPACE,
            "/".join(Path(value.path).parts[-2:]),  # the step that made it, and its name there
            content_digest(Path(value.path)),
            inkloop_artifact={"path": value.path, "kind": value.schema_title},
        )
        for _, value in sorted(values.items())
        if isinstance(value, dsl.Artifact) and Path(value.path).exists()
    ]


def _parameters(values: Mapping[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in values.items() if not isinstance(value, dsl.Artifact)}
