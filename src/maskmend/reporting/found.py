"""What the ranking wrote: findings, best first, and the order in which cases are looked at."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from maskmend.core import Finding
from maskmend.findings import NAME as FINDINGS
from maskmend.findings import read_findings
from maskmend.rankings import CASES, read_cases
from maskmend.reporting.measuring import Measured
from maskmend.store import Run

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
    findings = read_findings(run) if (run.root / FINDINGS).exists() else None
    # a ranking without findings is that of an earlier flagging
    if findings is None or not (run.root / CASES).exists():
        change = np.nansum(measured.change, axis=1)
        return Found(findings, tuple(np.argsort(-change, kind="stable").tolist()), False)
    ranks = {case.case: case.rank for case in read_cases(run)}
    last = len(ranks) + 1
    keys = [(ranks.get(case.id, last), index) for index, case in enumerate(run.cases)]
    return Found(findings, tuple(index for _, index in sorted(keys)), True)
