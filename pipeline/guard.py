"""`python -m pipeline.guard MARK`: outlives a run, and ends what it started when it is gone, even by kill -9."""

import os
import sys

import psutil

MARK = "INKLOOP_RUN"  # in the environment of every process of one run: its steps, their Ray, its workers


def end_all(mark: str) -> None:
    """Kill every process of this user that carries the mark."""
    for process in psutil.process_iter():
        try:
            if process.pid != os.getpid() and process.environ().get(MARK) == mark:
                process.kill()
        except psutil.Error:
            continue  # gone, or another user's


if __name__ == "__main__":
    sys.stdin.read()  # the run holds the other end: it is at its end when this returns
    end_all(sys.argv[1])
