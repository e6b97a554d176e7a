"""A retraining: the same graph, from the champion on, on what production sent and people labeled."""

import contextlib
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

from pydantic import PositiveInt
from rich.console import Console

from infra import captured, datasets, dvc, lease, reference, registry, runs
from infra.storage import Store, open_store
from inkloop.gate import Decision
from inkloop.inspection import fit
from inkloop.settings import Settings
from monitoring import decisions, retrainings, suspicion
from monitoring.retrainings import Outcome, Retraining
from monitoring.signals import without
from monitoring.suspicion import SuspicionSettings
from pipeline import cluster
from pipeline import profile as profiles
from pipeline.run import run

EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
MUCH_LATER = timedelta(days=3650)  # a server whose clock runs ahead is read too
PRODUCTION = "production"  # in the data folder, beside the sets known by name


class RetrainingSettings(Settings):
    """What a retraining runs, and on how much."""

    profile: str = "retrain"
    source: str = "mnist"  # the old digits
    newest: PositiveInt = 50_000  # labeled digits of production, at most
    suspicion: SuspicionSettings = SuspicionSettings()


@dataclass(frozen=True)
class Place:
    """Where it happens: the store, the folders of outputs and data, and Kubeflow's host; empty: on this machine."""

    store: str
    artifacts: Path
    data: Path
    host: str = ""


def retrain(place: Place, settings: RetrainingSettings, cause: str, why: str, console: Console) -> Retraining:
    """Make a version of production's labeled digits, run the graph from the champion on, and keep what came of it.

    One at a time: raises lease.Taken while another runs. Raises UserError if nothing is labeled or there is no
    champion; what fails later is kept in the record, then raised.
    """
    store = open_store(place.store)
    registry.reigning(store)  # before the lease makes a folder of a mistyped store
    with _alone(store):
        record = _prepared(store, place, settings, cause, why)
        try:
            retrainings.keep(store, record)
            if place.host:
                ended = _run_on_cluster(store, record, place, settings)
            else:
                ended = _run(record, place, settings, console)
        except BaseException as error:
            was_stopped = not isinstance(error, Exception)  # by a signal, which code in Rust turns into a panic
            said = "it was stopped" if was_stopped else (str(error).splitlines() or [repr(error)])[0]
            failed = {"outcome": "failed", "verdict": said, "ended": datetime.now(UTC)}
            retrainings.keep(store, record.model_copy(update=failed))
            raise
        return retrainings.keep(store, ended)


@contextlib.contextmanager
def _alone(store: Store) -> Iterator[None]:
    try:
        with lease.held(store, decisions.LEASE):
            yield
    except lease.Taken as taken:
        raise lease.Taken(f"a retraining is on its way, and one runs at a time ({taken}) Wait until it ends.") from None


def _prepared(store: Store, place: Place, settings: RetrainingSettings, cause: str, why: str) -> Retraining:
    """The record of a retraining that has its digits; not kept yet."""
    now, champion = datetime.now(UTC), registry.reigning(store)
    rows = datasets.labeled(store, EPOCH, now + MUCH_LATER)
    labels = captured.latest_labels(store, EPOCH)
    known = reference.read(store, champion.digest)
    kept = without(rows, suspicion.find(rows, known, settings.suspicion, labels))
    table = fit(datasets.to_learn(kept, settings.newest), profiles.load(settings.profile).validation)
    version = datasets.publish(store, table)
    return Retraining(
        id=runs.new_id(now),
        cause=cause,
        why=why,
        started=now,
        champion=champion.digest,
        production=version,
        data_version=None if place.host else _pinned(store, version, place.data),
        digits=table.num_rows,
        left_out=rows.num_rows - table.num_rows,
    )


def _pinned(store: Store, version: str, data: Path) -> str | None:
    """Put production's digits beside the others and have DVC pin them all."""
    datasets.fetch(store, version, data / PRODUCTION)
    return dvc.new_version(data)


def _run(record: Retraining, place: Place, settings: RetrainingSettings, console: Console) -> Retraining:
    finished, _ = run(
        settings.profile,
        settings.source,
        place.store,
        place.artifacts,
        place.data,
        console,
        record.production,
        record.champion,
        record.cause,
        registry.reigning(open_store(place.store)).hardware,
    )
    decision = Decision.model_validate_json(finished.output("gate", "decision").read_text())
    outcome: Outcome = "refused"
    if decision.promoted:
        reigns = registry.reigning(open_store(place.store)).digest == decision.challenger
        outcome = "promoted" if reigns else "on trial"
    changed = {"outcome": outcome, "challenger": decision.challenger, "verdict": decision.reason}
    return record.model_copy(update={**changed, "ended": datetime.now(UTC)})


def _run_on_cluster(store: Store, record: Retraining, place: Place, settings: RetrainingSettings) -> Retraining:
    """Submit it and wait for its end: the lease is held that long."""
    chosen = profiles.load(settings.profile, registry.reigning(store).hardware)
    start = (settings.source, place.store, record.production, record.champion, record.cause)
    job = cluster.job(settings.profile, chosen, *start)
    submitted = cluster.submit(job, place.host, f"retraining {record.id}")
    retrainings.keep(store, record.model_copy(update={"verdict": f"runs at {submitted.url}"}))
    state, champion = cluster.ended(place.host, submitted.run_id), registry.reigning(store)
    outcome: Outcome = "failed"
    if state == "SUCCEEDED":
        outcome = "refused" if champion.digest == record.champion else "promoted"
    changed = {"outcome": outcome, "challenger": champion.digest if outcome == "promoted" else None}
    verdict = f"{state.lower()}: {submitted.url}"
    return record.model_copy(update={**changed, "verdict": verdict, "ended": datetime.now(UTC)})
