"""What the numbers in mask files mean: which value is which class.

Binary masks are 0/1 or 0/255, each file by itself; a label map gives each value a class, in
ascending order after the background, 0.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from maskmend.core import IGNORED, BoolArray, Dataset, IntArray, LabelArray, LabelScheme, Regions
from maskmend.datasets.tree import number_of, shorten
from maskmend.errors import MaskValueError, SettingsError
from maskmend.files import read_json

BINARY_VALUES = (1, 255)
MOST_VALUES = 64
"""A file with more distinct values than this is no label map unless the classes are named."""

MOST_CLASSES = 254
"""Foreground classes that fit a LabelArray beside 0 and IGNORED."""

LARGEST_TABLE = 1 << 16
"""Entries of a table from stored values to classes, beyond which they are searched for."""

ValueCounts = Mapping[int, int]
"""Stored value -> pixels that have it."""

_BLOCK_PIXELS = 1 << 16

Encoding = tuple[int, ...] | None
"""Stored value of class 0, 1, ...; None: a binary file is 0/1 or 0/255 by itself."""


@dataclass(frozen=True)
class Recognition:
    """What the values of a data set mean.  faults: case id -> errors of the cases that differ."""

    scheme: LabelScheme
    values: Mapping[str, Encoding]
    faults: Mapping[str, Sequence[MaskValueError]] = field(default_factory=dict)
    understood: tuple[str, ...] = ()


def count_values(mask: IntArray) -> dict[int, int]:
    """Pixels of each stored value."""
    low, high = _range_of(mask)
    if high - low >= LARGEST_TABLE:
        values, counts = np.unique(mask, return_counts=True)
        return dict(zip(values.tolist(), counts.tolist(), strict=True))
    totals = np.zeros(high - low + 1, np.int64)
    flat = mask.ravel()
    for start in range(0, flat.size, _BLOCK_PIXELS):
        block = flat[start : start + _BLOCK_PIXELS]
        counted = np.bincount(block.astype(np.int64) - low)
        totals[: len(counted)] += counted
    found = np.flatnonzero(totals)
    return dict(zip((found + low).tolist(), totals[found].tolist(), strict=True))


def recognise_structures(
    counts: Mapping[str, Mapping[str, ValueCounts]],
    planes: tuple[str, ...],
    ignore_value: int | None,
) -> Recognition:
    """Binary masks of structures that may overlap.  counts: case id -> plane -> pixels."""
    faults: dict[str, list[MaskValueError]] = {}
    found: dict[str, set[int]] = {plane: set() for plane in planes}
    for case, masks in counts.items():
        for plane, pixels in masks.items():
            foreground = pixels.keys() - {0, ignore_value}
            if len(foreground) > 1 or not foreground <= set(BINARY_VALUES):
                faults.setdefault(case, []).append(_not_binary(case, plane, pixels))
            else:
                found[plane] |= foreground
    values = {plane: (0, *found[plane]) if len(found[plane]) == 1 else None for plane in planes}
    sentences = [f"{plane}: {_say_binary(values[plane], found[plane])}." for plane in planes]
    return Recognition(LabelScheme(planes, True), values, faults, tuple(sentences))


def recognise_label_maps(
    counts: Mapping[str, ValueCounts],
    names: Mapping[str, int] | None,
    ignore_value: int | None,
    root: Path,
    named_in: str = "labels.json",
) -> Recognition:
    """Label maps; where there is but one class, a binary structure.

    counts: case id -> pixels.  names: class -> stored value, or None: then every value that
    occurs is a class.  named_in: the file that may name classes.  Raises MaskValueError for more
    than MOST_CLASSES of them.
    """
    allowed = None if names is None else {0, ignore_value, *names.values()}
    faults = {case: _map_faults(case, pixels, allowed, named_in) for case, pixels in counts.items()}
    used = [counts[case].keys() - {0, ignore_value} for case in counts if not faults[case]]
    found = set[int]().union(*used)
    if names is None and all(len(values) <= 1 for values in used) and found <= set(BINARY_VALUES):
        values = (0, *found) if len(found) == 1 else None
        sentence = f"The masks show one structure, foreground: {_say_binary(values, found)}."
        scheme = LabelScheme(("foreground",), True)
        return Recognition(scheme, {"foreground": values}, faults, (sentence,))
    classes = names if names is not None else {f"class_{v}": v for v in sorted(found)}
    if len(classes) > MOST_CLASSES:
        raise MaskValueError(
            str(root),
            expected=f"at most {MOST_CLASSES} classes in the label maps",
            got=f"{len(classes)}",
            remedy=f"Name the classes that count in {named_in}, or merge some.",
        )
    structures = tuple(sorted(classes, key=lambda name: classes[name]))
    scheme = LabelScheme(structures, overlapping=len(structures) == 1)
    values = (0, *(classes[name] for name in structures))
    sentences = _say_classes(classes, names is None)
    if names is not None:
        absent = [name for name in structures if classes[name] not in found]
        sentences += [f"No mask shows {shorten(absent)}."] if absent else []
    return Recognition(scheme, {scheme.planes[0]: values}, faults, tuple(sentences))


def recognise_segments(names: Mapping[str, Sequence[str]]) -> Recognition:
    """Structures of files that hold several segments.  names: case id -> its segments."""
    structures = tuple(sorted({name for found in names.values() for name in found}))
    said = [f"Segments, which may overlap: {', '.join(structures)}."]
    for name in structures:
        lacking = [case for case, found in names.items() if name not in found]
        if lacking:
            where = number_of(len(lacking), "case")
            said.append(
                f"There is no segment {name} in the files of {where}, taken as not present there: "
                f"{shorten(lacking)}. Where voxels turn out to be {name}, the segment is added, as "
                "the other files describe it."
            )
    return Recognition(LabelScheme(structures, True), dict.fromkeys(structures), {}, tuple(said))


def recognise_regions(
    counts: Mapping[str, ValueCounts], regions: Regions, ignore_value: int | None, named_in: str
) -> Recognition:
    """Overlapping structures stored in one label map.  counts: case id -> pixels."""
    structures = tuple(regions.values)
    known = {value for values in regions.values.values() for value in values}
    allowed = {0, ignore_value, *known, *regions.order}
    faults = {case: _map_faults(case, pixels, allowed, named_in) for case, pixels in counts.items()}
    said = ", ".join(f"{name} = {say_values(regions.values[name])}" for name in structures)
    sentence = f"Regions of one label map, which overlap: {said}."
    return Recognition(
        LabelScheme(structures, True), dict.fromkeys(structures), faults, (sentence,)
    )


def read_class_names(
    given: Mapping[str, int] | None, file: Path, ignore_value: int | None, said_by: str = "classes"
) -> dict[str, int] | None:
    """Class -> stored value, without background and ignored: as given, else from the file.

    said_by: what gave them, for messages.
    None where neither is there.  Raises UnreadableFileError, SettingsError.
    """
    if given is None and not file.is_file():
        return None
    source, names = (str(file), read_json(file)) if given is None else (said_by, given)
    numbers = list(names.values()) if isinstance(names, Mapping) else []
    whole = all(isinstance(value, int) and not isinstance(value, bool) for value in numbers)
    if not numbers or not whole or len(set(numbers)) < len(numbers):
        raise SettingsError(
            source,
            expected='the names of the classes, each with its own whole number: {"lung": 1}',
            got=f"{names!r}",
            remedy="Give each class the value that its pixels have in the masks.",
        )
    classes = {str(name): int(v) for name, v in names.items() if v not in (0, ignore_value)}
    if not classes:
        raise SettingsError(
            source,
            expected="at least one class beside background and ignored pixels",
            got=f"{names!r}",
            remedy="Name the classes that the masks show.",
        )
    return classes


def classes_of(
    stored: IntArray, encoding: Encoding, ignore_value: int | None, mask: str
) -> LabelArray:
    """Classes, (*S,) uint8 with IGNORED, of stored values, (*S,).

    mask: what to call it in the MaskValueError of a value that is no class.
    """
    values = np.array(encoding if encoding is not None else binary_values(stored, ignore_value))
    low, high = _range_of(stored)
    pairs = {int(value): index for index, value in enumerate(values)}
    if ignore_value is not None:
        pairs[ignore_value] = IGNORED
    if high - low >= LARGEST_TABLE:
        order = np.array(sorted(pairs))
        place = np.searchsorted(order, stored).clip(max=len(order) - 1)
        if not (order[place] == stored).all():
            raise _no_class(stored, order[place] == stored, values, mask)
        return np.array([pairs[value] for value in order.tolist()], np.uint8)[place]
    table = np.zeros(high - low + 1, np.uint8)
    known = np.zeros(len(table), bool)
    for value, label in pairs.items():
        # a class whose value does not occur needs no place
        if low <= value <= high:
            table[value - low], known[value - low] = label, True
    if any(not known[value - low] for value in count_values(stored)):
        raise _no_class(stored, known[stored.astype(np.int64) - low], values, mask)
    labels: LabelArray = np.empty(stored.shape, np.uint8)
    flat, target = stored.reshape(-1), labels.reshape(-1)
    # in blocks, as in `count_values`
    for start in range(0, flat.size, _BLOCK_PIXELS):
        part = slice(start, start + _BLOCK_PIXELS)
        offsets = flat[part] if low == 0 else flat[part].astype(np.int64) - low
        np.take(table, offsets, out=target[part], mode="clip")
    return labels


def _range_of(stored: IntArray) -> tuple[int, int]:
    """Lowest and highest value that may occur."""
    if stored.dtype.kind == "u" and stored.dtype.itemsize <= 2:
        return 0, int(np.iinfo(stored.dtype).max)
    return (int(stored.min()), int(stored.max())) if stored.size else (0, 0)


def _no_class(stored: IntArray, known: BoolArray, values: IntArray, mask: str) -> MaskValueError:
    return MaskValueError(
        mask,
        expected=f"only the values {say_values(values.tolist())}",
        got=_say_counts(count_values(stored)),
        remedy=_remedy(count_values(stored[~known])),
    )


def binary_values(stored: IntArray, ignore_value: int | None) -> tuple[int, int]:
    """(0, 1) or (0, 255), whichever a binary mask uses; an empty one counts as 0/255."""
    ones = ignore_value != 1 and bool((stored == 1).any())
    return (0, 1) if ones or ignore_value == 255 else (0, 255)


def has_free_values(dataset: Dataset) -> bool:
    """Whether each mask may be 0/1 or 0/255 by itself, so that no class is tied to a value."""
    if not dataset.label_maps:
        return True
    # a label map without names, of one structure
    unnamed = dataset.scheme.structures == ("foreground",)
    return unnamed and all(v in (None, (0, 1), (0, 255)) for v in dataset.values.values())


def say_values(values: Sequence[int]) -> str:
    return shorten([str(value) for value in values], 8)


def _map_faults(
    case: str, pixels: ValueCounts, allowed: set[int | None] | None, named_in: str
) -> list[MaskValueError]:
    if allowed is None and len(pixels) > MOST_VALUES:
        return [
            MaskValueError(
                case,
                expected=f"a label map of at most {MOST_VALUES} values",
                got=f"{len(pixels)} values: {_say_counts(pixels)}",
                remedy="Instance maps and grey pictures are no label maps; "
                f"if all these are classes, name them in {named_in}.",
            )
        ]
    if allowed is None or pixels.keys() <= allowed:
        return []
    unknown = {value: n for value, n in pixels.items() if value not in allowed}
    known = sorted(value for value in allowed if value is not None)
    return [
        MaskValueError(
            case,
            expected=f"only the named values {say_values(known)}",
            got=_say_counts(unknown),
            remedy=_remedy(unknown) + f" Or name it in {named_in}.",
        )
    ]


def _not_binary(case: str, plane: str, pixels: ValueCounts) -> MaskValueError:
    return MaskValueError(
        case,
        expected=f"only 0 and 1, or only 0 and 255, in the binary mask of {plane}",
        got=_say_counts(pixels),
        remedy=_remedy({v: n for v, n in pixels.items() if v not in (0, *BINARY_VALUES)}),
    )


def _remedy(unknown: ValueCounts) -> str:
    if len(unknown) == 1:
        value = next(iter(unknown))
        return f"Correct the mask; if {value} marks ignored pixels, give ignore_value={value}."
    return "Export the mask again, without smoothing or lossy compression."


def _say_counts(pixels: ValueCounts) -> str:
    said = [f"{value} in {number_of(n, 'pixel')}" for value, n in sorted(pixels.items())]
    return "the value" + ("s " if len(said) > 1 else " ") + shorten(said, 8)


def _say_binary(values: Encoding, found: set[int]) -> str:
    if values is not None:
        return f"binary masks stored as {values[0]}/{values[1]}"
    if found:
        return "binary masks, each file stored as 0/1 or as 0/255"
    return "binary masks, all of them empty"


def _say_classes(classes: Mapping[str, int], unnamed: bool) -> list[str]:
    said = shorten([f"{value} = {name}" for name, value in classes.items()], 20)
    sentences = [f"Label maps with exclusive classes: 0 = background, {said}."]
    if len(classes) == 1:
        sentences = [f"The masks show one structure: 0 = background, {said}."]
    if unnamed and len(classes) > 1 and classes.get("class_255"):
        sentences.append(
            "255 is taken as a class; if it marks ignored pixels, give ignore_value=255."
        )
    return sentences
