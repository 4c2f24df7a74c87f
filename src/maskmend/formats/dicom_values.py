"""What the stored numbers of a DICOM image stand for: rescaled, upright grey values, colours."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from pydicom.dataset import Dataset
from pydicom.pixels import apply_color_lut
from pydicom.pixels.utils import pixel_dtype

from maskmend.formats.dicom_files import DOUBLES, FLOATS, count_frames, unreadable
from maskmend.formats.dicom_space import first_item, group_item


@dataclass(frozen=True)
class Values:
    """How the frames of a file become the numbers that they stand for.

    stored: dtype of the file.  limits: least and greatest number that its bits can hold, None
    for floats.  scales: (slope, intercept) of each frame.  inverted: MONOCHROME1, in which the
    least value is white.  channels: 3 for colours and palettes.  palette: dtype of the colours
    that stored numbers are an index of, or None.
    """

    stored: np.dtype[Any]
    limits: tuple[int, int] | None
    scales: tuple[tuple[float, float], ...]
    inverted: bool
    channels: int
    palette: np.dtype[Any] | None

    @property
    def dtype(self) -> np.dtype[Any]:
        """Of what they stand for: that stored where nothing is rescaled, else the smallest of
        int16, int32, float64 that holds each whole number, float32 for fractions."""
        if self.palette is not None:
            return self.palette
        if set(self.scales) == {(1.0, 0.0)}:
            return self.stored
        if self.limits is None or any(v != round(v) for scale in self.scales for v in scale):
            return np.dtype(np.float64 if self.stored.itemsize == 8 else np.float32)
        ends = [limit * slope + b for slope, b in self.scales for limit in self.limits]
        for dtype in (np.int16, np.int32):
            if np.iinfo(dtype).min <= min(ends) and max(ends) <= np.iinfo(dtype).max:
                return np.dtype(dtype)
        return np.dtype(np.float64)


def values_of(path: Path, dataset: Dataset) -> Values:
    """Raises UnreadableFileError where the numbers go through a table that is not supported."""
    if dataset.get("ModalityLUTSequence", None):
        raise unreadable(
            path,
            "a modality look-up table",
            expected="a slope and an intercept",
            remedy="Export the image with the table applied.",
        )
    samples = int(dataset.SamplesPerPixel)
    kind = str(dataset.PhotometricInterpretation)
    colours = samples > 1 or kind == "PALETTE COLOR"
    if samples not in (1, 3):
        raise unreadable(path, f"{samples} samples a pixel", expected="1 or 3")
    dtype, limits = _stored(dataset)
    return Values(
        stored=dtype,
        limits=limits,
        scales=((1.0, 0.0),) * count_frames(dataset) if colours else _scales(dataset),
        inverted=kind == "MONOCHROME1",
        channels=3 if colours else 1,
        palette=_palette_dtype(dataset) if kind == "PALETTE COLOR" else None,
    )


def _stored(dataset: Dataset) -> tuple[np.dtype[Any], tuple[int, int] | None]:
    if FLOATS in dataset or DOUBLES in dataset:
        return np.dtype(np.float32 if FLOATS in dataset else np.float64), None
    bits = int(dataset.get("BitsStored", dataset.BitsAllocated))
    signed = int(dataset.PixelRepresentation) == 1
    limits = (-(2 ** (bits - 1)), 2 ** (bits - 1) - 1) if signed else (0, 2**bits - 1)
    if int(dataset.BitsAllocated) == 1:
        return np.dtype(np.uint8), limits
    return pixel_dtype(dataset).newbyteorder("="), limits


def _scales(dataset: Dataset) -> tuple[tuple[float, float], ...]:
    shared = first_item(dataset, "SharedFunctionalGroupsSequence")
    frames = list(dataset.get("PerFrameFunctionalGroupsSequence", None) or [])
    if len(frames) != count_frames(dataset):
        frames = [Dataset()] * count_frames(dataset)
    scales = []
    for frame in frames:
        group = group_item(shared, frame, "PixelValueTransformationSequence")
        source = group if "RescaleSlope" in group else dataset
        slope, intercept = source.get("RescaleSlope", None), source.get("RescaleIntercept", None)
        pair = (1.0 if slope is None else float(slope), float(intercept or 0))
        if not np.isfinite(pair).all() or pair[0] == 0:
            raise ValueError("RescaleSlope or RescaleIntercept")
        scales.append(pair)
    return tuple(scales)


def _palette_dtype(dataset: Dataset) -> np.dtype[Any]:
    bits = int(dataset.RedPaletteColorLookupTableDescriptor[2])
    return np.dtype(np.uint8 if bits <= 8 else np.uint16)


def channels_of(
    frame: NDArray[Any], number: int, values: Values, dataset: Dataset, dtype: np.dtype[Any]
) -> NDArray[Any]:
    """(C, rows, columns), in a dtype, of a stored frame; number: 0 for the first."""
    if values.palette is not None:
        colours = np.asarray(apply_color_lut(frame, dataset))
        return np.moveaxis(colours[..., :3].astype(dtype), -1, 0)
    if values.channels == 3:
        return np.moveaxis(frame, -1, 0).astype(dtype, copy=False)
    if values.inverted and values.limits is not None:
        # least + greatest - v, as bits: no wider type is needed
        frame = np.bitwise_xor(frame, frame.dtype.type(sum(values.limits)))
    slope, intercept = values.scales[number]
    if (slope, intercept) != (1.0, 0.0):
        wide = np.result_type(dtype, np.int64) if dtype.kind == "i" else np.dtype(np.float64)
        frame = frame.astype(wide) * wide.type(slope) + wide.type(intercept)
    return frame.astype(dtype, copy=False)[None]


def common_dtype(values: Sequence[Values]) -> np.dtype[Any]:
    """The dtype in which the slices of a series all fit."""
    joined = Values(
        stored=values[0].stored,
        limits=None
        if values[0].limits is None
        else (
            min(v.limits[0] for v in values if v.limits),
            max(v.limits[1] for v in values if v.limits),
        ),
        scales=tuple(sorted({scale for v in values for scale in v.scales})),
        inverted=values[0].inverted,
        channels=values[0].channels,
        palette=values[0].palette,
    )
    return joined.dtype
