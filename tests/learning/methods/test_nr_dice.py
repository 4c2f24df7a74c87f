"""Noise-robust Dice: by hand, against a slow loop, and its limit, the Dice loss."""

from __future__ import annotations

import math
from collections.abc import Callable

import pytest
import torch
from torch import Tensor

from maskmend.core import LabelScheme
from maskmend.errors import SettingsError
from maskmend.learning.methods.interface import Batch, Method
from maskmend.learning.methods.nr_dice import noise_robust_dice
from maskmend.settings import TrainingSettings

BatchOf = Callable[..., Batch]
MethodOf = Callable[..., Method]


def slow(logits: Tensor, batch: Batch, gamma: float, overlapping: bool) -> float:
    """Voxel by voxel; logits: (B, channels, S)."""
    losses = []
    for k in range(0 if overlapping else 1, logits.shape[1]):
        wrong = total = 0.0
        for n in range(len(logits)):
            for s in range(logits.shape[2]):
                row = logits[n, :, s].double().tolist()
                if overlapping:
                    p = 1 / (1 + math.exp(-row[k]))
                else:
                    p = math.exp(row[k]) / sum(math.exp(z) for z in row)
                t = float(batch.targets[n, k, s])
                part = float(batch.taking_part[n, k if overlapping else 0, s])
                wrong += part * abs(p - t) ** gamma
                total += part * (p**2 + t**2)
        losses.append(wrong / total)
    return sum(losses) / len(losses)


def test_by_hand(batch_of: BatchOf) -> None:
    # p = 1/2 at four pixels, of which one is of the structure: 4 * (1/2)^1.5 / (4 / 4 + 1)
    targets = torch.tensor([1.0, 0.0, 0.0, 0.0]).reshape(1, 1, 4)
    found = noise_robust_dice(torch.zeros(1, 1, 4), batch_of(targets), 1.5, overlapping=True)
    assert float(found) == pytest.approx(2 * 0.5**1.5)


@pytest.mark.parametrize("overlapping", [True, False])
@pytest.mark.parametrize("gamma", [1.0, 1.5, 2.0])
def test_against_a_slow_loop(batch_of: BatchOf, overlapping: bool, gamma: float) -> None:
    generator = torch.Generator().manual_seed(2)
    logits = torch.randn(2, 3, 6, generator=generator)
    targets = torch.rand(2, 3, 6, generator=generator)
    part = torch.rand(2, 3 if overlapping else 1, 6, generator=generator)
    batch = batch_of(targets, part)
    found = noise_robust_dice(logits, batch, gamma, overlapping)
    assert float(found) == pytest.approx(slow(logits, batch, gamma, overlapping), rel=1e-5)


def test_gamma_2_is_the_dice_loss_of_squares(batch_of: BatchOf) -> None:
    generator = torch.Generator().manual_seed(2)
    logits = torch.randn(3, 1, 5, 4, generator=generator)
    targets = (torch.rand(3, 1, 5, 4, generator=generator) > 0.5).float()
    probs = logits.sigmoid()
    dice = 1 - 2 * (probs * targets).sum() / (probs**2 + targets**2).sum()
    torch.testing.assert_close(noise_robust_dice(logits, batch_of(targets), 2.0, True), dice)


def test_a_structure_without_targets_is_left_out(batch_of: BatchOf) -> None:
    logits = torch.randn(2, 2, 6, generator=torch.Generator().manual_seed(4))
    targets = torch.zeros(2, 2, 6)
    targets[:, 0, :3] = 1
    both = noise_robust_dice(logits, batch_of(targets), 1.5, overlapping=True)
    alone = noise_robust_dice(logits[:, :1], batch_of(targets[:, :1]), 1.5, overlapping=True)
    assert both == alone
    logits.requires_grad_()
    nothing = noise_robust_dice(logits, batch_of(torch.zeros(2, 2, 6)), 1.5, overlapping=True)
    nothing.backward()
    assert nothing.item() == 0
    assert logits.grad is not None
    assert not logits.grad.any()


def test_large_errors_rule_less_than_in_dice(batch_of: BatchOf) -> None:
    """The pull of a pixel that is plainly mislabelled, beside that of one at the boundary."""

    def pull(gamma: float) -> float:
        # labelled 1 and found improbable; labelled 1 and nearly found
        logits = torch.tensor([-3.0, 0.5, 4.0, 4.0]).reshape(1, 1, 4).requires_grad_()
        noise_robust_dice(logits, batch_of(torch.ones(1, 1, 4)), gamma, True).backward()
        probs = logits.detach().sigmoid()
        assert logits.grad is not None
        # by the probabilities, not by the logits
        slopes = (logits.grad / (probs * (1 - probs))).flatten()
        return float(slopes[0] / slopes[1])

    assert pull(1.2) < pull(1.5) < pull(2.0)


def test_a_weight_of_dice_beside_it_is_refused(method_of: MethodOf) -> None:
    scheme = LabelScheme(("disc",), overlapping=True)
    with pytest.raises(SettingsError, match="nr_dice"):
        method_of(TrainingSettings(method="nr_dice", dice=1.0), scheme)
    method_of(TrainingSettings(method="nr_dice", dice=0.0), scheme)
