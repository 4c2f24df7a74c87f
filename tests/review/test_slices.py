"""Windows, PNG and the memory: kinds of images that the runs of the other tests do not have."""

from __future__ import annotations

import io
import threading
import time
from dataclasses import dataclass
from typing import Any

import numpy as np
import pytest
from PIL import Image as Picture

from maskmend.core import Grid
from maskmend.review.slices import (
    Cache,
    Image,
    directions_of,
    nifti_bytes,
    picture_png,
    prepared,
    window_of,
)


def shown(image: Image, **more: Any) -> np.ndarray[Any, Any]:
    asked = {"axis": 0, "k": 0, "channel": 0, "low": 0.0, "high": 255.0, **more}
    return np.array(Picture.open(io.BytesIO(picture_png(image, **asked))))


@pytest.mark.parametrize(
    "dtype", ["u1", "u2", "i2", "i4", "u4", "i8", "f4", "f8", "f2", ">u2", ">f4"]
)
def test_every_kind_of_number_is_windowed(dtype: str) -> None:
    values = np.linspace(0, 120, 12 * 14).reshape(1, 12, 14).astype(dtype)
    found = shown(prepared(values, one_file=True), low=10.0, high=100.0)
    expected = np.clip((values[0].astype(np.float64) - 10) * 255 / 90, 0, 255)
    assert np.abs(found - expected).max() <= 0.51


def test_sixteen_bits_are_not_cut_to_eight() -> None:
    values = np.arange(60_000, 60_256, dtype=np.uint16).reshape(1, 16, 16)
    found = shown(prepared(values, one_file=True), low=60_000.0, high=60_255.0)
    np.testing.assert_array_equal(found, np.arange(256).reshape(16, 16))
    large = values.astype(np.int32) + 2**30
    found = shown(prepared(large, True), low=2.0**30 + 60_000, high=2.0**30 + 60_255)
    np.testing.assert_array_equal(found, np.arange(256).reshape(16, 16))


def test_colours_are_shown_and_channels_are_not_taken_for_them() -> None:
    values = np.random.default_rng(0).integers(0, 256, (3, 8, 9)).astype(np.uint8)
    colours = prepared(values, one_file=True)
    assert colours.rgb
    np.testing.assert_array_equal(shown(colours), np.moveaxis(values, 0, -1))
    # three modalities in three files, a volume of three channels, 16 bits
    for other in (
        prepared(values, one_file=False),
        prepared(values[:, None], True),
        prepared(values.astype(np.uint16), True),
    ):
        assert not other.rgb
        assert len(other.windows) == 3
        np.testing.assert_array_equal(shown(other, channel=2), values[2])


def test_a_window_is_never_empty() -> None:
    flat = window_of(np.full((5, 5), 7, np.int16))
    assert (flat.low, flat.high, flat.min, flat.max) == (7, 8, 7, 7)
    one = np.zeros((100, 100))
    one[0, 0] = 5
    # 99 % are equal: then all of it
    assert (window_of(one).low, window_of(one).high) == (0, 5)
    huge = window_of(np.full((2, 2), 1e20))
    assert huge.high > huge.low


def test_a_large_image_is_sampled() -> None:
    values = np.random.default_rng(1).normal(100, 20, (1500, 1500)).astype(np.float32)
    window, exact = window_of(values), np.percentile(values, [1, 99])
    assert (window.low, window.high) == pytest.approx(tuple(exact), abs=1.0)
    assert (window.min, window.max) == (values.min(), values.max())


@dataclass(frozen=True)
class Lump:
    nbytes: int


def test_the_memory_is_bounded_and_the_oldest_goes() -> None:
    cache, made = Cache(100), []

    def lump(key: int, size: int = 40) -> Lump:
        def make() -> Lump:
            made.append(key)
            return Lump(size)

        return cache.get(key, make)

    for key in (1, 2, 1, 3, 1):
        lump(key)
        assert cache.nbytes <= 100
    assert made == [1, 2, 3]
    lump(2)
    assert made == [1, 2, 3, 2]
    # one that is too large is kept alone, and only until the next
    lump(9, 500)
    lump(9, 500)
    assert (made[4:], cache.nbytes) == ([9], 500)
    lump(1)
    assert cache.nbytes == 40


def test_threads_that_ask_at_once_share_one_reading() -> None:
    cache, made = Cache(100), []

    def slow() -> Lump:
        made.append(1)
        time.sleep(0.05)
        return Lump(1)

    threads = [threading.Thread(target=cache.get, args=("a", slow)) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(made) == 1


def test_a_failed_reading_is_tried_again() -> None:
    cache = Cache(100)

    def broken() -> Lump:
        raise OSError("no")

    with pytest.raises(OSError, match="no"):
        cache.get("a", broken)
    assert cache.get("a", lambda: Lump(3)).nbytes == 3


def test_directions() -> None:
    lps = ((0, 0, -0.5, 0), (0, -0.5, 0, 0), (3.0, 0, 0, 0), (0, 0, 0, 1))
    assert directions_of(Grid((4, 5, 6), (3.0, 0.5, 0.5), lps)) == ["S", "P", "L"]
    assert directions_of(Grid((4, 5, 6), (3.0, 0.5, 0.5))) is None
    assert directions_of(Grid((4, 5), (0.5, 0.5))) is None


@pytest.mark.parametrize(
    "dtype", ["?", "u1", "i2", "u2", "i4", "u4", "i8", "f2", "f4", "f8", ">i2"]
)
def test_a_volume_of_any_kind_becomes_nifti(dtype: str) -> None:
    import gzip

    import nibabel as nib

    values = (np.arange(24).reshape(2, 3, 4) % 2).astype(dtype)
    data = gzip.decompress(nifti_bytes(values, Grid((2, 3, 4), (3.0, 1.0, 0.5))))
    image = nib.Nifti1Image.from_bytes(data)
    np.testing.assert_array_equal(np.asarray(image.dataobj).T, values)
    np.testing.assert_allclose(np.diag(image.affine), [0.5, -1.0, -3.0, 1.0])
