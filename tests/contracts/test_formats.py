"""One contract for every registered format; a format without samples here fails."""

from __future__ import annotations

import struct
import zlib
from collections.abc import Mapping
from io import BytesIO
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pytest
import tifffile
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from PIL import Image

from maskmend import formats
from maskmend.errors import (
    GridMismatchError,
    MaskValueError,
    MissingFileError,
    UnreadableFileError,
)
from maskmend.formats.png import encode_png

if TYPE_CHECKING:
    from tests.contracts.conftest import ImageSample, Sample


def _contents(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir() if path.is_file()}


def test_every_format_has_samples(known_endings: tuple[frozenset[str], frozenset[str]]) -> None:
    masks, images = known_endings
    for entry in formats.FORMATS:
        # segments that may overlap have tests of their own: test_seg_nrrd.py, test_segments.py
        if not entry.layered:
            assert set(entry.endings) & images, entry
            assert bool(set(entry.endings) & masks) == (entry.masks is not None), entry


class TestMaskContract:
    def test_the_stored_integers_are_read(self, tmp_path: Path, sample: Sample) -> None:
        values = sample.draw(largest=min(sample.largest, 3))
        stored, grid = formats.read_mask(sample.put(tmp_path, values))
        assert np.array_equal(stored, values)
        assert stored.dtype.kind in "ui"
        assert stored.dtype.isnative
        assert grid.shape == sample.grid.shape
        for found, expected in ((grid.spacing, sample.grid.spacing),
                                (grid.affine, sample.grid.affine)):  # fmt: skip
            assert (found is None) == (expected is None)
            if found is not None and expected is not None:
                # float32 in NIfTI, 17 digits of text in others
                assert np.allclose(found, expected, rtol=1e-6, atol=1e-5)

    def test_the_header_agrees(self, tmp_path: Path, sample: Sample) -> None:
        source = sample.put(tmp_path, sample.draw())
        header = formats.read_header(source)
        assert header.grid == formats.read_mask(source)[1]
        assert header.segments == ()

    def test_the_largest_value(self, tmp_path: Path, sample: Sample) -> None:
        source = sample.put(tmp_path, sample.draw(largest=0))
        assert formats.largest_value(source) == sample.largest

    def test_writing_keeps_the_encoding(self, tmp_path: Path, sample: Sample) -> None:
        source = sample.put(tmp_path, sample.draw())
        before = _contents(tmp_path)
        other = sample.draw(seed=1)
        target = tmp_path / "out" / source.name
        formats.write_mask(target, other, source)
        assert np.array_equal(formats.read_mask(target)[0], other)
        assert sample.facts(target) == sample.facts(source)
        # bit for bit: these are tuples of floats
        assert formats.read_header(target) == formats.read_header(source)
        for read in sample.readers:
            assert read(target).array.dtype == read(source).array.dtype
        assert _contents(tmp_path) == before

    def test_nothing_changed(self, tmp_path: Path, sample: Sample) -> None:
        source = sample.put(tmp_path, sample.draw())
        target = tmp_path / "out" / source.name
        formats.write_mask(target, formats.read_mask(source)[0], source)
        assert sample.facts(target) == sample.facts(source)
        for read in sample.readers:
            assert read(target).array.tobytes() == read(source).array.tobytes()

    def test_the_written_file_opens_elsewhere(self, tmp_path: Path, sample: Sample) -> None:
        source = sample.put(tmp_path, sample.draw(largest=0))
        values = sample.draw(seed=2, largest=min(sample.largest, 3))
        target = tmp_path / f"target{sample.ending}"
        formats.write_mask(target, values, source)
        by_hand = sample.put(tmp_path, values, stem="by-hand")
        assert sample.readers
        for read in sample.readers:
            ours, theirs = read(target), read(by_hand)
            assert np.array_equal(ours.array, theirs.array)
            assert np.array_equal(ours.points, theirs.points)

    def test_the_files_of_a_mask(self, tmp_path: Path, sample: Sample) -> None:
        source = sample.put(tmp_path, sample.draw(largest=0))
        assert {path.name for path in formats.parts(source)} == _contents(tmp_path).keys()
        before = _contents(tmp_path)
        target = tmp_path / f"target{sample.ending}"
        formats.write_mask(target, sample.draw(), source)
        written = _contents(tmp_path).keys() - before.keys()
        assert {path.name for path in formats.parts(target)} == written
        assert before.items() <= _contents(tmp_path).items()

    def test_the_same_values_give_the_same_bytes(self, tmp_path: Path, sample: Sample) -> None:
        source = sample.put(tmp_path, sample.draw())
        for name in ("a", "b"):
            formats.write_mask(tmp_path / name / source.name, sample.draw(seed=3), source)
        assert _contents(tmp_path / "a") == _contents(tmp_path / "b")

    def test_a_negative_value(self, tmp_path: Path, sample: Sample) -> None:
        source = sample.put(tmp_path, sample.draw(largest=0))
        before = _contents(tmp_path)
        values = np.zeros(sample.grid.shape, np.int64)
        values.flat[5] = -1
        with pytest.raises(MaskValueError, match=f"expected values 0 to {sample.largest}"):
            formats.write_mask(tmp_path / f"out{sample.ending}", values, source)
        assert _contents(tmp_path) == before

    def test_a_value_that_is_too_large(self, tmp_path: Path, sample: Sample) -> None:
        source = sample.put(tmp_path, sample.draw(largest=0))
        before = _contents(tmp_path)
        if sample.largest == np.iinfo(np.uint64).max:
            # NumPy has no larger integer to write
            assert formats.largest_value(source) == sample.largest
            return
        values = np.zeros(sample.grid.shape, np.uint64)
        values.flat[5] = sample.largest + 1
        with pytest.raises(MaskValueError, match=f"expected values 0 to {sample.largest}"):
            formats.write_mask(tmp_path / f"out{sample.ending}", values, source)
        assert _contents(tmp_path) == before

    def test_another_shape(self, tmp_path: Path, sample: Sample) -> None:
        source = sample.put(tmp_path, sample.draw(largest=0))
        before = _contents(tmp_path)
        values = sample.draw(largest=0).T
        with pytest.raises(GridMismatchError) as caught:
            formats.write_mask(tmp_path / f"out{sample.ending}", values, source)
        assert str(sample.grid.shape) in caught.value.expected
        assert caught.value.got == str(values.shape)
        assert _contents(tmp_path) == before

    def test_a_write_that_fails_leaves_the_old_file(
        self, tmp_path: Path, sample: Sample, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        source = sample.put(tmp_path, sample.draw())
        target = tmp_path / "out" / source.name
        formats.write_mask(target, sample.draw(seed=1), source)
        before = _contents(target.parent)

        def full(number: int) -> None:
            raise OSError("no space left on device")

        monkeypatch.setattr("os.fsync", full)
        with pytest.raises(OSError, match="no space"):
            formats.write_mask(target, sample.draw(seed=2), source)
        assert _contents(target.parent) == before

    def test_a_truncated_mask(self, tmp_path: Path, sample: Sample) -> None:
        path = sample.put(tmp_path, sample.draw())
        cut = formats.parts(path)[-1]
        data = cut.read_bytes()
        for length in (0, 1, 7, 8, len(data) // 2, len(data) - 1):
            cut.write_bytes(data[:length])
            with pytest.raises(UnreadableFileError, match=path.name):
                formats.read_mask(path)
            with pytest.raises(UnreadableFileError, match=path.name):
                formats.write_mask(tmp_path / "out" / path.name, sample.draw(), path)
        assert not (tmp_path / "out").exists()

    def test_a_mask_whose_numbers_are_gone(self, tmp_path: Path, sample: Sample) -> None:
        path = sample.put(tmp_path, sample.draw())
        cut = formats.parts(path)[-1]
        cut.unlink()
        with pytest.raises(MissingFileError, match=cut.name):
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

    @pytest.mark.parametrize("name", ["nifti float32", "nrrd float", "nrrd double", "mha float"])
    @pytest.mark.parametrize("strange", [0.9999, np.nan, np.inf, 2.0**40])
    def test_fractions_are_no_volume_mask(
        self, tmp_path: Path, samples: Mapping[str, Sample], name: str, strange: float
    ) -> None:
        values = np.ones(samples[name].grid.shape)
        values[1, 2, 3] = values[3, 2, 1] = strange
        path = samples[name].put(tmp_path, values)
        with pytest.raises(MaskValueError) as caught:
            formats.read_mask(path)
        assert path.name in caught.value.case
        assert caught.value.got.startswith("2 voxels with another value, such as ")
        assert float(caught.value.got.split()[-1]) == pytest.approx(strange, nan_ok=True)

    @pytest.mark.parametrize(("kind", "ending"), [("JPEG", ".jpg"), ("JSRT", ".IMG")])
    def test_a_format_of_images_is_no_mask(self, tmp_path: Path, kind: str, ending: str) -> None:
        (tmp_path / f"mask{ending}").write_bytes(b"anything")
        with pytest.raises(UnreadableFileError, match=rf"mask\{ending}.*lossless.*{kind}"):
            formats.read_mask(tmp_path / f"mask{ending}")

    def test_a_jpeg_inside_a_tiff_is_no_mask(self, tmp_path: Path) -> None:
        Image.new("L", (16, 16)).save(tmp_path / "mask.tif", compression="jpeg")
        with pytest.raises(UnreadableFileError, match="lossless"):
            formats.read_mask(tmp_path / "mask.tif")

    def test_signed_16_bits_are_refused_before_they_would_change(self, tmp_path: Path) -> None:
        tifffile.imwrite(tmp_path / "mask.tif", np.ones((4, 4), np.int16))
        with pytest.raises(UnreadableFileError, match="without sign"):
            formats.read_mask(tmp_path / "mask.tif")

    def test_formats_are_not_mixed(self, tmp_path: Path, samples: Mapping[str, Sample]) -> None:
        source = samples["png grey 8"].put(tmp_path, np.zeros((7, 13), int))
        with pytest.raises(ValueError, match="different formats"):
            formats.write_mask(tmp_path / "out.tif", np.zeros((7, 13), int), source)

    @pytest.mark.parametrize(
        "name",
        ["png grey 1", "png grey 2", "png grey 4", "png palette 2", "png grey 16", "gif palette"],
    )
    @given(data=st.data())
    @settings(max_examples=40, deadline=None)
    def test_any_width_is_packed_right(
        self,
        tmp_path_factory: pytest.TempPathFactory,
        samples: Mapping[str, Sample],
        name: str,
        data: st.DataObject,
    ) -> None:
        sample = samples[name]
        shape = hnp.array_shapes(min_dims=2, max_dims=2, max_side=19)
        values = data.draw(
            hnp.arrays(np.int64, shape, elements=st.integers(0, sample.largest)), "values"
        )
        folder = tmp_path_factory.getbasetemp()
        source = sample.put(folder, np.zeros(values.shape, int), name)
        target = folder / f"{name}-out{sample.ending}"
        formats.write_mask(target, values, source)
        assert np.array_equal(formats.read_mask(target)[0], values)


class TestVolumeContract:
    def test_other_libraries_see_the_same_voxels(
        self, tmp_path: Path, volume_sample: Sample
    ) -> None:
        values = volume_sample.draw(seed=4)
        source = volume_sample.put(tmp_path, volume_sample.draw())
        target = tmp_path / "out" / source.name
        formats.write_mask(target, values, source)
        for read in volume_sample.readers:
            assert np.array_equal(read(target).array, values)

    def test_other_libraries_see_the_same_places(
        self, tmp_path: Path, volume_sample: Sample, points: tuple[tuple[int, int, int], ...]
    ) -> None:
        source = volume_sample.put(tmp_path, volume_sample.draw())
        target = tmp_path / "out" / source.name
        formats.write_mask(target, volume_sample.draw(seed=4), source)
        affine = formats.read_mask(target)[1].affine
        if affine is None:
            assert volume_sample.grid.affine is None
            return
        places = (np.array(affine) @ np.array([(*point, 1) for point in points]).T)[:3].T
        for read in volume_sample.readers:
            # ITK makes the sform's rotation orthogonal to the last bit of a float32
            assert np.allclose(read(target).points, places, atol=2e-5)

    def test_one_label_in_every_format(
        self, tmp_path: Path, volume_sample: Sample, samples: Mapping[str, Sample]
    ) -> None:
        """A voxel in each sample lies where it lies in the plain NIfTI."""
        if volume_sample.grid.affine is None:
            assert volume_sample.grid.spacing is not None
            return
        values = np.arange(np.prod(volume_sample.grid.shape)).reshape(volume_sample.grid.shape) % 97
        mask, grid = formats.read_mask(volume_sample.put(tmp_path, values))
        other, place = formats.read_mask(samples["nifti uint8"].put(tmp_path, values, "other"))
        assert np.array_equal(mask, other)
        assert grid.affine is not None
        assert place.affine is not None
        assert np.allclose(grid.affine, place.affine, atol=1e-5)


class TestImageContract:
    def test_channels_first_and_the_header_agrees(
        self, tmp_path: Path, image_sample: ImageSample
    ) -> None:
        path = tmp_path / f"image{image_sample.ending}"
        image_sample.write(path, np.full(image_sample.shape, 77))
        image, grid = formats.read_image(path)
        header = formats.read_header(path)
        assert (header.channels, *header.grid.shape) == image.shape
        assert image.shape[1:] == image_sample.shape
        assert (header.grid, header.dtype) == (grid, image.dtype)
        assert image.dtype.isnative
        assert image.flags.writeable
        assert image.min() == image.max() == 77

    def test_truncated(self, tmp_path: Path, image_sample: ImageSample) -> None:
        path = tmp_path / f"image{image_sample.ending}"
        values = np.random.default_rng(0).integers(0, 256, image_sample.shape)
        image_sample.write(path, values)
        cut = formats.parts(path)[-1]
        data = cut.read_bytes()
        for length in (0, 1, 9, len(data) // 3, len(data) - 20):
            cut.write_bytes(data[:length])
            for read in (formats.read_header, formats.read_image):
                with pytest.raises(UnreadableFileError, match=path.name):
                    read(path)

    @pytest.mark.parametrize("content", [b"case,organ\n1,lung\n", b"II*\0\xff\xff\xff\xff", b"BM"])
    def test_no_picture(self, tmp_path: Path, image_sample: ImageSample, content: bytes) -> None:
        path = tmp_path / f"image{image_sample.ending}"
        path.write_bytes(content)
        for read in (formats.read_header, formats.read_image):
            with pytest.raises(UnreadableFileError, match=path.name):
                read(path)

    def test_a_picture_of_another_kind(self, tmp_path: Path, image_sample: ImageSample) -> None:
        path = tmp_path / f"image{image_sample.ending}"
        kind = "PNG" if image_sample.ending == ".jpg" else "JPEG"
        Image.new("L", (4, 4)).save(path, kind)
        for read in (formats.read_header, formats.read_image):
            with pytest.raises(UnreadableFileError, match=path.name):
                read(path)

    def test_missing(self, tmp_path: Path, image_sample: ImageSample) -> None:
        name = f"gone{image_sample.ending}"
        for read in (formats.read_header, formats.read_image):
            with pytest.raises(MissingFileError, match=name):
                read(tmp_path / name)


class TestPictures:
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
        Image.effect_noise((13, 7), 50).save(tmp_path / "a.png")
        data = bytearray((tmp_path / "a.png").read_bytes())
        data[60] ^= 1
        (tmp_path / "a.png").write_bytes(data)
        with pytest.raises(UnreadableFileError, match="checksum"):
            formats.read_header(tmp_path / "a.png")

    def test_a_picture_without_pixels(self, tmp_path: Path, samples: Mapping[str, Sample]) -> None:
        path = samples["png grey 2"].put(tmp_path, np.zeros((0, 3), int))
        with pytest.raises(UnreadableFileError, match="without pixels"):
            formats.read_header(path)

    @pytest.mark.parametrize("name", ["png palette 8", "gif palette"])
    def test_a_palette_gives_its_colours(
        self, tmp_path: Path, samples: Mapping[str, Sample], name: str
    ) -> None:
        image, _ = formats.read_image(samples[name].put(tmp_path, np.array([[0, 1], [2, 3]])))
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
        Image.new("RGB", (2, 2)).save(tmp_path / "a.png")
        data = bytearray((tmp_path / "a.png").read_bytes())
        data[24] = 16
        data[29:33] = struct.pack(">I", zlib.crc32(data[12:29]))
        (tmp_path / "a.png").write_bytes(data)
        for read in (formats.read_header, formats.read_image, formats.read_mask):
            with pytest.raises(UnreadableFileError, match="16 bits a channel"):
                read(tmp_path / "a.png")

    @pytest.mark.parametrize("name", ["a.tif", "a.gif"])
    def test_several_pages_are_refused(self, tmp_path: Path, name: str) -> None:
        pages = [Image.new("L", (4, 4), value) for value in (1, 2)]
        pages[0].save(tmp_path / name, save_all=True, append_images=pages[1:])
        for read in (formats.read_header, formats.read_image, formats.read_mask):
            with pytest.raises(UnreadableFileError, match="2 pictures"):
                read(tmp_path / name)


class TestRegistry:
    @pytest.mark.parametrize(
        ("name", "parts"),
        [
            ("a.png", ("a", ".png")),
            ("a.b.TIFF", ("a.b", ".TIFF")),
            ("a.txt", ("a.txt", "")),
            ("a.nii.gz", ("a", ".nii.gz")),
            ("a.seg.nrrd", ("a", ".seg.nrrd")),
            ("a.gz", ("a.gz", "")),
            (".png", (".png", "")),
        ],
    )
    def test_split_name(self, name: str, parts: tuple[str, str]) -> None:
        assert formats.split_name(name) == parts

    def test_an_unknown_ending(self, tmp_path: Path) -> None:
        assert formats.find_format(tmp_path / "a.txt") is None
        with pytest.raises(UnreadableFileError, match=r"a\.txt: expected one of \.png"):
            formats.read_image(tmp_path / "a.txt")
