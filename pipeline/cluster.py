"""Sends a graph to Kubeflow Pipelines: one IR YAML, uploaded as a version, started with a profile's arguments."""

import contextlib
import hashlib
import os
import tempfile
import time
import warnings
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from http import HTTPStatus
from pathlib import Path
from typing import Any

import kfp
import kfp_server_api  # type: ignore[import-untyped]
import urllib3
from kfp.compiler import Compiler
from kfp.dsl.base_component import BaseComponent

from inkloop.errors import UserError

ENDED = frozenset({"SUCCEEDED", "FAILED", "CANCELED", "SKIPPED"})


@dataclass(frozen=True)
class Submitted:
    """A run that was started on a cluster, and where to look at it."""

    run_id: str
    version: str
    url: str


def compile_to(graph: BaseComponent, path: Path) -> None:
    """Write the graph as Kubeflow's IR YAML, whole or not at all."""
    path.parent.mkdir(parents=True, exist_ok=True)
    unfinished = path.with_name(f"{path.stem}.unfinished.yaml")  # kfp insists on the ending
    Compiler().compile(graph, str(unfinished))
    unfinished.replace(path)


def submit(graph: BaseComponent, arguments: Mapping[str, Any], host: str, run_name: str) -> Submitted:
    """Upload the graph, as a new version if it is not there yet, and start a run of it.

    host: as http://host:port; a bearer token is taken from KFP_TOKEN. Raises UserError if the host does not comply.
    """
    name = graph.pipeline_spec.pipeline_info.name
    with tempfile.TemporaryDirectory() as scratch, _explained(host), contextlib.redirect_stdout(None):
        package = Path(scratch) / "pipeline.yaml"
        compile_to(graph, package)
        client = _client(host)
        version = hashlib.sha256(package.read_bytes()).hexdigest()[:12]
        pipeline_id = client.get_pipeline_id(name)
        if pipeline_id is None:
            pipeline_id = client.upload_pipeline(str(package), pipeline_name=name).pipeline_id
        version_id = _version_id(client, pipeline_id, version)
        if version_id is None:
            version_id = client.upload_pipeline_version(str(package), version, pipeline_id).pipeline_version_id
        experiment = client.create_experiment(name)
        run = client.run_pipeline(
            experiment.experiment_id, run_name, params=dict(arguments), pipeline_id=pipeline_id, version_id=version_id
        )
    return Submitted(run.run_id, version, f"{host.rstrip('/')}/#/runs/details/{run.run_id}")


def ended(host: str, run_id: str, poll_s: float = 30.0) -> str:
    """Wait until a run has come to its end, and return how: SUCCEEDED, FAILED, CANCELED or SKIPPED.

    A host that does not answer for a while is asked again. Raises UserError if it does not know the run.
    """
    with _explained(host):
        client = _client(host)
        while True:
            try:
                state = str(client.get_run(run_id).state).upper()
            except (urllib3.exceptions.HTTPError, TimeoutError):
                state = ""
            if state in ENDED:
                return state
            time.sleep(poll_s)


def _client(host: str) -> kfp.Client:
    _check(host)
    with warnings.catch_warnings(action="ignore", category=FutureWarning):  # that it talks to version 2 alone
        return kfp.Client(host=host, existing_token=os.environ.get("KFP_TOKEN"))


def _version_id(client: kfp.Client, pipeline_id: str, version: str) -> str | None:
    page = client.list_pipeline_versions(pipeline_id, page_size=100, sort_by="created_at desc")
    found = (each.pipeline_version_id for each in page.pipeline_versions or () if each.display_name == version)
    return next(found, None)


def _check(host: str) -> None:
    """Ask once whether Kubeflow answers: its client would ask five times, and print a traceback for each."""
    if not host.startswith(("http://", "https://")):
        raise UserError(f"KFP_HOST {host}: not an address. Give one like http://host:port.")
    token = os.environ.get("KFP_TOKEN")
    headers = {"Authorization": f"Bearer {token}"} if token else {}
    url = f"{host.rstrip('/')}/apis/v2beta1/healthz"
    answer = urllib3.request("GET", url, headers=headers, timeout=10, retries=False)
    if answer.status != HTTPStatus.OK:
        raise _refused(host, answer.status, answer.reason or "")


@contextlib.contextmanager
def _explained(host: str) -> Iterator[None]:
    try:
        yield
    except kfp_server_api.ApiException as error:
        raise _refused(host, error.status, error.reason) from error
    except (urllib3.exceptions.HTTPError, TimeoutError) as error:
        raise UserError(f"KFP_HOST {host}: does not answer. Check the address; is Kubeflow Pipelines up?") from error


def _refused(host: str, status: int, reason: str) -> UserError:
    return UserError(f"KFP_HOST {host}: answered {status} {reason}. Check the address and KFP_TOKEN.")
