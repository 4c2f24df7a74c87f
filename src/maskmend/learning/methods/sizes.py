"""One image in several sizes: what a network says of each, and of all together."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from maskmend.learning.batches import resize
from maskmend.learning.ensemble import logits_of_mean
from maskmend.learning.volumes import resize_volume


class AcrossSizes(nn.Module):
    """A network that predicts by the mean of its probabilities at several sizes of the image."""

    def __init__(
        self, network: nn.Module, scales: Sequence[float], multiples: Sequence[int],
        overlapping: bool,
    ) -> None:  # fmt: skip
        """scales, multiples: as for `scaled_shape`."""
        super().__init__()
        self.network = network
        self.scales, self.multiples, self.overlapping = scales, multiples, overlapping
        # whoever predicts with it puts it back into the mode that it was in
        self.training = network.training

    def forward(self, images: Tensor) -> Tensor:
        """(N, C, *S) -> logits (N, channels, *S) float32."""
        shapes = [scaled_shape(images.shape[2:], scale, self.multiples) for scale in self.scales]
        found = {shape: logits_at(self.network, images, shape) for shape in dict.fromkeys(shapes)}
        stacked = torch.stack([found[shape] for shape in shapes])
        return logits_of_mean(stacked, self.overlapping)


def scaled_shape(shape: Sequence[int], scale: float, multiples: Sequence[int]) -> tuple[int, ...]:
    """The sides of a scaled image, each rounded up to a multiple that the network takes.

    Never fewer than two multiples; a side that has no more than one is not scaled.  On a coarsest
    grid of one pixel a network sees little but the padding around it: what it has learnt there,
    and the mean and variance that it predicts with, hold for no other size.
    """
    return tuple(
        side if side < 2 * by else max(math.ceil(round(side * scale / by, 6)), 2) * by
        for side, by in zip(shape, multiples, strict=True)
    )


def logits_at(
    network: Callable[[Tensor], Tensor], images: Tensor, shape: tuple[int, ...]
) -> Tensor:
    """What a network says of images brought to a shape, on their own grid.

    images: (N, C, *S).  Returns (N, channels, *S) float32.
    """
    return _resized(network(_resized(images, shape)).float(), tuple(images.shape[2:]))


def _resized(maps: Tensor, shape: tuple[int, ...]) -> Tensor:
    if len(shape) == 2:
        return resize(maps, (shape[0], shape[1]))
    return resize_volume(maps.flatten(0, 1), shape).unflatten(0, maps.shape[:2])


def disagreement(logits: Tensor, overlapping: bool) -> Tensor:
    """Mean over the sizes of KL(p | mean of all p), of each pixel, (N, planes, *S).

    logits: (K, N, channels, *S).  The Jensen-Shannon divergence of the K predictions, from 0 to
    log K.
    """
    if overlapping:
        inside, outside = F.logsigmoid(logits), F.logsigmoid(-logits)
        return _from_the_mean(inside) + _from_the_mean(outside)
    return _from_the_mean(torch.log_softmax(logits, dim=2)).sum(dim=1, keepdim=True)


def _from_the_mean(logarithms: Tensor) -> Tensor:
    probs = logarithms.exp()
    return (probs * (logarithms - probs.mean(dim=0).clamp_min(1e-12).log())).mean(dim=0)
