"""Spatial correction: what measures, what is moved, what does not teach, and what is refused."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from maskmend.arrays.shifted import boundary_shift
from maskmend.arrays.targets import soft_targets
from maskmend.core import BoolArray, LabelScheme
from maskmend.errors import SettingsError
from maskmend.learning.batches import TrainingData, stack_training_data
from maskmend.learning.losses import soft_cross_entropy
from maskmend.learning.methods.interface import Batch, EpochStart, Setup
from maskmend.learning.methods.spatial_correction import SpatialCorrection, nearest_share
from maskmend.settings import TrainingSettings

BatchOf = Callable[..., Batch]

DISC = LabelScheme(("disc",), overlapping=True)
RING = LabelScheme(("disc",), overlapping=False)
WIDE = 3
schemes = pytest.mark.parametrize("scheme", [DISC, RING], ids=["overlapping", "exclusive"])


def disc(number: int, wider: int = 0) -> BoolArray:
    """(64, 64), in another place for each number."""
    rows, columns = np.mgrid[:64, :64]
    distance = np.hypot(rows - 25 - 2 * number, columns - 30 - number)
    return np.asarray(distance < 12 + number + wider)


def discs(scheme: LabelScheme, right: tuple[int, ...]) -> TrainingData:
    """Six cases that a network would draw too wide, as all masks are but the right ones.

    The image is that drawing: bright inside, dark outside.
    """
    items = []
    for number in range(6):
        image = np.where(disc(number, WIDE), 1.0, -1.0)
        mask = disc(number, 0 if number in right else WIDE)
        targets = soft_targets(mask[None].astype(np.uint8), scheme)
        items.append((f"c{number}", image[None], *targets))
    return stack_training_data(items, 64, scheme)


class _Draws(nn.Module):
    """Logits of what is bright."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(()))
        self.channels = channels

    def forward(self, images: Tensor) -> Tensor:
        logits = 10 * self.weight * images
        return logits if self.channels == 1 else torch.cat([-logits, logits], dim=1)


def method_of(given: TrainingData, **group: object) -> SpatialCorrection:
    settings = TrainingSettings.model_validate(
        {"method": "spatial_correction", "spatial_correction": group}
    )
    return SpatialCorrection(Setup(given, torch.ones(1), 0.0, settings))


def shifts_after(method: SpatialCorrection, given: TrainingData) -> list[float]:
    """How far the labels of an epoch of the second half lie outside of the truth."""
    start = EpochStart(5, 9, given, _Draws(given.scheme.num_channels))
    cases = method.start_epoch(start)
    masks = [targets[-1] > 0.5 for targets, _ in cases.known()]
    return [
        boundary_shift(mask, disc(number), np.ones((64, 64), bool), (1.0, 1.0))
        for number, mask in enumerate(masks)
    ]


@schemes
def test_with_trusted_cases_a_common_shift_is_taken_back(scheme: LabelScheme) -> None:
    given = discs(scheme, right=(1, 4))
    method = method_of(given, trusted_cases=["c1", "c4"])
    network = _Draws(scheme.num_channels)
    assert method.start_epoch(EpochStart(4, 9, given, network)) is given
    assert np.abs(shifts_after(method, given)).max() < 1
    # and it is done once
    labels = method.labels
    shifts_after(method, given)
    assert method.labels is labels
    assert labels[0].dtype == torch.uint8


@schemes
def test_without_them_the_masks_that_agree_measure(scheme: LabelScheme) -> None:
    given = discs(scheme, right=(1, 4))
    # nothing but the right masks differs from the prediction
    assert np.abs(shifts_after(method_of(given), given)).max() < 1
    # what all masks share is not seen
    shared = discs(scheme, right=())
    shifts = shifts_after(method_of(shared), shared)
    assert np.min(shifts) > WIDE - 1


def test_a_resume_has_the_same_labels() -> None:
    given = discs(DISC, right=(1, 4))
    method, resumed = (method_of(given, trusted_cases=["c1"]) for _ in range(2))
    first = shifts_after(method, given)
    resumed.set_extra_state(method.get_extra_state())
    # whatever the network says by now
    network = _Draws(1).requires_grad_(False)
    network.weight.mul_(-1)
    again = resumed.start_epoch(EpochStart(7, 9, given, network))
    assert [targets.sum() for targets, _ in again.known()] == [
        labels.sum() for labels in method.labels
    ]
    assert np.abs(first).max() < 1


def test_what_is_trusted_does_not_teach(batch_of: BatchOf) -> None:
    method = method_of(discs(DISC, right=(1,)), trusted_cases=["c1"])
    generator = torch.Generator().manual_seed(0)
    logits, targets = torch.randn(2, 3, 1, 4, 4, generator=generator)
    found = method.loss(batch_of((targets > 0).float()), [logits])
    pixels = soft_cross_entropy(logits, (targets > 0).float(), True)
    # the indices are 0, 1, 2
    torch.testing.assert_close(found, (pixels[0].mean() + pixels[2].mean()) / 3)


def test_the_nearest_share_of_each_structure() -> None:
    distance = np.array([[0.3, 0.0], [0.1, 0.5], [0.2, np.nan], [0.4, 0.6]])
    expected = [[False, False], [True, True], [True, False], [False, False]]
    np.testing.assert_array_equal(nearest_share(distance, 0.5), expected)
    assert nearest_share(distance, 0.01).sum(axis=0).tolist() == [1, 1]
    assert not nearest_share(np.zeros((3, 1)), 1.0).any()


@pytest.mark.parametrize("names", [["c9"], [f"c{n}" for n in range(6)]], ids=["unknown", "all"])
def test_trusting_no_case_that_is_there_or_all_of_them_is_refused(names: list[str]) -> None:
    with pytest.raises(SettingsError, match=r"spatial_correction\.trusted_cases.*c0, c1, c2"):
        method_of(discs(DISC, right=()), trusted_cases=names)
