"""Outlines of masks as SVG paths along the edges of their pixels: sharp at every size, and small.

A path goes round each part of a mask, and round each hole, so that lines can be dashed and filled.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator

import numpy as np

from maskmend.core import BoolArray

Corner = tuple[int, int]
Steps = tuple[float, float]


def outline_path(mask: BoolArray, steps: Steps = (1.0, 1.0)) -> str:
    """The `d` of an SVG path round the pixels of a mask; "" of an empty one.

    mask: (H, W).  steps: height and width of a pixel in the units of the picture.  Pixel (r, c)
    covers x from c to c + 1 and y from r to r + 1, times its width and height.
    """
    parts = []
    for loop in _loops(mask):
        corners = _bends(loop)
        points = [(column * steps[1], row * steps[0]) for row, column in corners]
        parts.append(_path(points))
    return "".join(parts)


def _loops(mask: BoolArray) -> Iterator[list[Corner]]:
    """Closed ways along the edges of pixels, (row, column) of each corner, inside on the right."""
    following = _edges(mask)
    for start in sorted(following):
        while following[start]:
            loop, here, heading = [start], start, (0, 0)
            while True:
                # where four edges meet, turn so that pixels that only touch stay apart
                ends = following[here]
                right = (here[0] + heading[1], here[1] - heading[0])
                there = right if right in ends else ends[0]
                ends.remove(there)
                heading, here = (there[0] - here[0], there[1] - here[1]), there
                if here == start:
                    break
                loop.append(here)
            yield loop


def _edges(mask: BoolArray) -> dict[Corner, list[Corner]]:
    """Where the edges that begin in a corner end."""
    framed = np.pad(mask, 1)
    # neighbour of a pixel that must be outside, from corner, to corner
    sides = (
        ((-1, 0), (0, 0), (0, 1)),
        ((0, 1), (0, 1), (1, 1)),
        ((1, 0), (1, 1), (1, 0)),
        ((0, -1), (1, 0), (0, 0)),
    )
    following: dict[Corner, list[Corner]] = defaultdict(list)
    for (down, across), (r0, c0), (r1, c1) in sides:
        rows, columns = (slice(1 + shift, n + 1 + shift) for shift, n in
                         zip((down, across), mask.shape, strict=True))  # fmt: skip
        for row, column in np.argwhere(mask & ~framed[rows, columns]).tolist():
            following[row + r0, column + c0].append((row + r1, column + c1))
    return dict(following)


def _bends(loop: list[Corner]) -> list[Corner]:
    """The corners in which a closed way changes its direction."""
    previous, after = [loop[-1], *loop[:-1]], [*loop[1:], loop[0]]
    return [
        here
        for before, here, then in zip(previous, loop, after, strict=True)
        if (here[0] - before[0], here[1] - before[1]) != (then[0] - here[0], then[1] - here[1])
    ]


def _path(points: list[tuple[float, float]]) -> str:
    """A closed path of horizontal and vertical lines, in absolute coordinates."""
    (x, y), *others = points
    words = [f"M{_short(x)} {_short(y)}"]
    for new_x, new_y in others:
        words.append(f"H{_short(new_x)}" if new_y == y else f"V{_short(new_y)}")
        x, y = new_x, new_y
    return "".join([*words, "Z"])


def _short(number: float) -> str:
    return f"{number:.1f}".removesuffix(".0")
