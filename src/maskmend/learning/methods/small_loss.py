"""Pixels of small loss, which networks are trusted to have found right: what several methods share.

A network learns first what most labels say, so that a pixel whose loss stays large is likely to
have a wrong label (Han et al., NeurIPS 2018).
"""

from __future__ import annotations

from dataclasses import replace

import torch
from torch import Tensor

from maskmend.learning.methods.interface import Batch
from maskmend.method_settings import SmallLossSettings


def remembered_share(progress: float, settings: SmallLossSettings) -> float:
    """Share of the pixels that teach: 1 at first, then falling to 1 - forget, in a line.

    progress: share of the training that is done.  Han et al., 2018, R(T), with a start of its own.
    """
    length = max(settings.ramp_end - settings.ramp_start, 1e-9)
    return 1 - settings.forget * min(max((progress - settings.ramp_start) / length, 0.0), 1.0)


@torch.no_grad()
def small_losses(pixels: Tensor, taking_part: Tensor, share: float) -> Tensor:
    """Which pixels have the smallest losses, (B, planes, *S) bool.

    pixels, taking_part: (B, planes, *S).  Of the pixels of each plane that take part, in all cases
    of the batch together, the `share` of least loss: as many as that are, rounded down, one at
    least; more where several have the loss at the cut.
    """
    chosen = torch.zeros_like(taking_part, dtype=torch.bool)
    for plane in range(pixels.shape[1]):
        losses, known = pixels[:, plane], taking_part[:, plane] > 0
        count = int(known.sum())
        if count:
            limit = losses[known].kthvalue(max(1, int(share * count))).values
            chosen[:, plane] = known & (losses <= limit)
    return chosen


def only(batch: Batch, chosen: Tensor) -> Batch:
    """The batch in which nothing but the chosen pixels takes part.  chosen: (B, planes, *S)."""
    return replace(batch, taking_part=batch.taking_part * chosen)
