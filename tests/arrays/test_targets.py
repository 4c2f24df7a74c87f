"""Labels as targets: by hand, and back again."""

from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from maskmend.arrays.agreement import predicted_labels
from maskmend.arrays.targets import soft_targets
from maskmend.core import IGNORED, LabelScheme

OVERLAPPING = LabelScheme(("lung", "heart"), overlapping=True)
EXCLUSIVE = LabelScheme(("lung", "heart"), overlapping=False)

shapes = hnp.array_shapes(min_dims=1, max_dims=3, max_side=4)


def test_overlapping_by_hand() -> None:
    labels = np.array([[0, 1, IGNORED], [1, 1, 0]], dtype=np.uint8)
    targets, taking_part = soft_targets(labels, OVERLAPPING)
    assert targets.tolist() == [[0, 1, 0], [1, 1, 0]]
    assert taking_part.tolist() == [[1, 1, 0], [1, 1, 1]]
    assert targets.dtype == taking_part.dtype == np.dtype(np.float32)


def test_exclusive_by_hand() -> None:
    labels = np.array([[0, 1, 2, IGNORED]], dtype=np.uint8)
    targets, taking_part = soft_targets(labels, EXCLUSIVE)
    assert targets.tolist() == [[1, 0, 0, 1], [0, 1, 0, 0], [0, 0, 1, 0]]
    assert taking_part.tolist() == [[1, 1, 1, 0]]
    assert targets.dtype == taking_part.dtype == np.dtype(np.float32)


@given(shapes.flatmap(lambda shape: hnp.arrays(
    np.uint8, (1, *shape), elements=st.sampled_from([0, 1, 2, IGNORED]))))  # fmt: skip
def test_exclusive_targets_sum_to_one_and_lead_back(labels: np.ndarray) -> None:
    before = labels.copy()
    targets, taking_part = soft_targets(labels, EXCLUSIVE)
    np.testing.assert_array_equal(labels, before)
    assert (targets.sum(axis=0) == 1).all()
    back = np.where(taking_part == 1, predicted_labels(targets, EXCLUSIVE), IGNORED)
    np.testing.assert_array_equal(back, labels)


@given(shapes.flatmap(lambda shape: hnp.arrays(
    np.uint8, (2, *shape), elements=st.sampled_from([0, 1, IGNORED]))))  # fmt: skip
def test_overlapping_targets_lead_back(labels: np.ndarray) -> None:
    targets, taking_part = soft_targets(labels, OVERLAPPING)
    back = np.where(taking_part == 1, predicted_labels(targets, OVERLAPPING), IGNORED)
    np.testing.assert_array_equal(back, labels)
