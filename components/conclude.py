"""The last step of a run on a cluster, however it ended: its record is completed, and people hear of a failure."""

from kfp.dsl import PipelineTaskFinalStatus

from components.component import component


@component
def conclude(
    status: PipelineTaskFinalStatus,
    titles: dict,
    store: str,
    run_id: str,
    started: str,
    profile: str,
    cause: str,
    api: str,
) -> None:
    """Add the steps to the run's record or, if there is none, write that it failed, in which step, of what."""
    from datetime import datetime

    from infra import conclusion, kubeflow, runs
    from infra.notifications import VARIABLE_PREFIX, Event, NotificationSettings, notify
    from infra.storage import open_store
    from inkloop.errors import UserError

    since = datetime.fromisoformat(started)
    begun = runs.begin(since, profile, cause, run_id)
    try:
        tasks = kubeflow.tasks(api, run_id)
    except UserError as error:  # the record is worth keeping without them
        print(error)
        tasks = []
    ended = conclusion.conclude(open_store(store), begun, status.state, status.error_message, tasks, titles)
    if ended.failed:
        event = Event("run", f"Run {profile} on Kubeflow failed: {ended.failed}", ended.verdict, since)
        notify(event, NotificationSettings.from_environment(VARIABLE_PREFIX))
