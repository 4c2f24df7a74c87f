"""JoCoR: two networks that are drawn together, taught by the pixels on which both agree.

Wei et al., Combating noisy labels by agreement: a joint training method with co-regularization,
CVPR 2020, eq. 1 to 3: the loss of a pixel is (1 - agreement) times the cross-entropies of both
networks plus agreement times their divergence, KL(p1 | p2) + KL(p2 | p1); the pixels of smallest
joint loss update both.  `agreement` (the paper's lambda, tuned from 0.05 to 0.95 there) is 0.1 by
default, as in the authors' program.

Beyond the paper, the same as in `co_teaching`: pixels in place of images, how the share falls, a
choice for each structure of overlapping labels, pixels that are not chosen count as a loss of 0,
and a prediction is the mean of both networks.
"""

from __future__ import annotations

from typing import ClassVar

from torch import Tensor

from maskmend.learning.losses import soft_cross_entropy
from maskmend.learning.methods.interface import Batch, Method, Setup
from maskmend.learning.methods.small_loss import only, remembered_share, small_losses


class JoCoR(Method):
    """Two networks with one loss, which includes how far apart they are."""

    networks: ClassVar[int] = 2

    def __init__(self, setup: Setup) -> None:
        super().__init__(setup)
        self.settings = setup.settings.jocor

    def loss(self, batch: Batch, logits: list[Tensor]) -> Tensor:
        first, second = logits
        supervised = soft_cross_entropy(first, batch.targets, self.overlapping)
        supervised = supervised + soft_cross_entropy(second, batch.targets, self.overlapping)
        weight = self.settings.agreement
        joint = (1 - weight) * supervised + weight * divergence(first, second, self.overlapping)
        share = remembered_share(batch.progress, self.settings)
        easy = only(batch, small_losses(joint, batch.taking_part, share))
        halves = [self.pixels_and_dice(joint / 2, easy, found) for found in logits]
        return (halves[0] + halves[1]) / 2


def divergence(first: Tensor, second: Tensor, overlapping: bool) -> Tensor:
    """KL(p | q) + KL(q | p) of each pixel, (N, planes, *S).

    first, second: logits (N, channels, *S).  The sum over the classes of (p - q)(log p - log q),
    in which the normalisation of the logarithms cancels out.
    """
    if overlapping:
        return (first.sigmoid() - second.sigmoid()) * (first - second)
    apart = first.softmax(dim=1) - second.softmax(dim=1)
    return (apart * (first - second)).sum(dim=1, keepdim=True)
