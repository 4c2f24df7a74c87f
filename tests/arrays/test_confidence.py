"""Confident learning in class space: by hand, emptiness, and the bootstrap."""

from __future__ import annotations

import json
import math

import numpy as np
import pytest

from maskmend.arrays.confidence import (
    ClassSums,
    ConfidentCounts,
    bootstrap_intervals,
    calibrated_joint,
    class_thresholds,
    error_counts,
    rounded_rows,
    statistics,
)


def counts(joint: list[list[int]], sizes: list[int], errors: int = 0) -> ConfidentCounts:
    return ConfidentCounts(np.array(sizes), np.array(joint), errors)


def test_a_threshold_is_the_mean_self_confidence() -> None:
    assert class_thresholds(ClassSums((4, 2), (300, 100), 100)).tolist() == [0.75, 0.5]


def test_an_absent_class_has_threshold_inf_and_a_hopeless_one_the_lowest() -> None:
    assert class_thresholds(ClassSums((0, 3), (0, 0), 100)).tolist() == [math.inf, 2e-6]


def test_sums_beyond_64_bits_stay_exact() -> None:
    many = ClassSums((2**40, 0), (2**86, 0), 2**46)
    assert (many + many).sums == (2**87, 0)
    assert class_thresholds(many + many)[0] == 1


def test_sums_in_different_units_do_not_add() -> None:
    with pytest.raises(ValueError, match="1/255"):
        ClassSums((1,), (1,), 255) + ClassSums((1,), (1,), 65535)


def test_the_joint_by_hand() -> None:
    # 10 pixels given 0, of which 3 confident right and 1 wrong; 20 given 1: 2 wrong, 2 right
    joint = calibrated_joint(np.array([[3, 1], [2, 2]]), np.array([10, 20]))
    assert joint.tolist() == [[7.5, 2.5], [10, 10]]


def test_rounding_keeps_the_rows_and_gives_to_what_lost_most() -> None:
    assert rounded_rows(np.array([[2.4, 2.4, 3.2], [1.6, 1.7, 0.7]])).tolist() == [
        [2, 3, 3],
        [1, 2, 1],
    ]


def test_one_right_pixel_is_left_in_a_class_that_looks_all_wrong() -> None:
    # nothing confident on the diagonal: one pixel is taken to be right, 4 * 1 / 41 rounds to 0
    assert error_counts(counts([[0, 40], [0, 60]], [4, 60])).tolist() == [[1, 3], [0, 60]]


def test_statistics_by_hand() -> None:
    found = statistics(counts([[3, 1], [2, 2]], [10, 20]), np.array([0.8, 0.6]))
    np.testing.assert_allclose(found.joint, np.array([[7.5, 2.5], [10, 10]]) / 30)
    np.testing.assert_allclose(found.noise_rate, [0.25, 0.5])
    np.testing.assert_allclose(found.overall_noise_rate, 12.5 / 30)
    np.testing.assert_allclose(found.true_given, [[0.75, 0.25], [0.5, 0.5]])
    np.testing.assert_allclose(found.given_true, [[7.5 / 17.5, 0.2], [10 / 17.5, 0.8]])
    assert found.confused_pairs() == [(1, 0, 10), (0, 1, 2)]


def test_an_absent_class_has_no_rate_and_is_null_in_json() -> None:
    found = statistics(
        counts([[3, 1, 0], [1, 3, 0], [0, 0, 0]], [8, 8, 0]), np.array([0.5, 0.5, math.inf])
    )
    assert np.isnan(found.noise_rate).tolist() == [False, False, True]
    assert found.joint[2].sum() == found.joint[:, 2].sum() == 0
    plain = json.loads(json.dumps(found.to_json(), allow_nan=False))
    assert plain["thresholds"] == [0.5, 0.5, None]
    assert plain["true_given"][2] == [None, None, None]
    assert plain["class_sizes"] == [8, 8, 0]


def test_without_a_pixel_every_rate_is_nan() -> None:
    found = statistics(counts([[0, 0], [0, 0]], [0, 0]), np.full(2, math.inf))
    assert np.isnan(found.overall_noise_rate)
    assert np.isnan(found.noise_rate).all()


def test_the_bootstrap_counts_cases_not_pixels() -> None:
    # the same pixels, once as many equal cases and once as two that disagree
    alike = [counts([[6, 2], [2, 6]], [8, 8])] * 50
    unlike = [counts([[300, 0], [0, 300]], [200, 200]), counts([[0, 100], [100, 0]], [200, 200])]
    narrow = bootstrap_intervals(alike, np.random.default_rng(0))
    wide = bootstrap_intervals(unlike, np.random.default_rng(0))
    np.testing.assert_allclose(narrow.noise_rate, 0.25)
    assert (wide.noise_rate[:, 1] - wide.noise_rate[:, 0] > 0.9).all()


def test_the_bootstrap_holds_the_truth_as_often_as_it_says() -> None:
    rng = np.random.default_rng(3)
    held = 0
    for _ in range(200):
        wrong = rng.binomial(100, rng.beta(2, 6, size=40))
        cases = [counts([[100 - w, w], [0, 100]], [100, 100]) for w in wrong]
        low, high = bootstrap_intervals(cases, rng, replicates=200, level=0.9).noise_rate[0]
        held += low <= 0.25 <= high
    assert 160 <= held <= 195


def test_the_bootstrap_repeats_and_keeps_shapes() -> None:
    cases = [counts([[5, 1, 0], [1, 4, 0], [0, 0, 0]], [6, 6, 0]), counts([[2, 2, 0]] * 3, [4] * 3)]
    one = bootstrap_intervals(cases, np.random.default_rng(7))
    two = bootstrap_intervals(cases, np.random.default_rng(7))
    assert one.to_json() == two.to_json()
    assert one.true_given.shape == one.given_true.shape == (3, 3, 2)
    assert one.overall_noise_rate.shape == (2,)
    assert one.level == 0.95


def test_the_bootstrap_needs_a_case() -> None:
    with pytest.raises(ValueError, match="at least one case"):
        bootstrap_intervals([], np.random.default_rng(0))
