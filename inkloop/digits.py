"""The table of digits: one row a digit, Parquet shards with one schema, used from ingest to retraining."""

import hashlib
import json
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Literal, cast

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from numpy.typing import NDArray

from inkloop.errors import UserError
from inkloop.files import written_whole

Split = Literal["train", "validation", "test"]

SCHEMA = pa.schema(
    [
        pa.field("id", pa.string(), nullable=False),
        pa.field("image", pa.binary(), nullable=False),
        pa.field("height", pa.int16(), nullable=False),
        pa.field("width", pa.int16(), nullable=False),
        pa.field("label", pa.int8()),
        pa.field("source", pa.string(), nullable=False),
        pa.field("file", pa.string()),
        pa.field("writer", pa.string()),
        pa.field("seen_at", pa.timestamp("us", tz="UTC")),
        pa.field("split", pa.string(), nullable=False),
    ]
)
ROWS_PER_SHARD = 20_000
REJECTED_NAME = "rejected.json"


@dataclass(frozen=True)
class Digits:
    """Digits of one size in memory.

    images: uint8 (n, height, width), white ink on black; labels: int64 (n,), -1 = not known.
    """

    images: NDArray[np.uint8]
    labels: NDArray[np.int64]
    ids: tuple[str, ...]

    def __len__(self) -> int:
        return len(self.images)

    def take(self, rows: slice | NDArray[np.int64]) -> "Digits":
        """The digits at these rows, in their order."""
        chosen = range(len(self))[rows] if isinstance(rows, slice) else rows
        return Digits(self.images[rows], self.labels[rows], tuple(self.ids[i] for i in chosen))


@dataclass(frozen=True)
class Rejected:
    """A file or row of a source that could not become a row of the table, and why; validation reports it."""

    file: str
    reason: str


def split_digests(table: pa.Table) -> dict[str, str]:
    """SHA-256, hex, over the sorted ids of each split: equal digests are equal sets of digits."""
    by_split = table.select(["split", "id"]).sort_by([("split", "ascending"), ("id", "ascending")])
    digests: dict[str, str] = {}
    for split in pc.unique(by_split.column("split")).to_pylist():
        ids = by_split.filter(pc.equal(by_split.column("split"), split)).column("id").to_pylist()
        digests[split] = hashlib.sha256("\n".join(ids).encode()).hexdigest()
    return digests


def digit_id(image: NDArray[np.uint8]) -> str:
    """SHA-256 of size and pixels: the same picture is the same digit. image: uint8 (height, width)."""
    height, width = image.shape
    return hashlib.sha256(b"%d,%d;" % (height, width) + image.tobytes()).hexdigest()


def split_of(key: str, validation_share: float, test_share: float) -> Split:
    """The side a writer or digit id falls on, for good: a hash of the key decides, shares are in 0..1."""
    position = int.from_bytes(hashlib.sha256(b"split:" + key.encode()).digest()[:8], "big") / 2**64
    if position < test_share:
        return "test"
    return "validation" if position < test_share + validation_share else "train"


def to_table(
    images: Sequence[NDArray[np.uint8]] | NDArray[np.uint8],
    labels: NDArray[np.int64],
    source: str,
    splits: Sequence[Split] | Split,
    files: Sequence[str] | None = None,
    writers: Sequence[str | None] | None = None,
    ids: Sequence[str] | None = None,
) -> pa.Table:
    """A table of digits. images: each uint8 (height, width); labels: int64 (n,), -1 = not known.

    files: where in the source each digit is, as a person would look it up; ids: computed if not given.
    """
    count = len(images)
    columns = {
        "id": pa.array(ids or [digit_id(image) for image in images], pa.string()),
        "image": pa.array([image.tobytes() for image in images], pa.binary()),
        "height": pa.array([image.shape[0] for image in images], pa.int16()),
        "width": pa.array([image.shape[1] for image in images], pa.int16()),
        "label": pa.array(labels.astype(np.int8), mask=labels < 0),
        "source": pa.repeat(source, count),
        "file": pa.array(files, pa.string()) if files is not None else pa.nulls(count, pa.string()),
        "writer": pa.array(writers, pa.string()) if writers is not None else pa.nulls(count, pa.string()),
        "seen_at": pa.nulls(count, SCHEMA.field("seen_at").type),
        "split": pa.repeat(splits, count) if isinstance(splits, str) else pa.array(splits, pa.string()),
    }
    return pa.table([columns[name] for name in SCHEMA.names], names=SCHEMA.names).cast(SCHEMA)


def write(table: pa.Table, folder: Path) -> None:
    """Write the table as Parquet shards `part-00000.parquet` ... into the folder (made if missing), in place of others.

    Nullable columns that the table lacks become null. Raises UserError if it lacks another.
    """
    folder.mkdir(parents=True, exist_ok=True)
    table = _complete(table)
    starts = range(0, max(table.num_rows, 1), ROWS_PER_SHARD)
    for shard, start in enumerate(starts):
        path = folder / f"part-{shard:05}.parquet"
        with written_whole(path) as unfinished:
            pq.write_table(table.slice(start, ROWS_PER_SHARD), unfinished, compression="zstd")
    for path in sorted(folder.glob("part-*.parquet"))[len(starts) :]:
        path.unlink()


def _complete(table: pa.Table) -> pa.Table:
    missing = [field for field in SCHEMA if field.name not in table.column_names]
    required = [field.name for field in missing if not field.nullable]
    if required:
        raise UserError(f"a table of digits lacks the column(s) {', '.join(required)}.")
    for field in missing:
        table = table.append_column(field, pa.nulls(table.num_rows, field.type))
    return table.select(SCHEMA.names).cast(SCHEMA)


def write_rejected(rejected: Sequence[Rejected], folder: Path) -> None:
    """Write what could not become a row as `rejected.json` beside the shards."""
    with written_whole(folder / REJECTED_NAME) as unfinished:
        unfinished.write_text(json.dumps([asdict(each) for each in rejected], indent=2, ensure_ascii=False) + "\n")


def read_rejected(folder: Path) -> list[Rejected]:
    """What could not become a row of the table in the folder; empty if all could."""
    path = folder / REJECTED_NAME
    return [Rejected(**each) for each in json.loads(path.read_text())] if path.is_file() else []


def read_table(folder: Path) -> pa.Table:
    """The whole table of digits in the folder. Raises UserError if it holds no shard."""
    shards = sorted(folder.glob("*.parquet"))
    if not shards:
        raise UserError(f"{folder}: no table of digits here (no .parquet file). Run the ingest step first.")
    return pa.concat_tables(pq.read_table(shard, schema=SCHEMA) for shard in shards)


def images_of(table: pa.Table) -> Iterator[NDArray[np.uint8]]:
    """Each row's picture, uint8 (height, width), in order."""
    columns = (table.column(name).to_pylist() for name in ("image", "height", "width"))
    for image, height, width in zip(*columns, strict=True):
        yield np.frombuffer(image, np.uint8).reshape(height, width)


def of(table: pa.Table, split: Split | None = None) -> Digits:
    """The labeled and unlabeled digits of one split (all, if None) of a table, which must be of one size; see `Digits`.

    Raises UserError if the pictures differ in size.
    """
    if split is not None:
        table = table.filter(pc.equal(table.column("split"), split))
    sizes = set(zip(table.column("height").to_pylist(), table.column("width").to_pylist(), strict=True))
    if len(sizes) > 1:
        raise UserError(f"pictures of {len(sizes)} sizes, where one is needed. Ingest them with framing on.")
    height, width = next(iter(sizes), (28, 28))
    pixels = bytearray().join(table.column("image").to_pylist())  # writable, as torch asks
    images = np.frombuffer(pixels, np.uint8).reshape(-1, height, width)
    labels = table.column("label").cast(pa.int64()).fill_null(-1).to_numpy().copy()
    return Digits(images, cast("NDArray[np.int64]", labels), tuple(table.column("id").to_pylist()))


def read(folder: Path, split: Split | None = None, from_production: bool | None = None) -> Digits:
    """The digits of the table in the folder, as `of` gives them.

    from_production: only those that a server saw, or only the others; None = both.
    Raises UserError if the pictures differ in size.
    """
    table = read_table(folder)
    if from_production is not None:
        table = table.filter(pc.equal(pc.is_valid(table.column("seen_at")), from_production))
    try:
        return of(table, split)
    except UserError as error:
        raise UserError(f"{folder}: {error}") from error


@dataclass(frozen=True)
class Shards:
    """The digits of one split in a folder, of which one shard at a time is read: `inkloop.batches.Blocks`."""

    paths: tuple[Path, ...]
    split: Split
    sizes: tuple[int, ...]

    def read(self, number: int) -> Digits:
        """The split's digits in one shard. Raises UserError if they differ in size."""
        return of(pq.read_table(self.paths[number], schema=SCHEMA), self.split)


def read_or_stream(folder: Path, split: Split, in_memory: int) -> Digits | Shards:
    """The digits of one split as `read` gives them, or shard by shard if they are more than fit in memory."""
    sizes = {
        path: pc.sum(pc.equal(pq.read_table(path, columns=["split"]).column("split"), split)).as_py() or 0
        for path in sorted(folder.glob("*.parquet"))
    }
    if sum(sizes.values()) <= in_memory:
        return read(folder, split)
    filled = {path: size for path, size in sizes.items() if size}
    return Shards(tuple(filled), split, tuple(filled.values()))
