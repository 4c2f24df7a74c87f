"""Masks deformed as annotators deform them: the kinds of label error, one function each.

Each takes mask: (*S,) bool with any number of axes, not changed and not empty (but for
`add_blob`), and gives back (*S,) bool, a new array; the same bytes for the same arguments.
radius: in pixels (voxels).  seed: of the generator that the function draws from.
The border of the grid is no edge of a mask: nothing eats into it from there.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from maskmend.core import BoolArray

EDGE_SHARE = 0.5
"""Share of the edge pixels that edge distortion paints a disc at; the reference's move_ratio."""

BUMP_SHARE = 0.1
"""Share of the outer edge that bumps, and after them bites, are painted at; PyMIC's ratio."""

NEAR = 0.3
"""How far from the centroid a missing part may begin, in mean distances of the mask from it."""


def dilate(mask: BoolArray, radius: int) -> BoolArray:
    """All pixels within a Euclidean disc (ball) around one of the mask's."""
    # sqrt of an integer is rounded correctly: "<= radius" is exactly the Euclidean disc
    dilated: BoolArray = ndimage.distance_transform_edt(~mask) <= radius
    return dilated


def erode(mask: BoolArray, radius: int) -> BoolArray:
    """Without the pixels within a Euclidean disc (ball) around one of the background's."""
    # the outside of the grid does not eat into the mask, as in OpenCV; nor has a full mask an edge
    if mask.all():
        return mask.copy()
    eroded: BoolArray = ndimage.distance_transform_edt(mask) > radius
    return eroded


def distort_edge(mask: BoolArray, radius: int, seed: int) -> BoolArray:
    """Discs painted over about half of the inner boundary, one after the other in raster order.

    Where the reference takes the edge from Canny, this takes the mask's pixels with a face
    neighbour outside; the border of the grid is no edge in either.
    """
    rng = np.random.default_rng(seed)
    inside = ndimage.binary_erosion(mask, border_value=1)
    edge = np.argwhere(mask & ~inside)
    centres = edge[rng.random(len(edge)) < EDGE_SHARE]
    radii = rng.integers(radius + 1, size=len(centres))
    values = rng.integers(2, size=len(centres)).astype(bool)
    balls = [_ball(reach, mask.ndim) for reach in range(radius + 1)]
    distorted = mask.copy()
    for centre, reach, value in zip(centres, radii, values, strict=True):
        _paint(distorted, centre, balls[reach], bool(value))
    return distorted


def dilate_cross(mask: BoolArray, radius: int) -> BoolArray:
    """All pixels within `radius` steps along the axes from one of the mask's: a diamond."""
    distance = ndimage.distance_transform_cdt(~mask, metric="taxicab")
    grown: BoolArray = distance <= radius
    return grown


def erode_cross(mask: BoolArray, radius: int) -> BoolArray:
    """Without the pixels within `radius` steps along the axes from the background."""
    if mask.all():
        return mask.copy()
    eroded: BoolArray = ndimage.distance_transform_cdt(mask, metric="taxicab") > radius
    return eroded


def bump_edge(mask: BoolArray, radii: tuple[int, int], seed: int) -> BoolArray:
    """Discs added along the edge, then discs taken out along the edge that this makes.

    radii: of the smallest and the largest disc, all between alike.  Each time BUMP_SHARE of the
    pixels that touch the mask with a face from outside are centres, rounded down.
    """
    rng = np.random.default_rng(seed)
    with_bumps = mask | _discs_at_edge(mask, radii, rng)
    return with_bumps & ~_discs_at_edge(with_bumps, radii, rng)


def _discs_at_edge(mask: BoolArray, radii: tuple[int, int], rng: np.random.Generator) -> BoolArray:
    edge = np.argwhere(ndimage.binary_dilation(mask) & ~mask)
    centres = rng.choice(edge, int(BUMP_SHARE * len(edge)), replace=False, axis=0)
    discs = np.zeros_like(mask)
    for centre in centres:
        radius = int(rng.integers(radii[0], radii[1] + 1))
        _paint(discs, centre, _ball(radius, mask.ndim), True)
    return discs


def shift(mask: BoolArray, offset: Sequence[int]) -> BoolArray:
    """Moved by whole pixels along each axis; what leaves the grid is lost.  offset: one an axis."""
    shifted = np.zeros_like(mask)
    moves = list(zip(offset, mask.shape, strict=True))
    target = tuple(slice(max(step, 0), max(n + min(step, 0), 0)) for step, n in moves)
    source = tuple(slice(max(-step, 0), max(n - max(step, 0), 0)) for step, n in moves)
    shifted[target] = mask[source]
    return shifted


def deform(mask: BoolArray, entries: Sequence[float]) -> BoolArray:
    """Turned, scaled and sheared about its centroid, which stays where it is.

    entries: row by row, of the matrix that maps an offset from the centroid after to the one
    before.  A pixel of which half or more is covered belongs to the result.
    """
    matrix = np.reshape(entries, (mask.ndim, mask.ndim))
    centroid = np.argwhere(mask).mean(axis=0)
    offset = centroid - matrix @ centroid
    moved = ndimage.affine_transform(
        mask.astype(np.float64), matrix, offset, order=1, mode="grid-constant"
    )
    # the margin lets no rounding decide about a pixel whose coverage is one half
    deformed: BoolArray = moved > 0.5 - 1e-9
    return deformed


def add_blob(mask: BoolArray, radius: int, seed: int) -> BoolArray:
    """A disc in the background, clear of the mask where there is room; none in a full mask."""
    # without one foreground pixel the transform would measure to the outside of the grid
    distance = ndimage.distance_transform_edt(~mask) if mask.any() else np.full(mask.shape, np.inf)
    candidates = np.flatnonzero(distance > radius + 2)  # not even corners touch
    if not candidates.size:
        candidates = np.flatnonzero(~mask)
    blotted = mask.copy()
    if candidates.size:
        rng = np.random.default_rng(seed)
        centre = np.unravel_index(candidates[rng.integers(candidates.size)], mask.shape)
        _paint(blotted, np.array(centre), _ball(radius, mask.ndim), True)
    return blotted


def push_edge(mask: BoolArray, radius: int, seed: int, value: bool) -> BoolArray:
    """A disc on one pixel of the mask's inner boundary, painted in or out."""
    edge = np.argwhere(mask & ~ndimage.binary_erosion(mask, border_value=1))
    pushed = mask.copy()
    if len(edge):
        rng = np.random.default_rng(seed)
        centre = edge[rng.integers(len(edge))]
        _paint(pushed, centre, _ball(radius, mask.ndim), value)
    return pushed


def cut(mask: BoolArray, seed: int) -> BoolArray:
    """What lies beyond a plane of random direction near the centroid is lost: about a half.

    The plane passes the centroid at no more than NEAR times the mask's mean distance from it.
    A mask of one pixel is lost.
    """
    rng = np.random.default_rng(seed)
    where = np.argwhere(mask)
    # a thin volume is cut as its picture is
    offsets = (where - where.mean(axis=0))[:, [n > 1 for n in mask.shape]]
    direction = rng.standard_normal(offsets.shape[1])
    margin = rng.uniform(-NEAR, NEAR) * np.linalg.norm(offsets, axis=1).mean()
    lost = offsets @ direction >= margin * np.linalg.norm(direction)
    kept = mask.copy()
    kept[tuple(where[lost | (len(where) == 1)].T)] = False
    return kept


def coarsen(mask: BoolArray, radius: int) -> BoolArray:
    """Each piece replaced by a polygon with a vertex every 2 * radius steps of its outline.

    A piece is what hangs together by faces or corners; its holes are filled, as by an annotator
    who clicks around it.  More than two axes: slice by slice along the leading ones.  A mask with
    one axis has no outline and stays.
    """
    if mask.ndim < 2:
        return mask.copy()
    if mask.ndim > 2:
        return np.stack([coarsen(part, radius) for part in mask])
    coarse = np.zeros_like(mask)
    pieces, _ = ndimage.label(mask, structure=np.ones((3, 3)))
    for index, box in enumerate(ndimage.find_objects(pieces), start=1):
        outline = _outline(pieces[box] == index)
        # fewer than three vertices enclose nothing
        step = max(1, min(2 * radius, len(outline) // 3))
        coarse[box] |= _fill_polygon(outline[::step], coarse[box].shape)
    return coarse


def _outline(piece: BoolArray) -> NDArray[np.intp]:
    """Outer boundary pixels of one connected 2D piece in order around it, (n, 2); Moore tracing."""
    around = [(-1, 0), (-1, 1), (0, 1), (1, 1), (1, 0), (1, -1), (0, -1), (-1, -1)]
    padded = np.pad(piece, 1)
    row, column = (int(i) for i in np.argwhere(padded)[0])
    outline: list[tuple[int, int]] = []
    # the first pixel in raster order was entered from its left, which is background
    state = (row, column, 6)
    seen = set()
    while state not in seen:
        seen.add(state)
        row, column, entered = state
        outline.append((row - 1, column - 1))
        for turn in range(1, 9):
            heading = (entered + turn) % 8
            r, c = row + around[heading][0], column + around[heading][1]
            if padded[r, c]:
                # look on from the background pixel that was checked last
                state = (r, c, (heading + 6 - heading % 2) % 8)
                break
    return np.array(outline, dtype=np.intp)


def _fill_polygon(vertices: NDArray[np.intp], shape: tuple[int, ...]) -> BoolArray:
    """Pixels whose centre lies inside a closed polygon (even-odd) or on its edges; (H, W)."""
    rows, columns = np.ogrid[: shape[0], : shape[1]]
    inside: BoolArray = np.zeros(shape, dtype=bool)
    on_edge = inside.copy()
    for (r0, c0), (r1, c1) in zip(vertices, np.roll(vertices, -1, axis=0), strict=True):
        side = (rows - r0) * (c1 - c0) - (columns - c0) * (r1 - r0)
        inside ^= ((rows >= r0) != (rows >= r1)) & ((side > 0) == (r1 > r0)) & (side != 0)
        in_box = (abs(2 * rows - r0 - r1) <= abs(r1 - r0)) & (
            abs(2 * columns - c0 - c1) <= abs(c1 - c0)
        )
        on_edge |= in_box & (side == 0)
    return inside | on_edge


def _ball(radius: int, axes: int) -> BoolArray:
    """Pixels within a Euclidean distance of the centre of a cube of side 2 * radius + 1."""
    offsets = np.ogrid[(slice(-radius, radius + 1),) * axes]
    ball: BoolArray = np.sum(np.broadcast_arrays(*map(np.square, offsets)), axis=0) <= radius**2
    return ball


def _paint(mask: BoolArray, centre: NDArray[np.intp], ball: BoolArray, value: bool) -> None:
    """Set the pixels of a ball around the centre, in place, as far as they lie in the grid."""
    start = centre - ball.shape[0] // 2
    low = np.maximum(start, 0)
    high = np.minimum(start + ball.shape[0], mask.shape)
    window = tuple(slice(a, b) for a, b in zip(low, high, strict=True))
    part = tuple(slice(a, b) for a, b in zip(low - start, high - start, strict=True))
    mask[window][ball[part]] = value
