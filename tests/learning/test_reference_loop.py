"""A training of pictures beside a plain loop that was written from the published one: same bits.

Figures were published with it; whatever the code around volumes becomes, they must hold.
"""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file
from torch import Tensor
from torch.optim.swa_utils import AveragedModel

from maskmend.arrays.targets import soft_targets
from maskmend.core import LabelScheme
from maskmend.learning.batches import TrainingData, augment, mean_of_known, stack_training_data
from maskmend.learning.compute import Compute
from maskmend.learning.losses import (
    channel_shares,
    plane_weights,
    soft_cross_entropy,
    soft_dice_loss,
    weighted_mean,
)
from maskmend.learning.networks import build_network
from maskmend.learning.training import train_network
from maskmend.settings import TrainingSettings

SEED = 4


def data_of(overlapping: bool) -> TrainingData:
    scheme = LabelScheme(("disc", "rim"), overlapping)
    rng = np.random.default_rng(0)
    items = []
    for number in range(6):
        labels = rng.integers(0, 2 if overlapping else 3, (len(scheme.planes), 40, 36), np.uint8)
        labels[:, :4] = 255
        image = labels[:1] + rng.normal(0, 0.3, (1, 40, 36))
        items.append((f"c{number}", image, *soft_targets(labels, scheme)))
    return stack_training_data(items, 64, scheme)


def plain_loop(data: TrainingData, settings: TrainingSettings, batch: int) -> dict[str, Tensor]:
    """Averaged weights after settings.epochs passes, without Lightning, monitor and selection."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(SEED)
        network = build_network(settings.network, 1, data.scheme.num_channels)
    network = network.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    shares = channel_shares(data.targets, data.taking_part)
    prior = shares.clamp(1e-4, 1 - 1e-4)
    bias = network.last.bias
    assert bias is not None
    with torch.no_grad():
        start = torch.logit(prior) if data.scheme.overlapping else prior.log()
        bias.copy_(start.repeat_interleave(len(bias) // len(start)))

    def average(means: Any, news: Any, count: Tensor | int) -> None:
        if not means[0].is_floating_point():
            torch._foreach_copy_(means, news)
            return
        share = 1 - min(settings.averaging, (1 + float(count)) / (10 + float(count)))
        torch._foreach_lerp_(means, news, share)

    averaged = AveragedModel(network, multi_avg_fn=average, use_buffers=True)
    averaged.requires_grad_(False)
    weights = plane_weights(shares, data.scheme.overlapping)
    optimizer = torch.optim.AdamW(
        network.parameters(), lr=settings.learning_rate, weight_decay=settings.weight_decay,
        fused=True,
    )  # fmt: skip
    count = len(data.case_ids)
    total = settings.epochs * math.ceil(count / batch)
    step = 0
    network.train()
    for epoch in range(settings.epochs):
        order = np.random.default_rng((SEED, epoch)).permutation(count)
        for first in range(0, count, batch):
            chosen = torch.from_numpy(order[first : first + batch])
            part = data.taking_part[chosen]
            maps = torch.cat([data.images[chosen], data.targets[chosen] * part, part], dim=1)
            maps = augment(maps, 1, torch.Generator().manual_seed(SEED * 1_000_003 + step))
            images, known, part = maps.split([1, data.targets.shape[1], part.shape[1]], dim=1)
            logits = network(images.to(memory_format=torch.channels_last))
            targets = mean_of_known(known, part)
            pixels = soft_cross_entropy(logits.float(), targets, data.scheme.overlapping)
            loss = weighted_mean(pixels, part, weights)
            loss = loss + soft_dice_loss(logits.float(), targets, part, data.scheme.overlapping)
            rate = min(1.0, (step + 1) / 20) * (0.5 + 0.5 * math.cos(math.pi * step / total))
            for group in optimizer.param_groups:
                group["lr"] = settings.learning_rate * rate
            optimizer.zero_grad()
            loss.backward()  # type: ignore[no-untyped-call]
            optimizer.step()
            averaged.update_parameters(network)
            step += 1
    return averaged.module.state_dict()


@pytest.mark.parametrize("overlapping", [True, False])
@pytest.mark.parametrize("network", ["compact", "vnet"])
def test_the_weights_are_those_of_the_plain_loop(
    network: str, overlapping: bool, tmp_path: Path
) -> None:
    settings = TrainingSettings.model_validate(
        {"network": network, "size": 64, "epochs": 3, "least_steps": 0, "monitor_share": 0}
    )
    data = data_of(overlapping)
    torch.set_num_threads(1)
    train_network(data, settings, tmp_path, SEED, Compute(torch.device("cpu"), 1))
    stored = load_file(tmp_path / "last.safetensors")
    expected = plain_loop(data, settings, 4)
    assert stored.keys() == expected.keys()
    for name, value in stored.items():
        assert torch.equal(value, expected[name]), name
