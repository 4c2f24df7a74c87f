"""Losses and weights, by hand and against slow loops."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor

from maskmend.learning.losses import (
    channel_shares,
    plane_weights,
    soft_cross_entropy,
    soft_dice_loss,
    weighted_mean,
)


def test_binary_cross_entropy_by_hand() -> None:
    # p = 3/4, towards 1, 0 and one half
    logits = torch.full((1, 1, 3), math.log(3))
    targets = torch.tensor([[[1.0, 0.0, 0.5]]])
    expected = [math.log(4 / 3), math.log(4), (math.log(4 / 3) + math.log(4)) / 2]
    losses = soft_cross_entropy(logits, targets, overlapping=True)
    torch.testing.assert_close(losses, torch.tensor([[expected]]))


def test_overlapping_structures_do_not_compete() -> None:
    logits = torch.tensor([0.3, -2.0]).reshape(1, 2, 1)
    targets = torch.tensor([1.0, 1.0]).reshape(1, 2, 1)
    losses = soft_cross_entropy(logits, targets, overlapping=True)
    alone = soft_cross_entropy(logits[:, :1], targets[:, :1], overlapping=True)
    assert losses.shape == (1, 2, 1)
    assert losses[0, 0, 0] == alone[0, 0, 0]


def test_soft_cross_entropy_by_hand() -> None:
    # p = (1/2, 1/3, 1/6)
    logits = torch.tensor([3.0, 2.0, 1.0]).log().reshape(1, 3, 1).repeat(1, 1, 2)
    targets = torch.tensor([[0.0, 0.2], [1.0, 0.8], [0.0, 0.0]])[None]
    losses = soft_cross_entropy(logits, targets, overlapping=False)
    expected = [math.log(3), 0.2 * math.log(2) + 0.8 * math.log(3)]
    torch.testing.assert_close(losses, torch.tensor([[expected]]))


def test_soft_cross_entropy_is_least_at_its_own_target() -> None:
    targets = torch.tensor([0.2, 0.5, 0.3]).reshape(1, 3, 1)
    at_target = soft_cross_entropy(targets.log(), targets, overlapping=False)
    for shift in ([0.1, 0.0, 0.0], [0.0, -0.3, 0.0], [-0.1, 0.0, 0.2]):
        moved = targets.log() + torch.tensor(shift).reshape(1, 3, 1)
        assert soft_cross_entropy(moved, targets, overlapping=False) > at_target


def slow_weighted_mean(losses: Tensor, taking_part: Tensor, weights: Tensor) -> float:
    total = 0.0
    cases, planes, rows, columns = losses.shape
    for n in range(cases):
        for k in range(planes):
            for r in range(rows):
                for c in range(columns):
                    total += float(losses[n, k, r, c] * taking_part[n, k, r, c] * weights[k])
    return total / losses.numel()


def test_weighted_mean_against_a_slow_loop() -> None:
    generator = torch.Generator().manual_seed(0)
    losses = torch.rand(3, 2, 4, 5, generator=generator)
    part = torch.rand(3, 2, 4, 5, generator=generator)
    weights = torch.tensor([0.5, 1.5])
    expected = slow_weighted_mean(losses, part, weights)
    assert float(weighted_mean(losses, part, weights)) == pytest.approx(expected, rel=1e-5)


def test_what_takes_no_part_counts_as_no_loss() -> None:
    losses = torch.tensor([8.0, 4.0]).reshape(2, 1, 1)
    part = torch.tensor([0.0, 1.0]).reshape(2, 1, 1)
    # of two masks one trains: half a step, not a whole one
    assert float(weighted_mean(losses, part, torch.ones(1))) == 2
    assert float(weighted_mean(losses, part * 0, torch.ones(1))) == 0


def test_shares_are_those_of_the_pixels_taking_part() -> None:
    targets = torch.tensor([[1.0, 1.0, 0.0, 0.0], [1.0, 0.0, 0.0, 0.0]])[None]
    part = torch.tensor([[0.0, 1.0, 1.0, 1.0], [1.0, 1.0, 0.5, 0.0]])[None]
    torch.testing.assert_close(channel_shares(targets, part), torch.tensor([1 / 3, 0.4]))
    torch.testing.assert_close(channel_shares(targets, part[:, :1]), torch.tensor([1 / 3, 0.0]))
    assert channel_shares(targets, part * 0).tolist() == [0, 0]


def test_a_structure_weighs_by_the_root_of_its_rarity() -> None:
    weights = plane_weights(torch.tensor([0.32, 0.08, 0.02]), overlapping=True)
    # a quarter of the share is twice the weight
    torch.testing.assert_close(weights, torch.tensor([1.0, 2.0, 4.0]) * 3 / 7)
    assert float(weights.mean()) == pytest.approx(1)


def test_an_absent_structure_has_a_finite_weight() -> None:
    weights = plane_weights(torch.tensor([0.25, 0.0]), overlapping=True)
    torch.testing.assert_close(weights[1] / weights[0], torch.tensor(50.0))


def test_exclusive_labels_have_one_weight() -> None:
    assert plane_weights(torch.tensor([0.9, 0.08, 0.02]), overlapping=False).tolist() == [1]


class TestSoftDiceLoss:
    def test_by_hand(self) -> None:
        # probabilities 1/2 everywhere, half of four voxels foreground: 2 * 1 / (2 + 2)
        targets = torch.tensor([1.0, 1.0, 0.0, 0.0]).reshape(1, 1, 4)
        part = torch.ones(1, 1, 4)
        loss = soft_dice_loss(torch.zeros(1, 1, 4), targets, part, overlapping=True)
        assert float(loss) == pytest.approx(0.5)
        # one voxel less takes part: 2 * 1 / (1.5 + 2)
        part[..., 3] = 0
        loss = soft_dice_loss(torch.zeros(1, 1, 4), targets, part, overlapping=True)
        assert float(loss) == pytest.approx(1 - 2 / 3.5)

    def test_exclusive_labels_leave_the_background_out(self) -> None:
        targets = torch.zeros(1, 3, 6)
        targets[0, 0, :4] = 1
        targets[0, 1, 4:] = 1
        perfect = soft_dice_loss(targets * 80, targets, torch.ones(1, 1, 6), overlapping=False)
        assert float(perfect) == pytest.approx(0, abs=1e-6)
        # the second structure is neither there nor predicted: it has no part in the mean
        logits = torch.tensor([80.0, 0, 0]).reshape(1, 3, 1).expand(1, 3, 6)
        all_missed = soft_dice_loss(logits, targets, torch.ones(1, 1, 6), overlapping=False)
        assert float(all_missed) == pytest.approx(1, abs=1e-6)

    def test_nothing_at_all_costs_nothing_and_has_a_gradient(self) -> None:
        logits = torch.randn(2, 3, 5, requires_grad=True)
        part = torch.zeros(2, 1, 5)
        loss = soft_dice_loss(logits, torch.zeros(2, 3, 5), part, overlapping=False)
        loss.backward()
        assert float(loss.detach()) == 0
        assert logits.grad is not None
        assert not logits.grad.any()

    def test_cases_count_together(self) -> None:
        logits, targets = torch.randn(3, 2, 4, 4), torch.rand(3, 2, 4, 4)
        part = torch.rand(3, 2, 4, 4)
        flat = [maps.transpose(0, 1).reshape(1, 2, -1) for maps in (logits, targets, part)]
        torch.testing.assert_close(
            soft_dice_loss(logits, targets, part, overlapping=True),
            soft_dice_loss(flat[0], flat[1], flat[2], overlapping=True),
        )
