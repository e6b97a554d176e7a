"""The thread that ships: every so often a process that carries closed segments to the store, later if that fails."""

import logging
import os
import subprocess
import sys
import threading
import time
from pathlib import Path

from infra import persons
from infra.storage import Store, open_store
from inkloop.errors import UserError
from inkloop.files import written_whole
from serving import metrics
from serving.capture import Capture, CaptureSettings
from serving.segments import waiting

MAX_BACKOFF_S = 600
EXPIRY_INTERVAL_S = 3600
LAST_TRY_S = 20  # how long an orderly stop waits for the store
CODE = Path(__file__).parent.parent

log = logging.getLogger("inkloop.capture")


def start(store_url: str, settings: CaptureSettings) -> "tuple[Capture, Shipper]":
    """Capture for this store, and the shipper to it; close them in this order.

    Raises UserError or OSError if the store is away and was never reached from here.
    """
    store = open_store(store_url, existing=True)
    folder = settings.folder_for(store)
    return Capture(folder, settings, _secret(store, folder)), Shipper(folder, store_url, settings)


def _secret(store: Store, folder: Path) -> bytes:
    """The store's key of the pseudonyms; while the store is away, as it was when last seen from here."""
    known = folder / "secret"
    try:
        secret = persons.secret(store)
    except (UserError, OSError):
        if known.is_file():
            return known.read_bytes()
        raise
    folder.mkdir(parents=True, exist_ok=True)
    with written_whole(known) as unfinished:
        unfinished.touch(mode=0o600)
        unfinished.write_bytes(secret)
    return secret


class Shipper:
    """Ships the folder's closed segments to the store while the server runs."""

    def __init__(self, folder: Path, store_url: str, settings: CaptureSettings) -> None:
        """Start the thread; it ships at once what an earlier server left."""
        self._folder, self._store_url, self._settings = folder, store_url, settings
        self._next_expiry = 0.0
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._run, name="shipper", daemon=True)
        self._thread.start()

    def close(self) -> None:
        """Ship what is left, once; what cannot be shipped now waits in the folder for the next server."""
        self._stopping.set()
        self._thread.join(LAST_TRY_S)
        if waiting(self._folder) and not self._thread.is_alive():
            self._ship(timeout_s=LAST_TRY_S)

    def _run(self) -> None:
        pause = interval = self._settings.ship_interval_s
        while True:
            shipped = self._ship()
            pause = interval if shipped else min(2 * pause, max(MAX_BACKOFF_S, interval))
            if self._stopping.wait(pause):
                return

    def _ship(self, timeout_s: float | None = None) -> bool:
        """Whether all went well."""
        expiry_due = time.monotonic() >= self._next_expiry
        if not waiting(self._folder) and not expiry_due:
            return True
        days = self._settings.retention_days if expiry_due else 0
        command = [sys.executable, "-m", "serving.shipping", str(self._folder), self._store_url, str(days)]
        environment = {**os.environ, "PYTHONPATH": os.pathsep.join([str(CODE), os.environ.get("PYTHONPATH", "")])}
        try:
            run = subprocess.run(
                command,
                env=environment,
                timeout=timeout_s,
                capture_output=True,
                text=True,
                check=False,
                start_new_session=True,  # a Ctrl+C is for the server, which ships what is left
            )
            failed, said = run.returncode != 0, run.stderr.strip()
        except (OSError, subprocess.TimeoutExpired) as error:
            failed, said = True, str(error)
        if said:
            log.log(logging.ERROR if failed else logging.WARNING, "shipping: %s", said)
        if expiry_due and not failed:
            self._next_expiry = time.monotonic() + EXPIRY_INTERVAL_S
        metrics.WAITING.set(sum(_size(path) for path in waiting(self._folder)))
        return not failed


def _size(path: Path) -> int:
    try:
        return path.stat().st_size
    except FileNotFoundError:  # shipped since it was listed
        return 0
