"""Finding the ink: where in a picture the digits are, whatever the light, the paper and the color of the pen."""

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from scipy import ndimage

from inkloop.errors import UserError

WORKING_SIZE = 320  # pixels of the longer side: more adds time, not legibility
SMALLEST_SIZE = 100  # pixels of a digit's longer side below which it is looked at again from nearer
MIN_CONTRAST = 16  # grey levels between ink and paper below which a picture counts as blank
LINE_SIZE = 1_600  # pixels of a line's longer side, for the same reason
SMALLEST_ROWS = 40  # pixels of a line's height below which it is looked at again from nearer
POLARITY_SIZE = 80  # pixels of the longer side on which is judged which of ink and paper is darker
POLARITY_RADIUS = 0.1  # of the longer side: the surroundings from which ink stands out
PAPER_WINDOW = 0.25  # of the picture's longer side: what is dark and narrower than this may be ink, what is wider not
FAINTEST, FULL = 0.35, 0.65  # of the pen's depth: less is paper, more is solid ink; half is where the edge of a line is
SPECK_SHARE = 0.03  # of the largest stroke's ink: less is dust
SPECK_LENGTH = 0.2  # of the height of a line's largest stroke: what is shorter is dust
NEAR = 0.25  # of the largest stroke's length: parts of one digit lie no farther apart
FATTEST = 0.4  # width of a stroke over the length of the digit: MNIST has none so broad
FATTEST_IN_LINE = 0.6  # width of a spot over the height of the line: strokes of neighbors may lie over each other

Grey = NDArray[np.uint8]
Ink = NDArray[np.float32]
Mask = NDArray[np.bool_]


def find(picture: Grey) -> Ink:
    """The ink of the one digit in a picture, dark on light or light on dark, cut out: float32 (height, width), 0..255.

    picture: uint8 (height, width). Raises UserError if there is nothing in it, or nothing like a digit.
    """
    small = shrink(picture, WORKING_SIZE)
    ink = drawn(small) if is_drawn(small) else written(small, WORKING_SIZE, Strokes.digit)
    rows, columns = ndimage.find_objects((ink > 0).astype(np.int8))[0]
    height, width = rows.stop - rows.start, columns.stop - columns.start
    scale = max(picture.shape) / max(small.shape)
    if scale > 1 and max(height, width) < SMALLEST_SIZE:
        margin = max(height, width) // 2 + 2
        return find(picture[around(rows, margin, scale), around(columns, margin, scale)])
    return np.asarray(ink[rows, columns])


def find_line(picture: Grey) -> Ink:
    """The ink of the one line of digits in a picture, as `find` does: float32 (height, width), 0..255, not cut out.

    picture: uint8 (height, width). Raises UserError if there is nothing in it, or nothing like digits.
    """
    small = shrink(picture, LINE_SIZE)
    ink = drawn(small) if is_drawn(small) else written(small, LINE_SIZE, Strokes.line)
    rows, columns = ndimage.find_objects((ink > 0).astype(np.int8))[0]
    height, scale = rows.stop - rows.start, max(picture.shape) / max(small.shape)
    if scale > 1 and height < SMALLEST_ROWS and columns.stop - columns.start < small.shape[1] / 2:
        margin = height + 2
        return find_line(picture[around(rows, margin, scale), around(columns, margin, scale)])
    return ink


def around(side: slice, margin: int, scale: float) -> slice:
    """The rows or columns of a larger picture in which those of a smaller lie, with a margin."""
    return slice(int(max(0, side.start - margin) * scale), int((side.stop + margin) * scale))


def shrink(picture: Grey, longer_side: int) -> Grey:
    """The picture averaged down so that no side is longer than this; smaller ones are left alone."""
    height, width = picture.shape
    scale = longer_side / max(height, width)
    if scale >= 1:
        return picture
    size = max(1, round(width * scale)), max(1, round(height * scale))
    return np.asarray(Image.fromarray(picture).resize(size, Image.Resampling.BOX, reducing_gap=2))


def is_drawn(picture: Grey) -> bool:
    """Whether the paper is of one exact grey, as on a screen or in MNIST, and not photographed or scanned."""
    paper = np.bincount(picture.ravel(), minlength=256).argmax()
    edge = np.concatenate([picture[0], picture[-1], picture[:, 0], picture[:, -1]])
    return bool((picture == paper).mean() > 0.3 and (edge == paper).mean() > 0.9)


def drawn(picture: Grey) -> Ink:
    """How far each pixel is from the one grey of the paper, on the side where the ink is."""
    paper = int(np.bincount(picture.ravel(), minlength=256).argmax())
    difference = picture.astype(np.float32) - paper
    lighter, darker = difference.clip(0), (-difference).clip(0)
    ink = lighter if lighter.sum() >= darker.sum() else darker
    if ink.max() < MIN_CONTRAST:
        raise blank()
    return ink


def written(picture: Grey, longer_side: int, pick: Callable[["Strokes"], Ink]) -> Ink:
    """Ink in a photograph or scan, without shadows, printed lines, grain and what lies beside the sheet.

    longer_side: pixels of a picture whose grain is one pixel wide; pick: which strokes are wanted.
    """
    picture = sheet(picture)
    soft = ndimage.gaussian_filter(picture.astype(np.float32), max(picture.shape) / longer_side)
    likely, unlikely = (soft, 255 - soft) if is_dark_on_light(picture) else (255 - soft, soft)
    try:
        return dark_ink(likely, pick)
    except UserError:
        return dark_ink(unlikely, pick)


def dark_ink(soft: Ink, pick: Callable[["Strokes"], Ink]) -> Ink:
    """Ink that is darker than the paper, in a picture made smooth. Raises UserError if there is no digit."""
    light = paper(soft).clip(1)
    depth = 1 - soft / light  # in shares of the light there, for a pen in the shade is as black as in the sun
    depth -= np.median(depth[::3, ::3])
    noise = 1.4826 * float(np.median(np.abs(depth[::3, ::3])))
    while (peak := float(depth.max())) > 4 * noise:
        inked = depth > peak / 2
        if peak * float(np.median(light[inked])) < MIN_CONTRAST:
            break
        pen = float(np.median(depth[inked]))
        strokes = Strokes(((depth / pen - FAINTEST) / (FULL - FAINTEST)).clip(0, 1) * np.float32(255))
        if strokes.along_the_edge.all() or not strokes.along_the_edge.any():
            return pick(strokes)
        depth[strokes.at(strokes.along_the_edge)] = 0
    raise blank()


def is_dark_on_light(picture: Grey) -> bool:
    """Whether what stands out from its surroundings is mostly darker; a shadow's edge stands out evenly both ways."""
    small = shrink(picture, POLARITY_SIZE).astype(np.float32)
    scale = max(small.shape)
    smooth = ndimage.gaussian_filter(small, scale / POLARITY_SIZE)
    beyond = smooth - ndimage.gaussian_filter(smooth, POLARITY_RADIUS * scale)
    return float((beyond * beyond * beyond).sum()) < 0


def sheet(picture: Grey) -> Grey:
    """The picture with all that lies beside the sheet of paper painted over, where the sheet's four edges are in it."""
    small = shrink(picture, POLARITY_SIZE)
    light = small > (int(small.min()) + int(small.max())) / 2
    edge = np.concatenate([light[0], light[-1], light[1:-1, 0], light[1:-1, -1]])
    pieces, count = ndimage.label(light != (edge.mean() > 0.5))
    if not count or edge.mean() not in (0, 1):
        return picture
    largest = pieces == np.bincount(pieces.ravel())[1:].argmax() + 1
    whole = ndimage.binary_fill_holes(largest)
    rows, columns = ndimage.find_objects(whole.astype(np.int8))[0]
    height, width = rows.stop - rows.start, columns.stop - columns.start
    is_sheet = (
        whole.mean() > 0.2
        and min(height, width) > 0.4 * min(small.shape)
        and whole.sum() > 0.7 * height * width
        and largest.sum() > 0.8 * whole.sum()
    )
    if not is_sheet:
        return picture
    inside = ndimage.binary_erosion(whole, iterations=2)
    mask = np.asarray(Image.fromarray(inside).resize(picture.shape[::-1], Image.Resampling.NEAREST))
    return np.where(mask, picture, np.uint8(np.median(picture[mask])))


def paper(picture: Ink) -> Ink:
    """What the paper under dark ink would look like: the picture without what is dark and narrower than a window.

    A closing keeps edges, so shadows wider than the window count as paper up to their very border.
    """
    window = max(3, int(PAPER_WINDOW * max(picture.shape)) | 1)
    # What runs into the picture's edge may go on outside: a shadow is given a margin to be wide enough in.
    margin = max(1, window // 4)
    wide = np.pad(picture, margin)
    closed: Ink = ndimage.grey_closing(wide, window, mode="nearest")
    return closed[margin:-margin, margin:-margin]


class Strokes:
    """The connected pieces of ink in a picture. ink: float32 (height, width), 0..255, not all 0."""

    def __init__(self, ink: Ink) -> None:
        self.ink = ink
        self._labels, count = ndimage.label(ink > 0, np.ones((3, 3)))
        boxes = np.array([[r.start, c.start, r.stop, c.stop] for r, c in ndimage.find_objects(self._labels)])
        self._start, self._stop = boxes[:, :2], boxes[:, 2:]
        self._length = (self._stop - self._start).max(1)
        self._weight = np.bincount(self._labels.ravel(), ink.ravel(), count + 1)[1:]
        edges = (self._labels[0], self._labels[-1], self._labels[:, 0], self._labels[:, -1])
        contact = np.max([np.bincount(edge, minlength=count + 1)[1:] for edge in edges], 0)
        # Shadows and the table beside the paper run along the picture's edge; strokes only end there.
        self.along_the_edge: Mask = contact > 0.5 * self._length

    def at(self, which: Mask) -> Mask:
        """Where in the picture these pieces are, bool (height, width)."""
        mask: Mask = np.concatenate([[False], which])[self._labels]
        return mask

    def digit(self) -> Ink:
        """The ink of the heaviest piece and those that belong to it. Raises UserError if that is no digit."""
        main = int(self._weight.argmax())
        length = self._length[main]
        gap = self._gaps(main).max(1)
        return self._kept((gap <= NEAR * length) & (self._weight >= SPECK_SHARE * self._weight[main]), FATTEST * length)

    def line(self) -> Ink:
        """The ink of the heaviest piece and of those beside it. Raises UserError if these are no digits."""
        main = int(self._weight.argmax())
        height = (self._stop - self._start)[main, 0]
        kept = (self._gaps(main)[:, 0] <= NEAR * height) & (self._length >= SPECK_LENGTH * height)
        return self._kept(kept, FATTEST_IN_LINE * float(self._stop[kept, 0].max() - self._start[kept, 0].min()))

    def _gaps(self, main: int) -> NDArray[np.int64]:
        """Rows and columns between each piece's box and that of `main`, (n, 2); below 0 where they overlap."""
        gaps: NDArray[np.int64] = np.maximum(self._start - self._stop[main], self._start[main] - self._stop)
        return gaps

    def _kept(self, kept: Mask, too_broad: float) -> Ink:
        """The ink of these pieces. Raises UserError if most of it is elsewhere, or a spot of it is too broad."""
        ink = np.where(self.at(kept), self.ink, np.float32(0))
        if self._weight[kept].sum() < 0.3 * self._weight.sum() or is_blot(ink, too_broad):
            raise blank()
        return ink


def is_blot(ink: Ink, too_broad: float) -> bool:
    """Whether the ink has a spot too broad for any pen: a square of solid ink so many pixels a side."""
    side = max(1, round(too_broad))
    return bool(ndimage.minimum_filter(ink, side, mode="constant").max() > 127)


def stroke_width(ink: Ink) -> float:
    """Mean width of the strokes in pixels: their area over half the length of their outline."""
    strokes = np.pad(ink > ink.max() / 2, 1)
    outline = sum(int((np.diff(strokes.astype(np.int8), axis=axis) != 0).sum()) for axis in (0, 1))
    return 2 * float(strokes.sum()) / outline


def blank() -> UserError:
    """The error for a picture without a digit."""
    return UserError("a blank picture: no ink stands out from the paper. Send one with a digit in it.")
