"""The processor time of a family of processes, of which some end before they can be asked."""

import threading
import time
from contextlib import suppress
from types import TracebackType
from typing import Self

import psutil

from infra import guard

INTERVAL_S = 0.5


class FamilyCpu:
    """A block's processor time, of this process and of all that bear the mark: `seconds`, once the block is over.

    What a process does between the last look and its end is missed, half a second of it at most.
    """

    def __init__(self, mark: str) -> None:
        self.seconds = 0.0
        self._mark, self._over = mark, threading.Event()
        self._before = self._look()
        self._latest = dict(self._before)
        self._watcher = threading.Thread(target=self._watch)

    def _look(self) -> dict[int, float]:
        seconds = {}
        for process in guard.family(guard.MARK, self._mark):
            with suppress(psutil.NoSuchProcess):  # it has ended since
                times = process.cpu_times()
                seconds[process.pid] = times.user + times.system
        return seconds

    def _watch(self) -> None:
        while not self._over.wait(INTERVAL_S):
            self._latest |= self._look()
        self._own_s = time.thread_time()

    def __enter__(self) -> Self:
        self._started = time.process_time()
        self._watcher.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        own_s = time.process_time() - self._started
        self._over.set()
        self._watcher.join()
        self._latest |= self._look()
        theirs_s = sum(after - self._before.get(pid, 0.0) for pid, after in self._latest.items())
        self.seconds = own_s + theirs_s - self._own_s
