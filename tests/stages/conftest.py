"""One small data set and one audit of it, that the tests of the stages read and never change."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from scipy import ndimage

from maskmend import stages
from maskmend.core import FoldPlan
from maskmend.datasets import open_dataset, read_labels
from maskmend.datasets.noise import plan_noise
from maskmend.datasets.phantom import write_phantoms
from maskmend.settings import (
    CrossfitSettings,
    FlagSettings,
    Settings,
    TeacherSettings,
    TrainingSettings,
)
from maskmend.store import Run, Source

Fingerprint = dict[str, tuple[str, int]]


def fingerprint(root: Path) -> Fingerprint:
    """File below a root -> digest of its bytes and time of its last change."""
    return {
        path.relative_to(root).as_posix(): (
            hashlib.sha256(path.read_bytes()).hexdigest(),
            path.stat().st_mtime_ns,
        )
        for path in sorted(root.rglob("*"))
        if path.is_file()
    }


@pytest.fixture(scope="session")
def tiny() -> Settings:
    """Two folds of three epochs at 32 px, a second each; too little to learn anything.

    So the noise maps are those of `argmax`, which flags every foreground pixel then.
    """
    training = TrainingSettings(size=32, epochs=3, least_steps=0, batch_size=4, select_after=0.3)
    teacher = TeacherSettings(**training.model_dump())
    folds = CrossfitSettings(folds=2, teacher=teacher)
    flag = FlagSettings(method="argmax")
    return Settings(seed=3, device="cpu", threads=1, crossfit=folds, flag=flag, student=training)


@pytest.fixture(scope="session")
def clean(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Eight training and two validation phantoms of 64 px, with true masks."""
    root = tmp_path_factory.mktemp("phantoms") / "clean"
    write_phantoms(root, {"training": 8, "validation": 2}, seed=5, size=64)
    return root


@pytest.fixture(scope="session")
def noisy(clean: Path) -> Path:
    """The same with errors in half of the training masks."""
    root = clean.parent / "noisy"
    dataset = open_dataset(clean)
    noise = plan_noise(dataset, "reference", {"": 0.5}, {}, ("training",))
    stages.corrupt(dataset, root, noise, seed=5)
    return root


@pytest.fixture(scope="session")
def before(noisy: Path) -> Fingerprint:
    """The noisy data set as it was before the audit."""
    return fingerprint(noisy)


@pytest.fixture(scope="session")
def audited(noisy: Path, before: Fingerprint, tiny: Settings) -> Run:
    """An unbroken audit, with its student."""
    return stages.audit(Source(str(noisy), ("training",)), noisy.parent / "run", tiny)


@pytest.fixture(scope="session")
def predicted(clean: Path) -> Callable[[Run], Run]:
    """A function that gives a run the out-of-sample probabilities of good teachers, untrained.

    They are the blurred clean masks with noise, so that most errors in the given ones show.
    """
    truth = open_dataset(clean)
    by_id = {case.id: read_labels(truth, case) for case in truth.cases}

    def predict(run: Run) -> Run:
        plan = FoldPlan(2, 0, {case.id: index % 2 for index, case in enumerate(run.cases)})
        run.write_folds(plan)
        for number, case in enumerate(run.cases):
            rng = np.random.default_rng(number)
            soft = np.stack([ndimage.gaussian_filter(p.astype(float), 1.5) for p in by_id[case.id]])
            probs = np.clip(0.05 + 0.9 * soft + rng.normal(0, 0.05, soft.shape), 0, 1)
            run.write_probabilities(case, probs.astype(np.float32), plan.folds[case.id], plan)
        return run

    return predict


@pytest.fixture(scope="session")
def as_run_again() -> Callable[[Run, Path], Run]:
    """The same run with a folder of its own for what is found: flagging it changes no other."""

    def again(run: Run, folder: Path) -> Run:
        folder.mkdir()
        for name in ("run.json", "settings.yaml", "folds.json"):
            (folder / name).write_bytes((run.root / name).read_bytes())
        (folder / "probabilities").symlink_to(run.root / "probabilities")
        return Run.open(folder)

    return again
