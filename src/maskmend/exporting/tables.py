"""findings.csv, where to look, and changes.csv, every change and why."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from maskmend.arrays.regions import Region, find_regions, world_position
from maskmend.core import Case, Grid, LabelScheme
from maskmend.exporting.deciding import Decided
from maskmend.exporting.labels import Change
from maskmend.store import Run

AXES = ("slice", "row", "column")

FINDINGS_HEADER = (
    "case", "structure", "given", "suggested", "region", "pixels", "size", "unit",
    "share_of_structure", "margin", "best_slice",
    *(f"{axis}_{end}" for axis in AXES for end in ("first", "last")),
    *(f"centroid_{axis}" for axis in AXES), "x_mm", "y_mm", "z_mm",
)  # fmt: skip

CHANGES_HEADER = (
    "case", "structure", "voxels", "from", "to", "method", "agreement", "doubted", "threshold",
    "why",
)  # fmt: skip

THRESHOLDED = frozenset(
    {"confident_joint", "prune_by_class", "prune_by_noise_rate", "both", "intersection", "union"}
)
"""Methods in which the threshold of the suggested class has a say."""

RULES: Mapping[str, str] = {
    "argmax": "another class is more probable",
    "confident_joint": "another class is probable beyond its threshold",
    "prune_by_class": "among the least probable pixels of its class, as many as are held wrong",
    "prune_by_noise_rate": "among the largest margins of its pair of classes, as many as are "
    "held wrong",
    "both": "found by prune_by_class and by prune_by_noise_rate",
    "intersection": "found by both and by confident_joint",
    "union": "found by both or by confident_joint",
    "low_self_confidence": "among the lowest probabilities of the given class",
    "low_normalized_margin": "among the lowest margins of the given class over the others",
}


@dataclass(frozen=True)
class Finding:
    """One region of one case.  number: 1, 2, ... in the case, highest score first.

    structure: the plane, or the class concerned where classes are exclusive: the given one, or
    the suggested one where background was given.  size: pixels x content of a pixel on the grid.
    share: pixels over those that the labels give to the structure; NaN where there are none.
    """

    case: str
    structure: str
    given: str
    suggested: str
    number: int
    region: Region
    grid: Grid
    share: float

    @property
    def size(self) -> float:
        return self.region.size * math.prod(self.grid.steps)

    @property
    def score(self) -> float:
        """Size x margin."""
        return self.size * self.region.margin


def findings_of(case: Case, decision: Decided, grid: Grid, scheme: LabelScheme) -> list[Finding]:
    """The regions of all planes of one case, highest score first."""
    found: list[tuple[int, Region]] = []
    for plane, margins in enumerate(decision.margins):
        regions = find_regions(
            decision.given[plane], decision.labels[plane], decision.flagged[plane], margins
        )
        found += [(plane, region) for region in regions]
    found.sort(key=lambda pair: (-pair[1].score, pair[0], pair[1].box))
    sizes = {name: int(scheme.structure_mask(decision.given, name).sum())
             for name in scheme.structures}  # fmt: skip
    findings = []
    for number, (plane, region) in enumerate(found, start=1):
        names = scheme.class_names(plane)
        structure = names[region.given or region.suggested]
        share = region.size / sizes[structure] if sizes[structure] else math.nan
        pair = (names[region.given], names[region.suggested])
        findings.append(Finding(case.id, structure, *pair, number, region, grid, share))
    return findings


def findings_rows(findings: Sequence[Finding]) -> list[list[Any]]:
    """As FINDINGS_HEADER says, best first.  Indices count from 0, `last` is inside."""
    ordered = sorted(findings, key=lambda found: (-found.score, found.case, found.number))
    return [_finding_row(found) for found in ordered]


def _finding_row(found: Finding) -> list[Any]:
    region, grid = found.region, found.grid
    axes = len(region.box)
    lacking = [None] * (len(AXES) - axes)
    box = [index for first, end in region.box for index in (first, end - 1)]
    world: Sequence[float | None] = (None, None, None)
    if grid.affine is not None:
        world = world_position(region.centroid, grid.affine)
    unit = grid.unit if grid.spacing is None else f"{grid.unit}{axes}"
    return [
        found.case, found.structure, found.given, found.suggested, found.number, region.size,
        found.size, unit, found.share, region.margin,
        region.best_slice if axes == len(AXES) else None,
        *lacking, *lacking, *box, *lacking, *region.centroid, *world,
    ]  # fmt: skip


class Reasons:
    """Why pixels were changed: method, agreement of the mask, threshold, rule; read once."""

    def __init__(self, run: Run) -> None:
        flag = run.settings.flag
        self.method = flag.method
        self._scheme = run.dataset.scheme
        self._planes = self._scheme.planes
        self._masks = {(row["case"], row["structure"]): row for row in run.read_masks_table()}
        self._counts = run.read_json("counts.json")
        self._rule = RULES.get(flag.method) or (
            f"the mask is doubted, being more than {flag.doubt_ratio:g} times as far from its "
            "out-of-sample prediction as is ordinary, and differs from it here"
        )

    def row(self, case: Case, change: Change) -> list[Any]:
        """As CHANGES_HEADER says."""
        masks = [self._masks[case.id, name] for name in self._concerned(change)]
        agreements = [float(mask["agreement"]) for mask in masks if mask["agreement"]]
        return [
            case.id, change.structure, change.pixels, change.before, change.after, self.method,
            min(agreements, default=None), any(mask["doubted"] == "True" for mask in masks),
            self._threshold(change), self._rule,
        ]  # fmt: skip

    def _concerned(self, change: Change) -> list[str]:
        """The structures that lost or got the pixels."""
        if self._scheme.overlapping:
            return [self._planes[plane] for plane in change.planes]
        return [name for name in self._scheme.structures if name in (change.before, change.after)]

    def _threshold(self, change: Change) -> float | None:
        """Of the class that the pixels took; None where the method asks for none."""
        if self.method not in THRESHOLDED or len(change.planes) != 1:
            return None
        counts = self._counts[self._planes[change.planes[0]]]
        names = counts["classes"]
        threshold: float | None = (
            counts["thresholds"][names.index(change.after)] if change.after in names else None
        )
        return threshold
