"""MNIST for the benchmarks, fetched where it is not there yet."""

from pathlib import Path

import pyarrow as pa

from benchmarks.record import ROOT
from inkloop import download, mnist, sources


def folder() -> Path:
    """Where its four files are. Raises UserError if they can be had nowhere."""
    place = ROOT / "data" / mnist.NAME
    if not mnist.is_whole(place):
        download.fetch(place)
    return place


def table() -> pa.Table:
    """All 70,000 digits, of `inkloop.digits.SCHEMA`. Raises UserError if they can be had nowhere."""
    return mnist.read(folder(), sources.IngestSettings().validation_share)
