"""DICOM segmentations of dcmqi and highdicom: read, and written so that highdicom agrees."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import highdicom
import numpy as np
import pytest
import SimpleITK
from numpy.typing import NDArray
from pydicom import dcmread
from pydicom.dataset import Dataset
from pydicom.sr.codedict import codes
from pydicom.uid import UID, ExplicitVRBigEndian, JPEG2000Lossless

from maskmend import formats
from maskmend.core import Grid
from maskmend.errors import (
    GridMismatchError,
    MaskmendError,
    MaskValueError,
    UnreadableFileError,
)
from maskmend.formats.dicom_seg import write_more_slices

ROOT = Path(__file__).parents[3] / "shared" / "data" / "dicom_samples"
BY_HIGHDICOM = ("cr_binary", "ct_binary", "ct_binary_fractional", "ct_binary_overlap",
                "ct_binary_single_frame", "ct_true_fractional", "sm_control",
                "sm_control_labelmap", "sm_control_labelmap_palette_color", "sm_dots",
                "sm_dots_tiled_full", "sm_numbers")  # fmt: skip
SEGS = (
    *(f"highdicom/seg_image_{name}.dcm" for name in BY_HIGHDICOM),
    "dcmqi/segmentations/liver.dcm",
    "dcmqi/segmentations/partial_overlaps.dcm",
    "dcmqi/segmentations/sparse-labelmap-noppv.dcm",
    "dcmqi/segmentations/sparse-labelmap-ppv5.dcm",
    "dcmqi/segmentations/23x38x3/seg/label.seg",
    "dcmqi/segmentations/24x38x3/seg/label.seg",
    "dcmqi/sr-example/seg.dcm",
)

Mask = NDArray[np.bool_]
pytestmark = pytest.mark.filterwarnings("ignore::UserWarning:(highdicom|pydicom).*")


@pytest.fixture(scope="session")
def samples() -> Path:
    """DICOM files of other libraries, beside the repository."""
    if not ROOT.is_dir():
        pytest.skip(f"the DICOM samples are not at {ROOT}")
    return ROOT


BY_SEG = pytest.mark.parametrize("name", SEGS)


def by_highdicom(path: Path, grid: Grid) -> list[Mask]:
    """The segments but the background, as highdicom places them on a grid."""
    seg = highdicom.seg.segread(path)
    kept = [k for k, number in enumerate(seg.segment_numbers) if number]
    if "TotalPixelMatrixRows" in seg:
        planes = seg.get_total_pixel_matrix(combine_segments=False)
        return [planes[..., k] > 0 for k in kept]
    if len(grid.shape) == 2:
        return [seg.pixel_array == 1]
    volume = seg.get_volume(combine_segments=False, rescale_fractional=False)
    index = np.indices(grid.shape).reshape(3, -1)
    ras = np.asarray(grid.affine) @ [*index, np.ones_like(index[0])]
    places = volume.map_reference_to_indices((ras[:3] * [[-1], [-1], [1]]).T)
    whole = np.rint(places).astype(int)
    assert np.abs(places - whole).max() < 1e-6
    assert volume.array.shape[:3] == grid.shape
    half = int(seg.get("MaximumFractionalValue", 1)) / 2
    found = volume.array[tuple(whole.T)] >= half
    return [found[:, k].reshape(grid.shape) for k in kept]


def by_itk(path: Path, grid: Grid) -> NDArray[Any]:
    """An image of another format, sampled at the places of a grid; 0 outside."""
    image = SimpleITK.ReadImage(str(path))
    values = SimpleITK.GetArrayFromImage(image)
    index = np.indices(grid.shape).reshape(3, -1)
    ras = np.asarray(grid.affine) @ [*index, np.ones_like(index[0])]
    direction = np.asarray(image.GetDirection()).reshape(3, 3) * image.GetSpacing()
    lps = (ras[:3] * [[-1], [-1], [1]]).T - image.GetOrigin()
    places = np.linalg.solve(direction, lps.T)[::-1]
    whole = np.rint(places).astype(int)
    assert np.abs(places - whole).max() < 1e-2
    inside = [(w >= 0) & (w < n) for w, n in zip(whole, values.shape, strict=True)]
    within = np.all(inside, axis=0)
    found = np.zeros(within.shape, values.dtype)
    found[within] = values[tuple(whole[:, within])]
    return found.reshape(grid.shape)


def segment_facts(path: Path) -> list[Any]:
    """All that a segmentation says of its segments, and what it refers to."""
    seg = dcmread(path)
    kept = ("SegmentSequence", "ReferencedSeriesSequence", "SharedFunctionalGroupsSequence",
            "DimensionIndexSequence", "DimensionOrganizationSequence")  # fmt: skip
    one = ("StudyInstanceUID", "SeriesInstanceUID", "FrameOfReferenceUID", "PatientID",
           "SegmentationType", "ContentDate", "ContentTime", "SOPClassUID")  # fmt: skip
    facts = [seg[key].to_json() for key in (*kept, *one) if key in seg]
    return [*facts, seg.file_meta.TransferSyntaxUID, seg.Rows, seg.Columns]


def changed_masks(path: Path) -> tuple[str, Mask]:
    """The first segment with changes everywhere that does not get in the way of another."""
    masks, _ = formats.read_segments(path)
    name = next(iter(masks))
    others = np.zeros_like(masks[name])
    if dcmread(path).SegmentationType == "LABELMAP":
        others = np.any([mask for other, mask in masks.items() if other != name] + [others], axis=0)
    flipped = np.random.default_rng(0).random(others.shape) < 0.02
    return name, masks[name] ^ (flipped & ~others)


def _sources(frame: Dataset) -> list[str]:
    return [
        image.ReferencedSOPInstanceUID
        for derivation in frame.DerivationImageSequence
        for image in derivation.SourceImageSequence
    ]


class TestReading:
    @BY_SEG
    def test_as_highdicom_reads_it(self, samples: Path, name: str) -> None:
        path = samples / name
        masks, grid = formats.read_segments(path)
        expected = by_highdicom(path, grid)
        for (label, mask), other in zip(masks.items(), expected, strict=True):
            assert np.array_equal(mask, other), label
        header = formats.read_header(path)
        assert (header.grid, header.channels, header.segments) == (grid, 1, tuple(masks))

    @pytest.mark.parametrize(
        ("name", "others"),
        [
            ("liver.dcm", {"Liver": ("liver_seg.nrrd", 1)}),
            ("23x38x3/seg/label.seg", {"Liver": ("23x38x3/nrrd/label.nrrd", 1)}),
            ("24x38x3/seg/label.seg", {"Liver": ("24x38x3/nrrd/label.nrrd", 1)}),
            ("sparse-labelmap-noppv.dcm", {"Liver": ("sparse_labelmap_noppv_seg.nrrd", 1)}),
            ("sparse-labelmap-ppv5.dcm", {"Liver": ("sparse_labelmap_ppv5_seg.nrrd", 1)}),
            (
                "partial_overlaps.dcm",
                {
                    "GREEN": ("partial_overlaps-1.nrrd", 1),
                    "ORANGE": ("partial_overlaps-2.nrrd", 2),
                    "PURPLE": ("partial_overlaps-3.nrrd", 3),
                    "LIGHT_BLUE": ("partial_overlaps-1.nrrd", 4),
                    "DARK_BLUE": ("partial_overlaps-1.nrrd", 5),
                },
            ),
        ],
    )
    def test_as_the_nrrd_that_it_was_made_from(
        self, samples: Path, name: str, others: dict[str, tuple[str, int]]
    ) -> None:
        folder = samples / "dcmqi" / "segmentations"
        masks, grid = formats.read_segments(folder / name)
        assert list(masks) == list(others)
        for label, (other, value) in others.items():
            assert masks[label].any()
            assert np.array_equal(masks[label], by_itk(folder / other, grid) == value), label

    def test_on_the_grid_of_its_series(self, samples: Path) -> None:
        folder = samples / "dcmqi" / "segmentations"
        grid = formats.read_segments(folder / "liver.dcm")[1]
        other = formats.read_header(folder / "ct-3slice").grid
        assert grid.shape == other.shape
        assert np.allclose(np.asarray(grid.affine), np.asarray(other.affine), atol=1e-4)

    def test_slices_that_were_not_stored_are_empty(self, samples: Path) -> None:
        path = samples / "highdicom" / "seg_image_ct_binary_overlap.dcm"
        masks, grid = formats.read_segments(path)
        # 4 slices, from z = -99.48 to 105.52 in steps of 1.25 mm
        assert grid.shape == (165, 16, 16)
        held = np.flatnonzero(masks["first segment"].any(axis=(1, 2)))
        assert set(held) <= {0, 162, 163, 164}
        assert (masks["first segment"] & masks["second segment"]).any()

    def test_a_picture_without_a_place(self, samples: Path) -> None:
        path = samples / "highdicom" / "seg_image_cr_binary.dcm"
        assert formats.read_segments(path)[1] == Grid((16, 16))

    def test_a_fraction_counts_from_half(self, samples: Path) -> None:
        path = samples / "highdicom" / "seg_image_ct_true_fractional.dcm"
        stored = dcmread(path).pixel_array
        mask = formats.read_segments(path)[0]["first segment"]
        assert np.array_equal(mask, stored >= 128)
        assert len(np.unique(stored)) > 2


class TestWriting:
    @BY_SEG
    def test_unchanged_segments_are_copied(self, samples: Path, tmp_path: Path, name: str) -> None:
        path = samples / name
        target = tmp_path / path.name
        formats.write_segments(target, formats.read_segments(path)[0], path)
        assert target.read_bytes() == path.read_bytes()

    @BY_SEG
    def test_highdicom_reads_what_changed(self, samples: Path, tmp_path: Path, name: str) -> None:
        path = samples / name
        target = tmp_path / path.name
        label, mask = changed_masks(path)
        expected = formats.read_segments(path)[0] | {label: mask}
        formats.write_segments(target, {label: mask}, path)
        masks, grid = formats.read_segments(target)
        assert grid == formats.read_segments(path)[1]
        found = by_highdicom(target, grid)
        for (key, wanted), ours, theirs in zip(
            expected.items(), masks.values(), found, strict=True
        ):
            assert np.array_equal(ours, wanted), key
            assert np.array_equal(theirs, wanted), key
        assert segment_facts(target) == segment_facts(path)

    @BY_SEG
    def test_a_new_object_that_follows_from_the_content(
        self, samples: Path, tmp_path: Path, name: str
    ) -> None:
        path = samples / name
        label, mask = changed_masks(path)
        targets = [tmp_path / key / path.name for key in "ab"]
        for target in targets:
            formats.write_segments(target, {label: mask}, path)
        assert targets[0].read_bytes() == targets[1].read_bytes()
        before, after = (dcmread(p) for p in (path, targets[0]))
        assert after.SOPInstanceUID != before.SOPInstanceUID
        assert after.file_meta.MediaStorageSOPInstanceUID == after.SOPInstanceUID
        assert UID(after.SOPInstanceUID).is_valid
        kept = {"PixelData", "NumberOfFrames", "SOPInstanceUID", "SegmentsOverlap",
                "PerFrameFunctionalGroupsSequence"}  # fmt: skip
        for element in before:
            if element.keyword not in kept:
                assert after[element.tag] == element

    @BY_SEG
    def test_emptied_and_filled_again(self, samples: Path, tmp_path: Path, name: str) -> None:
        path = samples / name
        masks, grid = formats.read_segments(path)
        emptied, filled = tmp_path / f"e{path.suffix}", tmp_path / f"f{path.suffix}"
        formats.write_segments(emptied, {key: mask & False for key, mask in masks.items()}, path)
        empty, still = formats.read_segments(emptied)
        assert still == grid
        assert not any(mask.any() for mask in empty.values())
        assert not any(mask.any() for mask in by_highdicom(emptied, grid))
        formats.write_segments(filled, masks, emptied)
        for mask, other in zip(masks.values(), by_highdicom(filled, grid), strict=True):
            assert np.array_equal(mask, other)

    @pytest.mark.parametrize(
        ("name", "got"),
        [("sm_dots_tiled_full", "tiles that are stored for each of the segments"),
         ("sm_control_labelmap_palette_color", "a palette without a colour for it")],
    )  # fmt: skip
    def test_no_room_for_a_segment(
        self, samples: Path, tmp_path: Path, name: str, got: str
    ) -> None:
        path = samples / "highdicom" / f"seg_image_{name}.dcm"
        model = samples / "dcmqi" / "segmentations" / "liver.dcm"
        mask = np.ones(formats.read_header(path).grid.shape, np.bool_)
        with pytest.raises(MaskValueError, match=rf"room for Liver; got {got}"):
            formats.write_segments(tmp_path / "out.dcm", {"Liver": mask}, path, {"Liver": model})
        assert not (tmp_path / "out.dcm").exists()

    @pytest.mark.parametrize(
        "name", [each for each in SEGS if "tiled_full" not in each and "palette" not in each]
    )
    def test_highdicom_reads_a_new_segment(self, samples: Path, tmp_path: Path, name: str) -> None:
        path = samples / name
        model = samples / "dcmqi" / "segmentations" / "partial_overlaps.dcm"
        masks, grid = formats.read_segments(path)
        new = "GREEN"
        if new in masks:
            model = samples / "dcmqi" / "segmentations" / "liver.dcm"
            new = "Liver"
        mask = np.zeros(grid.shape, np.bool_)
        mask[..., 1:4, 2:5] = True
        if dcmread(path).SegmentationType == "LABELMAP":
            mask &= ~np.any(list(masks.values()), axis=0)
        target = tmp_path / path.name
        formats.write_segments(target, {new: mask}, path, {new: model})
        found, after = formats.read_segments(target)
        assert after == grid
        assert list(found) == [*masks, new]
        if len(grid.shape) == 2 and "TotalPixelMatrixRows" not in dcmread(path):
            return
        for wanted, ours, theirs in zip(
            [*masks.values(), mask], found.values(), by_highdicom(target, grid), strict=True
        ):
            assert np.array_equal(ours, wanted)
            assert np.array_equal(theirs, wanted)

    def test_a_frame_for_a_slice_that_had_none(self, samples: Path, tmp_path: Path) -> None:
        path = samples / "dcmqi" / "segmentations" / "partial_overlaps.dcm"
        masks, _ = formats.read_segments(path)
        green = masks["GREEN"].copy()
        assert not green[2].any()
        green[2, 100, 100] = True
        target = tmp_path / "seg.dcm"
        formats.write_segments(target, {"GREEN": green}, path)
        before, after = dcmread(path), dcmread(target)
        assert after.NumberOfFrames == before.NumberOfFrames + 1
        frames = after.PerFrameFunctionalGroupsSequence
        added = [f for f in frames if f not in before.PerFrameFunctionalGroupsSequence
                 and f.SegmentIdentificationSequence[0].ReferencedSegmentNumber == 1
                 and f.PlanePositionSequence[0].ImagePositionPatient[2] == -126.690002]  # fmt: skip
        assert len(added) == 1
        # where PURPLE has a frame in this slice: the same place and the same source
        purple = before.PerFrameFunctionalGroupsSequence[4]
        for group in ("PlanePositionSequence", "DerivationImageSequence"):
            assert added[0][group] == purple[group]
        indices = [list(f.FrameContentSequence[0].DimensionIndexValues) for f in frames]
        assert indices == sorted(indices)
        assert [1, 3] in indices

    def test_a_slice_of_no_segment_has_no_invented_source(
        self, samples: Path, tmp_path: Path
    ) -> None:
        path = samples / "dcmqi" / "segmentations" / "sparse-labelmap-noppv.dcm"
        mask = formats.read_segments(path)[0]["Liver"]
        mask[1, 5, 5] = True
        target = tmp_path / "seg.dcm"
        formats.write_segments(target, {"Liver": mask}, path)
        frames = dcmread(target).PerFrameFunctionalGroupsSequence
        positions = [f.PlanePositionSequence[0].ImagePositionPatient[2] for f in frames]
        assert positions == [-177.75, -175.25, -172.75]
        assert [len(f.DerivationImageSequence) for f in frames] == [1, 0, 1]
        contents = [f.FrameContentSequence[0] for f in frames]
        assert [c.InStackPositionNumber for c in contents] == [1, 2, 3]
        assert [list(c.DimensionIndexValues) for c in contents] == [[1, 1], [1, 2], [1, 3]]

    @pytest.mark.parametrize("listed_in_order", [True, False])
    def test_a_source_between_known_ones(
        self, samples: Path, tmp_path: Path, listed_in_order: bool
    ) -> None:
        whole = dcmread(samples / "dcmqi" / "segmentations" / "liver.dcm")
        expected = [_sources(f) for f in whole.PerFrameFunctionalGroupsSequence]
        order = [0, 1, 2] if listed_in_order else [1, 0, 2]
        listed = whole.ReferencedSeriesSequence[0].ReferencedInstanceSequence
        for instance, k in zip(listed, order, strict=True):
            instance.ReferencedSOPInstanceUID = expected[k][0]
        path, gapped, target = (tmp_path / f"{name}.dcm" for name in ("path", "gapped", "target"))
        whole.save_as(path)
        masks, _ = formats.read_segments(path)
        # without the frame in the middle, as it is stored where that slice is empty
        formats.write_segments(gapped, {"Liver": masks["Liver"] & [[[True]], [[False]], [[True]]]},
                               path)  # fmt: skip
        assert dcmread(gapped).NumberOfFrames == 2
        formats.write_segments(target, masks, gapped)
        found = [_sources(f) for f in dcmread(target).PerFrameFunctionalGroupsSequence]
        assert found == (expected if listed_in_order else [expected[0], [], expected[2]])

    def test_a_fraction_stays_where_the_state_does(self, samples: Path, tmp_path: Path) -> None:
        path = samples / "highdicom" / "seg_image_ct_true_fractional.dcm"
        stored = dcmread(path).pixel_array
        mask = formats.read_segments(path)[0]["first segment"]
        changed = mask.copy()
        changed[1, 4:9, 4:9] ^= True
        target = tmp_path / "seg.dcm"
        formats.write_segments(target, {"first segment": changed}, path)
        found = dcmread(target).pixel_array
        same = changed == mask
        assert np.array_equal(found[same], stored[same])
        assert np.array_equal(found[~same], np.where(changed, 255, 0)[~same])

    def test_an_overlap_is_no_longer_denied(self, samples: Path, tmp_path: Path) -> None:
        path = samples / "highdicom" / "seg_image_sm_control.dcm"
        masks, _ = formats.read_segments(path)
        first, _, third, *_ = masks
        target = tmp_path / "seg.dcm"
        formats.write_segments(target, {first: masks[first] | masks[third]}, path)
        assert dcmread(path).SegmentsOverlap == "NO"
        assert dcmread(target).SegmentsOverlap == "YES"

    def test_a_tile_that_was_not_stored(self, samples: Path, tmp_path: Path) -> None:
        path = samples / "highdicom" / "seg_image_sm_dots.dcm"
        name, mask = next(iter(formats.read_segments(path)[0].items()))
        assert not mask.any()
        mask[33, 12] = True
        target = tmp_path / "seg.dcm"
        formats.write_segments(target, {name: mask}, path)
        frame = dcmread(target).PerFrameFunctionalGroupsSequence[0]
        place = frame.PlanePositionSlideSequence[0]
        assert place.RowPositionInTotalImagePixelMatrix == 31
        assert place.ColumnPositionInTotalImagePixelMatrix == 11
        # as segment 4, which has a frame there, says it
        assert float(place.XOffsetInSlideCoordinateSystem) == 23.444384
        assert float(place.YOffsetInSlideCoordinateSystem) == 25.676105
        assert list(frame.FrameContentSequence[0].DimensionIndexValues) == [1, 2, 4, 4, 2, 1]

    def test_no_segment_named(self, samples: Path, tmp_path: Path) -> None:
        for name in ("ct_binary", "sm_control_labelmap", "sm_dots"):
            path = samples / "highdicom" / f"seg_image_{name}.dcm"
            formats.write_segments(tmp_path / path.name, {}, path)
            assert (tmp_path / path.name).read_bytes() == path.read_bytes()

    def test_private_elements_stay(self, samples: Path, tmp_path: Path) -> None:
        source = dcmread(samples / "highdicom" / "seg_image_ct_binary.dcm")
        source.private_block(0x0099, "maskmend test", create=True).add_new(1, "LO", "kept")
        path, target = tmp_path / "source.dcm", tmp_path / "target.dcm"
        source.save_as(path)
        mask = formats.read_segments(path)[0]["first segment"]
        formats.write_segments(target, {"first segment": ~mask}, path)
        assert dcmread(target).private_block(0x0099, "maskmend test")[1].value == b"kept"


def made_by_highdicom(
    path: Path, source: Path, masks: dict[str, Mask], kind: str, **more: Any
) -> Path:
    """A segmentation of a file with several frames."""
    descriptions = [
        highdicom.seg.SegmentDescription(
            segment_number=number,
            segment_label=name,
            segmented_property_category=codes.SCT.Organ,
            segmented_property_type=codes.SCT.Liver,
            algorithm_type="MANUAL",
        )
        for number, name in enumerate(masks, start=1)
    ]
    pixels = np.stack(list(masks.values()), axis=-1).astype(np.uint8)
    seg = highdicom.seg.Segmentation(
        source_images=[dcmread(source)],
        pixel_array=pixels if pixels.ndim == 4 else pixels[None],
        segmentation_type=kind,
        segment_descriptions=descriptions,
        series_instance_uid="1.2.8",
        series_number=2,
        sop_instance_uid="1.2.9",
        instance_number=1,
        manufacturer="nobody",
        manufacturer_model_name="none",
        software_versions="1",
        device_serial_number="1",
        **more,
    )
    seg.save_as(path)
    return path


class TestMade:
    @pytest.mark.parametrize("kind", ["BINARY", "FRACTIONAL", "LABELMAP"])
    @pytest.mark.parametrize("full", [True, False])
    def test_tiles_that_reach_beyond_the_slide(
        self, samples: Path, tmp_path: Path, kind: str, full: bool
    ) -> None:
        labels = np.random.default_rng(0).integers(0, 3, (50, 50))
        labels[16:32, 16:32] = 0
        masks = {"a": labels == 1, "b": labels == 2}
        # 16 x 16 on 50 x 50: the last tiles have 2 rows or columns within
        path = made_by_highdicom(
            tmp_path / "seg.dcm", samples / "highdicom" / "sm_image.dcm", masks, kind,
            tile_pixel_array=True, tile_size=(16, 16), omit_empty_frames=not full,
            dimension_organization_type="TILED_FULL" if full else "TILED_SPARSE",
        )  # fmt: skip
        found, grid = formats.read_segments(path)
        for name, mask in masks.items():
            assert np.array_equal(found[name], mask)
        assert grid == Grid((50, 50), (0.000499, 0.000499))
        wanted = {"a": masks["a"].copy(), "b": masks["b"].copy()}
        wanted["a"][[49, 20], [49, 20]] = True
        wanted["b"][[49, 20], [49, 20]] = False
        wanted["b"][20, 21] = True
        target = tmp_path / "target.dcm"
        formats.write_segments(target, wanted, path)
        found, still = formats.read_segments(target)
        assert still == grid
        for name, other in zip(wanted, by_highdicom(target, grid), strict=True):
            assert np.array_equal(found[name], wanted[name])
            assert np.array_equal(other, wanted[name])
        grown = dcmread(target).NumberOfFrames - dcmread(path).NumberOfFrames
        assert grown == (0 if full else 1 if kind == "LABELMAP" else 2)

    def test_the_frame_of_a_source_with_several(self, samples: Path, tmp_path: Path) -> None:
        source = samples / "dcmqi" / "segmentations" / "23x38x3" / "multiframe" / "mf.dcm"
        mask = np.zeros((3, 38, 23), np.bool_)
        mask[[0, 2], 5:9, 5:9] = True
        path = made_by_highdicom(tmp_path / "seg.dcm", source, {"a": mask}, "BINARY")
        assert dcmread(path).NumberOfFrames == 2
        mask = formats.read_segments(path)[0]["a"]
        mask[1, 7, 7] = True
        target = tmp_path / "target.dcm"
        formats.write_segments(target, {"a": mask}, path)
        numbers = [
            int(f.DerivationImageSequence[0].SourceImageSequence[0].ReferencedFrameNumber)
            for f in dcmread(target).PerFrameFunctionalGroupsSequence
        ]
        assert sorted(numbers) == [1, 2, 3]
        assert numbers[1] == 2

    @pytest.mark.parametrize("syntax", [ExplicitVRBigEndian, JPEG2000Lossless])
    def test_what_cannot_be_written_without_loss(
        self, samples: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, syntax: UID
    ) -> None:
        seg = dcmread(samples / "highdicom" / "seg_image_ct_true_fractional.dcm")
        path, target = tmp_path / "seg.dcm", tmp_path / "target.dcm"
        seg.save_as(path)
        mask = ~formats.read_segments(path)[0]["first segment"]
        # as if the file had this transfer syntax, and no encoder were installed
        monkeypatch.setattr("maskmend.formats.dicom_seg_writing.transfer_syntax", lambda _: syntax)
        monkeypatch.setattr("maskmend.formats.dicom_seg_writing.LOSSLESS", ())
        with pytest.raises(UnreadableFileError, match="can be written without loss") as caught:
            formats.write_segments(target, {"first segment": mask}, path)
        assert syntax.name in str(caught.value)
        assert not target.exists()


class TestMoreSlices:
    def test_slices_before_and_after(self, samples: Path, tmp_path: Path) -> None:
        path = samples / "dcmqi" / "segmentations" / "23x38x3" / "seg" / "label.seg"
        mask, grid = formats.read_segments(path)[0]["Liver"], formats.read_segments(path)[1]
        more = np.zeros((8, *mask.shape[1:]), np.bool_)
        more[2:5] = mask
        more[0, 3, 4] = more[6, 5, 5] = True
        target = tmp_path / "more.seg"
        write_more_slices(target, {"Liver": more}, path, before=2)
        masks, wider = formats.read_segments(target)
        assert np.array_equal(masks["Liver"], more[:7])
        assert np.array_equal(by_highdicom(target, wider)[0], more[:7])
        before, after = np.asarray(grid.affine), np.asarray(wider.affine)
        assert np.allclose(after[:, :3], before[:, :3])
        assert np.allclose(after[:, 3], before @ [-2, 0, 0, 1])
        # the source images of these slices are not known
        frames = dcmread(target).PerFrameFunctionalGroupsSequence
        assert [len(f.DerivationImageSequence) for f in frames] == [0, 1, 1, 1, 0]

    def test_a_step_that_positions_no_longer_tell_is_stated(
        self, samples: Path, tmp_path: Path
    ) -> None:
        source = dcmread(samples / "highdicom" / "seg_image_ct_binary_single_frame.dcm")
        del source.SharedFunctionalGroupsSequence[0].PixelMeasuresSequence[0].SpacingBetweenSlices
        path, target = tmp_path / "source.dcm", tmp_path / "target.dcm"
        source.save_as(path)
        mask = formats.read_segments(path)[0]["first segment"]
        more = np.concatenate([mask, mask & False, mask])
        write_more_slices(target, {"first segment": more}, path, before=0)
        masks, grid = formats.read_segments(target)
        assert grid.spacing == (5.0, 0.661468, 0.661468)
        assert np.array_equal(masks["first segment"], more)

    def test_empty_slices_change_nothing(self, samples: Path, tmp_path: Path) -> None:
        path = samples / "dcmqi" / "segmentations" / "liver.dcm"
        mask = formats.read_segments(path)[0]["Liver"]
        more = np.concatenate([mask & False, mask, mask & False])
        write_more_slices(tmp_path / "seg.dcm", {"Liver": more}, path, before=len(mask))
        assert (tmp_path / "seg.dcm").read_bytes() == path.read_bytes()

    @pytest.mark.parametrize(
        ("name", "shape", "before"),
        [
            ("ct_binary", (3, 16, 16), 1),
            ("ct_binary", (4, 16, 16), -1),
            ("ct_binary", (4, 16, 17), 1),
            ("cr_binary", (16, 16), 0),
        ],
    )
    def test_masks_that_leave_stored_slices_out(
        self, samples: Path, tmp_path: Path, name: str, shape: tuple[int, ...], before: int
    ) -> None:
        path = samples / "highdicom" / f"seg_image_{name}.dcm"
        masks = {"first segment": np.ones(shape, np.bool_)}
        with pytest.raises(GridMismatchError, match=path.name):
            write_more_slices(tmp_path / "out.dcm", masks, path, before)
        assert list(tmp_path.iterdir()) == []


def _set(keyword: str, value: Any) -> Callable[[Dataset], None]:
    return lambda seg: setattr(seg, keyword, value)


def _same_frame_twice(seg: Dataset) -> None:
    frames = seg.PerFrameFunctionalGroupsSequence
    frames[1].PlanePositionSequence = frames[0].PlanePositionSequence


def _between_steps(seg: Dataset) -> None:
    frames = seg.PerFrameFunctionalGroupsSequence
    frames[1].PlanePositionSequence[0].ImagePositionPatient[2] += 0.25


def _unknown_segment(seg: Dataset) -> None:
    frame = seg.PerFrameFunctionalGroupsSequence[0]
    frame.SegmentIdentificationSequence[0].ReferencedSegmentNumber = 7


class TestBadInput:
    @pytest.mark.parametrize(
        ("change", "message"),
        [
            (_set("NumberOfFrames", 0), "at least one frame; got 0 frames"),
            (_set("SegmentationType", "OTHER"), "the type 'OTHER'"),
            (_set("NumberOfFrames", 4), "garbled|cut off"),
            (_set("SegmentSequence", []), "garbled"),
            (_same_frame_twice, "the frames 1 and 2 of 'first segment' both at"),
            (_between_steps, r"gap of 1.5 mm between frame 1 at"),
            (_unknown_segment, "garbled"),
        ],
    )
    def test_a_segmentation_that_cannot_be(
        self, samples: Path, tmp_path: Path, change: Callable[[Dataset], None], message: str
    ) -> None:
        seg = dcmread(samples / "highdicom" / "seg_image_ct_binary.dcm")
        change(seg)
        path = tmp_path / "seg.dcm"
        seg.save_as(path)
        for read in (formats.read_segments, formats.read_header):
            with pytest.raises(UnreadableFileError, match=message):
                read(path)

    def test_no_pixels(self, samples: Path, tmp_path: Path) -> None:
        seg = dcmread(samples / "highdicom" / "seg_image_ct_binary.dcm")
        del seg.PixelData
        seg.save_as(tmp_path / "seg.dcm")
        with pytest.raises(UnreadableFileError, match="without pixel data"):
            formats.read_segments(tmp_path / "seg.dcm")

    def test_an_image_is_no_segmentation(self, samples: Path) -> None:
        with pytest.raises(MaskValueError, match="an image: CT Image Storage"):
            formats.read_segments(samples / "highdicom" / "ct_image.dcm")

    def test_a_code_without_a_decoder(self, samples: Path, tmp_path: Path) -> None:
        seg = dcmread(samples / "highdicom" / "seg_image_ct_binary.dcm")
        seg.file_meta.TransferSyntaxUID = UID("1.2.3.4")
        path = tmp_path / "seg.dcm"
        seg.save_as(path, implicit_vr=False, little_endian=True)
        with pytest.raises(UnreadableFileError, match=r"transfer syntax 1\.2\.3\.4"):
            formats.read_segments(path)

    def test_a_number_that_is_not_described(self, samples: Path, tmp_path: Path) -> None:
        seg = dcmread(samples / "dcmqi" / "segmentations" / "sparse-labelmap-ppv5.dcm")
        pixels = seg.pixel_array.copy()
        pixels[0, 0, :2] = [5, 6]
        seg.PixelData = pixels.tobytes()
        seg.save_as(tmp_path / "seg.dcm")
        # 5 is the padding of this file
        with pytest.raises(MaskValueError, match=r"segment numbers \[1\]; got.*number 6"):
            formats.read_segments(tmp_path / "seg.dcm")

    def test_equal_and_empty_labels_are_told_apart(self, samples: Path, tmp_path: Path) -> None:
        seg = dcmread(samples / "dcmqi" / "segmentations" / "partial_overlaps.dcm")
        for segment, label in zip(
            seg.SegmentSequence, ["Liver", "Liver", "", "Liver (2)", "Liver"], strict=True
        ):
            segment.SegmentLabel = label
        seg.save_as(tmp_path / "seg.dcm")
        assert formats.read_header(tmp_path / "seg.dcm").segments == (
            "Liver", "Liver (2)", "Segment 3", "Liver (2) (4)", "Liver (5)",
        )  # fmt: skip

    def test_masks_of_numbers(self, samples: Path, tmp_path: Path) -> None:
        path = samples / "highdicom" / "seg_image_ct_binary.dcm"
        numbers: Any = {"first segment": np.ones((3, 16, 16), np.uint8)}
        with pytest.raises(MaskValueError, match="bool; got uint8"):
            formats.write_segments(tmp_path / "out.dcm", numbers, path)

    def test_garbled_bytes_are_named_errors(self, samples: Path, tmp_path: Path) -> None:
        rng, messages = np.random.default_rng(0), []
        for name in ("highdicom/seg_image_ct_binary.dcm", "dcmqi/segmentations/liver.dcm"):
            data = np.frombuffer((samples / name).read_bytes(), np.uint8)
            for number in range(60):
                garbled = data.copy()
                garbled[rng.integers(132, 4000, 5)] = rng.integers(0, 256, 5)
                path = tmp_path / f"{number}.dcm"
                path.write_bytes(garbled.tobytes())
                for read in (formats.read_header, formats.read_segments):
                    try:
                        read(path)
                    except MaskmendError as error:
                        messages.append(str(error))
        assert messages
        assert all(".dcm: expected" in message for message in messages)
