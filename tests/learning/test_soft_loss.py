"""The loss for exported soft targets, by hand and by its limits."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor

from maskmend.learning.soft_loss import SoftTargetLoss


def ce(overlapping: bool) -> SoftTargetLoss:
    return SoftTargetLoss(overlapping, cross_entropy=1, dice=0)


def dice(overlapping: bool) -> SoftTargetLoss:
    return SoftTargetLoss(overlapping, cross_entropy=0, dice=1)


# p = (1/2, 1/3, 1/6) at three pixels; targets: hard, soft, ignored
LOGITS = torch.tensor([3.0, 2.0, 1.0]).log().reshape(1, 3, 1).repeat(1, 1, 3)
TARGETS = torch.tensor([[1.0, 0.2, 0.0], [0.0, 0.8, 0.0], [0.0, 0.0, 0.0]])[None]


def test_cross_entropy_of_classes_by_hand() -> None:
    expected = (math.log(2) + 0.2 * math.log(2) + 0.8 * math.log(3)) / 2
    assert ce(False)(LOGITS, TARGETS).item() == pytest.approx(expected)


def test_dice_of_classes_by_hand() -> None:
    # class 2 has no target and is left out
    first = (abs(0.5 - 1) + abs(0.5 - 0.2)) / (0.5 + 1 + 0.5 + 0.2)
    second = (1 / 3 + abs(1 / 3 - 0.8)) / (2 / 3 + 0.8)
    assert dice(False)(LOGITS, TARGETS).item() == pytest.approx((first + second) / 2)


def test_both_terms_have_their_weights() -> None:
    loss = SoftTargetLoss(False, cross_entropy=0.3, dice=2)
    expected = 0.3 * ce(False)(LOGITS, TARGETS) + 2 * dice(False)(LOGITS, TARGETS)
    torch.testing.assert_close(loss(LOGITS, TARGETS), expected)


def test_overlapping_structures_by_hand() -> None:
    # p = 3/4 everywhere; the second structure is ignored at the second pixel
    logits = torch.full((1, 2, 2), math.log(3))
    targets = torch.tensor([[1.0, 0.0], [0.8, -1.0]])[None]
    mixed = 0.8 * math.log(4 / 3) + 0.2 * math.log(4)
    expected = (math.log(4 / 3) + math.log(4) + mixed) / 3
    assert ce(True)(logits, targets).item() == pytest.approx(expected)
    expected = ((0.25 + 0.75) / (1.5 + 1) + 0.05 / 1.55) / 2
    assert dice(True)(logits, targets).item() == pytest.approx(expected)


def test_background_of_a_structure_is_not_ignored() -> None:
    logits, targets = torch.zeros(1, 1, 4), torch.zeros(1, 1, 4)
    assert ce(True)(logits, targets).item() == pytest.approx(math.log(2))


@pytest.mark.parametrize("overlapping", [False, True])
def test_ignored_pixels_have_no_gradient(overlapping: bool) -> None:
    torch.manual_seed(0)
    logits = torch.randn(2, 3, 5, 4, requires_grad=True)
    targets = torch.softmax(torch.randn(2, 3, 5, 4), dim=1)
    targets[:, :, 2] = -1 if overlapping else 0
    SoftTargetLoss(overlapping)(logits, targets).backward()
    assert logits.grad is not None
    assert (logits.grad[:, :, 2] == 0).all()
    assert (logits.grad[:, :, 1] != 0).all()


@pytest.mark.parametrize("overlapping", [False, True])
def test_nothing_but_ignored_pixels_is_no_loss(overlapping: bool) -> None:
    logits = torch.randn(1, 2, 3, requires_grad=True)
    loss = SoftTargetLoss(overlapping)(logits, torch.full((1, 2, 3), -1.0 if overlapping else 0))
    loss.backward()
    assert loss.item() == 0
    assert logits.grad is not None
    assert (logits.grad == 0).all()


@pytest.mark.parametrize("overlapping", [False, True])
def test_it_is_smallest_where_the_probabilities_are_the_targets(overlapping: bool) -> None:
    """The usual soft Dice is not: it wants the larger share to be all of it."""
    torch.manual_seed(1)
    wanted = torch.randn(1, 3, 6)
    targets = torch.sigmoid(wanted) if overlapping else torch.softmax(wanted, dim=1)
    for loss in (ce(overlapping), dice(overlapping)):
        best = loss(wanted, targets).item()
        for seed in range(20):
            torch.manual_seed(seed)
            assert loss(wanted + 0.3 * torch.randn_like(wanted), targets).item() > best
        assert loss(4 * wanted, targets).item() > best


def plain_dice_loss(probs: Tensor, targets: Tensor) -> float:
    both = (probs * targets).sum((0, 2))
    return float((1 - 2 * both / (probs + targets).sum((0, 2))).mean())


def test_for_hard_targets_it_is_one_minus_dice() -> None:
    torch.manual_seed(2)
    logits = torch.randn(2, 3, 8)
    targets = torch.nn.functional.one_hot(torch.randint(3, (2, 8))).movedim(-1, 1).float()
    expected = plain_dice_loss(torch.softmax(logits, 1), targets)
    assert dice(False)(logits, targets).item() == pytest.approx(expected)


def test_what_cannot_be_is_refused() -> None:
    with pytest.raises(ValueError, match="not negative"):
        SoftTargetLoss(True, dice=-1)
    with pytest.raises(ValueError, match=r"\(1, 2, 3\), targets \(1, 3, 3\)"):
        SoftTargetLoss(False)(torch.zeros(1, 2, 3), torch.zeros(1, 3, 3))
