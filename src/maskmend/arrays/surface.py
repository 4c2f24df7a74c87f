"""How far apart two surfaces lie: HD95, ASSD and surface Dice, from one set of distances.

The surface of a mask is its pixels that share a face with the background; outside of the grid is
background, so a structure that the field of view cuts has a surface there.  An axis of length 1
has no faces (a thin volume scores as its picture does).  Distances run between pixel centres.

What emptiness means: both masks empty, distance 0 and surface Dice 1; one empty, the grid's
diagonal (no real distance is larger) and surface Dice 0, so a missed organ never improves an
average.  For ignored pixels, clear them in both masks first.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from maskmend.core import BoolArray
from maskmend.errors import GridMismatchError


@dataclass(frozen=True)
class SurfaceDistances:
    """Distance from each surface pixel of a mask to the nearest surface pixel of the other.

    from_truth, from_prediction: (n,) and (m,) float64, in the unit of the spacing; a mask
    without pixels has none, and then both are empty.  diagonal: distance between opposite corner
    pixels of the grid.  truth_empty, prediction_empty: which of the masks had no pixel.
    """

    from_truth: NDArray[np.float64]
    from_prediction: NDArray[np.float64]
    diagonal: float
    truth_empty: bool
    prediction_empty: bool

    @property
    def distance_if_empty(self) -> float | None:
        """The distance that emptiness stands for, or None when both masks have pixels."""
        if self.truth_empty and self.prediction_empty:
            return 0.0
        return self.diagonal if self.truth_empty or self.prediction_empty else None


def surface_distances(
    truth: BoolArray, prediction: BoolArray, spacing: tuple[float, ...]
) -> SurfaceDistances:
    """Distances in both directions, by exact Euclidean distance transform.

    truth, prediction: (*S,) bool.  spacing: pixel size along each axis (`Grid.steps`); the
    distances come in its unit.
    Raises GridMismatchError when shapes or number of axes differ.
    """
    if truth.shape != prediction.shape or len(spacing) != truth.ndim:
        raise GridMismatchError(
            "surface distances",
            expected=f"a mask of the truth's shape {truth.shape} and {truth.ndim} spacings",
            got=f"shape {prediction.shape} and {len(spacing)} spacings",
            remedy="Bring both masks onto the grid of the image.",
        )
    extent = [(n - 1) * step for n, step in zip(truth.shape, spacing, strict=True)]
    diagonal = math.hypot(*extent)
    empties = not truth.any(), not prediction.any()
    if any(empties):
        return SurfaceDistances(np.empty(0), np.empty(0), diagonal, *empties)
    faced_axes = tuple(axis for axis, n in enumerate(truth.shape) if n > 1)
    # nothing outside of the joint bounding box is a surface or lies between two of them
    box = ndimage.find_objects((truth | prediction).astype(np.uint8))[0]
    truth_surface = _surface(truth[box], faced_axes)
    prediction_surface = _surface(prediction[box], faced_axes)
    to_truth = ndimage.distance_transform_edt(~truth_surface, sampling=spacing)
    to_prediction = ndimage.distance_transform_edt(~prediction_surface, sampling=spacing)
    return SurfaceDistances(
        to_prediction[truth_surface], to_truth[prediction_surface], diagonal, *empties
    )


def hd95(distances: SurfaceDistances) -> float:
    """95 % Hausdorff distance, >= 0, in the unit of the spacing.

    The larger of the two directed 95th percentiles (linear interpolation), as MONAI and
    DeepMind's surface-distance define it; not the percentile of both directions pooled.
    """
    if distances.distance_if_empty is not None:
        return distances.distance_if_empty
    return float(
        max(np.percentile(distances.from_truth, 95), np.percentile(distances.from_prediction, 95))
    )


def assd(distances: SurfaceDistances) -> float:
    """Average symmetric surface distance, >= 0: the mean over the pixels of both surfaces."""
    if distances.distance_if_empty is not None:
        return distances.distance_if_empty
    return float(np.concatenate([distances.from_truth, distances.from_prediction]).mean())


def surface_dice(distances: SurfaceDistances, tolerance: float) -> float:
    """Share of both surfaces that lies within `tolerance` of the other, in [0, 1].

    tolerance: in the unit of the spacing; a distance equal to it is within.  Pixels are counted
    alike, not weighted by their area.  Nikolov et al., JMIR 2021, normalised surface distance.
    """
    if distances.distance_if_empty is not None:
        return 1.0 if distances.truth_empty and distances.prediction_empty else 0.0
    both = np.concatenate([distances.from_truth, distances.from_prediction])
    return float(np.mean(both <= tolerance))


def _surface(mask: BoolArray, axes: tuple[int, ...]) -> BoolArray:
    """Pixels of the mask with a face neighbour outside of it, looking along `axes` only."""
    inner = mask.copy()
    for axis in axes:
        lanes = np.moveaxis(mask, axis, 0)
        inner_lanes = np.moveaxis(inner, axis, 0)
        inner_lanes[1:] &= lanes[:-1]
        inner_lanes[:-1] &= lanes[1:]
        inner_lanes[[0, -1]] = False
    return mask & ~inner
