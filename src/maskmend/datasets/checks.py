"""Checks of one case, and of one case against the others."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np

from maskmend import formats
from maskmend.arrays.geometry import same_grid
from maskmend.core import Case, Grid
from maskmend.datasets.found import LABEL_MAP, Draft, Found, check_draft
from maskmend.datasets.images import check_image, image_header, say_grid
from maskmend.datasets.segments import read_placed, segments_of
from maskmend.datasets.tree import number_of
from maskmend.datasets.values import count_values
from maskmend.errors import GridMismatchError, MaskmendError, MaskValueError

Faults = dict[str, list[MaskmendError]]
"""Case id -> all that is wrong with the case."""


@dataclass(frozen=True)
class Inspection:
    """A case whose files are readable.

    counts: plane -> stored value -> pixels; of a file with segments, the plane is the segment,
    and its pixels are 0 or 1.  layered: the label map is such a file.
    """

    draft: Draft
    case: Case
    image: formats.Header
    counts: Mapping[str, Mapping[int, int]]
    palettes: frozenset[str]
    layered: bool = False


def inspect(
    found: Found, draft: Draft, group: str, faults: list[MaskmendError]
) -> Inspection | None:
    """Read a case's headers and count its mask values; what is wrong goes to `faults`."""
    counts: dict[str, dict[int, int]] = {}
    palettes = set()
    try:
        case = check_draft(draft, group)
        image = check_image(case)
        if draft.shrinks:
            case = replace(case, image_factor=_image_factor(case, image.grid))
            image = image_header(case)
    except MaskmendError as error:
        faults.append(error)
        return None
    for plane, path in case.masks.items():
        try:
            if formats.is_layered(path):
                names = None if found.label_maps else segments_of(case.id, path, [plane])
                placed = read_placed(case.id, path, image.grid, names)
                counts |= {name: count_values(mask.view(np.uint8)) for name, mask in placed.items()}
                continue
            stored, grid = formats.read_mask(path)
            _check_grid(case, plane, grid, image.grid)
            palettes |= {plane} if formats.read_header(path).palette else set()
        except MaskmendError as error:
            faults.append(error)
        else:
            counts[plane] = count_values(stored)
    if faults:
        return None
    layered = found.label_maps and formats.is_layered(case.masks[LABEL_MAP])
    return Inspection(draft, case, image, counts, frozenset(palettes), layered)


def _image_factor(case: Case, grid: Grid) -> int:
    """How many times finer the image is than its first mask; 1 where it is not a multiple."""
    mask = formats.read_header(next(iter(case.masks.values()))).grid
    if len(mask.shape) != len(grid.shape):
        return 1
    factors = {divmod(of, size) for of, size in zip(grid.shape, mask.shape, strict=True)}
    factor, rest = factors.pop()
    return factor if not factors and rest == 0 and factor > 0 else 1


def _check_grid(case: Case, plane: str, mask: Grid, image: Grid) -> None:
    if same_grid(mask, image):
        return
    if mask.shape != image.shape:
        expected = f"a mask of {plane} of the image's shape, {say_grid(image)}"
    else:
        expected = f"a mask of {plane} on the image's grid, {say_grid(image)}"
    if mask.shape == image.shape and say_grid(mask) == say_grid(image):
        expected += f", axes {image.affine}"
        got = f"{say_grid(mask)}, axes {mask.affine}"
    else:
        got = say_grid(mask)
    raise GridMismatchError(
        case.id,
        expected=expected,
        got=f"{got} in {case.masks[plane]}",
        remedy="Export the mask on the image's grid.",
    )


def check_channels(whole: Sequence[Inspection], faults: Faults, stated: int | None = None) -> None:
    """All images need as many channels as the layout states or, without that, as most have."""
    counts = Counter(inspection.image.channels for inspection in whole)
    usual = max(sorted(counts), key=lambda channels: counts[channels], default=0)
    why = "as most cases have" if stated is None else "as the data set states"
    usual = usual if stated is None else stated
    for inspection in whole:
        if inspection.image.channels != usual:
            files = ", ".join(str(path) for path in inspection.case.images)
            faults[inspection.case.id].append(
                GridMismatchError(
                    inspection.case.id,
                    expected=f"images of {number_of(usual, 'channel')}, {why}",
                    got=f"{inspection.image.channels} in {files}",
                    remedy="Convert all images to grey, or all to colour.",
                )
            )


def check_axes(whole: Sequence[Inspection], faults: Faults) -> None:
    """Pictures and volumes are two data sets; those of the rarer kind are at fault."""
    volumes = sum(len(inspection.image.grid.shape) == 3 for inspection in whole)
    most = 3 if 2 * volumes >= len(whole) else 2
    kinds = {2: "a picture", 3: "a volume"}
    for inspection in whole:
        grid = inspection.image.grid
        if len(grid.shape) != most:
            faults[inspection.case.id].append(
                GridMismatchError(
                    inspection.case.id,
                    expected=f"{kinds[most]}, as the other cases are",
                    got=f"{kinds.get(len(grid.shape), 'an image')} of {say_grid(grid)}",
                    remedy="Put pictures and volumes into data sets of their own.",
                )
            )


def check_kinds(found: Found, whole: Sequence[Inspection], faults: Faults) -> bool:
    """Whether the masks of a data set hold segments; those of the rarer kind are at fault."""
    layered = sum(inspection.layered for inspection in whole)
    most = found.label_maps and 2 * layered > len(whole)
    for inspection in whole:
        if inspection.layered != most:
            kinds = ("one value a pixel", "segments that may overlap")
            faults[inspection.case.id].append(
                MaskValueError(
                    inspection.case.id,
                    expected=f"a mask of {kinds[most]}, as most cases have",
                    got=f"one of {kinds[not most]}",
                    remedy="Export all masks in one format.",
                )
            )
    return most
