"""Tracing: pictures of digits thinned to lines, and these followed as a pen might have written them.

Lines run between nodes, which are end points and junctions. A pen starts at the topmost node where it must (one with an
odd number of lines, Euler 1736), else at the topmost pixel, goes on at each junction in the straightest way, and is
lifted where no line is left.
"""

import math
from collections import Counter

import numpy as np
import torch
from numpy.typing import NDArray

from inkloop.pen import trajectory
from inkloop.pen.trajectory import PenDigits
from inkloop.topology import INK_LEVEL, packed, thinned, unpacked

Pixel = tuple[int, int]  # row, column; the smallest is the topmost
Line = list[Pixel]

BRIDGE = 4  # steps: a line this short between two junctions is one junction that thinning has torn apart
SPUR = 3  # steps: a line this short from a junction to its end is left by thinning, not by a pen
LOOK = 5  # steps by which the direction of a line is seen
SIDES = ((-1, 0), (0, -1), (1, 0), (0, 1))
CORNERS = ((-1, -1), (1, -1), (1, 1), (-1, 1))


def skeletons(images: NDArray[np.uint8]) -> NDArray[np.bool_]:
    """Lines one pixel wide (Zhang and Suen 1984) of pictures (n, height, width), white ink on black: bool, same shape.

    A pixel is ink above `INK_LEVEL`.
    """
    ink = torch.from_numpy(images > INK_LEVEL * 255)
    lines: NDArray[np.bool_] = unpacked(thinned(packed(ink)))[: len(images)].numpy()
    return lines


def traced(images: NDArray[np.uint8], labels: NDArray[np.int64]) -> PenDigits:
    """Pictures of digits (n, height, width), white ink on black, as a pen might have written them; labels (n,).

    Raises UserError if one has no ink.
    """
    return PenDigits(np.stack([trajectory.path(trace(each)) for each in skeletons(images)]), labels)


def trace(skeleton: NDArray[np.bool_]) -> list[NDArray[np.float64]]:
    """The strokes of a skeleton (height, width), in the order of a pen: x and y in pixels, y downward, (n, 2) each.

    The same skeleton gives the same strokes. One without ink has none.
    """
    near = neighbors({(int(row), int(column)) for row, column in np.argwhere(skeleton)})
    return [smooth(walk) for walk in walks(without_spurs(without_bridges(lines_of(near))))]


def neighbors(pixels: set[Pixel]) -> dict[Pixel, list[Pixel]]:
    """Which pixels touch, topmost first: by a side, or by a corner where no third pixel joins the two."""
    touching: dict[Pixel, list[Pixel]] = {}
    for row, column in sorted(pixels):
        sides = [(row + down, column + right) for down, right in SIDES]
        corners = [
            (row + down, column + right)
            for down, right in CORNERS
            if (row + down, column) not in pixels and (row, column + right) not in pixels
        ]
        touching[row, column] = [each for each in sides + corners if each in pixels]
    return touching


def lines_of(near: dict[Pixel, list[Pixel]]) -> list[Line]:
    """The lines between pixels that have not just two neighbors; a ring runs from its topmost pixel back to it."""
    lines, gone = [[pixel] for pixel, others in near.items() if not others], set[tuple[Pixel, Pixel]]()
    nodes = [pixel for pixel, others in near.items() if len(others) != 2]
    for start in (*nodes, *near):
        for first in near[start]:
            if (start, first) not in gone:
                line = [start, first]
                while len(near[line[-1]]) == 2 and line[-1] != start:
                    line.append(next(pixel for pixel in near[line[-1]] if pixel != line[-2]))
                gone |= {(start, first), (line[-1], line[-2])}
                gone |= {(pixel, other) for pixel in line[1:-1] for other in near[pixel]}
                lines.append(line)
    return lines


def nodes_of(lines: list[Line]) -> Counter[Pixel]:
    """How many lines leave each node; one that comes back to it leaves it twice."""
    return Counter(end for line in lines for end in (line[0], line[-1]))


def without_bridges(lines: list[Line]) -> list[Line]:
    """The lines with each bridge between two junctions shrunk to its middle, where the lines beside it now meet."""
    nodes = nodes_of(lines)
    for place, line in enumerate(lines):
        torn = {line[0], line[-1]}
        if len(line) <= BRIDGE + 1 and len(torn) == 2 and all(nodes[end] > 2 for end in torn):
            middle = line[len(line) // 2]
            others = lines[:place] + lines[place + 1 :]
            return without_bridges([_drawn_to(middle, torn, each) for each in others])
    return lines


def _drawn_to(middle: Pixel, torn: set[Pixel], line: Line) -> Line:
    before = [middle] if line[0] in torn - {middle} else []
    after = [middle] if line[-1] in torn - {middle} else []
    return before + line + after


def without_spurs(lines: list[Line]) -> list[Line]:
    """The lines without those that leave a junction and end at once; of a fork at the end of a stroke, one stays."""
    nodes = nodes_of(lines)
    for place in sorted(range(len(lines)), key=lambda each: len(lines[each])):
        line = lines[place]
        if len(line) <= SPUR + 1 and sorted(nodes[end] for end in (line[0], line[-1])) == [1, 3]:
            return without_spurs(lines[:place] + lines[place + 1 :])
    return lines


def walks(lines: list[Line]) -> list[Line]:
    """Every line walked once, in as few walks as there can be; where the start is free, from the topmost pixel."""
    left, strokes = list(lines), []
    while left:
        odd = [node for node, count in nodes_of(left).items() if count % 2]
        walk = [min(odd or (pixel for line in left for pixel in line))]
        left = [part for line in left for part in _cut(line, walk[0])]
        while ways := [each for line in left for each in (line, line[::-1]) if each[0] == walk[-1]]:
            way = max(ways, key=lambda each: _straightness(walk, each))
            left.remove(way if way in left else way[::-1])
            walk += way[1:]
        strokes.append(walk)
    return strokes


def _cut(line: Line, pixel: Pixel) -> list[Line]:
    place = line.index(pixel) if pixel in line[1:-1] else 0
    return [line[: place + 1], line[place:]] if place else [line]


def _straightness(walk: Line, way: Line) -> float:
    """The cosine of the turn from a walk into a way; at its start, lower the later one comes from up, turning left."""
    ahead = _direction(way[: LOOK + 1])
    if len(walk) > 1:
        behind = _direction(walk[-LOOK - 1 :])
        return math.cos(ahead - behind)
    return -((ahead - math.pi / 4) % (2 * math.pi))


def _direction(line: Line) -> float:
    """The angle of a line's end as seen from its start: 0 to the right, growing to the left of it."""
    return math.atan2(line[0][0] - line[-1][0], line[-1][1] - line[0][1])


def smooth(line: Line) -> NDArray[np.float64]:
    """The line without the stairs of its pixels: x and y, (n, 2); its ends stay."""
    points = np.array(line, np.float64)[:, ::-1].copy()
    for _ in range(2):
        points[1:-1] = (points[:-2] + 2 * points[1:-1] + points[2:]) / 4
    return points
