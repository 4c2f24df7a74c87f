"""The compiled kernels count and mark what those in NumPy do, to the bit, on every processor."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from maskmend import native
from maskmend.arrays.accumulate import Tally
from maskmend.arrays.blocks import Run, split_runs
from maskmend.arrays.compiled import CompiledPlan, CompiledSweep, Job
from maskmend.arrays.plain import PlainSweep
from maskmend.arrays.plan import Memory
from maskmend.arrays.search import METHODS, ErrorSearch

Array = NDArray[Any]

pytestmark = pytest.mark.skipif(bool(native.why_missing()), reason=str(native.why_missing()))

# several tiles, the last one odd; around the number of classes that have code of their own
PIXELS = 9_001
CLASSES = [2, 3, 4, 5, 40]


def problem(num_classes: int, dtype: str, seed: int = 0) -> tuple[Array, Array]:
    """Labels (N,) uint8 and probabilities (K, N): some sure, some not, many equal."""
    rng = np.random.default_rng(seed)
    labels = rng.integers(0, num_classes, PIXELS).astype(np.uint8)
    z = rng.normal(size=(num_classes, PIXELS))
    z[labels, np.arange(PIXELS)] += 4 * (rng.random(PIXELS) > 0.2)
    odds = np.exp(z)
    probs = odds / odds.sum(axis=0)
    coarse = rng.random(PIXELS) < 0.5
    probs[:, coarse] = np.round(probs[:, coarse] * 8) / 8
    probs[0, coarse] = 1 - probs[1:, coarse].sum(axis=0)
    probs[:, (probs < 0).any(axis=0)] = 1 / num_classes
    if np.dtype(dtype).kind == "u":
        return labels, np.round(probs * np.iinfo(dtype).max).astype(dtype)
    return labels, probs.astype(dtype)


def both(search: ErrorSearch, level: str) -> Iterator[PlainSweep | CompiledSweep]:
    yield PlainSweep(search._plan)
    yield CompiledPlan(search._plan, level).sweep()


def check(
    search: ErrorSearch, labels: Array, probs: Array, level: str, axis: int = 0, memory: int = 0
) -> None:
    """Every pass, the flagging one included, by both engines."""
    runs = list(split_runs(labels, probs, class_axis=axis))
    memories = [Memory(memory) for _ in runs]
    while not search.ready:
        tallies: list[Tally] = []
        for sweep in both(search, level):
            for case, run in enumerate(runs):
                sweep.count(run, case, "case", memories[case])
            tallies.append(sweep.tally())
        assert tallies[0] == tallies[1], search.pending
        search = search.advance(tallies[0])
    marked = [mark(search, sweep, runs, memories) for sweep in both(search, level)]
    assert marked[0].any()
    assert np.array_equal(marked[0], marked[1])


def mark(
    search: ErrorSearch,
    sweep: PlainSweep | CompiledSweep,
    runs: list[Run],
    memories: list[Memory],
) -> Array:
    found = []
    for case, run in enumerate(runs):
        flagged = np.zeros(len(run), bool)
        sweep.mark(run, search._plan.cuts.left(case), "case", memories[case], flagged)
        found.append(flagged)
    return np.concatenate(found)


@pytest.mark.parametrize("level", native.levels())
@pytest.mark.parametrize("dtype", ["uint8", "uint16", "float16", "float32", "float64"])
@pytest.mark.parametrize("num_classes", CLASSES)
def test_every_level_counts_and_marks_as_numpy_does(
    level: str, dtype: str, num_classes: int
) -> None:
    labels, probs = problem(num_classes, dtype)
    for method in METHODS:
        search = ErrorSearch(num_classes, probs.dtype, method, with_statistics=True)
        check(search, labels, probs, level, memory=40_000 if method == "both" else 0)


@pytest.mark.parametrize("level", native.levels())
@pytest.mark.parametrize(
    "dtype", ["uint8", "uint16", "float16", "float32", "float64", ">f2", ">f4"]
)
@pytest.mark.parametrize("layout", ["pixel by pixel", "every other", "backwards", "rows", "odd"])
@pytest.mark.parametrize("num_classes", [2, 4, 6])
def test_any_layout_in_memory(level: str, dtype: str, layout: str, num_classes: int) -> None:
    labels, probs = problem(num_classes, np.dtype(dtype).name)
    probs = probs.astype(dtype)
    axis = 0
    if layout == "pixel by pixel":
        probs, axis = np.ascontiguousarray(probs.T), -1
    elif layout == "every other":
        labels, probs = np.repeat(labels, 2)[::2], np.repeat(probs, 2, axis=1)[:, ::2]
    elif layout == "backwards":
        labels, probs = labels[::-1], probs[::-1, ::-1]
        labels = (num_classes - 1 - labels).astype(labels.dtype)
    elif layout == "rows":
        # not one piece of memory: a run for each row
        grid = (num_classes, 9, 1000)
        labels, probs = labels[:9_000].reshape(9, 1000), probs[:, :9_000].reshape(grid)
        labels, probs = labels[:, :-1], probs[:, :, :-1]
    else:
        # on an odd address
        room = np.empty(probs.nbytes + 1, np.uint8)[1:].view(probs.dtype).reshape(probs.shape)
        room[:] = probs
        probs = room
    check(ErrorSearch(num_classes, probs.dtype), labels, probs, level, axis)


@pytest.mark.parametrize("level", native.levels())
@pytest.mark.parametrize("num_classes", [3, 9])
@pytest.mark.parametrize(
    "labels_as", ["u1", "i1", "u2", "i2", "u4", "i4", "u8", "i8", ">i4", "strided u1"]
)
@pytest.mark.parametrize("ignore", [None, 0, 77, -1])
def test_labels_of_any_kind(
    level: str, num_classes: int, labels_as: str, ignore: int | None
) -> None:
    labels, probs = problem(num_classes, "float32")
    kind = np.dtype(labels_as.split()[-1])
    labels = labels.astype(kind)
    if ignore == -1 and kind.kind == "u":
        ignore = int(np.iinfo(kind).max)
    if ignore is not None:
        hidden = np.random.default_rng(3).random(PIXELS) < 0.3
        labels[hidden] = ignore
        probs[:, hidden] = np.nan
    if labels_as.startswith("strided"):
        labels = np.repeat(labels, 3)[::3]
    if ignore == 0:
        probs[:, labels == 0] = np.inf
    for method in ("both", "union", "low_normalized_margin", "low_self_confidence"):
        check(ErrorSearch(num_classes, probs.dtype, method, ignore=ignore), labels, probs, level)


@pytest.mark.parametrize("level", native.levels())
@pytest.mark.parametrize("dtype", ["uint8", "uint16", "float16", "float32", "float64"])
def test_the_foreground_alone(level: str, dtype: str) -> None:
    labels, probs = problem(2, dtype)
    for foreground in (probs[1], np.repeat(probs[1], 2)[::2]):
        for method in ("both", "low_self_confidence"):
            check(ErrorSearch(2, probs.dtype, method), labels, foreground, level)


@pytest.mark.parametrize("level", native.levels())
def test_every_half_is_read_exactly(level: str) -> None:
    halves = np.arange(0x3C01, dtype=np.uint16).view(np.float16)
    for foreground in (halves, halves[::-1].copy()):
        labels = np.ones(len(foreground), np.uint8)
        sweep = CompiledPlan(ErrorSearch(2, np.dtype(np.float16))._plan, level).sweep()
        sweep.count(next(split_runs(labels, foreground)), 0, "case", Memory(0))
        sums = sweep.tally().sums
        assert sums is not None
        assert sums.sums[1] == sum(int(value * 2**46) for value in halves.tolist())


@pytest.mark.parametrize("level", native.levels())
@pytest.mark.parametrize("absent", [0, 2, 4])
@pytest.mark.parametrize("num_classes", [5, 4])
def test_a_class_without_a_pixel(level: str, absent: int, num_classes: int) -> None:
    labels, probs = problem(num_classes, "float32")
    labels[labels == absent] = 1
    for method in ("both", "confident_joint", "union"):
        check(ErrorSearch(num_classes, probs.dtype, method), labels, probs, level)


@pytest.mark.parametrize("level", native.levels())
@pytest.mark.parametrize("memory", [0, 5_000, 100_000, 1 << 24])
@pytest.mark.parametrize("method", ["both", "prune_by_class", "confident_joint", "argmax"])
def test_what_is_remembered_changes_nothing(level: str, memory: int, method: str) -> None:
    labels, probs = problem(3, "float32")
    search = replace(ErrorSearch(3, probs.dtype, method), fixed_thresholds=(0.5, 0.6, 0.4))
    check(search, labels, probs, level, memory=memory)


@pytest.mark.parametrize("level", native.levels())
def test_more_candidates_than_are_brought_back_at_a_time(
    level: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("maskmend.arrays.compiled._FOUND", 1)
    labels, probs = problem(4, "float32")
    probs[:] = 0.25
    probs[:, :100] = np.array([0.4, 0.2, 0.2, 0.2], np.float32)[:, None]
    for method in ("low_self_confidence", "both"):
        check(ErrorSearch(4, probs.dtype, method), labels, np.tile(probs, 1), level)


def test_the_job_has_the_fields_of_the_header() -> None:
    with open(f"{native.FOLDER}/job.h", encoding="utf-8") as file:
        text = re.sub(r"/\*.*?\*/", "", file.read(), flags=re.DOTALL)
    body = text[text.index("typedef struct {") + 16 : text.index("} Job;")]
    expected = []
    for line in filter(None, map(str.strip, body.split(";"))):
        kind, names = re.fullmatch(r"((?:const )?\w+) (.*)", line, re.DOTALL).groups()  # type: ignore[union-attr]
        for name in names.split(","):
            real = "c_double" if kind == "double" else "c_long"
            expected.append((name.strip().lstrip("*"), "c_void_p" if "*" in name else real))
    assert [(name, kind.__name__) for name, kind, *_ in Job._fields_] == expected


def test_a_processor_has_the_plain_kernels_at_least() -> None:
    assert native.levels()[0] == "plain"
