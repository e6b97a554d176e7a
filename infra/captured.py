"""What production has seen: answers and later labels as Parquet in the store, one object a segment and hour.

An answer's row is a digit of `inkloop.digits` with what the model said to it, so it can be learned once it is labeled.
"""

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from io import BytesIO

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from numpy.typing import NDArray

from infra.storage import Missing, Store
from inkloop import digits

CLASSES = 10
ANSWERS = "captured"
LABELS = "captured-labels"

SCHEMA = pa.schema(
    [
        *digits.SCHEMA,  # label: null until someone gives one; writer: the person's pseudonym
        pa.field("prediction_id", pa.string(), nullable=False),
        pa.field("answer", pa.int8(), nullable=False),
        pa.field("probabilities", pa.list_(pa.float32()), nullable=False),
        pa.field("model_version", pa.string(), nullable=False),
    ]
)
LABEL_SCHEMA = pa.schema(
    [
        pa.field("prediction_id", pa.string(), nullable=False),
        pa.field("label", pa.int8(), nullable=False),
        pa.field("writer", pa.string()),  # the pseudonym of whoever gave the label
        pa.field("source", pa.string(), nullable=False),
        pa.field("seen_at", pa.timestamp("us", tz="UTC"), nullable=False),
    ]
)
SCHEMAS = {ANSWERS: SCHEMA, LABELS: LABEL_SCHEMA}
# Shares of the writers (of the pictures, where the writer is not known) whose digits validate, and test: more than of
# other sources, for the gate and the monitor live on them.
VALIDATION_SHARE = TEST_SHARE = 0.2
_HOUR = "date=%Y-%m-%d/hour=%H"


def key_of(kind: str, hour: datetime, segment: str) -> str:
    """Where a segment's rows of one hour (UTC) are kept; kind: `ANSWERS` or `LABELS`."""
    return f"{kind}/{hour:{_HOUR}}/{segment}.parquet"


def hour_of(key: str) -> datetime:
    """The start of the hour whose rows the key holds, UTC."""
    return datetime.strptime("/".join(key.split("/")[1:3]), _HOUR).replace(tzinfo=UTC)


def keys(store: Store, kind: str, start: datetime | None = None, end: datetime | None = None) -> list[str]:
    """The keys of all hours that overlap [start, end), oldest first; None: no bound."""
    return [
        key
        for key in store.list(f"{kind}/")
        if (start is None or hour_of(key) + timedelta(hours=1) > start) and (end is None or hour_of(key) < end)
    ]


def to_parquet(table: pa.Table) -> bytes:
    """The table as one Parquet file; the same rows give the same bytes."""
    file = BytesIO()
    pq.write_table(table, file, compression="zstd")
    return file.getvalue()


def from_parquet(content: bytes) -> pa.Table:
    """The table that these bytes are."""
    return pq.read_table(BytesIO(content))


def tables(store: Store, start: datetime, end: datetime) -> Iterator[pa.Table]:
    """The answers seen in [start, end), object by object, of `SCHEMA`: each prediction once, with its latest label."""
    labels = latest_labels(store, start)
    seen = pa.array([], pa.string())
    for key in keys(store, ANSWERS, start, end):
        table = get(store, key)
        if table is None:
            continue
        when = table.column("seen_at")
        fresh = pc.invert(pc.is_in(table.column("prediction_id"), value_set=seen))
        table = _once(table.filter(pc.and_(fresh, pc.and_(pc.greater_equal(when, start), pc.less(when, end)))))
        seen = pa.concat_arrays([seen, table.column("prediction_id").combine_chunks()])
        yield with_labels(table, labels)


def read(store: Store, start: datetime, end: datetime) -> pa.Table:
    """All of `tables` as one; without rows if nothing was captured."""
    return pa.concat_tables([SCHEMA.empty_table(), *tables(store, start, end)])


def find(store: Store, prediction_id: str, around: datetime) -> pa.Table:
    """The answer of this id, one row or none, with its latest label; around: when it was given, to the hour."""
    hour = timedelta(hours=1)
    for table in tables(store, around - hour, around + hour):
        found = table.filter(pc.equal(table.column("prediction_id"), prediction_id))
        if found.num_rows:
            return found
    return SCHEMA.empty_table()


def latest_labels(store: Store, since: datetime) -> pa.Table:
    """The latest label of each prediction labeled since then, of `LABEL_SCHEMA`."""
    found = (get(store, key) for key in keys(store, LABELS, since))
    return latest_of([each for each in found if each is not None])


def latest_of(tables: list[pa.Table]) -> pa.Table:
    """The latest label of each prediction among tables of `LABEL_SCHEMA`."""
    return _once(pa.concat_tables([LABEL_SCHEMA.empty_table(), *tables]).sort_by([("seen_at", "descending")]))


def get(store: Store, key: str) -> pa.Table | None:
    """The rows under a key, None if they expired or were forgotten since it was listed."""
    try:
        return from_parquet(store.get(key))
    except Missing:
        return None


def with_labels(table: pa.Table, labels: pa.Table) -> pa.Table:
    """The answers with their labels out of those of `latest_labels`; null where there is none."""
    place = pc.index_in(table.column("prediction_id"), value_set=labels.column("prediction_id"))
    at = SCHEMA.get_field_index("label")
    return table.set_column(at, SCHEMA.field(at), pc.take(labels.column("label"), place)).cast(SCHEMA)


def since(table: pa.Table, when: datetime) -> pa.Table:
    """The rows, answers or labels, seen then or later."""
    moment = pa.scalar(when, table.schema.field("seen_at").type)
    return table.filter(pc.greater_equal(table.column("seen_at"), moment))


def probabilities_of(table: pa.Table) -> NDArray[np.float32]:
    """What the model said to each, float32 (n, 10), read from Arrow's own buffer."""
    said: NDArray[np.float32] = table.column("probabilities").combine_chunks().flatten().to_numpy()
    return said.reshape(table.num_rows, CLASSES)


def _once(table: pa.Table) -> pa.Table:
    """The first row of each prediction."""
    rows = table.select(["prediction_id"]).append_column("row", pa.array(range(table.num_rows), pa.int64()))
    first = rows.group_by("prediction_id").aggregate([("row", "min")]).column("row_min")
    return table.take(first.sort())
