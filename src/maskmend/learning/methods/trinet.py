"""Tri-network: three networks, each taught by the pixels that both others find easy.

Zhang et al., Robust medical image segmentation from non-expert annotations with tri-network, MICCAI
2020: every two of the networks choose for the third.  Written after its abstract and after PyMIC's
version (Wang et al., CMPB 2023): a pixel is chosen where both have a small loss, among the share
1 - forget of smallest losses.  What the paper makes of pixels on which the two differ is not in
these sources, and not here.

Beyond the paper, the same as in `co_teaching`: how the share falls, a choice for each structure of
overlapping labels, and pixels that are not chosen count as a loss of 0.  The forget rate of 0.1 is
PyMIC's.  The probabilities of the three are averaged for a prediction.
"""

from __future__ import annotations

from typing import ClassVar

from torch import Tensor

from maskmend.learning.losses import soft_cross_entropy
from maskmend.learning.methods.interface import Batch, Method, Setup
from maskmend.learning.methods.small_loss import only, remembered_share, small_losses


class TriNet(Method):
    """Three networks, of which every two choose the pixels for the third."""

    networks: ClassVar[int] = 3

    def __init__(self, setup: Setup) -> None:
        super().__init__(setup)
        self.settings = setup.settings.trinet

    def loss(self, batch: Batch, logits: list[Tensor]) -> Tensor:
        share = remembered_share(batch.progress, self.settings)
        pixels = [soft_cross_entropy(found, batch.targets, self.overlapping) for found in logits]
        a, b, c = (small_losses(losses, batch.taking_part, share) for losses in pixels)
        agreed = (b & c, a & c, a & b)
        losses = [
            self.pixels_and_dice(mine, only(batch, chosen), found)
            for mine, chosen, found in zip(pixels, agreed, logits, strict=True)
        ]
        return (losses[0] + losses[1] + losses[2]) / 3
