"""`python -m infra.guard MARK`: outlives a process, and ends what it started when it is gone, even by kill -9."""

import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from uuid import uuid4

import psutil

MARK = "INKLOOP_RUN"  # in the environment of every process of one run: its steps, their Ray, its workers


@contextmanager
def guarded() -> Iterator[dict[str, str]]:
    """Yields the variable that marks a process as belonging here: it ends with the block, or with this process."""
    mark = uuid4().hex
    command = [sys.executable, "-m", "infra.guard", mark]
    watcher = subprocess.Popen(command, stdin=subprocess.PIPE, start_new_session=True)
    try:
        yield {MARK: mark}
    finally:
        watcher.communicate()


def family(variable: str, value: str) -> set[psutil.Process]:
    """All processes of this user whose environment says so, but this one, and their descendants.

    Some of Ray's processes erase their environment to write their name over it.
    """
    everyone = [each for each in psutil.process_iter(["environ", "ppid"], ad_value=None) if each.pid != os.getpid()]
    found = {each for each in everyone if (each.info["environ"] or {}).get(variable) == value}
    while children := {each for each in everyone if each.info["ppid"] in {parent.pid for parent in found}} - found:
        found |= children
    return found


def end_all(mark: str) -> None:
    """Kill what belongs to the run of this mark."""
    for process in family(MARK, mark):
        with suppress(psutil.Error):  # gone
            process.kill()


if __name__ == "__main__":
    sys.stdin.read()  # the guarded process holds the other end: it is at its end when this returns
    end_all(sys.argv[1])
