"""Cross-entropy against soft targets, over the pixels and masks that take part."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor


def soft_cross_entropy(logits: Tensor, targets: Tensor, overlapping: bool) -> Tensor:
    """Cross-entropy of each pixel, (N, planes, *S).

    logits, targets: (N, channels, *S); targets in [0, 1], and for exclusive labels summing to 1.
    Overlapping labels: binary cross-entropy of each structure; exclusive: of the softmax.
    """
    if overlapping:
        return F.binary_cross_entropy_with_logits(logits, targets, reduction="none")
    return -(targets * torch.log_softmax(logits, dim=1)).sum(dim=1, keepdim=True)


def weighted_mean(pixel_losses: Tensor, taking_part: Tensor, plane_weights: Tensor) -> Tensor:
    """Mean over pixels, cases and planes with their weights; a scalar.

    pixel_losses, taking_part: (N, planes, *S), taking_part in [0, 1]; what takes no part counts
    as a loss of 0, so that a step on few believed masks is a small one.  plane_weights: (planes,).
    """
    axes = (0, *range(2, pixel_losses.ndim))
    return ((pixel_losses * taking_part).mean(axes) * plane_weights).mean()


def channel_shares(targets: Tensor, taking_part: Tensor) -> Tensor:
    """Share of the pixels taking part that each channel's targets claim, (channels,) in [0, 1].

    targets: (N, channels, *S).  taking_part: (N, planes, *S).  0 where nothing takes part.
    """
    axes = (0, *range(2, targets.ndim))
    return (targets * taking_part).mean(axes) / taking_part.mean(axes).clamp_min(1e-12)


def plane_weights(shares: Tensor, overlapping: bool) -> Tensor:
    """Weights of the planes, mean 1: one over the root of a structure's share of the pixels.

    Without them a clavicle (2 % of a radiograph) is learnt long after a lung (31 %).
    shares: (channels,), of which none counts as less than 1e-4.  Exclusive labels have one plane,
    of weight 1.
    """
    if not overlapping:
        return torch.ones(1)
    weights = shares.clamp_min(1e-4).rsqrt()
    return weights / weights.mean()


def soft_dice_loss(
    logits: Tensor, targets: Tensor, taking_part: Tensor, overlapping: bool
) -> Tensor:
    """1 - soft Dice of the structures, their mean; a scalar in [0, 1].

    logits, targets: (N, channels, *S).  taking_part: (N, planes, *S) in [0, 1].  The voxels of
    all cases count together, so that a patch without a structure asks for none and weighs little.
    A structure that neither the targets nor the predictions have has no part in the mean.
    Milletari et al., 3DV 2016, with the sum in place of squares; soft targets as they are.
    """
    if overlapping:
        probs = logits.sigmoid()
    else:
        # the background is not a structure
        probs, targets = logits.softmax(dim=1)[:, 1:], targets[:, 1:]
    axes = (0, *range(2, probs.ndim))
    shared = (probs * targets * taking_part).sum(axes)
    total = ((probs + targets) * taking_part).sum(axes)
    known = total > 1e-3
    if not known.any():
        return total.sum() * 0
    return (1 - 2 * shared[known] / total[known]).mean()
