"""The run folder's promises: out-of-sample or refused, one data set, one cross-fit, no pickle."""

from __future__ import annotations

import hashlib
import json
import os
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from maskmend import files
from maskmend.core import Case, FoldPlan
from maskmend.datasets import inspected, reading
from maskmend.datasets.phantom import write_phantoms
from maskmend.errors import (
    InSampleError,
    MissingFileError,
    RunMismatchError,
    SettingsError,
    UnreadableFileError,
)
from maskmend.settings import CrossfitSettings, FlagSettings, Settings
from maskmend.store import DIGESTS, INSPECTED, Run, Source

PATIENTS = r"_\d\d(\d\d)"
"""Of training_0003: every case is its own patient, but the pattern stands in the run."""

SETTINGS = Settings(crossfit=CrossfitSettings(folds=2))


@pytest.fixture
def data(tmp_path: Path) -> Path:
    root = tmp_path / "data"
    write_phantoms(root, {"training": 4, "test": 1}, seed=1, size=32)
    return root


@pytest.fixture
def source(data: Path) -> Source:
    return Source(str(data), ("training",), group_pattern=PATIENTS)


@pytest.fixture
def run(source: Source, tmp_path: Path) -> Run:
    """Four cases, of which fold 0 holds out the first two; probabilities that say their number."""
    run = Run.create(tmp_path / "run", source, SETTINGS)
    plan = FoldPlan(2, 0, {case.id: index // 2 for index, case in enumerate(run.cases)})
    run.write_folds(plan)
    for index, case in enumerate(run.cases):
        probs = np.full((3, 32, 32), index / 10, np.float32)
        run.write_probabilities(case, probs, plan.folds[case.id], plan)
    return run


def edit(path: Path, **changes: Any) -> None:
    path.write_text(json.dumps(json.loads(path.read_text()) | changes))


def origin(run: Run, case: Case) -> Path:
    return run.root / "probabilities" / f"{case.id}.json"


# -- invariant 1: out-of-sample or refused


def test_probabilities_come_back_as_they_were_written(run: Run) -> None:
    for index, case in enumerate(run.cases):
        probs = run.read_probabilities(case)
        assert probs.shape == (3, 32, 32)
        assert probs.dtype == np.float16
        assert (probs == np.float16(index / 10)).all()


def test_a_case_that_its_teacher_was_trained_on_is_refused(run: Run) -> None:
    case, other = run.cases[0], run.cases[2]
    # the probabilities of the other fold's teacher, statement of origin included
    for ending in ("json", "npy"):
        taken = origin(run, other).with_suffix(f".{ending}")
        origin(run, case).with_suffix(f".{ending}").write_bytes(taken.read_bytes())
    with pytest.raises(InSampleError) as caught:
        run.read_probabilities(case)
    assert caught.value.case == case.id
    assert f"trained on {case.id}" in caught.value.got
    assert "maskmend crossfit" in caught.value.remedy
    # the others are as good as before
    assert run.read_probabilities(other).shape == (3, 32, 32)


def test_another_picture_of_a_patient_in_the_training_is_refused(run: Run) -> None:
    first, second = run.cases[0].id, run.cases[2].id
    same = [replace(case, group="P7") if case.id in (first, second) else case for case in run.cases]
    dataset = replace(run.dataset, cases=tuple(same))
    seen = Run(run.root, run.source, dataset, run.settings)
    with pytest.raises(InSampleError, match=f"trained on {second}"):
        seen.read_probabilities(seen.cases[0])
    assert seen.read_probabilities(seen.cases[1]).shape == (3, 32, 32)


def test_folds_that_were_changed_afterwards_are_noticed(run: Run) -> None:
    moved = run.read_folds()
    run.write_folds(FoldPlan(2, 0, {**moved.folds, run.cases[3].id: 0}))
    with pytest.raises(InSampleError, match=r"not those of folds\.json"):
        run.read_probabilities(run.cases[0])


def test_a_forged_fold_is_noticed_by_the_digest(run: Run) -> None:
    case = run.cases[0]
    edit(origin(run, case), fold=1)
    with pytest.raises(InSampleError, match=case.id):
        run.read_probabilities(case)


def test_probabilities_count_as_there_only_with_the_right_origin(run: Run) -> None:
    plan, case = run.read_folds(), run.cases[0]
    assert run.has_probabilities(case, 0, plan)
    assert not run.has_probabilities(case, 1, plan)
    edit(origin(run, case), trained_on="0" * 64)
    assert not run.has_probabilities(case, 0, plan)
    origin(run, case).unlink()
    assert not run.has_probabilities(case, 0, plan)


# -- invariant 6: no pickle


class Trap:
    """Unpickling it would make a file."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> Any:
        return Path.touch, (self.path,)


def test_an_array_of_objects_is_refused_and_not_unpickled(run: Run, tmp_path: Path) -> None:
    path = origin(run, run.cases[0]).with_suffix(".npy")
    sprung = tmp_path / "sprung"
    np.save(path, np.array([Trap(sprung)], dtype=object), allow_pickle=True)
    assert np.load(path, allow_pickle=True)[0] is None
    assert sprung.exists()  # so the trap works, where it is let
    sprung.unlink()
    with pytest.raises(UnreadableFileError) as caught:
        run.read_probabilities(run.cases[0])
    assert caught.value.case == str(path)
    assert "without objects" in caught.value.expected
    assert not sprung.exists()


def test_soft_labels_of_objects_are_refused_too(run: Run) -> None:
    path = run.labels_root / "soft" / f"{run.cases[0].id}.npy"
    path.parent.mkdir(parents=True)
    np.save(path, np.array([{}], dtype=object), allow_pickle=True)
    with pytest.raises(UnreadableFileError, match="without objects"):
        run.read_soft(run.cases[0])


# -- one run, one data set, one cross-fit


def test_a_run_opens_as_it_was_made(run: Run) -> None:
    opened = Run.open(run.root)
    assert opened.source == run.source
    assert opened.settings == run.settings
    assert opened.cases == run.cases
    assert [case.split for case in opened.cases] == ["training"] * 4


def test_a_run_of_other_data_is_refused(run: Run, data: Path, source: Source) -> None:
    mask = data / "training" / "lung" / "training_0000.png"
    pixels = np.array(Image.open(mask))
    pixels[0, 0] ^= 255
    Image.fromarray(pixels).save(mask)
    for reopen in (lambda: Run.open(run.root), lambda: Run.create(run.root, source, SETTINGS)):
        with pytest.raises(RunMismatchError, match="other images or masks") as caught:
            reopen()
        assert caught.value.case == str(run.root)
        assert "--run" in caught.value.remedy


@pytest.mark.parametrize(
    ("changed", "name"),
    [
        (SETTINGS.model_copy(update={"seed": 1}), "seed"),
        (SETTINGS.model_copy(update={"threads": 2}), "threads"),
        (SETTINGS.model_copy(update={"device": "cuda"}), "device"),
        (SETTINGS.model_copy(update={"crossfit": CrossfitSettings(folds=4)}), "crossfit"),
    ],
)
def test_another_cross_fit_is_refused_by_name(
    run: Run, source: Source, changed: Settings, name: str
) -> None:
    kept = (run.root / "run.json").read_bytes()
    with pytest.raises(RunMismatchError) as caught:
        Run.create(run.root, source, changed)
    assert caught.value.got == f"other {name}"
    assert name in caught.value.expected
    with pytest.raises(RunMismatchError, match=f"other {name}"):
        run.with_settings(changed)
    assert (run.root / "run.json").read_bytes() == kept


@pytest.mark.parametrize(
    ("change", "name"),
    [
        ({"splits": ("training", "test")}, "splits"),
        ({"group_pattern": None}, "group_pattern"),
        ({"ignore_value": 7}, "ignore_value"),
    ],
)
def test_another_way_to_open_the_data_is_refused_by_name(
    run: Run, source: Source, change: dict[str, Any], name: str
) -> None:
    kept = (run.root / "run.json").read_bytes()
    with pytest.raises(RunMismatchError) as caught:
        Run.create(run.root, replace(source, **change), SETTINGS)
    assert "other " in caught.value.got
    assert name in caught.value.got
    assert (run.root / "run.json").read_bytes() == kept


def test_a_run_made_before_a_setting_existed_goes_on(run: Run, source: Source) -> None:
    settings = json.loads((run.root / "run.json").read_text())["settings"]
    for training in (settings["crossfit"]["teacher"], settings["student"]):
        for name in ("method", "gce"):
            del training[name]
    edit(run.root / "run.json", settings=settings)
    assert Run.create(run.root, source, SETTINGS).settings == SETTINGS
    teacher = SETTINGS.crossfit.teacher.model_copy(update={"method": "gce"})
    crossfit = SETTINGS.crossfit.model_copy(update={"teacher": teacher})
    with pytest.raises(RunMismatchError, match="other crossfit"):
        Run.create(run.root, source, SETTINGS.model_copy(update={"crossfit": crossfit}))


def test_what_comes_after_the_cross_fit_may_change_and_is_stored(run: Run) -> None:
    changed = SETTINGS.model_copy(update={"flag": FlagSettings(method="both")})
    run.with_settings(changed)
    assert Run.open(run.root).settings.flag.method == "both"


def test_a_moved_data_set_is_the_same_data_set(run: Run, data: Path, source: Source) -> None:
    elsewhere = data.rename(data.with_name("moved"))
    again = Run.create(run.root, replace(source, root=str(elsewhere)), SETTINGS)
    assert again.read_probabilities(again.cases[1]).shape == (3, 32, 32)


def test_another_format_is_refused_with_its_version(run: Run, source: Source) -> None:
    edit(run.root / "run.json", format=99, version="7.8.9")
    for reopen in (lambda: Run.open(run.root), lambda: Run.create(run.root, source, SETTINGS)):
        with pytest.raises(RunMismatchError) as caught:
            reopen()
        assert caught.value.got == "format 99 of maskmend 7.8.9"


@pytest.mark.parametrize("inside", [".", "run", "training/run"])
def test_a_run_inside_the_data_set_is_refused(data: Path, source: Source, inside: str) -> None:
    there = sorted(data.rglob("*"))
    with pytest.raises(SettingsError, match="outside of the data set"):
        Run.create(data / inside, source, SETTINGS)
    assert sorted(data.rglob("*")) == there


def test_a_link_into_the_data_set_is_no_way_around(
    data: Path, source: Source, tmp_path: Path
) -> None:
    (tmp_path / "link").symlink_to(data)
    with pytest.raises(SettingsError, match="outside of the data set"):
        Run.create(tmp_path / "link" / "run", source, SETTINGS)


def test_a_folder_with_other_things_is_refused_and_left_alone(
    source: Source, tmp_path: Path
) -> None:
    folder = tmp_path / "thesis"
    folder.mkdir()
    (folder / "chapter1.tex").write_text("text")
    with pytest.raises(RunMismatchError, match="a folder with other files"):
        Run.create(folder, source, SETTINGS)
    with pytest.raises(MissingFileError, match=r"run\.json"):
        Run.open(folder)
    assert [path.name for path in folder.iterdir()] == ["chapter1.tex"]
    with pytest.raises(RunMismatchError, match="got a file"):
        Run.create(folder / "chapter1.tex", source, SETTINGS)


def test_a_broken_run_json_is_named(run: Run) -> None:
    (run.root / "run.json").write_text('{"format": 1, ')
    with pytest.raises(UnreadableFileError, match=r"run\.json"):
        Run.open(run.root)


def test_a_run_of_another_format_is_refused(run: Run) -> None:
    described = json.loads((run.root / "run.json").read_text())
    # before it was 2, the same settings meant another training
    (run.root / "run.json").write_text(json.dumps({**described, "format": 1}))
    with pytest.raises(RunMismatchError, match=r"run folder of format 2; got format 1"):
        Run.open(run.root)
    with pytest.raises(RunMismatchError, match=r"run folder of format 2; got format 1"):
        Run.create(run.root, run.source, run.settings)


def test_a_split_without_cases_is_refused(source: Source, tmp_path: Path) -> None:
    with pytest.raises(SettingsError) as caught:
        Run.create(tmp_path / "new", replace(source, splits=("validation",)), SETTINGS)
    assert "validation" in caught.value.expected
    assert "training" in caught.value.remedy
    assert not (tmp_path / "new").exists()


# -- what is found


def test_noise_maps_come_back(run: Run) -> None:
    flagged = np.random.default_rng(0).random((3, 32, 32)) < 0.5
    run.write_noise_map(run.cases[0], flagged)
    np.testing.assert_array_equal(run.read_noise_map(run.cases[0]), flagged)


def test_masks_are_listed_worst_first_and_unknown_ones_last(run: Run) -> None:
    ids = [case.id for case in run.cases]
    rows = [
        [ids[0], "lung", 0.9, False, 0.0, False, np.nan],
        [ids[3], "heart", np.nan, False, 0.0, False, np.nan],
        [ids[1], "lung", np.nan, False, 0.0, False, np.nan],
        [ids[2], "lung", 0.2, True, 0.3, False, 0.75],
        [ids[2], "heart", 0.3, True, 0.3, False, 0.25],
        [ids[1], "heart", 0.2, True, 0.1, True, np.nan],
    ]
    run.write_masks_table(rows)
    listed = [(row["case"], row["agreement"]) for row in run.read_masks_table()]
    worst = [(ids[1], "0.2"), (ids[2], "0.2"), (ids[2], "0.3")]
    assert listed == [*worst, (ids[0], "0.9"), (ids[1], ""), (ids[3], "")]
    both = {"heart", "lung"}
    assert run.doubted() == {ids[0]: set(), ids[1]: {"heart"}, ids[2]: both, ids[3]: set()}
    # a mask that was moved is doubted, and not redrawn
    assert run.redrawn() == {ids[0]: set(), ids[1]: set(), ids[2]: both, ids[3]: set()}
    assert run.mostly_predicted() == {ids[0]: set(), ids[1]: set(), ids[2]: {"lung"}, ids[3]: set()}


def test_finding_masks_come_back_whole_or_in_part(run: Run) -> None:
    case = run.cases[0]
    masks = {1: np.eye(5, 9, dtype=bool), 2: np.ones((1, 1), bool), 7: np.zeros((2, 3), bool)}
    run.write_finding_masks(case, masks)
    back = run.read_finding_masks(case)
    assert list(back) == [1, 2, 7]
    assert all(np.array_equal(back[number], mask) for number, mask in masks.items())
    some = run.read_finding_masks(case, [7, 1])
    assert set(some) == {1, 7}
    assert np.array_equal(some[1], masks[1])
    path = run.root / "findings" / f"{case.id}.npz"
    first = path.read_bytes()
    run.write_finding_masks(case, masks)
    assert path.read_bytes() == first
    path.write_bytes(first[:60])
    with pytest.raises(UnreadableFileError, match=r"\.npz"):
        run.read_finding_masks(case)


# -- what is known of the data set's files


@pytest.fixture
def reopened(run: Run, monkeypatch: pytest.MonkeyPatch) -> Run:
    """The run once its files have been left alone for a while, opened once more."""
    monkeypatch.setattr(inspected, "SETTLED", -60.0)
    return Run.open(run.root)


def forbid_reading(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: Any) -> Any:
        raise AssertionError("a file was read")

    monkeypatch.setattr(reading, "inspect", refuse)
    monkeypatch.setattr(files, "sha256_of", refuse)


def test_a_run_is_opened_again_without_reading_the_data(
    reopened: Run, source: Source, monkeypatch: pytest.MonkeyPatch
) -> None:
    forbid_reading(monkeypatch)
    assert Run.open(reopened.root).dataset == reopened.dataset
    assert Run.create(reopened.root, source, SETTINGS).dataset == reopened.dataset
    changed = SETTINGS.model_copy(update={"flag": FlagSettings(method="both")})
    assert reopened.with_settings(changed).dataset == reopened.dataset


@pytest.mark.parametrize("folder", ["images", "lung"])
def test_a_file_that_changed_behind_its_time_is_noticed(reopened: Run, folder: str) -> None:
    path = Path(reopened.source.root) / "training" / folder / "training_0001.png"
    before, pixels = path.stat(), np.array(Image.open(path))
    pixels[0, 0] = 255 - pixels[0, 0]
    Image.fromarray(pixels).save(path)
    os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))
    with pytest.raises(RunMismatchError, match="have changed since"):
        Run.open(reopened.root)


@pytest.mark.parametrize("name", [INSPECTED, DIGESTS])
@pytest.mark.parametrize(
    "spoil", [b"[]", b'{"kept": 3}', b"{", b"", None, {"version": "0"}, {"format": 0}]
)
def test_what_another_version_has_kept_is_not_read(
    reopened: Run, name: str, spoil: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = reopened.root / name
    kept = path.read_bytes()
    if spoil is None:
        path.unlink()
    elif isinstance(spoil, dict):
        edit(path, **spoil)
    else:
        path.write_bytes(spoil)
    assert Run.open(reopened.root).dataset == reopened.dataset
    assert path.read_bytes() == kept


def test_a_run_that_may_only_be_read_opens(reopened: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    (reopened.root / INSPECTED).unlink()

    def refuse(path: Path, obj: Any) -> None:
        raise PermissionError(str(path))

    monkeypatch.setattr(files, "write_json", refuse)
    assert Run.open(reopened.root).dataset == reopened.dataset


def test_a_file_is_hashed_again_where_its_digest_may_not_be_trusted(tmp_path: Path) -> None:
    file = tmp_path / "file"
    file.write_bytes(b"one")
    first = inspected.Digests(tmp_path, {})
    assert first.of(file) == hashlib.sha256(b"one").digest()
    # written as late as it was read
    assert first.kept == {}
    forged = {"file": [*inspected.stamp_of(file), "00" * 32]}
    trusting = inspected.Digests(tmp_path, forged)
    assert trusting.of(file) == bytes(32)
    assert trusting.kept == forged
    file.write_bytes(b"two")
    assert trusting.of(file) == hashlib.sha256(b"two").digest()
    with pytest.raises(MissingFileError):
        first.of(tmp_path / "nothing")
