"""Label errors on purpose: sampled, then applied, then recorded, so that they can be replayed.

`sample_corruptions` draws which masks of a structure go wrong and how; `corrupt` applies one
`Corruption` to a mask and draws nothing that the record does not fix; `to_row` and `from_row`
carry it through a CSV file.  Lengths are in pixels (voxels), never in mm.  `mirrored` turns the
whole mask left to right, along its last axis.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, fields

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from maskmend.core import IGNORED, BoolArray, LabelArray, LabelScheme
from maskmend.errors import SettingsError

EDGE_SHARE = 0.5
"""Share of the edge pixels that edge distortion paints a disc at; the reference's move_ratio."""

AFFINE_SPREAD = 0.25
"""Largest change of an entry of the identity in a sampled affine matrix."""

NEAR = 0.3
"""How far from the centroid a missing part may begin, in mean distances of the mask from it."""


@dataclass(frozen=True)
class Preset:
    """Which kinds of error are drawn how often, and how large the discs on the edge are.

    probabilities: kind -> probability, summing to 1.  edge_radius: the range of beta -> largest
    radius of edge distortion.
    """

    probabilities: Mapping[str, float]
    edge_radius: Callable[[int], int]


@dataclass(frozen=True)
class Noise:
    """How the masks of one structure go wrong.

    preset: a name in PRESETS, or one of KINDS to have that alone.  alpha: share of the masks hit,
    in [0, 1].  beta: smallest and largest radius, inclusive.  axes: number of spatial axes.
    partners: the structures that this one may be swapped with; without any, a preset draws its
    other kinds in proportion.  Raises SettingsError for a value outside of these.
    """

    preset: str
    alpha: float
    beta: tuple[int, int]
    axes: int = 2
    partners: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        if not 0 <= self.alpha <= 1:
            raise _bad_setting("alpha", "a share of the masks in 0..1", self.alpha)
        if not 0 <= self.beta[0] <= self.beta[1]:
            raise _bad_setting("beta", "two radii in pixels, smallest first", self.beta)
        if self.preset not in (*PRESETS, *KINDS):
            raise _bad_setting("preset", f"one of {', '.join((*PRESETS, *KINDS))}", self.preset)
        if self.preset == "swapped" and not self.partners:
            raise _bad_setting("preset", "a second structure to swap with", "one structure")


@dataclass(frozen=True)
class Corruption:
    """One error in the mask of one structure of one case, with all that its replay needs.

    radius: dilate, erode, blob, bulge, dent: of the disc; edge_distortion: the largest; polygon:
    half of the distance between vertices along the outline.  seed: of the generator that
    edge_distortion, blob, bulge, dent and missing_part draw from.  offset: shift along each axis.
    matrix: of affine, row by row, mapping an offset from the mask's centroid after to the one
    before.  partner: structure swapped with.  Fields that a kind does not use keep their defaults.
    """

    case: str
    structure: str
    kind: str
    radius: int = 0
    seed: int = 0
    offset: tuple[int, ...] = ()
    matrix: tuple[float, ...] = ()
    partner: str = ""

    def to_row(self) -> dict[str, str]:
        """The record as text, one entry a field, tuples separated by spaces; exact."""
        values = {field.name: getattr(self, field.name) for field in fields(self)}
        return {
            name: " ".join(map(repr, value)) if isinstance(value, tuple) else str(value)
            for name, value in values.items()
        }

    @classmethod
    def from_row(cls, row: Mapping[str, str]) -> Corruption:
        """The record that `to_row` wrote; raises SettingsError for a row that it cannot have."""
        try:
            corruption = cls(
                case=row["case"],
                structure=row["structure"],
                kind=row["kind"],
                radius=int(row["radius"]),
                seed=int(row["seed"]),
                offset=tuple(int(part) for part in row["offset"].split()),
                matrix=tuple(float(part) for part in row["matrix"].split()),
                partner=row["partner"],
            )
        except (KeyError, ValueError) as error:
            raise _bad_setting(
                f"corruption of {row.get('case', '?')}", "a row written by maskmend", dict(row)
            ) from error
        if corruption.kind not in KINDS:
            raise _bad_setting("kind", f"one of {', '.join(KINDS)}", corruption.kind)
        return corruption


def sample_corruptions(
    case_ids: Sequence[str], structure: str, noise: Noise, rng: np.random.Generator
) -> tuple[Corruption, ...]:
    """Errors in floor(alpha * n) of the masks of one structure, drawn without replacement.

    case_ids: the n cases with a mask of it, in an order that is the same every time.
    Returns one Corruption a case hit, in the order of `case_ids`.
    """
    # 0.29 * 100 is just below 29 in floating point
    count = math.floor(noise.alpha * len(case_ids) + 1e-9)
    hit = np.sort(rng.choice(len(case_ids), count, replace=False)) if count else ()
    return tuple(sample_corruption(case_ids[index], structure, noise, rng) for index in hit)


def sample_corruption(
    case: str, structure: str, noise: Noise, rng: np.random.Generator
) -> Corruption:
    """One error, whether or not alpha would have hit the case.

    radius: uniform over beta, both ends included (edge_distortion: the preset's, so that each of
    its discs has a radius of 0..that).  shift: of that length, all directions alike.  affine:
    the identity with AFFINE_SPREAD added at random (turned, scaled and sheared at once).
    """
    alone = Preset({noise.preset: 1.0}, PRESETS["reference"].edge_radius)
    preset = PRESETS.get(noise.preset, alone)
    kind = _draw_kind(preset.probabilities, bool(noise.partners), rng)
    radius = int(rng.integers(noise.beta[0], noise.beta[1] + 1))
    seed = int(rng.integers(2**32))
    if kind in ("dilate", "erode", "polygon"):
        return Corruption(case, structure, kind, radius=radius)
    if kind == "edge_distortion":
        radius = preset.edge_radius(noise.beta[1])
    if kind in ("edge_distortion", "blob", "bulge", "dent", "missing_part"):
        radius = 0 if kind == "missing_part" else radius
        return Corruption(case, structure, kind, radius=radius, seed=seed)
    if kind == "shift":
        direction = rng.standard_normal(noise.axes)
        steps = np.rint(radius * direction / np.linalg.norm(direction)).astype(int)
        return Corruption(case, structure, kind, offset=tuple(steps.tolist()))
    if kind == "affine":
        spread = rng.uniform(-AFFINE_SPREAD, AFFINE_SPREAD, (noise.axes, noise.axes))
        matrix = tuple((np.eye(noise.axes) + spread).ravel().tolist())
        return Corruption(case, structure, kind, matrix=matrix)
    if kind == "swapped":
        partner = noise.partners[int(rng.integers(len(noise.partners)))]
        return Corruption(case, structure, kind, partner=partner)
    return Corruption(case, structure, kind)


def corrupt(mask: BoolArray, corruption: Corruption) -> BoolArray:
    """The mask with the error in it; the same bytes every time.

    mask: (*S,) bool, not changed.  Returns (*S,) bool, a new array.  An empty mask stays empty,
    except that a blob is put into it.  Raises SettingsError for kind `swapped`, which needs two
    masks (`corrupt_labels`), and for an offset or matrix of another number of axes.
    """
    if corruption.kind not in _APPLY:
        raise _bad_setting(
            f"kind of {corruption.case}", f"one of {', '.join(_APPLY)}", corruption.kind
        )
    if corruption.kind != "blob" and not mask.any():
        return mask.copy()
    return _APPLY[corruption.kind](mask, corruption)


def corrupt_labels(
    labels: LabelArray, scheme: LabelScheme, corruptions: Iterable[Corruption]
) -> LabelArray:
    """The labels of one case with all its errors in them.

    labels: (planes, *S) uint8, not changed.  corruptions: those of this case, in any order:
    swaps are applied first, then structure by structure as the scheme lists them.  A pair that
    is swapped from both sides is swapped once, or it would be whole again.
    Returns (planes, *S) uint8.  Ignored pixels stay, and take nothing in.  In exclusive labels a
    pixel that a structure loses becomes background, one that it gains is taken from another.
    """
    by_structure = sorted(corruptions, key=lambda c: scheme.structures.index(c.structure))
    swaps = {frozenset((c.structure, c.partner)): c for c in by_structure if c.kind == "swapped"}
    corrupted = labels.copy()
    for swap in swaps.values():
        masks = [scheme.structure_mask(corrupted, s) for s in (swap.partner, swap.structure)]
        _assign(corrupted, scheme, swap.structure, masks[0])
        _assign(corrupted, scheme, swap.partner, masks[1])
    for corruption in by_structure:
        if corruption.kind != "swapped":
            mask = scheme.structure_mask(corrupted, corruption.structure)
            _assign(corrupted, scheme, corruption.structure, corrupt(mask, corruption))
    return corrupted


def _assign(labels: LabelArray, scheme: LabelScheme, structure: str, mask: BoolArray) -> None:
    """Give a structure the pixels of the mask and no others, in place, ignored pixels apart."""
    index = scheme.structures.index(structure)
    plane, value = (index, 1) if scheme.overlapping else (0, index + 1)
    judged = labels[plane] != IGNORED
    labels[plane][judged & (labels[plane] == value) & ~mask] = 0
    labels[plane][judged & mask] = value


def _draw_kind(probabilities: Mapping[str, float], can_swap: bool, rng: np.random.Generator) -> str:
    kinds = [kind for kind in probabilities if can_swap or kind != "swapped"]
    shares = np.array([probabilities[kind] for kind in kinds])
    return kinds[int(rng.choice(len(kinds), p=shares / shares.sum()))]


def _dilate(mask: BoolArray, corruption: Corruption) -> BoolArray:
    # sqrt of an integer is rounded correctly: "<= radius" is exactly the Euclidean disc
    dilated: BoolArray = ndimage.distance_transform_edt(~mask) <= corruption.radius
    return dilated


def _erode(mask: BoolArray, corruption: Corruption) -> BoolArray:
    # the outside of the grid does not eat into the mask, as in OpenCV; nor has a full mask an edge
    if mask.all():
        return mask.copy()
    eroded: BoolArray = ndimage.distance_transform_edt(mask) > corruption.radius
    return eroded


def _distort_edge(mask: BoolArray, corruption: Corruption) -> BoolArray:
    """Discs painted over about half of the inner boundary, one after the other in raster order.

    Where the reference takes the edge from Canny, this takes the mask's pixels with a face
    neighbour outside; the border of the grid is no edge in either.
    """
    rng = np.random.default_rng(corruption.seed)
    inside = ndimage.binary_erosion(mask, border_value=1)
    edge = np.argwhere(mask & ~inside)
    centres = edge[rng.random(len(edge)) < EDGE_SHARE]
    radii = rng.integers(corruption.radius + 1, size=len(centres))
    values = rng.integers(2, size=len(centres)).astype(bool)
    balls = [_ball(radius, mask.ndim) for radius in range(corruption.radius + 1)]
    distorted = mask.copy()
    for centre, radius, value in zip(centres, radii, values, strict=True):
        _paint(distorted, centre, balls[radius], bool(value))
    return distorted


def _shift(mask: BoolArray, corruption: Corruption) -> BoolArray:
    _check_size("offset", len(corruption.offset), mask.ndim)
    shifted = np.zeros_like(mask)
    moves = list(zip(corruption.offset, mask.shape, strict=True))
    target = tuple(slice(max(step, 0), max(n + min(step, 0), 0)) for step, n in moves)
    source = tuple(slice(max(-step, 0), max(n - max(step, 0), 0)) for step, n in moves)
    shifted[target] = mask[source]
    return shifted


def _affine(mask: BoolArray, corruption: Corruption) -> BoolArray:
    _check_size("matrix", len(corruption.matrix), mask.ndim**2)
    matrix = np.reshape(corruption.matrix, (mask.ndim, mask.ndim))
    centroid = np.argwhere(mask).mean(axis=0)
    offset = centroid - matrix @ centroid
    moved = ndimage.affine_transform(
        mask.astype(np.float64), matrix, offset, order=1, mode="grid-constant"
    )
    # the margin lets no rounding decide about a pixel whose coverage is one half
    deformed: BoolArray = moved > 0.5 - 1e-9
    return deformed


def _add_blob(mask: BoolArray, corruption: Corruption) -> BoolArray:
    """A disc in the background, clear of the mask where there is room; none in a full mask."""
    # without one foreground pixel the transform would measure to the outside of the grid
    distance = ndimage.distance_transform_edt(~mask) if mask.any() else np.full(mask.shape, np.inf)
    candidates = np.flatnonzero(distance > corruption.radius + 2)  # not even corners touch
    if not candidates.size:
        candidates = np.flatnonzero(~mask)
    blotted = mask.copy()
    if candidates.size:
        rng = np.random.default_rng(corruption.seed)
        centre = np.unravel_index(candidates[rng.integers(candidates.size)], mask.shape)
        _paint(blotted, np.array(centre), _ball(corruption.radius, mask.ndim), True)
    return blotted


def _push(mask: BoolArray, corruption: Corruption, value: bool) -> BoolArray:
    """A disc on one pixel of the mask's inner boundary, painted in or out."""
    edge = np.argwhere(mask & ~ndimage.binary_erosion(mask, border_value=1))
    pushed = mask.copy()
    if len(edge):
        rng = np.random.default_rng(corruption.seed)
        centre = edge[rng.integers(len(edge))]
        _paint(pushed, centre, _ball(corruption.radius, mask.ndim), value)
    return pushed


def _cut(mask: BoolArray, corruption: Corruption) -> BoolArray:
    """What lies beyond a plane of random direction near the centroid is lost: about a half.

    The plane passes the centroid at no more than NEAR times the mask's mean distance from it.
    A mask of one pixel is lost.
    """
    rng = np.random.default_rng(corruption.seed)
    where = np.argwhere(mask)
    # a thin volume is cut as its picture is
    offsets = (where - where.mean(axis=0))[:, [n > 1 for n in mask.shape]]
    direction = rng.standard_normal(offsets.shape[1])
    margin = rng.uniform(-NEAR, NEAR) * np.linalg.norm(offsets, axis=1).mean()
    lost = offsets @ direction >= margin * np.linalg.norm(direction)
    cut = mask.copy()
    cut[tuple(where[lost | (len(where) == 1)].T)] = False
    return cut


def _coarsen(mask: BoolArray, corruption: Corruption) -> BoolArray:
    """Each piece replaced by a polygon with a vertex every 2 * radius steps of its outline.

    A piece is what hangs together by faces or corners; its holes are filled, as by an annotator
    who clicks around it.  More than two axes: slice by slice along the leading ones.  A mask with
    one axis has no outline and stays.
    """
    if mask.ndim < 2:
        return mask.copy()
    if mask.ndim > 2:
        return np.stack([_coarsen(part, corruption) for part in mask])
    coarse = np.zeros_like(mask)
    pieces, _ = ndimage.label(mask, structure=np.ones((3, 3)))
    for index, box in enumerate(ndimage.find_objects(pieces), start=1):
        outline = _outline(pieces[box] == index)
        # fewer than three vertices enclose nothing
        step = max(1, min(2 * corruption.radius, len(outline) // 3))
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


def _check_size(name: str, got: int, expected: int) -> None:
    if got != expected:
        raise _bad_setting(name, f"{expected} numbers for a mask of its axes", f"{got}")


def _bad_setting(name: str, expected: str, got: object) -> SettingsError:
    return SettingsError(name, expected=expected, got=f"{got}", remedy="Correct the setting.")


_APPLY: Mapping[str, Callable[[BoolArray, Corruption], BoolArray]] = {
    "dilate": _dilate,
    "erode": _erode,
    "edge_distortion": _distort_edge,
    "shift": _shift,
    "affine": _affine,
    "missing": lambda mask, _: np.zeros_like(mask),
    "blob": _add_blob,
    "polygon": _coarsen,
    "missing_part": _cut,
    "bulge": lambda mask, corruption: _push(mask, corruption, True),
    "dent": lambda mask, corruption: _push(mask, corruption, False),
    "mirrored": lambda mask, _: np.flip(mask, -1).copy(),
}

KINDS = (*_APPLY, "swapped")
"""All kinds of label error."""

_MIXED = (
    "dilate", "erode", "edge_distortion", "shift", "affine", "missing", "blob", "polygon",
    "swapped",
)  # fmt: skip
_VOLUME = ("dilate", "erode", "shift", "swapped", "missing_part")
_OF_THE_REFERENCE = {"dilate": 0.33, "erode": 0.33, "edge_distortion": 0.34}

PRESETS: Mapping[str, Preset] = {
    # Zhang et al., MICCAI 2020: their code draws from randint(max(beta)), which leaves max(beta)
    # out; their paper has a radius of about beta / 5
    "reference": Preset(_OF_THE_REFERENCE, lambda beta: max(beta - 1, 0)),
    "paper": Preset(_OF_THE_REFERENCE, lambda beta: round(beta / 5)),
    "mixed": Preset({kind: 1 / len(_MIXED) for kind in _MIXED}, lambda beta: max(beta - 1, 0)),
    "volume": Preset({kind: 1 / len(_VOLUME) for kind in _VOLUME}, lambda beta: max(beta - 1, 0)),
}
