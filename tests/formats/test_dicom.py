"""DICOM images: real series and slides against SimpleITK and highdicom, and bad files."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import highdicom
import numpy as np
import pytest
import SimpleITK
from numpy.typing import NDArray
from pydicom import dcmread
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.pixels import get_decoder
from pydicom.sequence import Sequence
from pydicom.uid import (
    UID,
    CTImageStorage,
    EnhancedMRImageStorage,
    ExplicitVRLittleEndian,
    ImplicitVRLittleEndian,
    JPEGLosslessSV1,
    JPEGLSLossless,
    MediaStorageDirectoryStorage,
    RLELossless,
)

from maskmend import formats
from maskmend.core import Grid
from maskmend.errors import MaskmendError, MaskValueError, MissingFileError, UnreadableFileError

ROWS, COLUMNS = 6, 5


@pytest.fixture(scope="session")
def samples() -> Path:
    """DICOM files of other libraries, beside the repository."""
    root = Path(__file__).parents[3] / "shared" / "data" / "dicom_samples"
    if not root.is_dir():
        pytest.skip(f"the DICOM samples are not at {root}")
    return root


def a_slice(index: int = 0, pixels: NDArray[Any] | None = None, **changes: Any) -> Dataset:
    """A CT slice of 6 x 5 pixels, 0.75 mm by 0.5 mm, at z = 2 * index; changed elements by name."""
    image = Dataset()
    image.SOPClassUID, image.SOPInstanceUID = CTImageStorage, f"1.2.3.{index + 1}"
    image.StudyInstanceUID, image.SeriesInstanceUID = "1.2.4", "1.2.5"
    image.PatientName, image.PatientID, image.Modality = "Secret^Name", "secret id", "CT"
    image.ImagePositionPatient = [-10, -20, 2 * index]
    image.ImageOrientationPatient = [1, 0, 0, 0, 1, 0]
    image.PixelSpacing, image.SliceThickness = [0.75, 0.5], 2
    image.SamplesPerPixel, image.PhotometricInterpretation = 1, "MONOCHROME2"
    if pixels is None:
        pixels = np.arange(ROWS * COLUMNS, dtype=np.int16).reshape(ROWS, COLUMNS) + 100 * index
    image.Rows, image.Columns = pixels.shape[:2]
    image.BitsAllocated = image.BitsStored = 8 * pixels.itemsize
    image.HighBit = image.BitsStored - 1
    image.PixelRepresentation = int(pixels.dtype.kind == "i")
    image.PixelData = pixels.tobytes()
    image.file_meta = FileMetaDataset()
    image.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    for keyword, value in changes.items():
        setattr(image, keyword, value)
    return image


def put(image: Dataset, path: Path) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    image.file_meta.MediaStorageSOPClassUID = image.SOPClassUID
    image.file_meta.MediaStorageSOPInstanceUID = image.SOPInstanceUID
    if image.file_meta.TransferSyntaxUID.is_private:
        image.save_as(path, enforce_file_format=True, implicit_vr=False, little_endian=True)
    else:
        image.save_as(path, enforce_file_format=True)
    return path


def put_series(folder: Path, slices: list[Dataset]) -> Path:
    for index, image in enumerate(slices):
        put(image, folder / f"{index}.dcm")
    return folder


def by_itk(folder: Path) -> SimpleITK.Image:
    reader = SimpleITK.ImageSeriesReader()
    reader.SetFileNames(reader.GetGDCMSeriesFileNames(str(folder)))
    return reader.Execute()


def assert_as_itk(folder: Path) -> None:
    """Voxel by voxel, and the places of some voxels in the patient."""
    image, grid = formats.read_image(folder)
    other = by_itk(folder)
    assert np.array_equal(image[0], SimpleITK.GetArrayFromImage(other))
    affine = np.asarray(grid.affine)
    for corner in np.ndindex(2, 2, 2):
        index = [int(c * (n - 1)) for c, n in zip(corner, grid.shape, strict=True)]
        x, y, z = other.TransformIndexToPhysicalPoint(index[::-1])
        assert np.allclose((affine @ [*index, 1])[:3], [-x, -y, z], atol=1e-3)
    header = formats.read_header(folder)
    assert (header.grid, header.channels, header.dtype) == (grid, 1, image.dtype)


SERIES = (
    "dcmqi/segmentations/ct-3slice",
    "dcmqi/segmentations/23x38x3/image",
    "dcmqi/segmentations/24x38x3/image",
    "udacity_hippocrop/11_HCropVolume",
    "udacity_hippocrop/13_HCropVolume",
    "udacity_hippocrop/14_HCropVolume",
)


class TestRealFiles:
    @pytest.mark.parametrize("name", SERIES)
    def test_a_series_is_as_itk_reads_it(self, samples: Path, name: str) -> None:
        assert_as_itk(samples / name)

    @pytest.mark.parametrize("name", ["23x38x3", "24x38x3"])
    def test_a_multi_frame_file_is_as_its_slices(self, samples: Path, name: str) -> None:
        folder = samples / "dcmqi" / "segmentations" / name
        joined, grid = formats.read_image(folder / "multiframe" / "mf.dcm")
        slices, expected = formats.read_image(folder / "image")
        assert np.array_equal(joined, slices)
        assert grid == expected
        # a folder with one such file is that file
        assert formats.read_header(folder / "multiframe").grid == grid

    @pytest.mark.parametrize("name", ["sm_image.dcm", "sm_image_control.dcm"])
    def test_a_slide_is_its_total_pixel_matrix(self, samples: Path, name: str) -> None:
        path = samples / "highdicom" / name
        image, grid = formats.read_image(path)
        expected = highdicom.imread(path).get_total_pixel_matrix()
        assert np.array_equal(image, np.moveaxis(expected, -1, 0))
        assert grid == Grid((50, 50), (0.000499, 0.000499))
        header = formats.read_header(path)
        assert (header.grid, header.channels, header.dtype.name) == (grid, 3, "uint8")

    def test_a_slice_by_itself_is_a_picture(self, samples: Path) -> None:
        path = samples / "highdicom" / "ct_image.dcm"
        image, grid = formats.read_image(path)
        other = SimpleITK.GetArrayFromImage(SimpleITK.ReadImage(str(path)))
        assert np.array_equal(image, other)
        assert grid == Grid((128, 128), (0.661468, 0.661468))

    def test_monochrome1_is_turned_round(self, samples: Path) -> None:
        path = samples / "highdicom" / "dx_image.dcm"
        image, grid = formats.read_image(path)
        assert np.array_equal(image[0], 255 - dcmread(path).pixel_array)
        assert grid == Grid((169, 211), (1.2, 1.201199999999))

    def test_every_header_agrees_with_its_image(self, samples: Path) -> None:
        found = 0
        for path in sorted(samples.rglob("*.dcm")):
            header = formats.read_header(path)
            if not header.segments:
                image, grid = formats.read_image(path)
                assert (header.grid, header.dtype) == (grid, image.dtype), path
                assert (header.channels, *grid.shape) == image.shape
                found += 1
        assert found > 100


class TestSeries:
    def test_slices_in_order_of_their_positions(self, tmp_path: Path) -> None:
        # named against their order
        put_series(tmp_path, [a_slice(k) for k in (2, 0, 3, 1)])
        image, grid = formats.read_image(tmp_path)
        assert image[0, :, 0, 0].tolist() == [0, 100, 200, 300]
        assert image.dtype == np.int16
        expected = ((0, 0, -0.5, 10), (0, -0.75, 0, 20), (2, 0, 0, 0), (0, 0, 0, 1))
        assert grid == Grid((4, ROWS, COLUMNS), (2.0, 0.75, 0.5), expected)
        assert formats.parts(tmp_path) == tuple(tmp_path / f"{k}.dcm" for k in range(4))

    def test_an_oblique_series_is_as_itk_reads_it(self, tmp_path: Path) -> None:
        turned = np.linalg.qr(np.random.default_rng(0).normal(size=(3, 3)))[0]
        if np.linalg.det(turned) < 0:
            turned[:, 2] *= -1
        row, column, normal = turned.T.round(6)
        put_series(
            tmp_path,
            [
                a_slice(
                    k,
                    ImageOrientationPatient=[*row, *column],
                    ImagePositionPatient=[round(v, 6) for v in 7 - 1.3 * k * normal],
                )
                for k in range(5)
            ],
        )
        assert_as_itk(tmp_path)

    def test_a_tilted_gantry_shears_the_volume(self, tmp_path: Path) -> None:
        put_series(
            tmp_path, [a_slice(k, ImagePositionPatient=[0, 0.5 * k, 2 * k]) for k in range(3)]
        )
        grid = formats.read_header(tmp_path).grid
        assert np.allclose(np.asarray(grid.spacing), [np.hypot(0.5, 2), 0.75, 0.5])
        assert np.allclose(np.asarray(grid.affine)[:3, 0], [0, -0.5, 2])

    def test_rounded_positions_are_even(self, tmp_path: Path) -> None:
        steps = [0, 0.6, 1.3, 1.9, 2.5, 3.1, 3.8]
        put_series(
            tmp_path, [a_slice(k, ImagePositionPatient=[0, 0, z]) for k, z in enumerate(steps)]
        )
        spacing = np.asarray(formats.read_header(tmp_path).grid.spacing)
        assert np.allclose(spacing, [3.8 / 6, 0.75, 0.5])

    def test_what_is_no_slice_is_passed_over(self, tmp_path: Path) -> None:
        put_series(tmp_path, [a_slice(0), a_slice(1)])
        put(a_slice(2), tmp_path / "no-ending")
        put(a_slice(7), tmp_path / ".hidden.dcm")
        put(a_slice(8), tmp_path / "below" / "8.dcm")
        (tmp_path / "notes.txt").write_text("slice 3 is blurred")
        listing = a_slice(9, SOPClassUID=MediaStorageDirectoryStorage)
        del listing.PixelData
        put(listing, tmp_path / "DICOMDIR")
        report = a_slice(9, SOPClassUID="1.2.840.10008.5.1.4.1.1.88.11", SeriesInstanceUID="1.9")
        del report.PixelData
        put(report, tmp_path / "report.dcm")
        seg = a_slice(9, SOPClassUID="1.2.840.10008.5.1.4.1.1.66.4", SeriesInstanceUID="1.9")
        put(seg, tmp_path / "seg.dcm")
        assert formats.read_header(tmp_path).grid.shape == (3, ROWS, COLUMNS)
        assert [p.name for p in formats.parts(tmp_path)] == ["0.dcm", "1.dcm", "no-ending"]

    def test_a_file_alone_whatever_lies_beside_it(self, tmp_path: Path) -> None:
        put_series(tmp_path, [a_slice(k) for k in range(3)])
        image, grid = formats.read_image(tmp_path / "1.dcm")
        assert grid == Grid((ROWS, COLUMNS), (0.75, 0.5))
        assert image[0, 0, 0] == 100

    def test_one_slice_in_a_folder_is_a_volume(self, tmp_path: Path) -> None:
        put_series(tmp_path, [a_slice(4)])
        grid = formats.read_header(tmp_path).grid
        assert (grid.shape, grid.spacing) == ((1, ROWS, COLUMNS), (2.0, 0.75, 0.5))

    def test_a_radiograph_in_a_folder_is_a_picture(self, tmp_path: Path) -> None:
        image = a_slice()
        del image.ImagePositionPatient
        put_series(tmp_path, [image])
        assert formats.read_image(tmp_path)[1] == Grid((ROWS, COLUMNS), (0.75, 0.5))

    def test_a_slope_a_slice(self, tmp_path: Path) -> None:
        put_series(tmp_path, [a_slice(k, RescaleSlope=k + 1, RescaleIntercept=0) for k in (0, 1)])
        image, _ = formats.read_image(tmp_path)
        assert image.dtype == formats.read_header(tmp_path).dtype == np.int32
        assert image[0, :, 0, 1].tolist() == [1, 202]


class TestValues:
    @pytest.mark.parametrize(
        ("changes", "dtype", "value"),
        [
            ({}, np.int16, 7),
            ({"RescaleSlope": 1, "RescaleIntercept": 0}, np.int16, 7),
            ({"RescaleSlope": 1, "RescaleIntercept": -1024}, np.int32, -1017),
            ({"RescaleSlope": 1, "RescaleIntercept": -1024, "BitsStored": 12}, np.int16, -1017),
            ({"RescaleSlope": 3, "RescaleIntercept": 0, "BitsStored": 12}, np.int16, 21),
            ({"RescaleSlope": "0.5", "RescaleIntercept": 1}, np.float32, 4.5),
            ({"PhotometricInterpretation": "MONOCHROME1"}, np.int16, -8),
            (
                {"PhotometricInterpretation": "MONOCHROME1", "RescaleSlope": 2, "BitsStored": 12},
                np.int16,
                -16,
            ),
        ],
    )
    def test_what_a_number_stands_for(
        self, tmp_path: Path, changes: dict[str, Any], dtype: type, value: float
    ) -> None:
        path = put(a_slice(**changes), tmp_path / "image.dcm")
        image, _ = formats.read_image(path)
        assert image.dtype == formats.read_header(path).dtype == dtype
        assert image[0, 1, 2] == value

    def test_bits_above_the_stored_ones_say_nothing(self, tmp_path: Path) -> None:
        pixels = np.array([[0x0FFF, 0xF001, 0x8800]], np.uint16).view(np.int16)
        path = put(a_slice(pixels=pixels, BitsStored=12, HighBit=11), tmp_path / "image.dcm")
        assert formats.read_image(path)[0].tolist() == [[[-1, 1, -2048]]]

    @pytest.mark.parametrize("planar", [0, 1])
    def test_colours(self, tmp_path: Path, planar: int) -> None:
        colours = np.random.default_rng(0).integers(0, 255, (4, 6, 3), np.uint8)
        image = a_slice(
            pixels=colours,
            SamplesPerPixel=3,
            PhotometricInterpretation="RGB",
            PlanarConfiguration=planar,
        )
        if planar:
            image.PixelData = np.moveaxis(colours, -1, 0).tobytes()
        path = put(image, tmp_path / "image.dcm")
        assert np.array_equal(formats.read_image(path)[0], np.moveaxis(colours, -1, 0))
        assert formats.read_header(path).channels == 3

    def test_a_palette_gives_its_colours(self, tmp_path: Path) -> None:
        image = a_slice(
            pixels=np.array([[0, 1], [2, 1]], np.uint8), PhotometricInterpretation="PALETTE COLOR"
        )
        for colour, table in (("Red", "\0\x09"), ("Green", "\0\7"), ("Blue", "\0\5")):
            setattr(image, f"{colour}PaletteColorLookupTableDescriptor", [4, 0, 8])
            setattr(image, f"{colour}PaletteColorLookupTableData", table.encode() + b"\xff\0")
        path = put(image, tmp_path / "image.dcm")
        found, _ = formats.read_image(path)
        assert found[:, 0].tolist() == [[0, 9], [0, 7], [0, 5]]
        assert found[:, 1, 0].tolist() == [255, 255, 255]
        header = formats.read_header(path)
        assert (header.channels, header.dtype) == (3, found.dtype)

    def test_floats(self, tmp_path: Path) -> None:
        image = a_slice(BitsAllocated=32)
        del image.PixelData, image.BitsStored, image.HighBit, image.PixelRepresentation
        values = np.linspace(-1, 1, ROWS * COLUMNS, dtype=np.float32).reshape(ROWS, COLUMNS)
        image.FloatPixelData = values.tobytes()
        path = put(image, tmp_path / "image.dcm")
        assert np.array_equal(formats.read_image(path)[0][0], values)
        assert formats.read_header(path).dtype == np.float32

    @pytest.mark.parametrize("syntax", [RLELossless, JPEGLSLossless, ImplicitVRLittleEndian])
    def test_the_transfer_syntax_changes_nothing(self, tmp_path: Path, syntax: UID) -> None:
        pixels = np.random.default_rng(0).integers(0, 4000, (ROWS, COLUMNS), np.uint16)
        expected = put(a_slice(pixels=pixels), tmp_path / "plain.dcm")
        image = a_slice(pixels=pixels)
        if syntax == ImplicitVRLittleEndian:
            image.file_meta.TransferSyntaxUID = syntax
        else:
            image.compress(syntax)
        path = put(image, tmp_path / "other.dcm")
        assert np.array_equal(formats.read_image(path)[0], formats.read_image(expected)[0])
        assert formats.read_header(path) == formats.read_header(expected)

    @pytest.mark.parametrize(
        ("present", "spacing"),
        [
            (("PixelSpacing", "ImagerPixelSpacing"), (0.75, 0.5)),
            (("ImagerPixelSpacing",), (0.9, 0.8)),
            ((), None),
        ],
    )
    def test_the_spacing_of_a_radiograph(
        self, tmp_path: Path, present: tuple[str, ...], spacing: tuple[float, float] | None
    ) -> None:
        image = a_slice(ImagerPixelSpacing=[0.9, 0.8])
        for keyword in {"PixelSpacing", "ImagerPixelSpacing"} - set(present):
            delattr(image, keyword)
        path = put(image, tmp_path / "image.dcm")
        assert formats.read_header(path).grid == Grid((ROWS, COLUMNS), spacing)

    def test_a_file_without_a_preamble(self, tmp_path: Path) -> None:
        image = a_slice()
        del image.file_meta
        image.save_as(tmp_path / "old.dcm", implicit_vr=True, little_endian=True)
        assert formats.read_image(tmp_path / "old.dcm")[0][0, 1, 2] == 7
        assert formats.read_header(tmp_path / "old.dcm").dtype == np.int16

    def test_a_header_decodes_no_pixel(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        put_series(tmp_path, [a_slice(k) for k in range(3)])

        def decode(*args: Any, **kwargs: Any) -> None:
            raise AssertionError("decoded")

        monkeypatch.setattr("maskmend.formats.dicom_files.iter_pixels", decode)
        assert formats.read_header(tmp_path).grid.shape == (3, ROWS, COLUMNS)
        with pytest.raises(AssertionError, match="decoded"):
            formats.read_image(tmp_path)


def multi_frame(positions: list[Any]) -> Dataset:
    pixels = np.arange(len(positions) * ROWS * COLUMNS, dtype=np.uint16)
    image = a_slice(pixels=pixels.reshape(-1, COLUMNS), SOPClassUID=EnhancedMRImageStorage)
    image.Rows, image.NumberOfFrames = ROWS, len(positions)
    del image.ImagePositionPatient, image.ImageOrientationPatient, image.PixelSpacing
    shared, measures, orientation = Dataset(), Dataset(), Dataset()
    measures.PixelSpacing = [0.75, 0.5]
    orientation.ImageOrientationPatient = [1, 0, 0, 0, 1, 0]
    shared.PixelMeasuresSequence = Sequence([measures])
    shared.PlaneOrientationSequence = Sequence([orientation])
    image.SharedFunctionalGroupsSequence = Sequence([shared])
    image.PerFrameFunctionalGroupsSequence = Sequence([])
    for index, position in enumerate(positions):
        frame, place, value = Dataset(), Dataset(), Dataset()
        place.ImagePositionPatient = position
        frame.PlanePositionSequence = Sequence([place])
        value.RescaleSlope, value.RescaleIntercept = index + 1, 0
        frame.PixelValueTransformationSequence = Sequence([value])
        image.PerFrameFunctionalGroupsSequence.append(frame)
    return image


class TestMultiFrame:
    def test_frames_in_order_of_their_positions(self, tmp_path: Path) -> None:
        path = put(multi_frame([[0, 0, 5], [0, 0, 2], [0, 0, 8]]), tmp_path / "mf.dcm")
        image, grid = formats.read_image(path)
        assert (grid.shape, grid.spacing) == ((3, ROWS, COLUMNS), (3.0, 0.75, 0.5))
        assert np.asarray(grid.affine)[:3, 3].tolist() == [0, 0, 2]
        # each with the slope of its own frame
        size = ROWS * COLUMNS
        assert image[0, :, 0, 0].tolist() == [2 * size, 0, 3 * 2 * size]
        assert formats.read_header(path).dtype == image.dtype == np.int32

    def test_a_film_loop_has_no_place(self, tmp_path: Path) -> None:
        image = multi_frame([[0, 0, 0]] * 4)
        del image.PerFrameFunctionalGroupsSequence, image.SharedFunctionalGroupsSequence
        path = put(image, tmp_path / "loop.dcm")
        assert formats.read_image(path)[1] == Grid((4, ROWS, COLUMNS))

    @pytest.mark.parametrize(
        ("positions", "message"),
        [
            ([0, 2, 6, 8], r"gap of 4 mm between frame 2 at \(0, 0, 2\) and frame 3"),
            ([0, 2, 2, 4], r"frame 2 and frame 3 both at \(0, 0, 2\)"),
        ],
    )
    def test_positions_that_are_no_volume(
        self, tmp_path: Path, positions: list[float], message: str
    ) -> None:
        path = put(multi_frame([[0, 0, z] for z in positions]), tmp_path / "mf.dcm")
        for read in (formats.read_header, formats.read_image):
            with pytest.raises(UnreadableFileError, match=message):
                read(path)


def broken_series(kind: str) -> list[Dataset]:
    slices = [a_slice(k) for k in range(5)]
    if kind == "duplicate UID":
        slices[3].SOPInstanceUID = slices[1].SOPInstanceUID
    elif kind == "missing slice":
        del slices[2]
    elif kind == "same position":
        slices[3].ImagePositionPatient = slices[1].ImagePositionPatient
    elif kind == "two series":
        slices[4].SeriesInstanceUID = "1.2.55"
    elif kind == "mixed sizes":
        slices[2] = a_slice(2, np.zeros((8, COLUMNS), np.int16))
    elif kind == "mixed orientation":
        slices[2].ImageOrientationPatient = [0, 1, 0, 0, 0, 1]
    elif kind == "mixed spacing":
        slices[2].PixelSpacing = [0.75, 0.6]
    elif kind == "mixed pixels":
        slices[2] = a_slice(2, np.zeros((ROWS, COLUMNS), np.uint8))
    elif kind == "shifted":
        slices[2].ImagePositionPatient = [-10, -15, 4]
    elif kind == "no position":
        del slices[2].ImagePositionPatient
    elif kind == "multi-frame":
        slices[2].NumberOfFrames, slices[2].Rows = 2, ROWS // 2
    elif kind == "no decoder":
        slices[2].file_meta.TransferSyntaxUID = UID("1.2.3.4")
    return slices


class TestBadInput:
    @pytest.mark.parametrize(
        ("kind", "message"),
        [
            ("duplicate UID", r"1\.dcm and 3\.dcm with the SOPInstanceUID 1\.2\.3\.2\."),
            ("missing slice", r"gap of 4 mm between 1\.dcm at \(-10, -20, 2\) and 2\.dcm at "
             r"\(-10, -20, 6\), where the median is 2 mm"),
            ("same position", r"1\.dcm and 3\.dcm both at \(-10, -20, 2\)"),
            ("two series", r"2 series: 1\.2\.5 \(4 files, 0\.dcm\); 1\.2\.55 \(1 files, 4\.dcm\)"),
            ("mixed sizes", r"\(8, 5\) in 2\.dcm, \(6, 5\) in 0\.dcm"),
            ("mixed orientation", r"another orientation in 2\.dcm than in 0\.dcm"),
            ("mixed spacing", r"another pixel spacing in 2\.dcm than in 0\.dcm"),
            ("mixed pixels", r"1 x int16 in 0\.dcm, 1 x uint8 in 2\.dcm"),
            ("shifted", r"2\.dcm at \(-10, -15, 4\), 5 mm off"),
            ("no position", r"2\.dcm without a position"),
            ("multi-frame", r"2\.dcm with 2 frames among 5 files"),
            ("no decoder", r"2\.dcm.*transfer syntax 1\.2\.3\.4"),
        ],
    )  # fmt: skip
    def test_a_series(self, tmp_path: Path, kind: str, message: str) -> None:
        put_series(tmp_path, broken_series(kind))
        for read in (formats.read_header, formats.read_image):
            with pytest.raises(UnreadableFileError, match=message) as caught:
                read(tmp_path)
            assert "ecret" not in str(caught.value)

    @pytest.mark.parametrize("name", ["2.dcm", "2"])
    @pytest.mark.parametrize("part", [0.3, 0.97, -1])
    def test_a_slice_cut_off(self, tmp_path: Path, name: str, part: float) -> None:
        put_series(tmp_path, [a_slice(0), a_slice(1)])
        path = put(a_slice(2), tmp_path / name)
        data = path.read_bytes()
        path.write_bytes(data[: -1 if part < 0 else int(part * len(data))])
        for read in (formats.read_header, formats.read_image):
            with pytest.raises(UnreadableFileError, match=f"{name}: expected") as caught:
                read(tmp_path)
            assert "ecret" not in str(caught.value)

    @pytest.mark.parametrize("syntax", [ExplicitVRLittleEndian, RLELossless])
    def test_a_file_cut_off_anywhere(self, tmp_path: Path, syntax: UID) -> None:
        image = a_slice()
        if syntax == RLELossless:
            image.compress(syntax)
        path = put(image, tmp_path / "image.dcm")
        data = path.read_bytes()
        # the last 4 bytes of compressed data are the length of the delimiter, which is nothing
        for length in range(0, len(data) - (3 if syntax == RLELossless else 0), 3):
            path.write_bytes(data[:length])
            for read in (formats.read_header, formats.read_image):
                with pytest.raises(UnreadableFileError, match=r"image\.dcm") as caught:
                    read(path)
                assert "ecret" not in str(caught.value)

    @pytest.mark.parametrize(
        ("content", "message"),
        [
            (b"", "an empty file"),
            (b"id,label\n1,2\n" * 20, "bytes of another kind"),
            (b"\x30\x82\x01\x02" * 100, "encrypted"),
            (b"\0" * 128 + b"DICM" + b"\xff" * 50, "expected a"),
        ],
    )
    def test_no_dicom_in_it(self, tmp_path: Path, content: bytes, message: str) -> None:
        put(a_slice(0), tmp_path / "0.dcm")
        path = tmp_path / "1.dcm"
        path.write_bytes(content)
        for place in (path, tmp_path):
            for read in (formats.read_header, formats.read_image):
                with pytest.raises(UnreadableFileError, match=rf"1\.dcm.*{message}"):
                    read(place)

    def test_a_code_without_a_decoder(self, tmp_path: Path) -> None:
        if get_decoder(JPEGLosslessSV1).is_available:
            pytest.skip("a decoder of lossless JPEG is installed")
        image = a_slice()
        image.compress(RLELossless)
        image.file_meta.TransferSyntaxUID = JPEGLosslessSV1
        path = put(image, tmp_path / "image.dcm")
        for read in (formats.read_header, formats.read_image):
            with pytest.raises(UnreadableFileError, match=r"JPEG Lossless.*Install.*pylibjpeg"):
                read(path)

    @pytest.mark.parametrize(
        ("change", "message"),
        [
            (lambda image: delattr(image, "Rows"), "no attribute 'Rows'"),
            (lambda image: setattr(image, "SamplesPerPixel", 2), "2 samples|cut off"),
            (lambda image: setattr(image, "RescaleSlope", 0), "garbled"),
            (lambda image: delattr(image, "PixelData"), "without pixel data"),
            (lambda image: setattr(image, "Rows", ROWS + 1), "cut off: 60 of 70 bytes"),
            (lambda image: setattr(image, "PixelSpacing", [0, 1]), "garbled"),
            (lambda image: setattr(image, "InConcatenationTotalNumber", 3), "one of 3 files"),
            (lambda image: setattr(image, "ModalityLUTSequence", [Dataset()]), "look-up table"),
        ],
    )
    def test_a_header_that_cannot_be(
        self, tmp_path: Path, change: Callable[[Dataset], None], message: str
    ) -> None:
        image = a_slice()
        change(image)
        path = put(image, tmp_path / "image.dcm")
        for read in (formats.read_header, formats.read_image):
            with pytest.raises(UnreadableFileError, match=message):
                read(path)

    def test_without_pydicom(self) -> None:
        code = (
            "import sys; sys.modules['pydicom'] = None\n"
            "from pathlib import Path; from maskmend import formats\n"
            "try: formats.read_header(Path('image.dcm'))\n"
            "except Exception as error: print(type(error).__name__, error)"
        )
        done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
        assert done.stdout.startswith("MissingExtraError DICOM files: expected the package pydicom")
        assert "maskmend[dicom]" in done.stdout

    def test_nothing_there(self, tmp_path: Path) -> None:
        with pytest.raises(MissingFileError, match="series"):
            formats.read_header(tmp_path)
        with pytest.raises(MissingFileError, match=r"gone\.dcm"):
            formats.read_image(tmp_path / "gone.dcm")

    def test_a_segmentation_is_no_image(self, samples: Path) -> None:
        with pytest.raises(MaskValueError, match="a segmentation"):
            formats.read_image(samples / "highdicom" / "seg_image_ct_binary.dcm")

    def test_garbled_bytes_are_named_errors(self, samples: Path, tmp_path: Path) -> None:
        rng, messages = np.random.default_rng(0), []
        sources = [samples / "highdicom" / "ct_image.dcm"]
        sources.append(samples / "dcmqi/segmentations/23x38x3/multiframe/mf.dcm")
        for source in sources:
            data = np.frombuffer(source.read_bytes(), np.uint8)
            for number in range(60):
                garbled = data.copy()
                garbled[rng.integers(132, 3000, 5)] = rng.integers(0, 256, 5)
                path = tmp_path / f"{number}.dcm"
                path.write_bytes(garbled.tobytes())
                for read in (formats.read_header, formats.read_image):
                    try:
                        read(path)
                    except MaskmendError as error:
                        messages.append(str(error))
        assert messages
        assert all(".dcm: expected" in message for message in messages)
