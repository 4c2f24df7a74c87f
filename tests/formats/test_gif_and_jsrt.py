"""The original JSRT radiographs, generated, and GIF as their SCR masks come."""

from __future__ import annotations

from io import BytesIO
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from maskmend import formats
from maskmend.core import Grid
from maskmend.errors import MaskValueError, UnreadableFileError
from maskmend.formats import gif


def _radiograph() -> np.ndarray:
    rows, columns = np.indices((2048, 2048))
    return ((rows * 3 + columns * 5) % 4096).astype(np.uint16)


class TestJsrt:
    def test_the_most_significant_byte_comes_first(self, tmp_path: Path) -> None:
        path = tmp_path / "JPCLN001.IMG"
        data = bytearray(2 * 2048 * 2048)
        data[:4] = (0x01, 0x02, 0x0F, 0xFF)
        data[2 * 2048 + 1] = 7
        path.write_bytes(data)
        image, grid = formats.read_image(path)
        assert image.shape == (1, 2048, 2048)
        assert image.dtype == np.uint16
        assert image[0, 0, :3].tolist() == [0x102, 4095, 0]
        # the second row, not the second column
        assert image[0, 1, 0] == 7
        assert grid == Grid((2048, 2048), (0.175, 0.175))

    def test_the_numbers_are_kept(self, tmp_path: Path) -> None:
        (tmp_path / "a.IMG").write_bytes(_radiograph().astype(">u2").tobytes())
        assert np.array_equal(formats.read_image(tmp_path / "a.IMG")[0][0], _radiograph())

    def test_the_other_byte_order(self, tmp_path: Path) -> None:
        (tmp_path / "a.IMG").write_bytes(_radiograph().astype("<u2").tobytes())
        with pytest.raises(UnreadableFileError, match=r"a\.IMG: expected values 0 to 4095"):
            formats.read_image(tmp_path / "a.IMG")

    @pytest.mark.parametrize("size", [0, 348, 2048 * 2048, 2 * 2048 * 2048 + 1])
    def test_another_size(self, tmp_path: Path, size: int) -> None:
        (tmp_path / "a.IMG").write_bytes(bytes(size))
        for read in (formats.read_header, formats.read_image):
            with pytest.raises(UnreadableFileError, match=rf"2048 x 2048.*got {size} bytes"):
                read(tmp_path / "a.IMG")

    def test_with_its_masks(self, tmp_path: Path) -> None:
        """SCR masks are 1024 x 1024 GIF pictures, 0 and 255."""
        heart = np.zeros((1024, 1024), np.uint8)
        heart[500:800, 400:700] = 255
        Image.fromarray(heart).save(tmp_path / "heart.gif")
        mask, grid = formats.read_mask(tmp_path / "heart.gif")
        # Pillow leaves only the colours in use, as the writer of a palette may
        assert (mask != 0).sum() == (heart != 0).sum()
        assert grid == Grid((1024, 1024))
        image, _ = formats.read_image(tmp_path / "heart.gif")
        assert np.array_equal(image[0], heart)


def _gif(values: np.ndarray, **options: object) -> bytes:
    buffer = BytesIO()
    image = Image.fromarray(values.astype(np.uint8))
    image.save(buffer, "GIF", optimize=False, **options)
    return buffer.getvalue()


class TestGif:
    @pytest.mark.parametrize("interlace", [0, 1])
    @pytest.mark.parametrize("shape", [(40, 33), (17, 16), (16, 200)])
    def test_interlaced_or_not(
        self, tmp_path: Path, interlace: int, shape: tuple[int, int]
    ) -> None:
        rng = np.random.default_rng(0)
        (tmp_path / "a.gif").write_bytes(_gif(rng.integers(0, 256, shape), interlace=interlace))
        values = rng.integers(0, 256, shape)
        gif.write_mask(tmp_path / "b.gif", values, tmp_path / "a.gif")
        assert np.array_equal(gif.read_mask(tmp_path / "b.gif")[0], values)
        with Image.open(tmp_path / "b.gif") as image:
            assert np.array_equal(np.array(image), values)
        for name in ("a.gif", "b.gif"):
            data = (tmp_path / name).read_bytes()
            assert bool(data[data.index(b"\x2c\0\0\0\0") + 9] & 0x40) == bool(interlace)

    @pytest.mark.parametrize("shape", [(9, 40), (5, 5), (15, 3)])
    def test_an_interlaced_picture_too_small_for_pillow(
        self, tmp_path: Path, shape: tuple[int, int]
    ) -> None:
        data = bytearray(_gif(np.zeros(shape), interlace=1))
        descriptor = data.index(b"\x2c\0\0\0\0")
        assert not data[descriptor + 9] & 0x40
        data[descriptor + 9] |= 0x40
        (tmp_path / "a.gif").write_bytes(data)
        values = np.random.default_rng(0).integers(0, 256, shape)
        gif.write_mask(tmp_path / "b.gif", values, tmp_path / "a.gif")
        with Image.open(tmp_path / "b.gif") as image:
            assert np.array_equal(np.array(image), values)

    def test_all_bytes_but_the_pixels_are_kept(self, tmp_path: Path) -> None:
        source = _gif(np.zeros((20, 30)), comment=b"left lung", transparency=3)
        (tmp_path / "a.gif").write_bytes(source)
        gif.write_mask(tmp_path / "b.gif", np.ones((20, 30), int), tmp_path / "a.gif")
        written = (tmp_path / "b.gif").read_bytes()
        start = source.index(b"\x2c\0\0\0\0") + 10
        assert written[:start] == source[:start]
        assert b"left lung" in written[:start]
        assert written[-1:] == source[-1:] == b";"

    def test_an_index_without_a_colour(self, tmp_path: Path) -> None:
        image = Image.fromarray(np.zeros((4, 4), np.uint8)).convert("P")
        image.putpalette([0, 0, 0, 255, 0, 0])
        image.save(tmp_path / "a.gif")
        # the shortest table that Pillow writes has four colours
        assert gif.largest_value(tmp_path / "a.gif") == 3
        with pytest.raises(MaskValueError, match="expected values 0 to 3"):
            gif.write_mask(tmp_path / "b.gif", np.full((4, 4), 4), tmp_path / "a.gif")

    def test_a_picture_that_fills_a_part(self, tmp_path: Path) -> None:
        data = bytearray(_gif(np.zeros((4, 4))))
        data[6] = 5
        (tmp_path / "a.gif").write_bytes(data)
        with pytest.raises(UnreadableFileError, match="fills a part"):
            gif.read_header(tmp_path / "a.gif")

    def test_an_unknown_block(self, tmp_path: Path) -> None:
        data = bytearray(_gif(np.zeros((4, 4))))
        data[data.index(b"\x2c\0\0\0\0")] = 0x99
        (tmp_path / "a.gif").write_bytes(data)
        with pytest.raises(UnreadableFileError, match="unknown block"):
            gif.read_mask(tmp_path / "a.gif")
