"""Checks of one case, and of one case against the others."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from maskmend import formats
from maskmend.core import Case, Grid
from maskmend.datasets.tree import Draft, check_draft, number_of
from maskmend.datasets.values import count_values
from maskmend.errors import GridMismatchError, MaskmendError, NotFiniteError

Faults = dict[str, list[MaskmendError]]
"""Case id -> all that is wrong with the case."""


@dataclass(frozen=True)
class Inspection:
    """A case whose files are readable.  counts: plane -> stored value -> pixels."""

    case: Case
    image: formats.Header
    counts: Mapping[str, Mapping[int, int]]
    palettes: frozenset[str]


def inspect(draft: Draft, group: str, faults: list[MaskmendError]) -> Inspection | None:
    """Read a case's headers and count its mask values; what is wrong goes to `faults`."""
    counts: dict[str, dict[int, int]] = {}
    palettes = set()
    try:
        case = check_draft(draft, group)
        image = check_image(case)
    except MaskmendError as error:
        faults.append(error)
        return None
    for plane, path in case.masks.items():
        try:
            stored, grid = formats.read_mask(path)
            _check_shape(case, plane, grid, image.grid)
            palettes |= {plane} if formats.read_header(path).palette else set()
        except MaskmendError as error:
            faults.append(error)
        else:
            counts[plane] = count_values(stored)
    return None if faults else Inspection(case, image, counts, frozenset(palettes))


def check_image(case: Case) -> formats.Header:
    """The header of a case's image.  Raises UnreadableFileError, NotFiniteError."""
    header = formats.read_header(case.image)
    if header.dtype.kind == "f":
        pixels, _ = formats.read_image(case.image)
        strange = int(np.count_nonzero(~np.isfinite(pixels)))
        if strange:
            raise NotFiniteError(
                case.id,
                expected=f"finite numbers in the image {case.image}",
                got=f"NaN or infinity in {strange} of {pixels.size} pixels",
                remedy="Fill them, or take the case out.",
            )
    return header


def _check_shape(case: Case, plane: str, mask: Grid, image: Grid) -> None:
    if mask.shape != image.shape:
        raise GridMismatchError(
            case.id,
            expected=f"a mask of {plane} of the image's shape, {image.shape}",
            got=f"{mask.shape} in {case.masks[plane]}",
            remedy="Export the mask on the image's grid.",
        )


def check_channels(whole: Sequence[Inspection], faults: Faults) -> None:
    """All images need as many channels as most have: one network reads them all."""
    counts = Counter(inspection.image.channels for inspection in whole)
    usual = max(sorted(counts), key=lambda channels: counts[channels], default=0)
    for inspection in whole:
        if inspection.image.channels != usual:
            faults[inspection.case.id].append(
                GridMismatchError(
                    inspection.case.id,
                    expected=f"images of {number_of(usual, 'channel')}, as most cases have",
                    got=f"{inspection.image.channels} in {inspection.case.image}",
                    remedy="Convert all images to grey, or all to colour.",
                )
            )
