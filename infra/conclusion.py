"""What a run on Kubeflow came to, put together when it is over: from its record, its last state and its tasks."""

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime

from infra import runs
from infra.kubeflow import Task
from infra.runs import Begun, Run, Step
from infra.storage import Missing, Store

UNNAMED = "a step that Kubeflow did not name"


def conclude(
    store: Store, begun: Begun, state: str, error: str | None, tasks: Sequence[Task], titles: Mapping[str, str]
) -> Run:
    """Complete the record that the last step has written; where none is, keep that the run failed. Returns the record.

    state and error: as Kubeflow hands them to an exit step. The state alone does not tell: some versions say RUNNING of
    a run that has failed. titles: of the steps, in the graph's order.
    """
    wall_s = (datetime.now(UTC) - begun.started).total_seconds()
    steps = _finished(tasks, titles)
    kept = _kept(store, begun.id)
    if kept is not None and not kept.failed and state != "FAILED":
        ended = kept.model_copy(update={"wall_s": wall_s, "steps": steps})
    else:
        failed, said = _failure(tasks, titles)
        verdict = said or error or f"Kubeflow says {state.lower()}; its page of the run has the log"
        ended = runs.failed(begun, wall_s, steps, failed, verdict)
    runs.keep(store, ended)
    return ended


def _kept(store: Store, run_id: str) -> Run | None:
    try:
        return runs.read(store, run_id)
    except Missing:
        return None


def _finished(tasks: Sequence[Task], titles: Mapping[str, str]) -> tuple[Step, ...]:
    """The steps that succeeded, in order. Kubeflow does not tell which of them it took from its cache."""
    done = {task.name: task for task in tasks if task.state == "SUCCEEDED"}
    return tuple(
        Step(name=name, title=title, seconds=round(done[name].seconds, 2), cached=False)
        for name, title in titles.items()
        if name in done
    )


def _failure(tasks: Sequence[Task], titles: Mapping[str, str]) -> tuple[str, str]:
    """Title of the first step that failed, and what Kubeflow says of it."""
    failed = {task.name: task for task in tasks if task.state in ("FAILED", "SYSTEM_ERROR")}
    return next(((title, failed[name].error) for name, title in titles.items() if name in failed), (UNNAMED, ""))
