"""Which pixels are flagged: by hand, against a slow sort of everything, and bad input.

The slow reference sorts all pixels, in exact arithmetic where it matters, and knows nothing of
histograms, blocks or passes.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from fractions import Fraction
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from maskmend import native
from maskmend.arrays import accumulate, bins, selection
from maskmend.arrays.confidence import ConfidentCounts, error_counts
from maskmend.arrays.selection import (
    METHODS,
    ErrorFinder,
    ErrorSearch,
    flag_cases,
    flag_errors,
    least_passes,
    search_cases,
)
from maskmend.errors import (
    GridMismatchError,
    MaskmendError,
    MaskValueError,
    NotFiniteError,
    ProbabilityError,
    SettingsError,
)

Array = NDArray[Any]

ENGINES = ["numpy"] + ([] if native.why_missing() else ["native"])
SCALE = {"uint8": 255, "uint16": 65535}


def sorted_reference(labels: Array, probs: Array, method: str, ignore: int | None = None) -> Array:
    """Slow: one pixel at a time, then a full stable sort for each ranking.  (N,), (K, N)."""
    scale = SCALE.get(probs.dtype.name, 1)
    work = np.float64 if probs.dtype == np.float64 else np.float32
    number = len(probs)
    used = [x for x in range(len(labels)) if ignore is None or labels[x] != ignore]
    given = {x: int(labels[x]) for x in used}
    value = {x: [work(probs[k, x]) for k in range(number)] for x in used}
    sizes = [sum(given[x] == k for x in used) for k in range(number)]
    unit = scale if scale > 1 else 2**46
    cutoffs = []
    for k in range(number):
        own = [value[x][k] for x in used if given[x] == k]
        total = sum(Fraction(int(float(p) * (unit // scale)), unit) for p in own)
        mean = float(total / len(own)) if own else np.inf
        cutoffs.append((max(mean, 2e-6) - 1e-6) * scale)

    def guess(x: int) -> int | None:
        sure = [k for k in range(number) if float(value[x][k]) >= cutoffs[k]]
        if len(sure) < 2:
            return sure[0] if sure else None
        return max((k for k in range(number) if sizes[k]), key=lambda k: (value[x][k], -k))

    def doubted(x: int) -> bool:
        raised = list(value[x])
        raised[given[x]] = work(raised[given[x]] + work(1e-6 * scale))
        return int(np.argmax(raised)) != given[x]

    joint = np.zeros((number, number), np.int64)
    errors = 0
    for x in used:
        if guess(x) is not None:
            joint[given[x], guess(x)] += 1
            errors += guess(x) != given[x] and doubted(x)
    targets = error_counts(ConfidentCounts(np.array(sizes), joint, errors))

    def margin(x: int, k: int) -> float:
        difference = value[x][given[x]] - value[x][k]
        return float(np.float16(difference) if probs.dtype == np.float16 else difference)

    def lowest(score: Callable[[int], float], of: list[int], count: int) -> set[int]:
        return set(sorted(of, key=score)[:count])

    by_class: set[int] = set()
    by_rate: set[int] = set()
    for i in range(number):
        mine = [x for x in used if given[x] == i]
        if len(mine) < 2:
            continue
        by_class |= lowest(lambda x: float(value[x][given[x]]), mine, len(mine) - targets[i, i])
        for j in set(range(number)) - {i}:
            by_rate |= lowest(lambda x, j=j: margin(x, j), mine, targets[i, j])  # type: ignore[misc]
    sure = {x for x in used if guess(x) not in (None, given[x])}
    if method == "low_self_confidence":
        found = lowest(lambda x: float(value[x][given[x]]), used, errors)
    elif method == "low_normalized_margin":
        rest = {x: max(margin(x, k) * -1 for k in range(number) if k != given[x]) for x in used}
        found = lowest(lambda x: -rest[x], used, errors)
    else:
        found = {
            "confident_joint": sure,
            "prune_by_class": by_class,
            "prune_by_noise_rate": by_rate,
            "both": by_class & by_rate,
            "intersection": by_class & by_rate & sure,
            "union": (by_class & by_rate) | sure,
            "argmax": set(used),
        }[method]
        found = {x for x in found if doubted(x)}
    flags = np.zeros(len(labels), bool)
    flags[sorted(found)] = True
    return flags


def softmax(rng: np.random.Generator, labels: Array, num_classes: int, trust: float = 2) -> Array:
    """(K, N) float64: mostly, not always, for the given class."""
    z = rng.normal(size=(num_classes, len(labels)))
    z[labels, np.arange(len(labels))] += trust * (rng.random(len(labels)) > 0.25)
    p = np.exp(z)
    return p / p.sum(axis=0)


def quantised(probs: Array, dtype: str) -> Array:
    if dtype in SCALE:
        return np.round(probs * SCALE[dtype]).astype(dtype)
    return probs.astype(dtype)


def adversarial(name: str) -> tuple[Array, Array]:
    """(N,) labels and (2 or 3, N) float64 probabilities that break a careless selection."""
    rng = np.random.default_rng(5)
    labels = rng.integers(0, 2, 400)
    first = {
        "all equal": np.full(400, 0.5),
        "two values": np.where(rng.random(400) < 0.4, 0.75, 0.25),
        "many ties at the cut": np.round(rng.random(400), 1),
        "saturated": np.where(rng.random(400) < 0.5, 1.0, 0.0),
        "denormals": rng.random(400) * 1e-39,
        "neighbouring floats": 0.5 + rng.integers(-3, 4, 400) * 2.0**-24,
        "close to one": 1 - rng.integers(0, 9, 400) * 2.0**-24,
    }[name]
    return labels, np.stack([1 - first, first])


ADVERSARIAL = [
    "all equal",
    "two values",
    "many ties at the cut",
    "saturated",
    "denormals",
    "neighbouring floats",
    "close to one",
]


def test_three_by_three_by_hand() -> None:
    labels = np.array([[0, 0, 0], [0, 1, 1], [1, 1, 0]])
    foreground = np.array([[0.1, 0.2, 0.9], [0.3, 0.8, 0.7], [0.9, 0.2, 0.6]])
    # self-confidence: class 0 has .9 .8 .1 .7 .4, mean 0.58; class 1 has .8 .7 .9 .2, mean 0.65
    # confident: of class 0 where p >= 0.65, of class 1 where p < 0.42 -> 0.58 for background
    # joint: given 0: three right, one (0.9) is 1, the 0.6 is of none; given 1: three right, one 0
    # calibrated: given 0, 5 * [3, 1] / 4 = [3.75, 1.25] -> [4, 1]; given 1: [1, 3]
    expected = np.array([[0, 0, 1], [0, 0, 0], [0, 1, 0]], bool)
    for method in ("confident_joint", "prune_by_class", "prune_by_noise_rate", "both"):
        flags = flag_errors(labels, np.stack([1 - foreground, foreground]), method=method)
        assert flags.tolist() == expected.tolist()
    also_the_unsure = expected.copy()
    also_the_unsure[2, 2] = True
    argmax = flag_errors(labels, np.stack([1 - foreground, foreground]), method="argmax")
    assert argmax.tolist() == also_the_unsure.tolist()


@pytest.mark.parametrize("engine", ENGINES)
@pytest.mark.parametrize("dtype", ["float16", "float32", "float64", "uint8", "uint16"])
@pytest.mark.parametrize("num_classes", [2, 3, 5])
def test_the_same_as_sorting_everything(engine: str, dtype: str, num_classes: int) -> None:
    rng = np.random.default_rng(num_classes)
    labels = rng.integers(0, num_classes, 600)
    probs = quantised(softmax(rng, labels, num_classes), dtype)
    for method in METHODS:
        expected = sorted_reference(labels, probs, method)
        assert expected.any(), "nothing to select"
        flags = flag_errors(labels, probs, method=method, engine=engine)
        assert np.flatnonzero(flags != expected).tolist() == [], method


@pytest.mark.parametrize("engine", ENGINES)
@pytest.mark.parametrize("dtype", ["float16", "float32", "float64", "uint8"])
@pytest.mark.parametrize("name", ADVERSARIAL)
def test_adversarial_values(engine: str, dtype: str, name: str) -> None:
    labels, probs = adversarial(name)
    probs = quantised(probs, dtype)
    for method in METHODS:
        flags = flag_errors(labels, probs, method=method, engine=engine)
        expected = sorted_reference(labels, probs, method)
        assert np.flatnonzero(flags != expected).tolist() == [], method


@pytest.mark.parametrize("engine", ENGINES)
@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("name", ADVERSARIAL)
def test_windows_too_crowded_to_be_listed(
    engine: str, dtype: str, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    # as if there were a billion pixels: few bins, and room for few candidates
    monkeypatch.setattr(bins, "_MOST_BINS", 1 << 6)
    monkeypatch.setattr(bins, "_FEWEST_BINS", 1 << 6)
    monkeypatch.setattr(accumulate, "_CANDIDATE_ROWS", 1 << 5)
    monkeypatch.setattr(accumulate, "_FEWEST_ROWS", 1 << 3)
    labels, probs = adversarial(name)
    probs = probs.astype(dtype)
    for method in ("both", "low_self_confidence", "low_normalized_margin"):
        flags = flag_errors(labels, probs, method=method, engine=engine)
        expected = sorted_reference(labels, probs, method)
        assert np.flatnonzero(flags != expected).tolist() == [], method


@pytest.mark.parametrize("engine", ENGINES)
@pytest.mark.parametrize("method", METHODS)
def test_ignored_pixels_take_no_part(engine: str, method: str) -> None:
    rng = np.random.default_rng(1)
    labels = rng.integers(0, 3, 500)
    probs = softmax(rng, labels, 3)
    hidden = rng.random(500) < 0.3
    masked, spoilt = np.where(hidden, 255, labels), np.where(hidden, np.nan, probs)
    flags = flag_errors(masked, spoilt, method=method, ignore=255, engine=engine)
    alone = flag_errors(labels[~hidden], probs[:, ~hidden], method=method, engine=engine)
    assert alone.any()
    assert flags[~hidden].tolist() == alone.tolist()
    assert not flags[hidden].any()


@pytest.mark.parametrize("ignore", [0, -1, 2, 700])
def test_any_label_can_be_the_ignored_one(ignore: int) -> None:
    rng = np.random.default_rng(2)
    labels = rng.integers(0, 3, 500)
    probs = softmax(rng, labels, 3)
    hidden = labels == ignore if 0 <= ignore < 3 else rng.random(500) < 0.2
    labels[hidden] = ignore
    flags = flag_errors(labels, probs, ignore=ignore)
    assert flags.any()
    assert np.array_equal(flags, sorted_reference(labels, probs, "both", ignore))


@pytest.mark.parametrize("dtype", ["uint8", "int8", "uint16", "int32", "int64", "uint64"])
def test_labels_of_any_integer_dtype(dtype: str) -> None:
    rng = np.random.default_rng(3)
    labels = rng.integers(0, 4, 500)
    probs = softmax(rng, labels, 4)
    expected = flag_errors(labels, probs)
    assert np.array_equal(flag_errors(labels.astype(dtype), probs), expected)


def test_boolean_labels_are_two_classes() -> None:
    rng = np.random.default_rng(3)
    labels = rng.integers(0, 2, 500)
    probs = softmax(rng, labels, 2)
    assert np.array_equal(flag_errors(labels == 1, probs), flag_errors(labels, probs))


@pytest.mark.parametrize("engine", ENGINES)
@pytest.mark.parametrize("dtype", ["float16", "float32", "float64", "uint8", "uint16"])
def test_the_foreground_alone_means_one_less_it(engine: str, dtype: str) -> None:
    rng = np.random.default_rng(4)
    labels = rng.integers(0, 2, (20, 30))
    foreground = quantised(softmax(rng, labels.reshape(-1), 2)[1].reshape(20, 30), dtype)
    one = np.array(SCALE.get(dtype, 1), dtype)
    both = np.stack([np.subtract(one, foreground, dtype=dtype), foreground])
    for method in METHODS:
        alone = flag_errors(labels, foreground, method=method, engine=engine)
        assert alone.any()
        assert np.array_equal(alone, flag_errors(labels, both, method=method, engine=engine))


def layouts(labels: Array, probs: Array) -> Iterator[tuple[str, Array, Array, int]]:
    """The same (6, 8, 10) pixels of (4, 6, 8, 10) in other memory."""
    yield "pixel-major", labels, np.ascontiguousarray(np.moveaxis(probs, 0, -1)), -1
    yield "class second", labels, np.ascontiguousarray(np.moveaxis(probs, 0, 1)), 1
    yield "Fortran order", np.asfortranarray(labels), np.asfortranarray(probs), 0
    yield "every other", np.repeat(labels, 2, axis=2)[..., ::2], np.repeat(probs, 2, 3)[..., ::2], 0
    yield "backwards", labels[::-1, ::-1][::-1, ::-1], probs[:, ::-1][:, ::-1], 0


def test_memory_layout_does_not_matter() -> None:
    rng = np.random.default_rng(6)
    labels = rng.integers(0, 4, (6, 8, 10))
    probs = softmax(rng, labels.reshape(-1), 4).reshape(4, 6, 8, 10)
    expected = flag_errors(labels, probs)
    assert expected.any()
    for name, y, p, axis in layouts(labels, probs):
        for engine in ENGINES:
            flags = flag_errors(y, p, class_axis=axis, engine=engine)
            assert np.array_equal(flags, expected), name


def test_the_number_of_threads_does_not_matter(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(selection, "_PIECE_VALUES", 100)
    labels, probs = adversarial("many ties at the cut")
    for method in METHODS:
        expected = sorted_reference(labels, probs, method)
        for workers in (1, 2, 5):
            flags = flag_errors(labels, probs, method=method, workers=workers)
            assert np.array_equal(flags, expected)


@pytest.mark.parametrize("room", [0, 2_000, 1 << 20])
def test_how_much_is_remembered_between_passes_does_not_matter(
    monkeypatch: pytest.MonkeyPatch, room: int
) -> None:
    monkeypatch.setattr(selection, "_PIECE_VALUES", 300)
    monkeypatch.setattr(selection, "_MEMORY", room)
    rng = np.random.default_rng(8)
    labels = rng.integers(0, 3, 2_000)
    probs = softmax(rng, labels, 3).astype(np.float32)
    for method in METHODS:
        expected = sorted_reference(labels, probs, method)
        for engine in ENGINES:
            flags = flag_errors(labels, probs, method=method, engine=engine, workers=2)
            assert np.array_equal(flags, expected), (method, engine)


def test_inputs_are_not_changed() -> None:
    rng = np.random.default_rng(7)
    labels = rng.integers(0, 3, 300)
    probs = softmax(rng, labels, 3)
    before = labels.copy(), probs.copy()
    labels.setflags(write=False)
    probs.setflags(write=False)
    for engine in ENGINES:
        flag_errors(labels, probs, engine=engine)
    assert np.array_equal(labels, before[0])
    assert np.array_equal(probs, before[1])


def test_an_absent_class_is_never_the_confident_one() -> None:
    # class 2 is the most probable everywhere, but no pixel is given it
    labels = np.array([0, 0, 0, 1, 1, 1])
    probs = np.array([[3, 3, 1, 1, 1, 3], [1, 1, 3, 3, 3, 1], [4, 4, 4, 4, 4, 4]]) / 8
    search = search_cases([(labels, probs)], num_classes=3, method="confident_joint")
    found = search.statistics()
    assert found.thresholds[2] == np.inf
    assert found.confident_joint[:, 2].tolist() == [0, 0, 0]
    assert flag_errors(labels, probs, method="confident_joint").tolist() == [0, 0, 1, 0, 0, 1]


def test_a_class_of_one_pixel_is_left_alone_by_pruning() -> None:
    labels = np.array([0] * 9 + [1])
    foreground = np.array([0.1] * 5 + [0.9] * 4 + [0.05])
    for method in ("prune_by_class", "prune_by_noise_rate", "both"):
        assert not flag_errors(labels, foreground, method=method)[9]
    assert flag_errors(labels, foreground, method="argmax")[9]


@pytest.mark.parametrize("method", METHODS)
def test_nothing_to_judge_is_nothing_flagged(method: str) -> None:
    empty = flag_errors(np.zeros((0, 4), int), np.zeros((3, 0, 4)), method=method)
    assert empty.shape == (0, 4)
    ignored = np.full((4, 5), 255)
    flags = flag_errors(ignored, np.full((3, 4, 5), np.nan), method=method, ignore=255)
    assert flags.shape == (4, 5)
    assert not flags.any()


def test_one_class_everywhere_is_no_error() -> None:
    for method in METHODS:
        flags = flag_errors(np.zeros(50, int), np.full(50, 0.2), method=method)
        assert not flags.any()


@pytest.mark.parametrize("method", METHODS)
def test_cases_of_different_sizes_are_judged_together(method: str) -> None:
    rng = np.random.default_rng(8)
    labels = rng.integers(0, 3, 900)
    probs = np.round(softmax(rng, labels, 3).astype(np.float32) * 16) / 16
    probs[0] = 1 - probs[1:].sum(axis=0)
    together = flag_errors(labels, probs, method=method)
    parts = [slice(0, 200), slice(200, 290), slice(290, 900)]
    shapes = [(10, 20), (2, 5, 9), (610,)]
    cases = [
        (labels[part].reshape(shape), probs[:, part].reshape(3, *shape))
        for part, shape in zip(parts, shapes, strict=True)
    ]
    masks = list(flag_cases(cases, num_classes=3, method=method))
    assert [mask.shape for mask in masks] == shapes
    assert np.array_equal(np.concatenate([mask.reshape(-1) for mask in masks]), together)


def test_a_stream_in_any_order_over_two_finders() -> None:
    rng = np.random.default_rng(9)
    cases = []
    for size in (300, 40, 500, 160):
        labels = rng.integers(0, 2, size)
        cases.append((labels, np.round(softmax(rng, labels, 2)[1].astype(np.float32), 2)))
    expected = list(flag_cases(cases, num_classes=2))
    here, there = ErrorFinder(2), ErrorFinder(2)
    passes = 0
    while not here.ready:
        here.update(*cases[2], case=2)
        there.update(*cases[3], case=3)
        there.update(*cases[0], case=0)
        here.update(*cases[1], case=1)
        here.merge(there)
        here.finish()
        there.search = here.search
        passes += 1
    assert passes + 1 == least_passes("both", np.dtype("float32"), 2)
    for number, case in enumerate(cases):
        assert np.array_equal(there.flag(*case, case=number), expected[number])


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("dtype", ["uint8", "float16", "float32", "float64"])
def test_the_number_of_passes_is_as_promised(method: str, dtype: str) -> None:
    rng = np.random.default_rng(10)
    labels = rng.integers(0, 3, 3000)
    cases = [(labels, quantised(softmax(rng, labels, 3), dtype))]
    made = 0

    class Counted:
        def __iter__(self) -> Iterator[tuple[Array, Array]]:
            nonlocal made
            made += 1
            return iter(cases)

    counted = Counted()
    next(iter(flag_cases(counted, num_classes=3, method=method)))
    made -= 1  # asking whether it is a generator
    promised = least_passes(method, np.dtype(dtype), 3)
    assert promised <= made <= promised + (dtype in ("uint8", "float16"))


def test_statistics_come_with_every_method() -> None:
    rng = np.random.default_rng(11)
    labels = rng.integers(0, 3, 2000)
    probs = softmax(rng, labels, 3)
    found = [
        search_cases([(labels, probs)], num_classes=3, method=method).statistics().to_json()
        for method in METHODS
    ]
    assert all(one == found[0] for one in found)
    assert found[0]["class_sizes"] == np.bincount(labels).tolist()


def test_counts_of_each_case_add_up_to_all() -> None:
    rng = np.random.default_rng(12)
    cases = []
    for size in (300, 40, 500):
        labels = rng.integers(0, 3, size)
        cases.append((labels, softmax(rng, labels, 3)))
    search = search_cases(cases, num_classes=3)
    one, two, three = (
        search.confident_counts(*case, case=number) for number, case in enumerate(cases)
    )
    assert one + two + three == search.confident
    assert one.sizes.sum() == 300


def test_fixed_thresholds_replace_the_mean() -> None:
    labels = np.array([0, 0, 1, 1])
    foreground = np.array([0.1, 0.7, 0.9, 0.6])
    search = ErrorSearch(2, foreground.dtype, "confident_joint", fixed_thresholds=(0.5, 0.8))
    search = search.advance(search.count(labels, foreground))
    assert not search.flag(labels, foreground).any()
    search = ErrorSearch(2, foreground.dtype, "confident_joint", fixed_thresholds=(0.5, 0.7))
    search = search.advance(search.count(labels, foreground))
    assert search.flag(labels, foreground).tolist() == [False, True, False, False]


def good() -> tuple[Array, Array]:
    rng = np.random.default_rng(13)
    labels = rng.integers(0, 3, (8, 9))
    return labels, softmax(rng, labels.reshape(-1), 3).reshape(3, 8, 9)


def with_value(array: Array, value: float) -> Array:
    changed = array.copy()
    changed[(0,) * (array.ndim - 2) + (4, 5)] = value
    return changed


BAD = {
    "NaN": (lambda y, p: (y, with_value(p, np.nan)), NotFiniteError),
    "infinity": (lambda y, p: (y, with_value(p, np.inf)), NotFiniteError),
    "negative": (lambda y, p: (y, with_value(p, -0.1)), ProbabilityError),
    "logits": (lambda y, p: (y, np.log(p)), ProbabilityError),
    "sigmoids": (lambda y, p: (y, p**2), ProbabilityError),
    "foreground above 1": (lambda y, p: (np.minimum(y, 1), p[0] + 1), ProbabilityError),
    "foreground NaN": (lambda y, p: (np.minimum(y, 1), with_value(p[0], np.nan)), NotFiniteError),
    "integers": (lambda y, p: (y, p.astype(np.int32)), ProbabilityError),
    "unknown label": (lambda y, p: (with_value(y, 3), p), MaskValueError),
    "negative label": (lambda y, p: (with_value(y, -1), p), MaskValueError),
    "label beyond a byte": (lambda y, p: (with_value(y, 256), p), MaskValueError),
    "float labels": (lambda y, p: (y.astype(float), p), MaskValueError),
    "another grid": (lambda y, p: (y.T, p), GridMismatchError),
    "a class missing": (lambda y, p: (y, p[:1]), GridMismatchError),
    "no class axis": (lambda y, p: (y, p.reshape(3, -1)), GridMismatchError),
}


@pytest.mark.parametrize("engine", ENGINES)
@pytest.mark.parametrize("method", ["both", "argmax", "confident_joint"])
@pytest.mark.parametrize("name", BAD)
def test_bad_input_is_named(name: str, method: str, engine: str) -> None:
    spoil, error = BAD[name]
    with pytest.raises(error):
        flag_errors(*spoil(*good()), method=method, engine=engine)


def test_an_error_names_the_case() -> None:
    labels, probs = good()
    with pytest.raises(ProbabilityError, match="case 1: expected probabilities"):
        list(flag_cases([(labels, probs), (labels, probs**2)], num_classes=3))


@pytest.mark.parametrize(
    ("dtype", "off"), [("float16", 4e-3), ("float32", 3e-4), ("float64", 3e-6), ("uint8", 4 / 255)]
)
def test_rows_may_miss_a_sum_of_one_by_rounding_only(dtype: str, off: float) -> None:
    labels, probs = good()
    flag_errors(labels, quantised(probs, dtype))
    scaled = probs.copy()
    scaled[0] = np.maximum(scaled[0] - off, 0)
    with pytest.raises(ProbabilityError, match="sum to 1"):
        flag_errors(labels, quantised(scaled, dtype))


def test_settings_are_checked() -> None:
    labels, probs = good()
    with pytest.raises(SettingsError, match="prune_by_class"):
        flag_errors(labels, probs, method="prune by class")
    with pytest.raises(SettingsError, match="numpy"):
        flag_errors(labels, probs, engine="fortran")
    with pytest.raises(SettingsError, match="read several times"):
        list(flag_cases(iter([(labels, probs)]), num_classes=3))
    with pytest.raises(SettingsError, match="2 to 254"):
        ErrorFinder(255)
    with pytest.raises(SettingsError, match="at least one case"):
        ErrorFinder(3).finish()
    with pytest.raises(SettingsError, match="0 or more"):
        ErrorFinder(3).update(labels, probs, case=-1)


def test_cases_that_do_not_belong_together_are_refused() -> None:
    labels, probs = good()
    finder = ErrorFinder(3)
    finder.update(labels, probs, case=0)
    with pytest.raises(ProbabilityError, match="float64"):
        finder.update(labels, probs.astype(np.float32), case=1)
    with pytest.raises(GridMismatchError, match="3 classes"):
        finder.update(np.zeros((8, 9), int), probs[0], case=1)


def test_a_pass_over_other_pixels_is_noticed() -> None:
    rng = np.random.default_rng(14)
    labels = rng.integers(0, 2, 5000)
    probs = softmax(rng, labels, 2)
    finder = ErrorFinder(2)
    finder.update(labels, probs, case=0)
    finder.finish()
    finder.update(labels, probs, case=0)
    finder.finish()
    finder.update(labels[:100], probs[:, :100], case=0)
    with pytest.raises(ProbabilityError, match="the same"):
        finder.finish()


def test_what_is_not_known_yet_is_said() -> None:
    search = ErrorSearch(2, np.dtype("float32"))
    with pytest.raises(SettingsError, match="not come so far"):
        search.statistics()
    with pytest.raises(MaskmendError, match="thresholds"):
        _ = search.thresholds


@pytest.mark.parametrize("engine", ENGINES)
@pytest.mark.parametrize("method", ["prune_by_class", "prune_by_noise_rate", "both", "union"])
def test_a_ranking_that_takes_more_than_can_be_flagged_takes_all_of_that(
    method: str, engine: str
) -> None:
    # of class 0: 100 confident, 300 unsure but likely right, 50 that are another class; the joint
    # counts the unsure ones as the others, so that 150 are to be taken, of 50 that are doubted
    other = np.concatenate([np.full(100, 0.01), np.linspace(0.1, 0.22, 300), np.full(50, 0.9)])
    foreground = np.concatenate([other, np.full(50, 0.95)]).astype(np.float32)
    labels = np.repeat(np.array([0, 1], np.uint8), [450, 50])
    probs = np.stack([1 - foreground, foreground])
    search = ErrorSearch(2, probs.dtype, method, fixed_thresholds=(0.97, 0.5), engine=engine)
    while not search.ready:
        search = search.advance(search.count(labels, probs))
    assert search.confident is not None
    assert error_counts(search.confident)[0, 1] == 150
    assert np.flatnonzero(search.flag(labels, probs)).tolist() == list(range(400, 450))


@pytest.mark.parametrize("engine", ENGINES)
@pytest.mark.parametrize("dtype", ["float16", "float32", "float64", "uint8", "uint16"])
def test_a_whole_block_of_certain_pixels_is_summed_exactly(engine: str, dtype: str) -> None:
    # 2**46 units each: 2**17 of them do not fit in 63 bits
    pixels = 3 << 18
    kind = np.dtype(dtype)
    certain = np.zeros((2, pixels), kind)
    certain[0] = 1 if kind.kind == "f" else np.iinfo(kind).max
    finder = ErrorFinder(2, engine=engine, with_statistics=True)
    while not finder.ready:
        finder.update(np.zeros(pixels, np.uint8), certain, case=0)
        finder.finish()
    assert finder.search.statistics().thresholds[0] == 1
