"""A socket that listens for a page of ours, and whether only this machine reaches it."""

import ipaddress
import socket
from collections.abc import Iterator
from contextlib import contextmanager

from inkloop.errors import UserError

LAST_PORT = 65_535


@contextmanager
def listening(host: str, port: int) -> Iterator[socket.socket]:
    """A socket bound to the address, for uvicorn. Raises UserError if it cannot be had."""
    if not 1 <= port <= LAST_PORT:
        raise UserError(f"port {port}: there is no such port. Give one from 1 to {LAST_PORT}.")
    with socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET, socket.SOCK_STREAM) as listener:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            listener.bind((host, port))
        except OSError as error:
            raise UserError(
                f"{host}:{port}: cannot be had ({error.strerror or error}). Stop what is there, or give another port "
                "(PORT=...)."
            ) from error
        yield listener


def is_loopback(host: str) -> bool:
    """Whether the name leads to this machine alone. Raises UserError if it is not known."""
    try:
        addresses = {str(found[4][0]) for found in socket.getaddrinfo(host, None)}
    except OSError as error:
        raise UserError(f"host {host}: not known ({error}). Give an address of this machine.") from error
    return all(ipaddress.ip_address(address).is_loopback for address in addresses)


def url(host: str, port: int) -> str:
    """The address as a browser takes it."""
    return f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"
