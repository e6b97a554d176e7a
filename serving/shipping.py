"""Shipping: closed segments become Parquet in the store, each record exactly once.

A segment's keys follow from its name, so one that was shipped but not yet removed is put again in the same place. It
runs as a process of its own (`python -m serving.shipping`), so that neither Arrow nor this work weighs on the server.
"""

import logging
import os
import sys
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime, timedelta
from itertools import groupby
from pathlib import Path

import pyarrow as pa

from infra import captured, persons, privacy
from infra.persons import Forgotten
from infra.storage import Store, open_store
from inkloop.digits import digit_id, split_of
from inkloop.errors import UserError
from serving import segments
from serving.records import Record, decode, id_text

DAMAGED_SUFFIX = ".damaged"
KINDS = {"answer": captured.ANSWERS, "label": captured.LABELS}
HOUR_US = 3_600_000_000

log = logging.getLogger("inkloop.shipping")


def ship(folder: Path, store: Store) -> int:
    """Ship every segment in the folder that nobody writes; returns how many. Raises UserError or OSError: ship later.

    A segment with damage within is shipped as far as it can be read, reported, and kept as `.damaged`.
    """
    shipped = 0
    for path in segments.waiting(folder):
        with segments.claimed(path) as file:
            if file is None:
                continue
            contents = segments.parse(file.read())
            _put(store, path.stem, [decode(record) for record in contents.records])
            if contents.damaged:
                log.error("%s: damaged in %d places; the records there are lost.", path, contents.damaged)
                path.replace(path.with_suffix(DAMAGED_SUFFIX))
            else:
                path.unlink()
            shipped += 1
    return shipped


def _put(store: Store, segment: str, records: Sequence[Record]) -> None:
    forgotten: Forgotten | None = None
    # Who is forgotten while we put either finds our rows in the store, or is found here.
    while forgotten is None or persons.forgotten(store).until != forgotten.until:
        forgotten = persons.forgotten(store)
        for key, rows in _by_key(records, segment):
            kept = [row for row in rows if not _is_forgotten(row, forgotten)]
            if kept:
                _put_verified(store, key, captured.to_parquet(to_table(kept)))
            else:
                store.delete(key)


def _put_verified(store: Store, key: str, content: bytes) -> None:
    store.put(key, content)
    if store.get(key) != content:
        raise UserError(f"{key}: {store} holds other bytes than were put there. It is tried again.")


def _by_key(records: Sequence[Record], segment: str) -> Iterator[tuple[str, list[Record]]]:
    def place(record: Record) -> tuple[str, int]:
        return record.kind, record.seen_at // HOUR_US

    for (kind, hour), rows in groupby(sorted(records, key=place), key=place):
        yield captured.key_of(KINDS[kind], datetime.fromtimestamp(hour * 3600, UTC), segment), list(rows)


def _is_forgotten(record: Record, forgotten: Forgotten) -> bool:
    until = forgotten.until.get(record.person.hex())
    return until is not None and record.seen_at <= until.timestamp() * 1e6


def to_table(records: Sequence[Record]) -> pa.Table:
    """Records of one kind as rows of `captured.SCHEMA` or `captured.LABEL_SCHEMA`."""
    schema = captured.SCHEMAS[KINDS[records[0].kind]]
    rows = [_answer_row(record) if record.kind == "answer" else _label_row(record) for record in records]
    return pa.Table.from_pylist(rows, schema)


def _label_row(record: Record) -> dict[str, object]:
    return {
        "prediction_id": id_text(record.prediction_id),
        "label": record.label,
        "writer": record.person.hex() or None,
        "source": record.source,
        "seen_at": record.seen_at,
    }


def _answer_row(record: Record) -> dict[str, object]:
    assert record.image is not None and record.probabilities is not None
    digit, writer = digit_id(record.image), record.person.hex() or None
    return {
        "id": digit,
        "image": record.image.tobytes(),
        "height": record.image.shape[0],
        "width": record.image.shape[1],
        "source": record.source,
        "writer": writer,
        "seen_at": record.seen_at,
        "split": split_of(writer or digit, captured.VALIDATION_SHARE, captured.TEST_SHARE),
        "prediction_id": id_text(record.prediction_id),
        "answer": record.label,
        "probabilities": record.probabilities.tolist(),
        "model_version": record.model_version,
    }


def expire(folder: Path, store: Store, older: timedelta) -> int:
    """Delete hours older than that from the store, and damaged segments here; returns how many objects were deleted."""
    limit = datetime.now(UTC) - older
    for path in folder.glob(f"*{DAMAGED_SUFFIX}"):
        if datetime.fromtimestamp(path.stat().st_mtime, UTC) < limit:
            path.unlink(missing_ok=True)
    return privacy.expire(store, older)


def forget(folder: Path, store: Store, person: str) -> int:
    """Remove a person's digits and labels, those still waiting in the folder too; returns how many rows of the store.

    Damaged segments here go as a whole: nobody can say whose records they hold.
    """
    who = persons.pseudonym(persons.secret(store), person).hex()
    persons.suppress(store, who, datetime.now(UTC))
    ship(folder, store)
    for path in folder.glob(f"*{DAMAGED_SUFFIX}"):
        path.unlink(missing_ok=True)
    return privacy.remove(store, who)


def main(folder: str, store_url: str, retention_days: str) -> int:
    """Ship once, then delete what is older than that many days (0: delete nothing); returns the exit code."""
    os.nice(10)  # answers go first
    try:
        store = open_store(store_url, existing=True)
        ship(Path(folder), store)
        if days := int(retention_days):
            expire(Path(folder), store, timedelta(days=days))
    except (UserError, OSError) as error:
        print(error, file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    logging.basicConfig(format="%(message)s")
    sys.exit(main(*sys.argv[1:]))
