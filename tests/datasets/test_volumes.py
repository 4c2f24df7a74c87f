"""Folders with volumes: NIfTI, several segments in a file, DICOM series, and the real ones."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from maskmend.core import Grid, LabelScheme
from maskmend.datasets import (
    copy_images,
    open_dataset,
    read_grid,
    read_image,
    read_labels,
    write_fitting,
    write_labels,
)
from maskmend.errors import GridMismatchError, LayoutError
from maskmend.formats import read_header, read_segments
from maskmend.formats.seg_nrrd import create_segments

HIPPOCAMPUS = Path(__file__).parents[3] / "shared" / "data" / "msd_hippocampus"


def said(dataset: Any, *words: str) -> bool:
    return any(all(word in sentence for word in words) for sentence in dataset.understood)


class TestNifti:
    @pytest.fixture(params=["masks", "labels"])
    def root(self, request: pytest.FixtureRequest, tmp_path: Path, make: Any) -> Path:
        root: Path = tmp_path / "source"
        # three axes of other lengths, oblique, flipped, anisotropic
        for seed, case in enumerate(("a", "b", "c")):
            make.image(root / "images" / f"{case}.nii.gz", seed)
            make.label(root / request.param / f"{case}.nii.gz", 0, 1, 4)
        return root

    def test_pictures_among_them(self, root: Path) -> None:
        folder = next(path for path in root.iterdir() if path.name != "images")
        for place in (root / "images", folder):
            Image.new("L", (5, 4)).save(place / "p.png")
        dataset = open_dataset(root)
        assert [case.id for case in dataset.cases] == ["a", "b", "c"]
        (left_out,) = dataset.left_out
        assert (
            "p: expected a volume, as the other cases are; got a picture of (4, 5)"
            in left_out.reason
        )

    def test_there_and_back(self, root: Path, tmp_path: Path, make: Any) -> None:
        dataset = open_dataset(root)
        assert dataset.layout == "label maps"
        assert said(dataset, "Spacing in mm: 2.502 x 0.9 x 0.8016")
        wanted = read_labels(dataset, dataset.cases[2]).copy()
        wanted[0, 2, 3, 4] = 2
        mended = make.check_round_trip(dataset, tmp_path / "out", "c", wanted)
        stored: Any = nib.load(mended.cases[2].masks["labels"])
        # nibabel's axes are x, y, z
        assert np.asarray(stored.dataobj)[4, 3, 2] == 4
        image: Any = nib.load(dataset.cases[2].image)
        np.testing.assert_array_equal(stored.affine, image.affine)

    def test_grid_of_the_image(self, root: Path) -> None:
        case = open_dataset(root).cases[0]
        affine = np.array(read_grid(case).affine)
        image: Any = nib.load(case.image)
        expected = image.affine
        for at in np.ndindex(3, 4, 5):
            np.testing.assert_allclose(affine @ [*at, 1], expected @ [*at[::-1], 1])

    def test_a_label_on_another_grid(self, root: Path, make: Any) -> None:
        make.label(root / "images" / "b.nii.gz", 1, affine=np.diag([1, 1, 2, 1]))
        (left_out,) = open_dataset(root).left_out
        assert left_out.case == "b"
        assert "spacing 2 x 1 x 1 mm" in left_out.reason
        assert "spacing 2.50" in left_out.reason

    def test_a_mask_in_colours(self, root: Path, make: Any) -> None:
        (folder,) = {path.parent for path in root.glob("*/a.nii.gz")} - {root / "images"}
        colours = np.zeros((5, 4, 3), [("R", "u1"), ("G", "u1"), ("B", "u1")])
        nib.save(nib.Nifti1Image(colours, make.oblique), folder / "a.nii.gz")
        (left_out,) = open_dataset(root).left_out
        assert "colours, RGB" in left_out.reason

    def test_nan_in_a_volume(self, root: Path, make: Any) -> None:
        values = np.zeros(make.shape, np.float32)
        values[1, 1, 1] = np.nan
        make.nifti(root / "images" / "a.nii.gz", values)
        (left_out,) = open_dataset(root).left_out
        assert "NaN or infinity in 1 of 60 pixels" in left_out.reason


class TestNames:
    def test_usual_suffixes(self, tmp_path: Path, make: Any) -> None:
        for case in ("a", "b"):
            make.image(tmp_path / "images" / f"{case}_image.nii.gz")
            make.label(tmp_path / "labels" / f"{case}-seg.nii.gz", 1, 2)
        make.image(tmp_path / "images" / "c.nii.gz")
        make.label(tmp_path / "labels" / "c_label.nii.gz", 1)
        dataset = open_dataset(tmp_path)
        assert [case.id for case in dataset.cases] == ["a", "b", "c"]
        assert said(dataset, "differ by a usual suffix", "3 cases")

    def test_not_where_it_is_ambiguous(self, tmp_path: Path, make: Any) -> None:
        for name in ("a_image", "a_img", "b"):
            make.image(tmp_path / "images" / f"{name}.nii.gz")
        for name in ("a_seg", "b"):
            make.label(tmp_path / "labels" / f"{name}.nii.gz", 1)
        dataset = open_dataset(tmp_path)
        assert [case.id for case in dataset.cases] == ["b"]
        assert {left_out.case for left_out in dataset.left_out} == {"a_image", "a_img", "a_seg"}
        assert not said(dataset, "suffix")

    def test_not_where_the_suffix_is_that_of_the_other_kind(
        self, tmp_path: Path, make: Any
    ) -> None:
        make.image(tmp_path / "images" / "no_mask.nii.gz")
        make.label(tmp_path / "masks" / "no_image.nii.gz", 1)
        for folder, put in (("images", make.image), ("masks", make.label)):
            put(tmp_path / folder / "a.nii.gz", 1)
        dataset = open_dataset(tmp_path)
        assert {left_out.case for left_out in dataset.left_out} == {"no_mask", "no_image"}

    def test_channels_in_files(self, tmp_path: Path, make: Any) -> None:
        for case in ("a", "b"):
            for channel in (0, 1):
                make.image(tmp_path / "s" / "images" / f"{case}_{channel:04d}.nii.gz", channel)
            make.label(tmp_path / "s" / "masks" / f"{case}.nii.gz", 1, 2)
        dataset = open_dataset(tmp_path / "s")
        assert [case.id for case in dataset.cases] == ["a", "b"]
        assert read_image(dataset.cases[0]).shape[0] == 2
        assert said(dataset, "channels of the image NAME, in 2 cases")
        wanted = read_labels(dataset, dataset.cases[0])[:, ::-1].copy()
        make.check_round_trip(dataset, tmp_path / "out", "a", wanted)

    def test_a_gap_between_channels(self, tmp_path: Path, make: Any) -> None:
        make.image(tmp_path / "images" / "a_0001.nii.gz")
        make.label(tmp_path / "masks" / "a.nii.gz", 1)
        with pytest.raises(LayoutError, match="got a mask without an image"):
            open_dataset(tmp_path)


def test_a_header_with_its_numbers_beside_it(tmp_path: Path, make: Any) -> None:
    import SimpleITK as sitk  # noqa: N813

    root = tmp_path / "source"
    for folder, dtype in (("images", np.int16), ("masks", np.uint8)):
        (root / folder).mkdir(parents=True)
        for seed, case in enumerate(("a", "b")):
            values = np.random.default_rng(seed).integers(0, 3, make.shape).astype(dtype)
            sitk.WriteImage(sitk.GetImageFromArray(values), str(root / folder / f"{case}.mhd"))
    dataset = open_dataset(root)
    assert not said(dataset, "Skipped")
    wanted = 2 - read_labels(dataset, dataset.cases[0])
    make.check_round_trip(dataset, tmp_path / "out", "a", wanted)
    names = {path.name for path in (tmp_path / "out").rglob("*") if path.is_file()}
    assert names == {"a.mhd", "a.raw", "b.mhd", "b.raw", "labels.json"}
    again = sitk.GetArrayFromImage(sitk.ReadImage(str(tmp_path / "out" / "masks" / "a.mhd")))
    np.testing.assert_array_equal(again, wanted[0])


class TestSegNrrd:
    """The file of `b` covers a part of the image, with flipped axes; `c` lacks a segment."""

    @pytest.fixture
    def root(self, tmp_path: Path, make: Any) -> Path:
        root: Path = tmp_path / "source"
        whole = None
        for seed, case in enumerate(("a", "b", "c")):
            make.image(root / "images" / f"{case}.nii.gz", seed)
        whole = read_header(root / "images" / "a.nii.gz").grid
        masks = self.masks(make)
        (root / "masks").mkdir()
        create_segments(root / "masks" / "a.seg.nrrd", masks, whole)
        part = np.array(whole.affine) @ [[-1, 0, 0, 2], [0, 0, 1, 0], [0, 1, 0, 1], [0, 0, 0, 1]]
        own = Grid((2, 4, 3), None, tuple(tuple(row) for row in part.tolist()))
        # own axes: slices backwards from the last, columns from 1, rows
        cut = {name: mask[1:, :3, 1:][::-1].transpose(0, 2, 1) for name, mask in masks.items()}
        create_segments(root / "masks" / "b.seg.nrrd", cut, own)
        create_segments(root / "masks" / "c.seg.nrrd", {"liver": masks["liver"]}, whole)
        return root

    def masks(self, make: Any) -> dict[str, NDArray[np.bool_]]:
        liver, vessel = np.zeros(make.shape, bool), np.zeros(make.shape, bool)
        liver[1:, :2, 1:4] = True
        vessel[2, 1, 2:] = True
        return {"liver": liver, "vessel": vessel}

    def test_segments_are_structures(self, root: Path, make: Any) -> None:
        dataset = open_dataset(root)
        assert dataset.layout == "folders"
        assert dataset.scheme == LabelScheme(("liver", "vessel"), overlapping=True)
        masks = self.masks(make)
        for case in dataset.cases[:2]:
            labels = read_labels(dataset, case)
            np.testing.assert_array_equal(labels, np.stack(list(masks.values())))
        labels = read_labels(dataset, dataset.cases[2])
        np.testing.assert_array_equal(labels, np.stack([masks["liver"], 0 * masks["vessel"]]))
        assert said(dataset, "no segment vessel", "not present there: c", "is added")

    @pytest.mark.parametrize("case", [0, 1])
    def test_there_and_back(self, root: Path, tmp_path: Path, make: Any, case: int) -> None:
        dataset = open_dataset(root)
        wanted = read_labels(dataset, dataset.cases[case]).copy()
        wanted[0, 1, 2, 1:3] = 1
        wanted[1, 2, 1, 3] = 0
        mended = make.check_round_trip(dataset, tmp_path / "out", "ab"[case], wanted)
        path = mended.cases[case].masks["liver"]
        assert path == mended.cases[case].masks["vessel"]
        own = read_segments(dataset.cases[case].masks["liver"])[1]
        assert read_segments(path)[1] == own

    def test_beyond_the_part(self, root: Path, tmp_path: Path) -> None:
        dataset = open_dataset(root)
        wanted = read_labels(dataset, dataset.cases[1]).copy()
        wanted[0, 0, 0, 0] = 1
        with pytest.raises(GridMismatchError, match=r"b: expected liver inside .*got 1 voxels"):
            write_labels(dataset, dataset.cases[1], wanted, tmp_path / "out")
        assert not list(tmp_path.glob("out/**/*.nrrd"))

    def test_a_segment_that_the_file_lacks(self, root: Path, tmp_path: Path, make: Any) -> None:
        dataset = open_dataset(root)
        wanted = read_labels(dataset, dataset.cases[2]).copy()
        wanted[1, 2, 2, 2] = 1
        mended = make.check_round_trip(dataset, tmp_path / "out", "c", wanted)
        assert read_header(mended.cases[2].masks["vessel"]).segments == ("liver", "vessel")

    def test_what_a_file_cannot_hold_stays_as_given(self, root: Path, tmp_path: Path) -> None:
        dataset, out = open_dataset(root), tmp_path / "out"
        for case in dataset.cases:
            wanted = read_labels(dataset, case).copy()
            wanted[:, 0, 0, 0] = 1
            kept = write_fitting(dataset, case, wanted, out)
            source = case.masks["liver"]
            same = (out / "masks" / source.name).read_bytes() == source.read_bytes()
            # b covers a part of its image only
            assert same == (case.id == "b")
            assert [each.case for each in kept] == ["b"] * same
            for each in kept:
                assert each.reason.startswith("b.seg.nrrd stays as it was given. b: expected liver")

    def test_labels_of_another_shape_are_no_such_thing(self, root: Path, tmp_path: Path) -> None:
        dataset = open_dataset(root)
        wanted = read_labels(dataset, dataset.cases[0])[:, 1:]
        with pytest.raises(GridMismatchError, match="a: expected labels of liver of the mask's"):
            write_fitting(dataset, dataset.cases[0], wanted, tmp_path / "out")

    def test_between_the_voxels(self, root: Path, make: Any) -> None:
        moved = make.oblique.copy()
        moved[0, 3] += 0.4
        make.image(root / "images" / "a.nii.gz", affine=moved)
        (left_out,) = open_dataset(root).left_out
        assert "a: expected segments on whole voxels of the image" in left_out.reason

    def test_label_maps_among_them(self, root: Path, make: Any) -> None:
        (root / "masks" / "a.seg.nrrd").unlink()
        make.label(root / "masks" / "a.nii.gz", 1)
        (left_out,) = open_dataset(root).left_out
        assert "expected a mask of segments that may overlap, as most cases" in left_out.reason

    def test_a_file_for_each_structure(self, root: Path, tmp_path: Path, make: Any) -> None:
        for case in ("a", "b", "c"):
            for name in ("vessel", "the-liver"):
                target = root / "masks" / name / f"{case}.seg.nrrd"
                target.parent.mkdir(exist_ok=True)
                source = "c" if name == "the-liver" else "a"
                target.write_bytes((root / "masks" / f"{source}.seg.nrrd").read_bytes())
        for case in ("a", "b", "c"):
            (root / "masks" / f"{case}.seg.nrrd").unlink()
        dataset = open_dataset(root)
        masks = self.masks(make)
        assert dataset.scheme.structures == ("the-liver", "vessel")
        labels = read_labels(dataset, dataset.cases[0])
        # the only segment of the one file; that of its name in the other
        np.testing.assert_array_equal(labels, np.stack([masks["liver"], masks["vessel"]]))
        wanted = labels[:, ::-1].copy()
        make.check_round_trip(dataset, tmp_path / "out", "a", wanted)


class TestDicom:
    """A series a folder; the segmentation of `b` has the two middle ones of four slices."""

    @pytest.fixture
    def root(self, tmp_path: Path, make: Any) -> Path:
        root: Path = tmp_path / "source"
        rng = np.random.default_rng(0)
        for case in ("a", "b"):
            pixels = rng.integers(0, 1000, (4, 6, 5))
            slices = make.series(root / "images" / case, pixels)
            liver, vessel = rng.random((2, 4, 6, 5)) < 0.5
            chosen = slice(1, 3) if case == "b" else slice(0, 4)
            masks = {"liver": liver[chosen], "vessel": vessel[chosen]}
            make.segmentation(root / "masks" / f"{case}.dcm", slices[chosen], masks)
            np.save(tmp_path / f"{case}.npy", np.stack([liver, vessel]))
            np.save(tmp_path / f"{case}-pixels.npy", pixels)
        return root

    def test_it_is_understood(self, root: Path, tmp_path: Path) -> None:
        dataset = open_dataset(root)
        assert [case.id for case in dataset.cases] == ["a", "b"]
        assert dataset.cases[0].image == root / "images" / "a"
        assert not said(dataset, "Skipped")
        for case in dataset.cases:
            pixels = np.load(tmp_path / f"{case.id}-pixels.npy")
            np.testing.assert_array_equal(read_image(case)[0], pixels)
        first, second = (read_labels(dataset, case) for case in dataset.cases)
        np.testing.assert_array_equal(first, np.load(tmp_path / "a.npy"))
        expected = np.load(tmp_path / "b.npy")
        expected[:, [0, 3]] = False
        np.testing.assert_array_equal(second, expected)

    @pytest.mark.parametrize("name", ["IM{}", "1.2.840.113.{}", "CT.1.2.840.113.{}"])
    def test_files_named_by_their_uids(self, root: Path, tmp_path: Path, name: str) -> None:
        for number, path in enumerate(sorted((root / "images").rglob("*.dcm"))):
            path.rename(path.parent / name.format(number))
        (root / "images" / "a" / "notes.txt").write_text("no image")
        (root / "images" / "texts").mkdir()
        (root / "images" / "texts" / "notes.1").write_text("no image " * 40)
        dataset = open_dataset(root)
        assert [case.id for case in dataset.cases] == ["a", "b"]
        assert said(dataset, "Skipped, as no part of the layout: images/texts.")
        for case in dataset.cases:
            pixels = np.load(tmp_path / f"{case.id}-pixels.npy")
            assert read_image(case).shape == (1, *pixels.shape)

    @pytest.mark.parametrize("changed", [1, 0, 3])
    def test_there_and_back(self, root: Path, tmp_path: Path, make: Any, changed: int) -> None:
        dataset = open_dataset(root)
        wanted = read_labels(dataset, dataset.cases[1]).copy()
        wanted[0, changed, 2, 2:4] = 1 - wanted[0, changed, 2, 2:4]
        mended = make.check_round_trip(dataset, tmp_path / "out", "b", wanted)
        grid = read_segments(mended.cases[1].masks["liver"])[1]
        assert grid.shape == ((2, 6, 5) if changed == 1 else (3, 6, 5))
        copied = {p.relative_to(tmp_path / "out") for p in (tmp_path / "out").rglob("*.dcm")}
        assert copied == {p.relative_to(root) for p in root.rglob("*.dcm")}

    def test_a_segmentation_of_one_slice_for_a_picture(self, tmp_path: Path, make: Any) -> None:
        root, pixels = tmp_path / "pictures", np.arange(30).reshape(1, 6, 5)
        slices = make.series(tmp_path / "series", pixels)
        liver = np.zeros((1, 6, 5), bool)
        liver[0, 2:4, 1:3] = True
        make.segmentation(root / "masks" / "a.dcm", slices, {"liver": liver})
        (root / "images").mkdir()
        next((tmp_path / "series").iterdir()).rename(root / "images" / "a.dcm")
        dataset = open_dataset(root)
        wanted = read_labels(dataset, dataset.cases[0]).copy()
        assert wanted.shape == (1, 6, 5)
        wanted[0, 0, 0] = wanted[0, 5, 4] = 1
        wanted[0, 2, 1] = 0
        mended = make.check_round_trip(dataset, tmp_path / "out", "a", wanted)
        assert read_segments(mended.cases[0].masks["liver"])[1].shape == (1, 6, 5)

    def test_where_segments_of_a_label_map_would_overlap_both_stay(
        self, tmp_path: Path, make: Any
    ) -> None:
        root = tmp_path / "maps"
        slices = make.series(root / "images" / "a", np.arange(120).reshape(4, 6, 5))
        masks = np.zeros((2, 4, 6, 5), bool)
        masks[0, 1, 1:3], masks[1, 1, 4] = True, True
        named = dict(zip(("liver", "vessel"), masks, strict=True))
        make.segmentation(root / "masks" / "a.dcm", slices, named, "LABELMAP")
        dataset = open_dataset(root)
        wanted = read_labels(dataset, dataset.cases[0]).copy()
        expected = wanted.copy()
        # on the liver; on background; on background, twice
        wanted[1, 1, 2, 0] = wanted[1, 1, 3, 0] = 1
        wanted[:, 2, 0, 0] = 1
        expected[1, 1, 3, 0] = 1
        copy_images(dataset, tmp_path / "out")
        assert write_fitting(dataset, dataset.cases[0], wanted, tmp_path / "out") == ()
        mended = open_dataset(tmp_path / "out")
        np.testing.assert_array_equal(read_labels(mended, mended.cases[0]), expected)
        # nothing is left to change: the bytes of the source
        wanted[1, 1, 3, 0] = 0
        assert write_fitting(dataset, dataset.cases[0], wanted, tmp_path / "out") == ()
        before, after = (p / "masks" / "a.dcm" for p in (root, tmp_path / "out"))
        assert after.read_bytes() == before.read_bytes()

    def test_a_series_with_a_missing_slice(self, root: Path) -> None:
        (root / "images" / "a" / "y.dcm").unlink()
        (left_out,) = open_dataset(root).left_out
        assert left_out.case == "a"


@pytest.mark.skipif(not HIPPOCAMPUS.is_dir(), reason=f"no hippocampus data set at {HIPPOCAMPUS}")
class TestHippocampus:
    def test_as_described(self) -> None:
        dataset = open_dataset(HIPPOCAMPUS, classes={"anterior": 1, "posterior": 2})
        assert len(dataset.cases) == 260
        assert dataset.scheme == LabelScheme(("anterior", "posterior"), overlapping=False)
        reasons = {left_out.case: left_out.reason for left_out in dataset.left_out}
        assert set(reasons) == {"hippocampus_010", "hippocampus_118", "hippocampus_281"}
        assert "an image without a mask" in reasons["hippocampus_118"]
        assert "a mask without an image" in reasons["hippocampus_010"]
        assert said(dataset, "float32 and uint8")

    def test_there_and_back(self, tmp_path: Path, make: Any) -> None:
        root = tmp_path / "source"
        for folder in ("images", "labels"):
            (root / folder).mkdir(parents=True)
            for number in ("001", "003", "004"):
                name = f"hippocampus_{number}.nii.gz"
                (root / folder / name).write_bytes((HIPPOCAMPUS / folder / name).read_bytes())
        dataset = open_dataset(root)
        wanted = read_labels(dataset, dataset.cases[1]).copy()
        wanted[wanted == 1] = 2
        wanted[0, 3, 3, 3] = 1
        make.check_round_trip(dataset, tmp_path / "out", "hippocampus_003", wanted)
