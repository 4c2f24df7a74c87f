"""Soft targets read by MONAI, flagged regions read by the libraries of 3D Slicer's format."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import nrrd
import numpy as np
import pytest
import SimpleITK
import torch
from monai.data import DataLoader, Dataset, load_decathlon_datalist
from monai.networks.nets import BasicUNet
from monai.transforms import Compose, EnsureChannelFirstd, LoadImaged, ScaleIntensityd
from PIL import Image

from maskmend import stages
from maskmend.exporting.options import ExportOptions
from maskmend.learning.soft_loss import SoftTargetLoss
from maskmend.settings import CrossfitSettings, Settings
from maskmend.store import Run, Source

from .test_export import exclusive as exclusive

SOFT = ExportOptions("soft")


@pytest.fixture(scope="module")
def patchy(
    noisy: Path, predicted: Callable[[Run], Run], tmp_path_factory: pytest.TempPathFactory
) -> Run:
    """Overlapping structures with ignored pixels in the lung; one case without a heart."""
    root = tmp_path_factory.mktemp("patchy")
    for path in sorted(noisy.glob("training/*/*.png")):
        copy = root / "data" / path.relative_to(noisy)
        copy.parent.mkdir(parents=True, exist_ok=True)
        pixels = np.array(Image.open(path))
        if path.parent.name == "lung":
            pixels[30:40, 10:50] = 128
        Image.fromarray(pixels).save(copy)
    (root / "data" / "training" / "heart" / "training_0003.png").unlink()
    source = Source(str(root / "data"), ("training",), ignore_value=128)
    settings = Settings(crossfit=CrossfitSettings(folds=2))
    run = predicted(Run.create(root / "run", source, settings))
    stages.flag(run)
    stages.correct(run)
    return run


def pictures(keys: Sequence[str] = ("image", "label")) -> Compose:
    """How docs/export.md loads pictures: rows first, as the targets have them."""
    return Compose(
        [
            LoadImaged("image", reader="PILReader", reverse_indexing=False),
            LoadImaged("label", reader="NumpyReader"),
            EnsureChannelFirstd("image", channel_dim="no_channel"),
            EnsureChannelFirstd("label", channel_dim=0),
            ScaleIntensityd("image"),
        ]
    )


def test_the_datalist_is_read_by_monai(exclusive: Run, tmp_path: Path) -> None:
    stages.export(exclusive, tmp_path / "out", SOFT)
    items = load_decathlon_datalist(str(tmp_path / "out" / "soft_datalist.json"))
    folds = exclusive.read_folds().folds
    assert [item["case"] for item in items] == [case.id for case in exclusive.cases]
    for item, case in zip(items, exclusive.cases, strict=True):
        assert item["fold"] == folds[case.id]
        loaded = pictures()(item)
        image, label = np.asarray(loaded["image"]), np.asarray(loaded["label"])
        assert image.shape == (1, 40, 56)
        assert label.shape == (3, 40, 56)
        assert label.dtype == np.float32
        np.testing.assert_allclose(label.sum(axis=0), 1, atol=1e-6)
        np.testing.assert_array_equal(label, exclusive.read_soft(case))
        # image and target lie alike: the image is a function of the true class
        np.testing.assert_array_equal(
            np.array(Image.open(item["hard_label"])) // 10, exclusive.read_mended(case)[0]
        )
        assert Path(item["image"]).is_relative_to(tmp_path / "out")


def test_ignored_pixels_of_structures_are_below_zero(patchy: Run, tmp_path: Path) -> None:
    stages.export(patchy, tmp_path / "out", SOFT)
    listed = json.loads((tmp_path / "out" / "soft_datalist.json").read_text())
    assert listed["channels"] == list(patchy.dataset.scheme.structures)
    assert listed["overlapping"] is True
    lung, heart = (listed["channels"].index(name) for name in ("lung", "heart"))
    flagged = 0
    for item, case in zip(listed["training"], patchy.cases, strict=True):
        soft = np.load(tmp_path / "out" / item["label"], allow_pickle=False)
        ignored = patchy.read_given(case) == 255
        assert ignored[lung].sum() == 400
        assert ignored[heart].all() == (case.id == "training_0003")
        np.testing.assert_array_equal(soft == -1, ignored)
        np.testing.assert_array_equal(soft[~ignored], patchy.read_soft(case)[~ignored])
        flagged += int(((soft > 0) & (soft < 1)).sum())
        # a list of two among lists of three could not be collated
        assert "hard_label" not in item
    assert flagged > 0


def test_soft_targets_follow_what_is_taken(exclusive: Run, tmp_path: Path) -> None:
    """Changes that are not taken are not in the soft targets either."""
    options = ExportOptions("soft", structures=("bar",), cases=("case0", "case2"))
    stages.export(exclusive, tmp_path / "out", options)
    mixed = 0
    for case in exclusive.cases:
        soft = np.load(tmp_path / "out" / "soft" / f"{case.id}.npy", allow_pickle=False)
        given, mended = exclusive.read_given(case)[0], exclusive.read_mended(case)[0]
        taken = (given != mended) & ((given == 2) | (mended == 2))
        taken &= case.id in options.cases
        np.testing.assert_array_equal((soft > 0).sum(axis=0), np.where(taken, 2, 1))
        hard = np.array(Image.open(tmp_path / "out" / "masks" / f"{case.id}.png")) // 10
        np.testing.assert_array_equal(hard, np.where(taken, mended, given))
        mixed += int(taken.sum())
    assert mixed > 0


def test_images_can_stay_where_they_are(exclusive: Run, tmp_path: Path) -> None:
    stages.export(exclusive, tmp_path / "out", ExportOptions("soft", images="none"))
    assert not (tmp_path / "out" / "images").exists()
    for item in load_decathlon_datalist(str(tmp_path / "out" / "soft_datalist.json")):
        source = exclusive.dataset.root / "images" / f"{item['case']}.png"
        assert Path(item["image"]).samefile(source)


def train(items: list[dict[str, Any]], loss: SoftTargetLoss, channels: int) -> list[float]:
    """Two steps of a small network on all items at once."""
    torch.manual_seed(0)
    loader = DataLoader(Dataset(items, pictures()), batch_size=len(items))
    network = BasicUNet(2, 1, channels, features=(4, 4, 8, 8, 8, 4))
    optimizer = torch.optim.Adam(network.parameters(), lr=0.02)
    losses = []
    for _ in range(3):
        for batch in loader:
            value = loss(network(batch["image"]), batch["label"])
            optimizer.zero_grad()
            value.backward()
            optimizer.step()
            losses.append(value.item())
    return losses


def test_a_loop_of_monai_learns_from_the_export(
    exclusive: Run, patchy: Run, tmp_path: Path
) -> None:
    for run, channels in ((exclusive, 3), (patchy, 3)):
        out = tmp_path / run.root.parent.name
        stages.export(run, out, SOFT)
        items = load_decathlon_datalist(str(out / "soft_datalist.json"))
        overlapping = run.dataset.scheme.overlapping
        losses = train(items, SoftTargetLoss(overlapping), channels)
        assert np.isfinite(losses).all()
        assert losses[-1] < losses[0]


def test_flagged_regions_of_a_picture_open_as_one_slice(exclusive: Run, tmp_path: Path) -> None:
    stages.export(exclusive, tmp_path / "out", ExportOptions(segments=True))
    hit = 0
    for case in exclusive.cases:
        path = tmp_path / "out" / "flagged" / f"{case.id}.seg.nrrd"
        given, mended = exclusive.read_given(case)[0], exclusive.read_mended(case)[0]
        assert path.exists() == bool((given != mended).any())
        if not path.exists():
            continue
        hit += 1
        pixels, header = nrrd.read(str(path))
        volume = np.asarray(pixels).reshape(-1, 56, 40, 1)
        found = {}
        for number in range(10):
            if f"Segment{number}_Name" in header:
                layer, value = (
                    int(header[f"Segment{number}_{key}"]) for key in ("Layer", "LabelValue")
                )
                found[header[f"Segment{number}_Name"]] = value == volume[layer, :, :, 0].T
        expected = {}
        for k, name in enumerate(exclusive.dataset.scheme.structures, start=1):
            expected[f"{name}: wrong"] = (given == k) & (mended != k)
            expected[f"{name}: missed"] = (given != k) & (mended == k)
        expected = {name: mask for name, mask in expected.items() if mask.any()}
        assert sorted(found) == sorted(expected)
        for name, mask in expected.items():
            np.testing.assert_array_equal(found[name], mask)
        assert SimpleITK.ReadImage(str(path)).GetSize()[-3:] == (56, 40, 1)
    assert hit >= 3


def test_a_case_that_lost_its_flags_loses_its_segments(exclusive: Run, tmp_path: Path) -> None:
    stages.export(exclusive, tmp_path / "out", ExportOptions(segments=True))
    stale = tmp_path / "out" / "flagged" / "case9.seg.nrrd"
    assert not stale.exists()
    stale.write_bytes(b"of an earlier export")
    stages.export(exclusive, tmp_path / "out", ExportOptions(segments=True))
    assert not stale.exists()
