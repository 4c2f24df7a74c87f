"""Errors for a whole data set: how strong they are in each structure, and in which masks."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping

import numpy as np

from maskmend.arrays.corruption import Corruption, Noise, sample_corruptions
from maskmend.arrays.corruption_presets import OTHERS, preset_of
from maskmend.core import Case, Dataset
from maskmend.datasets.images import read_grid
from maskmend.datasets.labels import read_labels
from maskmend.errors import SettingsError


def plan_noise(
    dataset: Dataset, preset: str, alpha: Mapping[str, float] | None,
    beta: Mapping[str, tuple[int, int]], splits: tuple[str, ...],
) -> dict[str, Noise]:  # fmt: skip
    """What is drawn for each structure.

    alpha: structure -> share of masks hit; the key "" holds for all others, which without it are
    left alone.  None: the preset's own share.  beta: structure -> radii in pixels (or numbers of
    steps, of Markov noise); the key "" holds for all others.  By default what the preset states;
    if it states nothing, so many radii of a disc as large as the structure is in the median
    (`Preset.size`; a quarter to four tenths, much as the published radii are for JSRT).
    Raises SettingsError for a structure that the data set does not have, and for an unknown
    preset.
    """
    structures = dataset.scheme.structures
    for name in {*(alpha or {}), *beta} - {OTHERS, *structures}:
        raise SettingsError(
            name, expected=f"one of the structures {', '.join(structures)}", got=name,
            remedy="Name a structure of this data set.",
        )  # fmt: skip
    protocol = preset_of(preset)
    shares = {OTHERS: protocol.alpha} if alpha is None else alpha
    stated = {
        name: beta.get(name) or beta.get(OTHERS) or protocol.published_beta(name)
        for name in structures
    }
    missing = [name for name in structures if stated[name] is None]
    proposed = _proposed_beta(dataset, missing, splits, protocol.size) if missing else {}
    axes = len(read_grid(dataset.cases[0]).shape)
    return {
        name: Noise(
            preset, shares.get(name, shares.get(OTHERS, 0.0)), stated[name] or proposed[name],
            axes, tuple(other for other in structures if other != name),
        )
        for name in structures
    }  # fmt: skip


def sample_noise(
    dataset: Dataset, noise: Mapping[str, Noise], seed: int, splits: tuple[str, ...]
) -> tuple[Corruption, ...]:
    """The errors of all structures, each from a generator of its own.

    So the errors of one structure do not depend on which others there are.  An annotator who
    makes all errors of a preset is given cases instead of masks, the same for each structure:
    the share alpha of all cases, of which those without a label of the structure have no error.
    """
    cases = _cases(dataset, splits)
    drawn: list[Corruption] = []
    for name, kind in noise.items():
        labelled = [case.id for case in cases if _is_labelled(dataset, case, name)]
        if preset_of(kind.preset).annotator:
            rng = np.random.default_rng([seed, *b"annotator"])
            habit = sample_corruptions([case.id for case in cases], name, kind, rng)
            mine = set(labelled)
            drawn += [corruption for corruption in habit if corruption.case in mine]
        else:
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
    dataset: Dataset, structures: list[str], splits: tuple[str, ...], size: tuple[float, float]
) -> dict[str, tuple[int, int]]:
    sizes: dict[str, list[int]] = {name: [] for name in structures}
    for case in _cases(dataset, splits):
        labels = read_labels(dataset, case)
        axes = labels.ndim - 1
        for name in structures:
            judged = ~dataset.scheme.ignored_mask(labels, name)
            pixels = int((dataset.scheme.structure_mask(labels, name) & judged).sum())
            if pixels:
                sizes[name].append(pixels)
    return {name: _radii(sizes[name], axes, size) for name in structures}


def _radii(sizes: list[int], axes: int, size: tuple[float, float]) -> tuple[int, int]:
    if not sizes:
        return (1, 2)
    # radius of the ball with that content
    unit = math.pi ** (axes / 2) / math.gamma(axes / 2 + 1)
    radius = (float(np.median(sizes)) / unit) ** (1 / axes)
    low = max(1, round(size[0] * radius))
    return (low, max(low + 1, round(size[1] * radius)))
