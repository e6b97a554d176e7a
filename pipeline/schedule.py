"""Recurring runs on Kubeflow: one for each profile, made, replaced, listed and removed; safe to repeat."""

from dataclasses import dataclass

import kfp_server_api  # type: ignore[import-untyped]

from infra.kubeflow import Client, connect, explained
from pipeline.cluster import EXPERIMENT, Job, find_experiment, listed, runtime, upload
from pipeline.cron import for_kubeflow

NAME = "inkloop"


@dataclass(frozen=True)
class Schedule:
    """A recurring run: its name, when it starts a run (cron, seconds first), and whether it does."""

    id: str
    name: str
    cron: str
    status: str  # ENABLED or DISABLED
    version_id: str


def schedule(job: Job, host: str, cron: str) -> tuple[Schedule, bool]:
    """Have Kubeflow start the job again and again; what the profile had before is replaced.

    Returns the recurring run, and whether it is new: one that is just so already is left alone. One run at a time, and
    none is made up for that was missed. Raises UserError for a wrong cron, or if the host does not comply.
    """
    when = for_kubeflow(cron)
    with explained(host):
        client = connect(host)
        api = kfp_server_api.RecurringRunServiceApi(client)
        uploaded = upload(client, job)
        wanted = kfp_server_api.V2beta1RecurringRun(
            display_name=_name(job.profile),
            experiment_id=uploaded.experiment_id,
            pipeline_version_reference=uploaded.reference,
            runtime_config=runtime(job),
            service_account=job.service_account or None,
            trigger=kfp_server_api.V2beta1Trigger(cron_schedule=kfp_server_api.V2beta1CronSchedule(cron=when)),
            mode=kfp_server_api.RecurringRunMode.ENABLE,
            max_concurrency="1",
            no_catchup=True,
        )
        before = _of(client, uploaded.experiment_id, job.profile)
        kept = next((each for each in before if _is_so(each, wanted)), None)
        # The new one first: killed in between, there are two until the same command runs again, never none.
        now = kept or api.recurring_run_service_create_recurring_run(wanted)
        for each in before:
            if each is not kept:
                api.recurring_run_service_delete_recurring_run(each.recurring_run_id)
    return _schedule(now), kept is None


def unschedule(host: str, profile: str, experiment: str = EXPERIMENT) -> int:
    """Remove the profile's recurring run, whose runs go on. Returns how many there were; none is no mistake."""
    with explained(host):
        client = connect(host)
        found = find_experiment(client, experiment)
        there = _of(client, found.experiment_id, profile) if found is not None else []
        api = kfp_server_api.RecurringRunServiceApi(client)
        for each in there:
            api.recurring_run_service_delete_recurring_run(each.recurring_run_id)
    return len(there)


def schedules(host: str, experiment: str = EXPERIMENT) -> list[Schedule]:
    """The recurring runs of the experiment, newest first."""
    with explained(host):
        client = connect(host)
        found = find_experiment(client, experiment)
        if found is None:
            return []
        ask = kfp_server_api.RecurringRunServiceApi(client).recurring_run_service_list_recurring_runs
        return [_schedule(each) for each in listed(ask, "recurring_runs", experiment_id=found.experiment_id)]


def _name(profile: str) -> str:
    return f"{NAME} {profile}"


def _of(client: Client, experiment_id: str, profile: str) -> list[kfp_server_api.V2beta1RecurringRun]:
    ask = kfp_server_api.RecurringRunServiceApi(client).recurring_run_service_list_recurring_runs
    return list(listed(ask, "recurring_runs", _name(profile), experiment_id=experiment_id))


def _is_so(there: kfp_server_api.V2beta1RecurringRun, wanted: kfp_server_api.V2beta1RecurringRun) -> bool:
    """Whether it does what is wanted. Kubeflow gives every run a service account: none asked for is any."""
    return bool(
        there.status == "ENABLED"
        and there.trigger == wanted.trigger
        and there.pipeline_version_reference == wanted.pipeline_version_reference
        and there.runtime_config == wanted.runtime_config
        and (wanted.service_account is None or there.service_account == wanted.service_account)
    )


def _schedule(run: kfp_server_api.V2beta1RecurringRun) -> Schedule:
    if run.trigger is None or run.trigger.cron_schedule is None:  # made by someone else, with a period
        cron = f"every {run.trigger.periodic_schedule.interval_second} s" if run.trigger else "never"
    else:
        cron = run.trigger.cron_schedule.cron
    version = run.pipeline_version_reference.pipeline_version_id if run.pipeline_version_reference else ""
    return Schedule(run.recurring_run_id, run.display_name, cron, str(run.status), version)
