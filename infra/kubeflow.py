"""Kubeflow Pipelines' API: a client that gives up in time, and complains in sentences."""

import contextlib
import json
import os
from collections.abc import Iterator
from dataclasses import dataclass
from http import HTTPStatus
from typing import Any

import kfp_server_api  # type: ignore[import-untyped]
import urllib3

from inkloop.errors import UserError

TIMEOUT_S = 30.0  # of one attempt; a request that changes nothing has two
TOKEN_VARIABLE = "KFP_TOKEN"  # sent as a bearer token
NAMESPACE_VARIABLE = "KFP_NAMESPACE"  # the user's, where Kubeflow serves several


class Client(kfp_server_api.ApiClient):  # type: ignore[misc]
    """The generated client, which by itself would wait for ever and take a web page for an empty answer."""

    def call_api(self, *given: Any, **named: Any) -> Any:  # noqa: ANN401
        """Ask, and wait `TIMEOUT_S` at most for a connection, and for each part of the answer."""
        # Of one number it would heed only an int.
        return super().call_api(*given, **named | {"_request_timeout": (TIMEOUT_S, TIMEOUT_S)})

    def deserialize(self, response: Any, response_type: str) -> Any:  # noqa: ANN401
        """The answer as a model. Raises UserError if it is no JSON."""
        _require_json(self.configuration.host, response.data)
        return super().deserialize(response, response_type)


@dataclass(frozen=True)
class Task:
    """A task of a run as Kubeflow tells of it; its time includes the start of its pod."""

    name: str
    state: str  # such as SUCCEEDED or FAILED
    seconds: float
    error: str


def connect(host: str) -> Client:
    """A client of the API at http://host:port, with the token of KFP_TOKEN. Raises UserError if it does not answer."""
    if not host.startswith(("http://", "https://")):
        raise UserError(f"KFP_HOST {host}: not an address. Give one like http://host:port.")
    configuration = kfp_server_api.Configuration(host=host.rstrip("/"))
    configuration.retries = 1
    if token := os.environ.get(TOKEN_VARIABLE):
        configuration.api_key["authorization"] = token
        configuration.api_key_prefix["authorization"] = "Bearer"
    _knock(configuration.host, token)
    return Client(configuration)


def of_namespace() -> dict[str, str]:
    """The argument that a Kubeflow of several users asks for; none elsewhere."""
    name = os.environ.get(NAMESPACE_VARIABLE)
    return {"namespace": name} if name else {}


def tasks(host: str, run_id: str) -> list[Task]:
    """The tasks of a run so far, in no order. Raises UserError if the host does not tell."""
    with explained(host):
        run = kfp_server_api.RunServiceApi(connect(host)).run_service_get_run(run_id)
    details = (run.run_details.task_details if run.run_details else None) or ()
    return [
        Task(each.display_name or "", str(each.state), _seconds(each), (each.error.message if each.error else "") or "")
        for each in details
    ]


@contextlib.contextmanager
def explained(host: str) -> Iterator[None]:
    """Raise UserError for what the API refuses, and for one that does not answer."""
    try:
        yield
    except kfp_server_api.ApiException as error:
        raise _refused(host, error.status, error.reason or "", error.body) from error
    except (urllib3.exceptions.HTTPError, TimeoutError) as error:
        raise UserError(f"KFP_HOST {host}: does not answer. Check the address; is Kubeflow Pipelines up?") from error


def _knock(host: str, token: str | None) -> None:
    """Ask once whether it is there, before anything is sent; a login page must not look like an answer."""
    headers = {"Authorization": f"Bearer {token}"} if token else {}
    url = f"{host}/apis/v2beta1/healthz"
    answer = urllib3.request("GET", url, headers=headers, timeout=min(10, TIMEOUT_S), retries=False)
    if answer.status != HTTPStatus.OK:
        raise _refused(host, answer.status, answer.reason or "", answer.data)
    _require_json(host, answer.data)


def _require_json(host: str, content: str | bytes) -> None:
    try:
        json.loads(content)
    except ValueError:
        raise UserError(
            f"KFP_HOST {host}: answered with a web page, not with Kubeflow's API. "
            f"Check the address; behind a login, set {TOKEN_VARIABLE}."
        ) from None


def _refused(host: str, status: int, reason: str, body: str | bytes | None) -> UserError:
    said = f"{_message(body)}. " if _message(body) else ""
    advice = {
        HTTPStatus.UNAUTHORIZED: f"Set {TOKEN_VARIABLE} to a token that is valid.",
        HTTPStatus.FORBIDDEN: f"The token of {TOKEN_VARIABLE} may not do this.",
        HTTPStatus.BAD_REQUEST: f"Where Kubeflow serves several users, set {NAMESPACE_VARIABLE}.",
    }.get(HTTPStatus(status) if status in HTTPStatus._value2member_map_ else HTTPStatus.OK)
    return UserError(
        f"KFP_HOST {host}: answered {status} {reason}. {said}{advice or f'Check the address and {TOKEN_VARIABLE}.'}"
    )


def _message(body: str | bytes | None) -> str:
    """What Kubeflow says of a refusal, in a line; of anything else's page, nothing."""
    try:
        said = json.loads(body or "")
    except ValueError:
        return ""
    message = said.get("message") or said.get("error") if isinstance(said, dict) else ""
    return str(message or "").strip().split("\n")[0][:300].rstrip(".")


def _seconds(task: Any) -> float:  # noqa: ANN401
    if task.start_time is None or task.end_time is None:
        return 0.0
    return max(0.0, float((task.end_time - task.start_time).total_seconds()))
