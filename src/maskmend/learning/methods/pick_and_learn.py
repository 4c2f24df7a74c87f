"""Pick-and-Learn: a second network looks at each mask and decides how much it teaches.

Zhu, Shi, Wu, Pick-and-Learn: automatic quality evaluation for noisy-labeled image segmentation,
MICCAI 2019.  A VGG-16 (Simonyan and Zisserman, ICLR 2015, configuration D) sees image and mask and
gives a score; a tanh bounds the scores, so that no mask wins or loses all (overfitting control);
their softmax over the batch weighs the losses of the masks, and the one weighted loss trains both
networks: a mask that the segmentation network cannot follow is cheaper with less weight.  Nothing
but that tells good masks from bad: where many are empty, which is the easiest to follow, those win.

Beyond the paper: the weights are B times the softmax, mean 1, so that equal scores make equal
steps whatever the batch; each structure of overlapping labels has scores and a softmax of its own;
the VGG starts from random weights, with batch normalisation, a mean over the places and one linear
layer in place of its three; it sees the pictures reduced; the loss of a mask is the mean
cross-entropy of its pixels that take part, and where Dice stands beside it, the weights count in
the Dice too.
"""

from __future__ import annotations

from typing import ClassVar

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from maskmend.errors import SettingsError
from maskmend.learning.losses import soft_cross_entropy, soft_dice_loss
from maskmend.learning.methods.interface import Batch, Method, Setup

BLOCKS = ((64, 64), (128, 128), (256, 256, 256), (512, 512, 512), (512, 512, 512))
"""Channels of the convolutions of a VGG-16; each block ends in a pooling."""


class PickAndLearn(Method):
    """Cross-entropy of masks, weighted by scores that are trained with it."""

    axes: ClassVar[tuple[int, ...]] = (2,)

    def __init__(self, setup: Setup) -> None:
        """Raises SettingsError where a batch is one case, with nothing to compare it to."""
        super().__init__(setup)
        if setup.settings.step_size < 2:
            raise SettingsError(
                "batch_size", expected="2 or more with pick_and_learn, which compares masks",
                got=f"{setup.settings.step_size}", remedy="Set batch_size to 4 or more.",
            )  # fmt: skip
        self.settings = setup.settings.pick_and_learn
        images, channels, planes = setup.given.counts
        self.quality = QualityNetwork(images + channels, planes)

    def loss(self, batch: Batch, logits: list[Tensor]) -> Tensor:
        (found,) = logits
        weights = self.weights(batch)
        pixels = soft_cross_entropy(found, batch.targets, self.overlapping)
        masks = mask_losses(pixels, batch.taking_part)
        loss = ((weights * masks).mean(dim=0) * self.plane_weights).mean()
        if self.dice:
            part = batch.taking_part * weights[:, :, None, None]
            loss = loss + self.dice * soft_dice_loss(found, batch.targets, part, self.overlapping)
        return loss

    def weights(self, batch: Batch) -> Tensor:
        """Of each mask, (B, planes), as `mask_weights`."""
        present = batch.taking_part.sum(dim=(2, 3)) > 0
        if len(present) == 1:
            # the last batch of an epoch: no variance to normalise by, and nothing to compare
            return present.float()
        # an ignored pixel must not be seen here either
        seen = torch.cat([batch.images, batch.targets * batch.taking_part], dim=1)
        reduced = F.avg_pool2d(seen, self.settings.reduce, ceil_mode=True)
        scores = self.quality(reduced.contiguous(memory_format=torch.channels_last)).float()
        return mask_weights(scores, present, self.settings.alpha)


class QualityNetwork(nn.Module):
    """A VGG-16 with batch normalisation: (N, in_channels, H, W) of any size -> (N, scores)."""

    def __init__(self, in_channels: int, scores: int) -> None:
        super().__init__()
        layers: list[nn.Module] = []
        for block in BLOCKS:
            for channels in block:
                # scores are compared within their batch alone: no running statistics
                layers += [
                    nn.Conv2d(in_channels, channels, 3, padding=1, bias=False),
                    nn.BatchNorm2d(channels, track_running_stats=False),
                    nn.ReLU(inplace=True),
                ]
                in_channels = channels
            # what is one pixel already stays one
            layers.append(nn.MaxPool2d(2, ceil_mode=True))
        self.features = nn.Sequential(*layers, nn.AdaptiveAvgPool2d(1), nn.Flatten())
        self.head = nn.Linear(in_channels, scores)
        # as the VGG's own: nearly equal scores, so that at first all masks teach alike
        nn.init.normal_(self.head.weight, std=0.01)
        nn.init.zeros_(self.head.bias)

    def forward(self, pictures: Tensor) -> Tensor:
        scores: Tensor = self.head(self.features(pictures))
        return scores


def mask_weights(scores: Tensor, present: Tensor, alpha: float) -> Tensor:
    """Softmax over the masks of a batch times their number, (B, planes); mean 1 of those present.

    scores: (B, planes), bounded to [-alpha, alpha] here, so that no weight is more than
    e^(2 alpha) times another of its plane.  present: (B, planes) bool; a mask that is not has no
    weight and no say in the others'.
    """
    bounded = alpha * torch.tanh(scores / alpha)
    # a plane without any mask keeps its scores: a softmax of nothing is not a number
    absent = ~present & present.any(dim=0)
    shares = bounded.masked_fill(absent, -torch.inf).softmax(dim=0)
    return shares * present.sum(dim=0)


def mask_losses(pixels: Tensor, taking_part: Tensor) -> Tensor:
    """Mean loss of each mask over its pixels that take part, (B, planes); 0 where none do.

    pixels, taking_part: (B, planes, H, W).  Over all pixels, a mask would seem the better the
    more of it is ignored.
    """
    axes = (2, 3)
    return (pixels * taking_part).sum(axes) / taking_part.sum(axes).clamp_min(1e-12)
