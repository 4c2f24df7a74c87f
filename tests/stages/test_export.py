"""Back into the user's world: what an export holds, read by others than what wrote it."""

from __future__ import annotations

import csv
import json
import shutil
from collections import Counter
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from scipy import ndimage

from maskmend import stages
from maskmend.core import IGNORED, Case, FoldPlan, Listener
from maskmend.datasets import open_dataset, read_labels
from maskmend.deciding import decided
from maskmend.errors import LayoutError, MissingFileError, RunMismatchError, SettingsError
from maskmend.exporting.options import MENDED, ExportOptions
from maskmend.settings import CrossfitSettings, FlagSettings, RankSettings, Settings
from maskmend.store import Run, Source

from .conftest import fingerprint

SETTINGS = Settings(crossfit=CrossfitSettings(folds=2), rank=RankSettings(tolerance="0px"))


def rows_of(path: Path) -> list[dict[str, str]]:
    with path.open(newline="") as table:
        return list(csv.DictReader(table))


@pytest.fixture(scope="module")
def overlapping(
    noisy: Path, predicted: Callable[[Run], Run], tmp_path_factory: pytest.TempPathFactory
) -> Run:
    """The phantoms, one binary mask a structure; two splits, of which one is judged."""
    root = tmp_path_factory.mktemp("overlapping") / "run"
    run = predicted(Run.create(root, Source(str(noisy), ("training",)), SETTINGS))
    stages.flag(run)
    stages.correct(run)
    return run


@pytest.fixture(scope="module")
def exclusive(tmp_path_factory: pytest.TempPathFactory) -> Run:
    """Label maps with the values 10 and 20, not square; some boxes shifted, some swapped."""
    root = tmp_path_factory.mktemp("exclusive")
    rng = np.random.default_rng(4)
    truth: dict[str, Any] = {}
    for number in range(10):
        labels = np.zeros((40, 56), np.uint8)
        row, column = rng.integers(4, 12, 2)
        labels[row : row + 18, column : column + 14] = 1
        labels[row : row + 12, column + 20 : column + 32] = 2
        given = labels.copy()
        if number < 2:
            given = np.roll(given, 5, axis=1)
        elif number == 2:
            given[labels == 2] = 1
        truth[f"case{number}"] = labels
        image = (labels * 60 + 20 + rng.integers(0, 20, labels.shape)).astype(np.uint8)
        for folder, pixels in (("images", image), ("masks", given * 10)):
            (root / "data" / folder).mkdir(parents=True, exist_ok=True)
            Image.fromarray(pixels).save(root / "data" / folder / f"case{number}.png")
    (root / "data" / "labels.json").write_text('{"box": 10, "bar": 20}')
    settings = SETTINGS.model_copy(update={"flag": FlagSettings(method="both")})
    run = Run.create(root / "run", Source(str(root / "data"), ("training",)), settings)
    plan = FoldPlan(2, 0, {case.id: index % 2 for index, case in enumerate(run.cases)})
    run.write_folds(plan)
    for case in run.cases:
        onehot = np.stack([truth[case.id] == k for k in range(3)]).astype(float)
        probs = np.stack([ndimage.gaussian_filter(plane, 1) for plane in onehot]) + 0.02
        probs /= probs.sum(axis=0)
        run.write_probabilities(case, probs.astype(np.float32), plan.folds[case.id], plan)
    stages.flag(run)
    stages.correct(run)
    return run


@pytest.fixture(params=["overlapping", "exclusive"])
def run(request: pytest.FixtureRequest) -> Run:
    found: Run = request.getfixturevalue(request.param)
    return found


def by_id(run: Run, case_id: str) -> Case:
    return next(case for case in run.cases if case.id == case_id)


# -- the data set


def test_the_export_is_the_mended_data_set(run: Run, tmp_path: Path) -> None:
    exported = stages.export(run, tmp_path / "out")
    found = open_dataset(tmp_path / "out")
    assert found.scheme == run.dataset.scheme
    assert found.layout == run.dataset.layout
    assert found.left_out == ()
    assert [case.id for case in found.cases] == [case.id for case in run.dataset.cases]
    changed = 0
    for case, copy in zip(run.dataset.cases, found.cases, strict=True):
        assert copy.image.read_bytes() == case.image.read_bytes()
        judged = case in run.cases
        expected = run.read_mended(case) if judged else run.read_given(case)
        labels = read_labels(found, copy)
        np.testing.assert_array_equal(labels, expected)
        changed += int((labels != run.read_given(case)).sum())
    assert exported.pixels == changed > 0


def test_masks_without_a_change_keep_their_bytes(run: Run, tmp_path: Path) -> None:
    exported = stages.export(run, tmp_path / "out", replace(MENDED, images="none"))
    same = Counter[bool]()
    for case in run.dataset.cases:
        for source in case.masks.values():
            copy = tmp_path / "out" / source.relative_to(run.dataset.root)
            same[copy.read_bytes() == source.read_bytes()] += 1
        assert not (tmp_path / "out" / case.image.relative_to(run.dataset.root)).exists()
    assert (exported.files.unchanged, exported.files.changed) == (same[True], same[False])
    assert min(same.values()) >= 3


def test_neither_the_data_set_nor_the_run_is_touched(run: Run, tmp_path: Path) -> None:
    before = fingerprint(run.dataset.root), fingerprint(run.root)
    for kind in ("mended", "soft"):
        options = ExportOptions(kind, images="link")  # type: ignore[arg-type]
        stages.export(run, tmp_path / kind, options)
        assert (tmp_path / kind / run.cases[0].image.relative_to(run.dataset.root)).is_symlink()
    assert (fingerprint(run.dataset.root), fingerprint(run.root)) == before


def test_changes_are_the_pixels_that_differ_between_the_files(run: Run, tmp_path: Path) -> None:
    stages.export(run, tmp_path / "out")
    names = {0: "background", 10: "box", 20: "bar"}
    found = Counter[tuple[str, str, str, str]]()
    for case in run.dataset.cases:
        for plane, source in case.masks.items():
            old, new = (
                np.array(Image.open(path))
                for path in (source, tmp_path / "out" / source.relative_to(run.dataset.root))
            )
            classes = names if plane == "labels" else {0: "background", 255: plane}
            for pair in zip(old[old != new].tolist(), new[old != new].tolist(), strict=True):
                found[case.id, plane, classes[pair[0]], classes[pair[1]]] += 1
    rows = rows_of(tmp_path / "out" / "changes.csv")
    listed = {(r["case"], r["structure"], r["from"], r["to"]): int(r["voxels"]) for r in rows}
    assert len(listed) == len(rows)
    assert listed == found


def test_changes_say_why(overlapping: Run, exclusive: Run, tmp_path: Path) -> None:
    for run in (overlapping, exclusive):
        out = tmp_path / run.root.parent.name
        stages.export(run, out)
        masks = {(row["case"], row["structure"]): row for row in run.read_masks_table()}
        for row in rows_of(out / "changes.csv"):
            classes = {row["structure"], row["from"], row["to"]}
            concerned = [
                masks[row["case"], name] for name in classes & {*run.dataset.scheme.structures}
            ]
            lowest = min(concerned, key=lambda mask: float(mask["agreement"]))
            assert row["agreement"] == lowest["agreement"]
            assert row["doubted"] == str(any(mask["doubted"] == "True" for mask in concerned))
            assert row["method"] == run.settings.flag.method
            if run is overlapping:
                assert "more than 1.65 times" in row["why"]
                assert row["threshold"] == ""
            else:
                counts = run.read_json("counts.json")["labels"]
                threshold = counts["thresholds"][counts["classes"].index(row["to"])]
                assert float(row["threshold"]) == threshold


# -- what is taken


def test_only_the_changes_of_wanted_cases_and_structures_are_taken(
    run: Run, tmp_path: Path
) -> None:
    wanted = next(case for case in run.cases if run.read_noise_map(case).any())
    stages.export(run, tmp_path / "case", replace(MENDED, cases=(wanted.id,)))
    rows = rows_of(tmp_path / "case" / "changes.csv")
    assert {row["case"] for row in rows} == {wanted.id}
    everything = {
        row["case"]
        for name, options in (("all", MENDED),)
        if stages.export(run, tmp_path / name, options)
        for row in rows_of(tmp_path / name / "changes.csv")
    }
    assert len(everything) > 1
    structure = run.dataset.scheme.structures[-1]
    stages.export(run, tmp_path / "structure", replace(MENDED, structures=(structure,)))
    rows = rows_of(tmp_path / "structure" / "changes.csv")
    assert rows
    assert all(structure in (row["from"], row["to"]) for row in rows)
    left = [
        row
        for row in rows_of(tmp_path / "all" / "changes.csv")
        if structure in (row["from"], row["to"])
    ]
    assert rows == left


def test_what_is_decided_is_what_correct_writes(run: Run) -> None:
    for case in run.cases:
        decision = decided(run, case)
        np.testing.assert_array_equal(decision.labels, run.read_mended(case))
        np.testing.assert_array_equal(decision.flagged, run.read_noise_map(case))
        probs = run.read_probabilities(case).astype(np.float32)
        for plane, margins in enumerate(decision.margins):
            classes = run.dataset.scheme.class_probabilities(probs, plane)
            where = np.argwhere(decision.flagged[plane])
            expected = [
                classes[(decision.labels[plane][tuple(at)], *at)]
                - classes[(decision.given[plane][tuple(at)], *at)]
                for at in where
            ]
            np.testing.assert_allclose(margins, expected, atol=1e-3)


# -- findings


def test_findings_lead_to_the_flagged_pixels(run: Run, tmp_path: Path) -> None:
    stages.export(run, tmp_path / "out")
    rows = rows_of(tmp_path / "out" / "findings.csv")
    assert len(rows) > 3
    scores = [float(row["score"]) for row in rows]
    assert scores == sorted(scores, reverse=True)
    pixels = Counter[str]()
    for row in rows:
        case = by_id(run, row["case"])
        given, mended = run.read_given(case), run.read_mended(case)
        scheme = run.dataset.scheme
        plane = scheme.planes.index(row["structure"]) if scheme.overlapping else 0
        names = scheme.class_names(plane)
        rows_, columns = (
            slice(int(row[f"{axis}_first"]), int(row[f"{axis}_last"]) + 1)
            for axis in ("row", "column")
        )
        assert {row["given"], row["suggested"]} <= set(names)
        inside = (given[plane] != mended[plane])[rows_, columns]
        assert inside.any(axis=1)[[0, -1]].all()
        assert inside.any(axis=0)[[0, -1]].all()
        assert int(row["pixels"]) <= inside.sum()
        assert (row["unit"], row["best_slice"], row["slice_first"]) == ("px", "", "")
        whole = max(
            int(scheme.structure_mask(labels, row["structure"]).sum()) for labels in (given, mended)
        )
        assert float(row["share"]) == pytest.approx(min(int(row["pixels"]) / whole, 1))
        pixels[row["case"]] += int(row["pixels"])
    for case in run.cases:
        assert pixels[case.id] == run.read_noise_map(case).sum()


def test_a_swapped_structure_is_one_finding(exclusive: Run, tmp_path: Path) -> None:
    stages.export(exclusive, tmp_path / "out")
    mine = [r for r in rows_of(tmp_path / "out" / "findings.csv") if r["case"] == "case2"]
    # all of bar is drawn as box
    assert (mine[0]["type"], mine[0]["structure"]) == ("swapped", "bar")
    assert (mine[0]["given"], mine[0]["suggested"]) == ("box", "bar")
    assert int(mine[0]["pixels"]) >= 100
    assert 0.5 < float(mine[0]["margin"]) <= 1


# -- ignored instead of mended


def test_ignored_pixels_take_the_wanted_value(run: Run, tmp_path: Path) -> None:
    said: list[str] = []

    class Told(Listener):
        def say(self, text: str) -> None:
            said.append(text)

    options = ExportOptions("ignore", ignore_value=99)
    stages.export(run, tmp_path / "out", options, Told())
    assert any("99" in sentence for sentence in said)
    found = open_dataset(tmp_path / "out", ignore_value=99)
    assert found.left_out == ()
    assert found.scheme == run.dataset.scheme
    seen = 0
    for case, copy in zip(run.dataset.cases, found.cases, strict=True):
        given, labels = run.read_given(case), read_labels(found, copy)
        flagged = np.zeros_like(given, bool)
        if case in run.cases:
            flagged = run.read_noise_map(case)
        np.testing.assert_array_equal(labels, np.where(flagged, IGNORED, given))
        seen += int(flagged.sum())
    assert {row["to"] for row in rows_of(tmp_path / "out" / "changes.csv")} == {"ignored"}
    assert sum(int(row["voxels"]) for row in rows_of(tmp_path / "out" / "changes.csv")) == seen > 0


@pytest.mark.parametrize("value", [None, 0, 10, 256, -1])
def test_an_impossible_ignore_value_is_refused(
    exclusive: Run, tmp_path: Path, value: int | None
) -> None:
    with pytest.raises(SettingsError, match="--ignore-value"):
        stages.export(exclusive, tmp_path / "out", ExportOptions("ignore", ignore_value=value))
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("value", [1, 255])
def test_a_binary_mask_keeps_its_values(overlapping: Run, tmp_path: Path, value: int) -> None:
    """The phantoms are 0/255: 255 is taken, 1 is free."""
    options = ExportOptions("ignore", ignore_value=value)
    if value == 255:
        with pytest.raises(SettingsError, match="no class"):
            stages.export(overlapping, tmp_path / "out", options)
        return
    stages.export(overlapping, tmp_path / "out", options)
    for path in sorted((tmp_path / "out" / "training" / "lung").iterdir()):
        assert set(np.unique(np.array(Image.open(path)))) <= {0, 1, 255}
    found = open_dataset(tmp_path / "out", ignore_value=1)
    case = found.cases[0]
    expected = np.where(
        overlapping.read_noise_map(overlapping.cases[0]), IGNORED,
        overlapping.read_given(overlapping.cases[0]),
    )  # fmt: skip
    np.testing.assert_array_equal(read_labels(found, case), expected)


# -- where it may go


def test_the_folder_must_be_its_own(run: Run, tmp_path: Path) -> None:
    with pytest.raises(LayoutError, match="outside"):
        stages.export(run, run.dataset.root / "out")
    with pytest.raises(RunMismatchError, match="outside"):
        stages.export(run, run.root / "out")
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "mine.txt").write_text("mine")
    with pytest.raises(RunMismatchError, match="other files"):
        stages.export(run, tmp_path / "other")
    assert [path.name for path in (tmp_path / "other").iterdir()] == ["mine.txt"]
    stages.export(run, tmp_path / "out")
    with pytest.raises(RunMismatchError, match="another options"):
        stages.export(run, tmp_path / "out", ExportOptions("soft"))


def test_an_export_of_another_run_is_not_overwritten(
    overlapping: Run, exclusive: Run, tmp_path: Path
) -> None:
    stages.export(overlapping, tmp_path / "out")
    before = fingerprint(tmp_path / "out")
    with pytest.raises(RunMismatchError, match="another run"):
        stages.export(exclusive, tmp_path / "out")
    assert fingerprint(tmp_path / "out") == before


class Stop(Listener):
    """Stops after some cases, as Ctrl-C does."""

    def case(self, stage: str, done: int, total: int) -> None:
        if done == 3:
            raise KeyboardInterrupt


def test_a_stopped_export_goes_on_to_the_same_bytes(run: Run, tmp_path: Path) -> None:
    options = ExportOptions("soft")
    stages.export(run, tmp_path / "a" / "out", options)
    with pytest.raises(KeyboardInterrupt):
        stages.export(run, tmp_path / "b" / "out", options, Stop())
    assert json.loads((tmp_path / "b" / "out" / "export.json").read_text())["finished"] is False
    stages.export(run, tmp_path / "b" / "out", options)
    whole, resumed = fingerprint(tmp_path / "a"), fingerprint(tmp_path / "b")
    assert {name: digest for name, (digest, _) in whole.items()} == {
        name: digest for name, (digest, _) in resumed.items()
    }
    record = (tmp_path / "a" / "out" / "export.json").read_text()
    assert json.loads(record)["finished"] is True
    assert str(run.root.parent) not in record


def test_unknown_names_are_refused(run: Run, tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match="--cases"):
        stages.export(run, tmp_path / "out", replace(MENDED, cases=("nobody",)))
    with pytest.raises(SettingsError, match="--structures"):
        stages.export(run, tmp_path / "out", replace(MENDED, structures=("spleen",)))
    with pytest.raises(SettingsError, match="--as"):
        ExportOptions("hard")  # type: ignore[arg-type]
    with pytest.raises(SettingsError, match="--images"):
        ExportOptions(images="move")  # type: ignore[arg-type]
    with pytest.raises(SettingsError, match="--as ignore"):
        stages.export(run, tmp_path / "out", ExportOptions(ignore_value=7))
    assert not (tmp_path / "out").exists()


def test_an_export_needs_flags_but_no_correction(run: Run, tmp_path: Path) -> None:
    bare = tmp_path / "run"
    bare.mkdir()
    for name in ("run.json", "settings.yaml", "folds.json"):
        shutil.copy(run.root / name, bare / name)
    shutil.copytree(run.root / "probabilities", bare / "probabilities")
    flagged = Run.open(bare)
    stages.flag(flagged)
    stages.export(flagged, tmp_path / "a" / "out", ExportOptions("soft"))
    assert not flagged.labels_root.exists()
    stages.export(run, tmp_path / "b" / "out", ExportOptions("soft"))
    one, other = (
        {name: digest for name, (digest, _) in fingerprint(tmp_path / side / "out").items()}
        for side in "ab"
    )
    assert one == other


def test_a_run_that_is_not_flagged_is_refused(run: Run, tmp_path: Path) -> None:
    bare = tmp_path / "run"
    bare.mkdir()
    for name in ("run.json", "settings.yaml", "folds.json"):
        shutil.copy(run.root / name, bare / name)
    with pytest.raises(MissingFileError, match="maskmend flag"):
        stages.export(Run.open(bare), tmp_path / "out")
    assert not (tmp_path / "out").exists()
