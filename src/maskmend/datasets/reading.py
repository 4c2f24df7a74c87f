"""From a folder, or the file that describes a data set, to a Dataset: every case checked."""

from __future__ import annotations

import re
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from maskmend.core import QUIET, Case, Dataset, LeftOut, Listener
from maskmend.datasets.checks import (
    Faults,
    Inspection,
    check_axes,
    check_channels,
    check_kinds,
    inspect,
)
from maskmend.datasets.found import LABEL_MAP, LABEL_MAPS, Draft, Found
from maskmend.datasets.inspected import NOTHING, Records, recall, record_of
from maskmend.datasets.layouts import class_names, find_layout, known_layouts, stated_ignore
from maskmend.datasets.summary import (
    describe_cases,
    describe_folds,
    describe_masks,
    describe_settings,
)
from maskmend.datasets.tree import number_of, shorten
from maskmend.datasets.values import (
    Recognition,
    recognise_label_maps,
    recognise_regions,
    recognise_segments,
    recognise_structures,
)
from maskmend.errors import LayoutError, MaskValueError, SettingsError


@dataclass(frozen=True)
class Examined:
    """A data set, and what was found in the files of each usable case, in the same order."""

    dataset: Dataset
    inspections: tuple[Inspection, ...]


def open_dataset(
    root: str | Path,
    *,
    ignore_value: int | None = None,
    group_pattern: str | None = None,
    classes: Mapping[str, int] | None = None,
    splits: str | Path | None = None,
    inspected: Records = NOTHING,
) -> Dataset:
    """The cases of a data set, checked one by one; what was recognised is in `understood`.

    root: a folder, or a file that describes a data set (dataset.json, a datalist, a table).
    ignore_value: stored mask value of pixels that take no part.  group_pattern: regular
    expression whose first group, searched in the case id, is the patient; by default what the
    data set states, or each case its own.  classes: class -> stored value in label maps, before
    any labels.json.  splits: a splits_final.json of nnU-Net; by default the one beside
    dataset.json, or of the same data set in the folder that the variable nnUNet_preprocessed names.
    inspected: what an earlier opening found (`Dataset.inspected`): of a case whose files have not
    changed since, they are not read again.

    A case with a fault is in `left_out`, the others go on.  Raises MissingFileError, LayoutError
    (no usable case), SettingsError, UnreadableFileError, MaskValueError (too many classes).
    """
    found = find_layout(Path(root), None if splits is None else Path(splits))
    return examine(
        found, ignore_value=ignore_value, group_pattern=group_pattern, classes=classes,
        inspected=inspected,
    ).dataset  # fmt: skip


def examine(
    found: Found,
    *,
    ignore_value: int | None = None,
    group_pattern: str | None = None,
    classes: Mapping[str, int] | None = None,
    inspected: Records = NOTHING,
    listener: Listener = QUIET,
) -> Examined:
    """Read and check every file of what a layout found.  Settings and errors as `open_dataset`."""
    ignore_value = stated_ignore(found, ignore_value)
    names = class_names(found, classes, ignore_value)
    whole, faults, records = _inspect_all(found, _groups(found.drafts, group_pattern), inspected,
                                          listener)  # fmt: skip
    check_channels(whole, faults, found.channels)
    check_axes(whole, faults)
    layered = check_kinds(found, whole, faults)
    whole = [each for each in whole if each.layered == layered]
    recognition = _recognise(found, whole, layered, names, ignore_value)
    _check_labelled(whole, recognition, faults)
    left_out = _left_out(faults, recognition)
    usable = _without(whole, left_out)
    if not usable:
        raise _nothing_usable(found, left_out)
    planes = _partial_planes(found, recognition)
    cases = tuple(_final_case(found, each, recognition) for each in usable)
    dataset = Dataset(
        root=found.root,
        layout="folders" if layered and found.layout == LABEL_MAPS else found.layout,
        scheme=recognition.scheme,
        cases=cases,
        values=recognition.values,
        ignore_value=ignore_value,
        left_out=left_out,
        understood=(
            *describe_cases(found, usable),
            *recognition.understood,
            *describe_masks(found, planes, usable),
            *describe_settings(usable, ignore_value, group_pattern),
            *describe_folds(found),
            *found.skipped,
        ),
        regions=found.regions,
        stated_folds=found.stated_folds,
        label_maps=found.label_maps,
        descriptions=found.descriptions,
        places=found.places,
        inspected=records,
    )
    return Examined(dataset, tuple(usable))


def _groups(drafts: Sequence[Draft], pattern: str | None) -> dict[str, str]:
    """Case id -> what must not be split between folds."""
    if pattern is None:
        return {draft.id: draft.group or draft.id for draft in drafts}
    try:
        compiled = re.compile(pattern)
    except re.error as error:
        raise _bad_pattern(f"{pattern!r}: {error}") from error
    if compiled.groups < 1:
        raise _bad_pattern(f"{pattern!r}, without a group in parentheses")
    found = {draft.id: compiled.search(draft.id) for draft in drafts}
    strangers = [case for case, match in found.items() if not (match and match[1])]
    if strangers:
        raise _bad_pattern(f"{pattern!r}, which finds no patient in {shorten(strangers)}")
    return {case: match[1] for case, match in found.items() if match}


def _bad_pattern(got: str) -> SettingsError:
    return SettingsError(
        "group_pattern",
        expected="a regular expression whose first group is the patient in every case id",
        got=got,
        remedy=r"Write one like '^(P\d+)_', or leave it out: then each case is its own patient.",
    )


def _inspect_all(
    found: Found, groups: Mapping[str, str], inspected: Records, listener: Listener
) -> tuple[list[Inspection], Faults, Records]:
    """The cases whose files are readable, what is wrong with each, and what to keep of them."""
    faults: Faults = {draft.id: [] for draft in found.drafts}
    whole, records = [], {}
    for done, draft in enumerate(found.drafts, start=1):
        record, began = inspected.get(draft.id), time.time_ns()
        inspection = recall(record, found, draft, groups[draft.id])
        if inspection is None:
            inspection = inspect(found, draft, groups[draft.id], faults[draft.id])
            record = None if inspection is None else record_of(found, inspection, began)
        if inspection is not None:
            whole.append(inspection)
        if record is not None:
            records[draft.id] = record
        listener.case("read", done, len(found.drafts))
    return whole, faults, records


def _recognise(
    found: Found,
    whole: Sequence[Inspection],
    layered: bool,
    names: Mapping[str, int] | None,
    ignore_value: int | None,
) -> Recognition:
    if layered:
        return recognise_segments({each.case.id: tuple(each.counts) for each in whole})
    if not found.label_maps:
        structures = {inspection.case.id: inspection.counts for inspection in whole}
        return recognise_structures(structures, found.planes, ignore_value)
    maps = {inspection.case.id: inspection.counts[LABEL_MAP] for inspection in whole}
    if found.regions is not None:
        return recognise_regions(maps, found.regions, ignore_value, found.named_in)
    return recognise_label_maps(maps, names, ignore_value, found.root, found.named_in)


def _check_labelled(whole: Sequence[Inspection], recognition: Recognition, faults: Faults) -> None:
    """What a table says is labelled must be a structure, and the rest must not be in a map."""
    scheme = recognition.scheme
    for inspection in whole:
        case, labelled = inspection.case.id, inspection.draft.labelled
        if labelled is None:
            continue
        strange = sorted(labelled - set(scheme.structures))
        if strange:
            faults[case].append(
                SettingsError(
                    case,
                    expected=f"structures of {', '.join(scheme.structures)} under labelled",
                    got=", ".join(strange),
                    remedy="Correct the names in the table.",
                )
            )
        if scheme.overlapping or recognition.faults.get(case):
            continue
        values = recognition.values[LABEL_MAP] or ()
        for value, name in zip(values[1:], scheme.structures, strict=True):
            pixels = inspection.counts[LABEL_MAP].get(value, 0)
            if name not in labelled and pixels:
                faults[case].append(
                    MaskValueError(
                        case,
                        expected=f"no pixels of {name}, which is not labelled in this case",
                        got=f"{pixels} of them",
                        remedy=f"Add {name} to what is labelled, or clear it from the mask.",
                    )
                )


def _partial_planes(found: Found, recognition: Recognition) -> tuple[str, ...]:
    return recognition.scheme.structures if found.label_maps else found.planes


def _left_out(faults: Faults, recognition: Recognition) -> tuple[LeftOut, ...]:
    """The cases with faults, each with all its messages, one a line."""
    found = {case: [*own, *recognition.faults.get(case, ())] for case, own in faults.items()}
    reasons = {case: "\n".join(str(error) for error in errors) for case, errors in found.items()}
    return tuple(LeftOut(case, reason) for case, reason in reasons.items() if reason)


def _without(whole: Sequence[Inspection], left_out: Sequence[LeftOut]) -> list[Inspection]:
    out = {entry.case for entry in left_out}
    return [inspection for inspection in whole if inspection.case.id not in out]


def _final_case(found: Found, inspection: Inspection, recognition: Recognition) -> Case:
    """The case with its masks under the planes of the scheme, those labelled in it."""
    case, labelled, scheme = inspection.case, inspection.draft.labelled, recognition.scheme
    masks = dict(case.masks)
    if found.label_maps:
        # one file for all: the label map, or the segments, of which some may be absent
        masks = dict.fromkeys(scheme.planes, case.masks[LABEL_MAP])
    if labelled is None:
        return replace(case, masks=masks)
    if scheme.overlapping:
        return replace(case, masks={name: masks[name] for name in masks if name in labelled})
    return replace(case, masks=masks, unlabelled=frozenset(scheme.structures) - labelled)


def _nothing_usable(found: Found, left_out: Sequence[LeftOut]) -> LayoutError:
    reasons = "\n".join(entry.reason for entry in left_out[:3])
    return LayoutError(
        str(found.root),
        expected="at least one case with an image and a mask",
        got=f"{number_of(len(left_out), 'case')}, none of them usable:\n{reasons}\n",
        remedy="Correct the files, or check that the layout is the one that was meant:\n"
        + known_layouts(),
    )
