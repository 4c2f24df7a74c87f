"""Errors for a whole data set: how strong they are in each structure, and in which masks."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping

import numpy as np

from maskmend.arrays.corruption import Corruption, Noise, sample_corruptions
from maskmend.core import Case, Dataset
from maskmend.datasets.images import read_grid
from maskmend.datasets.labels import read_labels
from maskmend.errors import SettingsError


def plan_noise(
    dataset: Dataset, preset: str, alpha: Mapping[str, float],
    beta: Mapping[str, tuple[int, int]], splits: tuple[str, ...],
) -> dict[str, Noise]:  # fmt: skip
    """What is drawn for each structure.

    alpha: structure -> share of masks hit; the key "" holds for all others.  beta: structure ->
    radii in pixels; by default a quarter to four tenths of the radius of a disc as large as the
    structure is in the median (much as the published radii are for JSRT).
    Raises SettingsError for a structure that the data set does not have.
    """
    structures = dataset.scheme.structures
    for name in {*alpha, *beta} - {"", *structures}:
        raise SettingsError(
            name, expected=f"one of the structures {', '.join(structures)}", got=name,
            remedy="Name a structure of this data set.",
        )  # fmt: skip
    missing = [name for name in structures if name not in beta]
    proposed = _proposed_beta(dataset, missing, splits) if missing else {}
    axes = len(read_grid(dataset.cases[0]).shape)
    return {
        name: Noise(
            preset, alpha.get(name, alpha.get("", 0.0)), beta.get(name) or proposed[name], axes,
            tuple(other for other in structures if other != name),
        )
        for name in structures
    }  # fmt: skip


def sample_noise(
    dataset: Dataset, noise: Mapping[str, Noise], seed: int, splits: tuple[str, ...]
) -> tuple[Corruption, ...]:
    """The errors of all structures, each from a generator of its own.

    So the errors of one structure do not depend on which others there are.
    """
    cases = _cases(dataset, splits)
    drawn: list[Corruption] = []
    for name, kind in noise.items():
        labelled = [case.id for case in cases if _is_labelled(dataset, case, name)]
        rng = np.random.default_rng([seed, *name.encode()])
        drawn += sample_corruptions(labelled, name, kind, rng)
    return tuple(drawn)


def check_record(dataset: Dataset, record: Iterable[Corruption]) -> None:
    """Raises SettingsError for an error in a case or a structure that is not in the data set."""
    cases = {case.id for case in dataset.cases}
    structures = {*dataset.scheme.structures, ""}
    for corruption in record:
        hit = {corruption.structure, corruption.partner}
        if corruption.case not in cases or not hit <= structures:
            raise SettingsError(
                corruption.case, expected=f"errors in cases and structures of {dataset.root}",
                got=f"{corruption.kind} in {', '.join(sorted(hit - {''}))}",
                remedy="Replay the record on the data set that it was drawn for.",
            )  # fmt: skip


def _cases(dataset: Dataset, splits: tuple[str, ...]) -> list[Case]:
    cases = sorted((c for c in dataset.cases if c.split in splits), key=lambda case: case.id)
    if not cases:
        raise SettingsError(
            ", ".join(splits), expected="a split with cases", got="none",
            remedy=f"The data set has {', '.join(sorted({c.split for c in dataset.cases}))}.",
        )  # fmt: skip
    return cases


def _is_labelled(dataset: Dataset, case: Case, structure: str) -> bool:
    plane = structure if dataset.scheme.overlapping else dataset.scheme.planes[0]
    return plane in case.masks and structure not in case.unlabelled


def _proposed_beta(
    dataset: Dataset, structures: list[str], splits: tuple[str, ...]
) -> dict[str, tuple[int, int]]:
    sizes: dict[str, list[int]] = {name: [] for name in structures}
    for case in _cases(dataset, splits):
        labels = read_labels(dataset, case)
        axes = labels.ndim - 1
        for name in structures:
            judged = ~dataset.scheme.ignored_mask(labels, name)
            size = int((dataset.scheme.structure_mask(labels, name) & judged).sum())
            if size:
                sizes[name].append(size)
    return {name: _radii(sizes[name], axes) for name in structures}


def _radii(sizes: list[int], axes: int) -> tuple[int, int]:
    if not sizes:
        return (1, 2)
    # radius of the ball with that content
    unit = math.pi ** (axes / 2) / math.gamma(axes / 2 + 1)
    radius = (float(np.median(sizes)) / unit) ** (1 / axes)
    low = max(1, round(0.25 * radius))
    return (low, max(low + 1, round(0.4 * radius)))
