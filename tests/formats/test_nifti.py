"""NIfTI: what the contract of all formats does not ask."""

from __future__ import annotations

import gzip
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
import pytest

from maskmend.errors import MaskValueError, UnreadableFileError
from maskmend.formats import nifti

PLACE = np.diag([-0.5, 2.0, 3.0, 1.0])
PLACE[:3, 3] = (10, -20, 30)


def _image(values: Any, place: Any = PLACE) -> nib.Nifti1Image:
    """values: on our axes, slowest first."""
    return nib.Nifti1Image(np.asarray(values).T, place)


def _load(path: Path) -> Any:
    return nib.load(path)


def _edited(path: Path, field: str, value: Any) -> None:
    """A field of the header set without nibabel's consent, in a plain file."""
    data = bytearray(path.read_bytes())
    header = nib.Nifti1Header(bytes(data[:348]), check=False)
    header[field] = value
    data[:348] = header.binaryblock
    path.write_bytes(data)


def test_a_voxel_by_hand(tmp_path: Path) -> None:
    values = np.zeros((2, 3, 4), np.uint8)
    values[1, 2, 3] = 7
    _image(values).to_filename(tmp_path / "a.nii")
    # x is the fastest axis on disk: the voxel is the last byte
    assert (tmp_path / "a.nii").read_bytes()[-1] == 7
    mask, grid = nifti.read_mask(tmp_path / "a.nii")
    assert mask[1, 2, 3] == 7
    assert grid.spacing == (3.0, 2.0, 0.5)
    assert grid.affine is not None
    assert (np.array(grid.affine) @ [1, 2, 3, 1]).tolist() == [10 - 1.5, -20 + 4, 30 + 3, 1]


class TestValues:
    @pytest.mark.parametrize(("slope", "inter"), [(1, 0), (0, 0), (np.nan, np.nan), (0, 7)])
    def test_a_slope_that_changes_nothing(self, tmp_path: Path, slope: float, inter: float) -> None:
        path = tmp_path / "a.nii"
        _image(np.full((2, 3, 4), -5, np.int16)).to_filename(path)
        _edited(path, "scl_slope", slope)
        _edited(path, "scl_inter", inter)
        image, _ = nifti.read_image(path)
        assert image.dtype == np.int16
        assert image.min() == -5
        assert nifti.read_header(path).dtype == np.int16

    @pytest.mark.parametrize(
        ("stored", "dtype"),
        [("u1", "f4"), (">i2", "f4"), ("<f4", "f4"), ("i4", "f8"), ("f8", "f8")],
    )
    def test_slope_and_intercept(self, tmp_path: Path, stored: str, dtype: str) -> None:
        path = tmp_path / "a.nii"
        _image(np.full((2, 3, 4), 5, stored)).to_filename(path)
        _edited(path, "scl_slope", 2)
        _edited(path, "scl_inter", -1024)
        image, _ = nifti.read_image(path)
        assert (image.dtype, image.max()) == (np.dtype(dtype), 2 * 5 - 1024)
        assert nifti.read_header(path).dtype == image.dtype
        assert np.array_equal(image[0], np.asanyarray(_load(path).dataobj).T)

    @pytest.mark.parametrize(("slope", "inter"), [(np.inf, 0), (2, np.nan), (2, -np.inf)])
    def test_a_slope_without_end(self, tmp_path: Path, slope: float, inter: float) -> None:
        path = tmp_path / "a.nii"
        _image(np.zeros((2, 3, 4), np.int16)).to_filename(path)
        _edited(path, "scl_slope", slope)
        _edited(path, "scl_inter", inter)
        with pytest.raises(UnreadableFileError, match="finite slope"):
            nifti.read_header(path)

    def test_a_mask_with_a_slope(self, tmp_path: Path) -> None:
        """As nibabel stores 0.0 and 1.0 in uint8: 255 and a slope of 1 / 255."""
        image = _image(np.arange(24).reshape(2, 3, 4) % 2.0)
        image.set_data_dtype(np.uint8)
        source, target = tmp_path / "a.nii.gz", tmp_path / "out" / "a.nii.gz"
        image.to_filename(source)
        raw = _load(source)
        assert raw.dataobj.slope == pytest.approx(1 / 255)
        mask, _ = nifti.read_mask(source)
        assert mask.reshape(-1).tolist() == [0, 1] * 12
        assert nifti.largest_value(source) == 1
        nifti.write_mask(target, mask, source)
        assert gzip.decompress(target.read_bytes()) == gzip.decompress(source.read_bytes())
        nifti.write_mask(target, 1 - mask, source)
        assert np.array_equal(nifti.read_mask(target)[0], 1 - mask)
        assert np.unique(_load(target).dataobj.get_unscaled()).tolist() == [0, 255]

    def test_a_value_between_the_steps_of_a_slope(self, tmp_path: Path) -> None:
        path = tmp_path / "a.nii"
        _image(np.zeros((2, 3, 4), np.uint8)).to_filename(path)
        _edited(path, "scl_slope", 2)
        _edited(path, "scl_inter", 1)
        assert nifti.largest_value(path) == 511
        values = np.ones((2, 3, 4), int)
        values[0, 0, 0] = 511
        nifti.write_mask(tmp_path / "b.nii", values, path)
        assert np.array_equal(nifti.read_mask(tmp_path / "b.nii")[0], values)
        values[0, 0, 0] = 4
        with pytest.raises(MaskValueError, match="1 voxels, such as 4"):
            nifti.write_mask(tmp_path / "c.nii", values, path)

    def test_negative_values_of_the_source_may_stay(self, tmp_path: Path) -> None:
        values = np.arange(24, dtype=np.int16).reshape(2, 3, 4) - 1
        _image(values).to_filename(tmp_path / "a.nii")
        other = values[:, ::-1].copy()
        nifti.write_mask(tmp_path / "b.nii", other, tmp_path / "a.nii")
        assert np.array_equal(nifti.read_mask(tmp_path / "b.nii")[0], other)

    def test_a_negative_zero_keeps_its_bytes(self, tmp_path: Path) -> None:
        source, target = tmp_path / "a.nii", tmp_path / "b.nii"
        _image(np.full((2, 3, 4), -0.0, np.float32)).to_filename(source)
        values = nifti.read_mask(source)[0].copy()
        values[1, 2, 3] = 2
        nifti.write_mask(target, values, source)
        before, after = source.read_bytes(), target.read_bytes()
        assert before[:-4] == after[:-4]
        assert after[-4:] == np.float32(2).tobytes()

    def test_colours(self, tmp_path: Path) -> None:
        colours = np.zeros((4, 3, 2), [("R", "u1"), ("G", "u1"), ("B", "u1")])
        colours["R"], colours["G"], colours["B"] = 1, 2, 3
        nib.Nifti1Image(colours, PLACE).to_filename(tmp_path / "a.nii.gz")
        image, grid = nifti.read_image(tmp_path / "a.nii.gz")
        assert image.shape == (3, 2, 3, 4)
        assert [np.unique(plane).tolist() for plane in image] == [[1], [2], [3]]
        header = nifti.read_header(tmp_path / "a.nii.gz")
        assert (header.channels, header.grid) == (3, grid)
        assert header.dtype == np.uint8
        with pytest.raises(MaskValueError, match=r"a\.nii\.gz: expected a mask.*RGB"):
            nifti.read_mask(tmp_path / "a.nii.gz")

    def test_complex_numbers(self, tmp_path: Path) -> None:
        _image(np.zeros((2, 3, 4), np.complex64)).to_filename(tmp_path / "a.nii")
        for read in (nifti.read_header, nifti.read_image, nifti.read_mask):
            with pytest.raises(UnreadableFileError, match="voxels of complex64"):
                read(tmp_path / "a.nii")


class TestAxes:
    @pytest.mark.parametrize("shape", [(2, 3, 4, 5), (3, 2, 3, 4, 5), (3, 1, 2, 4, 5)])
    def test_further_axes_are_channels(self, tmp_path: Path, shape: tuple[int, ...]) -> None:
        values = np.arange(np.prod(shape), dtype=np.int16).reshape(shape)
        _image(values).to_filename(tmp_path / "a.nii.gz")
        image, grid = nifti.read_image(tmp_path / "a.nii.gz")
        assert np.array_equal(image, values.reshape(-1, *shape[-3:]))
        assert grid.shape == shape[-3:]
        assert nifti.read_header(tmp_path / "a.nii.gz").channels == len(image)
        with pytest.raises(MaskValueError, match=f"{len(image)} numbers a voxel"):
            nifti.read_mask(tmp_path / "a.nii.gz")

    def test_a_fourth_axis_of_one(self, tmp_path: Path) -> None:
        source, target = tmp_path / "a.nii", tmp_path / "b.nii"
        _image(np.zeros((1, 2, 3, 4), np.uint8)).to_filename(source)
        values = np.arange(24).reshape(2, 3, 4)
        nifti.write_mask(target, values, source)
        assert np.array_equal(nifti.read_mask(target)[0], values)
        assert _load(target).shape == (4, 3, 2, 1)

    def test_one_slice_is_a_volume(self, tmp_path: Path) -> None:
        _image(np.zeros((1, 3, 4), np.uint8)).to_filename(tmp_path / "a.nii")
        _, grid = nifti.read_mask(tmp_path / "a.nii")
        assert grid.shape == (1, 3, 4)
        assert grid.affine is not None

    @pytest.mark.parametrize("dim", [(1, 4, 1, 1), (3, 4, 0, 2), (3, 4, -3, 2), (9, 4, 3, 2)])
    def test_axes_that_cannot_be(self, tmp_path: Path, dim: tuple[int, ...]) -> None:
        _image(np.zeros((2, 3, 4), np.uint8)).to_filename(tmp_path / "a.nii")
        _edited(tmp_path / "a.nii", "dim", (*dim, 1, 1, 1, 1))
        with pytest.raises(UnreadableFileError, match=r"a\.nii: expected 2 to 7 axes"):
            nifti.read_header(tmp_path / "a.nii")


class TestPlace:
    def test_the_sform_goes_before_the_qform(self, tmp_path: Path) -> None:
        image = _image(np.zeros((2, 3, 4), np.uint8))
        image.set_sform(PLACE, 2)
        image.set_qform(np.eye(4), 1)
        image.to_filename(tmp_path / "a.nii")
        grid = nifti.read_header(tmp_path / "a.nii").grid
        assert grid.affine == tuple(map(tuple, PLACE[:, [2, 1, 0, 3]].tolist()))
        # the header's own spacing belongs to the qform
        assert _load(tmp_path / "a.nii").header.get_zooms() == (1, 1, 1)
        assert grid.spacing == (3.0, 2.0, 0.5)

    def test_the_header_says_nothing(self, tmp_path: Path) -> None:
        image = _image(np.zeros((2, 3, 4), np.uint8))
        image.set_sform(None, 0)
        image.set_qform(None, 0)
        image.to_filename(tmp_path / "a.nii")
        grid = nifti.read_header(tmp_path / "a.nii").grid
        assert grid.affine is None
        assert grid.spacing == (3.0, 2.0, 0.5)

    @pytest.mark.parametrize("zooms", [(1, 0, 0, 0), (1, np.nan, 2, 3), (1, 9, 9, 9)])
    def test_a_spacing_that_contradicts_the_affine(
        self, tmp_path: Path, zooms: tuple[float, ...]
    ) -> None:
        _image(np.zeros((2, 3, 4), np.uint8)).to_filename(tmp_path / "a.nii")
        _edited(tmp_path / "a.nii", "pixdim", (*zooms, 1, 1, 1, 1))
        assert nifti.read_header(tmp_path / "a.nii").grid.spacing == (3.0, 2.0, 0.5)

    @pytest.mark.parametrize(("unit", "factor"), [("mm", 1), ("meter", 1000), ("micron", 0.001)])
    def test_units(self, tmp_path: Path, unit: str, factor: float) -> None:
        image = _image(np.zeros((2, 3, 4), np.uint8))
        image.header.set_xyzt_units(unit)
        image.to_filename(tmp_path / "a.nii")
        grid = nifti.read_header(tmp_path / "a.nii").grid
        assert grid.spacing == pytest.approx((3 * factor, 2 * factor, 0.5 * factor))
        assert grid.affine is not None
        assert grid.affine[0][3] == pytest.approx(10 * factor)

    @pytest.mark.parametrize("field", ["srow_x", "srow_z"])
    def test_an_affine_with_nan(self, tmp_path: Path, field: str) -> None:
        _image(np.zeros((2, 3, 4), np.uint8)).to_filename(tmp_path / "a.nii")
        _edited(tmp_path / "a.nii", field, [1, 0, np.nan, 5])
        for read in (nifti.read_header, nifti.read_image, nifti.read_mask):
            with pytest.raises(UnreadableFileError) as caught:
                read(tmp_path / "a.nii")
            assert caught.value.case.endswith("a.nii")
            assert caught.value.expected == "a finite affine in the header"
            assert "nan" in caught.value.got
            assert caught.value.remedy.startswith("Correct the orientation")

    @pytest.mark.parametrize(("field", "value"), [("quatern_b", np.nan), ("quatern_c", 3.0),
                                                  ("qoffset_x", np.inf)])  # fmt: skip
    def test_a_qform_that_is_no_rotation(self, tmp_path: Path, field: str, value: float) -> None:
        image = _image(np.zeros((2, 3, 4), np.uint8))
        image.set_sform(None, 0)
        image.set_qform(PLACE, 1)
        image.to_filename(tmp_path / "a.nii")
        _edited(tmp_path / "a.nii", field, value)
        with pytest.raises(UnreadableFileError, match="Correct the orientation"):
            nifti.read_header(tmp_path / "a.nii")

    def test_an_affine_that_is_flat(self, tmp_path: Path) -> None:
        _image(np.zeros((2, 3, 4), np.uint8)).to_filename(tmp_path / "a.nii")
        _edited(tmp_path / "a.nii", "srow_x", [0, 0, 0, 0])
        with pytest.raises(UnreadableFileError, match="span space"):
            nifti.read_header(tmp_path / "a.nii")


class TestFiles:
    @pytest.mark.parametrize("name", ["a.nii", "a.nii.gz"])
    def test_a_header_larger_than_the_file(self, tmp_path: Path, name: str) -> None:
        _image(np.zeros((2, 3, 4), np.int16)).to_filename(tmp_path / "a.nii")
        _edited(tmp_path / "a.nii", "dim", [4, 30000, 30000, 30000, 30000, 1, 1, 1])
        data = (tmp_path / "a.nii").read_bytes()
        (tmp_path / name).write_bytes(gzip.compress(data) if name.endswith("gz") else data)
        size = (tmp_path / name).stat().st_size
        for read in (nifti.read_header, nifti.read_image, nifti.read_mask):
            with pytest.raises(UnreadableFileError) as caught:
                read(tmp_path / name)
            assert caught.value.case.endswith(name)
            assert str(352 + 2 * 30000**4) in caught.value.expected
            assert str(size) in caught.value.got

    def test_a_header_a_little_larger_than_the_file(self, tmp_path: Path) -> None:
        _image(np.zeros((2, 3, 4), np.uint8)).to_filename(tmp_path / "a.nii")
        _edited(tmp_path / "a.nii", "dim", [3, 4, 3, 3, 1, 1, 1, 1])
        data = (tmp_path / "a.nii").read_bytes()
        (tmp_path / "a.nii.gz").write_bytes(gzip.compress(data))
        for read in (nifti.read_header, nifti.read_image, nifti.read_mask):
            with pytest.raises(UnreadableFileError, match=r"388 bytes.*376 bytes"):
                read(tmp_path / "a.nii")
            with pytest.raises(UnreadableFileError, match=r"388 bytes.*376 bytes"):
                read(tmp_path / "a.nii.gz")

    def test_gzip_cut_in_the_middle(self, tmp_path: Path) -> None:
        noise = np.random.default_rng(0).integers(0, 99, (20, 30, 40), np.int16)
        _image(noise).to_filename(tmp_path / "a.nii.gz")
        data = (tmp_path / "a.nii.gz").read_bytes()
        (tmp_path / "a.nii.gz").write_bytes(data[: len(data) // 2])
        for read in (nifti.read_header, nifti.read_image, nifti.read_mask):
            with pytest.raises(UnreadableFileError) as caught:
                read(tmp_path / "a.nii.gz")
            assert caught.value.case.endswith("a.nii.gz")
            assert str(352 + 2 * noise.size) in caught.value.expected
            assert str(len(data) // 2) in caught.value.got

    def test_a_damaged_gzip(self, tmp_path: Path) -> None:
        noise = np.random.default_rng(0).integers(0, 99, (20, 30, 40), np.int16)
        _image(noise).to_filename(tmp_path / "a.nii.gz")
        data = bytearray((tmp_path / "a.nii.gz").read_bytes())
        data[len(data) // 2] ^= 0xFF
        (tmp_path / "a.nii.gz").write_bytes(data)
        with pytest.raises(UnreadableFileError, match="whole compressed file"):
            nifti.read_image(tmp_path / "a.nii.gz")

    def test_the_header_of_a_gzip_is_read_without_its_voxels(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        _image(np.zeros((20, 30, 40), np.int16)).to_filename(tmp_path / "a.nii.gz")

        def never(*_: Any) -> None:
            raise AssertionError("all of it was inflated")

        monkeypatch.setattr(nifti, "inflate", never)
        assert nifti.read_header(tmp_path / "a.nii.gz").grid.shape == (20, 30, 40)

    @pytest.mark.parametrize("padding", [b"", b"\0" * 100])
    def test_a_gzip_of_several_members(self, tmp_path: Path, padding: bytes) -> None:
        """As bgzip writes it: blocks of 64 KB, and an empty one at the end."""
        noise = np.random.default_rng(0).integers(0, 99, (20, 30, 40), np.int16)
        _image(noise).to_filename(tmp_path / "a.nii")
        data = (tmp_path / "a.nii").read_bytes()
        pieces = [data[at : at + 10_000] for at in range(0, len(data), 10_000)]
        members = b"".join(gzip.compress(piece) for piece in (*pieces, b""))
        (tmp_path / "a.nii.gz").write_bytes(members + padding)
        assert nifti.read_header(tmp_path / "a.nii.gz").grid.shape == (20, 30, 40)
        assert np.array_equal(nifti.read_mask(tmp_path / "a.nii.gz")[0], noise)

    def test_bytes_behind_the_voxels_are_kept(self, tmp_path: Path) -> None:
        _image(np.zeros((2, 3, 4), np.int16)).to_filename(tmp_path / "a.nii")
        data = (tmp_path / "a.nii").read_bytes()
        (tmp_path / "a.nii.gz").write_bytes(gzip.compress(data + b"a note"))
        values = np.arange(24).reshape(2, 3, 4)
        nifti.write_mask(tmp_path / "b.nii.gz", values, tmp_path / "a.nii.gz")
        written = gzip.decompress((tmp_path / "b.nii.gz").read_bytes())
        assert written == data[:352] + values.astype("<i2").tobytes() + b"a note"

    def test_the_gzip_has_neither_time_nor_name(self, tmp_path: Path) -> None:
        _image(np.zeros((2, 3, 4), np.int16)).to_filename(tmp_path / "a.nii.gz")
        nifti.write_mask(tmp_path / "b.nii.gz", np.ones((2, 3, 4), int), tmp_path / "a.nii.gz")
        data = (tmp_path / "b.nii.gz").read_bytes()
        # flags: no name; four bytes of time
        assert data[3:8] == bytes(5)

    def test_voxels_that_are_not_aligned(self, tmp_path: Path) -> None:
        _image(np.arange(24.0).reshape(2, 3, 4)).to_filename(tmp_path / "a.nii")
        _edited(tmp_path / "a.nii", "vox_offset", 355)
        data = (tmp_path / "a.nii").read_bytes()
        (tmp_path / "a.nii").write_bytes(data[:352] + b"abc" + data[352:])
        mask, _ = nifti.read_mask(tmp_path / "a.nii")
        assert mask.reshape(-1).tolist() == list(range(24))
        nifti.write_mask(tmp_path / "b.nii", mask[::-1], tmp_path / "a.nii")
        assert (tmp_path / "b.nii").read_bytes()[:355] == data[:352] + b"abc"
        assert np.array_equal(nifti.read_mask(tmp_path / "b.nii")[0], mask[::-1])

    @pytest.mark.parametrize("at", [0, 100, np.nan])
    def test_voxels_in_the_header(self, tmp_path: Path, at: float) -> None:
        _image(np.zeros((2, 3, 4), np.uint8)).to_filename(tmp_path / "a.nii")
        _edited(tmp_path / "a.nii", "vox_offset", at)
        with pytest.raises(UnreadableFileError, match="behind the header"):
            nifti.read_header(tmp_path / "a.nii")

    def test_a_header_without_its_voxels(self, tmp_path: Path) -> None:
        nib.Nifti1Pair(np.zeros((4, 3, 2), np.uint8), PLACE).to_filename(tmp_path / "a.hdr")
        (tmp_path / "a.hdr").rename(tmp_path / "a.nii")
        with pytest.raises(UnreadableFileError, match="in the same file"):
            nifti.read_header(tmp_path / "a.nii")

    def test_a_type_that_does_not_fit_its_bits(self, tmp_path: Path) -> None:
        _image(np.zeros((2, 3, 4), np.uint8)).to_filename(tmp_path / "a.nii")
        _edited(tmp_path / "a.nii", "bitpix", 16)
        with pytest.raises(UnreadableFileError, match="8 bits a voxel"):
            nifti.read_header(tmp_path / "a.nii")
        _edited(tmp_path / "a.nii", "datatype", 1234)
        with pytest.raises(UnreadableFileError, match="NIfTI knows"):
            nifti.read_header(tmp_path / "a.nii")

    def test_a_plain_file_called_gz(self, tmp_path: Path) -> None:
        _image(np.zeros((2, 3, 4), np.uint8)).to_filename(tmp_path / "a.nii")
        (tmp_path / "a.nii").rename(tmp_path / "a.nii.gz")
        with pytest.raises(UnreadableFileError, match="a gzip file"):
            nifti.read_header(tmp_path / "a.nii.gz")
