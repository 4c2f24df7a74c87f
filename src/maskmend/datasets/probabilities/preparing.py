"""Which file is whose, in which order its axes lie, and whether it may judge the case at all.

Everything is decided from folders, headers and splits here, before any array is read whole; only
where two axis orders fit every case, a few cases are read to compare them with the labels.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from maskmend.arrays.agreement import mask_distance, mask_mismatch, predicted_labels
from maskmend.arrays.geometry import same_grid
from maskmend.core import Case, Dataset, Grid, LabelArray, LabelScheme, LeftOut, StatedFold
from maskmend.datasets.images import say_grid
from maskmend.datasets.probabilities.converting import (
    QUANTISED,
    as_probabilities,
    converted,
    extent_of,
)
from maskmend.datasets.probabilities.finding import Found, Prediction, find_predictions
from maskmend.datasets.probabilities.origin import check_origins, pick
from maskmend.datasets.probabilities.placing import (
    Cropping,
    Layout,
    Place,
    common_layouts,
    frame_of,
    no_place,
    placed_view,
    possible_places,
    read_cropping,
)
from maskmend.datasets.probabilities.stored import HeldArray, StoredArray, open_stored, read_whole
from maskmend.errors import DuplicateCaseError, GridMismatchError, MaskmendError, MissingFileError

COMPARED = 3
"""Cases that are read to compare two axis orders."""

MUCH_BETTER = 0.2
"""Dice by which another axis order than the stated one must agree better to be the right one."""

Grids = Mapping[str, Grid]
GivenOf = Callable[[str], LabelArray]


@dataclass(frozen=True)
class Incoming:
    """The probabilities of one case, found but not yet read.

    path: None where they come from memory.  origin: why they count as out-of-sample.
    """

    case: str
    stored: StoredArray
    place: Place
    origin: str
    path: Path | None = None
    fold: int | None = None

    def may_stay(self, dtype: np.dtype[Any]) -> bool:
        """Whether the file itself can be mapped into memory as (num_channels, *S) of a dtype."""
        mapped = isinstance(self.stored, HeldArray) and self.path is not None
        plain = self.place.is_plain and self.stored.dtype == dtype
        return mapped and plain and dtype.isnative


@dataclass(frozen=True)
class Prepared:
    """What is known of a folder of predictions before they are read.

    dtype: in which all of them are to be kept, since all cases are judged in one.
    """

    root: Path
    incoming: tuple[Incoming, ...]
    dtype: np.dtype[Any]
    left_out: tuple[LeftOut, ...]
    understood: tuple[str, ...]


def prepare(
    root: Path, dataset: Dataset, cases: Sequence[Case], grids: Grids, given_of: GivenOf,
    folds: Sequence[StatedFold], stated: bool,
) -> Prepared:  # fmt: skip
    """Find the predictions of some cases, check their origin, and place them on the labels' grids.

    grids: case id -> grid of its labels.  given_of: case id -> its given labels, asked only where
    axis orders are compared.  folds, stated: as in `check_origins`.
    A case whose file has a fault is left out; where none is left, its error is raised.
    Raises as `find_predictions`, `check_origins`; GridMismatchError for a wrong axis order.
    """
    found = find_predictions(root, cases)
    chosen, left_out = _choose(found, folds)
    origins = check_origins(chosen, cases, folds, stated)
    opened, places = _open_all(chosen, grids, dataset.scheme, left_out, found)
    layout = _layout(opened, places, dataset.scheme, given_of)
    incoming = []
    for case, stored in opened.items():
        place = next((each for each in places[case] if each.layout == layout), None)
        if place is None:
            error = no_place(
                case, str(chosen[case].path), stored.shape, grids[case].shape, dataset.scheme
            )
            left_out.append(LeftOut(case, str(error)))
            continue
        prediction = chosen[case]
        incoming.append(
            Incoming(case, stored, place, origins[case], prediction.path, prediction.fold)
        )
    said = [*found.understood, *_say(incoming, layout, dataset.scheme, found.nnunet)]
    return Prepared(
        found.root, tuple(incoming), _common_dtype(incoming),
        (*found.missing, *left_out), tuple(said),
    )  # fmt: skip


def place_held(
    case: str, array: Any, grid: tuple[int, ...], scheme: LabelScheme, origin: str
) -> Incoming:
    """Probabilities in memory, (num_channels, *S) or another order that fits.

    Raises GridMismatchError where none does.
    """
    stored = HeldArray(np.asarray(array))
    places = possible_places(stored.shape, grid, scheme)
    if not places:
        raise no_place(case, "memory", stored.shape, grid, scheme)
    return Incoming(case, stored, places[0], origin)


def seems_logits(stored: StoredArray, case: str) -> bool:
    """Whether the first block of an array has values that no probability has; a first guess."""
    first = next(iter(stored.blocks()), None)
    return first is not None and extent_of(first[1], case).is_logits


def _choose(
    found: Found, folds: Sequence[StatedFold]
) -> tuple[dict[str, Prediction], list[LeftOut]]:
    chosen, left_out = {}, []
    for case, several in found.predictions.items():
        one = pick(several, folds)
        if one is None:
            error = DuplicateCaseError(
                case, expected="one prediction",
                got=", ".join(str(each.path) for each in several),
                remedy="Keep that of the fold that holds the case out.",
            )  # fmt: skip
            left_out.append(LeftOut(case, str(error)))
        else:
            chosen[case] = one
    return chosen, left_out


def _open_all(
    chosen: Mapping[str, Prediction], grids: Grids, scheme: LabelScheme,
    left_out: list[LeftOut], found: Found,
) -> tuple[dict[str, StoredArray], dict[str, list[Place]]]:  # fmt: skip
    opened: dict[str, StoredArray] = {}
    places: dict[str, list[Place]] = {}
    first: MaskmendError | None = None
    for case, prediction in chosen.items():
        try:
            stored = open_stored(prediction.path)
            extent_of(np.empty(0, stored.dtype), case)
            check_space(case, prediction.path, stored, grids[case])
            fits = _places(stored, prediction, grids[case], scheme, found)
            if not fits:
                raise no_place(case, str(prediction.path), stored.shape, grids[case].shape, scheme)
        except MaskmendError as error:
            first = first or error
            left_out.append(LeftOut(case, str(error)))
        else:
            opened[case], places[case] = stored, fits
    if not opened:
        raise first or _none_left(chosen, left_out)
    return opened, places


def _none_left(chosen: Mapping[str, Prediction], left_out: Sequence[LeftOut]) -> MissingFileError:
    return MissingFileError(
        "probabilities", expected="a prediction that can be used, of one case at least",
        got=f"{len(chosen)}; {left_out[0].reason if left_out else ''}", remedy="Correct the files.",
    )  # fmt: skip


def check_space(case: str, path: Path, stored: StoredArray, grid: Grid) -> None:
    """Raises GridMismatchError where a file says that its array lies elsewhere than the label."""
    affine = getattr(stored, "affine", None)
    shape = stored.shape[-len(grid.shape) :]
    if affine is None or shape != grid.shape:
        return
    theirs = Grid(shape, grid.spacing, affine)
    if not same_grid(theirs, grid):
        raise GridMismatchError(
            case, expected=f"probabilities where the label lies, {say_grid(grid)}",
            got=f"{say_grid(theirs)} in {path}", remedy="Resample them to the label's grid.",
        )  # fmt: skip


def _places(
    stored: StoredArray, prediction: Prediction, grid: Grid, scheme: LabelScheme, found: Found
) -> list[Place]:
    frame = frame_of(prediction.case, grid) if found.reoriented else None
    shape = grid.shape if frame is None else frame.turned(grid.shape)
    places = possible_places(stored.shape, shape, scheme)
    if found.nnunet or prediction.properties is not None:
        # nnU-Net's own order is known, however many would fit
        places = [place for place in places if place.layout.is_stated] or places
    if not places and prediction.properties is not None:
        cropping: Cropping = read_cropping(prediction.properties)
        places = possible_places(stored.shape, shape, scheme, cropping)
    return [replace(place, frame=frame) for place in places]


def _layout(
    opened: Mapping[str, StoredArray], places: Mapping[str, Sequence[Place]],
    scheme: LabelScheme, given_of: GivenOf,
) -> Layout:  # fmt: skip
    """The layout of all cases: the best that fits most; compared where several do."""
    layouts = common_layouts(places)
    # without a class axis there is no order of it to be wrong
    rivals = [layout for layout in layouts if layout != layouts[0]]
    if not rivals:
        return layouts[0]
    sizes = {case: int(np.prod(stored.shape)) for case, stored in opened.items()}
    some = sorted(opened, key=lambda case: (sizes[case], case))[:COMPARED]
    agreements = {
        layout: _agreement(layout, {case: opened[case] for case in some}, scheme, given_of)
        for layout in layouts
    }
    best = max(layouts, key=lambda layout: agreements[layout])
    stated = layouts[0]
    if agreements[best] > agreements[stated] + MUCH_BETTER:
        raise GridMismatchError(
            "probabilities", expected=f"arrays with {stated}, by their shape",
            got=f"arrays that agree far better with the labels with {best}: mean Dice "
            f"{agreements[best]:.2f}, not {agreements[stated]:.2f}",
            remedy="Store them as (classes, slices, rows, columns), the axes as the labels'.",
        )  # fmt: skip
    return stated


def _agreement(
    layout: Layout, stored: Mapping[str, StoredArray], scheme: LabelScheme, given_of: GivenOf
) -> float:
    """Mean Dice of the labels and what an array says when its axes are taken so."""
    found = []
    theirs = layout.scheme(scheme)
    for case, each in stored.items():
        given = given_of(case)
        raw = read_whole(each)
        target = np.zeros((theirs.num_channels, *given.shape[1:]), np.float32)
        view = placed_view(target, Place(layout), each.shape)
        extent = extent_of(raw, case)
        if extent.is_logits:
            view[...] = raw
            target = as_probabilities(target, theirs)
        else:
            view[...] = converted(raw, target.dtype)
            if layout.classes == "none" and not scheme.overlapping:
                target[0] = 1 - target[1]
        target = target[1:] if layout.paired else target
        mismatch = mask_mismatch(given, predicted_labels(target, scheme), scheme)
        found.append(1 - mask_distance(mismatch[None], scheme)[0])
    values = np.concatenate(found)
    return float(np.nanmean(values)) if not np.isnan(values).all() else 0.0


def _common_dtype(incoming: Sequence[Incoming]) -> np.dtype[Any]:
    """float16, unless all files can stay where they are, or hold the same quantised values."""
    dtypes = {each.stored.dtype.newbyteorder("=") for each in incoming}
    if len(dtypes) == 1:
        (dtype,) = dtypes
        stays = dtype == np.float32 and all(each.may_stay(dtype) for each in incoming)
        if dtype.name in QUANTISED or stays:
            return dtype
    return np.dtype(np.float16)


def _say(
    incoming: Sequence[Incoming], layout: Layout, scheme: LabelScheme, nnunet: bool
) -> list[str]:
    said = []
    if not layout.is_stated:
        said.append(f"The arrays are taken with {layout}, since they fit so.")
    theirs = layout.scheme(scheme)
    names = theirs.structures if theirs.overlapping else theirs.class_names(0)
    if layout.classes != "none":
        said.append(f"Their channels are taken as {', '.join(names)}.")
    cropped = sum(each.place.box is not None for each in incoming)
    if cropped:
        said.append(
            f"Put back what was cropped, in {cropped} {'case' if cropped == 1 else 'cases'}: "
            "background outside of the box."
        )
    return said
