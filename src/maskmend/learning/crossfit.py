"""Folds, and teachers that each predict the cases they were not trained on."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np

from maskmend.core import Case, FoldPlan
from maskmend.errors import SettingsError


def plan_folds(cases: Iterable[Case], count: int, seed: int) -> FoldPlan:
    """Folds by patient (group), as equal in size as the groups allow; the same for the same seed.

    Groups are shuffled, then given largest first to the fold that has fewest cases.
    Raises SettingsError if there are fewer groups than folds.
    """
    groups: dict[str, list[str]] = {}
    for case in sorted(cases, key=lambda case: case.id):
        groups.setdefault(case.group, []).append(case.id)
    if len(groups) < count:
        raise SettingsError(
            "crossfit.folds",
            expected=f"at most {len(groups)} folds, one patient in each at least",
            got=str(count),
            remedy="Lower crossfit.folds, or check what is taken for a patient (--group-pattern).",
        )
    names = sorted(groups)
    order = np.random.default_rng((seed, 1)).permutation(len(names))
    shuffled = sorted((names[i] for i in order), key=lambda name: -len(groups[name]))
    sizes = [0] * count
    folds: dict[str, int] = {}
    for name in shuffled:
        fold = int(np.argmin(sizes))
        sizes[fold] += len(groups[name])
        folds |= dict.fromkeys(groups[name], fold)
    return FoldPlan(count, seed, folds)
