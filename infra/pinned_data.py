"""MNIST in the data folder: from DVC's remote or else from public mirrors, never other bytes than the pinned ones."""

import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from infra import dvc
from inkloop import download, mnist


def ensure(data_dir: Path) -> None:
    """See to it that the four files are in `data_dir/mnist`; of two processes at once one fetches, the other waits.

    Raises UserError if they can be had nowhere.
    """
    data_dir.mkdir(parents=True, exist_ok=True)
    folder = data_dir / mnist.NAME
    with _alone(data_dir):
        if not mnist.is_whole(folder):
            dvc.pull(data_dir)
        if not mnist.is_whole(folder):
            print(f"fetched {mnist.NAME} from {download.fetch(folder)}")
        for name in dvc.mend(data_dir):
            print(f"DVC's cache held other bytes for {name} than were put there; they are thrown away.")
        dvc.record(data_dir)


@contextmanager
def _alone(folder: Path) -> Iterator[None]:
    handle = os.open(folder, os.O_RDONLY)  # the folder itself: a lock file in it would be data to DVC
    try:
        fcntl.flock(handle, fcntl.LOCK_EX)
        yield
    finally:
        os.close(handle)
