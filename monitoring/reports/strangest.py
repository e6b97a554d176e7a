"""The strangest inputs of a window: those the model was least sure of, and those least like the reference."""

import heapq
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import NamedTuple

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont

KEPT = 20  # of each kind
ACROSS = 10
PICTURE, CAPTION, GAP = 84, 28, 6  # pixels
INK, PAPER = 20, 255


class Strange(NamedTuple):
    """One input and why it is here; the larger the strangeness, the stranger."""

    strangeness: float
    id: str  # of the digit: the same picture has the same
    image: NDArray[np.uint8]  # (height, width)
    answer: int
    label: int | None
    confidence: float
    source: str


@dataclass
class Strangest:
    """The strangest so far, strangest first: `unsure` by confidence, `unlike` by novelty."""

    unsure: list[Strange] = field(default_factory=list)
    unlike: list[Strange] = field(default_factory=list)

    def look_at(self, batch: pa.Table, confidence: NDArray[np.float64], novelty: NDArray[np.float64]) -> None:
        """Keep what is stranger than what is kept. confidence, novelty: (n,), one for each row of the batch."""
        self.unsure = _merged(self.unsure, batch, -confidence, confidence)
        self.unlike = _merged(self.unlike, batch, novelty, confidence)


def _merged(
    kept: list[Strange], batch: pa.Table, strangeness: NDArray[np.float64], confidence: NDArray[np.float64]
) -> list[Strange]:
    least = kept[-1].strangeness if len(kept) == KEPT else -np.inf
    pictures = {strange.id for strange in kept}
    new: list[Strange] = []
    for row in np.argsort(-strangeness, kind="stable"):
        if len(new) == KEPT or strangeness[row] <= least:
            break
        # One picture that comes again and again would be all there is to see.
        if (picture := batch.column("id")[int(row)].as_py()) not in pictures:
            pictures.add(picture)
            new.append(_strange(batch, int(row), strangeness, confidence))
    return heapq.nlargest(KEPT, [*kept, *new], key=lambda strange: (strange.strangeness, strange.id))


def _strange(batch: pa.Table, row: int, strangeness: NDArray[np.float64], confidence: NDArray[np.float64]) -> Strange:
    columns = ("id", "image", "height", "width", "answer", "label", "source")
    cells = {name: batch.column(name)[row].as_py() for name in columns}
    image = np.frombuffer(cells["image"], np.uint8).reshape(cells["height"], cells["width"])
    return Strange(
        float(strangeness[row]),
        cells["id"],
        image,
        cells["answer"],
        cells["label"],
        float(confidence[row]),
        cells["source"],
    )


def contact_sheet(strangest: Strangest) -> Image.Image:
    """A picture of them all, in two parts; under each what the model said, how surely, the label if any, the source."""
    parts = [("least sure of", strangest.unsure), ("least like the reference", strangest.unlike)]
    heights = [CAPTION + -(-len(part) // ACROSS) * (PICTURE + CAPTION + GAP) for _, part in parts]
    sheet = Image.new("L", (ACROSS * (PICTURE + GAP) + GAP, sum(heights)), PAPER)
    top = 0
    for (title, part), height in zip(parts, heights, strict=True):
        ImageDraw.Draw(sheet).text((GAP, top + GAP), title, fill=INK, font=ImageFont.load_default(14))
        _lay_out(sheet, part, top + CAPTION)
        top += height
    return sheet


def _lay_out(sheet: Image.Image, part: Iterable[Strange], top: int) -> None:
    draw, font = ImageDraw.Draw(sheet), ImageFont.load_default(10)
    for number, strange in enumerate(part):
        x = GAP + number % ACROSS * (PICTURE + GAP)
        y = top + number // ACROSS * (PICTURE + CAPTION + GAP)
        sheet.paste(Image.fromarray(strange.image).resize((PICTURE, PICTURE), Image.Resampling.NEAREST), (x, y))
        truth = "" if strange.label is None else f", is {strange.label}"
        caption = f"{strange.answer} at {strange.confidence:.0%}{truth}\n{_printable(strange.source)}"
        draw.multiline_text((x, y + PICTURE + 2), caption, fill=INK, font=font, spacing=2)


def _printable(source: str) -> str:
    """A name that came with a request, as one short line."""
    return "".join(letter if letter.isprintable() else "?" for letter in source)[:14]
