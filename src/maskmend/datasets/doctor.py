"""What a data set is like, case by case, before anything is computed with it."""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from maskmend.core import QUIET, Case, Dataset, LeftOut, Listener
from maskmend.datasets.checks import Inspection
from maskmend.datasets.found import LABEL_MAP, Found
from maskmend.datasets.images import read_image
from maskmend.datasets.reading import Examined, examine
from maskmend.datasets.tree import number_of, shorten

SAMPLED = 1_000_000
"""Pixels of an image, evenly spread, that its percentiles are taken from."""

RANGE_FACTOR = 10
"""An image whose range of values is so many times that of the median image is an outlier."""

SPACING_FACTOR = 2
"""Likewise for the spacing along an axis."""


@dataclass(frozen=True)
class CaseFacts:
    """One usable case.

    low, high: 1st and 99th percentile of the image.  digest: SHA-256 of its pixels.  axes: which
    way its axes run, such as "SPL", or "" where the file does not know.  voxels: structure ->
    its voxels, of those labelled in this case.  ignored: voxels that take no part.
    """

    case: Case
    channels: int
    dtype: str
    shape: tuple[int, ...]
    spacing: tuple[float, ...] | None
    axes: str
    low: float
    high: float
    digest: str
    voxels: Mapping[str, int]
    ignored: int


@dataclass(frozen=True)
class Diagnosis:
    """What `diagnose` found.  warnings: sentences on what is unusual, not on what was left out."""

    dataset: Dataset
    cases: tuple[CaseFacts, ...]
    warnings: tuple[str, ...]

    @property
    def left_out(self) -> tuple[LeftOut, ...]:
        return self.dataset.left_out

    def structures(self) -> dict[str, tuple[int, int, int]]:
        """Structure -> (cases labelled, cases in which it occurs, voxels in all)."""
        found = {}
        for name in self.dataset.scheme.structures:
            counts = [facts.voxels[name] for facts in self.cases if name in facts.voxels]
            found[name] = (len(counts), sum(count > 0 for count in counts), sum(counts))
        return found

    def table(self) -> tuple[list[str], list[list[Any]]]:
        """(header, rows), one row a case, those left out at the end."""
        structures = self.dataset.scheme.structures
        header = [
            "case", "usable", "reason", "split", "group", "image", "channels", "dtype", "shape",
            "spacing", "axes", "low", "high", "image_sha256", "ignored",
            *(f"voxels:{name}" for name in structures),
        ]  # fmt: skip
        rows: list[list[Any]] = [
            [
                f.case.id, True, None, f.case.split, f.case.group,
                ";".join(str(path) for path in f.case.images), f.channels, f.dtype,
                " ".join(map(str, f.shape)),
                None if f.spacing is None else " ".join(f"{step:g}" for step in f.spacing),
                f.axes, f.low, f.high, f.digest, f.ignored,
                *(f.voxels.get(name) for name in structures),
            ]
            for f in self.cases
        ]  # fmt: skip
        empty = [None] * (len(header) - 3)
        return header, rows + [[out.case, False, out.reason, *empty] for out in self.left_out]

    def to_json(self) -> dict[str, Any]:
        header, rows = self.table()
        structures = {
            name: {"labelled": labelled, "present": present, "voxels": voxels}
            for name, (labelled, present, voxels) in self.structures().items()
        }
        return {
            "root": str(self.dataset.root),
            "layout": self.dataset.layout,
            "understood": list(self.dataset.understood),
            "warnings": list(self.warnings),
            "structures": structures,
            "stated_folds": [
                {"trained_on": sorted(fold.trained_on), "held_out": sorted(fold.held_out)}
                for fold in self.dataset.stated_folds
            ],
            "cases": [dict(zip(header, row, strict=True)) for row in rows],
        }


def diagnose(
    found: Found, ignore_value: int | None = None, group_pattern: str | None = None,
    listener: Listener = QUIET,
) -> Diagnosis:  # fmt: skip
    """Open a data set and look at every image.  Settings and errors as in `open_dataset`."""
    examined = examine(
        found, ignore_value=ignore_value, group_pattern=group_pattern, listener=listener
    )
    pairs = list(zip(examined.dataset.cases, examined.inspections, strict=True))
    facts = []
    for done, (case, inspection) in enumerate(pairs, start=1):
        facts.append(_case_facts(examined.dataset, case, inspection))
        listener.case("look at images", done, len(pairs))
    return Diagnosis(examined.dataset, tuple(facts), tuple(_warnings(examined, facts)))


def _case_facts(dataset: Dataset, case: Case, inspection: Inspection) -> CaseFacts:
    image, header = read_image(case), inspection.image
    sample = image.reshape(-1)[:: max(1, image.size // SAMPLED)]
    low, high = np.percentile(sample, [1, 99]).tolist()
    voxels = {
        name: count
        for name, count in _voxels(dataset, inspection).items()
        if _is_labelled(dataset, case, name)
    }
    ignored = sum(counts.get(dataset.ignore_value or 0, 0) for counts in inspection.counts.values())
    return CaseFacts(
        case, header.channels, str(header.dtype), header.grid.shape, header.grid.spacing,
        _axes(header.grid.affine), low, high, _digest(image), voxels,
        ignored if dataset.ignore_value is not None and not inspection.layered else 0,
    )  # fmt: skip


def _digest(image: NDArray[Any]) -> str:
    """Of the values, in the order of the axes, whatever file they come from."""
    digest = hashlib.sha256(f"{image.shape} {image.dtype}".encode())
    digest.update(np.ascontiguousarray(image).data)
    return digest.hexdigest()


def _is_labelled(dataset: Dataset, case: Case, structure: str) -> bool:
    if dataset.scheme.overlapping:
        return structure in case.masks
    return structure not in case.unlabelled


def _voxels(dataset: Dataset, inspection: Inspection) -> dict[str, int]:
    """Structure -> its voxels in the masks of a case."""
    counts, structures = inspection.counts, dataset.scheme.structures
    if inspection.layered:
        return {name: counts.get(name, {}).get(1, 0) for name in structures}
    if dataset.regions is not None:
        regions = dataset.regions.values
        return {name: sum(counts[LABEL_MAP].get(v, 0) for v in regions[name]) for name in regions}
    if not dataset.label_maps:
        return {
            name: sum(n for value, n in found.items() if value not in (0, dataset.ignore_value))
            for name, found in counts.items()
        }
    found = counts[LABEL_MAP]
    values = dataset.values[dataset.scheme.planes[0]]
    if values is None:
        return {structures[0]: found.get(1, 0) + found.get(255, 0)}
    return {name: found.get(v, 0) for name, v in zip(structures, values[1:], strict=True)}


def _axes(affine: tuple[tuple[float, ...], ...] | None) -> str:
    """The side of the patient towards which each axis grows: R or L, A or P, S or I."""
    if affine is None:
        return ""
    matrix = np.array(affine)[:3, :3]
    letters = (("L", "R"), ("P", "A"), ("I", "S"))
    nearest = np.abs(matrix).argmax(axis=0)
    return "".join(letters[row][int(matrix[row, at] > 0)] for at, row in enumerate(nearest))


def _warnings(examined: Examined, facts: Sequence[CaseFacts]) -> Iterator[str]:
    yield from _mixed("types of image values", [(f.dtype, f.case.id) for f in facts])
    yield from _mixed("directions of the axes", [(f.axes or "unknown", f.case.id) for f in facts])
    yield from _range_outliers(facts)
    yield from _spacing_outliers(facts)
    yield from _empty_masks(examined.dataset, facts)
    yield from _duplicates(facts)


def _mixed(what: str, found: Sequence[tuple[str, str]]) -> Iterator[str]:
    counts = Counter(value for value, _ in found)
    if len(counts) < 2:
        return
    said = ", ".join(f"{value} in {number_of(count, 'case')}" for value, count in
                     counts.most_common())  # fmt: skip
    rare = counts.most_common()[-1][0]
    cases = [case for value, case in found if value == rare]
    yield f"Different {what}: {said}. {rare}: {shorten(cases)}."


def _range_outliers(facts: Sequence[CaseFacts]) -> Iterator[str]:
    flat = [f.case.id for f in facts if f.high <= f.low]
    if flat:
        yield f"Nearly all pixels have one value, in {number_of(len(flat), 'image')}: " + (
            f"{shorten(flat)}."
        )
    spans = {f.case.id: f.high - f.low for f in facts if f.high > f.low}
    median = float(np.median(list(spans.values()))) if spans else 0.0
    wild = [
        case for case, span in spans.items()
        if not median / RANGE_FACTOR <= span <= median * RANGE_FACTOR
    ]  # fmt: skip
    if wild:
        yield (
            f"The range of values is over {RANGE_FACTOR} times larger or smaller than that of the "
            f"median image, {median:g}, in {number_of(len(wild), 'image')}: {shorten(wild)}."
        )


def _spacing_outliers(facts: Sequence[CaseFacts]) -> Iterator[str]:
    known = [f for f in facts if f.spacing is not None]
    if known and len(known) < len(facts):
        unknown = [f.case.id for f in facts if f.spacing is None]
        yield f"{number_of(len(unknown), 'image')} without a spacing: {shorten(unknown)}."
    by_axes: dict[int, list[CaseFacts]] = {}
    for each in known:
        by_axes.setdefault(len(each.shape), []).append(each)
    for alike in by_axes.values():
        spacings = np.array([f.spacing for f in alike], float)
        ratio = spacings / np.median(spacings, axis=0)
        odd = ((ratio > SPACING_FACTOR) | (ratio < 1 / SPACING_FACTOR)).any(axis=1)
        if odd.any():
            cases = [f.case.id for f, is_odd in zip(alike, odd, strict=True) if is_odd]
            usual = " x ".join(f"{step:g}" for step in np.median(spacings, axis=0))
            yield (
                f"The spacing is over {SPACING_FACTOR} times larger or smaller than the usual "
                f"{usual} mm in {number_of(len(cases), 'image')}: {shorten(cases)}."
            )


def _empty_masks(dataset: Dataset, facts: Sequence[CaseFacts]) -> Iterator[str]:
    blank = [f.case.id for f in facts if not any(f.voxels.values())]
    if blank:
        yield f"The masks are empty in {number_of(len(blank), 'case')}: {shorten(blank)}."
    for name in dataset.scheme.structures:
        labelled = [f for f in facts if name in f.voxels]
        without = [f.case.id for f in labelled if not f.voxels[name] and f.case.id not in blank]
        if labelled and len(without) + len(blank) >= len(labelled):
            yield f"No case has a voxel of {name}."
        elif without:
            yield f"No voxel of {name} in {number_of(len(without), 'case')}: {shorten(without)}."


def _duplicates(facts: Sequence[CaseFacts]) -> Iterator[str]:
    alike: dict[str, list[CaseFacts]] = {}
    for each in facts:
        alike.setdefault(each.digest, []).append(each)
    for found in alike.values():
        if len(found) < 2:
            continue
        names = [each.case.id for each in found]
        split = len({each.case.group for each in found}) > 1
        risk = " They count as different patients, so that one could train the teacher of the other"
        yield f"The same image: {shorten(names)}.{risk + '.' if split else ''}"
