"""What a browser shows: slices as 8-bit PNG, labels as bytes, volumes as NIfTI without a name."""

from __future__ import annotations

import gzip
import threading
from collections import OrderedDict
from collections.abc import Callable, Hashable
from dataclasses import dataclass
from typing import Any, Protocol, TypeVar

import numpy as np
from numpy.typing import NDArray

from maskmend.core import Grid, LabelArray
from maskmend.formats.png import encode_png
from maskmend.review.pixels import PlanePixels, sliced

SAMPLE = 200_000
"""Pixels of an image, about, from which its window is taken."""

WINDOW_PERCENTILES = (1.0, 99.0)

NARROWEST, WIDEST = 1e-12, 1e30
"""Of a window that is asked for: within them nothing overflows to what is no number."""


class Sized(Protocol):
    @property
    def nbytes(self) -> int: ...


Value = TypeVar("Value", bound=Sized)


class Cache:
    """What was used last, up to a number of bytes; safe to use from several threads.

    A single value larger than that is kept until the next one comes: an image that is looked at
    is asked for again and again.
    """

    def __init__(self, budget: int) -> None:
        self.budget = budget
        self._lock = threading.Lock()
        self._making: dict[Hashable, threading.Lock] = {}
        self._values: OrderedDict[Hashable, Any] = OrderedDict()
        self._bytes = 0

    def get(self, key: Hashable, make: Callable[[], Value]) -> Value:
        """The value of a key; made once, even if several threads ask for it at the same time."""
        with self._lock:
            if key in self._values:
                self._values.move_to_end(key)
                kept: Value = self._values[key]
                return kept
            making = self._making.setdefault(key, threading.Lock())
        with making:
            with self._lock:
                if key in self._values:
                    made: Value = self._values[key]
                    return made
            value = make()
            with self._lock:
                self._values[key] = value
                self._bytes += value.nbytes
                self._making.pop(key, None)
                while self._bytes > self.budget and len(self._values) > 1:
                    _, old = self._values.popitem(last=False)
                    self._bytes -= old.nbytes
        return value

    @property
    def nbytes(self) -> int:
        return self._bytes


@dataclass(frozen=True)
class Window:
    """low, high: shown as black and white by default.  min, max: of all values."""

    low: float
    high: float
    min: float
    max: float

    def to_json(self) -> dict[str, float]:
        return dict(vars(self))


@dataclass(frozen=True, eq=False)
class Image:
    """A decoded image.  pixels: (C, *S).  rgb: its channels are colours.  windows: of each."""

    pixels: NDArray[Any]
    rgb: bool
    windows: tuple[Window, ...]

    @property
    def nbytes(self) -> int:
        return int(self.pixels.nbytes)


def prepared(pixels: NDArray[Any], one_file: bool) -> Image:
    """pixels: (C, *S).  one_file: all channels come from a single file.

    Three 8-bit channels of one picture are red, green and blue.
    """
    rgb = one_file and pixels.ndim == 3 and len(pixels) == 3 and pixels.dtype == np.uint8
    return Image(pixels, rgb, tuple(window_of(channel) for channel in pixels))


def window_of(channel: NDArray[Any]) -> Window:
    """The 1st to the 99th percentile of a channel, (*S); all of it where those are equal."""
    step = max(1, channel.size // SAMPLE)
    some = channel.reshape(-1)[::step].astype(np.float64)
    low, high = (float(value) for value in np.percentile(some, WINDOW_PERCENTILES))
    least, most = float(channel.min()), float(channel.max())
    if high <= low:
        low, high = least, most
    if high <= low:
        high = low + max(1.0, abs(low) * 1e-6)
    return Window(low, high, least, most)


def cut(array: NDArray[Any], axis: int, k: int) -> NDArray[Any]:
    """One slice of a volume, (slices, rows, columns); a picture, (rows, columns), as it is.

    axis 0: (rows, columns); 1: (slices, columns); 2: (slices, rows).
    """
    return array if array.ndim == 2 else np.take(array, k, axis=axis)


def picture_png(image: Image, axis: int, k: int, channel: int, low: float, high: float) -> bytes:
    """An 8-bit PNG of a slice; low and below is black, high and above white.  low < high."""
    if image.rgb:
        return encode_png(np.moveaxis(image.pixels, 0, -1), level=1)
    values = cut(image.pixels[channel], axis, k)
    # float32 would lose the steps of large integers, far from 0
    exact: Any = np.float64 if values.dtype.itemsize > 2 else np.float32
    # far above the window a value may overflow to infinity, which is white too
    with np.errstate(over="ignore"):
        shown: NDArray[Any] = (values.astype(exact) - low) * (255.0 / (high - low))
    return encode_png(np.clip(np.rint(shown), 0, 255).astype(np.uint8), level=1)


@dataclass(frozen=True, eq=False)
class LabelPlane:
    """One plane of a case, (*S) each, and the pixels of its findings."""

    given: LabelArray
    decided: LabelArray
    pixels: PlanePixels


def labels_bytes(planes: list[LabelPlane], axis: int, k: int) -> bytes:
    """Little-endian uint32 (planes, height, width), then of each plane given, suggested and
    decided, uint8, and the number of the finding, uint16, (height, width) each.

    suggested: the given labels with all findings accepted.
    """
    height, width = cut(planes[0].given, axis, k).shape
    parts = [np.array([len(planes), height, width], "<u4").tobytes()]
    for plane in planes:
        given, decided = (np.ascontiguousarray(cut(labels, axis, k))
                          for labels in (plane.given, plane.decided))  # fmt: skip
        suggested, numbers = given.copy(), np.zeros(given.shape, "<u2")
        here, where = slice(None), plane.pixels.where
        if plane.given.ndim == 3:
            here, where = sliced(plane.pixels, plane.given.shape, axis, k)  # type: ignore[assignment]
        suggested.reshape(-1)[where] = plane.pixels.suggested[here]
        numbers.reshape(-1)[where] = plane.pixels.number[here]
        parts += [each.tobytes() for each in (given, suggested, decided, numbers)]
    return b"".join(parts)


def directions_of(grid: Grid) -> list[str] | None:
    """Towards which side of the body the index along each axis grows: L, R, A, P, S or I.

    None for a picture, and where the file does not know.
    """
    if grid.affine is None or len(grid.shape) != 3:
        return None
    import nibabel

    # the columns of our affine are in the order of our axes
    letters = nibabel.aff2axcodes(np.array(grid.affine))
    return None if None in letters else [str(letter) for letter in letters]


def packed(data: bytes) -> bytes:
    """gzip, quickly; the same bytes for the same data."""
    return gzip.compress(data, compresslevel=1, mtime=0)


def nifti_bytes(volume: NDArray[Any], grid: Grid) -> bytes:
    """A .nii.gz of (slices, rows, columns) that holds the array and its affine, nothing else."""
    import nibabel

    slices, rows, columns = grid.steps
    # where the file does not know, downwards as the page shows them: NIfTI counts upwards
    steps = np.diag([columns, -rows, -slices, 1.0])
    # our columns are (z, y, x), those of NIfTI (x, y, z)
    affine = steps if grid.affine is None else np.array(grid.affine)[:, [2, 1, 0, 3]]
    image = nibabel.Nifti1Image(_storable(volume).T, affine)
    image.header.set_xyzt_units("mm")
    return packed(image.to_bytes())


def _storable(volume: NDArray[Any]) -> NDArray[Any]:
    """In a dtype that every reader of NIfTI knows."""
    kind, size = volume.dtype.kind, volume.dtype.itemsize
    if kind == "b":
        return volume.astype(np.uint8)
    if kind == "f" or size > 4 or volume.dtype == np.uint32:
        return volume.astype(np.float32)
    return volume.astype(volume.dtype.newbyteorder("="))
