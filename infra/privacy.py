"""Taking out of the store what was captured: one person's rows, or all that is too old. Each is safe to repeat."""

from collections.abc import Callable
from datetime import UTC, datetime, timedelta

import pyarrow as pa
import pyarrow.compute as pc

from infra import captured, persons
from infra.captured import ANSWERS, LABELS
from infra.storage import Conflict, Missing, Store

Chosen = Callable[[pa.Table], pa.ChunkedArray]  # which rows to remove


def remove(store: Store, who: str) -> int:
    """Remove the digits of a pseudonym (hex), all labels given to them, and all labels it gave; returns how many rows.

    Suppress it first (`persons.suppress`), or what is on its way comes back.
    """
    # Labels go first: from the answers alone it can be told, after an interruption, which labels belong to them.
    theirs = _predictions(store, who)
    removed = 0
    for key in captured.keys(store, LABELS):
        removed += _without(store, key, lambda table: pc.or_(_by(table, who), _about(table, theirs)))
    for key in captured.keys(store, ANSWERS):
        removed += _without(store, key, lambda table: _by(table, who))
    persons.count_removed(store, removed)
    return removed


def expire(store: Store, older: timedelta) -> int:
    """Delete the hours that ended longer ago than that; returns how many objects were deleted."""
    limit = datetime.now(UTC) - older
    old = [
        key
        for kind in (ANSWERS, LABELS)
        for key in captured.keys(store, kind)
        if captured.hour_of(key) + timedelta(hours=1) < limit
    ]
    for key in old:
        store.delete(key)
    persons.drop_older(store, older)
    return len(old)


def _predictions(store: Store, who: str) -> pa.Array:
    found = [pa.array([], pa.string())]
    for key in captured.keys(store, ANSWERS):
        try:
            table = captured.from_parquet(store.get(key))
        except Missing:
            continue
        found.append(table.filter(_by(table, who)).column("prediction_id").combine_chunks())
    return pa.concat_arrays(found)


def _by(table: pa.Table, who: str) -> pa.ChunkedArray:
    return pc.equal(table.column("writer"), who).fill_null(False)


def _about(table: pa.Table, predictions: pa.Array) -> pa.ChunkedArray:
    return pc.is_in(table.column("prediction_id"), value_set=predictions)


def _without(store: Store, key: str, chosen: Chosen) -> int:
    """Rewrite the object without the chosen rows; returns how many they were."""
    while True:
        try:
            content, etag = store.get_with_etag(key)
        except Missing:
            return 0
        table = captured.from_parquet(content)
        kept = table.filter(pc.invert(chosen(table)))
        if kept.num_rows == table.num_rows:
            return 0
        try:
            if kept.num_rows:
                store.put(key, captured.to_parquet(kept), if_match=etag)
            else:
                store.delete(key)
        except Conflict:
            continue  # a shipper put it again meanwhile
        return int(table.num_rows - kept.num_rows)
