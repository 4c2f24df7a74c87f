"""What the ranking wrote: findings, best first, and the order in which cases are looked at."""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from maskmend import files
from maskmend.core import Finding
from maskmend.reporting.measuring import Measured
from maskmend.store import Run

AXES = ("slice", "row", "column")

MEANINGS: Mapping[str, str] = {
    "missing": "the structure, or a part of it, is not in the mask",
    "extra": "a part of the mask is no part of the structure",
    "over": "the boundary lies too far outside",
    "under": "the boundary lies too far inside",
    "shifted": "the whole mask lies in another place",
    "swapped": "two classes are mistaken for each other",
    "left-right": "left and right are mistaken for each other",
    "rough": "the outline is ragged or coarse",
    "empty": "there is no mask at all",
}


@dataclass(frozen=True)
class Found:
    """findings: best first; None where `maskmend rank` has not been run.  order: indices of all
    cases of the run, to be looked at first in front.  ranked: the order is that of the ranking.
    """

    findings: tuple[Finding, ...] | None
    order: tuple[int, ...]
    ranked: bool

    def of_case(self) -> dict[str, list[Finding]]:
        """Case -> its findings, best first."""
        by_case: dict[str, list[Finding]] = defaultdict(list)
        for finding in self.findings or ():
            by_case[finding.case].append(finding)
        return by_case


def read_found(run: Run, measured: Measured) -> Found:
    """The ranking of a run; without one, the cases with the largest change come first."""
    findings = _read_findings(run) if (run.root / "findings.csv").exists() else None
    if not (run.root / "cases.csv").exists():
        change = np.nansum(measured.change, axis=1)
        return Found(findings, tuple(np.argsort(-change, kind="stable").tolist()), False)
    ranks = {row["case"]: int(row["rank"]) for row in files.read_csv(run.root / "cases.csv")}
    last = len(ranks) + 1
    keys = [(ranks.get(case.id, last), index) for index, case in enumerate(run.cases)]
    return Found(findings, tuple(index for _, index in sorted(keys)), True)


def _read_findings(run: Run) -> tuple[Finding, ...]:
    planes = run.dataset.scheme.planes
    rows = files.read_csv(run.root / "findings.csv")
    return tuple(_finding(row, planes) for row in rows)


def _finding(row: Mapping[str, str], planes: tuple[str, ...]) -> Finding:
    axes = [axis for axis in AXES if row[f"{axis}_first"]]
    return Finding(
        id=row["id"], case=row["case"], number=int(row["number"]), plane=_plane(row, planes),
        structure=row["structure"], type=row["type"], given=row["given"],
        suggested=row["suggested"], pixels=int(row["pixels"]), size=float(row["size"]),
        unit=row["unit"], share=_number(row["share"]), distance=_number(row["distance"]),
        margin=_number(row["margin"]),
        box=tuple((int(row[f"{axis}_first"]), int(row[f"{axis}_last"]) + 1) for axis in axes),
        best_slice=int(row["best_slice"]) if row["best_slice"] else None,
        centroid=tuple(float(row[f"centroid_{axis}"]) for axis in axes),
        score=_number(row["score"]),
    )  # fmt: skip


def _plane(row: Mapping[str, str], planes: tuple[str, ...]) -> int:
    return int(row["plane"]) if row["plane"].isdecimal() else planes.index(row["plane"])


def _number(text: str) -> float:
    return float(text) if text else math.nan
