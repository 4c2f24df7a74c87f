"""Pick-and-Learn: weights by hand, who has none, the second network, and what bad masks weigh."""

from __future__ import annotations

import math
from collections.abc import Callable
from pathlib import Path
from typing import ClassVar

import numpy as np
import pytest
import torch
from safetensors.torch import load_file
from torch import Tensor, nn

from maskmend.arrays.targets import soft_targets
from maskmend.core import LabelScheme
from maskmend.errors import SettingsError
from maskmend.learning.batches import TrainingData, stack_training_data
from maskmend.learning.compute import Compute
from maskmend.learning.losses import soft_cross_entropy
from maskmend.learning.methods import METHODS
from maskmend.learning.methods.interface import Batch, Method
from maskmend.learning.methods.pick_and_learn import (
    PickAndLearn,
    QualityNetwork,
    mask_losses,
    mask_weights,
)
from maskmend.learning.training import train_network
from maskmend.learning.volumes import VolumeData, stack_volumes
from maskmend.settings import TrainingSettings

BatchOf = Callable[..., Batch]
MethodOf = Callable[..., Method]

CPU = Compute(torch.device("cpu"), threads=1)
DISC = LabelScheme(("disc",), overlapping=True)
TWO = LabelScheme(("lung", "heart"), overlapping=True)
CLASSES = LabelScheme(("lung", "heart"), overlapping=False)
CHOSEN = TrainingSettings(method="pick_and_learn")
schemes = pytest.mark.parametrize("scheme", [TWO, CLASSES], ids=["overlapping", "exclusive"])


def slow_weights(scores: Tensor, present: Tensor, alpha: float) -> Tensor:
    """Mask by mask, from the definition."""
    found = torch.zeros_like(scores)
    for plane in range(scores.shape[1]):
        raised = {
            n: math.exp(alpha * math.tanh(float(scores[n, plane]) / alpha))
            for n in range(len(scores)) if present[n, plane]
        }  # fmt: skip
        for n, value in raised.items():
            found[n, plane] = len(raised) * value / sum(raised.values())
    return found


def case(scheme: LabelScheme, count: int = 4) -> tuple[Tensor, Tensor, Tensor]:
    """Logits, hard targets and what takes part, 32 x 32."""
    generator = torch.Generator().manual_seed(6)
    shape = (count, scheme.num_channels, 32, 32)
    logits = 2 * torch.randn(shape, generator=generator)
    targets = (torch.rand(shape, generator=generator) > 0.5).float()
    if not scheme.overlapping:
        labels = torch.randint(shape[1], (count, 32, 32), generator=generator)
        targets = torch.nn.functional.one_hot(labels, shape[1]).movedim(-1, 1).float()
    part = torch.rand((count, len(scheme.planes), 32, 32), generator=generator) > 0.2
    return logits, targets, part.float()


def learner(method_of: MethodOf, scheme: LabelScheme, dice: float = 0.0) -> PickAndLearn:
    torch.manual_seed(1)
    method = method_of(CHOSEN, scheme, dice)
    assert isinstance(method, PickAndLearn)
    # at first all scores are nearly equal
    nn.init.normal_(method.quality.head.weight, std=0.5)
    return method


def test_weights_by_hand() -> None:
    # tanh(ln(2) / 2) = 1/3: the bounded scores are 2 ln 2, 0, 0, the shares 4/6, 1/6, 1/6
    alpha = 6 * math.log(2)
    scores = torch.tensor([[alpha * math.log(2) / 2], [0.0], [0.0]])
    weights = mask_weights(scores, torch.ones(3, 1, dtype=torch.bool), alpha)
    torch.testing.assert_close(weights, torch.tensor([[2.0], [0.5], [0.5]]))


@pytest.mark.parametrize("alpha", [0.1, 2.0, 50.0])
def test_weights_against_a_slow_loop(alpha: float) -> None:
    generator = torch.Generator().manual_seed(2)
    scores = 5 * torch.randn(7, 3, generator=generator)
    present = torch.rand(7, 3, generator=generator) > 0.3
    weights = mask_weights(scores, present, alpha)
    torch.testing.assert_close(weights, slow_weights(scores, present, alpha), rtol=1e-4, atol=1e-6)
    torch.testing.assert_close(weights.sum(dim=0), present.sum(dim=0).float())
    assert not weights[~present].any()
    # of some structure a mask is missing, of each one is left
    assert present.any(dim=0).all()
    assert not present.all()


def test_no_mask_weighs_more_than_the_bound_times_another() -> None:
    scores = torch.tensor([[1e6], [-1e6], [0.0]])
    weights = mask_weights(scores, torch.ones(3, 1, dtype=torch.bool), 1.5).flatten()
    assert float(weights[0] / weights[1]) == pytest.approx(math.exp(3), rel=1e-4)
    assert float(weights[0] / weights[2]) == pytest.approx(math.exp(1.5), rel=1e-4)


def test_where_no_mask_is_there_is_no_weight_and_no_gradient() -> None:
    scores = torch.randn(3, 2, generator=torch.Generator().manual_seed(0)).requires_grad_()
    present = torch.tensor([[True, False]] * 2 + [[False, False]])
    weights = mask_weights(scores, present, 2.0)
    (weights * torch.tensor([[1.0], [2.0], [3.0]])).sum().backward()
    assert not weights[:, 1].any()
    assert scores.grad is not None
    assert (scores.grad[:2, 0] != 0).all()
    assert not scores.grad[2, 0]
    assert not scores.grad[:, 1].any()


def test_the_loss_of_a_mask_is_that_of_its_pixels() -> None:
    pixels = torch.tensor([[1.0, 2.0], [3.0, 8.0]]).expand(2, 1, 2, 2)
    part = torch.tensor([[[1.0, 1.0], [0.0, 0.5]], [[0.0, 0.0], [0.0, 0.0]]])[:, None]
    assert mask_losses(pixels, part).tolist() == [[pytest.approx(7 / 2.5)], [0.0]]


@schemes
def test_the_loss_is_that_of_each_mask_times_its_weight(
    batch_of: BatchOf, method_of: MethodOf, scheme: LabelScheme
) -> None:
    logits, targets, part = case(scheme)
    part[1, 0] = 0
    method, batch = learner(method_of, scheme), batch_of(targets, part)
    weights = method.weights(batch).detach()
    assert weights.shape == (4, len(scheme.planes))
    assert weights[1, 0] == 0
    assert weights[0, 0] != pytest.approx(float(weights[2, 0]), rel=1e-2)
    pixels, total = soft_cross_entropy(logits, targets, scheme.overlapping), 0.0
    for n in range(4):
        for plane in range(len(scheme.planes)):
            known = part[n, plane] > 0
            if known.any():
                total += float(weights[n, plane] * pixels[n, plane][known].mean())
    found = method.loss(batch, [logits]).detach()
    assert float(found) == pytest.approx(total / (4 * len(scheme.planes)), rel=1e-4)


@pytest.mark.parametrize("dice", [0.0, 0.7])
@schemes
def test_masks_of_equal_scores_teach_as_in_a_plain_training(
    batch_of: BatchOf, method_of: MethodOf, scheme: LabelScheme, dice: float
) -> None:
    logits, targets, _ = case(scheme)
    part = torch.ones(4, len(scheme.planes), 32, 32)
    part[2] = 0
    batch, method = batch_of(targets, part), learner(method_of, scheme, dice)
    plain = method_of(TrainingSettings(), scheme, dice).loss(batch, [logits])
    assert float(method.loss(batch, [logits])) != pytest.approx(float(plain), rel=1e-4)
    nn.init.zeros_(method.quality.head.weight)
    torch.testing.assert_close(method.loss(batch, [logits]), plain)


@schemes
def test_an_ignored_pixel_is_not_seen(
    batch_of: BatchOf, method_of: MethodOf, scheme: LabelScheme
) -> None:
    logits, targets, part = case(scheme)
    method = learner(method_of, scheme, dice=1.0)
    flipped = torch.where(part > 0, targets, 1 - targets)
    assert torch.equal(
        method.loss(batch_of(targets, part), [logits]),
        method.loss(batch_of(flipped, part), [logits]),
    )
    weights = method.weights(batch_of(targets, part))
    others = method.weights(batch_of(1 - targets, part))
    assert not torch.allclose(weights, others, rtol=1e-2)


def test_a_mask_of_larger_loss_loses_weight(batch_of: BatchOf, method_of: MethodOf) -> None:
    """The gradient of the scores says so, whatever the network behind them."""
    logits, targets, part = case(DISC)
    logits = 6 * (targets - 0.5)
    logits[2] *= -1
    method, scores = learner(method_of, DISC), torch.zeros(4, 1, requires_grad=True)
    method.quality.forward = lambda pictures: scores  # type: ignore[method-assign]
    method.loss(batch_of(targets, part), [logits]).backward()
    assert scores.grad is not None
    assert (scores.grad.flatten() > 0).tolist() == [False, False, True, False]


def test_a_batch_of_one_weighs_one(batch_of: BatchOf, method_of: MethodOf) -> None:
    _, targets, part = case(TWO, 1)
    part[0, 1] = 0
    assert learner(method_of, TWO).weights(batch_of(targets, part)).tolist() == [[1, 0]]


def test_the_second_network_is_a_vgg_16() -> None:
    network = QualityNetwork(4, 3)
    layers = list(network.features.children())
    convolutions = [layer for layer in layers if isinstance(layer, nn.Conv2d)]
    widths = [64] * 2 + [128] * 2 + [256] * 3 + [512] * 6
    assert [layer.out_channels for layer in convolutions] == widths
    assert [layer.in_channels for layer in convolutions] == [4, *widths[:-1]]
    assert all(layer.kernel_size == (3, 3) for layer in convolutions)
    kinds = [type(layer).__name__[:4] for layer in layers]
    assert [kinds.count(kind) for kind in ("Batc", "ReLU", "MaxP")] == [13, 13, 5]
    with torch.no_grad():
        sides = [64]
        maps = torch.randn(2, 4, 64, 64, generator=torch.Generator().manual_seed(0))
        for layer in layers[:-2]:
            maps = layer(maps)
            if isinstance(layer, nn.MaxPool2d):
                sides.append(maps.shape[-1])
        assert sides == [64, 32, 16, 8, 4, 2]
        # as small as pictures can become, and not square
        assert network(torch.randn(2, 4, 4, 4)).shape == (2, 3)
        assert network(torch.randn(2, 4, 5, 33)).isfinite().all()


def test_it_sees_reduced_pictures(batch_of: BatchOf, method_of: MethodOf) -> None:
    _, targets, part = case(TWO)
    for factor, side in ((1, 32), (2, 16), (3, 11), (8, 4)):
        settings = TrainingSettings.model_validate(
            {"method": "pick_and_learn", "pick_and_learn": {"reduce": factor}}
        )
        method = method_of(settings, TWO)
        assert isinstance(method, PickAndLearn)
        seen: list[Tensor] = []
        method.quality.register_forward_pre_hook(
            lambda _, inputs, seen=seen: seen.append(inputs[0])
        )
        method.weights(batch_of(targets, part))
        assert seen[0].shape == (4, 3, side, side)
        if factor == 2:
            expected = (targets * part).reshape(4, 2, 16, 2, 16, 2).mean(dim=(3, 5))
            torch.testing.assert_close(seen[0][:, 1:], expected)


def test_a_batch_of_one_as_a_setting_is_refused(method_of: MethodOf) -> None:
    with pytest.raises(SettingsError, match="batch_size"):
        method_of(CHOSEN.model_copy(update={"batch_size": 1}), DISC)


def test_volumes_are_refused_before_a_training_begins(tmp_path: Path) -> None:
    settings = CHOSEN.model_copy(
        update={"patch": (16, 16, 16), "spacing": (1.0, 1.0, 1.0), "normalisation": "image"}
    )

    def boxes() -> VolumeData:
        labels = np.zeros((1, 16, 16, 16), np.uint8)
        labels[0, 4:9, 4:9, 4:9] = 1
        targets = soft_targets(labels, DISC)
        items = [(f"c{n}", labels * 1.0, (1.0, 1.0, 1.0), *targets) for n in range(3)]
        return stack_volumes(lambda: items, DISC, settings)

    with pytest.raises(SettingsError, match="method: expected one that takes volumes"):
        train_network(boxes(), settings, tmp_path, 0, CPU)
    # another method may use the folder
    assert not list(tmp_path.iterdir())


class _Noting(PickAndLearn):
    """Notes which masks weigh how much."""

    seen: ClassVar[list[tuple[float, list[int], list[float]]]] = []

    def weights(self, batch: Batch) -> Tensor:
        weights = super().weights(batch)
        self.seen.append((batch.progress, batch.indices.tolist(), weights[:, 0].tolist()))
        return weights


def discs(count: int) -> TrainingData:
    """Bright discs; of every third case the mask is inverted."""
    items = []
    for number in range(count):
        rng = np.random.default_rng(number)
        rows, columns = np.mgrid[:32, :32]
        row, column = rng.uniform(11, 21, 2)
        mask = (rows - row) ** 2 + (columns - column) ** 2 <= rng.uniform(6, 9) ** 2
        image = 3 * mask + rng.normal(0, 0.3, mask.shape)
        labels = (mask ^ (number % 3 == 0)).astype(np.uint8)
        items.append((f"c{number:02}", image[None], *soft_targets(labels[None], DISC)))
    return stack_training_data(items, 32, DISC)


def test_wrong_masks_lose_weight(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setitem(METHODS, "pick_and_learn", _Noting)
    monkeypatch.setattr(_Noting, "seen", [])
    settings = CHOSEN.model_copy(
        update={
            "size": 32, "epochs": 4, "least_steps": 0, "batch_size": 9, "monitor_share": 0,
            "averaging": 0.9, "learning_rate": 4e-3,
        }
    )  # fmt: skip
    train_network(discs(54), settings, tmp_path, 0, CPU)
    late = [seen for seen in _Noting.seen if seen[0] >= 0.75]
    pairs = [pair for _, cases, weights in late for pair in zip(cases, weights, strict=True)]
    bad = np.mean([weight for case, weight in pairs if case % 3 == 0])
    good = np.mean([weight for case, weight in pairs if case % 3])
    assert bad < 0.5 * good
    # what predicts is the segmentation network alone
    plain = settings.model_copy(update={"method": "plain", "epochs": 1})
    train_network(discs(54), plain, tmp_path / "plain", 0, CPU)
    kept, expected = (
        load_file(folder / "last.safetensors") for folder in (tmp_path, tmp_path / "plain")
    )
    assert {k: v.shape for k, v in kept.items()} == {k: v.shape for k, v in expected.items()}
