"""MNIST for the benchmarks, fetched where it is not there yet."""

from functools import cache
from pathlib import Path

import pyarrow as pa

from benchmarks.record import ROOT
from inkloop import digits, download, mnist, sources
from inkloop.digits import Digits, Split


def folder() -> Path:
    """Where its four files are. Raises UserError if they can be had nowhere."""
    return download.ensure(ROOT / "data" / mnist.NAME)


@cache
def table() -> pa.Table:
    """All 70,000 digits, of `inkloop.digits.SCHEMA`. Raises UserError if they can be had nowhere."""
    return mnist.read(folder(), sources.IngestSettings().validation_share)


def split(name: Split) -> Digits:
    """The digits of one split. Raises UserError as `table` does."""
    return digits.of(table(), name)
