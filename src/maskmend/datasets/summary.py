"""Sentences for the user on what was recognised in a data set."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

from maskmend.datasets.checks import Inspection
from maskmend.datasets.tree import LABEL_MAPS, FolderTree, number_of, shorten
from maskmend.formats import split_name


def describe_cases(tree: FolderTree, usable: Sequence[Inspection]) -> list[str]:
    """How many cases there are, in which splits, of which kind and size; a sentence each."""
    splits = Counter(inspection.case.split for inspection in usable)
    shapes = sorted({inspection.image.grid.shape for inspection in usable})
    dtypes = sorted({str(inspection.image.dtype) for inspection in usable})
    said = [" x ".join(map(str, shape)) for shape in (shapes[0], shapes[-1])]
    sizes = said[0] if len(shapes) == 1 else f"{len(shapes)} sizes, {said[0]} to {said[1]}"
    channels = usable[0].image.channels
    sentences = [
        f"Layout {tree.layout}: {number_of(len(usable), 'case')}, "
        + ", ".join(f"{splits[name]} {name}" for name in tree.images if splits[name])
        + ".",
        f"Images: {'grey' if channels == 1 else f'{channels} channels'}, "
        f"{' and '.join(dtypes)}, {sizes}.",
    ]
    if tree.layout != LABEL_MAPS:
        sentences.append("Structures, which may overlap: " + ", ".join(tree.planes) + ".")
    if any(i.case.id != split_name(i.case.image.name)[0] for i in usable):
        sentences.append("File names recur between splits: each case id begins with its split.")
    return sentences


def describe_masks(tree: FolderTree, usable: Sequence[Inspection]) -> list[str]:
    """How palette masks are read, and which cases lack which structure; a sentence each."""
    sentences = []
    coloured = sum(bool(inspection.palettes) for inspection in usable)
    if coloured:
        sentences.append(
            f"Palette masks are read as their indices, in {number_of(coloured, 'case')}."
        )
    for plane in tree.planes:
        unlabelled = [i.case.id for i in usable if plane not in i.counts]
        if unlabelled:
            where = number_of(len(unlabelled), "case")
            sentences.append(
                f"{plane} is not labelled in {where} and takes no part there: "
                + shorten(unlabelled)
                + "."
            )
    return sentences


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
    else:
        sentences.append("Each case is taken as a patient of its own; group_pattern changes that.")
    return sentences
