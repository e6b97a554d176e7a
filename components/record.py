"""Keep what a run on a cluster came to; on one machine the runner does."""

from kfp.dsl import Artifact, Input

from components.component import component


@component
def record(
    report: Input[Artifact],
    decision: Input[Artifact],
    store: str,
    run_id: str,
    started: str,
    profile: str,
    cause: str,
) -> None:
    """Write the run's record into the store: every model's figures and the gate's verdict."""
    from datetime import UTC, datetime
    from pathlib import Path

    from infra import runs
    from infra.storage import open_store
    from inkloop.evaluation import Report
    from inkloop.gate import Decision

    since = datetime.fromisoformat(started)
    begun = runs.begin(since, profile, cause, run_id)
    figures = Report.model_validate_json(Path(report.path).read_text())
    decided = Decision.model_validate_json(Path(decision.path).read_text())
    wall_s = (datetime.now(UTC) - since).total_seconds()
    runs.keep(open_store(store), runs.finished(begun, wall_s, (), figures, decided))
