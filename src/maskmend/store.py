"""The run folder: the only module that writes into it.

Lightning writes its checkpoints and logs into the folders that `Run.training_folder` hands out,
SQLite the decisions of reviewers (`review.decisions`).
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from contextlib import AbstractContextManager, suppress
from dataclasses import dataclass, replace
from functools import cached_property
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from maskmend import files, noise_maps
from maskmend.arrays.agreement import predicted_labels
from maskmend.arrays.correction import mend_soft, suggested_where
from maskmend.core import (
    IGNORED,
    BoolArray,
    Case,
    Dataset,
    FloatArray,
    FoldPlan,
    LabelArray,
    LeftOut,
    digest_of,
)
from maskmend.datasets import (
    dataset_digest,
    open_dataset,
    place_of,
    read_grid,
    read_labels,
    write_fitting,
    write_soft_labels,
)
from maskmend.datasets.inspected import FORMAT as INSPECTION_FORMAT
from maskmend.datasets.inspected import NOTHING, Digests, Records
from maskmend.errors import (
    InSampleError,
    MaskmendError,
    MissingFileError,
    RunMismatchError,
    SettingsError,
    UnreadableFileError,
)
from maskmend.formats.png import encode_png
from maskmend.proposals import propose_settings
from maskmend.settings import Settings, settings_from, settings_yaml

DEMO = "demo"
"""Folder in a run folder in which `maskmend demo` keeps its phantoms and comparisons."""

FORMAT = 2
"""Of the run folder; a folder of another format is refused."""

INSPECTED, DIGESTS = "working/inspected.json", "working/digests.json"
"""What was found in the files of the data set, and their SHA-256; with the times of the files."""

MASKS_HEADER = (
    "case", "structure", "agreement", "doubted", "flagged_share", "moved", "trust_in_prediction",
)  # fmt: skip


@dataclass(frozen=True)
class Source:
    """Where the data set lies and how it was opened, so that a later command opens it alike."""

    root: str
    splits: tuple[str, ...]
    ignore_value: int | None = None
    group_pattern: str | None = None

    def open(self, inspected: Records = NOTHING) -> Dataset:
        """inspected: what is known already, as in `open_dataset`."""
        return open_dataset(
            self.root, ignore_value=self.ignore_value, group_pattern=self.group_pattern,
            inspected=inspected,
        )  # fmt: skip


class Run:
    """One run folder, its data set and its settings.  Made by `create` or `open`."""

    def __init__(
        self, root: Path, source: Source, dataset: Dataset, settings: Settings,
        predictions: str | None = None,
    ) -> None:  # fmt: skip
        # absolute: workers may run elsewhere
        self.root = root.absolute()
        self.source = source
        self.dataset = dataset
        self.settings = settings
        self.predictions = predictions
        self.proposed: tuple[str, ...] = ()
        """What was filled into the settings from the data, a sentence each."""

    @property
    def cases(self) -> tuple[Case, ...]:
        """The cases that are judged: those of the source's splits that have a prediction."""
        without = {left_out.case for left_out in self.without_prediction}
        return tuple(
            case
            for case in self.dataset.cases
            if case.split in self.source.splits and case.id not in without
        )

    @property
    def left_out(self) -> tuple[LeftOut, ...]:
        """The cases with a fault, and those without a prediction where those exist already."""
        return (*self.dataset.left_out, *self.without_prediction)

    @cached_property
    def without_prediction(self) -> tuple[LeftOut, ...]:
        return tuple(LeftOut(**each) for each in self.adopted.get("left_out", ()))

    @cached_property
    def adopted(self) -> Mapping[str, Any]:
        """predictions.json: what was understood of predictions that exist; {} without any."""
        path = self.root / "predictions.json"
        found: dict[str, Any] = {}
        if self.predictions is not None and path.exists():
            found = files.read_json(path)
        return found

    # -- the folder itself

    @classmethod
    def create(
        cls, root: Path, source: Source, settings: Settings, dataset: Dataset | None = None,
        predictions: str | None = None,
    ) -> Run:  # fmt: skip
        """A new run folder, or the one that is there if it fits.

        dataset: what the source opens to, where that has been done already.  predictions: where
        probabilities that exist come from; None for a run with a cross-fit.

        Raises RunMismatchError if it holds a run on other data, with another cross-fit or of
        another version; SettingsError if `root` lies in the data set or a split has no case.
        """
        data_root = Path(source.root).resolve()
        data_root = data_root.parent if data_root.is_file() else data_root
        if root.resolve() == data_root or data_root in root.resolve().parents:
            raise SettingsError(
                str(root), expected="a run folder outside of the data set",
                got=f"one inside of {data_root}", remedy="Choose another folder with --run.",
            )  # fmt: skip
        dataset = dataset or source.open(inspected_in(root))
        run = cls(root, source, dataset, settings, predictions)
        run.check_splits()
        if predictions is None:
            proposal = propose_settings(run.cases, settings)
            run.settings, run.proposed = proposal.settings, proposal.sentences
        if (root / "run.json").exists():
            run._check_fits(files.read_json(root / "run.json"))
            files.remove_leftovers(root)
        elif root.exists() and (
            not root.is_dir() or any(path.name != DEMO for path in root.iterdir())
        ):
            raise RunMismatchError(
                str(root), expected="a run folder, or an empty or new one",
                got="a folder with other files" if root.is_dir() else "a file",
                remedy="Choose another folder with --run.",
            )  # fmt: skip
        run._write_description()
        run._keep_inspection()
        return run

    def check_splits(self) -> None:
        """Raises SettingsError where a split of the source has no case."""
        there = sorted({case.split for case in self.dataset.cases})
        absent = [split for split in self.source.splits if split not in there]
        if absent or not self.source.splits:
            raise SettingsError(
                self.source.root, expected=f"cases in the split {', '.join(self.source.splits)}",
                got="none" + (f" in {', '.join(absent)}" if len(self.source.splits) > 1 else ""),
                remedy=f"Choose of the splits {', '.join(there)} with --split.",
            )  # fmt: skip

    @classmethod
    def open(cls, root: Path) -> Run:
        """The run in a folder.  Raises MissingFileError, RunMismatchError."""
        if not (root / "run.json").exists():
            raise MissingFileError(
                str(root), expected="a run folder with run.json", got="none",
                remedy="`maskmend audit DATASET --run RUN` makes one.",
            )  # fmt: skip
        described = files.read_json(root / "run.json")
        _check_format(root, described)
        source = Source(**{**described["source"], "splits": tuple(described["source"]["splits"])})
        settings = settings_from(described["settings"], str(root / "run.json"))
        dataset = source.open(inspected_in(root))
        run = cls(root, source, dataset, settings, described.get("predictions"))
        run._check_fits(described)
        # a run that may only be read opens all the same, and takes as long the next time
        with suppress(OSError):
            run._keep_inspection()
        return run

    def with_settings(self, settings: Settings) -> Run:
        """The same run with other settings for what comes after the cross-fit, stored.

        What they leave open is filled in from the data, as when the run was made; where nothing
        is to be trained, only once a student is.
        """
        filled = settings
        if self.predictions is None:
            filled = propose_settings(self.cases, settings).settings
        run = Run(self.root, self.source, self.dataset, filled, self.predictions)
        run._check_fits(files.read_json(self.root / "run.json"))
        run._write_description()
        return run

    def _check_fits(self, described: dict[str, Any]) -> None:
        _check_format(self.root, described)
        if described["data_digest"] != self._data_digest:
            raise RunMismatchError(
                str(self.root), expected="a run on this data set",
                got="one on other images or masks, or they have changed since",
                remedy="Choose a new folder with --run.",
            )  # fmt: skip
        mine = _fixed(self._source_json(), self.settings.model_dump(), self.predictions)
        # settings that did not exist when the run was made have their defaults
        settings = settings_from(described["settings"], str(self.root / "run.json")).model_dump()
        stored = _fixed(described["source"], settings, described.get("predictions"))
        differing = [name for name in mine if mine[name] != stored.get(name)]
        if differing:
            raise RunMismatchError(
                str(self.root),
                expected=f"the {', '.join(mine)} of this run",
                got="other " + ", ".join(differing),
                remedy="Choose a new folder with --run, or the settings in its settings.yaml.",
            )  # fmt: skip

    @cached_property
    def _data_digest(self) -> str:
        return dataset_digest(self.dataset, self._digests.of)

    @cached_property
    def _digests(self) -> Digests:
        return Digests(self.dataset.root, _read_kept(self.root / DIGESTS))

    def _keep_inspection(self) -> None:
        """What opening the data set found, so that the next time only changed files are read."""
        for name, kept in ((INSPECTED, self.dataset.inspected), (DIGESTS, self._digests.kept)):
            if kept != _read_kept(self.root / name):
                files.write_json(self.root / name, {**_maker(), "kept": kept})

    def _source_json(self) -> dict[str, Any]:
        return vars(self.source) | {"splits": list(self.source.splits)}

    def _write_description(self) -> None:
        description = {
            "format": FORMAT,
            "version": version("maskmend"),
            "source": self._source_json(),
            "data_digest": self._data_digest,
            "understood": list(self.dataset.understood),
            "left_out": [vars(left_out) for left_out in self.dataset.left_out],
            "settings": self.settings.model_dump(),
            "predictions": self.predictions,
        }
        files.write_json(self.root / "run.json", description)
        files.write_bytes_atomic(self.root / "settings.yaml", settings_yaml(self.settings).encode())

    # -- folds and trainings

    def refuse_crossfit(self) -> None:
        """Raises RunMismatchError in a run on predictions that exist."""
        if self.predictions is not None:
            raise RunMismatchError(
                str(self.root), expected="a run without probabilities, or with a cross-fit",
                got=f"one on the probabilities in {self.predictions}",
                remedy="Choose a new folder with --run.",
            )  # fmt: skip

    def write_folds(self, plan: FoldPlan) -> None:
        """folds.json."""
        path = self.root / "folds.json"
        files.write_json(path, {"count": plan.count, "seed": plan.seed, "folds": dict(plan.folds)})

    def read_folds(self) -> FoldPlan:
        """Raises MissingFileError before the cross-fit."""
        stored = files.read_json(self.root / "folds.json")
        return FoldPlan(stored["count"], stored["seed"], stored["folds"])

    def training_folder(self, *names: str) -> Path:
        """Where a training keeps its weights and logs: teachers/fold0, students/believed, ..."""
        return self.root.joinpath(*names)

    # -- probabilities

    def write_probabilities(self, case: Case, probs: FloatArray, fold: int, plan: FoldPlan) -> None:
        """probabilities/CASE.npy (num_channels, *S) float16, and CASE.json with its origin."""
        self._forget_predicted(case)
        files.write_array(self._probabilities(case, ".npy"), probs.astype(np.float16))
        # last, since it says that the array is whole
        files.write_json(self._probabilities(case, ".json"), _origin(fold, plan))

    def has_probabilities(self, case: Case, fold: int, plan: FoldPlan) -> bool:
        """Whether they are there, of a teacher trained on the cases of this plan."""
        return self.origin_of(case) == _origin(fold, plan)

    def new_probabilities(
        self, case: Case, shape: tuple[int, ...], dtype: np.dtype[Any]
    ) -> AbstractContextManager[NDArray[Any]]:
        """probabilities/CASE.npy, to be filled; it counts once `adopt` has told its origin."""
        self._forget_predicted(case)
        self._probabilities(case, ".json").unlink(missing_ok=True)
        return files.atomic_array(self._probabilities(case, ".npy"), shape, dtype)

    def scratch(
        self, shape: tuple[int, ...], dtype: np.dtype[Any]
    ) -> AbstractContextManager[NDArray[Any]]:
        """An array for a while, on the disk."""
        return files.scratch_array(self.root / "probabilities", shape, dtype)

    def adopt(self, case: Case, origin: Mapping[str, Any]) -> None:
        """Say where the probabilities of a case come from: of a file, and why it may judge."""
        if self.origin_of(case) != origin:
            self._forget_predicted(case)
            files.write_json(self._probabilities(case, ".json"), dict(origin))

    def write_adopted(self, adopted: Mapping[str, Any]) -> None:
        """predictions.json, once every case has been adopted or left out."""
        files.write_json(self.root / "predictions.json", dict(adopted))
        for name in ("adopted", "without_prediction"):
            self.__dict__.pop(name, None)

    def leave_out(self, faults: Mapping[str, MaskmendError]) -> None:
        """Go on without cases whose predictions are of no use.  faults: case id -> why.

        Raises the first fault where no case is left.
        """
        if all(case.id in faults for case in self.cases):
            raise next(iter(faults.values()))
        more = [{"case": case, "reason": str(fault)} for case, fault in faults.items()]
        known = self.adopted.get("left_out", [])
        self.write_adopted({**self.adopted, "left_out": [*known, *more]})

    def origin_of(self, case: Case) -> dict[str, Any] | None:
        """Where its probabilities come from; None if there are none."""
        path = self._probabilities(case, ".json")
        return files.read_json(path) if path.exists() else None

    def read_probabilities(self, case: Case) -> NDArray[Any]:
        """(num_channels, *S), mapped from the disk; of a model that was not trained on the case.

        float16; of predictions that exist also float32, or uint8 and uint16 with the largest
        value for 1.  Raises MissingFileError before the cross-fit; InSampleError if the case, or
        another one of its patient, was trained on, and if the record of what the teacher was
        trained on does not fit its digest; RunMismatchError if the user's file has changed.
        """
        origin = files.read_json(self._probabilities(case, ".json"))
        mine = self._probabilities(case, ".npy")
        if self.predictions is None:
            self._check_out_of_sample(case, origin)
            return files.read_array(mine, mmap=True)
        if not origin.get("in_place"):
            return files.read_array(mine, mmap=True)
        path = Path(origin["file"])
        if stamp_of(path) != origin["stamp"]:
            raise RunMismatchError(
                case.id, expected=f"{path} as it was when the run was made",
                got="a file that has changed since, or is gone",
                remedy="Restore it, or choose a new folder with --run.",
            )  # fmt: skip
        return files.read_array(path, mmap=True)

    def read_predicted(self, case: Case) -> LabelArray:
        """The most probable labels by those probabilities, (planes, *S)."""
        path = self._predicted(case)
        if path.exists():
            kept: LabelArray = files.read_array(path, mmap=True)
            return kept
        return predicted_labels(self.read_probabilities(case), self.dataset.scheme)

    def keep_predicted(self, case: Case, predicted: LabelArray) -> None:
        """Spare `read_predicted` another reading of the probabilities.  predicted: as it gives."""
        files.write_array(self._predicted(case), predicted)

    def _forget_predicted(self, case: Case) -> None:
        self._predicted(case).unlink(missing_ok=True)

    def _predicted(self, case: Case) -> Path:
        return self.root / "working" / "predicted" / f"{case.id}.npy"

    def _probabilities(self, case: Case, ending: str) -> Path:
        return self.root / "probabilities" / f"{case.id}{ending}"

    def _check_out_of_sample(self, case: Case, origin: dict[str, Any]) -> None:
        plan = self.read_folds()
        trained_on = plan.trained_on(origin["fold"])
        groups = {other.id: other.group for other in self.cases}
        held_in = [other for other in trained_on if groups.get(other) == case.group]
        if digest_of(trained_on) != origin["trained_on"]:
            got = "a teacher whose training cases are not those of folds.json"
        elif held_in:
            got = f"one that was trained on {', '.join(held_in)}"
        else:
            return
        raise InSampleError(
            case.id, expected="a prediction by a teacher that has not seen this patient",
            got=got, remedy="Delete probabilities/ and teachers/ and run `maskmend crossfit`.",
        )  # fmt: skip

    # -- what is found and mended

    def write_json(self, name: str, value: Any) -> None:
        files.write_json(self.root / name, value)

    def read_json(self, name: str) -> Any:
        return files.read_json(self.root / name)

    def write_table(self, name: str, header: Sequence[str], rows: Iterable[Sequence[Any]]) -> None:
        files.write_csv(self.root / name, header, rows)

    def write_noise_map(self, case: Case, flagged: BoolArray) -> None:
        """noise_maps/PLANE/CASE.png, 255 where the given label is held to be wrong.

        Of a volume CASE.nii.gz with 1 there.  flagged: (planes, *S).
        """
        grid = read_grid(case)
        for plane, name in enumerate(self.dataset.scheme.planes):
            stem = self.root / "noise_maps" / name / case.id
            noise_maps.write_noise_map(stem, flagged[plane], grid)
        if flagged.ndim > 3:
            # four stages read it, and unpacking takes longer than all that they do with it
            files.write_array(self._flagged(case), np.asarray(flagged, bool))

    def write_masks_table(self, rows: list[list[Any]]) -> None:
        """masks.csv, worst agreement first, NaN (no mask) last.  rows: as MASKS_HEADER says."""
        ordered = sorted(rows, key=lambda row: (np.nan_to_num(row[2], nan=np.inf), row[0], row[1]))
        files.write_csv(self.root / "masks.csv", MASKS_HEADER, ordered)

    def read_noise_map(self, case: Case) -> BoolArray:
        """(planes, *S) bool; of a volume read-only, kept unpacked in the run."""
        if self._flagged(case).exists():
            kept: BoolArray = files.read_array(self._flagged(case), mmap=True)
            return kept
        folder = self.root / "noise_maps"
        planes = self.dataset.scheme.planes
        maps = [noise_maps.read_noise_map(folder / name / case.id) for name in planes]
        # no copy of a single one, which may be large
        return maps[0][None] if len(maps) == 1 else np.stack(maps)

    def _flagged(self, case: Case) -> Path:
        return self.root / "working" / "flagged" / f"{case.id}.npy"

    def read_masks_table(self) -> list[dict[str, str]]:
        return files.read_csv(self.root / "masks.csv")

    def write_finding_masks(self, case: Case, masks: Mapping[int, BoolArray]) -> None:
        """findings/CASE.npz: number of a finding -> its pixels within its box, as bits."""
        arrays: dict[str, NDArray[Any]] = {}
        for number, mask in masks.items():
            arrays[str(number)] = np.packbits(mask)
            arrays[f"{number}.shape"] = np.array(mask.shape, np.int64)
        files.write_arrays(self._finding_masks(case), arrays)

    def read_finding_masks(
        self, case: Case, numbers: Iterable[int] | None = None
    ) -> dict[int, BoolArray]:
        """The pixels of findings of a case, each within its box; of all, or of some numbers."""
        stored = files.read_arrays(self._finding_masks(case), None if numbers is None else [
            name for number in numbers for name in (str(number), f"{number}.shape")
        ])  # fmt: skip
        shapes = {name: tuple(stored[f"{name}.shape"].tolist())
                  for name in stored if not name.endswith(".shape")}  # fmt: skip
        return {
            int(name): np.unpackbits(stored[name], count=math.prod(shape)).reshape(shape) > 0
            for name, shape in shapes.items()
        }

    def _finding_masks(self, case: Case) -> Path:
        return self.root / "findings" / f"{case.id}.npz"

    def doubted(self) -> dict[str, set[str]]:
        """Case id -> the structures whose mask is doubted, from masks.csv."""
        found: dict[str, set[str]] = {case.id: set() for case in self.cases}
        for row in self.read_masks_table():
            if row["doubted"] == "True":
                found[row["case"]].add(row["structure"])
        return found

    def redrawn(self) -> dict[str, set[str]]:
        """Case id -> the structures whose mask is doubted and was not moved, from masks.csv."""
        doubted = self.doubted()
        for row in self.read_masks_table():
            if row["moved"] == "True":
                doubted[row["case"]].discard(row["structure"])
        return doubted

    def mostly_predicted(self) -> dict[str, set[str]]:
        """Case id -> the structures whose doubted mask counts less than the prediction."""
        found: dict[str, set[str]] = {case.id: set() for case in self.cases}
        for row in self.read_masks_table():
            trust = row["trust_in_prediction"]
            if trust and float(trust) > 0.5:
                found[row["case"]].add(row["structure"])
        return found

    def clear_pictures(self) -> None:
        """Remove the pictures of an earlier flagging, whose names may differ."""
        for path in (self.root / "pictures").glob("*.png"):
            path.unlink()

    def write_picture(self, name: str, picture: NDArray[np.uint8]) -> None:
        files.write_bytes_atomic(self.root / "pictures" / f"{name}.png", encode_png(picture))

    @property
    def labels_root(self) -> Path:
        """The mended data set: the layout of the input, and soft/CASE.npy beside it."""
        return self.root / "labels"

    def write_mended(self, case: Case, labels: NDArray[np.uint8]) -> tuple[LeftOut, ...]:
        """Returns the masks that their file cannot hold, which are copied as given."""
        return write_fitting(self.dataset, case, labels, self.labels_root)

    def write_soft(self, case: Case, soft: FloatArray) -> None:
        write_soft_labels(self.dataset, case, soft, self.labels_root)

    def forget_soft(self, case: Case) -> None:
        """Remove soft labels of an earlier correction, so that they are computed when asked for."""
        self._soft(case).unlink(missing_ok=True)

    def read_given(self, case: Case) -> NDArray[np.uint8]:
        """(planes, *S) uint8; of a volume read-only, kept unpacked in the run."""
        path = self.root / "working" / "given" / f"{case.id}.npy"
        if path.exists():
            kept: NDArray[np.uint8] = files.read_array(path, mmap=True)
            return kept
        given = read_labels(self.dataset, case)
        if given.ndim > 3:
            # unpacking takes longer than all that is done with them; the run is bound to its data
            files.write_array(path, given)
        return given

    def read_mended(self, case: Case) -> NDArray[np.uint8]:
        """(planes, *S) uint8."""
        return read_labels(self.dataset, self._below(self.labels_root, case))

    def read_soft(self, case: Case) -> NDArray[np.float32]:
        """(num_channels, *S) float32: from labels/soft, or computed where there is no such file."""
        if self._soft(case).exists():
            soft: NDArray[np.float32] = files.read_array(self._soft(case))
            return soft
        return self.compute_soft(case)

    def compute_soft(self, case: Case) -> NDArray[np.float32]:
        """The soft labels that follow from given labels, noise map, probabilities and eps."""
        given, flagged = self.read_given(case), self.read_noise_map(case)
        probs, scheme = self.read_probabilities(case), self.dataset.scheme
        soft = np.empty((scheme.num_channels, *given.shape[1:]), np.float32)
        for plane, (labels, wrong) in enumerate(zip(given, flagged, strict=True)):
            suggested = labels.copy()
            classes = probs[plane] if scheme.overlapping else probs
            suggested[wrong] = suggested_where(labels, wrong, classes, ignore=IGNORED)
            targets = mend_soft(
                labels, wrong, suggested, num_classes=scheme.num_classes,
                eps=self.settings.correct.eps, ignore=IGNORED,
            )  # fmt: skip
            if not scheme.overlapping:
                return targets
            soft[plane] = targets[1]
        return soft

    def _soft(self, case: Case) -> Path:
        return self.labels_root / "soft" / f"{case.id}.npy"

    def _below(self, root: Path, case: Case) -> Case:
        """The same case in a copy of the data set."""
        masks = {plane: root / place_of(self.dataset, path) for plane, path in case.masks.items()}
        return replace(case, masks=masks)


def inspected_in(root: Path) -> Records:
    """What the run in a folder knows of its data set, for `Source.open`; nothing without one."""
    return _read_kept(root / INSPECTED)


def _read_kept(path: Path) -> Records:
    """What this version has kept; nothing of any other."""
    try:
        stored = files.read_json(path)
    except (MissingFileError, UnreadableFileError):
        return NOTHING
    mine = isinstance(stored, dict) and {name: stored.get(name) for name in _maker()} == _maker()
    kept: Records = stored["kept"] if mine and isinstance(stored.get("kept"), dict) else NOTHING
    return kept


def _maker() -> dict[str, Any]:
    return {"format": INSPECTION_FORMAT, "version": version("maskmend")}


def _origin(fold: int, plan: FoldPlan) -> dict[str, Any]:
    return {"fold": fold, "trained_on": digest_of(plan.trained_on(fold))}


def stamp_of(path: Path) -> list[int]:
    """Length and time of the last change of a file, [-1, -1] without one."""
    if not path.is_file():
        return [-1, -1]
    stat = path.stat()
    return [stat.st_size, stat.st_mtime_ns]


def _fixed(
    source: dict[str, Any], settings: dict[str, Any], predictions: str | None
) -> dict[str, Any]:
    """What the probabilities of a run depend on, beside the data."""
    opened = {name: source.get(name) for name in ("splits", "ignore_value", "group_pattern")}
    kept = {name: settings.get(name) for name in ("seed", "threads", "device", "crossfit")}
    if predictions is not None:
        # no teacher is trained: the device may be another, but crossfit says nothing here
        kept = {name: kept[name] for name in ("seed", "crossfit")}
    return {"probabilities": predictions, **opened, **kept}


def _check_format(root: Path, described: dict[str, Any]) -> None:
    if described.get("format") != FORMAT:
        raise RunMismatchError(
            str(root), expected=f"a run folder of format {FORMAT}",
            got=f"format {described.get('format')} of maskmend {described.get('version')}",
            remedy="Use that version, or choose a new folder with --run.",
        )  # fmt: skip
