"""Overlapping structures that one label map stores, as nnU-Net v2 does."""

from __future__ import annotations

import numpy as np

from maskmend.core import IGNORED, IntArray, LabelArray, Regions


def regions_of(
    stored: IntArray, regions: Regions, ignore_value: int | None
) -> dict[str, LabelArray]:
    """Structure -> labels (*S,) uint8 with IGNORED, of stored values (*S,)."""
    found: dict[str, LabelArray] = {}
    for structure, values in regions.values.items():
        labels = np.isin(stored, values).astype(np.uint8)
        if ignore_value is not None:
            labels[stored == ignore_value] = IGNORED
        found[structure] = labels
    return found


def paint_regions(wanted: LabelArray, regions: Regions) -> IntArray:
    """Stored values, (*S,) int64, of planes (structures, *S): background 0, then each in order.

    A later structure is painted over an earlier one.  Planes that no stored value can show
    together (an inner region outside of its outer one) come out as the innermost of them.
    """
    stored = np.zeros(wanted.shape[1:], np.int64)
    for plane, value in zip(wanted, regions.order, strict=True):
        stored[plane == 1] = value
    return stored
