"""NRRD: what the contract of all formats does not ask."""

from __future__ import annotations

import gzip
from pathlib import Path
from typing import Any

import nrrd as pynrrd
import numpy as np
import pytest

from maskmend.errors import MaskValueError, MissingFileError, UnreadableFileError
from maskmend.formats import nrrd

VALUES = np.arange(24, dtype=np.uint8).reshape(2, 3, 4)
PLACE = """space: left-posterior-superior
space directions: (0.5,0,0) (0,2,0) (0,0,3)
space origin: (10,-20,30)
kinds: domain domain domain
"""


def _put(path: Path, fields: str = PLACE, body: bytes | None = None, **more: str) -> Path:
    """A NRRD by hand, of VALUES unless told otherwise."""
    given = {"type": "uchar", "dimension": "3", "sizes": "4 3 2", "encoding": "raw"} | more
    text = "".join(f"{key.replace('_', ' ')}: {value}\n" for key, value in given.items())
    head = f"NRRD0005\n# by hand\n{text}{fields}\n".encode()
    path.write_bytes(head + (VALUES.tobytes() if body is None else body))
    return path


def test_a_voxel_by_hand(tmp_path: Path) -> None:
    mask, grid = nrrd.read_mask(_put(tmp_path / "a.nrrd"))
    assert np.array_equal(mask, VALUES)
    assert grid.spacing == (3.0, 2.0, 0.5)
    assert grid.affine is not None
    # LPS to RAS: the first two change their sign
    assert (np.array(grid.affine) @ [1, 2, 3, 1]).tolist() == [-11.5, 16, 33, 1]


class TestAxes:
    @pytest.mark.parametrize("at", [0, 1, 2, 3])
    @pytest.mark.parametrize("by", ["directions", "kinds"])
    def test_channels_may_be_any_axis(self, tmp_path: Path, at: int, by: str) -> None:
        colours = np.arange(72, dtype=np.uint8).reshape(3, 2, 3, 4)
        steps, kinds, sizes = ["(0.5,0,0)", "(0,2,0)", "(0,0,3)"], ["domain"] * 3, ["4", "3", "2"]
        steps.insert(at, "none")
        kinds.insert(at, "RGB-color")
        sizes.insert(at, "3")
        fields = f"kinds: {' '.join(kinds)}\n"
        if by == "directions":
            fields = f"space: LPS\nspace directions: {' '.join(steps)}\nspace origin: (0,0,0)\n"
        # the header's first axis is our last
        body = np.moveaxis(colours, 0, 3 - at).tobytes()
        path = _put(tmp_path / "a.nrrd", fields, body, dimension="4", sizes=" ".join(sizes))
        image, grid = nrrd.read_image(path)
        assert np.array_equal(image, colours)
        assert image.flags.c_contiguous
        assert grid.shape == (2, 3, 4)
        assert grid.spacing == ((3.0, 2.0, 0.5) if by == "directions" else None)
        assert nrrd.read_header(path).channels == 3
        with pytest.raises(MaskValueError, match="3 numbers a voxel"):
            nrrd.read_mask(path)

    def test_a_list_of_one(self, tmp_path: Path) -> None:
        fields = "kinds: list domain domain domain\n"
        path = _put(tmp_path / "a.nrrd", fields, dimension="4", sizes="1 4 3 2")
        nrrd.write_mask(tmp_path / "b.nrrd", VALUES[::-1], path)
        assert np.array_equal(nrrd.read_mask(tmp_path / "b.nrrd")[0], VALUES[::-1])
        assert pynrrd.read(str(tmp_path / "b.nrrd"))[0].shape == (1, 4, 3, 2)

    def test_four_axes_that_nobody_names(self, tmp_path: Path) -> None:
        path = _put(tmp_path / "a.nrrd", "", dimension="4", sizes="1 4 3 2")
        with pytest.raises(UnreadableFileError, match="2 or 3 spatial axes"):
            nrrd.read_header(path)

    def test_nothing_but_sizes(self, tmp_path: Path) -> None:
        mask, grid = nrrd.read_mask(_put(tmp_path / "a.nrrd", ""))
        assert np.array_equal(mask, VALUES)
        assert (grid.spacing, grid.affine) == (None, None)


class TestPlace:
    @pytest.mark.parametrize("space", ["scanner-xyz", "3D-right-handed"])
    def test_another_space(self, tmp_path: Path, space: str) -> None:
        fields = PLACE.replace("left-posterior-superior", space)
        grid = nrrd.read_header(_put(tmp_path / "a.nrrd", fields)).grid
        assert (grid.spacing, grid.affine) == ((3.0, 2.0, 0.5), None)

    def test_a_space_without_name(self, tmp_path: Path) -> None:
        fields = PLACE.replace("space: left-posterior-superior", "space dimension: 3")
        grid = nrrd.read_header(_put(tmp_path / "a.nrrd", fields)).grid
        assert (grid.spacing, grid.affine) == ((3.0, 2.0, 0.5), None)

    def test_no_origin(self, tmp_path: Path) -> None:
        fields = PLACE.replace("space origin: (10,-20,30)\n", "")
        grid = nrrd.read_header(_put(tmp_path / "a.nrrd", fields)).grid
        assert grid.affine == ((0, 0, -0.5, 0), (0, -2, 0, 0), (3, 0, 0, 0), (0, 0, 0, 1))

    @pytest.mark.parametrize(
        ("old", "new"),
        [("(10,-20,30)", "(10,nan,30)"), ("(0,2,0)", "(0,nan,0)"), ("(0,2,0)", "(0.5,0,0)")],
    )
    def test_an_affine_that_is_none(self, tmp_path: Path, old: str, new: str) -> None:
        path = _put(tmp_path / "a.nrrd", PLACE.replace(old, new))
        for read in (nrrd.read_header, nrrd.read_image, nrrd.read_mask):
            with pytest.raises(UnreadableFileError, match=r"a\.nrrd: expected an? .*affine"):
                read(path)


class TestHeader:
    def test_every_line_is_kept(self, tmp_path: Path) -> None:
        fields = PLACE + "# a comment\nPatient:=Größe: 1,80 m\ncontent: x\nold min: 3\n"
        source = _put(tmp_path / "a.nrrd", fields)
        nrrd.write_mask(tmp_path / "b.nrrd", VALUES[::-1], source)
        expected = source.read_bytes()[:-24] + VALUES[::-1].tobytes()
        assert (tmp_path / "b.nrrd").read_bytes() == expected

    def test_a_header_in_another_encoding(self, tmp_path: Path) -> None:
        source = _put(tmp_path / "a.nrrd")
        data = source.read_bytes().replace(b"by hand", b"M\xfcller")
        source.write_bytes(data)
        nrrd.write_mask(tmp_path / "b.nrrd", VALUES, source)
        assert (tmp_path / "b.nrrd").read_bytes() == data

    def test_a_long_header_with_windows_line_ends(self, tmp_path: Path) -> None:
        fields = PLACE + "".join(f"Key{number}:={'x' * 90}\n" for number in range(1500))
        source = _put(tmp_path / "a.nrrd", fields, b"")
        source.write_bytes(source.read_bytes().replace(b"\n", b"\r\n") + VALUES.tobytes())
        assert source.stat().st_size > 2 * 65536
        assert np.array_equal(nrrd.read_mask(source)[0], VALUES)

    @pytest.mark.parametrize("length", range(-3, 4))
    def test_a_header_that_ends_where_a_piece_ends(self, tmp_path: Path, length: int) -> None:
        short = _put(tmp_path / "a.nrrd", PLACE + "Key:=\n", b"").read_bytes()
        short = short.replace(b"\n", b"\r\n")
        key = b"Key:=" + b"x" * (65536 + length - len(short))
        (tmp_path / "a.nrrd").write_bytes(short.replace(b"Key:=", key) + VALUES.tobytes())
        assert np.array_equal(nrrd.read_mask(tmp_path / "a.nrrd")[0], VALUES)

    @pytest.mark.parametrize(
        ("more", "match"),
        [
            ({"type": "block"}, "'block'"),
            ({"type": "short"}, "endian: little"),
            ({"encoding": "hex"}, "raw, gzip, bzip2 or ascii"),
            ({"sizes": "4 3"}, "2 sizes of 3 axes"),
            ({"sizes": "4 0 2"}, "positive length"),
            ({"sizes": "4 three 2"}, "NRRD header"),
            ({"dimension": "three"}, "NRRD header"),
            ({"byte_skip": "-2"}, "skips"),
            ({"data_file": "LIST"}, "in one file"),
            ({"data_file": "a%03d.raw 1 2 1"}, "in one file"),
        ],
    )
    def test_headers_that_cannot_be(self, tmp_path: Path, more: dict[str, Any], match: str) -> None:
        path = _put(tmp_path / "a.nrrd", **more)
        for read in (nrrd.read_header, nrrd.read_image, nrrd.read_mask, nrrd.parts):
            with pytest.raises(UnreadableFileError, match=rf"a\.nrrd: .*{match}"):
                read(path)

    @pytest.mark.parametrize("field", ["type", "sizes", "encoding", "dimension"])
    def test_a_field_is_missing(self, tmp_path: Path, field: str) -> None:
        path = _put(tmp_path / "a.nrrd")
        lines = path.read_bytes().splitlines(keepends=True)
        path.write_bytes(b"".join(line for line in lines if not line.startswith(field.encode())))
        with pytest.raises(UnreadableFileError, match=field):
            nrrd.read_header(path)

    def test_a_field_twice(self, tmp_path: Path) -> None:
        with pytest.raises(UnreadableFileError, match=r"[Dd]uplicate"):
            nrrd.read_header(_put(tmp_path / "a.nrrd", PLACE + "sizes: 4 3 2\n"))


class TestNumbers:
    @pytest.mark.parametrize("encoding", ["raw", "gzip"])
    def test_a_header_larger_than_the_file(self, tmp_path: Path, encoding: str) -> None:
        body = VALUES.tobytes() if encoding == "raw" else gzip.compress(VALUES.tobytes())
        for sizes, count in (("90000 90000 90000", 90000**3), ("4 3 3", 36)):
            path = _put(tmp_path / "a.nrrd", PLACE, body, sizes=sizes, encoding=encoding)
            for read in (nrrd.read_header, nrrd.read_image, nrrd.read_mask):
                with pytest.raises(UnreadableFileError) as caught:
                    read(path)
                assert caught.value.case.endswith("a.nrrd")
                assert str(count) in caught.value.expected

    @pytest.mark.parametrize("encoding", ["raw", "gzip"])
    @pytest.mark.parametrize("skip", [5, -1])
    def test_skipped_bytes_are_kept(self, tmp_path: Path, encoding: str, skip: int) -> None:
        inner, outer = (b"", b"12345") if encoding == "raw" else (b"12345", b"")
        body = inner + VALUES.tobytes()
        body = outer + (gzip.compress(body) if encoding == "gzip" else body)
        path = _put(tmp_path / "a.nrrd", PLACE, body, encoding=encoding, byte_skip=str(skip))
        assert nrrd.read_header(path).grid.shape == (2, 3, 4)
        assert np.array_equal(nrrd.read_mask(path)[0], VALUES)
        nrrd.write_mask(tmp_path / "b.nrrd", VALUES[::-1], path)
        written = (tmp_path / "b.nrrd").read_bytes().partition(b"\n\n")[2]
        written = gzip.decompress(written) if encoding == "gzip" else written
        assert written == b"12345" + VALUES[::-1].tobytes()
        assert np.array_equal(nrrd.read_mask(tmp_path / "b.nrrd")[0], VALUES[::-1])

    def test_skipped_lines_are_kept(self, tmp_path: Path) -> None:
        body = b"one\ntwo\n" + VALUES.tobytes()
        path = _put(tmp_path / "a.nrrd", PLACE, body, line_skip="2")
        nrrd.write_mask(tmp_path / "b.nrrd", VALUES[::-1], path)
        written = (tmp_path / "b.nrrd").read_bytes()
        assert written.endswith(b"\n\none\ntwo\n" + VALUES[::-1].tobytes())

    def test_text(self, tmp_path: Path) -> None:
        path = _put(tmp_path / "a.nrrd", PLACE, b"1 2, 3\n" * 8, encoding="ascii")
        assert nrrd.read_mask(path)[0].reshape(-1).tolist() == [1, 2, 3] * 8

    @pytest.mark.parametrize(
        ("body", "match"),
        [
            (b"1 2 3\n" * 7, "21 numbers"),
            (b"1 2 3\n" * 7 + b"1 2 x\n", "'x'"),
            (b"1 2 3\n" * 7 + b"1 2 300\n", "300"),
            (b"1 2 3\n" * 7 + b"1 2 3", "cut off"),
        ],
    )
    def test_text_that_is_not_whole(self, tmp_path: Path, body: bytes, match: str) -> None:
        path = _put(tmp_path / "a.nrrd", PLACE, body, encoding="ascii")
        for read in (nrrd.read_header, nrrd.read_image):
            with pytest.raises(UnreadableFileError, match=match):
                read(path)


class TestDetached:
    def test_numbers_in_another_folder(self, tmp_path: Path) -> None:
        (tmp_path / "data").mkdir()
        (tmp_path / "data" / "x.raw").write_bytes(VALUES.tobytes())
        source = _put(tmp_path / "a.nhdr", PLACE, b"", data_file="data/x.raw")
        assert nrrd.parts(source) == (source, tmp_path / "data" / "x.raw")
        target = tmp_path / "out" / "a.nhdr"
        nrrd.write_mask(target, VALUES[::-1], source)
        assert nrrd.parts(target) == (target, tmp_path / "out" / "x.raw")
        assert np.array_equal(nrrd.read_mask(target)[0], VALUES[::-1])
        array, header = pynrrd.read(str(target), index_order="C")
        assert np.array_equal(array, VALUES[::-1])
        assert header["data file"] == "x.raw"

    def test_a_header_of_another_name(self, tmp_path: Path) -> None:
        (tmp_path / "x.raw").write_bytes(VALUES.tobytes())
        source = _put(tmp_path / "a.nhdr", PLACE, b"", data_file="x.raw")
        nrrd.write_mask(tmp_path / "b.nhdr", VALUES[::-1], source)
        assert nrrd.parts(tmp_path / "b.nhdr")[1] == tmp_path / "b.raw"
        assert np.array_equal(nrrd.read_mask(source)[0], VALUES)
        assert np.array_equal(nrrd.read_mask(tmp_path / "b.nhdr")[0], VALUES[::-1])

    def test_a_header_that_ends_with_the_file(self, tmp_path: Path) -> None:
        (tmp_path / "x.raw").write_bytes(VALUES.tobytes())
        source = _put(tmp_path / "a.nhdr", PLACE, b"", data_file="x.raw")
        source.write_bytes(source.read_bytes()[:-1])
        assert np.array_equal(nrrd.read_mask(source)[0], VALUES)

    def test_numbers_that_are_not_there(self, tmp_path: Path) -> None:
        source = _put(tmp_path / "a.nhdr", PLACE, b"", data_file="x.raw")
        for read in (nrrd.read_header, nrrd.read_mask):
            with pytest.raises(MissingFileError, match=r"x\.raw"):
                read(source)
