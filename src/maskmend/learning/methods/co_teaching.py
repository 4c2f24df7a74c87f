"""Co-teaching: two networks, each taught by the pixels that the other finds easy.

Han et al., Co-teaching: robust training of deep neural networks with extremely noisy labels,
NeurIPS 2018, algorithm 1: of each batch, each network takes the share R(T) of smallest loss, and
the other one is updated on it; R falls from 1 to 1 - forget.

Beyond the paper, after PyMIC's version for segmentation (Wang et al., CMPB 2023): pixels are
chosen, not images; the probabilities of the two networks are averaged for a prediction; R starts
to fall after a tenth and ends at eight tenths of the training, with a forget rate of 0.2.  Each
structure of overlapping labels has a choice of its own.  Pixels that are not chosen count as a
loss of 0, as ignored ones do.
"""

from __future__ import annotations

from typing import ClassVar

from torch import Tensor

from maskmend.learning.losses import soft_cross_entropy
from maskmend.learning.methods.interface import Batch, Method, Setup
from maskmend.learning.methods.small_loss import only, remembered_share, small_losses


class CoTeaching(Method):
    """Two networks that exchange their pixels of small loss."""

    networks: ClassVar[int] = 2

    def __init__(self, setup: Setup) -> None:
        super().__init__(setup)
        self.settings = setup.settings.co_teaching

    def loss(self, batch: Batch, logits: list[Tensor]) -> Tensor:
        share = remembered_share(batch.progress, self.settings)
        pixels = [soft_cross_entropy(found, batch.targets, self.overlapping) for found in logits]
        mine, peers = (small_losses(losses, batch.taking_part, share) for losses in pixels)
        first = self.pixels_and_dice(pixels[0], only(batch, peers), logits[0])
        second = self.pixels_and_dice(pixels[1], only(batch, mine), logits[1])
        return (first + second) / 2
