"""Inspection: what can be said of each digit of a table before anyone trains on it."""

from collections.abc import Sequence
from typing import Annotated, Self

import numpy as np
import pandas as pd
import pyarrow as pa
from numpy.typing import NDArray
from pydantic import Field, PositiveInt, model_validator

from inkloop.digits import Rejected, Split, digit_id
from inkloop.settings import Settings, Share

CLASSES = 10
INK = 127  # a pixel over this grey is ink


class ValidationSettings(Settings):
    """What a good batch of digits is. Shares are in 0..1. MNIST's own: ink share 0.019 to 0.40."""

    height: PositiveInt = 28
    width: PositiveInt = 28
    min_highest: Annotated[int, Field(ge=0, le=255)] = 64  # grey level of the strongest ink; less is nearly blank
    min_ink_share: Share = 0.005
    max_ink_share: Share = 0.6  # more is a picture of black ink on white
    max_copy_share: Share = 0.01  # pictures that are there twice on one side of the split
    min_class_share: Share = 0.02  # of its split
    max_class_share: Share = 0.5
    complete_splits: tuple[Split, ...] = ("train", "validation", "test")  # where every class must be

    @model_validator(mode="after")
    def _lets_something_pass(self) -> Self:
        for low, high in (("min_ink_share", "max_ink_share"), ("min_class_share", "max_class_share")):
            if getattr(self, low) > getattr(self, high):
                raise ValueError(f"{low} is above {high}: no digit could pass")
        return self


def inspect(table: pa.Table, rejected: Sequence[Rejected] = ()) -> pd.DataFrame:
    """One row a digit, and one a rejected file, of plain features.

    file: where it came from; split; label: 0-9, or <NA>; size: height x width; lowest, highest: grey levels 0..255;
    ink_share: of the pixels, 0..1; problem: why it cannot be read; conflict: other labels of the same picture;
    leak: where on another side of the split the same picture or writer is; is_copy: the same picture came before on
    this side. problem, conflict and leak are None where all is well, and features that cannot be told are <NA>.
    """
    known = table.select(["id", "height", "width", "label", "writer", "split"]).to_pandas()
    files = [
        f"{source}/{file or digit}"
        for source, file, digit in zip(
            *(table.column(name).to_pylist() for name in ("source", "file", "id")), strict=True
        )
    ]
    images = table.column("image").to_pylist()
    frame = pd.DataFrame(
        {
            "file": pd.Series(files, dtype=object),
            "split": known["split"].astype(object),
            "label": known["label"].astype("Int64"),
            "size": known["height"].astype(str) + " x " + known["width"].astype(str),
            **_pixel_features(images, known["height"].to_numpy(), known["width"].to_numpy(), known["id"].tolist()),
            "conflict": _conflicts(known, files),
            "leak": _leaks(known, files),
            "is_copy": known.duplicated(["id", "split"]),
        }
    )
    unreadable = pd.DataFrame(
        {"file": [each.file for each in rejected], "problem": [each.reason for each in rejected], "is_copy": False},
    )
    return frame if unreadable.empty else pd.concat([frame, unreadable], ignore_index=True)


def fit(table: pa.Table, settings: ValidationSettings) -> pa.Table:
    """The rows whose picture validation would pass: readable, of the right size, with some ink and not too much.

    For digits that nobody can be asked to mend: one from production that is none must not stop the others.
    """
    frame = inspect(table)
    passed = (
        frame["problem"].isna()
        & frame["leak"].isna()
        & (frame["size"] == f"{settings.height} x {settings.width}")
        & (frame["highest"] >= settings.min_highest).fillna(False)
        & frame["ink_share"].between(settings.min_ink_share, settings.max_ink_share).fillna(False)
    )
    return table.filter(pa.array(passed.to_numpy(bool)))


def inspect_classes(table: pa.Table, splits: Sequence[Split]) -> pd.DataFrame:
    """One row a class of each of the splits: file ("train, class 3"), digits, share of the split (<NA> if none)."""
    sides = np.array(table.column("split").to_pylist(), object)
    labels = table.column("label").to_numpy(zero_copy_only=False)
    rows = []
    for split in splits:
        size = int((sides == split).sum())
        for label in range(CLASSES):
            digits = int(((sides == split) & (labels == label)).sum())
            rows.append((f"{split}, class {label}", digits, digits / size if digits else None))
    return pd.DataFrame(rows, columns=["file", "digits", "share"]).astype({"share": "Float64"})


def _pixel_features(
    images: list[bytes], heights: NDArray[np.int16], widths: NDArray[np.int16], ids: list[str]
) -> dict[str, pd.Series]:
    count = len(images)
    lowest, highest = (pd.Series(pd.NA, range(count), dtype="Int64") for _ in range(2))
    ink_share = pd.Series(pd.NA, range(count), dtype="Float64")
    problem = pd.Series(None, range(count), dtype=object)
    lengths = np.fromiter((len(image) for image in images), np.int64, count)
    whole = (lengths == heights.astype(np.int64) * widths) & (lengths > 0)
    for row in np.flatnonzero(~whole).tolist():
        problem[row] = f"{lengths[row]} bytes of pixels where {heights[row]} x {widths[row]} are needed."
    for height, width in set(zip(heights[whole].tolist(), widths[whole].tolist(), strict=True)):
        rows = np.flatnonzero(whole & (heights == height) & (widths == width))
        pixels = np.frombuffer(b"".join(images[row] for row in rows), np.uint8).reshape(-1, height, width)
        lowest[rows], highest[rows] = pixels.min((1, 2)), pixels.max((1, 2))
        ink_share[rows] = (pixels > INK).mean((1, 2))
        for row, image in zip(rows.tolist(), pixels, strict=True):
            if digit_id(image) != ids[row]:
                problem[row] = "its id does not belong to its pixels: it was changed after ingest."
    return {"lowest": lowest, "highest": highest, "ink_share": ink_share, "problem": problem}


def _conflicts(known: pd.DataFrame, files: list[str]) -> pd.Series:
    """For pictures that are there with different labels: what the others say."""
    conflict = pd.Series(None, known.index, dtype=object)
    copies = known[known["id"].duplicated(keep=False)]
    for _, group in copies.groupby("id"):
        if group["label"].nunique() > 1:
            for row in group.index:
                other = next(each for each in group.index if group["label"][each] != group["label"][row])
                conflict[row] = f"label {group['label'][other]:.0f} in {files[other]}"
    return conflict


def _leaks(known: pd.DataFrame, files: list[str]) -> pd.Series:
    """For validation and test digits whose picture or writer is on another side too: where."""
    leak = pd.Series(None, known.index, dtype=object)
    for key, what in (("writer", "its writer"), ("id", "the same picture")):
        sides = known.dropna(subset=[key]).groupby(key)["split"].transform("nunique")
        for _, group in known.loc[sides[sides > 1].index].groupby(key):
            for row in group.index[group["split"] != "train"]:
                other = group.index[group["split"] != group["split"][row]][0]
                leak[row] = f"{what} is in {group['split'][other]} too ({files[other]})"
    return leak
