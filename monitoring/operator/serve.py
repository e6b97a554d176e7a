"""Serves the operators' page until interrupted: on this machine alone, unless told otherwise."""

import ipaddress
import socket

import uvicorn

from infra.storage import IMPATIENT, open_store
from inkloop.errors import UserError
from monitoring.operator.app import create_app

LAST_PORT = 65_535


def serve(store_url: str, host: str = "127.0.0.1", port: int = 3001) -> None:
    """Show the store's page. On any other host than this machine's own, everything needs an API key.

    Raises UserError if the port cannot be had or there is no such store.
    """
    if not 1 <= port <= LAST_PORT:
        raise UserError(f"port {port}: there is no such port. Give one from 1 to {LAST_PORT}.")
    store, local = open_store(store_url, IMPATIENT), _is_loopback(host)
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    with socket.socket(family, socket.SOCK_STREAM) as listener:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            listener.bind((host, port))
        except OSError as error:
            raise UserError(
                f"{host}:{port}: cannot be had ({error.strerror or error}). Stop what is there, or give another port "
                "(PORT=...)."
            ) from error
        needed = "" if local else ", with an API key as password"
        shown = f"[{host}]" if family == socket.AF_INET6 else host
        print(f"The operators' page is on http://{shown}:{port}{needed}. Ctrl+C ends it.", flush=True)
        # Without proxy headers: a client must not choose the address that its attempts are counted under.
        settings = uvicorn.Config(
            create_app(store, local), log_level="warning", proxy_headers=False, server_header=False, ws="none"
        )
        uvicorn.Server(settings).run(sockets=[listener])


def _is_loopback(host: str) -> bool:
    try:
        addresses = {str(found[4][0]) for found in socket.getaddrinfo(host, None)}
    except OSError as error:
        raise UserError(f"host {host}: not known ({error}). Give an address of this machine.") from error
    return all(ipaddress.ip_address(address).is_loopback for address in addresses)
