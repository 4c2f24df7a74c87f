"""One contract for every registered format; a format without samples here fails."""

from __future__ import annotations

import struct
import zlib
from collections.abc import Callable
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path

import numpy as np
import pytest
import tifffile
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from numpy.typing import NDArray
from PIL import Image

from maskmend import formats
from maskmend.core import Grid
from maskmend.errors import (
    GridMismatchError,
    MaskValueError,
    MissingFileError,
    UnreadableFileError,
)
from maskmend.formats.png import encode_png

Values = NDArray[np.integer]
PALETTE = bytes([0, 0, 0, 255, 0, 0, 0, 255, 0, 0, 0, 255])


@dataclass(frozen=True)
class Sample:
    """A way to store a mask.  largest: greatest value that it holds.  encode: by another writer
    than the one under test."""

    ending: str
    largest: int
    encode: Callable[[Values], bytes]


def _saved(image: Image.Image, kind: str, **options: object) -> bytes:
    buffer = BytesIO()
    image.save(buffer, kind, **options)
    return buffer.getvalue()


def _as_image(values: Values, mode: str, dtype: str) -> Image.Image:
    rows, columns = values.shape
    return Image.frombytes(mode, (columns, rows), values.astype(dtype).tobytes())


def plain(kind: str, mode: str, dtype: str, **options: object) -> Callable[[Values], bytes]:
    return lambda values: _saved(_as_image(values, mode, dtype), kind, **options)


def one_bit(kind: str, **options: object) -> Callable[[Values], bytes]:
    return lambda values: _saved(Image.fromarray(values.astype(bool)), kind, **options)


def palette(kind: str, **options: object) -> Callable[[Values], bytes]:
    def encode(values: Values) -> bytes:
        image = _as_image(values, "P", "u1")
        image.putpalette(PALETTE)
        return _saved(image, kind, **options)

    return encode


def equal_channels(kind: str, mode: str) -> Callable[[Values], bytes]:
    def encode(values: Values) -> bytes:
        bands = [_as_image(values, "L", "u1")] * (1 if mode == "LA" else 3)
        alpha = np.arange(values.size).reshape(values.shape) % 251
        bands += [_as_image(alpha, "L", "u1")] if mode.endswith("A") else []
        return _saved(Image.merge(mode, bands), kind)

    return encode


def few_bits(depth: int) -> Callable[[Values], bytes]:
    """A grey PNG of 2 or 4 bits by hand, which Pillow cannot write; two bytes of text with it."""

    def encode(values: Values) -> bytes:
        rows, columns = values.shape
        lines = b""
        for row in values.tolist():
            bits = "".join(format(value, f"0{depth}b") for value in row)
            bits += "0" * (-len(bits) % 8)
            lines += b"\0" + int(bits, 2).to_bytes(len(bits) // 8, "big")
        chunks = [
            (b"IHDR", struct.pack(">IIBBBBB", columns, rows, depth, 0, 0, 0, 0)),
            (b"tEXt", b"Comment\0by hand"),
            (b"IDAT", zlib.compress(lines)),
            (b"IEND", b""),
        ]
        return b"\x89PNG\r\n\x1a\n" + b"".join(
            struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))
            for kind, body in chunks
        )

    return encode


SAMPLES = {
    "png grey 1": Sample(".png", 1, one_bit("PNG")),
    "png grey 2": Sample(".png", 3, few_bits(2)),
    "png grey 4": Sample(".png", 15, few_bits(4)),
    "png grey 8": Sample(".png", 255, plain("PNG", "L", "u1", dpi=(300, 300))),
    "png grey 16": Sample(".png", 65535, plain("PNG", "I;16", "<u2")),
    "png palette 2": Sample(".png", 3, palette("PNG", transparency=b"\0\x80\xff\xff")),
    "png palette 8": Sample(".png", 3, palette("PNG", bits=8)),
    "png rgb": Sample(".png", 255, equal_channels("PNG", "RGB")),
    "png rgba": Sample(".png", 255, equal_channels("PNG", "RGBA")),
    "png grey alpha": Sample(".PNG", 255, equal_channels("PNG", "LA")),
    "tiff grey 1": Sample(".tif", 1, one_bit("TIFF")),
    "tiff grey 1 group4": Sample(".tif", 1, one_bit("TIFF", compression="group4")),
    "tiff grey 8": Sample(".tif", 255, plain("TIFF", "L", "u1", dpi=(300, 300))),
    "tiff grey 8 lzw": Sample(".tiff", 255, plain("TIFF", "L", "u1", compression="tiff_lzw")),
    "tiff grey 16": Sample(".tif", 65535, plain("TIFF", "I;16", "<u2")),
    "tiff grey 16 big-endian": Sample(".tif", 65535, plain("TIFF", "I;16B", ">u2")),
    "tiff grey 16 deflate": Sample(
        ".tif", 65535, plain("TIFF", "I;16", "<u2", compression="tiff_adobe_deflate")
    ),
    "tiff int 32": Sample(".tif", 2**31 - 1, plain("TIFF", "I", "<i4")),
    "tiff float 32": Sample(".tif", 2**24, plain("TIFF", "F", "<f4")),
    "tiff palette": Sample(".tif", 255, palette("TIFF")),
    "tiff rgb": Sample(".tif", 255, equal_channels("TIFF", "RGB")),
    "tiff rgba": Sample(".tif", 255, equal_channels("TIFF", "RGBA")),
    "tiff grey alpha": Sample(".tif", 255, equal_channels("TIFF", "LA")),
}

IMAGES = {
    ".png": [plain("PNG", "L", "u1"), plain("PNG", "I;16", "<u2"), equal_channels("PNG", "RGBA")],
    ".tif": [plain("TIFF", "L", "u1"), plain("TIFF", "F", "<f4"), equal_channels("TIFF", "RGB")],
    ".jpg": [plain("JPEG", "L", "u1"), equal_channels("JPEG", "RGB")],
}
"""Ending -> writers of images of several kinds."""

BY_NAME = pytest.mark.parametrize("sample", SAMPLES.values(), ids=SAMPLES.keys())
BY_IMAGE = pytest.mark.parametrize(
    ("ending", "encode"), [(ending, e) for ending, encoders in IMAGES.items() for e in encoders]
)


def _draw(largest: int, seed: int = 0, shape: tuple[int, int] = (7, 13)) -> Values:
    # the largest value itself is always among them
    values = np.random.default_rng(seed).integers(0, largest, shape, endpoint=True)
    values[0, 0] = largest
    return values


def _put(folder: Path, sample: Sample, values: Values, stem: str = "source") -> Path:
    path = folder / f"{stem}{sample.ending}"
    path.write_bytes(sample.encode(values))
    return path


def _facts(path: Path) -> tuple[object, ...]:
    """What must survive a rewrite, as Pillow sees it."""
    with Image.open(path) as image:
        alpha = np.array(image)[..., -1].tolist() if image.mode in ("LA", "RGBA") else None
        is_png = image.format == "PNG"
        depth = path.read_bytes()[24:26] if is_png else getattr(image, "tag_v2").get(258)  # noqa: B009
        kept = [image.info.get(key) for key in ("transparency", "dpi", "compression", "Comment")]
        return (image.format, image.mode, image.size, image.getpalette(), depth, alpha, *kept)


def test_every_format_has_samples() -> None:
    for entry in formats.FORMATS:
        assert set(entry.endings) & IMAGES.keys(), entry
        masks = {sample.ending for sample in SAMPLES.values()} & set(entry.endings)
        assert bool(masks) == (entry.masks is not None), entry


class TestMaskContract:
    @BY_NAME
    def test_the_stored_integers_are_read(self, tmp_path: Path, sample: Sample) -> None:
        values = _draw(min(sample.largest, 3))
        stored, grid = formats.read_mask(_put(tmp_path, sample, values))
        assert np.array_equal(stored, values)
        assert stored.dtype.kind in "ui"
        assert grid == Grid((7, 13), spacing=None)

    @BY_NAME
    def test_the_largest_value(self, tmp_path: Path, sample: Sample) -> None:
        source = _put(tmp_path, sample, np.zeros((7, 13), int))
        assert formats.largest_value(source) == sample.largest

    @BY_NAME
    def test_writing_keeps_the_encoding(self, tmp_path: Path, sample: Sample) -> None:
        source = _put(tmp_path, sample, _draw(sample.largest))
        before = source.read_bytes()
        other = _draw(sample.largest, seed=1)
        target = tmp_path / "out" / source.name
        formats.write_mask(target, other, source)
        assert np.array_equal(formats.read_mask(target)[0], other)
        assert _facts(target) == _facts(source)
        assert formats.read_header(target) == formats.read_header(source)
        assert source.read_bytes() == before

    @BY_NAME
    def test_the_written_file_opens_elsewhere(self, tmp_path: Path, sample: Sample) -> None:
        source = _put(tmp_path, sample, np.zeros((7, 13), int))
        values = _draw(min(sample.largest, 3), seed=2)
        target = tmp_path / f"target{sample.ending}"
        formats.write_mask(target, values, source)
        by_hand = _put(tmp_path, sample, values, stem="by-hand")
        with Image.open(target) as ours, Image.open(by_hand) as theirs:
            assert np.array_equal(np.array(ours), np.array(theirs))

    @BY_NAME
    def test_the_same_values_give_the_same_bytes(self, tmp_path: Path, sample: Sample) -> None:
        source = _put(tmp_path, sample, _draw(sample.largest))
        targets = [tmp_path / name / source.name for name in ("a", "b")]
        for target in targets:
            formats.write_mask(target, _draw(sample.largest, seed=3), source)
        assert targets[0].read_bytes() == targets[1].read_bytes()

    @BY_NAME
    @pytest.mark.parametrize("wrong", [-1, 1])
    def test_a_value_that_does_not_fit(self, tmp_path: Path, sample: Sample, wrong: int) -> None:
        source = _put(tmp_path, sample, np.zeros((7, 13), int))
        values = np.zeros((7, 13), np.int64)
        values[3, 3] = wrong if wrong < 0 else sample.largest + wrong
        with pytest.raises(MaskValueError, match=f"expected values 0 to {sample.largest}"):
            formats.write_mask(tmp_path / f"out{sample.ending}", values, source)
        assert [path.name for path in tmp_path.iterdir()] == [source.name]

    @BY_NAME
    def test_another_shape(self, tmp_path: Path, sample: Sample) -> None:
        source = _put(tmp_path, sample, np.zeros((7, 13), int))
        with pytest.raises(GridMismatchError, match=r"\(7, 13\).*\(13, 7\)"):
            formats.write_mask(tmp_path / f"out{sample.ending}", np.zeros((13, 7), int), source)
        assert [path.name for path in tmp_path.iterdir()] == [source.name]

    @BY_NAME
    def test_a_truncated_mask(self, tmp_path: Path, sample: Sample) -> None:
        path = _put(tmp_path, sample, _draw(sample.largest))
        data = path.read_bytes()
        for length in (0, 1, 7, 8, len(data) // 2, len(data) - 1):
            path.write_bytes(data[:length])
            with pytest.raises(UnreadableFileError, match=path.name):
                formats.read_mask(path)

    @pytest.mark.parametrize("ending", [".png", ".tif"])
    def test_colours_are_no_mask(self, tmp_path: Path, ending: str) -> None:
        colours = np.zeros((4, 5, 3), np.uint8)
        colours[1, 1] = (255, 0, 0)
        path = tmp_path / f"mask{ending}"
        Image.fromarray(colours).save(path)
        with pytest.raises(MaskValueError, match=r"1 coloured pixels, such as \(255, 0, 0\)"):
            formats.read_mask(path)

    @pytest.mark.parametrize("strange", [0.9999, np.nan, np.inf])
    def test_fractions_are_no_mask(self, tmp_path: Path, strange: float) -> None:
        Image.fromarray(np.array([[1, strange]], np.float32)).save(tmp_path / "mask.tif")
        with pytest.raises(MaskValueError, match="whole numbers"):
            formats.read_mask(tmp_path / "mask.tif")

    def test_a_jpeg_is_no_mask(self, tmp_path: Path) -> None:
        Image.new("L", (4, 4)).save(tmp_path / "mask.jpg")
        with pytest.raises(UnreadableFileError, match=r"mask\.jpg.*lossless.*JPEG"):
            formats.read_mask(tmp_path / "mask.jpg")

    def test_a_jpeg_inside_a_tiff_is_no_mask(self, tmp_path: Path) -> None:
        Image.new("L", (16, 16)).save(tmp_path / "mask.tif", compression="jpeg")
        with pytest.raises(UnreadableFileError, match="lossless"):
            formats.read_mask(tmp_path / "mask.tif")

    def test_signed_16_bits_are_refused_before_they_would_change(self, tmp_path: Path) -> None:
        tifffile.imwrite(tmp_path / "mask.tif", np.ones((4, 4), np.int16))
        with pytest.raises(UnreadableFileError, match="without sign"):
            formats.read_mask(tmp_path / "mask.tif")

    def test_formats_are_not_mixed(self, tmp_path: Path) -> None:
        source = _put(tmp_path, SAMPLES["png grey 8"], np.zeros((7, 13), int))
        with pytest.raises(ValueError, match="different formats"):
            formats.write_mask(tmp_path / "out.tif", np.zeros((7, 13), int), source)

    @pytest.mark.parametrize(
        "name", ["png grey 1", "png grey 2", "png grey 4", "png palette 2", "png grey 16"]
    )
    @given(data=st.data())
    @settings(max_examples=40, deadline=None)
    def test_any_width_is_packed_right(
        self, tmp_path_factory: pytest.TempPathFactory, name: str, data: st.DataObject
    ) -> None:
        sample = SAMPLES[name]
        shape = hnp.array_shapes(min_dims=2, max_dims=2, max_side=19)
        values = data.draw(
            hnp.arrays(np.int64, shape, elements=st.integers(0, sample.largest)), "values"
        )
        folder = tmp_path_factory.getbasetemp()
        source = _put(folder, sample, np.zeros(values.shape, int), name)
        target = folder / f"{name}-out.png"
        formats.write_mask(target, values, source)
        assert np.array_equal(formats.read_mask(target)[0], values)


class TestImageContract:
    @BY_IMAGE
    def test_channels_first_and_the_header_agrees(
        self, tmp_path: Path, ending: str, encode: Callable[[Values], bytes]
    ) -> None:
        path = tmp_path / f"image{ending}"
        path.write_bytes(encode(np.full((16, 24), 77)))
        image, grid = formats.read_image(path)
        header = formats.read_header(path)
        assert (header.channels, *header.grid.shape) == image.shape
        assert image.shape[1:] == (16, 24)
        assert (header.grid, header.dtype) == (grid, image.dtype)
        assert image.min() == image.max() == 77

    @BY_IMAGE
    def test_truncated(
        self, tmp_path: Path, ending: str, encode: Callable[[Values], bytes]
    ) -> None:
        path = tmp_path / f"image{ending}"
        data = encode(_draw(255, shape=(40, 40)))
        for length in (0, 1, 9, len(data) // 3, len(data) - 20):
            path.write_bytes(data[:length])
            for read in (formats.read_header, formats.read_image):
                with pytest.raises(UnreadableFileError, match=path.name):
                    read(path)

    @pytest.mark.parametrize("ending", IMAGES)
    @pytest.mark.parametrize("content", [b"case,organ\n1,lung\n", b"II*\0\xff\xff\xff\xff", b"BM"])
    def test_no_picture(self, tmp_path: Path, ending: str, content: bytes) -> None:
        path = tmp_path / f"image{ending}"
        path.write_bytes(content)
        for read in (formats.read_header, formats.read_image):
            with pytest.raises(UnreadableFileError, match=path.name):
                read(path)

    @pytest.mark.parametrize("ending", IMAGES)
    def test_a_picture_of_another_kind(self, tmp_path: Path, ending: str) -> None:
        path = tmp_path / f"image{ending}"
        Image.new("L", (4, 4)).save(path, "PNG" if ending == ".jpg" else "JPEG")
        for read in (formats.read_header, formats.read_image):
            with pytest.raises(UnreadableFileError, match=path.name):
                read(path)

    @pytest.mark.parametrize("ending", IMAGES)
    def test_missing(self, tmp_path: Path, ending: str) -> None:
        for read in (formats.read_header, formats.read_image):
            with pytest.raises(MissingFileError, match=f"gone{ending}"):
                read(tmp_path / f"gone{ending}")

    @pytest.mark.parametrize("shape", [(5, 9), (5, 9, 3)])
    def test_a_new_png(self, shape: tuple[int, ...]) -> None:
        picture = np.random.default_rng(0).integers(0, 256, shape, np.uint8)
        with Image.open(BytesIO(encode_png(picture))) as image:
            assert image.mode == ("L" if len(shape) == 2 else "RGB")
            assert np.array_equal(np.array(image), picture)

    def test_a_new_png_of_16_bit(self) -> None:
        picture = np.random.default_rng(0).integers(0, 2**16, (5, 9), np.uint16)
        with Image.open(BytesIO(encode_png(picture))) as image:
            assert image.mode == "I;16"
            assert np.array_equal(np.array(image), picture)

    def test_a_wrong_checksum(self, tmp_path: Path) -> None:
        Image.fromarray(_draw(255).astype(np.uint8)).save(tmp_path / "a.png")
        data = bytearray((tmp_path / "a.png").read_bytes())
        data[60] ^= 1
        (tmp_path / "a.png").write_bytes(data)
        with pytest.raises(UnreadableFileError, match="checksum"):
            formats.read_header(tmp_path / "a.png")

    def test_a_picture_without_pixels(self, tmp_path: Path) -> None:
        (tmp_path / "a.png").write_bytes(few_bits(2)(np.zeros((0, 3), int)))
        with pytest.raises(UnreadableFileError, match="without pixels"):
            formats.read_header(tmp_path / "a.png")

    def test_a_palette_gives_its_colours(self, tmp_path: Path) -> None:
        (tmp_path / "a.png").write_bytes(palette("PNG")(np.array([[0, 1], [2, 3]])))
        image, _ = formats.read_image(tmp_path / "a.png")
        assert np.moveaxis(image, 0, -1).tolist() == [
            [[0, 0, 0], [255, 0, 0]],
            [[0, 255, 0], [0, 0, 255]],
        ]

    def test_a_grey_palette_is_one_channel(self, tmp_path: Path) -> None:
        grey = Image.frombytes("P", (2, 1), b"\x01\x00")
        grey.putpalette(bytes([9, 9, 9, 200, 200, 200]))
        grey.save(tmp_path / "a.png")
        assert formats.read_image(tmp_path / "a.png")[0].tolist() == [[[200, 9]]]
        assert formats.read_header(tmp_path / "a.png").channels == 1

    def test_colours_of_16_bits_are_not_cut_to_8(self, tmp_path: Path) -> None:
        colours = (np.arange(4 * 5 * 3, dtype=np.uint16) * 1000).reshape(4, 5, 3)
        tifffile.imwrite(tmp_path / "a.tif", colours, photometric="rgb")
        image, grid = formats.read_image(tmp_path / "a.tif")
        assert (image.dtype, grid.shape) == (np.dtype(np.uint16), (4, 5))
        assert np.array_equal(image, np.moveaxis(colours, -1, 0))
        assert formats.read_header(tmp_path / "a.tif").channels == 3

    def test_png_colours_of_16_bits_are_refused(self, tmp_path: Path) -> None:
        data = bytearray(equal_channels("PNG", "RGB")(np.zeros((2, 2), int)))
        data[24] = 16
        data[29:33] = struct.pack(">I", zlib.crc32(data[12:29]))
        (tmp_path / "a.png").write_bytes(data)
        for read in (formats.read_header, formats.read_image, formats.read_mask):
            with pytest.raises(UnreadableFileError, match="16 bits a channel"):
                read(tmp_path / "a.png")

    def test_several_pages_are_refused(self, tmp_path: Path) -> None:
        pages = [Image.new("L", (4, 4), value) for value in (1, 2)]
        pages[0].save(tmp_path / "a.tif", save_all=True, append_images=pages[1:])
        for read in (formats.read_header, formats.read_image, formats.read_mask):
            with pytest.raises(UnreadableFileError, match="2 pictures"):
                read(tmp_path / "a.tif")


class TestRegistry:
    @pytest.mark.parametrize(
        ("name", "parts"),
        [
            ("a.png", ("a", ".png")),
            ("a.b.TIFF", ("a.b", ".TIFF")),
            ("a.txt", ("a.txt", "")),
            (".png", (".png", "")),
        ],
    )
    def test_split_name(self, name: str, parts: tuple[str, str]) -> None:
        assert formats.split_name(name) == parts

    def test_an_unknown_ending(self, tmp_path: Path) -> None:
        assert formats.find_format(tmp_path / "a.txt") is None
        with pytest.raises(UnreadableFileError, match=r"a\.txt: expected one of \.png"):
            formats.read_image(tmp_path / "a.txt")
