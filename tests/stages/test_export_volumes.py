"""Volumes in the layout of nnU-Net v2: what an export holds, read by nibabel, ITK and MONAI."""

from __future__ import annotations

import csv
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import nibabel
import nrrd
import numpy as np
import pytest
import SimpleITK
import torch
from monai.data import DataLoader, Dataset, load_decathlon_datalist
from monai.transforms import Compose, LoadImaged, Orientationd
from numpy.typing import NDArray
from scipy import ndimage

from maskmend import stages
from maskmend.core import IGNORED, FoldPlan
from maskmend.datasets import open_dataset, read_labels
from maskmend.errors import SettingsError
from maskmend.exporting.options import ExportOptions
from maskmend.learning.soft_loss import SoftTargetLoss
from maskmend.settings import CrossfitSettings, FlagSettings, Settings
from maskmend.store import Run, Source

SETTINGS = Settings(crossfit=CrossfitSettings(folds=2), flag=FlagSettings(method="argmax"))

SHAPE = (20, 24, 10)
"""Of the stored arrays, (x, y, z)."""

CLASSES = {"background": 0, "front": 1, "back": 2}
REGIONS = {"background": 0, "whole": [1, 2, 3], "core": [2, 3], "active": 3}


def affine_of(number: int) -> NDArray[np.float64]:
    """Oblique, anisotropic, with x to the left, another origin for each case."""
    turn = np.array([[-0.8, 0.6, 0], [0.6, 0.8, 0], [0, 0, 1]])
    affine = np.eye(4)
    affine[:3, :3] = turn * (0.75, 0.5, 3)
    affine[:3, 3] = (10 + number, -20, 30.5)
    return affine


def true_labels(number: int, levels: int) -> NDArray[np.uint8]:
    """Boxes in boxes, (x, y, z); or two beside each other."""
    labels = np.zeros(SHAPE, np.uint8)
    x, y, z = 3 + number % 3, 4 + number % 4, 2
    labels[x : x + 12, y : y + 12, z : z + 6] = 1
    if levels == 2:
        labels[x : x + 12, y + 6 : y + 12, z : z + 6] = 2
    else:
        labels[x + 2 : x + 10, y + 2 : y + 10, z + 1 : z + 5] = 2
        labels[x + 4 : x + 8, y + 4 : y + 8, z + 2 : z + 4] = 3
    return labels


def write_nnunet(root: Path, labels: dict[str, Any], more: dict[str, Any], levels: int) -> None:
    """Eight cases of two channels; of three the labels are shifted, of one a part is missing."""
    for number in range(8):
        truth = true_labels(number, levels)
        given = np.roll(truth, 3, axis=1) if number < 3 else truth.copy()
        if number == 3:
            given[:, 12:] = 0
        name, affine = f"case_{number}", affine_of(number)
        rng = np.random.default_rng(number)
        for channel in range(2):
            image = truth * 40 + rng.normal(0, 5, SHAPE)
            path = root / "imagesTr" / f"{name}_{channel:04d}.nii.gz"
            path.parent.mkdir(parents=True, exist_ok=True)
            nibabel.save(nibabel.Nifti1Image(image.astype(np.float32), affine), path)
        (root / "labelsTr").mkdir(exist_ok=True)
        nibabel.save(nibabel.Nifti1Image(given, affine), root / "labelsTr" / f"{name}.nii.gz")
    description = {
        "channel_names": {"0": "T1", "1": "T2"}, "labels": labels, "numTraining": 8,
        "file_ending": ".nii.gz", "note": "of the user", **more,
    }  # fmt: skip
    (root / "dataset.json").write_text(json.dumps(description))


def judged(root: Path, truth: Callable[[int], NDArray[np.float64]]) -> Run:
    """A run on root/data; truth: number of a case -> channels (channels, x, y, z)."""
    run = Run.create(root / "run", Source(str(root / "data"), ("training",)), SETTINGS)
    plan = FoldPlan(2, 0, {case.id: index % 2 for index, case in enumerate(run.cases)})
    run.write_folds(plan)
    for number, case in enumerate(run.cases):
        soft = np.stack([ndimage.gaussian_filter(plane.T, 0.6) for plane in truth(number)]) + 0.01
        soft = np.clip(soft, 0, 0.98)
        if not run.dataset.scheme.overlapping:
            soft /= soft.sum(axis=0)
        run.write_probabilities(case, soft.astype(np.float32), plan.folds[case.id], plan)
    stages.flag(run)
    stages.correct(run)
    return run


@pytest.fixture(scope="module")
def classes(tmp_path_factory: pytest.TempPathFactory) -> Run:
    root = tmp_path_factory.mktemp("classes")
    write_nnunet(root / "data", CLASSES, {}, levels=2)
    return judged(
        root, lambda n: np.stack([true_labels(n, 2) == k for k in range(3)]).astype(float)
    )


@pytest.fixture(scope="module")
def regions(tmp_path_factory: pytest.TempPathFactory) -> Run:
    root = tmp_path_factory.mktemp("regions")
    write_nnunet(root / "data", REGIONS, {"regions_class_order": [1, 2, 3]}, levels=3)
    return judged(
        root, lambda n: np.stack([true_labels(n, 3) >= k for k in (1, 2, 3)]).astype(float)
    )


@pytest.fixture(params=["classes", "regions"])
def run(request: pytest.FixtureRequest) -> Run:
    found: Run = request.getfixturevalue(request.param)
    return found


def stored(path: Path) -> NDArray[Any]:
    return np.asarray(nibabel.load(path).dataobj)  # type: ignore[attr-defined]


def rows_of(path: Path) -> list[dict[str, str]]:
    with path.open(newline="") as table:
        return list(csv.DictReader(table))


def test_the_export_is_a_data_set_of_nnunet(run: Run, tmp_path: Path) -> None:
    source, out = run.dataset.root, tmp_path / "Dataset104_Mended"
    exported = stages.export(run, out)
    assert (out / "dataset.json").read_bytes() == (source / "dataset.json").read_bytes()
    assert len(list((out / "imagesTr").iterdir())) == 16
    changed = 0
    for case in run.cases:
        name = f"labelsTr/{case.id}.nii.gz"
        given, copy = stored(source / name), stored(out / name)
        same = (source / name).read_bytes() == (out / name).read_bytes()
        assert same == (given == copy).all()
        changed += int((given != copy).sum())
        one, other = nibabel.load(source / name), nibabel.load(out / name)
        assert one.header == other.header  # type: ignore[attr-defined]
        assert copy.dtype == np.uint8
    assert exported.pixels == changed > 100
    assert exported.files.unchanged == 4
    # mended is nearer to the truth than given
    truth = {f"case_{n}": true_labels(n, 2 if run.dataset.regions is None else 3) for n in range(8)}
    wrong = [
        sum(int((stored(root / f"labelsTr/{name}.nii.gz") != labels).sum())
            for name, labels in truth.items())
        for root in (source, out)
    ]  # fmt: skip
    assert wrong[1] < 0.3 * wrong[0]


def test_changes_add_up_to_the_voxels_that_differ(run: Run, tmp_path: Path) -> None:
    for kind in ("mended", "ignore"):
        out = tmp_path / kind
        stages.export(run, out, ExportOptions(kind, images="none"))  # type: ignore[arg-type]
        sums: dict[str, int] = {}
        rows = rows_of(out / "changes.csv")
        for row in rows:
            assert row["structure"] == "labels"
            assert row["from"] != row["to"]
            sums[row["case"]] = sums.get(row["case"], 0) + int(row["voxels"])
        for case in run.cases:
            name = f"labelsTr/{case.id}.nii.gz"
            differing = stored(run.dataset.root / name) != stored(out / name)
            assert sums.get(case.id, 0) == differing.sum()
    assert {row["to"] for row in rows} == {"ignored"}


def test_changes_name_all_structures_of_a_voxel(regions: Run, tmp_path: Path) -> None:
    stages.export(regions, tmp_path / "out")
    names = {0: "background", 1: "whole", 2: "whole+core", 3: "whole+core+active"}
    expected: dict[tuple[str, str, str], int] = {}
    for case in regions.cases:
        name = f"labelsTr/{case.id}.nii.gz"
        old, new = stored(regions.dataset.root / name), stored(tmp_path / "out" / name)
        for pair in zip(old[old != new].tolist(), new[old != new].tolist(), strict=True):
            key = (case.id, names[pair[0]], names[pair[1]])
            expected[key] = expected.get(key, 0) + 1
    rows = rows_of(tmp_path / "out" / "changes.csv")
    assert {(r["case"], r["from"], r["to"]): int(r["voxels"]) for r in rows} == expected


def test_a_case_without_a_prediction_keeps_its_bytes(tmp_path: Path) -> None:
    """Predictions that exist, as float32 and without folds, for all cases but one wrong one."""
    write_nnunet(tmp_path / "data", CLASSES, {}, levels=2)
    (tmp_path / "probabilities").mkdir()
    for number in (0, *range(2, 8)):
        hot = np.stack([k == true_labels(number, 2).T for k in range(3)])
        probs = np.where(hot, 0.9, 0.05).astype(np.float32)
        np.save(tmp_path / "probabilities" / f"case_{number}.npy", probs)
    names = [f"case_{number}" for number in range(8)]
    splits = [
        {"train": names[4:], "val": names[:4]},
        {"train": names[:4], "val": names[4:]},
    ]
    (tmp_path / "data" / "splits_final.json").write_text(json.dumps(splits))
    source = Source(str(tmp_path / "data"), ("training",))
    run = stages.audit(
        source, tmp_path / "run", SETTINGS, probabilities=tmp_path / "probabilities",
        out_of_sample=True,
    )  # fmt: skip
    exported = stages.export(run, tmp_path / "out", ExportOptions("soft"))
    assert (exported.files.changed, exported.files.unchanged) == (3, 5)
    for number in range(8):
        name = f"labelsTr/case_{number}.nii.gz"
        same = (tmp_path / "data" / name).read_bytes() == (tmp_path / "out" / name).read_bytes()
        assert same == (number not in (0, 2, 3))
        if number != 1:
            np.testing.assert_array_equal(stored(tmp_path / "out" / name), true_labels(number, 2))
    listed = json.loads((tmp_path / "out" / "soft_datalist.json").read_text())
    assert [item["case"] for item in listed["training"]] == [
        f"case_{number}" for number in (0, *range(2, 8))
    ]
    assert [item["fold"] for item in listed["training"]] == [0, 0, 0, 1, 1, 1, 1]
    margins = [float(row["margin"]) for row in rows_of(tmp_path / "out" / "findings.csv")]
    assert margins == pytest.approx([0.85] * len(margins), abs=1e-3)


# -- nnU-Net's ignore label


def test_the_ignore_label_is_the_highest_and_named(run: Run, tmp_path: Path) -> None:
    out = tmp_path / "Dataset106_Ignore"
    stages.export(run, out, ExportOptions("ignore", images="link"))
    before, after = (
        json.loads((root / "dataset.json").read_text()) for root in (run.dataset.root, out)
    )
    labels = after["labels"]
    values = [each for v in labels.values() for each in (v if isinstance(v, list) else [v])]
    # what nnU-Net asks for: consecutive values, of which ignore is the highest
    assert sorted(set(values)) == list(range(max(values) + 1))
    assert labels["ignore"] == max(values)
    assert list(labels)[:-1] == list(before["labels"])
    assert {**after, "labels": before["labels"]} == before
    assert after["numTraining"] == len(list((out / "labelsTr").iterdir())) == 8
    flagged_at_all = 0
    for case in run.cases:
        name = f"labelsTr/{case.id}.nii.gz"
        given, copy = stored(run.dataset.root / name), stored(out / name)
        flagged = run.read_noise_map(case).any(axis=0).T
        np.testing.assert_array_equal(copy, np.where(flagged, labels["ignore"], given))
        flagged_at_all += int(flagged.sum())
    assert flagged_at_all > 100


def test_the_ignored_copy_opens_again(run: Run, tmp_path: Path) -> None:
    stages.export(run, tmp_path / "out", ExportOptions("ignore", images="link"))
    found = open_dataset(tmp_path / "out")
    assert found.left_out == ()
    assert found.scheme == run.dataset.scheme
    for case, copy in zip(run.cases, found.cases, strict=True):
        ignored = read_labels(found, copy) == IGNORED
        assert (ignored == run.read_noise_map(case).any(axis=0)).all()


def test_a_value_of_ones_own_is_refused(run: Run, tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match="ignore value of this data set"):
        stages.export(run, tmp_path / "out", ExportOptions("ignore", ignore_value=9))
    assert not (tmp_path / "out").exists()


# -- findings and segments in the world


def test_findings_of_a_volume_lie_in_mm(run: Run, tmp_path: Path) -> None:
    stages.export(run, tmp_path / "out", ExportOptions(images="none"))
    rows = rows_of(tmp_path / "out" / "findings.csv")
    assert {row["case"] for row in rows} == {f"case_{number}" for number in range(4)}
    for row in rows:
        affine = affine_of(int(row["case"][-1]))
        assert row["unit"] == "mm3"
        voxel = 0.75 * 0.5 * 3
        assert float(row["size"]) == pytest.approx(int(row["pixels"]) * voxel)
        index = [float(row[f"centroid_{axis}"]) for axis in ("column", "row", "slice")]
        where = [float(row[f"{axis}_mm"]) for axis in "xyz"]
        np.testing.assert_allclose(where, (affine @ (*index, 1))[:3], atol=1e-4)
        assert int(row["slice_first"]) <= int(row["best_slice"]) <= int(row["slice_last"])


def test_segments_lie_where_the_flagged_voxels_do(run: Run, tmp_path: Path) -> None:
    stages.export(run, tmp_path / "out", ExportOptions(images="none", segments=True))
    names = {path.name for path in (tmp_path / "out" / "flagged").iterdir()}
    assert names == {f"case_{number}.seg.nrrd" for number in range(4)}
    scheme = run.dataset.scheme
    for number, case in enumerate(run.cases[:4]):
        path = tmp_path / "out" / "flagged" / f"{case.id}.seg.nrrd"
        pixels, header = nrrd.read(str(path))
        layers = np.asarray(pixels).reshape(-1, *SHAPE)
        given = run.read_given(case)
        flagged = run.read_noise_map(case)
        seen = 0
        for segment in range(2 * len(scheme.structures)):
            if f"Segment{segment}_Name" not in header:
                continue
            structure, kind = header[f"Segment{segment}_Name"].split(": ")
            layer, value = (int(header[f"Segment{segment}_{k}"]) for k in ("Layer", "LabelValue"))
            mask = layers[layer] == value
            plane = scheme.structures.index(structure) if scheme.overlapping else 0
            drawn = scheme.structure_mask(given, structure)
            assert mask.any()
            assert flagged[plane].T[mask].all()
            assert drawn.T[mask].all() == (kind == "wrong")
            seen += 1
        assert seen >= 2
        # ITK is LPS: x and y have the other sign
        image = SimpleITK.ReadImage(str(path))
        for index in ((0, 0, 0), (5, 7, 2)):
            lps = image.TransformIndexToPhysicalPoint(index)
            ras = (affine_of(number) @ (*index, 1))[:3]
            assert lps == pytest.approx((ras * (-1, -1, 1)).tolist(), abs=1e-4)


# -- soft targets of volumes


def test_soft_targets_lie_on_the_image(run: Run, tmp_path: Path) -> None:
    stages.export(run, tmp_path / "out", ExportOptions("soft", images="none"))
    for number, case in enumerate(run.cases):
        soft = nibabel.load(tmp_path / "out" / "soft" / f"{case.id}.nii.gz")
        values = np.asarray(soft.dataobj)  # type: ignore[attr-defined]
        assert values.shape == (*SHAPE, 3)
        assert values.dtype == np.float32
        affine: NDArray[np.float64] = soft.affine  # type: ignore[attr-defined]
        assert affine == pytest.approx(affine_of(number), abs=1e-5)
        np.testing.assert_array_equal(values.T, run.read_soft(case))
        if not run.dataset.scheme.overlapping:
            np.testing.assert_allclose(values.sum(axis=-1), 1, atol=1e-6)


def test_a_loop_of_monai_learns_from_volumes(run: Run, tmp_path: Path) -> None:
    stages.export(run, tmp_path / "out", ExportOptions("soft"))
    items = load_decathlon_datalist(str(tmp_path / "out" / "soft_datalist.json"))
    assert [len(item["image"]) for item in items] == [2] * 8
    load = Compose(
        [
            LoadImaged(["image", "label"], ensure_channel_first=True),
            Orientationd(["image", "label"], axcodes="RAS"),
        ]
    )
    first = load(items[0])
    assert first["image"].shape == (2, *first["label"].shape[1:])
    assert first["label"].shape[0] == 3
    np.testing.assert_allclose(first["image"].affine, first["label"].affine, atol=1e-5)
    torch.manual_seed(0)
    network = torch.nn.Conv3d(2, 3, 3, padding=1)
    loss = SoftTargetLoss(run.dataset.scheme.overlapping)
    optimizer = torch.optim.Adam(network.parameters(), lr=0.02)
    losses = []
    for _ in range(2):
        for batch in DataLoader(Dataset(items, load), batch_size=8):
            value = loss(network(batch["image"] / 100), batch["label"])
            optimizer.zero_grad()
            value.backward()
            optimizer.step()
            losses.append(value.item())
    assert losses[1] < losses[0]


def test_only_wanted_structures_of_regions_change(regions: Run, tmp_path: Path) -> None:
    options = ExportOptions(images="none", structures=("active",))
    stages.export(regions, tmp_path / "out", options)
    for row in rows_of(tmp_path / "out" / "changes.csv"):
        assert ("active" in row["from"]) != ("active" in row["to"])
    found = 0
    for case in regions.cases:
        name = f"labelsTr/{case.id}.nii.gz"
        old, new = stored(regions.dataset.root / name), stored(tmp_path / "out" / name)
        differs = old != new
        flagged = regions.read_noise_map(case)[2].T
        # a voxel that already shows as it should keeps its value
        assert not (differs & ~flagged).any()
        found += int(differs.sum())
    assert found > 0
