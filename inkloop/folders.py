"""Folders of labeled pictures: which files there are, and what their place or `labels.csv` says of them."""

import csv
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import get_args

from inkloop.digits import Split
from inkloop.errors import UserError

LABELS_NAME = "labels.csv"
SUFFIXES = (".png", ".jpg", ".jpeg")
SPLITS: tuple[Split, ...] = get_args(Split)


@dataclass(frozen=True)
class Entry:
    """One labeled picture. file: relative to the source's folder; split: None where the source does not say.

    line: of `labels.csv`, from 1; None where there is none.
    """

    file: str
    label: str
    writer: str | None = None
    split: Split | None = None
    line: int | None = None


def entries(folder: Path) -> list[Entry]:
    """Every labeled picture of a folder, in order of name.

    Layouts: `labels.csv` with the columns file, label and, if known, writer and split; or class folders, `3/any.png`;
    the latter, and a `labels.csv` each, also one floor down in folders named `train`, `validation` and `test`.
    Raises UserError if the folder holds no picture in these layouts, or its `labels.csv` is not one.
    """
    found = list(_listed(folder, None))
    if not (folder / LABELS_NAME).is_file():
        for split in SPLITS:
            found += _listed(folder / split, split)
    if not found:
        raise UserError(
            f"{folder}: no labeled pictures. Sort PNG files into folders named 0 to 9, or list them in {LABELS_NAME} "
            "with the columns file,label."
        )
    return found


def _listed(folder: Path, split: Split | None) -> Iterator[Entry]:
    root = folder if split is None else folder.parent
    if (folder / LABELS_NAME).is_file():
        yield from _from_csv(folder / LABELS_NAME, split)
        return
    for path in sorted(folder.glob("*")):
        if path.is_dir() and not (split is None and path.name in SPLITS):
            pictures = (each for each in sorted(path.rglob("*")) if _is_picture(each))
            yield from (Entry(each.relative_to(root).as_posix(), path.name, split=split) for each in pictures)
        elif _is_picture(path):
            yield Entry(path.relative_to(root).as_posix(), "", split=split)


def _is_picture(path: Path) -> bool:
    return path.suffix.lower() in SUFFIXES and not path.name.startswith(".") and path.is_file()


def _from_csv(path: Path, split: Split | None) -> Iterator[Entry]:
    try:
        text = path.read_text(encoding="utf-8-sig")
    except UnicodeDecodeError:
        raise UserError(f"{path}: not UTF-8 text. Save it as UTF-8, then run again.") from None
    rows = csv.DictReader(text.splitlines())
    missing = {"file", "label"} - set(rows.fieldnames or ())
    if missing:
        raise UserError(f"{path}: lacks the column(s) {', '.join(sorted(missing))}. Its first line must be file,label.")
    for row in rows:
        file = (row["file"] or "").strip() or f"{LABELS_NAME}#{rows.line_num}"
        where = file if split is None else f"{split}/{file}"
        side = (row.get("split") or "").strip() or split
        if side is not None and side not in SPLITS:
            raise UserError(f"{path}, line {rows.line_num}: split {side!r} is none of {', '.join(SPLITS)}.")
        yield Entry(where, (row["label"] or "").strip(), (row.get("writer") or "").strip() or None, side, rows.line_num)
