"""Evidently's UI on the workspace: to be looked at only, on this machine only, since it has no login of its own."""

import contextlib
import os
from collections.abc import Callable
from pathlib import Path

os.environ["DO_NOT_TRACK"] = "1"  # Evidently reports home unless this is set before it is imported

import uvicorn
from evidently.ui.service.app import create_app
from evidently.ui.service.components.dashboard import DashboardComponent
from evidently.ui.service.components.storage import LocalStorageComponent
from evidently.ui.service.components.telemetry import TelemetryComponent
from evidently.ui.service.local_service import LocalConfig
from starlette.middleware.trustedhost import TrustedHostMiddleware
from starlette.responses import PlainTextResponse
from starlette.types import ASGIApp, Receive, Scope, Send

from inkloop.errors import UserError
from monitoring.listener import is_loopback, listening, url

LOCAL_NAMES = ["127.0.0.1", "localhost"]
READING = {"GET", "HEAD", "OPTIONS"}
READS_BY_POST = "/data_series_batch"  # what a dashboard's panels show


def app(workspace: Path, hosts: list[str]) -> ASGIApp:
    """Evidently's app over the workspace: it reports nothing home, and answers only under these names ("*": any)."""
    config = LocalConfig(
        storage=LocalStorageComponent(path=str(workspace)),
        dashboard=DashboardComponent(path=str(workspace)),
        telemetry=TelemetryComponent(enabled=False),
    )
    # Evidently asks for neither: a page on another site could name this address as its own, and read or delete.
    return TrustedHostMiddleware(ReadOnly(create_app(config)), allowed_hosts=hosts, www_redirect=False)


class ReadOnly:
    """ASGI middleware that lets nobody change anything: reports come from the store alone."""

    def __init__(self, app: ASGIApp) -> None:
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass on what only reads, and refuse the rest."""
        if scope["type"] == "http":
            reads = scope["method"] == "POST" and scope["path"].endswith(READS_BY_POST)
            if scope["method"] not in READING and not reads:
                refusal = PlainTextResponse("The reports are made from the store; here they are only shown.", 405)
                return await refusal(scope, receive, send)
        return await self.app(scope, receive, send)


def serve(
    workspace: Path,
    prepare: Callable[[], None],
    host: str = "127.0.0.1",
    port: int = 8000,
    open_because: str = "",
) -> None:
    """Show the workspace until interrupted; `prepare` fills it once it is sure that it can be shown.

    Raises UserError if the port cannot be had, or if others could reach the host and `open_because` does not say why
    they may, such as "behind a proxy with a login".
    """
    local = is_loopback(host)
    if not local and not open_because.strip():
        raise UserError(
            f"host {host}: the Evidently UI has no login, so it is shown on 127.0.0.1 alone. Put a proxy with a login "
            'before it and say so: --open-because "behind a proxy with a login".'
        )
    with listening(host, port) as listener:
        prepare()
        shown = app(workspace, LOCAL_NAMES if local else ["*"])
        print(f"Evidently is on {url(host, port)}. Ctrl+C ends it.", flush=True)
        with contextlib.suppress(KeyboardInterrupt):  # which uvicorn raises once more when it has ended
            uvicorn.Server(uvicorn.Config(shown, log_level="warning")).run(sockets=[listener])
