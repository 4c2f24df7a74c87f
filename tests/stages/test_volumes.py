"""The whole way on volumes: NIfTI files with thick slices, exclusive and overlapping labels."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import nibabel
import numpy as np
import pytest

from maskmend import stages
from maskmend.core import Listener, StatedFold
from maskmend.datasets import open_dataset
from maskmend.datasets.noise import plan_noise
from maskmend.errors import RunMismatchError
from maskmend.settings import (
    CrossfitSettings,
    Settings,
    TeacherSettings,
    TrainingSettings,
)
from maskmend.store import Run, Source
from maskmend.trainings import BELIEVED, _items, plan

COUNT = 12
SPACING = (3.0, 1.0, 1.2)


class Ear(Listener):
    def __init__(self) -> None:
        self.heard: list[str] = []

    def say(self, text: str) -> None:
        self.heard.append(text)


def write_volumes(root: Path) -> Path:
    """Bright ellipsoids, of which the lower part is another structure."""
    affine = np.diag([*SPACING[::-1], 1])
    for number in range(COUNT):
        rng = np.random.default_rng(number)
        shape = (9 + number % 2, 30, 26)
        z, y, x = np.indices(shape)
        middle = (4, *rng.uniform(12, 16, 2))
        inside = (
            ((z - middle[0]) / 3) ** 2 + ((y - middle[1]) / 9) ** 2 + ((x - middle[2]) / 8) ** 2
        ) < 1
        labels = np.where(y > middle[1], 2, 1) * inside
        image = 200 * inside + 80 * (labels == 2) + rng.normal(100, 20, shape)
        for name, voxels in (("images", image.astype(np.float32)), ("masks", labels)):
            (root / name).mkdir(parents=True, exist_ok=True)
            stored = voxels if name == "images" else voxels.astype(np.uint8)
            nibabel.save(
                nibabel.Nifti1Image(stored.T, affine), root / name / f"v{number:02}.nii.gz"
            )
    (root / "labels.json").write_text(json.dumps({"front": 1, "back": 2}))
    return root


@pytest.fixture(scope="module")
def clean(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_volumes(tmp_path_factory.mktemp("volumes") / "clean")


@pytest.fixture(scope="module")
def noisy(clean: Path) -> Path:
    root = clean.parent / "noisy"
    dataset = open_dataset(clean)
    noise = plan_noise(dataset, "volume", {"": 0.3}, {}, ("training",))
    stages.corrupt(dataset, root, noise, seed=1)
    return root


@pytest.fixture(scope="module")
def quick() -> Settings:
    training = TrainingSettings(
        epochs=30, least_steps=0, learning_rate=0.01, averaging=0.9, monitor_share=0.1
    )
    teacher = TeacherSettings(**training.model_dump() | {"select_after": 0.5})
    crossfit = CrossfitSettings(folds=2, teacher=teacher)
    return Settings(seed=1, device="cpu", threads=1, crossfit=crossfit, student=training)


@pytest.fixture(scope="module")
def ear() -> Ear:
    return Ear()


@pytest.fixture(scope="module")
def audited(noisy: Path, quick: Settings, ear: Ear) -> Run:
    source = Source(str(noisy), ("training",))
    return stages.audit(source, noisy.parent / "run", quick, listener=ear)


def test_what_is_proposed_is_said_and_stored(audited: Run, ear: Ear) -> None:
    said = [sentence for sentence in ear.heard if sentence.startswith("proposed from the data")]
    assert said[0] == "proposed from the data: voxels of 3 x 1 x 1.2 mm, the median"
    assert len(said) == 4
    stored = Run.open(audited.root).settings
    for each in (stored.crossfit.teacher, stored.student):
        assert each.spacing == pytest.approx(SPACING)
        assert each.patch is not None
        assert each.normalisation == "image"
    assert "patch: [" in (audited.root / "settings.yaml").read_text()


def test_the_same_command_goes_on_and_another_patch_is_refused(
    audited: Run, noisy: Path, quick: Settings
) -> None:
    source = Source(str(noisy), ("training",))
    assert Run.create(audited.root, source, quick).settings == audited.settings
    teacher = quick.crossfit.teacher.model_copy(update={"patch": (8, 16, 16)})
    crossfit = quick.crossfit.model_copy(update={"teacher": teacher})
    with pytest.raises(RunMismatchError):
        Run.create(audited.root, source, quick.model_copy(update={"crossfit": crossfit}))


def test_mended_labels_are_nearer_to_the_truth(audited: Run, clean: Path) -> None:
    evaluation = stages.evaluate(audited, open_dataset(clean))
    for name in ("front", "back"):
        given, mended = (evaluation.mean(what, name) for what in ("given", "mended"))
        assert given < 0.95
        assert mended > given + 0.02


def test_mended_files_keep_their_header(audited: Run, noisy: Path) -> None:
    for path in sorted((noisy / "masks").glob("*.nii.gz")):
        given, mended = (
            nibabel.Nifti1Image.from_filename(file)
            for file in (path, audited.labels_root / "masks" / path.name)
        )
        assert given.header == mended.header


@pytest.fixture
def replaced(audited: Run, as_run_again: Callable[[Run, Path], Run], tmp_path: Path) -> Run:
    """The audited run, but doubted masks that are not moved are replaced by the prediction."""
    run = as_run_again(audited, tmp_path / "replaced")
    flag = run.settings.flag.model_copy(update={"blend": False})
    run = run.with_settings(run.settings.model_copy(update={"flag": flag}))
    stages.flag(run)
    return run


def test_each_structure_is_listed_and_judged_by_itself(replaced: Run) -> None:
    rows = replaced.read_masks_table()
    assert len(rows) == COUNT * 2
    assert {row["structure"] for row in rows} == {"front", "back"}
    doubted, redrawn = replaced.doubted(), replaced.redrawn()
    whole = [case for case in replaced.cases if doubted[case.id] == redrawn[case.id]]
    assert any(len(doubted[case.id]) == 1 for case in whole)
    for case in whole:
        flagged = replaced.read_noise_map(case)
        given, predicted = replaced.read_given(case), replaced.read_predicted(case)
        classes = [1 + ("front", "back").index(name) for name in doubted[case.id]]
        expected = (given != predicted) & (np.isin(given, classes) | np.isin(predicted, classes))
        np.testing.assert_array_equal(flagged, expected)
        shares = {row["structure"]: row for row in rows if row["case"] == case.id}
        for number, name in ((1, "front"), (2, "back")):
            involved = flagged & ((given == number) | (predicted == number))
            assert float(shares[name]["flagged_share"]) == pytest.approx(involved.mean())


def test_redrawn_structures_change_no_more_than_replaced_ones(audited: Run, replaced: Run) -> None:
    redrawn = [audited.read_noise_map(case) for case in audited.cases]
    whole = [replaced.read_noise_map(case) for case in replaced.cases]
    assert audited.redrawn() == replaced.redrawn()
    assert not any((part & ~all_of).any() for part, all_of in zip(redrawn, whole, strict=True))
    assert 0 < sum(map(np.sum, redrawn)) < sum(map(np.sum, whole))


def test_a_student_predicts_volumes_on_their_own_grid(
    audited: Run, clean: Path, tmp_path: Path
) -> None:
    stages.predict(audited, "believed", clean / "images", tmp_path / "out")
    found = stages.evaluate(open_dataset(tmp_path / "out"), open_dataset(clean))
    assert not found.left_out
    assert min(found.mean("predicted", name) for name in ("front", "back")) > 0.7


def test_believed_labels_leave_out_what_is_nearer_to_the_prediction(audited: Run) -> None:
    doubted, left_out = audited.doubted(), audited.mostly_predicted()
    assert any(left_out.values())
    found = {
        name: (soft, part) for name, _, _, soft, part in _items(audited, BELIEVED, audited.cases)
    }
    for case in audited.cases:
        given, mended = audited.read_given(case), audited.read_mended(case)
        soft, part = found[case.id]
        if not doubted[case.id]:
            assert part.all()
        for number, name in ((1, "front"), (2, "back")):
            if name in left_out[case.id]:
                assert not part[given == number].any()
                assert not part[mended == number].any()
        np.testing.assert_array_equal(soft.argmax(axis=0)[part[0] > 0], mended[part > 0])


def test_pictures_show_the_slice_with_most_errors(audited: Run) -> None:
    assert len(list((audited.root / "pictures").glob("*.png"))) == COUNT


def test_folds_that_the_data_set_states_are_taken(
    noisy: Path, quick: Settings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = Run.create(tmp_path / "run", Source(str(noisy), ("training",)), quick)
    names = [case.id for case in run.cases]
    parts = [frozenset(names[first::4]) for first in range(4)]
    folds = tuple(StatedFold(frozenset(names) - part, part) for part in parts)
    monkeypatch.setattr(run, "dataset", replace(run.dataset, stated_folds=folds))
    ear = Ear()
    found = plan(run, ear)
    assert [frozenset(found.held_out(fold)) for fold in range(4)] == parts
    assert ear.heard == ["the 4 folds that the data set states"]
    own = quick.model_copy(
        update={"crossfit": quick.crossfit.model_copy(update={"stated_folds": False})}
    )
    monkeypatch.setattr(run, "settings", own)
    assert plan(run).count == 2
    monkeypatch.setattr(run, "settings", quick)
    monkeypatch.setattr(run, "dataset", replace(run.dataset, stated_folds=folds[:3]))
    assert plan(run, ear).count == 2
    assert ear.heard[-1].startswith("folds of our own")
