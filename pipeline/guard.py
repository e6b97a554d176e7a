"""`python -m pipeline.guard MARK`: outlives a run, and ends what it started when it is gone, even by kill -9."""

import os
import sys
from contextlib import suppress

import psutil

MARK = "INKLOOP_RUN"  # in the environment of every process of one run: its steps, their Ray, its workers


def end_all(mark: str) -> None:
    """Kill every process of this user that carries the mark, and its descendants: some of Ray's erase their own."""
    doomed = {process for marked in psutil.process_iter() if _carries(marked, mark) for process in _family(marked)}
    for process in doomed:
        with suppress(psutil.Error):  # gone
            process.kill()


def _carries(process: psutil.Process, mark: str) -> bool:
    try:
        return process.pid != os.getpid() and process.environ().get(MARK) == mark
    except psutil.Error:
        return False  # gone, or another user's


def _family(process: psutil.Process) -> list[psutil.Process]:
    try:
        return [process, *process.children(recursive=True)]
    except psutil.Error:
        return []


if __name__ == "__main__":
    sys.stdin.read()  # the run holds the other end: it is at its end when this returns
    end_all(sys.argv[1])
