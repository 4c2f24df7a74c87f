"""The same pixels as cleanlab 2.9.0, for every method that it has.

cleanlab sorts in an order that says nothing of ties, so probabilities either have none, or the
flags may differ at the very cut of a ranking and nowhere else.
"""

from __future__ import annotations

import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from maskmend.arrays.confidence import error_counts
from maskmend.arrays.selection import flag_errors, search_cases

cleanlab_filter = pytest.importorskip("cleanlab.filter")
cleanlab_count = pytest.importorskip("cleanlab.count")
cleanlab_util = pytest.importorskip("cleanlab.internal.util")

Array = NDArray[Any]

TWINS = {
    "confident_joint": "confident_learning",
    "prune_by_class": "prune_by_class",
    "prune_by_noise_rate": "prune_by_noise_rate",
    "both": "both",
    "argmax": "predicted_neq_given",
    "low_self_confidence": "low_self_confidence",
    "low_normalized_margin": "low_normalized_margin",
}
JSRT = Path(__file__).parents[3] / "shared" / "data" / "jsrt"


@pytest.fixture(autouse=True)
def _stable_rounding(monkeypatch: pytest.MonkeyPatch) -> None:
    """Equal remainders are rounded in the order of an unstable sort, which differs by processor."""

    class StableNumpy:
        def __getattr__(self, name: str) -> Any:
            return getattr(np, name)

        def argsort(self, values: Array) -> Array:
            return np.argsort(values, kind="stable")

    monkeypatch.setattr(cleanlab_util, "np", StableNumpy())


def cleanlab_flags(labels: Array, probs: Array, method: str) -> Array:
    """labels (N,), probs (N, K)."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        flags: Array = cleanlab_filter.find_label_issues(
            labels, probs, filter_by=TWINS[method], n_jobs=1
        )
    return flags


def noisy(rng: np.random.Generator, num_classes: int, pixels: int) -> tuple[Array, Array]:
    """Labels with 20 % errors of uneven classes, and (N, K) float64 without ties."""
    truth = rng.choice(num_classes, pixels, p=rng.dirichlet(np.full(num_classes, 3)))
    z = rng.normal(scale=1.3, size=(pixels, num_classes))
    z[np.arange(pixels), truth] += rng.uniform(1, 4)
    labels = np.where(rng.random(pixels) < 0.2, rng.integers(0, num_classes, pixels), truth)
    labels[:num_classes] = np.arange(num_classes)
    p = np.exp(z)
    return labels, p / p.sum(axis=1, keepdims=True)


@pytest.mark.parametrize("method", TWINS)
@pytest.mark.parametrize("num_classes", [2, 3, 4, 5, 6])
def test_the_same_pixels(method: str, num_classes: int) -> None:
    rng = np.random.default_rng(num_classes)
    for pixels in (40, 400, 4000):
        labels, probs = noisy(rng, num_classes, pixels)
        expected = cleanlab_flags(labels, probs, method)
        flags = flag_errors(labels, probs, method=method, class_axis=-1)
        assert np.flatnonzero(flags != expected).tolist() == []
    assert expected.any()


@pytest.mark.parametrize("num_classes", [2, 3, 6])
def test_the_same_figures(num_classes: int) -> None:
    rng = np.random.default_rng(20 + num_classes)
    labels, probs = noisy(rng, num_classes, 5000)
    search = search_cases([(labels, probs)], num_classes=num_classes, class_axis=-1)
    found = search.statistics()
    thresholds = cleanlab_count.get_confident_thresholds(labels, probs)
    np.testing.assert_allclose(found.thresholds, thresholds, rtol=1e-12)
    joint = cleanlab_count.compute_confident_joint(labels, probs, calibrate=False)
    assert found.confident_joint.tolist() == joint.tolist()
    # cleanlab rounds its joint to whole pixels
    expected = cleanlab_count.estimate_joint(labels, probs)
    np.testing.assert_allclose(found.joint, expected, atol=1.01 / len(labels))


def test_the_same_pixels_where_a_class_is_rare_or_hopeless() -> None:
    rng = np.random.default_rng(31)
    for trial in range(20):
        labels, probs = noisy(rng, 4, 300)
        labels[(labels == 3) & (np.arange(300) > 3 + 5 * trial)] = 0
        probs[:, 2] *= 0.05
        probs /= probs.sum(axis=1, keepdims=True)
        for method in TWINS:
            expected = cleanlab_flags(labels, probs, method)
            flags = flag_errors(labels, probs, method=method, class_axis=-1)
            assert np.flatnonzero(flags != expected).tolist() == [], method


def scores_at_cuts(labels: Array, probs: Array, method: str) -> Array:
    """Whether each pixel's score is the score of a cut of one of its rankings."""
    n, num_classes = probs.shape
    own = probs[np.arange(n), labels]
    search = search_cases([(labels, probs)], num_classes=num_classes, class_axis=-1)
    assert search.confident is not None
    targets = error_counts(search.confident)
    at_cut = np.zeros(n, bool)

    def tie(score: Array, of: Array, count: int) -> None:
        if 0 < count < np.count_nonzero(of):
            at_cut[of] |= score[of] == np.sort(score[of])[count - 1]

    if method == "low_self_confidence":
        tie(own, np.ones(n, bool), search.confident.errors)
        return at_cut
    if method == "low_normalized_margin":
        others = np.where(np.arange(num_classes) == labels[:, None], -1, probs).max(axis=1)
        # cleanlab rounds once more, which makes ties
        rounded = (own - others + 1) / 2
        tie(rounded, np.ones(n, bool), search.confident.errors)
        return at_cut
    for i in range(num_classes):
        mine = labels == i
        if method in ("prune_by_class", "both"):
            tie(own, mine, np.count_nonzero(mine) - targets[i, i])
        for j in range(num_classes):
            if j != i and method in ("prune_by_noise_rate", "both"):
                tie(own - probs[:, j], mine, targets[i, j])
    return at_cut


@pytest.mark.parametrize("method", TWINS)
@pytest.mark.parametrize("levels", [10, 64])
def test_ties_differ_at_the_cut_only(method: str, levels: int) -> None:
    rng = np.random.default_rng(levels)
    differing = 0
    for num_classes in (2, 3, 4):
        labels, probs = noisy(rng, num_classes, 3000)
        probs = np.floor(probs * levels) / levels
        probs[:, 0] += 1 - probs.sum(axis=1)
        probs = np.round(probs * levels) / levels
        expected = cleanlab_flags(labels, probs, method)
        flags = flag_errors(labels, probs, method=method, class_axis=-1)
        different = flags != expected
        assert not (different & ~scores_at_cuts(labels, probs, method)).any()
        # a tie is settled another way, not another number of times
        if method.startswith("low_") or method == "prune_by_class":
            assert abs(int(flags.sum()) - int(expected.sum())) <= different.sum()
        differing += int(different.sum())
    if method in ("confident_joint", "argmax"):
        assert differing == 0


@pytest.mark.parametrize("method", TWINS)
@pytest.mark.parametrize("dtype", ["float16", "float32"])
def test_narrow_floats_differ_at_the_cut_only(method: str, dtype: str) -> None:
    rng = np.random.default_rng(41)
    for num_classes in (2, 4):
        labels, wide = noisy(rng, num_classes, 4000)
        probs = wide.astype(dtype)
        # cleanlab sums float16 and float32 as such, here exactly; margins are those of the dtype
        exact = probs.astype(np.float64)
        expected = cleanlab_flags(labels, exact, method)
        flags = flag_errors(labels, probs, method=method, class_axis=-1)
        at_cut = scores_at_cuts(labels, probs, method)
        assert not ((flags != expected) & ~at_cut).any()


@pytest.mark.skipif(not JSRT.exists(), reason=f"no JSRT data in {JSRT}")
@pytest.mark.parametrize("structure", ["lung", "heart", "clavicle"])
def test_the_same_pixels_on_radiographs(structure: str) -> None:
    from PIL import Image
    from scipy.ndimage import gaussian_filter, shift

    rng = np.random.default_rng(51)
    labels, probs = [], []
    for file in sorted((JSRT / "validation" / structure).glob("*.png"))[:6]:
        mask = (np.asarray(Image.open(file)) > 0).astype(np.uint8)[::2, ::2]
        labels.append(shift(mask, rng.integers(-6, 7, 2), order=0))
        soft = gaussian_filter(mask.astype(np.float64), 3)
        probs.append(0.02 + 0.96 * soft + rng.uniform(-0.019, 0.019, mask.shape))
    y, foreground = np.stack(labels), np.stack(probs)
    flat = np.stack([1 - foreground, foreground], axis=-1).reshape(-1, 2)
    for method in TWINS:
        expected = cleanlab_flags(y.reshape(-1), flat, method).reshape(y.shape)
        assert expected.any()
        flags = flag_errors(y, foreground, method=method)
        assert np.argwhere(flags != expected).tolist() == [], method
