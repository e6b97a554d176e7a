"""One Ray that has started before what is measured, and a process to measure in, as a run's steps have them."""

import multiprocessing
import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from multiprocessing.pool import Pool
from pathlib import Path
from unittest.mock import patch

import torch

from infra import guard
from infra.ray_head import RayHead


@contextmanager
def process_on_ray() -> Iterator[tuple[Pool, str]]:
    """A process on one thread whose `RAY_ADDRESS` names that Ray; and the mark of Ray's own, for `guard.family`."""
    with tempfile.TemporaryDirectory(prefix="ray") as folder, patch.dict(os.environ), guard.guarded() as mark:
        os.environ.pop("RAY_ADDRESS", None)
        head = RayHead()
        with patch.dict(os.environ, mark):
            head.start(Path(folder))
        head.wait()
        # Ray's token is read where Ray is imported: by a process that starts now.
        with multiprocessing.get_context("spawn").Pool(1, torch.set_num_threads, (1,)) as fresh:
            yield fresh, mark[guard.MARK]
