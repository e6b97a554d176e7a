"""Versions of what production has sent and people have labeled: tables of digits in the store, named by their bytes."""

import tempfile
from collections.abc import Iterator
from datetime import datetime
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc

from infra import captured
from infra.storage import Store
from inkloop import artifacts, digits
from inkloop.errors import UserError


def labeled(store: Store, start: datetime, end: datetime) -> pa.Table:
    """The answers seen in [start, end) that have a label, with it, of `captured.SCHEMA`, oldest first."""
    found: Iterator[pa.Table] = (
        table.filter(pc.is_valid(table.column("label"))) for table in captured.tables(store, start, end)
    )
    return pa.concat_tables([captured.SCHEMA.empty_table(), *found]).sort_by([("seen_at", "ascending")])


def to_learn(rows: pa.Table, limit: int) -> pa.Table:
    """The table of digits of labeled answers: each picture once, the newest `limit` of them.

    A picture that people read differently is left out.
    """
    by_picture = rows.group_by("id").aggregate([("label", "count_distinct"), ("prediction_id", "max")])
    agreed = by_picture.filter(pc.equal(by_picture.column("label_count_distinct"), 1))
    last = pc.is_in(rows.column("prediction_id"), value_set=agreed.column("prediction_id_max").combine_chunks())
    chosen = rows.filter(last)
    return chosen.slice(max(0, chosen.num_rows - limit)).select(digits.SCHEMA.names)


def publish(store: Store, table: pa.Table) -> str:
    """Keep a table of digits as a version. Returns its digest; the same rows have the same.

    Raises UserError if there is no row.
    """
    if not table.num_rows:
        raise UserError(f"nothing in {store} is labeled yet, so there is no version to make of it.")
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch) / "digits"
        digits.write(table, folder)
        digest = artifacts.digest(folder)
        store.upload(folder, _place(digest))
    return digest


def fetch(store: Store, digest: str, folder: Path) -> None:
    """Download a version to `folder`, whole and with the right digest, or not at all.

    Raises Missing if there is no such version, UserError if the store holds other bytes.
    """
    store.download(_place(digest), folder)
    if artifacts.digest(folder) != digest:
        raise UserError(f"{_place(digest)}: the store holds other digits there. Delete it, and make the version again.")


def read(store: Store, digest: str) -> pa.Table:
    """The digits of a version; see `fetch`."""
    with tempfile.TemporaryDirectory() as scratch:
        fetch(store, digest, Path(scratch) / "digits")
        return digits.read_table(Path(scratch) / "digits")


def _place(digest: str) -> str:
    return f"datasets/{digest}"
