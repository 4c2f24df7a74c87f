"""ADELE: the curve of the overlap, its moment, the labels that change, and sizes that agree."""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from maskmend.arrays.targets import soft_targets
from maskmend.core import FloatArray, LabelScheme
from maskmend.learning.batches import TrainingCases, TrainingData, stack_training_data
from maskmend.learning.inference import predict_prepared, window_logits
from maskmend.learning.losses import soft_cross_entropy
from maskmend.learning.methods.adele import (
    Adele,
    confidence_of,
    corrected_targets,
    early_learning_is_over,
    fit_curve,
    lost_slope,
)
from maskmend.learning.methods.interface import Batch, EpochStart, Method
from maskmend.learning.methods.sizes import AcrossSizes, disagreement, scaled_shape
from maskmend.settings import TrainingSettings

BatchOf = Callable[..., Batch]
MethodOf = Callable[..., Method]

TWO = LabelScheme(("lung", "heart"), overlapping=True)
CLASSES = LabelScheme(("lung", "heart"), overlapping=False)


def curve(a: float, b: float, c: float, epochs: int) -> FloatArray:
    times = np.arange(1, epochs + 1)
    return np.asarray(a * (1 - np.exp(-b * times**c)))


@pytest.mark.parametrize("abc", [(0.8, 0.6, 0.9), (0.95, 0.1, 1.5), (0.5, 1.2, 1.0)])
def test_a_curve_is_found_again(abc: tuple[float, float, float]) -> None:
    assert fit_curve(curve(*abc, epochs=12)) == pytest.approx(abc, rel=1e-3)


def test_the_slope_that_is_lost_by_hand() -> None:
    # c = 1: f' falls as exp(-b t)
    assert lost_slope(4, 0.5, 1.0) == pytest.approx(1 - math.exp(-1.5))
    assert lost_slope(1, 0.7, 1.3) == 0
    # and against the difference quotient, of a curve that rises ever faster at first
    b, c, step = 0.05, 2.0, 1e-6
    slopes = [(math.exp(-b * t**c) - math.exp(-b * (t + step) ** c)) / step for t in (1, 3)]
    assert lost_slope(3, b, c) == pytest.approx(1 - slopes[1] / slopes[0], abs=1e-4)
    assert lost_slope(3, b, c) < 0


def test_the_moment_comes_when_nine_tenths_are_lost() -> None:
    # exp(-(t - 1) / 2) < 1/10 from t - 1 > 4.6 on
    overlaps = curve(0.9, 0.5, 1.0, 12)
    over = [early_learning_is_over(overlaps[:t].tolist(), 0.9) for t in range(1, 13)]
    assert over == [False] * 5 + [True] * 7


def test_epochs_before_a_structure_is_found_do_not_count() -> None:
    overlaps = [0.0, 0.01, 0.0, *curve(0.9, 0.5, 1.0, 6)]
    assert [early_learning_is_over(overlaps[:n], 0.9) for n in (8, 9)] == [False, True]
    assert not early_learning_is_over([0.0] * 30, 0.9)
    assert not early_learning_is_over([math.nan] * 30, 0.9)


def test_a_fall_is_no_plateau() -> None:
    overlaps = [0.51, 0.67, 0.37, 0.31, 0.28, 0.29, 0.29, 0.29, 0.29]
    assert not early_learning_is_over(overlaps, 0.9)
    assert early_learning_is_over([0.28, *overlaps[4:]], 0.9)


def test_labels_of_overlapping_structures_change_each_in_its_own_plane() -> None:
    targets = np.array([[0.0, 1, 1, 0], [0, 1, 1, 0]], np.float32)
    sure = np.array([[1, 0, 255, 0], [1, 0, 255, 0]], np.uint8)
    found = corrected_targets(targets, sure, [False, True], TWO)
    assert found.dtype == np.float32
    np.testing.assert_array_equal(found, [[0, 1, 1, 0], [1, 0, 1, 0]])


def test_exclusive_labels_change_among_background_and_those_whose_moment_has_come() -> None:
    #                 given: 0  0  1  1  2  2  1
    given = np.array([[0, 0, 1, 1, 2, 2, 1]], np.uint8)
    sure = np.array([[1, 2, 0, 2, 1, 0, 255]], np.uint8)
    targets = soft_targets(given, CLASSES)[0]
    found = corrected_targets(targets, sure, [True, False], CLASSES)
    np.testing.assert_array_equal(found.argmax(axis=0), [1, 0, 0, 1, 2, 2, 1])
    np.testing.assert_array_equal(found.sum(axis=0), 1)
    both = corrected_targets(targets, sure, [True, True], CLASSES)
    np.testing.assert_array_equal(both.argmax(axis=0), [1, 2, 0, 2, 1, 0, 1])


def test_how_sure_a_prediction_is() -> None:
    probs = np.array([[0.1, 0.7], [0.9, 0.3]], np.float32)
    np.testing.assert_allclose(confidence_of(probs, TWO), [[0.9, 0.7], [0.9, 0.7]])
    np.testing.assert_allclose(confidence_of(probs, CLASSES), [[0.9, 0.7]])


@pytest.mark.parametrize(
    ("shape", "scale", "multiples", "expected"),
    [
        ((96, 192), 0.7, (32, 32), (96, 160)),
        ((192, 192), 1.5, (32, 32), (288, 288)),
        ((192, 192), 1.0, (32, 32), (192, 192)),
        # never to or from a coarsest grid of one pixel
        ((64, 64), 0.5, (32, 32), (64, 64)),
        ((32, 32), 0.5, (32, 32), (32, 32)),
        ((32, 32), 1.5, (32, 32), (32, 32)),
        ((16, 64, 1), 0.7, (4, 8, 1), (12, 48, 1)),
    ],
)
def test_scaled_sides_divide(
    shape: tuple[int, ...], scale: float, multiples: tuple[int, ...], expected: tuple[int, ...]
) -> None:
    assert scaled_shape(shape, scale, multiples) == expected


class _Mean(nn.Module):
    """A logit that is the mean of the image: the same at all sizes, but for an offset of each."""

    def __init__(self) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(()))
        self.sides: list[tuple[int, ...]] = []

    def forward(self, images: Tensor) -> Tensor:
        self.sides.append(tuple(images.shape[2:]))
        logits = self.weight * images + (images.shape[-1] == 32)
        return logits.expand(-1, 2, *images.shape[2:])


@pytest.mark.parametrize("axes", [2, 3])
def test_predictions_across_sizes_are_the_mean_of_their_probabilities(axes: int) -> None:
    network = _Mean().train()
    across = AcrossSizes(network, (0.5, 1.0), (8,) * axes, overlapping=True)
    images = torch.full((1, 1, *(32,) * axes), 0.25)
    if axes == 2:
        probs = predict_prepared(across, images, TWO)
    else:
        probs = window_logits(across, images[0], (32,) * 3, 0.5).sigmoid()
    expected = (torch.sigmoid(torch.tensor(0.25)) + torch.sigmoid(torch.tensor(1.25))) / 2
    torch.testing.assert_close(probs, torch.full_like(probs, float(expected)))
    assert network.sides == [(16,) * axes, (32,) * axes]
    # its mode is as it was
    assert network.training


def slow_disagreement(logits: Tensor, overlapping: bool) -> Tensor:
    """Pixel by pixel; logits: (K, N, channels, S)."""
    scales, count, channels, pixels = logits.shape
    planes = channels if overlapping else 1
    found = torch.zeros(count, planes, pixels)
    for n in range(count):
        for s in range(pixels):
            for plane in range(planes):
                rows = logits[:, n, :, s].double()
                inside = rows[:, plane].sigmoid()
                probs = torch.stack([inside, 1 - inside], dim=1) if overlapping else rows.softmax(1)
                mean = probs.mean(dim=0)
                found[n, plane, s] = (probs * (probs / mean).log()).sum() / scales
    return found


@pytest.mark.parametrize("overlapping", [True, False])
def test_how_far_sizes_are_apart(overlapping: bool) -> None:
    logits = 2 * torch.randn(3, 2, 4, 5, generator=torch.Generator().manual_seed(0))
    found = disagreement(logits, overlapping)
    torch.testing.assert_close(found, slow_disagreement(logits, overlapping))
    same = disagreement(logits[:1].expand(3, -1, -1, -1), overlapping)
    torch.testing.assert_close(same, torch.zeros_like(same), atol=1e-6, rtol=0)


def test_the_loss_is_the_mean_over_the_sizes_and_their_divergence(
    batch_of: BatchOf, method_of: MethodOf
) -> None:
    group = {"scales": [1.0, 2.0], "consistency": 3.0}
    settings = TrainingSettings.model_validate({"method": "adele", "adele": group})
    method = method_of(settings, TWO)
    generator = torch.Generator().manual_seed(1)
    targets = (torch.rand(2, 2, 64, 64, generator=generator) > 0.5).float()
    part = (torch.rand(2, 2, 64, 64, generator=generator) > 0.3).float()
    own = torch.randn(2, 2, 64, 64, generator=generator)
    batch = batch_of(targets, part)
    shown: list[tuple[int, ...]] = []

    def network(images: Tensor) -> Tensor:
        shown.append(tuple(images.shape))
        return torch.full((2, 2, *images.shape[2:]), 0.5)

    found = method.loss(Batch(**{**vars(batch), "networks": (network,)}), [own])
    # the own size is not computed again
    assert shown == [(2, 1, 128, 128)]
    other = torch.full_like(own, 0.5)
    pixels = [soft_cross_entropy(each, targets, True) for each in (own, other)]
    expected = (pixels[0] * part).mean() / 2 + (pixels[1] * part).mean() / 2
    apart = disagreement(torch.stack([own, other]), True)
    torch.testing.assert_close(found, expected + 3 * (apart * part).mean())


class _Claims(nn.Module):
    """Is sure of the bright pixels, at every size."""

    def __init__(self) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(()))

    def forward(self, images: Tensor) -> Tensor:
        return (10 * self.weight * images).expand(-1, 2, *images.shape[2:])


def halves(count: int) -> TrainingData:
    """Bright upper halves of which the masks have three quarters; a row is ignored."""
    items = []
    for number in range(count):
        image = np.zeros((1, 32, 32))
        image[:, :16] = 1
        labels = np.zeros((2, 32, 32), np.uint8)
        labels[:, :16, :24] = 1
        labels[:, 3] = 255
        items.append((f"c{number}", image, *soft_targets(labels, TWO)))
    return stack_training_data(items, 32, TWO)


def test_labels_are_replaced_from_the_moment_on(method_of: MethodOf) -> None:
    method = method_of(TrainingSettings(method="adele"), TWO)
    assert isinstance(method, Adele)
    given = halves(4)
    method.overlaps = [curve(0.76, 0.9, 1.0, 4).tolist(), [0.1, 0.2, 0.3, 0.4]]

    def labels_of(epoch: int) -> tuple[TrainingCases, FloatArray]:
        cases = method.start_epoch(EpochStart(epoch, 20, given, _Claims()))
        return cases, next(iter(cases.known()))[0]

    assert labels_of(0)[0] is given
    _, targets = labels_of(5)
    # 13 of 16 rows and all judged: 3/4 of the prediction
    assert [overlaps[-1] for overlaps in method.overlaps] == pytest.approx([0.75, 0.75])
    assert method.corrected == [True, False]
    assert targets[0, :15].min() == 1
    assert targets[1, 4, 24:].max() == 0
    restored = method_of(TrainingSettings(method="adele"), TWO)
    restored.set_extra_state(method.get_extra_state())
    again = restored.start_epoch(EpochStart(6, 20, given, _Claims()))
    np.testing.assert_array_equal(next(iter(again.known()))[0], targets)
