"""A loss for training on exported soft targets, in any loop of PyTorch.

loss = SoftTargetLoss(overlapping=False)(network(image), target)
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from maskmend.learning.losses import soft_cross_entropy


class SoftTargetLoss(nn.Module):
    """Soft cross-entropy plus soft Dice, each with its weight, over the pixels that take part.

    Exclusive classes (overlapping=False): a softmax over the channels; a pixel whose targets sum
    to 0 takes no part.  Overlapping structures: a sigmoid for each; a pixel whose target is below
    0 takes no part for that structure.  These are the targets that `maskmend export --as soft`
    writes.

    cross_entropy, dice: weights of the two terms, not below 0.
    """

    def __init__(self, overlapping: bool, cross_entropy: float = 1.0, dice: float = 1.0) -> None:
        super().__init__()
        if min(cross_entropy, dice) < 0:
            raise ValueError(f"weights of losses are not negative: {cross_entropy}, {dice}")
        self.overlapping = overlapping
        self.cross_entropy = cross_entropy
        self.dice = dice

    def forward(self, logits: Tensor, targets: Tensor) -> Tensor:
        """A scalar.  logits, targets: (N, channels, *S); 0 where no pixel takes part.

        ValueError where the two have not one shape.
        """
        if logits.shape != targets.shape:
            raise ValueError(f"logits {tuple(logits.shape)}, targets {tuple(targets.shape)}")
        logits, targets = logits.float(), targets.float()
        if self.overlapping:
            part, probs = (targets >= 0).float(), torch.sigmoid(logits)
        else:
            part = (targets.sum(dim=1, keepdim=True) > 0).float()
            probs = torch.softmax(logits, dim=1)
        known = targets.clamp(0, 1) * part
        pixels = soft_cross_entropy(logits, known, self.overlapping) * part
        mean = pixels.sum() / part.sum().clamp_min(1)
        return self.cross_entropy * mean + self.dice * _soft_dice(probs * part, known)


def _soft_dice(probs: Tensor, targets: Tensor) -> Tensor:
    """Mean over the channels of sum |p - t| / sum (p + t), sums over the batch and all pixels.

    For hard targets this is 1 - Dice; for soft ones, unlike 1 - 2 sum pt / sum (p + t), it is
    smallest where p = t (Wang et al., Dice Semimetric Losses, MICCAI 2023).  A channel without
    any target has no Dice and is left out: the cross-entropy punishes what is found there.
    """
    axes = (0, *range(2, probs.ndim))
    present = targets.sum(axes) > 0
    apart = (probs - targets).abs().sum(axes)[present]
    together = (probs + targets).sum(axes)[present]
    return (apart / together).mean() if present.any() else probs.sum() * 0
