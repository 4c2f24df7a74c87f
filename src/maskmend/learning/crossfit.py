"""Folds, and teachers that each predict the cases they were not trained on."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import numpy as np

from maskmend.core import Case, FoldPlan, StatedFold
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


def stated_plan(cases: Sequence[Case], stated: Sequence[StatedFold], seed: int) -> FoldPlan | None:
    """The folds that a data set states, as far as they hold these cases out.

    None where a case is held out never or twice, a patient's cases are in different folds, or
    fewer than two folds hold out any.
    """
    ours = {case.id for case in cases}
    held_out = [fold.held_out & ours for fold in stated]
    filled = [fold for fold in held_out if fold]
    folds = {name: number for number, fold in enumerate(filled) for name in fold}
    once = sum(map(len, filled)) == len(ours) == len(folds)
    if not once or len(filled) < 2:
        return None
    places = {(case.group, folds[case.id]) for case in cases}
    if len(places) > len({case.group for case in cases}):
        return None
    return FoldPlan(len(filled), seed, dict(sorted(folds.items())))
