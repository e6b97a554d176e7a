"""UNIPEN files (Guyon 1994): pen strokes with their lifts, and which of them are a digit.

.INCLUDE apb/data/app0237.dat       the strokes may lie in another file
.SEGMENT CHARACTER 0-1 ? "4"        strokes 0 and 1 are a 4; or, to a point of each, 0:12-1:30
.PEN_DOWN
215 1644                            x, y and whatever .COORD names, y growing upward
.PEN_UP
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from inkloop.errors import UserError
from inkloop.pen import trajectory
from inkloop.pen.trajectory import PenDigits

SEGMENT = re.compile(r'(?P<level>\S+)\s+(?P<where>[-\d:,]+)\s+.*"(?P<label>[^"]*)"\s*')
SPAN = re.compile(r"(?P<first>\d+)(?::(?P<begin>\d+))?(?:-(?P<last>\d+)(?::(?P<end>\d+))?)?")
INCLUDE_FOLDER = "include"  # beside `data` in the distribution train_r01_v07

Point = tuple[float, float]


@dataclass(frozen=True)
class Statement:
    """A keyword, such as `.PEN_DOWN`, with its text, that of the lines below included, and where it stands."""

    keyword: str
    text: str
    file: Path
    line: int

    def wrong(self, why: str) -> UserError:
        """The error of this statement."""
        return UserError(f"{self.file}, line {self.line}: {why}.")


def read(path: Path) -> PenDigits:
    """The digits of a UNIPEN file and of those it includes; segments that are no single digit are passed over.

    Raises UserError naming file and line for what is malformed, and if there is no digit.
    """
    columns, strokes, segments = ["X", "Y"], list[list[Point]](), list[tuple[Statement, int]]()
    for statement in statements(path, ()):
        match statement.keyword:
            case ".COORD":
                columns = statement.text.split()
                if not {"X", "Y"} <= set(columns):
                    raise statement.wrong("its .COORD names no X and Y")
            case ".PEN_DOWN":
                strokes.append(_points(statement, columns))
            case ".PEN_UP" if statement.text.strip():  # the way through the air is counted as a stroke, without ink
                strokes.append([])
            case ".SEGMENT" if (found := SEGMENT.match(statement.text)) and re.fullmatch("[0-9]", found["label"]):
                segments.append((statement, int(found["label"])))
    if not segments:
        raise UserError(f'{path}: no digit in it. Name a UNIPEN file with lines such as .SEGMENT CHARACTER 0-1 ? "4".')
    paths = [_path(statement, strokes) for statement, _ in segments]
    return PenDigits(np.stack(paths), np.array([label for _, label in segments], np.int64))


def statements(path: Path, above: tuple[Path, ...]) -> Iterator[Statement]:
    """The statements of a file, in order, each included file in its place. above: the files that include this one."""
    try:
        lines = path.read_text("latin-1").splitlines()
    except OSError as error:
        raise UserError(f"{path}: not readable ({error.strerror}).") from None
    starts = [number for number, line in enumerate(lines) if line.startswith(".")]
    for start, end in zip(starts, [*starts[1:], len(lines)], strict=True):
        keyword, *rest = lines[start].split(None, 1)
        statement = Statement(keyword, "\n".join([*rest, *lines[start + 1 : end]]), path, start + 1)
        if keyword != ".INCLUDE":
            yield statement
        elif (included := _included(statement)) is not None:
            if included in (*above, path):
                raise statement.wrong(f"{included} includes itself")
            yield from statements(included, (*above, path))


def _included(statement: Statement) -> Path | None:
    """The file that is included: beside this one, or below a folder `include` above it; None for its documentation."""
    name = statement.text.strip()
    places = [statement.file.parent, *(above / INCLUDE_FOLDER for above in statement.file.resolve().parents)]
    for place in places:
        if (found := place / name).is_file() and found.resolve() != statement.file.resolve():
            return found
    if name.endswith((".doc", ".lex")):
        return None
    raise statement.wrong(f"included {name} is neither beside it nor in a folder {INCLUDE_FOLDER} above it")


def _points(statement: Statement, columns: list[str]) -> list[Point]:
    try:
        rows = [[float(number) for number in line.split()] for line in statement.text.splitlines() if line.strip()]
        return [(row[columns.index("X")], -row[columns.index("Y")]) for row in rows]
    except (ValueError, IndexError):
        raise statement.wrong(f"below its .PEN_DOWN are lines that are not the numbers {' '.join(columns)}") from None


def _path(statement: Statement, strokes: list[list[Point]]) -> trajectory.Path:
    """The path through the strokes that a segment names, such as `0-1`, `3,5` or, from point to point, `0:3-1:17`."""
    named = statement.text.split()[1]
    drawing = []
    for span in named.split(","):
        found = SPAN.fullmatch(span)
        first, last = (int(found["first"]), int(found["last"] or found["first"])) if found else (0, -1)
        if found is None or not first <= last < len(strokes):
            raise statement.wrong(f"strokes {named} are not among the {len(strokes)} of the file")
        parts = [list(stroke) for stroke in strokes[first : last + 1]]
        if found["end"]:
            parts[-1] = parts[-1][: int(found["end"]) + 1]
        parts[0] = parts[0][int(found["begin"] or 0) :]
        drawing += parts
    try:
        return trajectory.path(drawing)
    except UserError as error:
        raise statement.wrong(f"of strokes {named}: {str(error).rstrip('.')}") from None
