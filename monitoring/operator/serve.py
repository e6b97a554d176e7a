"""Serves the operators' page until interrupted: on this machine alone, unless told otherwise."""

import uvicorn

from infra import registry
from infra.storage import IMPATIENT, open_store
from monitoring.listener import is_loopback, listening, url
from monitoring.operator.app import create_app


def serve(store_url: str, host: str = "127.0.0.1", port: int = 3001) -> None:
    """Show the store's page. On any other host than this machine's own, everything needs an operator's key.

    Raises UserError if the port cannot be had, or there is no such store or no champion in it yet.
    """
    store, local = open_store(store_url, IMPATIENT), is_loopback(host)
    registry.reigning(store)
    with listening(host, port) as listener:
        needed = "" if local else ", with an operator's API key as password"
        print(f"The operators' page is on {url(host, port)}{needed}. Ctrl+C ends it.", flush=True)
        # Without proxy headers: a client must not choose the address that its attempts are counted under.
        settings = uvicorn.Config(
            create_app(store, local), log_level="warning", proxy_headers=False, server_header=False, ws="none"
        )
        uvicorn.Server(settings).run(sockets=[listener])
