"""The cases to look at first: pictures with given and suggested outlines, and their findings."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from maskmend.core import BoolArray, Case, Finding, Grid, LabelArray
from maskmend.datasets import read_grid, read_image
from maskmend.report.html import Figure, Section, Shown, WorstCase
from maskmend.report.overlays import Box, View, draw_view
from maskmend.report.pictures import Slice, window
from maskmend.report.tables import Cell, Table
from maskmend.reporting.found import Found
from maskmend.reporting.kinds import HEADER, finding_cells
from maskmend.reporting.measuring import Measured, suggested
from maskmend.reporting.names import count, score
from maskmend.showing import shown_slice
from maskmend.store import Run

SHOWN = 12
"""Cases with pictures."""

LISTED = 5
"""Findings that are listed of a case, and marked in its picture."""

NAMED = 4
"""Structures whose names are written into a picture at most; more hide it."""

_NEAR = 0.5
"""A nearer view is shown where it has at most this share of the picture."""


def worst_section(run: Run, found: Found, measured: Measured) -> Section:
    """The first cases of the ranking that have something to be looked at."""
    of_case, judged = found.of_case(), run.cases
    changed = np.nansum(measured.change, axis=1) > 0
    worth = [
        index for index in found.order
        if changed[index] or (found.findings is not None and of_case[judged[index].id])
    ]  # fmt: skip
    title = "The worst cases"
    if not worth:
        return Section("worst", title, ["No case has a flagged pixel."])
    shown = worth[:SHOWN]
    said = (
        f"The first {count(len(shown), 'case')} of {len(worth):,} with suggested changes, with the "
        "given and the suggested outlines of the structures that would change; where both coincide "
        "the line is of both colours."
    )
    if found.findings:
        said += " Numbers in the pictures are those of the findings."
    sentences = [said]
    cases = [
        _worst_case(run, judged[index], of_case[judged[index].id], index, measured)
        for index in shown
    ]
    return Section("worst", title, sentences, cases=cases, figures=[_numbers(run, worth, measured)])


def _numbers(run: Run, worth: Sequence[int], measured: Measured) -> Figure:
    judged = run.cases
    rows: list[Sequence[Cell]] = [
        [place, judged[index].id, name, *(float(values[index, number]) for values in
         (measured.change, measured.now, measured.after))]
        for place, index in enumerate(worth, start=1)
        for number, name in enumerate(run.dataset.scheme.structures)
    ]  # fmt: skip
    header = ["place", "case", "structure", "change", "expected_dice_now", "expected_dice_after"]
    return Figure(
        "worst_cases", "Every case with suggested changes, in this order, mask by mask.", [],
        Table(header, rows),
    )  # fmt: skip


def _worst_case(
    run: Run, case: Case, findings: Sequence[Finding], index: int, measured: Measured
) -> WorstCase:
    given, mended, flagged = suggested(run, case)
    structures = run.dataset.scheme.structures
    change = measured.change[index]
    concerned = [name for number, name in enumerate(structures) if change[number] > 0]
    listed = findings[:LISTED]
    grid = read_grid(case)
    at = _slice(listed, given, flagged, grid)
    view = _view(run, case, concerned, given, mended, grid, at)
    view = _with_boxes(view, listed, at)
    view = _radiological(view, grid, at)
    drawings = [draw_view(view, _heard(case, concerned, at, ""))]
    near = _nearer(view)
    if near is not None:
        drawings.append(draw_view(near, _heard(case, concerned, at, ", nearer")))
    facts = []
    if at is not None:
        last = grid.shape[at.axis] - 1
        facts.append(f"Shown: slice {at.index} of 0 to {last} along axis {at.axis}.")
    more = len(findings) - len(listed)
    if more:
        facts.append(f"{count(more, 'more finding')} of this case in findings.csv.")
    tables = [_masks_table(structures, index, measured)]
    if listed:
        tables.insert(0, Shown(HEADER, [finding_cells(each) for each in listed], (4, 5, 6)))
    return WorstCase(case.id, drawings, tables, facts)


def _masks_table(structures: Sequence[str], index: int, measured: Measured) -> Shown:
    """What would change in each structure that changes, and what for."""
    change, now, after = (values[index] for values in
                          (measured.change, measured.now, measured.after))  # fmt: skip
    changing = [k for k in np.argsort(-np.nan_to_num(change), kind="stable") if change[k] > 0]
    rows = [
        [structures[k], score(1 - change[k]), score(now[k]), score(after[k])]
        for k in changing[:LISTED]
    ]
    header = ("structure", "Dice given, suggested", "expected Dice now", "after")
    return Shown(header, rows, (1, 2, 3))


def _slice(
    findings: Sequence[Finding], given: LabelArray, flagged: BoolArray, grid: Grid
) -> Slice | None:
    """That with most of the first finding, or with the most flagged pixels; None of a picture."""
    if findings and findings[0].best_slice is not None:
        return Slice(0, findings[0].best_slice)
    return shown_slice(flagged, given, grid)


def _view(
    run: Run, case: Case, concerned: Sequence[str], given: LabelArray, mended: LabelArray,
    grid: Grid, at: Slice | None,
) -> View:  # fmt: skip
    scheme = run.dataset.scheme

    def masks(labels: LabelArray) -> list[BoolArray]:
        cut = labels if at is None else np.take(labels, at.index, axis=at.axis + 1)
        return [scheme.structure_mask(cut, name) for name in concerned]

    image = read_image(case)
    if at is not None:
        image = np.take(image, at.index, axis=at.axis + 1)
    steps = [step for axis, step in enumerate(grid.steps) if at is None or axis != at.axis]
    names = concerned if len(concerned) <= NAMED else ()
    return View(window(image), masks(given), masks(mended), names, (steps[0], steps[1]))


def _with_boxes(view: View, findings: Sequence[Finding], at: Slice | None) -> View:
    """Marks the findings that reach the slice shown; those with one box together."""
    labels: dict[tuple[tuple[int, int], ...], list[str]] = {}
    for finding in findings:
        box = list(finding.box)
        if at is not None:
            first, end = box.pop(at.axis)
            if not first <= at.index < end:
                continue
        labels.setdefault(tuple(box), []).append(f"{finding.number}")
    boxes = [Box(rows, columns, ", ".join(own)) for (rows, columns), own in labels.items()]
    return replace(view, boxes=boxes)


def _radiological(view: View, grid: Grid, at: Slice | None) -> View:
    """A slice of a volume as a radiologist has it: front or head up, the right side at the left."""
    if at is None or grid.affine is None:
        return view
    turns, letters = [], []
    directions = np.array(grid.affine)[:3, :3]
    for axis in (axis for axis in range(3) if axis != at.axis):
        world = int(np.argmax(np.abs(directions[:, axis])))
        turns.append(bool(directions[world, axis] > 0))
        letters.append("RAS"[world])
    return replace(view.flipped(*turns), edges=(letters[0], letters[1]))


def _nearer(view: View) -> View | None:
    """Around the first finding, or around all that changes; None where that is nearly all."""
    if view.boxes:
        spans = [view.boxes[0].rows, view.boxes[0].columns]
    else:
        pairs = zip(view.given, view.suggested, strict=True)
        differs = np.any([given != new for given, new in pairs], axis=0)
        if not differs.any():
            return None
        spans = [_span(differs.any(axis=1)), _span(differs.any(axis=0))]
    longest = max(
        (end - first) * step for (first, end), step in zip(spans, view.steps, strict=True)
    )
    size = max(longest * 1.5, 24 * min(view.steps))
    cut = [
        _around(span, round(size / step), length)
        for span, step, length in zip(spans, view.steps, view.picture.shape[:2], strict=True)
    ]
    area = np.prod([end - first for first, end in cut])
    return view.part(*cut) if area <= _NEAR * np.prod(view.picture.shape[:2]) else None


def _span(marked: BoolArray) -> tuple[int, int]:
    places = np.flatnonzero(marked)
    return int(places[0]), int(places[-1]) + 1


def _around(span: tuple[int, int], size: int, length: int) -> tuple[int, int]:
    """`size` indices with a span in their middle, as far as there are so many."""
    size = min(max(size, span[1] - span[0]), length)
    first = min(max((span[0] + span[1] - size) // 2, 0), length - size)
    return first, first + size


def _heard(case: Case, concerned: Sequence[str], at: Slice | None, how: str) -> str:
    where = "" if at is None else f", slice {at.index} along axis {at.axis}"
    return f"{case.id}{where}{how}: given and suggested outline of {', '.join(concerned)}"
