"""A retraining: the same graph, from the champion on, on what production sent and people labeled."""

from datetime import UTC, datetime, timedelta
from pathlib import Path

from pydantic import PositiveInt
from rich.console import Console

from infra import captured, datasets, dvc, lease, reference, registry
from infra.storage import Store, open_store
from inkloop.errors import UserError
from inkloop.gate import Decision
from inkloop.settings import Settings
from monitoring import decisions, retrainings, suspicion
from monitoring.retrainings import Retraining
from monitoring.signals import without
from monitoring.suspicion import SuspicionSettings
from pipeline import cluster, graph
from pipeline import profile as profiles
from pipeline.local import StepFailed
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


def retrain(
    store_url: str,
    settings: RetrainingSettings,
    artifacts: Path,
    data: Path,
    cause: str,
    why: str,
    console: Console,
    host: str = "",
) -> Retraining:
    """Make a version of production's labeled digits, run the graph from the champion on, and keep what came of it.

    host: of Kubeflow Pipelines, where the graph is to run; empty: here. One at a time: raises lease.Taken while another
    runs. Raises UserError if nothing is labeled or there is no champion; what fails later is kept in the record, then
    raised.
    """
    store = open_store(store_url)
    with lease.held(store, decisions.LEASE):
        return _retrain(store, store_url, settings, artifacts, data, cause, why, console, host)


def _retrain(
    store: Store,
    store_url: str,
    settings: RetrainingSettings,
    artifacts: Path,
    data: Path,
    cause: str,
    why: str,
    console: Console,
    host: str,
) -> Retraining:
    now, champion = datetime.now(UTC), registry.reigning(store)
    rows = datasets.labeled(store, EPOCH, now + MUCH_LATER)
    labels = captured.latest_labels(store, EPOCH)
    known = reference.read(store, champion.digest)
    kept = without(rows, suspicion.find(rows, known, settings.suspicion, labels))
    table = datasets.to_learn(kept, settings.newest)
    version = datasets.publish(store, table)
    record = Retraining(
        id=retrainings.new_id(now),
        cause=cause,
        why=why,
        started=now,
        champion=champion.digest,
        production=version,
        data_version=None if host else _pinned(store, version, data),
        digits=table.num_rows,
        left_out=rows.num_rows - kept.num_rows,
    )
    retrainings.keep(store, record)
    try:
        ended = (
            _run_on_cluster(record, store, store_url, settings, host)
            if host
            else _run(record, store_url, settings, artifacts, data, console)
        )
    except (UserError, StepFailed) as error:
        failed = {"outcome": "failed", "verdict": str(error).splitlines()[0], "ended": datetime.now(UTC)}
        retrainings.keep(store, record.model_copy(update=failed))
        raise
    return retrainings.keep(store, ended)


def _pinned(store: Store, version: str, data: Path) -> str | None:
    """Put production's digits beside the others and have DVC pin them all."""
    datasets.fetch(store, version, data / PRODUCTION)
    return dvc.new_version(data)


def _run(
    record: Retraining, store_url: str, settings: RetrainingSettings, artifacts: Path, data: Path, console: Console
) -> Retraining:
    finished, _ = run(
        settings.profile,
        settings.source,
        store_url,
        artifacts,
        data,
        console,
        record.production,
        record.champion,
        record.cause,
    )
    decision = Decision.model_validate_json(finished.output("gate", "decision").read_text())
    reigns = registry.reigning(open_store(store_url)).digest == decision.challenger
    passed: retrainings.Outcome = "promoted" if reigns else "on trial"
    return record.model_copy(
        update={
            "outcome": passed if decision.promoted else "refused",
            "challenger": decision.challenger,
            "verdict": decision.reason,
            "ended": datetime.now(UTC),
        }
    )


def _run_on_cluster(
    record: Retraining, store: Store, store_url: str, settings: RetrainingSettings, host: str
) -> Retraining:
    """Submit it and wait for its end: the lease is held that long."""
    chosen = profiles.load(settings.profile)
    arguments = graph.arguments_on_cluster(chosen, settings.source, store_url, record.production, record.champion)
    submitted = cluster.submit(graph.build(), arguments, host, f"retraining {record.id}")
    retrainings.keep(store, record.model_copy(update={"verdict": f"runs at {submitted.url}"}))
    state, champion = cluster.ended(host, submitted.run_id), registry.reigning(store)
    outcome: retrainings.Outcome = "failed"
    if state == "SUCCEEDED":
        outcome = "refused" if champion.digest == record.champion else "promoted"
    changed = {"challenger": champion.digest if outcome == "promoted" else None, "ended": datetime.now(UTC)}
    return record.model_copy(update={"outcome": outcome, "verdict": f"{state.lower()}: {submitted.url}", **changed})
