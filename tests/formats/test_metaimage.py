"""MetaImage: what the contract of all formats does not ask."""

from __future__ import annotations

import zlib
from pathlib import Path

import numpy as np
import pytest
import SimpleITK as sitk  # noqa: N813

from maskmend.errors import MaskValueError, MissingFileError, UnreadableFileError
from maskmend.formats import metaimage

VALUES = np.arange(24, dtype=np.uint8).reshape(2, 3, 4)
FIELDS = {
    "ObjectType": "Image", "NDims": "3", "BinaryData": "True", "BinaryDataByteOrderMSB": "False",
    "CompressedData": "False", "TransformMatrix": "1 0 0 0 1 0 0 0 1", "Offset": "10 -20 30",
    "ElementSpacing": "0.5 2 3", "DimSize": "4 3 2", "ElementType": "MET_UCHAR",
    "ElementDataFile": "LOCAL",
}  # fmt: skip


def _put(path: Path, body: bytes | None = None, **more: str) -> Path:
    """A MetaImage by hand, of VALUES unless told otherwise; "" leaves a field out."""
    fields = FIELDS | more
    fields["ElementDataFile"] = fields.pop("ElementDataFile")
    text = "".join(f"{key} = {value}\n" for key, value in fields.items() if value)
    path.write_bytes(text.encode() + (VALUES.tobytes() if body is None else body))
    return path


def test_a_voxel_by_hand(tmp_path: Path) -> None:
    mask, grid = metaimage.read_mask(_put(tmp_path / "a.mha"))
    assert np.array_equal(mask, VALUES)
    assert grid.spacing == (3.0, 2.0, 0.5)
    assert grid.affine is not None
    assert (np.array(grid.affine) @ [1, 2, 3, 1]).tolist() == [-11.5, 16, 33, 1]


def test_every_line_is_kept(tmp_path: Path) -> None:
    source = _put(tmp_path / "a.mha", Comment="by hand", Unknown="x = y")
    metaimage.write_mask(tmp_path / "b.mha", VALUES[::-1], source)
    expected = source.read_bytes()[:-24] + VALUES[::-1].tobytes()
    assert (tmp_path / "b.mha").read_bytes() == expected


def test_the_number_of_compressed_bytes_is_right(tmp_path: Path) -> None:
    body = zlib.compress(VALUES.tobytes())
    source = _put(
        tmp_path / "a.mha", body, CompressedData="True", CompressedDataSize=str(len(body))
    )
    metaimage.write_mask(tmp_path / "b.mha", np.zeros_like(VALUES), source)
    head, _, written = (tmp_path / "b.mha").read_bytes().partition(b"LOCAL\n")
    assert f"CompressedDataSize = {len(written)}\n".encode() in head
    assert len(written) != len(body)
    image = sitk.ReadImage(str(tmp_path / "b.mha"))
    assert not sitk.GetArrayFromImage(image).any()


@pytest.mark.parametrize("flat", [False, True])
def test_channels(tmp_path: Path, flat: bool) -> None:
    colours = np.arange(72, dtype=np.int16).reshape(3, 2, 3, 4)
    colours = colours[:, 0] if flat else colours
    image = sitk.GetImageFromArray(np.moveaxis(colours, 0, -1), isVector=True)
    sitk.WriteImage(image, str(tmp_path / "a.mha"))
    found, grid = metaimage.read_image(tmp_path / "a.mha")
    assert np.array_equal(found, colours)
    assert grid.shape == colours.shape[1:]
    assert metaimage.read_header(tmp_path / "a.mha").channels == 3
    with pytest.raises(MaskValueError, match="3 numbers a voxel"):
        metaimage.read_mask(tmp_path / "a.mha")


def test_a_fourth_axis(tmp_path: Path) -> None:
    volumes = np.arange(72, dtype=np.int16).reshape(3, 2, 3, 4)
    image = sitk.GetImageFromArray(volumes, isVector=False)
    assert image.GetDimension() == 4
    image.SetSpacing((0.5, 2, 3, 7))
    sitk.WriteImage(image, str(tmp_path / "a.mha"), True)
    found, grid = metaimage.read_image(tmp_path / "a.mha")
    assert np.array_equal(found, volumes)
    assert (grid.shape, grid.spacing) == ((2, 3, 4), (3.0, 2.0, 0.5))
    assert metaimage.read_header(tmp_path / "a.mha").channels == 3


@pytest.mark.parametrize("skip", ["7", "-1"])
def test_raw_numbers_behind_another_header(tmp_path: Path, skip: str) -> None:
    (tmp_path / "a.raw").write_bytes(b"scanner" + VALUES.tobytes())
    source = _put(tmp_path / "a.mhd", b"", ElementDataFile="a.raw", HeaderSize=skip)
    assert np.array_equal(metaimage.read_mask(source)[0], VALUES)
    assert np.array_equal(sitk.GetArrayFromImage(sitk.ReadImage(str(source))), VALUES)
    target = tmp_path / "out" / "a.mhd"
    metaimage.write_mask(target, VALUES[::-1], source)
    assert (target.parent / "a.raw").read_bytes() == b"scanner" + VALUES[::-1].tobytes()
    assert target.read_bytes() == source.read_bytes()


def test_a_header_of_another_name(tmp_path: Path) -> None:
    (tmp_path / "x.raw").write_bytes(VALUES.tobytes())
    source = _put(tmp_path / "a.mhd", b"", ElementDataFile="x.raw")
    metaimage.write_mask(tmp_path / "b.mhd", VALUES[::-1], source)
    assert metaimage.parts(tmp_path / "b.mhd")[1] == tmp_path / "b.raw"
    assert np.array_equal(metaimage.read_mask(source)[0], VALUES)
    image = sitk.ReadImage(str(tmp_path / "b.mhd"))
    assert np.array_equal(sitk.GetArrayFromImage(image), VALUES[::-1])


def test_a_name_with_spaces(tmp_path: Path) -> None:
    (tmp_path / "left lung.raw").write_bytes(VALUES.tobytes())
    source = _put(tmp_path / "left lung.mhd", b"", ElementDataFile="left lung.raw")
    assert np.array_equal(metaimage.read_mask(source)[0], VALUES)


def test_truncated_numbers_and_the_sizes(tmp_path: Path) -> None:
    (tmp_path / "x.raw").write_bytes(VALUES.tobytes()[:-1])
    source = _put(tmp_path / "a.mhd", b"", ElementDataFile="x.raw")
    for read in (metaimage.read_header, metaimage.read_image, metaimage.read_mask):
        with pytest.raises(UnreadableFileError, match=r"a\.mhd: expected 24 bytes.*23 bytes"):
            read(source)
    (tmp_path / "x.raw").unlink()
    with pytest.raises(MissingFileError, match=r"x\.raw"):
        metaimage.read_header(source)


@pytest.mark.parametrize("compressed", [False, True])
def test_a_header_larger_than_the_file(tmp_path: Path, compressed: bool) -> None:
    body = zlib.compress(VALUES.tobytes()) if compressed else VALUES.tobytes()
    source = _put(
        tmp_path / "a.mha", body, DimSize="30000 30000 30000", CompressedData=str(compressed)
    )
    for read in (metaimage.read_header, metaimage.read_image, metaimage.read_mask):
        with pytest.raises(UnreadableFileError, match=rf"a\.mha: expected .*{30000**3} bytes"):
            read(source)


@pytest.mark.parametrize(
    ("more", "match"),
    [
        ({"ElementDataFile": "LIST"}, "all numbers in one file"),
        ({"ElementDataFile": "a%03d.raw 1 2 1"}, "all numbers in one file"),
        ({"BinaryData": "False"}, "binary numbers"),
        ({"ElementType": "MET_STRING"}, "MET_STRING"),
        ({"ElementType": ""}, "ElementType"),
        ({"DimSize": "4 3"}, "positive length"),
        ({"DimSize": "4 0 2"}, "positive length"),
        ({"DimSize": "4 three 2"}, "whole numbers"),
        ({"NDims": ""}, "positive length"),
        ({"Offset": "10 nan 30"}, "finite affine"),
        ({"TransformMatrix": "1 0 0 1 0 0 0 0 1"}, "MetaImage header|span space"),
    ],
)
def test_headers_that_cannot_be(tmp_path: Path, more: dict[str, str], match: str) -> None:
    source = _put(tmp_path / "a.mha", None, **more)
    for read in (metaimage.read_header, metaimage.read_image, metaimage.read_mask):
        with pytest.raises(UnreadableFileError, match=match) as caught:
            read(source)
        assert caught.value.case.endswith("a.mha")


def test_what_a_header_leaves_out(tmp_path: Path) -> None:
    source = _put(tmp_path / "a.mha", TransformMatrix="", Offset="", ElementSpacing="")
    grid = metaimage.read_header(source).grid
    assert grid.spacing == (1.0, 1.0, 1.0)
    assert grid.affine == tuple(map(tuple, np.diag([1.0, -1, -1, 1])[[2, 1, 0, 3]].tolist()))
