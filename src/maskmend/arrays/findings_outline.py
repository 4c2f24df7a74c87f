"""Outlines of masks, and how they turn: smoothly, at a few corners, or to and fro."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from maskmend.core import BoolArray, FloatArray

SLICES = 5
"""Slices of a volume whose outlines are looked at, those with most of the mask."""

SHORTEST = 24
"""Pixel edges of an outline that is long enough to have a shape."""


@dataclass(frozen=True)
class Corners:
    """How the outline of a mask turns.

    turns: sum of all turns without their signs, in full circles for each closed outline; 1 of a
    convex mask.  sharpness: share of that in the sharpest fifth of the outline, in [0.2, 1];
    a polygon turns at its corners alone.  Both 0 without an outline of SHORTEST edges.
    """

    turns: float
    sharpness: float


def measure_corners(mask: BoolArray) -> Corners:
    """Of a picture, (H, W), or of the fullest slices of a volume along its first axis."""
    slices = mask.reshape(-1, *mask.shape[-2:]) if mask.ndim > 1 else mask[None, None]
    sizes = np.count_nonzero(slices, axis=(1, 2))
    fullest = np.argsort(-sizes, kind="stable")[:SLICES]
    turns = [
        _turning(outline)
        for number in fullest[sizes[fullest] > 0].tolist()
        for outline in outlines(slices[number])
        if len(outline) >= SHORTEST
    ]
    if not turns:
        return Corners(0.0, 0.0)
    total = sum(float(each.sum()) for each in turns)
    sharpest = sum(float(np.sort(each)[-max(len(each) // 5, 1) :].sum()) for each in turns)
    return Corners(total / (2 * np.pi * len(turns)), sharpest / total if total else 0.0)


def _turning(outline: NDArray[np.intp]) -> FloatArray:
    """Of each point of a closed outline how far it turns there, without the sign; radians."""
    arm = int(np.clip(len(outline) // 48, 4, 10))
    points = outline.astype(float)
    for _ in range(2):
        # the staircase of the pixels is no turn
        points = np.mean([np.roll(points, k, axis=0) for k in range(-2, 3)], axis=0)
    ahead = np.roll(points, -arm, axis=0) - points
    behind = points - np.roll(points, arm, axis=0)
    cross = behind[:, 0] * ahead[:, 1] - behind[:, 1] * ahead[:, 0]
    angle: FloatArray = np.abs(np.arctan2(cross, (behind * ahead).sum(axis=1)))
    return angle / arm


def outlines(mask: BoolArray) -> list[NDArray[np.intp]]:
    """Closed outlines of a mask, (H, W), along the edges of its pixels, those of holes too.

    Each (n, 2): the pixel corners passed, clockwise around the mask, row and column.
    """
    padded = np.pad(mask, 1)
    inside = padded[1:-1, 1:-1]
    # the sides of pixels on the boundary, each walked with the mask on its right hand
    sides = (
        (inside & ~padded[:-2, 1:-1], (0, 0), (0, 1)),
        (inside & ~padded[1:-1, 2:], (0, 1), (1, 1)),
        (inside & ~padded[2:, 1:-1], (1, 1), (1, 0)),
        (inside & ~padded[1:-1, :-2], (1, 0), (0, 0)),
    )
    width = mask.shape[1] + 1
    starts, ends, headings = [], [], []
    for number, (side, first, last) in enumerate(sides):
        rows, columns = np.nonzero(side)
        starts.append((rows + first[0]) * width + columns + first[1])
        ends.append((rows + last[0]) * width + columns + last[1])
        headings.append(np.full(len(rows), number))
    start, end, heading = (np.concatenate(parts) for parts in (starts, ends, headings))
    if not len(start):
        return []
    order = np.lexsort((heading, start))
    start, end, heading = start[order], end[order], heading[order]
    following = np.searchsorted(start, end)
    # two pixels that touch at a corner: turn left there, which keeps them together
    twice = np.searchsorted(start, end, side="right") - following > 1
    second = np.minimum(following + 1, len(start) - 1)
    following = np.where(twice & (heading[second] == (heading + 3) % 4), second, following)
    loops = _loops(following.tolist())
    return [np.stack(np.divmod(start[loop], width), axis=1) for loop in loops]


def _loops(following: list[int]) -> list[list[int]]:
    seen = [False] * len(following)
    loops = []
    for first in range(len(following)):
        loop = []
        while not seen[first]:
            seen[first] = True
            loop.append(first)
            first = following[first]
        if loop:
            loops.append(loop)
    return loops
