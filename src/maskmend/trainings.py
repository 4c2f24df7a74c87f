"""Between a run and the networks: which labels a training gets, and where it is kept.

torch is loaded by the first call, not by the import.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from maskmend.arrays.agreement import in_doubt
from maskmend.arrays.targets import soft_targets
from maskmend.core import IGNORED, QUIET, Case, FloatArray, FoldPlan, LabelArray, Listener
from maskmend.datasets import read_grid, read_image
from maskmend.errors import SettingsError
from maskmend.proposals import fill_in, is_open, measure
from maskmend.settings import TrainingSettings
from maskmend.store import Run

if TYPE_CHECKING:
    from maskmend.learning.batches import TrainingCases
    from maskmend.learning.compute import Compute
    from maskmend.learning.prediction import Trained

GIVEN, HARD, SOFT, BELIEVED = "given", "hard", "soft", "believed"
LABELS = (GIVEN, HARD, SOFT, BELIEVED)


def fit(
    run: Run, labels: str, cases: Sequence[Case], settings: TrainingSettings, folder: str,
    listener: Listener,
) -> Trained:  # fmt: skip
    """Train a network on some labels of some cases of a run, or load it if it is finished.

    labels: given; hard (mended); soft (mended, given and suggested class mixed); believed (given,
    moved, or redrawn, without the masks that were redrawn nearer to the prediction).
    """
    from maskmend.learning.training import train_network

    if labels not in LABELS:
        raise SettingsError(
            "labels", expected=", ".join(LABELS), got=labels, remedy="Choose one of these."
        )
    _check_trusted(settings, run.cases)
    if is_open(settings, run.cases):
        settings, _ = fill_in(settings, measure(run.cases))
    # before the data, which depend on the threads too
    device = compute(run)
    data = _training_cases(run, labels, cases, settings)
    where = run.training_folder(folder)
    return train_network(data, settings, where, run.settings.seed, device, listener)


def _check_trusted(settings: TrainingSettings, cases: Sequence[Case]) -> None:
    """Of all cases of the run: a fold has not all that are trusted.  Raises SettingsError."""
    ids = [case.id for case in cases]
    unknown = sorted(set(settings.spatial_correction.trusted_cases) - set(ids))
    if unknown:
        raise SettingsError(
            "spatial_correction.trusted_cases",
            expected=f"ids of the {len(ids)} cases, such as {', '.join(ids[:3])}",
            got=", ".join(unknown), remedy="Take ids as `maskmend doctor` lists them.",
        )  # fmt: skip


def train_fold(run: Run, plan: FoldPlan, fold: int, listener: Listener = QUIET) -> int:
    """Train the teacher of a fold on the others, and store what it says of its own cases.

    Returns the fold.
    """
    by_id = {case.id: case for case in run.cases}
    trained_on = [by_id[case] for case in plan.trained_on(fold)]
    settings = run.settings.crossfit.teacher
    teacher = fit(run, GIVEN, trained_on, settings, f"teachers/fold{fold}", listener)
    for case in plan.held_out(fold):
        probs = probabilities(teacher, read_image(by_id[case]), read_grid(by_id[case]).steps)
        run.write_probabilities(by_id[case], probs, fold, plan)
    return fold


def resources(run: Run) -> dict[str, float]:
    """What one training asks of a worker of a Dask cluster; the workers have to offer it."""
    stated = run.settings.resources
    if stated is not None:
        return stated
    return {"GPU": 1} if run.settings.device.startswith("cuda") else {}


def plan(run: Run, listener: Listener = QUIET) -> FoldPlan:
    """The folds of a run: those that the data set states, or by patient, balanced, from its seed.

    Stated folds are taken where each case is held out once and no patient is in two of them,
    unless crossfit.stated_folds says no; crossfit.folds then counts for nothing.
    """
    from maskmend.learning.crossfit import plan_folds, stated_plan

    stated = run.dataset.stated_folds
    if stated and run.settings.crossfit.stated_folds:
        found = stated_plan(run.cases, stated, run.settings.seed)
        if found is not None:
            listener.say(f"the {found.count} folds that the data set states")
            return found
        listener.say("folds of our own: those stated do not hold each patient out once")
    return plan_folds(run.cases, run.settings.crossfit.folds, run.settings.seed)


def compute(run: Run) -> Compute:
    """The device and the threads that the settings of a run ask for."""
    from maskmend.learning.compute import choose_compute

    return choose_compute(run.settings.device, run.settings.threads)


def load(run: Run, folder: str, weights: str | None) -> Trained:
    """A finished training of a run.  Errors as in `load_trained`."""
    from maskmend.learning.prediction import load_trained

    return load_trained(run.training_folder(folder), compute(run), weights)


def probabilities(
    trained: Trained, image: NDArray[np.generic], steps: tuple[float, ...] | None = None
) -> FloatArray:
    """(num_channels, *S) float32 of one image (C, *S).

    steps: size of a voxel of a volume (`Grid.steps`).
    """
    from maskmend.learning.prediction import predict_case

    return predict_case(trained, image, steps)


def _training_cases(
    run: Run, labels: str, cases: Sequence[Case], settings: TrainingSettings
) -> TrainingCases:
    from maskmend.learning.batches import stack_training_data
    from maskmend.learning.volumes import stack_volumes

    scheme = run.dataset.scheme
    if len(read_grid(cases[0]).shape) == 2:
        items = _items(run, labels, cases)
        pictures = ((name, image, soft, part) for name, image, _, soft, part in items)
        return stack_training_data(pictures, settings.size, scheme)
    return stack_volumes(partial(_items, run, labels, cases), scheme, settings)


def _items(
    run: Run, labels: str, cases: Sequence[Case]
) -> Iterator[tuple[str, NDArray[Any], tuple[float, ...], FloatArray, FloatArray]]:
    doubted = run.doubted() if labels == BELIEVED else {}
    predicted = run.mostly_predicted() if labels == BELIEVED else {}
    for case in cases:
        given = run.read_given(case)
        if labels == HARD:
            given = run.read_mended(case)
        elif labels == BELIEVED:
            mended = run.read_mended(case) if doubted[case.id] - predicted[case.id] else given
            given = _believed(run, case, mended, predicted[case.id])
        soft, taking_part = soft_targets(given, run.dataset.scheme)
        if labels == SOFT:
            soft = run.read_soft(case)
        yield case.id, read_image(case), read_grid(case).steps, soft, taking_part


def _believed(run: Run, case: Case, mended: LabelArray, left_out: set[str]) -> LabelArray:
    """The mended labels with IGNORED where they hang on a structure that is left out."""
    scheme, predicted = run.dataset.scheme, run.read_predicted(case)
    sure = np.array([name not in left_out for name in scheme.structures])
    given = run.read_given(case)
    unsure = in_doubt(given, predicted, sure, scheme) | in_doubt(mended, predicted, sure, scheme)
    return np.where(unsure, IGNORED, mended).astype(np.uint8)
