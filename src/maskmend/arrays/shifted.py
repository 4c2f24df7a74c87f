"""By how far predicted boundaries commonly lie outside of the true ones, and moving them back.

Yao et al., Learning to segment from noisy annotations: a spatial correction approach, ICLR 2023.
"""

from __future__ import annotations

import numpy as np
from scipy import ndimage

from maskmend.arrays.depth import signed_depth
from maskmend.core import BoolArray, FloatArray, LabelArray, LabelScheme


def boundary_shift(
    predicted: BoolArray, truth: BoolArray, judged: BoolArray, steps: tuple[float, ...]
) -> float:
    """How far the boundary of a prediction lies outside (+) of the true one, on average.

    predicted, truth, judged: (*S,).  steps: size of a pixel along each axis; so is the result.
    The depth at which the true boundary lies in the predicted mask: the mean over the pixels just
    inside of the truth and that over those just outside of it, halved.  A mask predicted one pixel
    wider all around has 1, the true one 0.  Only pixels that are judged count.  NaN where either
    mask is empty or fills the image, or the truth has no judged boundary.
    """
    if not predicted.any() or predicted.all():
        return float("nan")
    inside, outside = truth & judged, ~truth & judged
    inner = inside & ndimage.binary_dilation(outside)
    outer = outside & ndimage.binary_dilation(inside)
    if not inner.any():
        return float("nan")
    depth = _depth_of_middles(predicted, steps)
    return float(depth[inner].mean() + depth[outer].mean()) / 2


def shifted_labels(
    predicted: LabelArray, given: LabelArray, shifts: FloatArray, scheme: LabelScheme,
    steps: tuple[float, ...],
) -> LabelArray:  # fmt: skip
    """Predicted labels with each structure's boundary moved inwards by its shift, (planes, *S).

    predicted, given: (planes, *S).  shifts: (structures,), as from `boundary_shift`; below 0
    outwards; NaN for a structure whose shift is not known: what is given to it or predicted as it
    stays as given.  Exclusive labels: what a structure gives up goes to the label predicted nearest
    to it, and what several claim to the one in which it lies deepest.
    """
    if scheme.overlapping:
        planes = zip(predicted == 1, given, shifts, strict=True)
        return np.stack(
            [
                before if np.isnan(shift) else _shifted(mask, shift, steps) >= 0
                for mask, before, shift in planes
            ]
        ).astype(np.uint8)
    labels = predicted[0].copy()
    deepest = np.zeros(labels.shape)
    known = np.flatnonzero(~np.isnan(shifts))
    for number in known:
        mask = predicted[0] == number + 1
        if not mask.any() or mask.all():
            continue
        depth = _shifted(mask, shifts[number], steps)
        lost = mask & (depth < 0)
        nearest = ndimage.distance_transform_edt(
            mask, sampling=steps, return_distances=False, return_indices=True
        )
        labels[lost] = predicted[0][tuple(nearest[:, lost])]
        claimed = (depth >= deepest) & (depth >= 0)
        labels[claimed], deepest[claimed] = number + 1, depth[claimed]
    of_unknown = np.zeros(256, bool)
    of_unknown[1:][np.flatnonzero(np.isnan(shifts))] = True
    kept = of_unknown[given[0]] | of_unknown[predicted[0]]
    settled: LabelArray = np.where(kept, given[0], labels)[None]
    return settled


def _shifted(mask: BoolArray, shift: float, steps: tuple[float, ...]) -> FloatArray:
    """Depth of each pixel under the moved boundary, (*S,); below 0 outside of it."""
    if not mask.any() or mask.all():
        # there is no boundary to move
        return np.where(mask, 1.0, -1.0)
    return _depth_of_middles(mask, steps) - shift


def _depth_of_middles(mask: BoolArray, steps: tuple[float, ...]) -> FloatArray:
    """Signed depth from the line between two pixels, not from the middle of the other one."""
    # an axis of one pixel is none
    half = min(step for step, size in zip(steps, mask.shape, strict=True) if size > 1) / 2
    depth = signed_depth(mask, steps)
    return depth - np.where(mask, half, -half)
