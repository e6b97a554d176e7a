"""OpenLineage (openlineage.io, spec 2-0-2): what ran, from what, to what, as events that Marquez or DataHub read.

A dataset is named as the spec says: a file by `file` and its path, an object by its bucket and key. Its facet `version`
holds the SHA-256 of its bytes.
"""

import json
import os
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from http import HTTPStatus
from typing import Any, Literal
from uuid import NAMESPACE_URL, uuid5

import urllib3

from infra.storage import S3Store, Store

PLACE = "loop/lineage/"
NAMESPACE = "inkloop"  # of jobs, and of what a run's steps hand on
PRODUCER = "urn:inkloop"
SPEC = "https://openlineage.io/spec"
SCHEMAS = {
    "errorMessage": f"{SPEC}/facets/1-0-1/ErrorMessageRunFacet.json",
    "jobType": f"{SPEC}/facets/2-0-4/JobTypeJobFacet.json",
    "parent": f"{SPEC}/facets/1-2-0/ParentRunFacet.json",
    "processing_engine": f"{SPEC}/facets/1-1-1/ProcessingEngineRunFacet.json",
    "sourceCodeLocation": f"{SPEC}/facets/1-1-0/SourceCodeLocationJobFacet.json",
    "version": f"{SPEC}/facets/1-0-1/DatasetVersionDatasetFacet.json",
}
URL, API_KEY = "OPENLINEAGE_URL", "OPENLINEAGE_API_KEY"  # as OpenLineage's own clients call them
POST_TIMEOUT_S = 5.0

Event = dict[str, Any]
Facets = dict[str, dict[str, Any]]
Kind = Literal["START", "COMPLETE", "FAIL", "ABORT"]


@dataclass(frozen=True)
class Endpoint:
    """A server that takes events, and the key that it asks for."""

    url: str
    key: str | None


def facets(**by_name: dict[str, Any] | None) -> Facets:
    """Facets with what the spec asks of each; None: left out. Those that are ours alone begin with `inkloop_`."""
    return {
        name: {"_producer": PRODUCER, "_schemaURL": SCHEMAS.get(name, f"{PRODUCER}:facet:{name}"), **content}
        for name, content in by_name.items()
        if content is not None
    }


def dataset(namespace: str, name: str, version: str, **more: dict[str, Any] | None) -> dict[str, Any]:
    """A dataset in one version: the SHA-256 of its bytes."""
    return {"namespace": namespace, "name": name, "facets": facets(version={"datasetVersion": version}, **more)}


def in_store(store: Store, key: str, version: str) -> dict[str, Any]:
    """The dataset that lies under a key of the store."""
    if isinstance(store, S3Store):
        return dataset(f"s3://{store.bucket}", f"{store.prefix}/{key}".lstrip("/"), version)
    return dataset("file", f"{store}/{key}", version)


def version_of(found: dict[str, Any]) -> str:
    """The version of a dataset."""
    version: str = found["facets"]["version"]["datasetVersion"]
    return version


def run_uuid(*names: str) -> str:
    """The same UUID for the same names."""
    return str(uuid5(NAMESPACE_URL, "/".join((PRODUCER, *names))))


def event(
    kind: Kind,
    when: datetime,
    run_id: str,
    job: str,
    run_facets: Facets,
    job_facets: Facets,
    inputs: Sequence[dict[str, Any]] = (),
    outputs: Sequence[dict[str, Any]] = (),
) -> Event:
    """One run event. run_id: a UUID, the same from a run's START to its end."""
    return {
        "eventType": kind,
        "eventTime": when.isoformat(),
        "run": {"runId": run_id, "facets": run_facets},
        "job": {"namespace": NAMESPACE, "name": job, "facets": job_facets},
        "inputs": list(inputs),
        "outputs": list(outputs),
        "producer": PRODUCER,
        "schemaURL": f"{SPEC}/2-0-2/OpenLineage.json#/$defs/RunEvent",
    }


def keep(store: Store, run: str, events: Sequence[Event]) -> None:
    """Write all events of a run, in place of those written before; run: its id in `infra.runs`."""
    store.put(f"{PLACE}{run}.json", json.dumps(events, indent=1).encode())


def read(store: Store, run: str) -> list[Event]:
    """All events of a run, oldest first. Raises Missing if none were kept."""
    events: list[Event] = json.loads(store.get(f"{PLACE}{run}.json"))
    return events


def endpoint() -> Endpoint | None:
    """Where OPENLINEAGE_URL and OPENLINEAGE_API_KEY say that events go, None if nowhere."""
    url = os.environ.get(URL)
    return Endpoint(url.rstrip("/"), os.environ.get(API_KEY)) if url else None


def post(event: Event, to: Endpoint) -> str | None:
    """Send an event. Returns what went wrong: that is never the run's affair."""
    headers = {"Authorization": f"Bearer {to.key}"} if to.key else {}
    url = f"{to.url}/api/v1/lineage"
    try:
        answer = urllib3.request("POST", url, json=event, headers=headers, timeout=POST_TIMEOUT_S, retries=False)
    except (urllib3.exceptions.HTTPError, ValueError) as error:
        return f"{URL} {to.url}: does not answer ({error}), so the lineage of this run is in the store alone."
    if answer.status < HTTPStatus.MULTIPLE_CHOICES:
        return None
    return f"{URL} {to.url}: answered {answer.status}, so the lineage of this run is in the store alone."
