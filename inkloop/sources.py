"""Where digits come from: MNIST by name, a folder of labeled pictures, or IDX files, to one table."""

import hashlib
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Self

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray
from pydantic import PositiveInt, model_validator

from inkloop import digits, folders, idx, mnist, pictures
from inkloop.digits import Rejected, Split, digit_id, split_of
from inkloop.errors import UserError
from inkloop.framing import frame
from inkloop.settings import Settings, Share

CLASSES = 10
LARGEST_LABEL = 127  # that the table can hold; validation refuses all over 9


class IngestSettings(Settings):
    """How a source becomes a table of digits. Shares are in 0..1."""

    frame: bool = True  # bring pictures into the model's frame; off, they must be white on black and of one size
    transposed: bool = False  # IDX pictures stored column by column, as EMNIST's are
    validation_share: Share = 0.1
    test_share: Share = 0.1  # of a source that names no test set of its own
    limit_train: PositiveInt | None = None  # digits of train and validation together, the same number of each class
    limit_test: PositiveInt | None = None

    @model_validator(mode="after")
    def _leaves_digits_to_train(self) -> Self:
        if self.validation_share + self.test_share >= 1:
            raise ValueError("validation_share and test_share leave no training digits: together they must be below 1")
        return self


@dataclass(frozen=True)
class Sample:
    """One picture on its way into the table. image: uint8 (height, width); label: None = not known."""

    file: str
    image: NDArray[np.uint8]
    label: int | None
    writer: str | None
    split: Split | None


def digest(source: str) -> str:
    """SHA-256, hex, that changes with the bytes of a source: `mnist`, a folder, or an IDX file of images.

    Raises UserError if there is no such source.
    """
    return mnist.pin() if source == mnist.NAME else digest_of(files(source, Path()))


def files(source: str, data_dir: Path) -> dict[str, str]:
    """SHA-256, hex, of each file of a source, by name; of `mnist`, of those there are in `data_dir/mnist`.

    Raises UserError if there is no such source.
    """
    if source == mnist.NAME:
        folder = data_dir / mnist.NAME
        found = {name: folder / name for name in mnist.MD5 if (folder / name).is_file()}
    elif (path := _existing(source)).is_dir():
        inside = sorted(each for each in path.rglob("*") if each.is_file())
        found = {each.relative_to(path).as_posix(): each for each in inside}
    else:
        found = {each.name: each for each in _pair(path)}
    return {name: hashlib.sha256(each.read_bytes()).hexdigest() for name, each in found.items()}


def digest_of(files: Mapping[str, str]) -> str:
    """The digest of a source that is no set known by name, from what `files` says of it."""
    total = hashlib.sha256()
    for name, content in files.items():
        total.update(f"{name}\0{content}\n".encode())
    return total.hexdigest()


def read(source: str, data_dir: Path, settings: IngestSettings) -> tuple[pa.Table, list[Rejected]]:
    """The table of a source, and what could not become a row of it.

    source: `mnist`, whose files must lie in `data_dir/mnist`; a folder (see `inkloop.folders.entries`, or IDX pairs);
    or the path of an IDX file of images, whose labels lie beside it.
    Raises UserError if there is no such source, or it holds no digits at all.
    """
    if source == mnist.NAME:
        return _limited(mnist.read(data_dir / mnist.NAME, settings.validation_share), settings), []
    path = _existing(source).resolve()
    name = path.name if path.is_dir() else path.parent.name
    rejected: list[Rejected] = []
    samples = _samples(path, settings, rejected)
    if settings.frame:
        samples = _framed(samples, rejected)
    table = _limited(_assemble(list(samples), name, settings), settings)
    return table, [Rejected(f"{name}/{each.file}", each.reason) for each in rejected]


def with_production(table: pa.Table, production: pa.Table) -> pa.Table:
    """The table with production's digits below; a picture that is in the table already does not come in again."""
    new = pc.invert(pc.is_in(production.column("id"), value_set=table.column("id").combine_chunks()))
    return pa.concat_tables([table, production.filter(new)])


def _existing(source: str) -> Path:
    path = Path(source)
    if not source or not path.exists():
        raise UserError(
            f"source {source!r}: neither a data set known by name ({mnist.NAME}) nor the path of a folder of labeled "
            "pictures or of an IDX file."
        )
    return path


def _samples(path: Path, settings: IngestSettings, rejected: list[Rejected]) -> Iterator[Sample]:
    images = [path] if path.is_file() else sorted(each for each in path.glob("*images?idx3-ubyte*") if each.is_file())
    if not images:
        yield from _from_folder(path, rejected)
    for each in images:
        yield from _from_idx(each, settings.transposed, alone=len(images) == 1, rejected=rejected)


def _from_folder(folder: Path, rejected: list[Rejected]) -> Iterator[Sample]:
    for entry in folders.entries(folder):
        where = f"line {entry.line} of {folders.LABELS_NAME}: " if entry.line else ""
        try:
            label = _label(entry.label)
            image = pictures.decode((folder / entry.file).read_bytes())
        except UserError as error:
            rejected.append(Rejected(entry.file, f"{where}{error}"))
        except OSError as error:
            rejected.append(Rejected(entry.file, f"{where}not readable: {error.strerror}."))
        else:
            yield Sample(entry.file, image, label, entry.writer, entry.split)


def _label(text: str) -> int | None:
    if not text:
        return None
    if not text.isascii() or not text.isdigit() or int(text) > LARGEST_LABEL:
        raise UserError(f"label {text!r} is not one of 0 to 9.")
    return int(text)


def _from_idx(path: Path, transposed: bool, alone: bool, rejected: list[Rejected]) -> Iterator[Sample]:
    images, labels = (idx.read(each) for each in _pair(path))
    if images.ndim != 3 or labels.shape != (len(images),):
        raise UserError(
            f"{path}: images of shape {images.shape} and labels of shape {labels.shape} do not belong together."
        )
    is_test = any(word in path.name for word in ("t10k", "test"))
    split: Split | None = None if alone else "test" if is_test else "train"
    for row, (image, label) in enumerate(zip(images, labels.tolist(), strict=True)):
        file = f"{path.name}#{row}"
        if label > LARGEST_LABEL:
            rejected.append(Rejected(file, f"label {label} is not one of 0 to 9."))
        else:
            yield Sample(file, image.T if transposed else image, label, None, split)


def _pair(images: Path) -> tuple[Path, Path]:
    """The IDX file of images and the one of its labels, each compressed or not."""
    if "images" not in images.name or "idx3" not in images.name:
        raise UserError(
            f"{images}: neither a folder of labeled pictures nor an IDX file of images, which is named like "
            "train-images-idx3-ubyte."
        )
    name = images.name.removesuffix(".gz").replace("images-idx3", "labels-idx1").replace("images.idx3", "labels.idx1")
    for labels in (images.with_name(name), images.with_name(f"{name}.gz")):
        if labels.is_file() and labels != images:
            return images, labels
    raise UserError(f"{images}: its labels are not beside it. Name the two like train-images-idx3-ubyte and {name}.")


def _framed(samples: Iterable[Sample], rejected: list[Rejected]) -> Iterator[Sample]:
    for sample in samples:
        try:
            yield Sample(sample.file, frame(sample.image), sample.label, sample.writer, sample.split)
        except UserError as error:
            rejected.append(Rejected(sample.file, str(error)))


def _assemble(samples: list[Sample], source: str, settings: IngestSettings) -> pa.Table:
    """The table of the samples; a split that the source does not name is chosen by hash of writer, or of picture."""
    ids = [digit_id(sample.image) for sample in samples]
    has_validation = any(sample.split == "validation" for sample in samples)

    def side(sample: Sample, digit: str) -> Split:
        if sample.split in ("validation", "test") or (sample.split == "train" and has_validation):
            return sample.split
        test_share = settings.test_share if sample.split is None else 0
        return split_of(sample.writer or digit, settings.validation_share, test_share)

    return digits.to_table(
        [sample.image for sample in samples],
        np.array([-1 if sample.label is None else sample.label for sample in samples], np.int64),
        source,
        [side(sample, digit) for sample, digit in zip(samples, ids, strict=True)],
        [sample.file for sample in samples],
        [sample.writer for sample in samples],
        ids,
    )


def _limited(table: pa.Table, settings: IngestSettings) -> pa.Table:
    """The first digits of each class, up to the limits."""
    is_test = np.array(table.column("split").to_pylist()) == "test"
    labels = table.column("label").to_numpy(zero_copy_only=False)
    keep = np.ones(table.num_rows, bool)
    for limit, side in ((settings.limit_train, ~is_test), (settings.limit_test, is_test)):
        if limit is None:
            continue
        for label in range(CLASSES):
            rows = np.flatnonzero(side & (labels == label))
            keep[rows[limit // CLASSES :]] = False
    return table.filter(pa.array(keep))
