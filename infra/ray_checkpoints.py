"""Where the steps on Ray keep checkpoints: in the run's store, where all machines and the next try find them."""

import contextlib
import hashlib
import secrets
import time
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

import ray
import torch
from pyarrow import fs

import inkloop
from infra import lease
from infra.storage import Store, open_store

PREFIX = "checkpoints"
# Of the lease on a place. Whoever starts a killed step again waits so long at most: then its workers have ended too.
LIFETIME_S, MARGIN_S = 15.0, 5.0
RETRY_S = 0.5


@contextlib.contextmanager
def kept(store: str, step: str, *work: str) -> Iterator[str]:
    """A place for a step's checkpoints, as Ray takes it: a folder or S3 URL; removed if the block ends well.

    work: all that decides what the step comes to, as text. The same work finds what a try that was cut off left there,
    other work, other code and other versions never do. If another process is at the same work, the place is one's own.
    """
    home = open_store(store)
    key = f"{PREFIX}/{step}-{_digest(*work)[:16]}"
    with contextlib.ExitStack() as stack:
        try:
            _wait(home, f"{key}/lease.json")
            stack.enter_context(lease.held(home, f"{key}/lease.json", LIFETIME_S, MARGIN_S))
        except lease.Taken:
            key += f"-{secrets.token_hex(4)}"
        place = f"{str(home).rstrip('/')}/{key}"
        yield place
        with contextlib.suppress(OSError):  # what stays takes up room, no more
            remove(place)


def remove(place: str) -> None:
    """Remove a folder, or all under an S3 URL, if it is there. Raises OSError if it cannot be."""
    filesystem, path = fs.FileSystem.from_uri(place)
    if filesystem.get_file_info(path).type == fs.FileType.Directory:
        filesystem.delete_dir(path)


def _wait(store: Store, key: str) -> None:
    """Wait for a holder that may have been killed."""
    deadline = time.monotonic() + LIFETIME_S + 2 * MARGIN_S
    while time.monotonic() < deadline and lease.holder(store, key, datetime.now(UTC), MARGIN_S):
        time.sleep(RETRY_S)


def _digest(*work: str) -> str:
    """Over the work, the code it is done by, and what reads and writes checkpoints."""
    code = [path.read_text() for path in sorted(Path(inkloop.__file__).parent.rglob("*.py"))]
    return hashlib.sha256("\0".join([*work, *code, ray.__version__, torch.__version__]).encode()).hexdigest()
