"""What production has seen: answers and later labels as Parquet in the store, one object a segment and hour.

An answer's row is a digit of `inkloop.digits` with what the model said to it, so it can be learned once it is labeled.
"""

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from io import BytesIO

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from infra.storage import Missing, Store
from inkloop import digits

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
        table = _get(store, key)
        if table is None:
            continue
        when = table.column("seen_at")
        fresh = pc.invert(pc.is_in(table.column("prediction_id"), value_set=seen))
        table = _once(table.filter(pc.and_(fresh, pc.and_(pc.greater_equal(when, start), pc.less(when, end)))))
        seen = pa.concat_arrays([seen, table.column("prediction_id").combine_chunks()])
        yield _labeled(table, labels)


def read(store: Store, start: datetime, end: datetime) -> pa.Table:
    """All of `tables` as one; without rows if nothing was captured."""
    return pa.concat_tables([SCHEMA.empty_table(), *tables(store, start, end)])


def latest_labels(store: Store, since: datetime) -> pa.Table:
    """The latest label of each prediction labeled since then, of `LABEL_SCHEMA`."""
    found = (_get(store, key) for key in keys(store, LABELS, since))
    table = pa.concat_tables([LABEL_SCHEMA.empty_table(), *(each for each in found if each is not None)])
    return _once(table.sort_by([("seen_at", "descending")]))


def _get(store: Store, key: str) -> pa.Table | None:
    try:
        return from_parquet(store.get(key))
    except Missing:  # expired or forgotten since it was listed
        return None


def _once(table: pa.Table) -> pa.Table:
    """The first row of each prediction."""
    rows = table.select(["prediction_id"]).append_column("row", pa.array(range(table.num_rows), pa.int64()))
    first = rows.group_by("prediction_id").aggregate([("row", "min")]).column("row_min")
    return table.take(first.sort())


def _labeled(table: pa.Table, labels: pa.Table) -> pa.Table:
    place = pc.index_in(table.column("prediction_id"), value_set=labels.column("prediction_id"))
    at = SCHEMA.get_field_index("label")
    return table.set_column(at, SCHEMA.field(at), pc.take(labels.column("label"), place)).cast(SCHEMA)
