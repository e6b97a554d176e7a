"""`python -m pipeline.guard MARK`: outlives a run, and ends what it started when it is gone, even by kill -9."""

import os
import sys
from contextlib import suppress

import psutil

MARK = "INKLOOP_RUN"  # in the environment of every process of one run: its steps, their Ray, its workers


def family(variable: str, value: str) -> set[psutil.Process]:
    """All processes of this user whose environment says so, but this one, and their descendants.

    Some of Ray's processes erase their environment to write their name over it.
    """
    return {process for marked in psutil.process_iter() for process in _with_descendants(marked, variable, value)}


def end_all(mark: str) -> None:
    """Kill what belongs to the run of this mark."""
    for process in family(MARK, mark):
        with suppress(psutil.Error):  # gone
            process.kill()


def _with_descendants(process: psutil.Process, variable: str, value: str) -> list[psutil.Process]:
    try:
        if process.pid == os.getpid() or process.environ().get(variable) != value:
            return []
        return [process, *process.children(recursive=True)]
    except psutil.Error:
        return []  # gone, or another user's


if __name__ == "__main__":
    sys.stdin.read()  # the run holds the other end: it is at its end when this returns
    end_all(sys.argv[1])
