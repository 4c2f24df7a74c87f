"""A table of cases, CSV or JSON: for every arrangement of files that no other layout knows."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from maskmend.core import Description
from maskmend.datasets.describing import split_cell
from maskmend.datasets.found import LABEL_MAP, SPLITS, Draft, Found, Places, ids_of_files, resolve
from maskmend.datasets.sheets import IMAGE_COLUMNS, read_names, read_sheet
from maskmend.datasets.tree import shorten
from maskmend.errors import SettingsError, UnreadableFileError
from maskmend.files import read_json

TREE = """\
  NAME.csv                       case,image,label,group,split,labelled; a row a case, paths relative
                                 to the table; or label:lung,label:heart,... with a mask for each
"""

PLANE = "label:"
KNOWN = {"case", "image", "label", "group", "split", "labelled"}
SPLIT_NAMES = {"train": "training", "tr": "training", "val": "validation", "valid": "validation",
               "ts": "test", "testing": "test"}  # fmt: skip


def find_table(file: Path) -> Found:
    """The data set of a table.

    CSV in UTF-8 with a header (commas, semicolons or tabs), or a JSON list of objects.  Columns,
    of which only `image` (or `image_0`) and `label` (or one `label:NAME`) must be there:

    - image: the file, or the folder of a DICOM series; several channels as `a.nii;b.nii`, or in
      the columns image_0, image_1, ...
    - label: a label map, or a file of several segments.  label:NAME: the binary mask of a
      structure, instead; an empty cell means that it is not labelled in this case.
    - case: its id, by default the name of the image.  group: the patient.  split: training (or
      train), validation (val), test, or a name of your own; by default training.
    - labelled: the structures that were looked for in this case, `liver;spleen`; empty for all.
      In a label map the background is then ignored, in other masks the other structures.

    Paths are relative to the table, or absolute.  In JSON a list stands for entries with
    semicolons.  Class names of label maps come from a labels.json beside the table.
    Raises SettingsError, UnreadableFileError.
    """
    records = _records(file)
    columns = list(dict.fromkeys(name for record in records for name in record))
    image_columns = _image_columns(file, columns)
    planes = tuple(sorted(name[len(PLANE) :] for name in columns if name.startswith(PLANE)))
    if bool(planes) == ("label" in columns):
        raise _bad(file, "either a column label or columns label:NAME", ", ".join(columns))
    places = Places(file.parent)
    images = [_images(record, image_columns) for record in records]
    ids = _ids(file, records, images)
    drafts = [
        _draft(case, record, entries, planes, places)
        for case, record, entries in zip(ids, records, images, strict=True)
    ]
    strange = [name for name in columns if not _is_known(name, image_columns)]
    said = [f"Columns that are not read: {shorten(strange)}."] if strange else []
    splits = tuple(dict.fromkeys((*SPLITS, *(draft.split for draft in drafts))))
    return Found(
        file.parent, "table", tuple(drafts), splits, planes or (LABEL_MAP,),
        label_maps=not planes, understood=tuple(said),
        descriptions=(Description(file, places.renamed),), places=places.places,
    )  # fmt: skip


def is_table(content: Any) -> bool:
    """Whether JSON is a list of objects of which one names an image."""
    return (
        isinstance(content, list)
        and all(isinstance(record, dict) for record in content)
        and any("image" in record or "image_0" in record for record in content)
    )


def has_columns(file: Path) -> bool:
    """Whether a CSV file has a column for images and one for labels."""
    try:
        header = read_names(file)
    except UnreadableFileError:
        # some other file; where it is meant, the user names it
        return False
    labels = any(name == "label" or name.startswith(PLANE) for name in header)
    return labels and any(name in header for name in IMAGE_COLUMNS)


def _records(file: Path) -> list[dict[str, str]]:
    """The rows, column -> text; empty cells are left out."""
    if file.suffix.lower() == ".json":
        content = read_json(file)
        if not is_table(content):
            raise _bad(file, "a list of objects with an image each", type(content).__name__)
        rows: Iterable[Mapping[str, Any]] = content
    else:
        sheet = read_sheet(file)
        rows = [dict(zip(sheet.names, row, strict=True)) for row in sheet.rows]
    cells = [{name.strip(): _cell(value) for name, value in row.items()} for row in rows]
    records = [{name: cell for name, cell in row.items() if cell} for row in cells]
    if not records:
        raise _bad(file, "a row for each case", "no row")
    return records


def _cell(value: Any) -> str:
    if isinstance(value, list):
        return ";".join(str(entry) for entry in value)
    return "" if value is None else str(value).strip()


def _image_columns(file: Path, columns: Sequence[str]) -> list[str]:
    numbered = [f"image_{number}" for number in range(len(columns))]
    found = ["image"] if "image" in columns else [name for name in numbered if name in columns]
    if not found or (found != ["image"] and found != numbered[: len(found)]):
        raise _bad(file, "a column image, or image_0, image_1, ...", ", ".join(columns))
    return found


def _is_known(name: str, image_columns: Sequence[str]) -> bool:
    return name in KNOWN or name in image_columns or name.startswith(PLANE)


def _images(record: Mapping[str, str], columns: Sequence[str]) -> list[str]:
    if columns == ["image"]:
        return split_cell(record.get("image", ""))
    return [record[name] for name in columns if name in record]


def _ids(
    file: Path, records: Sequence[Mapping[str, str]], images: Sequence[Sequence[str]]
) -> list[str]:
    """Of the column case, or else the names of the images.  Raises SettingsError for two alike."""
    firsts = [resolve(file.parent, entries[0] if entries else f"row{number}")
              for number, entries in enumerate(images, start=1)]  # fmt: skip
    named = ids_of_files(file.parent, firsts)
    ids = [record.get("case", name) for record, name in zip(records, named, strict=True)]
    twice = [case for case, count in Counter(ids).items() if count > 1]
    if twice:
        raise _bad(file, "a case id of its own in each row", f"{shorten(twice)} more than once")
    strange = [case for case in ids if case.startswith(".") or set(case) & set('/\\:*?"<>|\0')]
    if strange:
        raise _bad(file, "case ids that can be names of files", shorten(strange))
    return ids


def _draft(
    case: str, record: Mapping[str, str], images: Sequence[str], planes: Sequence[str],
    places: Places,
) -> Draft:  # fmt: skip
    channels = tuple(
        (places.take(image, case, f"image_{number}"),) for number, image in enumerate(images)
    )
    labelled = frozenset(split_cell(record["labelled"])) if "labelled" in record else None
    cells = {plane: record.get(PLANE + plane) for plane in planes} or {
        LABEL_MAP: record.get("label")
    }
    wanted = {plane: cell for plane, cell in cells.items()
              if cell and (not planes or labelled is None or plane in labelled)}  # fmt: skip
    masks = {plane: (places.take(cell, case, plane),) for plane, cell in wanted.items()}
    split = record.get("split", "training")
    return Draft(
        case, SPLIT_NAMES.get(split.lower(), split), channels, masks, record.get("group"), labelled,
        fault=_unmasked(case, labelled, planes, masks),
    )  # fmt: skip


def _unmasked(
    case: str, labelled: frozenset[str] | None, planes: Sequence[str], masks: Mapping[str, Any]
) -> SettingsError | None:
    lacking = sorted((labelled or frozenset()) - set(masks)) if planes else []
    if not lacking:
        return None
    return SettingsError(
        case, expected=f"a mask of {', '.join(lacking)}, said to be labelled", got="an empty cell",
        remedy="Fill the cell, or take the structure out of labelled.",
    )  # fmt: skip


def _bad(file: Path, expected: str, got: str) -> SettingsError:
    return SettingsError(str(file), expected=expected, got=got, remedy="Correct the table.")
