"""Several networks as one: the mean of their probabilities, in logits."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from maskmend.core import LabelScheme
from maskmend.learning.batches import PictureWay
from maskmend.learning.ensemble import Ensemble, build_networks, members_of


class _Says(nn.Module):
    """The same logits whatever it is shown."""

    def __init__(self, logits: Tensor) -> None:
        super().__init__()
        self.logits = logits

    def forward(self, images: Tensor) -> Tensor:
        return self.logits


def test_probabilities_of_structures_are_averaged_by_hand() -> None:
    # odds of 3 and of 1 / 3, then of 3 and 1: 3/4 and 1/4, then 3/4 and 1/2
    said = [torch.tensor([3.0, 3.0]), torch.tensor([1 / 3, 1.0])]
    both = Ensemble([_Says(odds.log().reshape(1, 2, 1)) for odds in said], overlapping=True)
    torch.testing.assert_close(both(torch.zeros(1)).sigmoid().flatten(), torch.tensor([0.5, 0.625]))


@pytest.mark.parametrize("overlapping", [True, False])
def test_the_mean_of_three(overlapping: bool) -> None:
    said = [4 * torch.randn(2, 3, 5, generator=torch.Generator().manual_seed(n)) for n in range(3)]
    logits = Ensemble([_Says(one) for one in said], overlapping)(torch.zeros(1))

    def probs(maps: Tensor) -> Tensor:
        return maps.sigmoid() if overlapping else maps.softmax(dim=1)

    torch.testing.assert_close(probs(logits), torch.stack([probs(z) for z in said]).mean(dim=0))
    if not overlapping:
        # they are logarithms of probabilities, as softmax leaves them
        torch.testing.assert_close(logits.exp().sum(dim=1), torch.ones(2, 5))


@pytest.mark.parametrize("overlapping", [True, False])
def test_networks_that_are_sure_stay_finite(overlapping: bool) -> None:
    sure = torch.tensor([300.0, -300.0]).reshape(1, 2, 1)
    logits = Ensemble([_Says(sure), _Says(sure)], overlapping)(torch.zeros(1))
    assert torch.isfinite(logits).all()
    np.testing.assert_allclose(logits[0, 0] - logits[0, 1], 600, rtol=1e-5)


def test_one_network_is_itself_and_several_start_apart() -> None:
    scheme = LabelScheme(("lung",), overlapping=True)
    way = PictureWay(32)
    torch.manual_seed(0)
    single = build_networks(way, "compact", 1, scheme, 1)
    assert members_of(single) == [single]
    torch.manual_seed(0)
    first, second = members_of(build_networks(way, "compact", 1, scheme, 2))
    weights = [next(network.parameters()) for network in (single, first, second)]
    assert torch.equal(weights[0], weights[1])
    assert not torch.equal(weights[1], weights[2])
