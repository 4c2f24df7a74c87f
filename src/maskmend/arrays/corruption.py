"""Label errors on purpose: sampled, then applied, then recorded, so that they can be replayed.

`sample_corruptions` draws which masks of a structure go wrong and how; `corrupt` applies one
`Corruption` to a mask and draws nothing that the record does not fix; `to_row` and `from_row`
carry it through a CSV file.  Lengths are in pixels (voxels), never in mm.  `mirrored` turns the
whole mask left to right, along its last axis.

What is drawn is in `corruption_presets`, the record in `corruption_record`; what the kinds do to
a mask in `deformation` and `markov`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping

import numpy as np

from maskmend.arrays import deformation, markov
from maskmend.arrays.corruption_presets import (
    PRESETS,
    Noise,
    Preset,
    sample_corruption,
    sample_corruptions,
)
from maskmend.arrays.corruption_record import KINDS, Corruption, bad_setting
from maskmend.core import IGNORED, BoolArray, LabelArray, LabelScheme

__all__ = [
    "KINDS",
    "PRESETS",
    "Corruption",
    "Noise",
    "Preset",
    "corrupt",
    "corrupt_labels",
    "sample_corruption",
    "sample_corruptions",
]


def corrupt(mask: BoolArray, corruption: Corruption) -> BoolArray:
    """The mask with the error in it; the same bytes every time.

    mask: (*S,) bool, not changed.  Returns (*S,) bool, a new array.  An empty mask stays empty,
    except that a blob is put into it.  Raises SettingsError for kind `swapped`, which needs two
    masks (`corrupt_labels`), and for an offset, a matrix or thetas of another number.
    """
    if corruption.kind not in _APPLY:
        raise bad_setting(
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


def _shift(mask: BoolArray, corruption: Corruption) -> BoolArray:
    _check_size("offset", len(corruption.offset), mask.ndim)
    return deformation.shift(mask, corruption.offset)


def _deform(mask: BoolArray, corruption: Corruption) -> BoolArray:
    _check_size("matrix", len(corruption.matrix), mask.ndim**2)
    return deformation.deform(mask, corruption.matrix)


def _wander(mask: BoolArray, corruption: Corruption) -> BoolArray:
    _check_size("thetas", len(corruption.thetas), 3)
    preference, variance, flipping = corruption.thetas
    return markov.wander(mask, corruption.steps, (preference, variance, flipping), corruption.seed)


def _check_size(name: str, got: int, expected: int) -> None:
    if got != expected:
        raise bad_setting(name, f"{expected} numbers for this mask", f"{got}")


_APPLY: Mapping[str, Callable[[BoolArray, Corruption], BoolArray]] = {
    "dilate": lambda mask, c: deformation.dilate(mask, c.radius),
    "erode": lambda mask, c: deformation.erode(mask, c.radius),
    "edge_distortion": lambda mask, c: deformation.distort_edge(mask, c.radius, c.seed),
    "shift": _shift,
    "affine": _deform,
    "missing": lambda mask, _: np.zeros_like(mask),
    "blob": lambda mask, c: deformation.add_blob(mask, c.radius, c.seed),
    "polygon": lambda mask, c: deformation.coarsen(mask, c.radius),
    "missing_part": lambda mask, c: deformation.cut(mask, c.seed),
    "bulge": lambda mask, c: deformation.push_edge(mask, c.radius, c.seed, True),
    "dent": lambda mask, c: deformation.push_edge(mask, c.radius, c.seed, False),
    "mirrored": lambda mask, _: np.flip(mask, -1).copy(),
    "dilate_cross": lambda mask, c: deformation.dilate_cross(mask, c.radius),
    "erode_cross": lambda mask, c: deformation.erode_cross(mask, c.radius),
    "edge_bumps": lambda mask, c: deformation.bump_edge(mask, (c.smallest, c.radius), c.seed),
    "markov": _wander,
}
