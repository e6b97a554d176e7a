"""Files of UCI's pen digits (Alimoglu and Alpaydin 1996): rows of eight points along the pen's way, and the class.

Their points are whole numbers from 0 to 100, x and y each stretched to that range, y growing upward. Where the pen was
lifted is not in them: the way through the air is drawn as ink.
"""

from pathlib import Path

import numpy as np

from inkloop.errors import UserError
from inkloop.pen import trajectory
from inkloop.pen.trajectory import PenDigits

NUMBERS = 16  # x and y of eight points
TRAINING_ROWS = 7494  # of the one file that holds both parts; the writers of the rest are others


def read(path: Path) -> PenDigits:
    """The digits of a `.tra`, `.tes` or CSV file, with or without a line of headings, numbers of rows, or both.

    Raises UserError naming file and line for a row that is none, and if there is no row.
    """
    try:
        lines = path.read_text().splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise UserError(f"{path}: not readable ({error}).") from None
    rows = [
        _numbers(line, f"{path}, line {number}")
        for number, line in enumerate(lines, 1)
        if line.strip() and not (number == 1 and any(each.isalpha() for each in line))
    ]
    if not rows:
        raise UserError(f"{path}: no pen digits in it. Name a file of rows of 16 numbers and a class.")
    points = np.array([row[:-1] for row in rows], np.float64).reshape(len(rows), -1, 2) * (1, -1)
    labels = np.array([row[-1] for row in rows], np.int64)
    return PenDigits(np.stack([trajectory.path([each]) for each in points]), labels)


def split(digits: PenDigits, path: Path) -> tuple[PenDigits, PenDigits]:
    """The official training digits, and the test digits of other writers, of the one file with both.

    Raises UserError, naming the file, if it holds no more than the training digits.
    """
    if len(digits) <= TRAINING_ROWS:
        raise UserError(f"{path}: {len(digits):,} digits, where {TRAINING_ROWS:,} to learn from and others are needed.")
    return digits.take(slice(0, TRAINING_ROWS)), digits.take(slice(TRAINING_ROWS, None))


def _numbers(line: str, where: str) -> list[int]:
    cells = [cell.strip().strip('"') for cell in line.split(",")][-NUMBERS - 1 :]
    if len(cells) <= NUMBERS:
        raise UserError(f"{where}: {len(cells)} numbers, where a pen digit has {NUMBERS} and its class.")
    try:
        numbers = [int(cell) for cell in cells]
    except ValueError as error:
        raise UserError(f"{where}: not a pen digit ({error}).") from None
    if not 0 <= numbers[-1] <= 9:
        raise UserError(f"{where}: class {numbers[-1]} is not one of 0 to 9.")
    if not all(0 <= number <= 100 for number in numbers[:-1]):
        raise UserError(f"{where}: its points must lie between 0 and 100.")
    return numbers
