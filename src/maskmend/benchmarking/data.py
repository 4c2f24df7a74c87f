"""The data of a benchmark: clean training and test cases, and copies with errors in the masks."""

from __future__ import annotations

import math
from collections.abc import Collection, Mapping
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path

import numpy as np

from maskmend import stages
from maskmend.arrays.corruption import Noise
from maskmend.benchmarking.config import REMEDY, BenchmarkConfig, Protocol
from maskmend.core import Dataset
from maskmend.datasets import dataset_digest, place_of
from maskmend.datasets.noise import plan_noise
from maskmend.errors import RunMismatchError, SettingsError
from maskmend.store import Source

TRAINING = "training"

HELD_OUT = "held out"
"""Split that cases held out for testing get."""


@dataclass(frozen=True)
class Data:
    """Who is trained on, and who is tested on, with clean labels.

    source: how the data set is opened, with the splits that are trained on.  whole: what it opens
    to.  by_share: the test cases are held out of the splits that are trained on.
    """

    source: Source
    whole: Dataset
    training: Dataset
    test: Dataset
    by_share: bool

    @cached_property
    def digests(self) -> tuple[str, str]:
        """SHA-256 of the training and of the test cases."""
        return dataset_digest(self.training), dataset_digest(self.test)


def open_data(config: BenchmarkConfig, beside: Path) -> Data:
    """The clean data set.  beside: folder that its path is relative to.

    Raises SettingsError for splits that are not there or overlap.
    """
    root = (beside / config.data).resolve()
    source = Source(str(root), (), config.ignore_value, config.group_pattern)
    dataset = source.open()
    there = tuple(dict.fromkeys(case.split for case in dataset.cases))
    usual = (TRAINING,) if TRAINING in there else there
    splits = config.train or usual
    by_share = isinstance(config.test, float)
    if isinstance(config.test, float):
        marked = _held_out(dataset, splits, config.test)
        tested: tuple[str, ...] = (HELD_OUT,)
    else:
        marked, tested = dataset, config.test
        _check_splits(splits, tested, there)
    training, test = _only(marked, splits), _only(marked, tested)
    return Data(replace(source, splits=splits), dataset, training, test, by_share)


def plan_protocol(protocol: Protocol, data: Data) -> list[tuple[float, dict[str, Noise]]]:
    """The shares of masks hit, one after the other, each with what is drawn.

    Raises SettingsError for a preset, structure or radius that is none, and where neither the
    protocol nor the preset says how many masks are hit.
    """
    planned = []
    for alpha in protocol.alphas or (None,):
        shares = {} if alpha is None else {"": alpha}
        noise = plan_noise(
            data.training, protocol.preset, shares, protocol.beta, data.source.splits
        )
        found = [kind.alpha for kind in noise.values()]
        if alpha is None and not any(found):
            raise SettingsError(
                f"protocols: {protocol.label}", expected="alphas, the shares of masks hit",
                got="none, and the preset has no share of its own", remedy=REMEDY,
            )  # fmt: skip
        planned.append((sum(found) / len(found), noise))
    return planned


def noisy_copy(data: Data, noise: Mapping[str, Noise], seed: int, root: Path) -> Dataset:
    """A copy with errors in the masks of the training cases; made where it is not there.

    It opens as one data set, of which `data.source.splits` are trained on: so a run on it can be
    opened again.  Raises RunMismatchError where it does not open as what it was made of.
    """
    copied = data.training if data.by_share else data.whole
    if not (root / "corruptions.csv").exists():
        stages.corrupt(copied, root, noise, seed, data.source.splits)
    found = copy_source(data, root).open()
    wanted = {(case.split, case.id) for case in data.training.cases}
    there = {(case.split, case.id) for case in found.cases if case.split in data.source.splits}
    if found.scheme != data.whole.scheme or wanted != there:
        raise RunMismatchError(
            str(root),
            expected=f"{len(wanted)} cases with {', '.join(data.whole.scheme.structures)}",
            got=f"{len(wanted & there)} of them with {', '.join(found.scheme.structures)}",
            remedy="Delete this folder; name the classes in labels.json if one of them has gone.",
        )  # fmt: skip
    return found


def copy_source(data: Data, root: Path) -> Source:
    """How a copy of the data set is opened."""
    described = Path(data.source.root)
    place = place_of(data.whole, described) if described.is_file() else Path()
    return replace(data.source, root=str(root / place))


def _only(dataset: Dataset, splits: Collection[str]) -> Dataset:
    return replace(dataset, cases=tuple(case for case in dataset.cases if case.split in splits))


def _held_out(dataset: Dataset, splits: tuple[str, ...], share: float) -> Dataset:
    """The data set with a share of the cases of some splits put into another, whole patients.

    The same for every seed of the benchmark: which cases are hard is no property of a method.
    """
    cases = [case for case in dataset.cases if case.split in splits]
    groups = sorted({case.group for case in cases})
    wanted = math.ceil(share * len(cases))
    chosen: set[str] = set()
    for index in np.random.default_rng(0).permutation(len(groups)):
        if sum(case.group in chosen for case in cases) >= wanted:
            break
        chosen.add(groups[index])
    if not cases or len(chosen) == len(groups):
        raise SettingsError(
            "test", expected="patients to test on and others to train on",
            got=f"{len(groups)} patients in {', '.join(splits)}", remedy=REMEDY,
        )  # fmt: skip
    marked = (
        replace(case, split=HELD_OUT) if case.split in splits and case.group in chosen else case
        for case in dataset.cases
    )
    return replace(dataset, cases=tuple(marked))


def _check_splits(training: tuple[str, ...], test: tuple[str, ...], there: tuple[str, ...]) -> None:
    for name, splits in (("train", training), ("test", test)):
        absent = [split for split in splits if split not in there]
        if absent or not splits:
            raise SettingsError(
                name, expected=f"some of the splits {', '.join(there)}",
                got=", ".join(absent) or "none",
                remedy="Name splits of the data set, or as `test` a share such as 0.25.",
            )  # fmt: skip
    both = [split for split in test if split in training]
    if both:
        raise SettingsError(
            "test", expected="splits that are not trained on", got=", ".join(both),
            remedy="Name others, or as `test` a share such as 0.25.",
        )  # fmt: skip
