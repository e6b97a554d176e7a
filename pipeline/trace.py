"""The way from one answer back to the bytes of the training data, each link held against the bytes at hand."""

import hashlib
import json
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from infra import captured, openlineage, registry, runs, sbom
from infra.openlineage import Event
from infra.storage import Missing, Store
from inkloop import artifacts, digits, mnist
from inkloop.errors import UserError
from pipeline import graph, lineage
from pipeline.code_digest import code_digests
from pipeline.links import Link, State, files_of_source, mnist_here, pinned, production
from serving.capture import VARIABLE_PREFIX, CaptureSettings
from serving.records import id_from

MAKERS = {"pen": "make strokes", "line": "make lines"}


@dataclass(frozen=True)
class Record:
    """What was kept of one run: its record, and the events of its lineage."""

    run: runs.Run
    events: list[Event]

    @property
    def of_run(self) -> Event:
        """The event that ended it."""
        return next(each for each in reversed(self.events) if each["job"]["name"] == lineage.JOB)

    @property
    def settings(self) -> dict[str, Any]:
        """All that the graph was called with."""
        settings: dict[str, Any] = self.of_run["run"]["facets"]["inkloop_settings"]["parameters"]
        return settings

    def code(self) -> dict[str, str]:
        """The digest of each step's code."""
        ended = (each for each in self.events if each["eventType"] == "COMPLETE")
        return {
            each["job"]["name"].removeprefix(f"{lineage.JOB}."): each["run"]["facets"]["inkloop_step"]["code"]
            for each in ended
            if "inkloop_step" in each["run"]["facets"]
        }

    def output(self, name: str) -> dict[str, Any] | None:
        """What a step wrote, such as `validate/validated`."""
        written = (each for event in self.events for each in event["outputs"])
        return next((each for each in written if each["name"] == name), None)

    def published(self, key: str) -> str | None:
        """The version of what the run put under a key of the store."""
        written = (each for each in self.of_run["outputs"] if each["name"].endswith(key))
        return next((openlineage.version_of(each) for each in written), None)


def trace(store: Store, prediction_id: str, data: Path) -> Link:
    """The chain of one answer. data: where sets known by name are.

    Raises UserError if there is no such answer in the store, or its model is there no longer.
    """
    row = _answer(store, prediction_id)
    try:
        digest = registry.resolve(store, row["model_version"])
    except UserError:
        raise UserError(
            f"prediction {row['prediction_id']}: model {row['model_version']} gave it, which {store} no longer holds."
        ) from None
    image = next(digits.images_of(row["table"]))
    facts = {
        "answer": row["answer"],
        "label": row["label"],
        "seen": row["seen_at"],
        "source": row["source"],
        "picture": row["id"],
    }
    state: State = "ok" if digits.digit_id(image) == row["id"] else "changed"
    return Link("prediction", row["prediction_id"], state, facts, (model(store, digest, data),))


def model(store: Store, digest: str, data: Path) -> Link:
    """The chain of a published model."""
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch) / "model"
        state, said = _fetched(store, digest, folder)
        if state != "ok":
            return Link("model", registry.version_of(digest), state, {"digest": digest, "why": said})
        info, files = artifacts.info(folder), sorted(folder.rglob("*"))
        sums = {path.relative_to(folder).as_posix(): lineage.content_digest(path) for path in files if path.is_file()}
    champions = [each for each in registry.history(store) if each.digest == digest]
    record = record_of(store, digest)
    facts = {
        "kind": record.run.chosen if record else info.kind,
        "digest": digest,
        "champion since": champions[-1].since if champions else None,
        "decision": champions[-1].decision.get("reason") if champions else None,
        "signed by": ", ".join(key.rpartition("/")[2] for key in store.list(f"signatures/{digest}/")) or None,
    }
    parents = [_parent(store, name, value) for name, value in info.lineage.items() if name == "teacher"]
    if info.kind in MAKERS:
        facts |= {"made by": MAKERS[info.kind], "seed": info.lineage.get("seed")}
        made_from = [mnist_here(data)] if info.lineage.get("mnist") == mnist.pin() else []
    else:
        made_from = [_run(store, record, info.lineage, data)]
    return Link(
        "model", registry.version_of(digest), "ok", facts, (_sbom(store, digest, sums, record), *parents, *made_from)
    )


def _answer(store: Store, prediction_id: str) -> dict[str, Any]:
    try:
        raw = id_from(prediction_id)
    except ValueError:
        raise UserError(f"prediction {prediction_id!r}: not an id. Give the prediction_id of an answer.") from None
    when = datetime.fromtimestamp(int.from_bytes(raw[:6], "big") / 1000, UTC)  # an id begins with its time
    found = captured.find(store, prediction_id.lower(), when)
    if found.num_rows:
        return {**found.to_pylist()[0], "table": found}
    kept = timedelta(days=CaptureSettings.from_environment(VARIABLE_PREFIX).retention_days)
    if when < datetime.now(UTC) - kept:
        raise UserError(
            f"prediction {prediction_id}: of {when:%Y-%m-%d}, and {store} keeps answers for {kept.days} days."
        )
    raise UserError(
        f"prediction {prediction_id}: not in {store}. Servers ship answers within two minutes, so ask again; one that "
        "was withheld (Inkloop-Capture: no), not sampled, or forgotten since is not kept."
    )


def _fetched(store: Store, digest: str, folder: Path) -> tuple[State, str]:
    try:
        registry.fetch(store, digest, folder)
    except Missing as error:
        return "missing", str(error)
    except UserError as error:
        return "changed", str(error)
    return "ok", ""


def _parent(store: Store, name: str, digest: str) -> Link:
    with tempfile.TemporaryDirectory() as scratch:
        state, _ = _fetched(store, digest, Path(scratch) / "model")
    return Link(name, registry.version_of(digest), state, {"digest": digest})


def _sbom(store: Store, digest: str, sums: dict[str, str], record: Record | None) -> Link:
    key = sbom.key_of(digest)
    try:
        content = store.get(key)
        listed = json.loads(content)["components"]
    except Missing:
        return Link("SBOM", key, "missing")
    except (ValueError, KeyError):
        return Link("SBOM", key, "changed")
    packages = sum(each["type"] == "library" for each in listed)
    files = next(each["components"] for each in listed if each["type"] == "machine-learning-model")
    agrees = {each["name"]: each["hashes"][0]["content"] for each in files} == sums
    if record is not None and (kept := record.published(key)) is not None:
        agrees = agrees and hashlib.sha256(content).hexdigest() == kept
    return Link("SBOM", key, "ok" if agrees else "changed", {"packages": packages, **sums})


def _run(store: Store, record: Record | None, of_model: dict[str, str], data: Path) -> Link:
    if record is None:
        why = "no run in this store made it; if Kubeflow did, its own metadata have it"
        return Link("run", "unknown", "missing", {"why": why, **of_model})
    settings, run = record.settings, record.run
    facts = {"profile": run.profile, "cause": run.cause, "started": run.started, "verdict": run.verdict}
    below = [
        _at_hand("bento", record.output("package/bento")),
        _code(record),
        Link("settings", _digest_of(settings), "recorded", {"seed": settings["seed"], **settings}),
        _table(record, of_model),
        *_sources(store, record, data),
    ]
    if settings["production"]:
        below.append(production(store, settings["production"]))
    if settings["warm_start"]:
        below.append(_started_from(store, settings["warm_start"]))
    return Link("run", run.id, "recorded", facts, tuple(below))


def record_of(store: Store, digest: str) -> Record | None:
    """The first run whose challenger this model was, None if there is none, or nothing of its lineage was kept."""
    for key in store.list(runs.PLACE):
        run = runs.Run.model_validate_json(store.get(key))
        if run.challenger == digest:
            try:
                return Record(run, openlineage.read(store, run.id))
            except Missing:
                continue
    return None


def _at_hand(what: str, made: dict[str, Any] | None, expected: str | None = None) -> Link:
    """An artifact of a run: it is here as long as the folder of artifacts keeps it."""
    if made is None:
        return Link(what, "unknown", "missing")
    path, digest = Path(made["facets"]["inkloop_artifact"]["path"]), openlineage.version_of(made)
    state: State = "missing"
    if path.exists():
        state = "ok" if lineage.content_digest(path) == digest else "changed"
    if expected is not None and expected != digest:
        state = "changed"
    return Link(what, str(path), state, {"digest": digest})


def _table(record: Record, of_model: dict[str, str]) -> Link:
    return _at_hand("digits", record.output("validate/validated"), of_model.get("digits"))


def _code(record: Record) -> Link:
    checked_out = record.of_run["job"]["facets"].get("sourceCodeLocation")
    facts: dict[str, Any] = {f"step {step}": digest for step, digest in record.code().items()}
    name = "no commit"
    if checked_out is not None:
        name = checked_out["version"]
        facts["in this repository"] = lineage.has_commit(lineage.ROOT, name)
        if checked_out["inkloop_changed"]:
            facts["beside the commit"] = "files were changed and not committed"
    now = code_digests(graph.CODE, graph.ROOMS)
    differs = [step for step, digest in record.code().items() if now.get(step) != digest]
    if differs:
        facts["other code here now"] = ", ".join(differs)
    return Link("code", name, "missing" if differs else "ok", facts)


def _sources(store: Store, record: Record, data: Path) -> Iterator[Link]:
    read = next(each for each in record.of_run["inputs"] if "inkloop_source" in each["facets"])
    about, digest = read["facets"]["inkloop_source"], openlineage.version_of(read)
    source = about["source"]
    if about["data_dvc"]:
        yield pinned(about["data_dvc"], data)
    try:
        then = lineage.files_of(store, digest)
    except Missing:
        yield Link("source", source, "missing", {"digest": digest})
        return
    yield files_of_source(source, digest, then, data)


def _started_from(store: Store, digest: str) -> Link:
    """The model that a run went on from, with the run that made it and production's digits there, and so on."""
    with tempfile.TemporaryDirectory() as scratch:
        state, _ = _fetched(store, digest, Path(scratch) / "model")
    record, below = record_of(store, digest), []
    if record is not None:
        if record.settings["production"]:
            below.append(production(store, record.settings["production"]))
        if record.settings["warm_start"]:
            below.append(_started_from(store, record.settings["warm_start"]))
    facts = {"digest": digest, "run": record.run.id if record else None}
    return Link("trained on from", registry.version_of(digest), state, facts, tuple(below))


def _digest_of(settings: dict[str, Any]) -> str:
    return hashlib.sha256(json.dumps(settings, sort_keys=True).encode()).hexdigest()
