"""Generalised cross-entropy: between cross-entropy and the mean absolute error.

Zhang and Sabuncu, Generalized cross entropy loss for training deep neural networks with noisy
labels, NeurIPS 2018, eq. 6: L_q = (1 - p_y^q) / q.  Its gradient is that of cross-entropy times
p_y^q, so that a pixel whose label the network finds improbable teaches little.  The paper's
q = 0.7.

Beyond the paper: soft targets weigh the losses of their classes; a structure of overlapping labels
is a problem of two classes, p and 1 - p; soft Dice stands beside it where it stands beside the
cross-entropy of `plain`.  The truncated form (eq. 9), which prunes by a threshold, is left out.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from maskmend.learning.methods.interface import Batch, Method, Setup


class GeneralisedCrossEntropy(Method):
    """Weighted mean of the L_q of the pixels + dice * (1 - soft Dice)."""

    def __init__(self, setup: Setup) -> None:
        super().__init__(setup)
        self.q = setup.settings.gce.q

    def loss(self, batch: Batch, logits: list[Tensor]) -> Tensor:
        (found,) = logits
        pixels = generalised_cross_entropy(found, batch.targets, self.q, self.overlapping)
        return self.pixels_and_dice(pixels, batch, found)


def generalised_cross_entropy(
    logits: Tensor, targets: Tensor, q: float, overlapping: bool
) -> Tensor:
    """L_q of each pixel, (N, planes, *S), in [0, 1 / q].

    logits, targets: (N, channels, *S); targets in [0, 1], and for exclusive labels summing to 1.
    q: in (0, 1].
    """
    if overlapping:
        inside, outside = _loss_of(F.logsigmoid(logits), q), _loss_of(F.logsigmoid(-logits), q)
        return targets * inside + (1 - targets) * outside
    losses = _loss_of(torch.log_softmax(logits, dim=1), q)
    return (targets * losses).sum(dim=1, keepdim=True)


def _loss_of(logarithms: Tensor, q: float) -> Tensor:
    # a power of the probability itself has no gradient at 0; expm1 keeps its digits for small q
    return -torch.expm1(q * logarithms) / q
