"""One network or several that are trained together, as one module that predicts."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from maskmend.core import LabelScheme
from maskmend.learning.batches import Way


class Ensemble(nn.Module):
    """Networks whose probabilities are averaged.

    members: at least two, each (N, C, *S) -> logits (N, channels, *S).
    overlapping: whether a logit is that of a sigmoid, or of the softmax over the channels.
    """

    def __init__(self, members: Sequence[nn.Module], overlapping: bool) -> None:
        super().__init__()
        self.members = nn.ModuleList(members)
        self.overlapping = overlapping

    def forward(self, images: Tensor) -> Tensor:
        """Logits (N, channels, *S) float32 of the mean of the members' probabilities."""
        found = torch.stack([member(images).float() for member in self.members])
        return logits_of_mean(found, self.overlapping)


def logits_of_mean(logits: Tensor, overlapping: bool) -> Tensor:
    """Logits (N, channels, *S) of the mean of the probabilities.  logits: (K, N, channels, *S)."""
    if not overlapping:
        return torch.log_softmax(logits, dim=2).logsumexp(dim=0) - math.log(len(logits))
    # how many there are cancels out
    inside, outside = F.logsigmoid(logits), F.logsigmoid(-logits)
    return inside.logsumexp(dim=0) - outside.logsumexp(dim=0)


def build_networks(
    way: Way, name: str, in_channels: int, scheme: LabelScheme, count: int
) -> nn.Module:
    """One new network, or an Ensemble of `count`, with random weights of torch's generator."""
    members = [way.build_network(name, in_channels, scheme.num_channels) for _ in range(count)]
    return members[0] if count == 1 else Ensemble(members, scheme.overlapping)


def members_of(network: nn.Module) -> list[nn.Module]:
    """What `build_networks` put together."""
    return list(network.members) if isinstance(network, Ensemble) else [network]
