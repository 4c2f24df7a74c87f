"""One contract for every format whose masks are named segments."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import nrrd
import numpy as np
import pytest
from numpy.typing import NDArray

from maskmend import formats
from maskmend.core import Grid
from maskmend.errors import (
    GridMismatchError,
    MaskValueError,
    MissingFileError,
    UnreadableFileError,
)

Masks = Mapping[str, NDArray[np.bool_]]

SHAPE = (4, 7, 5)
GRID = Grid(
    SHAPE,
    (2.5, 0.75, 0.5),
    ((0.0, 0.0, -0.5, 10.0), (0.0, -0.75, 0.0, 20.0), (2.5, 0.0, 0.0, -30.0), (0.0, 0.0, 0.0, 1.0)),
)
"""Slices to the head, rows to the back, columns to the left; the first pixel at (-10, -20, -30)
in LPS."""


@dataclass(frozen=True)
class Sample:
    """A way to store segments on GRID.  encode: by another writer than the one under test.
    disjoint: what it encodes must not overlap.  exclusive: nor may what is written later."""

    ending: str
    encode: Callable[[Masks], bytes]
    disjoint: bool = False
    exclusive: bool = False


def _source_slices() -> list[Any]:
    from pydicom.dataset import Dataset, FileMetaDataset
    from pydicom.uid import CTImageStorage, ExplicitVRLittleEndian

    slices = []
    for index in range(SHAPE[0]):
        image = Dataset()
        image.file_meta = FileMetaDataset()
        image.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
        image.SOPClassUID, image.SOPInstanceUID = CTImageStorage, f"1.2.3.{index + 1}"
        image.StudyInstanceUID, image.SeriesInstanceUID = "1.2.4", "1.2.5"
        image.FrameOfReferenceUID, image.Modality = "1.2.6", "CT"
        image.PatientID, image.PatientName = "secret id", "Secret^Name"
        image.PatientBirthDate = image.PatientSex = image.StudyDate = image.StudyTime = ""
        image.StudyID = image.AccessionNumber = image.ReferringPhysicianName = ""
        image.Rows, image.Columns = SHAPE[1:]
        image.ImagePositionPatient = [-10, -20, -30 + 2.5 * index]
        image.ImageOrientationPatient = [1, 0, 0, 0, 1, 0]
        image.PixelSpacing, image.SliceThickness = [0.75, 0.5], 2.5
        image.SamplesPerPixel, image.PhotometricInterpretation = 1, "MONOCHROME2"
        image.BitsAllocated = image.BitsStored = 8
        image.HighBit, image.PixelRepresentation = 7, 0
        slices.append(image)
    return slices


def dicom_seg(kind: str, syntax: str = "1.2.840.10008.1.2.1") -> Callable[[Masks], bytes]:
    def encode(masks: Masks) -> bytes:
        from highdicom import AlgorithmIdentificationSequence
        from highdicom.seg import Segmentation, SegmentDescription
        from pydicom.sr.codedict import codes

        algorithm = AlgorithmIdentificationSequence(
            name="by hand", version="1", family=codes.DCM.ArtificialIntelligence
        )
        segments = [
            SegmentDescription(
                segment_number=number,
                segment_label=name,
                segmented_property_category=codes.SCT.Organ,
                segmented_property_type=codes.SCT.Liver,
                algorithm_type="AUTOMATIC",
                algorithm_identification=algorithm,
                tracking_uid=f"1.2.7.{number}",
                tracking_id=f"tracked {number}",
            )
            for number, name in enumerate(masks, start=1)
        ]
        seg = Segmentation(
            source_images=_source_slices(),
            pixel_array=np.stack(list(masks.values()), axis=-1).astype(np.uint8),
            segmentation_type=kind,
            segment_descriptions=segments,
            series_instance_uid="1.2.8",
            series_number=2,
            sop_instance_uid="1.2.9",
            instance_number=1,
            manufacturer="nobody",
            manufacturer_model_name="none",
            software_versions="1",
            device_serial_number="1",
            transfer_syntax_uid=syntax,
            workers=0,
        )
        buffer = BytesIO()
        seg.save_as(buffer)
        return buffer.getvalue()

    return encode


def seg_nrrd(layered: bool) -> Callable[[Masks], bytes]:
    """As 3D Slicer writes them: one layer a segment, or all in one where they are exclusive."""

    def encode(masks: Masks) -> bytes:
        header: dict[str, Any] = {
            "space": "left-posterior-superior",
            "space directions": [[0.5, 0, 0], [0, 0.75, 0], [0, 0, 2.5]],
            "space origin": [-10, -20, -30],
            "kinds": ["domain"] * 3,
        }
        if layered:
            header["space directions"] = [[np.nan] * 3, *header["space directions"]]
            header["kinds"] = ["list", *header["kinds"]]
        for index, name in enumerate(masks):
            header[f"Segment{index}_ID"] = f"Segment_{index + 1}"
            header[f"Segment{index}_Name"] = name
            header[f"Segment{index}_Layer"] = str(index if layered else 0)
            header[f"Segment{index}_LabelValue"] = str(1 if layered else index + 1)
        stacked = np.stack(list(masks.values())).astype(np.uint8)
        label = np.arange(1, len(masks) + 1, dtype=np.uint8)[:, None, None, None]
        # pynrrd takes the axes in the order of the header, the fastest first
        values = stacked.transpose(0, 3, 2, 1) if layered else (stacked * label).max(axis=0).T
        with TemporaryDirectory() as folder:
            path = Path(folder) / "sample.seg.nrrd"
            nrrd.write(str(path), values, header)
            return path.read_bytes()

    return encode


SAMPLES = {
    "seg.nrrd in layers": Sample(".seg.nrrd", seg_nrrd(layered=True)),
    "seg.nrrd in one layer": Sample(".seg.nrrd", seg_nrrd(layered=False), disjoint=True),
    "dicom binary": Sample(".dcm", dicom_seg("BINARY")),
    "dicom binary, .seg": Sample(".seg", dicom_seg("BINARY", "1.2.840.10008.1.2")),
    "dicom fractional": Sample(".dcm", dicom_seg("FRACTIONAL")),
    "dicom fractional, RLE": Sample(".DCM", dicom_seg("FRACTIONAL", "1.2.840.10008.1.2.5")),
    "dicom label map": Sample(".dcm", dicom_seg("LABELMAP"), disjoint=True, exclusive=True),
    "dicom label map, JPEG-LS": Sample(
        ".dcm", dicom_seg("LABELMAP", "1.2.840.10008.1.2.4.80"), disjoint=True, exclusive=True
    ),
}

BY_NAME = pytest.mark.parametrize("sample", SAMPLES.values(), ids=SAMPLES.keys())


def _draw(disjoint: bool, seed: int = 0) -> dict[str, NDArray[np.bool_]]:
    """Segments that each have a pixel in every slice; they overlap unless they are disjoint."""
    rng = np.random.default_rng(seed)
    labels = rng.integers(0, 4, SHAPE)
    labels[:, 0, :4] = [0, 1, 2, 3]
    masks = {name: labels == value for value, name in enumerate(("liver", "spleen", "kidney"), 1)}
    if not disjoint:
        masks["spleen"] |= rng.random(SHAPE) < 0.5
    return masks


def _put(folder: Path, sample: Sample, masks: Masks, stem: str = "source") -> Path:
    path = folder / f"{stem}{sample.ending}"
    path.write_bytes(sample.encode(masks))
    return path


def _assert_equal(found: Masks, expected: Masks) -> None:
    assert list(found) == list(expected)
    for name, mask in expected.items():
        assert found[name].dtype == np.bool_
        assert np.array_equal(found[name], mask), name


def _assert_close(found: Grid, expected: Grid) -> None:
    assert found.shape == expected.shape
    assert np.allclose(np.asarray(found.spacing), np.asarray(expected.spacing), atol=1e-9)
    assert np.allclose(np.asarray(found.affine), np.asarray(expected.affine), atol=1e-9)


def _check_described(target: Path, model: Path, mask: NDArray[np.bool_]) -> None:
    """The last segment, read by another library, is `mask`, and described as in `model`."""
    if target.name.endswith(".nrrd"):
        (_, written), (_, other) = (nrrd.read(str(path)) for path in (target, model))
        assert written["Segment2_Name"] == other["Segment0_Name"] == "kidney"
        ids = {written[f"Segment{number}_ID"] for number in range(3)}
        assert len(ids) == 3
        return
    import highdicom

    seg, source = highdicom.seg.segread(target), highdicom.seg.segread(model)
    assert list(seg.segment_numbers)[-1] == 3
    item = seg.SegmentSequence[-1]
    wanted = next(each for each in source.SegmentSequence if each.SegmentLabel == "kidney")
    assert (wanted.SegmentNumber, item.SegmentNumber) == (1, 3)
    for keyword in ("SegmentLabel", "SegmentAlgorithmType", "SegmentedPropertyTypeCodeSequence"):
        assert item[keyword] == wanted[keyword]
    # the kidney of another patient is another kidney
    assert "TrackingUID" in wanted
    assert "TrackingUID" not in item
    assert "TrackingID" not in item
    volume = seg.get_volume(combine_segments=False, rescale_fractional=False).array
    assert np.count_nonzero(volume[..., list(seg.segment_numbers).index(3)]) == mask.sum()


class TestSegmentContract:
    @BY_NAME
    def test_named_masks_in_order_where_they_are(self, tmp_path: Path, sample: Sample) -> None:
        masks = _draw(sample.disjoint)
        path = _put(tmp_path, sample, masks)
        found, grid = formats.read_segments(path)
        _assert_equal(found, masks)
        _assert_close(grid, GRID)
        header = formats.read_header(path)
        assert (header.grid, header.channels, header.segments) == (grid, 1, tuple(masks))
        assert formats.is_layered(path)
        assert formats.parts(path) == (path,)

    @BY_NAME
    def test_writing_replaces_what_is_named(self, tmp_path: Path, sample: Sample) -> None:
        masks = _draw(sample.disjoint)
        path = _put(tmp_path, sample, masks)
        before = path.read_bytes()
        liver = masks["liver"].copy()
        liver[1, 0, 1] = False
        liver[2, 0, 0] = True
        target = tmp_path / "out" / path.name
        formats.write_segments(target, {"liver": liver}, path)
        found, grid = formats.read_segments(target)
        _assert_equal(found, masks | {"liver": liver})
        assert grid == formats.read_segments(path)[1]
        assert path.read_bytes() == before

    @BY_NAME
    def test_writing_all_of_them_anew(self, tmp_path: Path, sample: Sample) -> None:
        path = _put(tmp_path, sample, _draw(sample.disjoint))
        other = _draw(sample.disjoint, seed=1)
        target = tmp_path / f"target{sample.ending}"
        formats.write_segments(target, other, path)
        found, grid = formats.read_segments(target)
        _assert_equal(found, other)
        assert grid == formats.read_segments(path)[1]

    @BY_NAME
    def test_writing_what_is_there_changes_nothing(self, tmp_path: Path, sample: Sample) -> None:
        masks = _draw(sample.disjoint)
        path = _put(tmp_path, sample, masks)
        for number, given in enumerate((masks, {}, {"spleen": masks["spleen"]})):
            target = tmp_path / f"{number}{sample.ending}"
            formats.write_segments(target, given, path)
            _assert_equal(formats.read_segments(target)[0], masks)
            assert formats.read_header(target) == formats.read_header(path)

    @BY_NAME
    def test_the_same_masks_give_the_same_bytes(self, tmp_path: Path, sample: Sample) -> None:
        path = _put(tmp_path, sample, _draw(sample.disjoint))
        targets = [tmp_path / f"{name}{sample.ending}" for name in "ab"]
        for target in targets:
            formats.write_segments(target, _draw(sample.disjoint, seed=2), path)
        assert targets[0].read_bytes() == targets[1].read_bytes() != path.read_bytes()

    @BY_NAME
    def test_segments_empty_and_fill_again(self, tmp_path: Path, sample: Sample) -> None:
        masks = _draw(sample.disjoint)
        path = _put(tmp_path, sample, masks)
        empty = {name: np.zeros(SHAPE, np.bool_) for name in masks}
        emptied, refilled = (tmp_path / f"{name}{sample.ending}" for name in ("e", "f"))
        formats.write_segments(emptied, empty, path)
        found, grid = formats.read_segments(emptied)
        _assert_equal(found, empty)
        assert grid == formats.read_segments(path)[1]
        formats.write_segments(refilled, masks, emptied)
        _assert_equal(formats.read_segments(refilled)[0], masks)

    @BY_NAME
    def test_a_segment_leaves_slices_at_the_ends(self, tmp_path: Path, sample: Sample) -> None:
        only = {name: mask.copy() for name, mask in _draw(sample.disjoint).items()}
        for mask in only.values():
            mask[[0, -1]] = False
        path = _put(tmp_path, sample, _draw(sample.disjoint))
        target = tmp_path / f"target{sample.ending}"
        formats.write_segments(target, only, path)
        found, grid = formats.read_segments(target)
        _assert_equal(found, only)
        assert grid == formats.read_segments(path)[1]

    @BY_NAME
    def test_a_segment_that_another_file_describes(self, tmp_path: Path, sample: Sample) -> None:
        masks = _draw(sample.disjoint)
        # there it comes first: its number, value and ID are taken here
        others = {name: masks[name] for name in ("kidney", "liver")}
        model = _put(tmp_path, sample, others, "model")
        two = {name: masks[name] for name in ("liver", "spleen")}
        path = _put(tmp_path, sample, two)
        # in slices of which the file knows, and none in the first
        kidney = masks["kidney"].copy()
        kidney[0] = False
        target = tmp_path / f"target{sample.ending}"
        formats.write_segments(target, {"kidney": kidney}, path, {"kidney": model})
        found, grid = formats.read_segments(target)
        _assert_equal(found, two | {"kidney": kidney})
        assert grid == formats.read_segments(path)[1]
        assert formats.read_header(target).segments == ("liver", "spleen", "kidney")
        # read by a library of the field, and the same bytes each time
        _check_described(target, model, kidney)
        formats.write_segments(tmp_path / f"b{sample.ending}", {"kidney": kidney}, path,
                               {"kidney": model})  # fmt: skip
        assert (tmp_path / f"b{sample.ending}").read_bytes() == target.read_bytes()

    @BY_NAME
    def test_a_model_without_the_segment(self, tmp_path: Path, sample: Sample) -> None:
        masks = _draw(sample.disjoint)
        path = _put(tmp_path, sample, {"liver": masks["liver"]})
        with pytest.raises(MaskValueError, match=r"expected the segment 'kidney'; got \['liver'\]"):
            formats.write_segments(
                tmp_path / f"out{sample.ending}", {"kidney": masks["kidney"]}, path,
                {"kidney": path},
            )  # fmt: skip

    @BY_NAME
    def test_an_unknown_segment(self, tmp_path: Path, sample: Sample) -> None:
        path = _put(tmp_path, sample, _draw(sample.disjoint))
        with pytest.raises(MaskValueError, match=r"liver.*lung"):
            formats.write_segments(
                tmp_path / f"out{sample.ending}", {"lung": np.zeros(SHAPE, np.bool_)}, path
            )
        assert [found.name for found in tmp_path.iterdir()] == [path.name]

    @BY_NAME
    def test_another_shape(self, tmp_path: Path, sample: Sample) -> None:
        path = _put(tmp_path, sample, _draw(sample.disjoint))
        with pytest.raises(GridMismatchError, match=r"\(4, 7, 5\).*\(5, 7, 4\)"):
            formats.write_segments(
                tmp_path / f"out{sample.ending}", {"liver": np.zeros((5, 7, 4), np.bool_)}, path
            )
        assert [found.name for found in tmp_path.iterdir()] == [path.name]

    @BY_NAME
    def test_truncated(self, tmp_path: Path, sample: Sample) -> None:
        path = _put(tmp_path, sample, _draw(sample.disjoint))
        data = path.read_bytes()
        for length in (0, 1, 131, 132, 400, len(data) // 2, len(data) - 30, len(data) - 1):
            path.write_bytes(data[:length])
            for read in (formats.read_segments, formats.read_header):
                with pytest.raises(UnreadableFileError, match=path.name):
                    read(path)

    @BY_NAME
    def test_missing(self, tmp_path: Path, sample: Sample) -> None:
        with pytest.raises(MissingFileError, match=r"gone"):
            formats.read_segments(tmp_path / f"gone{sample.ending}")

    @BY_NAME
    def test_no_one_number_a_pixel(self, tmp_path: Path, sample: Sample) -> None:
        with pytest.raises(ValueError, match="read_segments"):
            formats.read_mask(_put(tmp_path, sample, _draw(sample.disjoint)))

    @pytest.mark.parametrize(
        "sample", [s for s in SAMPLES.values() if s.exclusive],
        ids=[n for n, s in SAMPLES.items() if s.exclusive],
    )  # fmt: skip
    def test_exclusive_segments_must_not_overlap(self, tmp_path: Path, sample: Sample) -> None:
        masks = _draw(disjoint=True)
        path = _put(tmp_path, sample, masks)
        grown = {"liver": masks["liver"] | masks["kidney"]}
        with pytest.raises(MaskValueError, match=r"label map.*pixels in several.*liver.*kidney"):
            formats.write_segments(tmp_path / f"out{sample.ending}", grown, path)
        assert [found.name for found in tmp_path.iterdir()] == [path.name]
