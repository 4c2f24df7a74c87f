"""How far the review is, how fast, how right the findings are, and whether reviewers agree."""

from __future__ import annotations

import math
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from itertools import combinations, pairwise
from typing import Any

from maskmend.core import Decision
from maskmend.review.state import OPEN, STATES, ReviewState

LOOKED_BACK = 30
"""Decisions over which the pace is taken."""

PAUSE = 300.0
"""Seconds: a longer gap between two decisions is a pause, and no part of the pace."""

NORMAL_95 = 1.959963984540054
"""Quantile of the normal distribution for an interval of 95 %."""


@dataclass(frozen=True)
class Precision:
    """How many of the findings that somebody judged one by one are errors.

    accepted: accepted or edited.  judged: those and the rejected.  low, high: 95 % interval
    (Wilson).  value is NaN, and the interval 0..1, where nothing is judged.
    """

    accepted: int
    judged: int

    @property
    def value(self) -> float:
        return self.accepted / self.judged if self.judged else math.nan

    @property
    def interval(self) -> tuple[float, float]:
        return wilson_interval(self.accepted, self.judged)

    def to_json(self) -> dict[str, Any]:
        low, high = self.interval
        value = self.value if self.judged else None
        return {"accepted": self.accepted, "judged": self.judged, "value": value,
                "low": low, "high": high}  # fmt: skip


@dataclass(frozen=True)
class Agreement:
    """Two reviewers on one finding, over all such pairs.

    pairs: of reviewers, counted over the findings.  share: in which both say the same: an error
    (accept, edit), none (reject), unsure.  kappa: Cohen's, which takes off what chance would give;
    of more than two reviewers the mean over their pairings, weighted by findings.  NaN where
    all say the same of everything, since chance would then, too.
    """

    pairs: int
    share: float
    kappa: float

    def to_json(self) -> dict[str, Any]:
        kappa = None if math.isnan(self.kappa) else self.kappa
        return {"pairs": self.pairs, "share": self.share, "kappa": kappa}


def wilson_interval(hits: int, total: int, z: float = NORMAL_95) -> tuple[float, float]:
    """Interval of a share, in 0..1; (0, 1) without any observation.

    E. B. Wilson, Journal of the American Statistical Association 22, 1927.
    """
    if total == 0:
        return 0.0, 1.0
    share, weight = hits / total, z * z / total
    centre = (share + weight / 2) / (1 + weight)
    half = z / (1 + weight) * math.sqrt(share * (1 - share) / total + weight / (4 * total))
    # at no hit, and at all, the bound is exact; rounding would leave it beside 0 and 1
    low = 0.0 if hits == 0 else max(centre - half, 0.0)
    return low, 1.0 if hits == total else min(centre + half, 1.0)


def cohens_kappa(pairs: Sequence[tuple[str, str]]) -> float:
    """Of what two reviewers say of the same things; NaN where chance alone would agree fully.

    J. Cohen, Educational and Psychological Measurement 20, 1960.
    """
    if not pairs:
        return math.nan
    total = len(pairs)
    first, second = (Counter(pair[side] for pair in pairs) for side in (0, 1))
    observed = sum(a == b for a, b in pairs) / total
    chance = sum(first[name] * second[name] for name in first) / total**2
    return math.nan if chance == 1 else (observed - chance) / (1 - chance)


def agreement_of(judged: Iterable[Mapping[str, str]]) -> Agreement | None:
    """judged: of each finding reviewer -> what they say; None where no two saw the same."""
    pairings: dict[tuple[str, str], list[tuple[str, str]]] = defaultdict(list)
    for said in judged:
        for one, other in combinations(sorted(said), 2):
            pairings[one, other].append((said[one], said[other]))
    total = sum(map(len, pairings.values()))
    if not total:
        return None
    same = sum(a == b for pairs in pairings.values() for a, b in pairs)
    kappas = [(cohens_kappa(pairs), len(pairs)) for pairs in pairings.values()]
    known = [(kappa, weight) for kappa, weight in kappas if not math.isnan(kappa)]
    weights = sum(weight for _, weight in known)
    kappa = sum(kappa * weight for kappa, weight in known) / weights if weights else math.nan
    return Agreement(total, same / total, kappa)


def pace(decisions: Sequence[Decision]) -> float | None:
    """Decisions a minute, pauses left out; None where there are not two in a row.

    decisions: oldest first.
    """
    times = [datetime.fromisoformat(each.time).timestamp() for each in decisions]
    gaps = [later - sooner for sooner, later in pairwise(times)]
    worked = [gap for gap in gaps if 0 <= gap <= PAUSE]
    # two in one millisecond: a clock has no more to say
    return 60 * len(worked) / max(sum(worked), 1e-3) if worked else None


def precision_of(tally: Mapping[tuple[str, str, bool], int], kind: str | None = None) -> Precision:
    """Over all types of findings, or over one."""
    counts: Counter[str] = Counter()
    for (type_, state, seen), findings in tally.items():
        if seen and kind in (None, type_):
            counts[state] += findings
    accepted = counts["accept"] + counts["edit"]
    return Precision(accepted, accepted + counts["reject"])


def progress(state: ReviewState, reviewer: str | None = None) -> dict[str, Any]:
    """What `/api/progress` says.  reviewer: whose pace it is; that of all together for None."""
    by_state = Counter({name: 0 for name in STATES})
    # a copy: another thread may store a decision meanwhile
    tally = dict(state.tally)
    for (_, name, _), findings in tally.items():
        by_state[name] += findings
    types = sorted({type_ for type_, _, _ in tally})
    return {
        "total": len(state.findings),
        "decided": len(state.findings) - by_state[OPEN],
        "by_state": dict(by_state),
        "per_minute": pace(state.recent(reviewer, LOOKED_BACK)),
        "precision": {
            **precision_of(tally).to_json(),
            "overall": precision_of(tally).to_json(),
            "by_type": {name: precision_of(tally, name).to_json() for name in types},
        },
        "agreement": _agreement(state),
    }


def _agreement(state: ReviewState) -> dict[str, Any] | None:
    judged = []
    for standing in state.shared():
        said = {
            each.reviewer: "error" if each.verdict in ("accept", "edit") else each.verdict
            for each in standing.by
            if not state.in_bulk(each)
        }
        judged.append(said)
    found = agreement_of(judged)
    return None if found is None else found.to_json()
