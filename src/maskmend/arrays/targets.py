"""What a network is trained towards."""

from __future__ import annotations

import numpy as np

from maskmend.core import IGNORED, FloatArray, LabelArray, LabelScheme


def soft_targets(labels: LabelArray, scheme: LabelScheme) -> tuple[FloatArray, FloatArray]:
    """Labels as targets (channels, *S) and what takes part (planes, *S), both float32.

    labels: (planes, *S), IGNORED where a pixel takes no part (its target is then background).
    """
    taking_part = (labels != IGNORED).astype(np.float32)
    known = np.where(labels == IGNORED, 0, labels)
    if scheme.overlapping:
        return known.astype(np.float32), taking_part
    classes = np.arange(scheme.num_classes).reshape(-1, *(1,) * (labels.ndim - 1))
    return (known == classes).astype(np.float32), taking_part
