"""Methods that leave pixels of large loss out: which they are, and who learns from which."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch import Tensor

from maskmend.core import LabelScheme
from maskmend.learning.losses import soft_cross_entropy
from maskmend.learning.methods.interface import Batch, Method
from maskmend.learning.methods.jocor import divergence
from maskmend.learning.methods.small_loss import only, remembered_share, small_losses
from maskmend.method_settings import SmallLossSettings
from maskmend.settings import TrainingSettings

BatchOf = Callable[..., Batch]
MethodOf = Callable[..., Method]

TWO = LabelScheme(("lung", "heart"), overlapping=True)
CLASSES = LabelScheme(("lung", "heart"), overlapping=False)


@pytest.mark.parametrize(
    ("progress", "share"),
    [(0.0, 1.0), (0.1, 1.0), (0.45, 0.85), (0.8, 0.7), (0.99, 0.7)],
)
def test_the_share_falls_in_a_line(progress: float, share: float) -> None:
    settings = SmallLossSettings(forget=0.3, ramp_start=0.1, ramp_end=0.8)
    assert remembered_share(progress, settings) == pytest.approx(share)


def test_a_ramp_without_length_is_a_step() -> None:
    settings = SmallLossSettings(forget=0.3, ramp_start=0.5, ramp_end=0.5)
    shares = [remembered_share(progress, settings) for progress in (0.0, 0.49, 0.51, 0.9)]
    assert shares == [1, 1, pytest.approx(0.7), pytest.approx(0.7)]


def test_small_losses_by_hand() -> None:
    # two cases, two planes; of the second plane one pixel takes no part
    pixels = torch.tensor([[[1.0, 4.0, 2.0], [9.0, 0.0, 7.0]], [[3.0, 5.0, 6.0], [8.0, 1.0, 2.0]]])
    part = torch.ones(2, 2, 3)
    part[1, 1, 1] = 0
    half = small_losses(pixels, part, 0.5)
    expected = [[[True, False, True], [False, True, False]],
                [[True, False, False], [False, False, True]]]  # fmt: skip
    assert half.tolist() == expected
    assert torch.equal(small_losses(pixels, part, 1.0), part > 0)


def slow_choice(pixels: Tensor, part: Tensor, share: float) -> Tensor:
    """By sorting; pixels, part: (B, planes, S), without ties."""
    chosen = torch.zeros_like(part, dtype=torch.bool)
    for k in range(pixels.shape[1]):
        places = [(float(pixels[n, k, s]), n, s) for n in range(len(pixels))
                  for s in range(pixels.shape[2]) if part[n, k, s] > 0]  # fmt: skip
        for _, n, s in sorted(places)[: max(1, int(share * len(places)))]:
            chosen[n, k, s] = True
    return chosen


@pytest.mark.parametrize("share", [0.01, 0.33, 0.8])
def test_small_losses_against_a_slow_loop(share: float) -> None:
    generator = torch.Generator().manual_seed(5)
    pixels = torch.rand(3, 2, 11, generator=generator)
    part = (torch.rand(3, 2, 11, generator=generator) > 0.3).float()
    assert torch.equal(small_losses(pixels, part, share), slow_choice(pixels, part, share))


def test_where_nothing_takes_part_nothing_is_chosen() -> None:
    assert not small_losses(torch.rand(2, 1, 4), torch.zeros(2, 1, 4), 0.5).any()


def test_only_the_chosen_take_part(batch_of: BatchOf) -> None:
    batch = batch_of(torch.ones(1, 1, 3), torch.tensor([0.5, 1.0, 1.0]).reshape(1, 1, 3))
    chosen = torch.tensor([True, False, True]).reshape(1, 1, 3)
    assert only(batch, chosen).taking_part.flatten().tolist() == [0.5, 0, 1]
    assert batch.taking_part.flatten().tolist() == [0.5, 1, 1]


def case(scheme: LabelScheme, networks: int) -> tuple[list[Tensor], Tensor, Tensor]:
    """Logits of each network, hard targets and what takes part, of 3 cases with 13 pixels."""
    generator = torch.Generator().manual_seed(6)
    shape = (3, scheme.num_channels, 13)
    logits = [2 * torch.randn(shape, generator=generator) for _ in range(networks)]
    targets = (torch.rand(shape, generator=generator) > 0.5).float()
    if not scheme.overlapping:
        labels = torch.randint(shape[1], (3, 13), generator=generator)
        targets = torch.nn.functional.one_hot(labels, shape[1]).movedim(-1, 1).float()
    part = (torch.rand(3, len(scheme.planes), 13, generator=generator) > 0.2).float()
    return logits, targets, part


def settings_of(method: str, forget: float) -> TrainingSettings:
    group = {"forget": forget, "ramp_start": 0.0, "ramp_end": 0.5}
    return TrainingSettings.model_validate({"method": method, method: group})


@pytest.mark.parametrize("scheme", [TWO, CLASSES], ids=["overlapping", "exclusive"])
def test_each_of_two_networks_learns_what_the_other_finds_easy(
    batch_of: BatchOf, method_of: MethodOf, scheme: LabelScheme
) -> None:
    logits, targets, part = case(scheme, 2)
    pixels = [soft_cross_entropy(found, targets, scheme.overlapping) for found in logits]
    easy = [slow_choice(losses, part, 0.7) for losses in pixels]
    expected = [(pixels[k] * part * easy[1 - k]).mean() for k in (0, 1)]
    method = method_of(settings_of("co_teaching", 0.3), scheme)
    found = method.loss(batch_of(targets, part, 0.9), logits)
    torch.testing.assert_close(found, (expected[0] + expected[1]) / 2)
    # not what each finds easy itself
    own = sum((pixels[k] * part * easy[k]).mean() for k in (0, 1)) / 2
    assert abs(float(found - own)) > 1e-3


@pytest.mark.parametrize("scheme", [TWO, CLASSES], ids=["overlapping", "exclusive"])
def test_each_of_three_networks_learns_what_both_others_find_easy(
    batch_of: BatchOf, method_of: MethodOf, scheme: LabelScheme
) -> None:
    logits, targets, part = case(scheme, 3)
    pixels = [soft_cross_entropy(found, targets, scheme.overlapping) for found in logits]
    easy = [slow_choice(losses, part, 0.7) for losses in pixels]
    others = ((1, 2), (0, 2), (0, 1))
    expected = [
        (losses * part * easy[i] * easy[j]).mean()
        for losses, (i, j) in zip(pixels, others, strict=True)
    ]
    method = method_of(settings_of("trinet", 0.3), scheme)
    found = method.loss(batch_of(targets, part, 0.9), logits)
    torch.testing.assert_close(found, sum(expected) / 3)


def slow_divergence(first: Tensor, second: Tensor, overlapping: bool) -> Tensor:
    """From the definition of KL, in double precision.  first, second: (N, channels, S)."""
    first, second = first.double(), second.double()
    if overlapping:
        ways = [(first.sigmoid(), second.sigmoid()), (1 - first.sigmoid(), 1 - second.sigmoid())]
        both = [p * (p / q).log() + q * (q / p).log() for p, q in ways]
        return (both[0] + both[1]).float()
    p, q = first.softmax(dim=1), second.softmax(dim=1)
    return (p * (p / q).log() + q * (q / p).log()).sum(dim=1, keepdim=True).float()


@pytest.mark.parametrize("overlapping", [True, False])
def test_divergence_is_both_kl(overlapping: bool) -> None:
    (first, second), _, _ = case(TWO if overlapping else CLASSES, 2)
    torch.testing.assert_close(
        divergence(first, second, overlapping), slow_divergence(first, second, overlapping)
    )
    same = divergence(first, first, overlapping)
    assert torch.equal(same, torch.zeros_like(same))


@pytest.mark.parametrize("scheme", [TWO, CLASSES], ids=["overlapping", "exclusive"])
def test_a_joint_loss_chooses_for_both(
    batch_of: BatchOf, method_of: MethodOf, scheme: LabelScheme
) -> None:
    logits, targets, part = case(scheme, 2)
    first, second = (soft_cross_entropy(z, targets, scheme.overlapping) for z in logits)
    joint = 0.9 * (first + second) + 0.1 * slow_divergence(logits[0], logits[1], scheme.overlapping)
    expected = (joint * part * slow_choice(joint, part, 0.7)).mean() / 2
    method = method_of(settings_of("jocor", 0.3), scheme)
    found = method.loss(batch_of(targets, part, 0.9), logits)
    torch.testing.assert_close(found, expected)


@pytest.mark.parametrize(("method", "networks"), [("co_teaching", 2), ("trinet", 3), ("jocor", 2)])
def test_at_first_all_pixels_teach(
    batch_of: BatchOf, method_of: MethodOf, method: str, networks: int
) -> None:
    (found, *_), targets, part = case(CLASSES, 1)
    batch = batch_of(targets, part, 0.0)
    plain = method_of(TrainingSettings(), CLASSES, dice=0.5).loss(batch, [found])
    # of networks that agree only the cross-entropy is left
    settings = settings_of(method, 0.3)
    if method == "jocor":
        settings = TrainingSettings.model_validate({"method": method, method: {"agreement": 0}})
    same = method_of(settings, CLASSES, dice=0.5).loss(batch, [found] * networks)
    torch.testing.assert_close(same, plain)


@pytest.mark.parametrize(("method", "networks"), [("co_teaching", 2), ("trinet", 3), ("jocor", 2)])
def test_what_is_left_out_has_no_gradient(
    batch_of: BatchOf, method_of: MethodOf, method: str, networks: int
) -> None:
    """All networks are sure of the same pixel, whose label says otherwise; Dice included."""
    targets = torch.zeros(1, 1, 10)
    targets[..., :5] = 1
    logits = [(4 * (2 * targets - 1)).requires_grad_() for _ in range(networks)]
    targets = targets.clone()
    targets[..., 0] = 0
    scheme = LabelScheme(("disc",), overlapping=True)
    learner = method_of(settings_of(method, 0.1), scheme, dice=1.0)
    learner.loss(batch_of(targets, progress=0.9), logits).backward()
    for found in logits:
        assert found.grad is not None
        assert found.grad[..., 0].item() == 0
        assert (found.grad[..., 1:] != 0).all()
