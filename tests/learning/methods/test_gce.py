"""Generalised cross-entropy: by hand, its limits, and what it makes of labels that disagree."""

from __future__ import annotations

import math
from collections.abc import Callable

import pytest
import torch
from torch import Tensor

from maskmend.core import LabelScheme
from maskmend.learning.losses import soft_cross_entropy
from maskmend.learning.methods.gce import generalised_cross_entropy
from maskmend.learning.methods.interface import Batch, Method
from maskmend.settings import TrainingSettings

BatchOf = Callable[..., Batch]
MethodOf = Callable[..., Method]

TWO = LabelScheme(("lung", "heart"), overlapping=True)


def slow(logits: Tensor, targets: Tensor, q: float, overlapping: bool) -> Tensor:
    """Pixel by pixel, in double precision; logits, targets: (N, channels, S)."""
    planes = logits.shape[1] if overlapping else 1
    found = torch.zeros(len(logits), planes, logits.shape[2])
    for n in range(len(logits)):
        for s in range(logits.shape[2]):
            row, wanted = logits[n, :, s].double().tolist(), targets[n, :, s].double().tolist()
            if overlapping:
                for k, (z, t) in enumerate(zip(row, wanted, strict=True)):
                    p = 1 / (1 + math.exp(-z))
                    found[n, k, s] = t * (1 - p**q) / q + (1 - t) * (1 - (1 - p) ** q) / q
            else:
                total = sum(math.exp(z) for z in row)
                shares = [math.exp(z) / total for z in row]
                pairs = zip(shares, wanted, strict=True)
                found[n, 0, s] = sum(t * (1 - p**q) / q for p, t in pairs)
    return found


def random_case(overlapping: bool) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(1)
    logits = 3 * torch.randn(2, 3, 7, generator=generator)
    targets = torch.rand(2, 3, 7, generator=generator)
    return logits, targets if overlapping else targets / targets.sum(dim=1, keepdim=True)


def test_by_hand() -> None:
    # p = 3/4 towards 1: (1 - sqrt(3)/2) / (1/2); towards 0: (1 - 1/2) / (1/2)
    logits = torch.full((1, 1, 2), math.log(3))
    losses = generalised_cross_entropy(logits, torch.tensor([[[1.0, 0.0]]]), 0.5, overlapping=True)
    torch.testing.assert_close(losses, torch.tensor([[[2 - math.sqrt(3), 1.0]]]))


@pytest.mark.parametrize("overlapping", [True, False])
@pytest.mark.parametrize("q", [0.05, 0.7, 1.0])
def test_against_a_slow_loop(overlapping: bool, q: float) -> None:
    logits, targets = random_case(overlapping)
    found = generalised_cross_entropy(logits, targets, q, overlapping)
    torch.testing.assert_close(found, slow(logits, targets, q, overlapping))


@pytest.mark.parametrize("overlapping", [True, False])
def test_towards_0_it_is_cross_entropy(overlapping: bool) -> None:
    logits, targets = random_case(overlapping)
    found = generalised_cross_entropy(logits, targets, 1e-6, overlapping)
    torch.testing.assert_close(
        found, soft_cross_entropy(logits, targets, overlapping), rtol=1e-4, atol=1e-4
    )


def test_at_1_it_is_the_absolute_error() -> None:
    logits, targets = random_case(True)
    found = generalised_cross_entropy(logits, targets.round(), 1.0, overlapping=True)
    torch.testing.assert_close(found, (logits.sigmoid() - targets.round()).abs())
    # of a hard label over classes: half of the summed absolute error
    logits, targets = random_case(False)
    hard = torch.nn.functional.one_hot(targets.argmax(dim=1), 3).movedim(-1, 1).float()
    found = generalised_cross_entropy(logits, hard, 1.0, overlapping=False)
    error = (logits.softmax(dim=1) - hard).abs().sum(dim=1, keepdim=True) / 2
    torch.testing.assert_close(found, error)


@pytest.mark.parametrize("value", [-200.0, 200.0])
@pytest.mark.parametrize("overlapping", [True, False])
def test_a_hopeless_label_has_a_finite_gradient(value: float, overlapping: bool) -> None:
    logits = torch.tensor([value, 0.0]).reshape(1, 2, 1).requires_grad_()
    targets = torch.tensor([1.0, 0.0]).reshape(1, 2, 1)
    generalised_cross_entropy(logits, targets, 0.7, overlapping).sum().backward()
    assert logits.grad is not None
    assert torch.isfinite(logits.grad).all()


@pytest.mark.parametrize("q", [0.3, 0.7])
def test_a_minority_of_labels_is_outvoted(q: float) -> None:
    """Of 40 % labels 1 cross-entropy makes p = 0.4; L_q makes odds of (0.4 / 0.6)^(1 / (1 - q))."""
    logit = torch.zeros(1, 1, 1, requires_grad=True)
    for _ in range(4000):
        (slope,) = torch.autograd.grad(
            generalised_cross_entropy(logit, torch.full((1, 1, 1), 0.4), q, True).sum(), logit
        )
        logit = (logit - slope).detach().requires_grad_()
    assert float(logit.detach()) == pytest.approx(math.log(0.4 / 0.6) / (1 - q), rel=1e-3)


def test_the_method_weighs_what_takes_part(batch_of: BatchOf, method_of: MethodOf) -> None:
    settings = TrainingSettings.model_validate({"method": "gce", "gce": {"q": 0.4}})
    method = method_of(settings, TWO)
    method.plane_weights = torch.tensor([0.5, 1.5])
    logits, targets = (maps[:, :2] for maps in random_case(True))
    part = torch.rand(2, 2, 7, generator=torch.Generator().manual_seed(3))
    pixels = slow(logits, targets, 0.4, True) * part * torch.tensor([0.5, 1.5])[:, None]
    found = method.loss(batch_of(targets, part), [logits])
    assert float(found) == pytest.approx(float(pixels.mean()), rel=1e-5)


def test_dice_stands_beside_it(batch_of: BatchOf, method_of: MethodOf) -> None:
    settings = TrainingSettings(method="gce")
    logits, targets = (maps[:, :2] for maps in random_case(True))
    batch = batch_of(targets)
    alone = method_of(settings, TWO).loss(batch, [logits])
    both = method_of(settings, TWO, dice=2.0).loss(batch, [logits])
    probs = logits.sigmoid()
    dice = 2 * (probs * targets).sum((0, 2)) / (probs + targets).sum((0, 2))
    torch.testing.assert_close(both - alone, 2 * (1 - dice.mean()))
