"""changes.csv: every change, and why."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from maskmend.core import Case
from maskmend.exporting.labels import Change
from maskmend.store import Run

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


class Reasons:
    """Why pixels were changed: method, agreement of the mask, threshold, rule; read once."""

    def __init__(self, run: Run, reviewed: bool = False) -> None:
        """reviewed: people decided, and not the method."""
        flag = run.settings.flag
        self.method: str = flag.method
        self._scheme = run.dataset.scheme
        self._planes = self._scheme.planes
        self._masks = {(row["case"], row["structure"]): row for row in run.read_masks_table()}
        self._counts = run.read_json("counts.json")
        self._rule = RULES.get(flag.method) or (
            f"the mask is doubted, being more than {flag.doubt_ratio:g} times as far from its "
            "out-of-sample prediction as is ordinary, and differs from it here"
        )
        if reviewed:
            self.method, self._rule = "review", "decided by reviewers: outcomes.csv, decisions.csv"

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
