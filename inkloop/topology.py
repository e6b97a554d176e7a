"""Topological features of a picture: its holes, and the end points and crossings of its thinned strokes.

All is made of rules about a pixel and the eight around it, in bitwise operations: one word of 64 bits holds the same
pixel of 64 pictures, and the ONNX export takes each rule as a table of its 512 cases.
"""

from collections.abc import Callable

import torch
from torch import Tensor
from torch.nn import functional as F

from inkloop.readings import PIXEL_MEAN, PIXEL_STD

FEATURES = 3  # holes, end points, crossings
INK_LEVEL = 0.3  # of full white; of 0.2 to 0.6, training digits have the holes of their class most often here
INK_THRESHOLD = (INK_LEVEL - PIXEL_MEAN) / PIXEL_STD  # once normalized
WORD = 64  # bits
PART = 512  # pictures at a time: their words fit a CPU's cache

# A pixel and the eight around it, (8, ...), clockwise from the north; all are bits, and so is the answer.
Rule = Callable[[Tensor, Tensor], Tensor]
AROUND = ((0, 1), (0, 2), (1, 2), (2, 2), (2, 1), (2, 0), (1, 0), (0, 0))  # row and column in a square of 3 x 3


@torch.no_grad()
def topology(images: Tensor) -> Tensor:
    """Count holes, end points and crossings: float (batch, 3). images: normalized float (batch, height, width).

    A pixel is ink above `INK_LEVEL`. Strokes are thinned as they are and mirrored, and the fewer end points and
    crossings count: thinning begins on one side, which can leave a spur that the other does not. So a mirrored picture
    has the same features, and so has a shifted one whose ink stays inside.
    """
    return torch.cat([_topology(part > INK_THRESHOLD) for part in images.split(PART)])


def _topology(ink: Tensor) -> Tensor:
    points = counted(points_of, torch.cat([ink, ink.flip(2)]))
    return torch.cat([counted(holes_of, ink), torch.minimum(*points.chunk(2))], 1)


def counted(count: Callable[[Tensor], Tensor], ink: Tensor) -> Tensor:
    """Have bool pictures (batch, height, width) counted as words (words, height, width): float (batch, counts)."""
    return count(packed(ink))[: len(ink)]


def packed(ink: Tensor) -> Tensor:
    """Bool pictures (batch, height, width) as words (ceil(batch / WORD), height, width), a picture for each bit."""
    bits: Tensor = F.pad(ink, (0, 0, 0, 0, 0, -len(ink) % WORD)).unflatten(0, (-1, WORD)).long()
    return (bits << torch.arange(WORD, device=ink.device)[:, None, None]).sum(1)


def unpacked(words: Tensor) -> Tensor:
    """The pictures of words, those that only fill up the last word too: bool (words * WORD, height, width)."""
    bits: Tensor = words[:, None] >> torch.arange(WORD, device=words.device)[:, None, None] & 1
    return bits.bool().flatten(0, 1)


def holes_of(words: Tensor) -> Tensor:
    """Holes of each picture, float (pictures, 1): its separate strokes less its Euler number.

    The Euler number is that of corners to the northwest that are convex, less those that are concave (Horn 1986).
    """
    return strokes_of(words) - total(at_each(is_convex, words)) + total(at_each(is_concave, words))


def strokes_of(words: Tensor) -> Tensor:
    """Separate strokes of each picture, float (pictures, 1): each shrinks to a pixel, then to none (Levialdi 1972)."""
    tally: list[Tensor] = []  # how many ended at each pixel, a word for each binary digit
    while words.any():
        around = surroundings(words)
        carry = is_alone(words, around)
        for place, digit in enumerate(tally):
            tally[place], carry = digit ^ carry, digit & carry
        if carry.any():
            tally.append(carry)
        words = shrunk(words, around)
    none = total(words)
    return sum((total(digit) * 2**place for place, digit in enumerate(tally)), none)


def points_of(words: Tensor) -> Tensor:
    """End points and crossings of each picture's thinned strokes: float (pictures, 2)."""
    lines = thinned(words)
    return torch.cat([total(at_each(is_end, lines)), total(at_each(is_crossing, lines))], 1)


def thinned(words: Tensor) -> Tensor:
    """Strokes one pixel wide (Zhang and Suen 1984): pixels go from the south and east, then the north and west."""
    before = torch.zeros_like(words)
    while not torch.equal(words, before):
        before = words
        words = at_each(thinned_northwest, at_each(thinned_southeast, words))
    return words


def total(words: Tensor) -> Tensor:
    """Bits set in each picture of words (words, height, width): float (words * 64, 1)."""
    bits = (words.flatten(1)[..., None] >> torch.arange(WORD, device=words.device)) & 1
    return bits.sum(1).view(-1, 1).float()


def surroundings(words: Tensor) -> Tensor:
    """What is around each pixel of pictures (words, height, width): (8, words, height, width); nothing beyond edges."""
    height, width = words.shape[1:]
    padded = F.pad(words, (1, 1, 1, 1))
    return torch.stack([padded[:, row : row + height, column : column + width] for row, column in AROUND])


def at_each(rule: Rule, words: Tensor) -> Tensor:
    """The rule at every pixel of pictures (words, height, width)."""
    return rule(words, surroundings(words))


def thinned_southeast(pixel: Tensor, around: Tensor) -> Tensor:
    """Zhang and Suen's first pass."""
    north, east, south, west = around[::2].unbind()
    return pixel & ~(_is_spare(around) & ~(east & south & (north | west)))


def thinned_northwest(pixel: Tensor, around: Tensor) -> Tensor:
    """Zhang and Suen's second pass."""
    north, east, south, west = around[::2].unbind()
    return pixel & ~(_is_spare(around) & ~(north & west & (east | south)))


def is_end(pixel: Tensor, around: Tensor) -> Tensor:
    """A line's pixel with one neighbor."""
    return pixel & _exactly_one(around)


def is_crossing(pixel: Tensor, around: Tensor) -> Tensor:
    """A line's pixel that three or more branches leave (Rutovitz 1966)."""
    one = two = three = torch.zeros_like(pixel)
    for branch in around.roll(-1, 0) & ~around:
        one, two, three = one | branch, two | one & branch, three | two & branch
    return pixel & three


def is_alone(pixel: Tensor, around: Tensor) -> Tensor:
    """A pixel without neighbors."""
    return pixel & ~_any(around)


def shrunk(pixel: Tensor, around: Tensor) -> Tensor:
    """Levialdi's step to the northeast, by which no stroke breaks, joins another, or goes before it is one pixel."""
    south, southwest, west = around[4:7].unbind()
    return pixel & (west | south | southwest) | west & south


def is_convex(pixel: Tensor, around: Tensor) -> Tensor:
    """A pixel with none to its west, north and northwest."""
    return pixel & ~(around[0] | around[6] | around[7])


def is_concave(pixel: Tensor, around: Tensor) -> Tensor:
    """Any place between pixels in its west and north that has none in its northwest."""
    return around[0] & around[6] & ~around[7]


def _is_spare(around: Tensor) -> Tensor:
    """Two to six neighbors side by side: without the pixel, a line is neither broken nor shorter."""
    after = around.roll(-1, 0)
    either = around | after
    return _exactly_one(either ^ around) & _any(around & after) & _any(~either)


def _any(planes: Tensor) -> Tensor:
    """Where any of the planes (8, ...) is set."""
    while len(planes) > 1:
        planes = planes[::2] | planes[1::2]
    return planes[0]


def _exactly_one(planes: Tensor) -> Tensor:
    """Where one of the planes (8, ...) is set, and no other."""
    more = torch.zeros_like(planes)
    while len(planes) > 1:
        more = more[::2] | more[1::2] | planes[::2] & planes[1::2]
        planes = planes[::2] | planes[1::2]
    return planes[0] & ~more[0]
