"""The image of a case: its channels together, on the grid of its masks."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from maskmend import formats
from maskmend.arrays.geometry import block_mean, coarser_grid, same_grid
from maskmend.core import Case, Grid
from maskmend.errors import GridMismatchError, MaskValueError, NotFiniteError


def read_image(case: Case) -> NDArray[Any]:
    """(C, *S): the channels of all files of a case, one after the other.

    In the stored dtype, or one that holds those of all files; float32 where the image is brought
    to the grid of its masks by means of blocks.  Raises GridMismatchError for files of different
    shapes, and what the format raises.
    """
    channels = [formats.read_image(path)[0] for path in case.images]
    shapes = {pixels.shape[1:] for pixels in channels}
    if len(shapes) > 1:
        raise GridMismatchError(
            case.id,
            expected="channels of one shape",
            got=", ".join(str(pixels.shape[1:]) for pixels in channels),
            remedy="Resample all channels to one grid.",
        )
    image = channels[0] if len(channels) == 1 else np.concatenate(channels)
    return image if case.image_factor == 1 else block_mean(image, case.image_factor)


def read_grid(case: Case) -> Grid:
    """The grid of the image and the masks of a case, from the header of its first file."""
    grid = formats.read_header(case.image).grid
    return grid if case.image_factor == 1 else coarser_grid(grid, case.image_factor)


def image_header(case: Case) -> formats.Header:
    """What `read_image` gives, without decoding.  Raises GridMismatchError for a channel that
    lies on another grid than the first, MaskValueError for a segmentation.
    """
    headers = [formats.read_header(path) for path in case.images]
    for path, header in zip(case.images, headers, strict=True):
        if header.segments:
            raise MaskValueError(
                case.id,
                expected="an image",
                got=f"the segments {', '.join(header.segments)} in {path}",
                remedy="Name it as the mask, and what it was drawn on as the image.",
            )
    first = headers[0]
    for path, header in zip(case.images[1:], headers[1:], strict=True):
        if not same_grid(first.grid, header.grid):
            raise GridMismatchError(
                case.id,
                expected=f"all channels on the grid of {case.image.name}, {say_grid(first.grid)}",
                got=f"{say_grid(header.grid)} in {path}",
                remedy="Resample all channels to one grid.",
            )
    return replace(
        first,
        grid=read_grid(case),
        channels=sum(header.channels for header in headers),
        dtype=np.result_type(*(header.dtype for header in headers))
        if case.image_factor == 1
        else np.dtype(np.float32),
    )


def check_image(case: Case) -> formats.Header:
    """The header of a case's image, whose pixels are finite.

    Raises UnreadableFileError, GridMismatchError, NotFiniteError.
    """
    header = image_header(case)
    for path in case.images:
        if formats.read_header(path).dtype.kind != "f":
            continue
        pixels, _ = formats.read_image(path)
        strange = int(np.count_nonzero(~np.isfinite(pixels)))
        if strange:
            raise NotFiniteError(
                case.id,
                expected=f"finite numbers in the image {path}",
                got=f"NaN or infinity in {strange} of {pixels.size} pixels",
                remedy="Fill them, or take the case out.",
            )
    return header


def say_grid(grid: Grid) -> str:
    """Shape and, where they are known, spacing and origin, for a message."""
    said = str(grid.shape)
    if grid.spacing is not None:
        said += f", spacing {_say(grid.spacing, ' x ')} mm"
    if grid.affine is not None:
        said += f", origin ({_say([row[3] for row in grid.affine[:3]], ', ')}) mm"
    return said


def _say(numbers: Any, between: str) -> str:
    return between.join(f"{number:.6g}" for number in numbers)
