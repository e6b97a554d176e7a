"""Sends a graph to Kubeflow Pipelines: one IR YAML, uploaded as a version, started with a profile's arguments."""

import hashlib
import json
import os
import re
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from http import HTTPStatus
from pathlib import Path
from typing import Any, TypeVar

import kfp_server_api  # type: ignore[import-untyped]
import urllib3
from kfp.compiler import Compiler
from kfp.dsl.base_component import BaseComponent

from components.component import IMAGE, IMAGE_VARIABLE
from infra.kubeflow import Client, connect, explained, of_namespace
from pipeline import graph
from pipeline.profile import Profile

ENDED = frozenset({"SUCCEEDED", "FAILED", "CANCELED", "SKIPPED"})
EXPERIMENT = "inkloop"
PAGE_SIZE = 100

Made = TypeVar("Made")


@dataclass(frozen=True)
class Job:
    """What is to run: a graph, what it is called with, and how Kubeflow is to file it."""

    graph: BaseComponent
    arguments: Mapping[str, Any]
    profile: str  # its name; a part of the version's
    description: str = ""  # of the version
    root: str | None = None  # where artifacts go, as s3://bucket/prefix; None: where Kubeflow puts them
    experiment: str = EXPERIMENT
    service_account: str = ""


@dataclass(frozen=True)
class Uploaded:
    """A job's graph as a version on a cluster, and the experiment it belongs to."""

    pipeline_id: str
    version_id: str
    version: str
    experiment_id: str

    @property
    def reference(self) -> kfp_server_api.V2beta1PipelineVersionReference:
        """The version, as runs name it."""
        return kfp_server_api.V2beta1PipelineVersionReference(
            pipeline_id=self.pipeline_id, pipeline_version_id=self.version_id
        )


@dataclass(frozen=True)
class Submitted:
    """A run that was started on a cluster, and where to look at it."""

    run_id: str
    version: str
    url: str


def job(
    profile: str,
    chosen: Profile,
    source: str,
    store: str,
    production: str = "",
    warm_start: str = "",
    cause: str = "asked for",
    experiment: str = EXPERIMENT,
) -> Job:
    """The pipeline with this profile. profile: its name or file; for the rest see `graph.arguments_on_cluster`."""
    name, cluster = Path(profile).stem, chosen.cluster
    arguments = graph.arguments_on_cluster(chosen, source, store, production, warm_start)
    return Job(
        graph.build(cluster=cluster),
        {**arguments, "profile": name, "cause": cause},
        name,
        f"Profile {name}, image {(IMAGE_VARIABLE not in os.environ and cluster.image) or IMAGE}, {_commit()}",
        cluster.pipeline_root or f"{store.rstrip('/')}/artifacts",
        experiment,
        cluster.service_account,
    )


def compile_to(graph: BaseComponent, path: Path) -> None:
    """Write the graph as Kubeflow's IR YAML, whole or not at all."""
    path.parent.mkdir(parents=True, exist_ok=True)
    unfinished = path.with_name(f"{path.stem}.unfinished.yaml")  # kfp insists on the ending
    Compiler().compile(graph, str(unfinished))
    unfinished.replace(path)


def submit(job: Job, host: str, run_name: str) -> Submitted:
    """Upload the graph, as a new version if it is not there yet, and start a run of it.

    host: as http://host:port; a bearer token is taken from KFP_TOKEN. Raises UserError if the host does not comply.
    """
    with explained(host):
        client = connect(host)
        uploaded = upload(client, job)
        run = kfp_server_api.RunServiceApi(client).run_service_create_run(
            kfp_server_api.V2beta1Run(
                display_name=run_name,
                experiment_id=uploaded.experiment_id,
                pipeline_version_reference=uploaded.reference,
                runtime_config=runtime(job),
                service_account=job.service_account or None,
            )
        )
    return Submitted(run.run_id, uploaded.version, f"{host.rstrip('/')}/#/runs/details/{run.run_id}")


def ended(host: str, run_id: str, poll_s: float = 30.0) -> str:
    """Wait until a run has come to its end, and return how: SUCCEEDED, FAILED, CANCELED or SKIPPED.

    A host that does not answer for a while is asked again. Raises UserError if it does not know the run.
    """
    with explained(host):
        api = kfp_server_api.RunServiceApi(connect(host))
        while True:
            try:
                state = str(api.run_service_get_run(run_id).state).upper()
            except (urllib3.exceptions.HTTPError, TimeoutError):
                state = ""
            except kfp_server_api.ApiException as error:
                if error.status < HTTPStatus.INTERNAL_SERVER_ERROR:
                    raise
                state = ""
            if state in ENDED:
                return state
            time.sleep(poll_s)


def runtime(job: Job) -> kfp_server_api.V2beta1RuntimeConfig:
    """What a run of the job is called with, and where its artifacts go."""
    return kfp_server_api.V2beta1RuntimeConfig(parameters=dict(job.arguments), pipeline_root=job.root)


def upload(client: Client, job: Job) -> Uploaded:
    """Find or make the pipeline, the version named by profile and digest, and the experiment.

    Safe to repeat, and beside another that does the same at the same time.
    """
    pipelines, uploads = kfp_server_api.PipelineServiceApi(client), kfp_server_api.PipelineUploadServiceApi(client)
    experiments = kfp_server_api.ExperimentServiceApi(client)
    name = job.graph.pipeline_spec.pipeline_info.name
    with tempfile.TemporaryDirectory() as scratch:
        package = Path(scratch) / "pipeline.yaml"
        compile_to(job.graph, package)
        version = f"{_slug(job.profile)}-{hashlib.sha256(package.read_bytes()).hexdigest()[:12]}"
        pipeline = _found_or_made(
            lambda: find(pipelines.pipeline_service_list_pipelines, "pipelines", name, **of_namespace()),
            lambda: uploads.upload_pipeline(str(package), name=name, display_name=name, **of_namespace()),
        )
        there = pipeline.pipeline_id
        made = _found_or_made(
            lambda: find(
                pipelines.pipeline_service_list_pipeline_versions, "pipeline_versions", version, pipeline_id=there
            ),
            lambda: uploads.upload_pipeline_version(
                str(package), name=version, display_name=version, pipelineid=there, description=job.description
            ),
        )
    experiment = _found_or_made(
        lambda: find_experiment(client, job.experiment),
        lambda: experiments.experiment_service_create_experiment(
            kfp_server_api.V2beta1Experiment(display_name=job.experiment, **of_namespace())
        ),
    )
    return Uploaded(there, made.pipeline_version_id, version, experiment.experiment_id)


def find_experiment(client: Client, name: str) -> kfp_server_api.V2beta1Experiment | None:
    """The experiment of this name, if there is one."""
    api = kfp_server_api.ExperimentServiceApi(client)
    return find(api.experiment_service_list_experiments, "experiments", name, **of_namespace())


def find(ask: Callable[..., Any], items: str, name: str, **given: str) -> Any:  # noqa: ANN401
    """The first of a list that is shown under this name, None if there is none; see `listed`."""
    return next(listed(ask, items, name, **given), None)


def listed(ask: Callable[..., Any], items: str, name: str | None = None, **given: str) -> Iterator[Any]:
    """All that the API lists, newest first, or of it what is shown under a name. items: the list's key in a page."""
    wanted = {"operation": "EQUALS", "key": "display_name", "string_value": name}
    chosen = {"filter": json.dumps({"predicates": [wanted]})} if name is not None else {}
    token = ""
    while True:
        page = ask(**given, **chosen, page_token=token, page_size=PAGE_SIZE, sort_by="created_at desc")
        yield from getattr(page, items) or ()
        token = page.next_page_token
        if not token:
            return


def _found_or_made(find: Callable[[], Made | None], make: Callable[[], Made]) -> Made:
    if (found := find()) is not None:
        return found
    try:
        return make()
    except kfp_server_api.ApiException as error:
        if error.status != HTTPStatus.CONFLICT or (found := find()) is None:  # someone else was quicker
            raise
        return found


def _slug(name: str) -> str:
    return re.sub(r"[^a-z0-9]+", "-", name.lower()).strip("-") or "profile"


def _commit() -> str:
    """The checkout's commit, for people: what runs is what lies in the image."""
    asked = ("git", "-C", str(Path(__file__).parent), "describe", "--always", "--dirty", "--abbrev=12", "--exclude=*")
    try:
        said = subprocess.run(asked, capture_output=True, text=True, check=True, timeout=10).stdout.strip()
    except (OSError, subprocess.SubprocessError):
        return "no commit known"
    return f"commit {said}"
