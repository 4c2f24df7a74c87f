"""Labels with decisions painted on: by hand, and against slow loops."""

from __future__ import annotations

import hashlib
from dataclasses import replace

import numpy as np
import pytest
from numpy.typing import NDArray

from maskmend.core import IGNORED, Decision, Finding
from maskmend.errors import RunMismatchError
from maskmend.review.pixels import (
    CasePixels,
    PlaneDigest,
    PlanePixels,
    Repaint,
    case_pixels,
    digest,
    overlapping_runs,
    repainted,
    repaints,
    sliced,
)
from maskmend.review.state import Standing
from maskmend.store import Run

Made = tuple[Run, tuple[Finding, ...]]


def pixels(where: list[int], suggested: int, number: int = 1) -> PlanePixels:
    count = len(where)
    return PlanePixels(
        np.array(where, np.int64), np.full(count, number, np.uint16),
        np.full(count, suggested, np.uint8),
    )  # fmt: skip


def test_three_by_three_by_hand() -> None:
    given = np.array([[0, 0, 1], [0, 255, 1], [0, 0, 0]], np.uint8)
    before = given.copy()
    accept, edit = Repaint(0, pixels([0, 2], 2)), Repaint(0, runs=((2, 4, 3), (8, 1, 1)))
    np.testing.assert_array_equal(repainted(given, [accept]), [[2, 0, 2], [0, 255, 1], [0, 0, 0]])
    # the ignored pixel stays ignored, the later one is painted over the earlier one
    np.testing.assert_array_equal(
        repainted(given, [accept, edit]), [[2, 0, 3], [3, 255, 3], [0, 0, 1]]
    )
    np.testing.assert_array_equal(
        repainted(given, [edit, accept]), [[2, 0, 2], [3, 255, 3], [0, 0, 1]]
    )
    np.testing.assert_array_equal(repainted(given, []), given)
    np.testing.assert_array_equal(given, before)


@pytest.mark.parametrize("axis", [0, 1, 2])
def test_a_slice_of_pixels_is_that_of_the_volume(axis: int) -> None:
    rng, shape = np.random.default_rng(axis), (4, 5, 7)
    volume = rng.integers(0, 2, shape).astype(bool)
    where = np.flatnonzero(volume)
    values = rng.permutation(len(where)).astype(np.uint16)
    some = PlanePixels(where, values, np.zeros(len(where), np.uint8))
    full = np.zeros(shape, int)
    full[volume] = values + 1
    for k in range(shape[axis]):
        here, at = sliced(some, shape, axis, k)
        expected = np.take(full, k, axis=axis)
        found: NDArray[np.int64] = np.zeros(expected.size, np.int64)
        found[at] = values[here].astype(int) + 1
        np.testing.assert_array_equal(found.reshape(expected.shape), expected)


def test_repaints_come_in_the_order_of_the_decisions(pictures: Made) -> None:
    run, findings = pictures
    case = run.cases[0]
    one, other = (each for each in findings if each.case == case.id)
    marks = case_pixels(run, case, run.read_given(case), [one, other])

    def stands(verdict: str, number: int) -> Standing:
        made = Decision(number, "", "ann", case.id, one.id, verdict)
        return Standing(verdict, (made,), True)

    runs = ((0, 2, 1),)
    found = repaints(
        marks, [(one, stands("edit", 9)), (other, stands("accept", 4))],
        lambda number: runs if number == 9 else (),
    )  # fmt: skip
    assert [each.runs for each in found] == [(), runs]
    assert found[0].pixels is marks.by_finding[other.number]
    left = [(one, stands("reject", 1)), (other, stands("unsure", 2)), (one, Standing())]
    assert repaints(marks, left, lambda _: ()) == []


@pytest.mark.parametrize("which", ["pictures", "volumes"])
def test_the_pixels_of_a_case(which: str, request: pytest.FixtureRequest) -> None:
    run, findings = request.getfixturevalue(which)
    for case in run.cases:
        mine = [each for each in findings if each.case == case.id]
        given, mended = np.array(run.read_given(case)), run.read_mended(case)
        marks: CasePixels = case_pixels(run, case, given, mine)
        labels = np.stack([
            repainted(plane, [Repaint(number, marks.planes[number])])
            for number, plane in enumerate(given)
        ])  # fmt: skip
        # every flagged pixel is in a finding of these runs
        np.testing.assert_array_equal(labels, mended)
        assert sorted(marks.by_finding) == sorted(each.number for each in mine)
        for each in mine:
            assert len(marks.by_finding[each.number].where) == each.pixels


def test_findings_of_another_ranking_are_refused(pictures: Made) -> None:
    run, findings = pictures
    case = run.cases[0]
    given = run.read_given(case)
    first = next(each for each in findings if each.case == case.id)
    shifted = tuple((start + 1, end + 2) for start, end in first.box)
    outside = tuple((start + 1000, end + 1000) for start, end in first.box)
    for wrong in (
        [replace(first, box=shifted)],
        [replace(first, box=outside)],
        [replace(first, number=99)],
    ):
        with pytest.raises(RunMismatchError, match="maskmend rank"):
            case_pixels(run, case, given, wrong)
    with pytest.raises(RunMismatchError, match="share pixels"):
        case_pixels(run, case, given, [first, first])


def test_a_digest_is_that_of_the_values_in_order() -> None:
    labels = np.arange(12, dtype=np.uint8).reshape(3, 4)
    assert digest(labels) == hashlib.sha256(bytes(range(12))).hexdigest()
    assert digest(np.asfortranarray(labels)) == digest(labels)


def test_runs_that_overlap() -> None:
    assert not overlapping_runs(())
    assert not overlapping_runs(((0, 2, 1), (2, 1, 0)))
    assert overlapping_runs(((0, 3, 1), (2, 1, 0)))


@pytest.mark.parametrize("step", [1, 7, 60, 1000])
def test_the_digest_of_a_decision_is_that_of_the_whole_plane(
    step: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("maskmend.review.pixels.STEP", step)
    rng = np.random.default_rng(step)
    given = rng.integers(0, 3, (3, 4, 5)).astype(np.uint8)
    given[1, 2] = IGNORED
    digested = PlaneDigest(given)
    assert digested.given == digest(given)
    for count in range(1, 40):
        where = np.sort(rng.choice(given.size, count, replace=False))
        own = PlanePixels(where, np.ones(count, np.uint16), np.full(count, 2, np.uint8))
        start, length = int(where[0]), min(count, given.size - int(where[0]))
        for repaint in (Repaint(0, own), Repaint(0, runs=((start, length, 1),))):
            wanted = digest(repainted(given, [repaint]))
            assert digested.repainted(given, repaint) == wanted
    assert digested.repainted(given, Repaint(0)) == digest(given)
    assert digested.given == digest(given)
