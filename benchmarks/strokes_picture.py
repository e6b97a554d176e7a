"""`docs/strokes.png`: real test digits beside the strokes traced from them, a dot where each begins."""

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw

from benchmarks import real_digits
from benchmarks.record import ROOT
from inkloop import idx
from inkloop.pen import tracing

EACH = 6  # digits of a class
ZOOM = 4
COLORS = ("#c00020", "#0050d0", "#008040", "#a000a0")  # of strokes, in their order


def draw(sheet: Image.Image, left: int, top: int, strokes: list[NDArray[np.float64]]) -> None:
    """Draw the strokes of one digit, its pixels' centers where they are in the picture beside it."""
    pen = ImageDraw.Draw(sheet)
    for color, stroke in zip(COLORS, strokes, strict=False):
        places = [(left + (x + 0.5) * ZOOM, top + (y + 0.5) * ZOOM) for x, y in stroke]
        pen.line(places, fill=color, width=2)
        pen.circle(places[0], 4, fill=color)


def main() -> None:
    """Draw the first digits of each class."""
    images, labels = (idx.read(real_digits.folder() / f"t10k-{kind}-ubyte") for kind in ("images-idx3", "labels-idx1"))
    side = images.shape[1] * ZOOM
    sheet = Image.new("RGB", (2 * EACH * side, 10 * side), "white")
    for digit in range(10):
        chosen = images[np.flatnonzero(labels == digit)[:EACH]]
        for place, (image, skeleton) in enumerate(zip(chosen, tracing.skeletons(chosen), strict=True)):
            left, top = 2 * place * side, digit * side
            sheet.paste(Image.fromarray(255 - image).resize((side, side)), (left, top))
            draw(sheet, left + side, top, tracing.trace(skeleton))
    sheet.quantize(32).save(ROOT / "docs" / "strokes.png", optimize=True)


if __name__ == "__main__":
    main()
