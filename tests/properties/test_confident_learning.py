"""What must hold for any labels and probabilities: merging, naming, shape."""

from __future__ import annotations

from functools import reduce
from operator import add
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from numpy.typing import NDArray

from maskmend import native
from maskmend.arrays.accumulate import Tally, from_order_key, order_key
from maskmend.arrays.confidence import rounded_rows
from maskmend.arrays.correction import mend_hard, mend_soft, suggested_classes
from maskmend.arrays.selection import METHODS, ErrorSearch, flag_errors

Array = NDArray[Any]

DTYPES = ["float16", "float32", "float64", "uint8"]


@st.composite
def problems(draw: st.DrawFn, dtypes: list[str] = DTYPES) -> tuple[Array, Array]:
    """(N,) labels with ignored pixels, and (K, N) probabilities: coarse ones have many ties."""
    num_classes, pixels = draw(st.integers(2, 4)), draw(st.integers(1, 120))
    rng = np.random.default_rng(draw(st.integers(0, 2**32)))
    levels = draw(st.sampled_from([4, 16, 10**6]))
    labels = rng.integers(0, num_classes, pixels)
    weights = rng.integers(0, levels, (num_classes, pixels)) + 1e-3
    weights[labels, np.arange(pixels)] += levels * rng.integers(0, 3, pixels)
    probs = weights / weights.sum(axis=0)
    labels[rng.random(pixels) < 0.1] = 255
    dtype = draw(st.sampled_from(dtypes))
    probs = np.round(probs * 255) if dtype == "uint8" else probs
    return labels, probs.astype(dtype)


def parts(draw: st.DrawFn, pixels: int) -> list[slice]:
    cuts = sorted(draw(st.lists(st.integers(0, pixels), max_size=5)))
    return [slice(a, b) for a, b in zip([0, *cuts], [*cuts, pixels], strict=True)]


@settings(max_examples=60, deadline=None)
@given(st.data(), problems(), st.sampled_from(METHODS))
def test_any_split_merged_in_any_order_is_the_same(
    data: st.DataObject, problem: tuple[Array, Array], method: str
) -> None:
    labels, probs = problem
    pieces = parts(data.draw, len(labels))  # type: ignore[arg-type]
    whole = ErrorSearch(len(probs), probs.dtype, method, ignore=255, engine="numpy")
    split = whole
    while not whole.ready:
        tallies = [
            split.count(labels[part], probs[:, part], case=place)
            for place, part in enumerate(pieces)
        ]
        order = data.draw(st.permutations(range(len(tallies))))
        middle = data.draw(st.integers(0, len(tallies) - 1))
        shuffled = [tallies[k] for k in order]
        left = reduce(add, shuffled[:middle], Tally())
        right = reduce(add, shuffled[middle:], Tally())
        merged = left + right
        assert merged == reduce(add, tallies)
        tally = whole.count(labels, probs)
        if tally.candidates is None:
            assert tally == merged
        whole, split = whole.advance(tally), split.advance(merged)
    assert split.ready
    flags = [
        split.flag(labels[part], probs[:, part], case=place) for place, part in enumerate(pieces)
    ]
    assert np.array_equal(np.concatenate(flags), whole.flag(labels, probs))


@settings(max_examples=60, deadline=None)
@given(st.data(), problems(["float64"]), st.sampled_from(METHODS))
def test_class_names_do_not_matter(
    data: st.DataObject, problem: tuple[Array, Array], method: str
) -> None:
    labels, probs = problem
    # ties between classes, and between halves to be rounded, go by the number of the class
    rng = np.random.default_rng(len(labels))
    probs = probs + rng.uniform(0, 1e-3, probs.shape)
    probs /= probs.sum(axis=0)
    names = np.array(data.draw(st.permutations(range(len(probs)))))
    renamed = np.where(labels == 255, 255, names[np.minimum(labels, len(probs) - 1)])
    moved = np.empty_like(probs)
    moved[names] = probs
    expected = flag_errors(labels, probs, method=method, ignore=255)
    flags = flag_errors(renamed, moved, method=method, ignore=255)
    # one pixel more or less where two classes round a half
    slack = 0 if method in ("confident_joint", "argmax") else len(probs) ** 2
    assert np.count_nonzero(flags != expected) <= slack


@settings(max_examples=40, deadline=None)
@given(problems(), st.sampled_from(METHODS))
def test_two_dimensions_are_three_with_a_thin_one(
    problem: tuple[Array, Array], method: str
) -> None:
    labels, probs = problem
    flat = flag_errors(labels, probs, method=method, ignore=255)
    pixels = len(labels)
    for shape in [(pixels, 1), (1, pixels), (1, pixels, 1)]:
        thin = flag_errors(
            labels.reshape(shape), probs.reshape(-1, *shape), method=method, ignore=255
        )
        assert np.array_equal(thin, flat.reshape(shape))


@pytest.mark.skipif(bool(native.why_missing()), reason=str(native.why_missing()))
@settings(max_examples=40, deadline=None)
@given(problems(), st.sampled_from(METHODS))
def test_compiled_or_not_is_the_same(problem: tuple[Array, Array], method: str) -> None:
    labels, probs = problem
    plain = flag_errors(labels, probs, method=method, ignore=255, engine="numpy")
    quick = flag_errors(labels, probs, method=method, ignore=255, engine="native")
    assert np.array_equal(plain, quick)


@settings(max_examples=40, deadline=None)
@given(problems())
def test_the_methods_nest(problem: tuple[Array, Array]) -> None:
    labels, probs = problem
    flags = {m: flag_errors(labels, probs, method=m, ignore=255) for m in METHODS}
    assert np.array_equal(flags["both"], flags["prune_by_class"] & flags["prune_by_noise_rate"])
    assert np.array_equal(flags["union"], flags["both"] | flags["confident_joint"])
    assert np.array_equal(flags["intersection"], flags["both"] & flags["confident_joint"])
    assert not (flags["union"] & ~flags["argmax"]).any()
    assert not any(mask[labels == 255].any() for mask in flags.values())


@given(hnp.arrays(np.float64, 20, elements=st.floats(-1, 1)))
def test_keys_keep_the_order_of_scores(scores: Array) -> None:
    keys = order_key(scores)
    assert np.array_equal(keys[:, None] < keys, scores[:, None] < scores)
    assert np.array_equal(from_order_key(keys), scores)


@given(hnp.arrays(np.float64, (3, 4), elements=st.floats(0, 1e6)))
def test_rounding_keeps_the_total_of_each_row(matrix: Array) -> None:
    rounded = rounded_rows(matrix)
    assert np.array_equal(rounded.sum(axis=1), np.round(matrix.sum(axis=1)))
    assert (np.abs(rounded - matrix) <= 1.5).all()


@settings(max_examples=40, deadline=None)
@given(problems(), st.floats(0, 1))
def test_mended_targets_are_distributions_between_given_and_hard(
    problem: tuple[Array, Array], eps: float
) -> None:
    labels, probs = problem
    suggested = suggested_classes(labels, probs, ignore=255)
    judged = labels != 255
    assert (suggested[judged] != labels[judged]).all()
    flagged = flag_errors(labels, probs, method="argmax", ignore=255)
    soft = mend_soft(labels, flagged, suggested, num_classes=len(probs), eps=eps, ignore=255)
    np.testing.assert_allclose(soft.sum(axis=0), judged, rtol=1e-6)
    assert soft.min() >= 0
    hard = mend_hard(labels, flagged, suggested)
    if eps > 0.51:
        assert np.array_equal(soft[:, judged].argmax(axis=0), hard[judged])
