"""Sentences for the user on what was recognised in a data set."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence

from maskmend.datasets.checks import Inspection
from maskmend.datasets.found import Found
from maskmend.datasets.tree import number_of, shorten


def describe_cases(found: Found, usable: Sequence[Inspection]) -> list[str]:
    """How many cases there are, in which splits, of which kind and size; a sentence each."""
    splits = Counter(inspection.case.split for inspection in usable)
    dtypes = sorted({str(inspection.image.dtype) for inspection in usable})
    channels = usable[0].image.channels
    kind = "grey" if channels == 1 else f"{channels} channels"
    sizes = _range((i.image.grid.shape for i in usable), "sizes")
    sentences = [
        f"Layout {found.layout}: {number_of(len(usable), 'case')}, "
        + ", ".join(f"{splits[name]} {name}" for name in found.splits if splits[name])
        + ".",
        f"Images: {kind}, {' and '.join(dtypes)}, {sizes}.",
    ]
    spacings = {i.image.grid.spacing for i in usable}
    if spacings != {None}:
        known = {tuple(round(step, 4) for step in spacing) for spacing in spacings if spacing}
        sentences.append(f"Spacing in mm: {_range(known, 'spacings')}.")
    if not found.label_maps:
        sentences.append("Structures, which may overlap: " + ", ".join(found.planes) + ".")
    return [*sentences, *found.understood]


def _range(tuples: Iterable[tuple[float, ...]], noun: str) -> str:
    """ "35 x 51 x 35", or how many there are and the first and last of them."""
    different = sorted(set(tuples))
    said = [" x ".join(f"{number:g}" for number in each) for each in different]
    return said[0] if len(said) == 1 else f"{len(said)} {noun}, {said[0]} to {said[-1]}"


def describe_masks(found: Found, planes: Sequence[str], usable: Sequence[Inspection]) -> list[str]:
    """How palette masks are read, and which cases lack which structure; a sentence each.

    planes: those that may be unlabelled in a case.
    """
    sentences = []
    coloured = sum(bool(inspection.palettes) for inspection in usable)
    if coloured:
        sentences.append(
            f"Palette masks are read as their indices, in {number_of(coloured, 'case')}."
        )
    shrunk = {i.case.image_factor for i in usable} - {1}
    if shrunk:
        sentences.append(
            f"Images are brought to the grid of their masks by the mean of blocks of "
            f"{' or '.join(str(factor) for factor in sorted(shrunk))} pixels along each axis."
        )
    for plane in planes:
        unlabelled = [i.case.id for i in usable if not _is_labelled(found, plane, i)]
        if unlabelled:
            where = number_of(len(unlabelled), "case")
            sentences.append(
                f"{plane} is not labelled in {where} and takes no part there: "
                + shorten(unlabelled)
                + "."
            )
    return sentences


def _is_labelled(found: Found, plane: str, inspection: Inspection) -> bool:
    labelled = inspection.draft.labelled
    if labelled is not None and plane not in labelled:
        return False
    return found.label_maps or plane in inspection.counts


def describe_settings(
    usable: Sequence[Inspection], ignore_value: int | None, group_pattern: str | None
) -> list[str]:
    """What the user said beside the folder: ignored value, pattern of the groups."""
    sentences = []
    if ignore_value is not None:
        hit = sum(any(ignore_value in c for c in i.counts.values()) for i in usable)
        sentences.append(
            f"Pixels of the value {ignore_value} are ignored, in {number_of(hit, 'case')}."
        )
    groups = len({inspection.case.group for inspection in usable})
    if group_pattern is not None:
        sentences.append(
            f"{number_of(groups, 'patient')}, found by {group_pattern!r} in the case ids."
        )
    elif any(inspection.draft.group is not None for inspection in usable):
        sentences.append(f"{number_of(groups, 'patient')}, as the data set states.")
    else:
        sentences.append("Each case is taken as a patient of its own; group_pattern changes that.")
    return sentences


def describe_folds(found: Found) -> list[str]:
    """The folds that come with the data set."""
    if not found.stated_folds:
        return []
    held_out = {case for fold in found.stated_folds for case in fold.held_out}
    never = [d.id for d in found.drafts if d.split == "training" and d.id not in held_out]
    said = f"{number_of(len(found.stated_folds), 'fold')}, as the data set states."
    never_said = f" Never held out: {shorten(never)}." if never else ""
    return [said + never_said]
