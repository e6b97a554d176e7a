"""What can go wrong in a step, on demand."""

import os
import time
from pathlib import Path

from inkloop.errors import UserError


class Refused(UserError):
    """A mistake of the user's, of a kind of its own."""


def perhaps_hang(step: str) -> None:
    """Wait for ever in the step that INKLOOP_TOY_HANG names, and leave this process's id in INKLOOP_TOY_PID."""
    if os.environ.get("INKLOOP_TOY_HANG") == step:
        unfinished = Path(os.environ["INKLOOP_TOY_PID"] + ".unfinished")
        unfinished.write_text(str(os.getpid()))
        unfinished.rename(os.environ["INKLOOP_TOY_PID"])
        time.sleep(600)


def perhaps_fail(how: str, report: str) -> None:
    """Raise what `how` asks for; a mistake of the user's has a report."""
    if how == "mendable":
        raise UserError(f"digits.txt: 'seven' is not a number.\n  row 3\n  row 9\nThe report: {report}")
    if how == "wrapped":
        try:
            raise UserError("not this one")
        except UserError as error:
            raise RuntimeError("the disk is on fire") from error
    if how == "crash":
        raise RuntimeError("the disk is on fire")
