"""The log of a run: everything kfp and the steps print, in one file; the last lines are kept at hand."""

import contextlib
import importlib
import io
import re
from collections import deque
from itertools import dropwhile, takewhile
from pathlib import Path

from inkloop.errors import UserError

COLOR = re.compile(r"\x1b\[[0-9;]*m")
TRACEBACK = "Traceback (most recent call last):"
# kfp's frame around a step; and what a part of Ray Train repeats each second where Ray has no dashboard.
NOISE = re.compile(r"\d\d:\d\d:\d\d\.\d{3} - |-{20,}$|\s*\(PlacementGroupCleaner pid=\d+\) ")
RAISED = re.compile(r"(?P<module>(?:inkloop|infra|components|serving|pipeline)(?:\.\w+)*)\.(?P<name>\w+): (?P<said>.*)")


class StepFailed(Exception):
    """A step ended by something the user cannot mend; says which, how, and where its log is."""


class Log(io.TextIOBase):
    """A text stream into the file that remembers the lines of the step that runs."""

    def __init__(self, path: Path) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        self.path = path
        self._file = path.open("w", buffering=1)
        self._unfinished = ""
        self.lines: deque[str] = deque(maxlen=1000)
        self.last_line = ""

    def writable(self) -> bool:
        """It is."""
        return True

    def write(self, text: str) -> int:
        """Write to the file, and remember whole lines."""
        plain = COLOR.sub("", text)
        with contextlib.suppress(OSError):  # a full disk: the last lines are still at hand, and say so
            self._file.write(plain)
        # Progress bars end their lines with a carriage return.
        *lines, self._unfinished = (self._unfinished + plain).replace("\r", "\n").split("\n")
        for line in lines:
            self.lines.append(line.rstrip())
            if _is_said(line):
                self.last_line = line.strip()
        return len(text)

    def flush(self) -> None:
        """See `io.TextIOBase.flush`."""
        with contextlib.suppress(OSError):
            self._file.flush()

    def close(self) -> None:
        """See `io.TextIOBase.close`."""
        super().close()
        with contextlib.suppress(OSError):
            self._file.close()

    def forget(self) -> None:
        """Let go of the lines so far: another step begins."""
        self.lines.clear()
        self.last_line = ""

    def tail(self, count: int) -> list[str]:
        """The last lines the step printed."""
        return [line.removeprefix("    ") for line in self.lines if _is_said(line)][-count:]

    def has_traceback(self) -> bool:
        """Whether the step said what it died of."""
        return any(line.removeprefix("    ") == TRACEBACK for line in self.lines)

    def speaks_of(self, text: str) -> bool:
        """Whether the step printed this."""
        return any(text in line for line in self.lines)

    def user_error(self) -> str | None:
        """What the step's UserError says, if that is what ended it."""
        lines = [line.removeprefix("    ") for line in self.lines]
        if TRACEBACK not in lines:
            return None
        last = lines[len(lines) - lines[::-1].index(TRACEBACK) :]
        ending = dropwhile(lambda line: line.startswith(" ") or not line, last)
        raised = RAISED.fullmatch(next(ending, ""))
        if raised is None or not _is_user_error(raised["module"], raised["name"]):
            return None
        return "\n".join([raised["said"], *takewhile(_is_said, ending)])


def _is_said(line: str) -> bool:
    return bool(line.strip()) and not NOISE.match(line)


def _is_user_error(module: str, name: str) -> bool:
    try:
        raised = getattr(importlib.import_module(module), name, None)
    except ImportError:
        return False
    return isinstance(raised, type) and issubclass(raised, UserError)
