"""`serve`: the champion of a store, as a Bento, on a port of this machine."""

import os
import signal
import socket
import subprocess
import sys
import tempfile
from pathlib import Path

from infra import bento, registry, signing
from infra.guard import guarded
from infra.storage import open_store
from inkloop import artifacts
from inkloop.errors import UserError
from serving.capture import FOLDER_VARIABLE, VARIABLE_PREFIX, CaptureSettings
from serving.service import STORE_VARIABLE

LAST_PORT = 65_535


def serve(store_url: str, host: str = "127.0.0.1", port: int = 3000) -> int:
    """Serve the store's champion until interrupted or terminated; returns the exit code, which is 0.

    store_url: a folder or `s3://bucket/prefix`. Raises UserError if there is no champion yet, if it is not trusted, if
    the port cannot be had or if the server ends by itself.
    """
    if not 1 <= port <= LAST_PORT:
        raise UserError(f"port {port}: there is no such port. Give one from 1 to {LAST_PORT}.")
    store_url = store_url if "://" in store_url else str(Path(store_url).absolute())
    # Beside the caller's other files: the server's own folder goes when it ends.
    captured = CaptureSettings.from_environment(VARIABLE_PREFIX).folder.absolute()
    store = open_store(store_url)
    champion = registry.reigning(store)
    signing.require_trusted(store, champion.digest)
    address = _free_address(host, port)
    print(
        f"Champion {champion.version} starts on http://{host}:{port} (what it answers: /docs). Ctrl+C ends it.",
        flush=True,
    )
    with guarded() as mark, tempfile.TemporaryDirectory(prefix="inkloop-serve-") as scratch:
        model, built = Path(scratch) / "model", Path(scratch) / "bento"
        registry.fetch(store, champion.digest, model)
        labels = {"model": champion.digest, **artifacts.info(model).lineage}
        signatures = signing.signatures(store, champion.digest)
        bento.build(model, "inkloop", champion.version, "", labels, signatures, built)
        command = [sys.executable, "-m", "bentoml", "serve", str(built), "--host", address, "--port", str(port)]
        ours = {STORE_VARIABLE: store_url, FOLDER_VARIABLE: str(captured), "BENTOML_HOME": f"{scratch}/home"}
        return _run_until_stopped(command, {**os.environ, **bento.QUIET, **ours, **mark}, scratch)


def _free_address(host: str, port: int) -> str:
    """The IP address of the host. Raises UserError if a server could not listen there."""
    try:
        family, _, _, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)[0]
        with socket.socket(family, socket.SOCK_STREAM) as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            probe.bind(address)
    except OSError as error:
        why = error.strerror or str(error)
        raise UserError(
            f"{host}:{port}: cannot serve there ({why}). Stop what is there, or give another port (PORT=...)."
        ) from error
    return str(address[0])


def _run_until_stopped(command: list[str], environment: dict[str, str], folder: str) -> int:
    with subprocess.Popen(command, env=environment, cwd=folder) as server:
        asked = False

        def stop(*_: object) -> None:
            nonlocal asked
            asked = True
            server.terminate()

        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, stop)
        code = server.wait()
    if not asked:
        how = f"by signal {-code}" if code < 0 else f"with exit code {code}"
        raise UserError(f"The server ended by itself, {how}; what it said last is above. Start it again.")
    return 0
