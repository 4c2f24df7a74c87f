"""Where the probabilities of each case lie: nnU-Net's folders, or one file a case."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from maskmend.core import Case, LeftOut
from maskmend.datasets.tree import shorten
from maskmend.errors import InSampleError, MissingFileError
from maskmend.files import read_json

ENDINGS = (".npz", ".npy", ".zarr", ".nii.gz", ".nii")
"""Of one file a case, in the order in which they are looked for: nnU-Net writes CASE.nii.gz, the
segmentation, beside CASE.npz."""

_FOLD = re.compile(r"fold_(\d+)")
_ALL_CASES = "fold_all"
_VALIDATION = ("validation", "validation_raw")


@dataclass(frozen=True)
class Prediction:
    """The file with the probabilities of one case.

    fold: the number of the fold that predicted it, where the folder says so.  properties: the
    pickle that nnU-Net writes beside it, or None.
    """

    case: str
    path: Path
    fold: int | None = None
    properties: Path | None = None


@dataclass(frozen=True)
class Folder:
    """Files with probabilities, and the fold that predicted them."""

    path: Path
    fold: int | None


@dataclass(frozen=True)
class Found:
    """predictions: case id -> its files, of which there should be one.  nnunet: by its layout.

    missing: the cases without any.  understood: sentences for the user.  reoriented: nnU-Net read
    the volumes turned to RAS+, and its arrays lie so.
    """

    root: Path
    nnunet: bool
    predictions: dict[str, tuple[Prediction, ...]]
    missing: tuple[LeftOut, ...]
    understood: tuple[str, ...]
    reoriented: bool = False


def find_predictions(root: Path, cases: Sequence[Case]) -> Found:
    """The predictions of some cases below a folder.

    root: of nnU-Net the trainer's folder with fold_0, fold_1, ..., one of those, or its validation
    (v1: validation_raw); else a folder with CASE.npz, .npy, .zarr, .nii.gz or .nii.

    Raises MissingFileError (no such folder; no prediction of any case, with what was looked for),
    InSampleError (fold_all, whose model has seen every case).
    """
    if not root.is_dir():
        raise MissingFileError(
            str(root), expected="a folder with the probabilities of each case",
            got="a file" if root.exists() else "nothing there", remedy="Check --probabilities.",
        )  # fmt: skip
    folders, understood = _folders(root)
    nnunet = folders != [Folder(root, None)]
    endings = (".npz",) if nnunet else ENDINGS
    found = {case.id: tuple(_files(case.id, folders, endings)) for case in cases}
    missing = tuple(
        LeftOut(case, str(_missing(case, folders, endings)))
        for case, files in found.items()
        if not files
    )
    found = {case: files for case, files in found.items() if files}
    if not found:
        raise _nothing_found(root, folders, endings, cases)
    reader = _reader(root) if nnunet else ""
    if reader.endswith("WithReorient"):
        understood.append(f"The arrays lie as {reader} turned the volumes, and are turned back.")
    said = (*understood, *_say(found, folders, nnunet))
    return Found(root, nnunet, found, missing, said, reader.endswith("WithReorient"))


def _reader(root: Path) -> str:
    """What nnU-Net v2 read the images with, by the plans in the trainer's folder, else ""."""
    plans = (folder / "plans.json" for folder in (root, root.parent, root.parent.parent))
    path = next((path for path in plans if path.is_file()), None)
    said = read_json(path) if path is not None else {}
    return str(said.get("image_reader_writer", "")) if isinstance(said, dict) else ""


def _folders(root: Path) -> tuple[list[Folder], list[str]]:
    """The folders that hold files, and what is to be said of others."""
    below = [path for path in sorted(root.iterdir()) if path.is_dir()]
    folds = [path for path in below if _FOLD.fullmatch(path.name)]
    whole = root / _ALL_CASES
    if not folds and (_ALL_CASES in (root.name, root.parent.name) or whole in below):
        raise InSampleError(
            str(root), expected="predictions by models that have not seen the case",
            got=f"{_ALL_CASES}, whose model was trained on every case",
            remedy="Train the folds 0 to 4 with --npz, and give the folder that holds them.",
        )  # fmt: skip
    said = []
    if whole in below:
        said.append(f"{_ALL_CASES} is not used: its model was trained on every case.")
    if folds:
        return [folder for fold in folds for folder in _of_fold(fold)], said
    if _FOLD.fullmatch(root.name) or any((root / name) in below for name in _VALIDATION):
        return _of_fold(root), said
    match = _FOLD.fullmatch(root.parent.name) if root.name in _VALIDATION else None
    return [Folder(root, int(match[1]) if match else None)], said


def _of_fold(fold: Path) -> list[Folder]:
    """The validation folder of a fold: v2 and v1 name it differently; v1 keeps npz in _raw."""
    match = _FOLD.fullmatch(fold.name)
    number = int(match[1]) if match else None
    named = [fold / name for name in _VALIDATION]
    holding = [path for path in named if path.is_dir() and any(path.glob("*.npz"))]
    there = holding[:1] or [path for path in named if path.is_dir()][:1]
    return [Folder(path, number) for path in there]


def _files(case: str, folders: Sequence[Folder], endings: Sequence[str]) -> Iterator[Prediction]:
    for folder in folders:
        paths = [folder.path / f"{case}{ending}" for ending in endings]
        path = next((path for path in paths if path.exists()), None)
        if path is not None:
            properties = folder.path / f"{case}.pkl"
            there = properties if properties.is_file() else None
            yield Prediction(case, path, folder.fold, there)


def _missing(case: str, folders: Sequence[Folder], endings: Sequence[str]) -> MissingFileError:
    where = ", ".join(str(folder.path) for folder in folders)
    return MissingFileError(
        case, expected=f"its probabilities, {case}{' or '.join(endings)}", got=f"none in {where}",
        remedy="Predict the case too, or go on without it.",
    )  # fmt: skip


def _nothing_found(
    root: Path, folders: Sequence[Folder], endings: Sequence[str], cases: Sequence[Case]
) -> MissingFileError:
    there = sorted(path.name for path in root.iterdir())
    wanted = shorten([f"{case.id}{endings[0]}" for case in cases], 3)
    looked = ", ".join(str(folder.path) for folder in folders) or "no folder validation in fold_*"
    return MissingFileError(
        str(root),
        expected=f"probabilities of the cases ({wanted}; endings {', '.join(endings)})",
        got=f"none of them; looked in: {looked}; the folder holds {shorten(there) or 'nothing'}",
        remedy="Give nnU-Net's trainer folder with fold_0, fold_1, ... (its validation needs "
        "--npz), or a folder with one file a case, named as the case.",
    )


def _say(
    found: dict[str, tuple[Prediction, ...]], folders: Sequence[Folder], nnunet: bool
) -> list[str]:
    numbers = [str(folder.fold) for folder in folders if folder.fold is not None]
    which = f"nnU-Net's validation of fold {', '.join(numbers)}" if numbers else "one file a case"
    if nnunet and not numbers:
        which = "nnU-Net's validation"
    count = len(found)
    return [f"Probabilities of {count} {'case' if count == 1 else 'cases'}: {which}."]
