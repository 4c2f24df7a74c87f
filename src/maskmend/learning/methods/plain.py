"""Cross-entropy, with or without soft Dice: what every other method is measured against."""

from __future__ import annotations

from torch import Tensor

from maskmend.learning.losses import soft_cross_entropy
from maskmend.learning.methods.interface import Batch, Method


class Plain(Method):
    """Weighted cross-entropy of the pixels + dice * (1 - soft Dice)."""

    def loss(self, batch: Batch, logits: list[Tensor]) -> Tensor:
        (found,) = logits
        pixels = soft_cross_entropy(found, batch.targets, self.overlapping)
        return self.pixels_and_dice(pixels, batch, found)
