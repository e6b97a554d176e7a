"""One Ray for all the steps of a run on this machine: each start of it takes longer than a small training."""

import os
import subprocess
import sys
from pathlib import Path
from uuid import uuid4

from infra.ray_session import OBJECT_STORE_BYTES, ONE_THREAD, QUIET, TRAIN


class RayHead:
    """Starts in the background; its processes inherit this process's environment, by which their owner ends them."""

    def __init__(self) -> None:
        self._start: subprocess.Popen[bytes] | None = None
        self._told = Path()  # the file where Ray writes its address
        self._key = {"RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN": uuid4().hex}

    def start(self, folder: Path) -> None:
        """Begin to start it, unless that has begun or `RAY_ADDRESS` names another.

        folder: for its sockets and logs; a path short enough for sockets, some 40 characters.
        """
        if self._start is not None or "RAY_ADDRESS" in os.environ:
            return
        self._told = folder / "ray_current_cluster"
        command = (sys.executable, "-m", "ray.scripts.scripts", "start", "--head", "--port=0")
        options = (
            f"--num-cpus={os.cpu_count()}",
            f"--object-store-memory={OBJECT_STORE_BYTES}",
            f"--temp-dir={folder}",
            "--include-dashboard=false",
            "--disable-usage-stats",
        )
        environment = {**os.environ, **TRAIN, **QUIET, **ONE_THREAD, **self._key}
        self._start = subprocess.Popen(
            [*command, *options], env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
        )

    def wait(self) -> None:
        """Wait until it is up and let `RAY_ADDRESS` name it from here on; if it failed, each session starts its own."""
        if self._start is not None and self._start.wait() == 0:
            os.environ.update(self._key, RAY_ADDRESS=self._told.read_text().strip())
