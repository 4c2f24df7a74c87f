"""The run folder: the only module that writes into it.

Lightning writes its checkpoints and logs into the folders that `Run.training_folder` hands out.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from maskmend import files
from maskmend.arrays.agreement import predicted_labels
from maskmend.core import (
    BoolArray,
    Case,
    Dataset,
    FloatArray,
    FoldPlan,
    LabelArray,
    digest_of,
)
from maskmend.datasets import (
    dataset_digest,
    open_dataset,
    place_of,
    read_labels,
    write_labels,
    write_soft_labels,
)
from maskmend.errors import InSampleError, MissingFileError, RunMismatchError, SettingsError
from maskmend.formats import read_mask
from maskmend.formats.png import encode_png
from maskmend.proposals import propose_settings
from maskmend.settings import Settings, settings_from, settings_yaml

DEMO = "demo"
"""Folder in a run folder in which `maskmend demo` keeps its phantoms and comparisons."""

FORMAT = 1
"""Of the run folder; a folder of another format is refused."""

MASKS_HEADER = ("case", "structure", "agreement", "doubted", "flagged_share")


@dataclass(frozen=True)
class Source:
    """Where the data set lies and how it was opened, so that a later command opens it alike."""

    root: str
    splits: tuple[str, ...]
    ignore_value: int | None = None
    group_pattern: str | None = None

    def open(self) -> Dataset:
        return open_dataset(
            self.root, ignore_value=self.ignore_value, group_pattern=self.group_pattern
        )


class Run:
    """One run folder, its data set and its settings.  Made by `create` or `open`."""

    def __init__(self, root: Path, source: Source, dataset: Dataset, settings: Settings) -> None:
        # absolute: workers may run elsewhere
        self.root = root.absolute()
        self.source = source
        self.dataset = dataset
        self.settings = settings
        self.proposed: tuple[str, ...] = ()
        """What was filled into the settings from the data, a sentence each."""

    @property
    def cases(self) -> tuple[Case, ...]:
        """The cases that are judged: those of the source's splits."""
        return tuple(case for case in self.dataset.cases if case.split in self.source.splits)

    # -- the folder itself

    @classmethod
    def create(cls, root: Path, source: Source, settings: Settings) -> Run:
        """A new run folder, or the one that is there if it fits.

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
        dataset = source.open()
        run = cls(root, source, dataset, settings)
        if not run.cases:
            splits = sorted({case.split for case in dataset.cases})
            raise SettingsError(
                source.root, expected=f"cases in the split {', '.join(source.splits)}",
                got="none", remedy=f"Choose of the splits {', '.join(splits)} with --split.",
            )  # fmt: skip
        proposal = propose_settings(run.cases, settings)
        run.settings, run.proposed = proposal.settings, proposal.sentences
        if (root / "run.json").exists():
            run._check_fits(files.read_json(root / "run.json"))
        elif root.exists() and any(path.name != DEMO for path in root.iterdir()):
            raise RunMismatchError(
                str(root), expected="a run folder, or an empty or new one",
                got="a folder with other files", remedy="Choose another folder with --run.",
            )  # fmt: skip
        run._write_description()
        return run

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
        run = cls(root, source, source.open(), settings)
        run._check_fits(described)
        return run

    def with_settings(self, settings: Settings) -> Run:
        """The same run with other settings for what comes after the cross-fit, stored."""
        run = Run(self.root, self.source, self.dataset, settings)
        run._check_fits(files.read_json(self.root / "run.json"))
        run._write_description()
        return run

    def _check_fits(self, described: dict[str, Any]) -> None:
        _check_format(self.root, described)
        if described["data_digest"] != dataset_digest(self.dataset):
            raise RunMismatchError(
                str(self.root), expected="a run on this data set",
                got="one on other images or masks, or they have changed since",
                remedy="Choose a new folder with --run.",
            )  # fmt: skip
        mine = _fixed(self._source_json(), self.settings.model_dump())
        stored = _fixed(described["source"], described["settings"])
        differing = [name for name in mine if mine[name] != stored[name]]
        if differing:
            raise RunMismatchError(
                str(self.root),
                expected=f"the {', '.join(mine)} of this run",
                got="other " + ", ".join(differing),
                remedy="Choose a new folder with --run, or the settings in its settings.yaml.",
            )  # fmt: skip

    def _source_json(self) -> dict[str, Any]:
        return vars(self.source) | {"splits": list(self.source.splits)}

    def _write_description(self) -> None:
        description = {
            "format": FORMAT,
            "version": version("maskmend"),
            "source": self._source_json(),
            "data_digest": dataset_digest(self.dataset),
            "understood": list(self.dataset.understood),
            "left_out": [vars(left_out) for left_out in self.dataset.left_out],
            "settings": self.settings.model_dump(),
        }
        files.write_json(self.root / "run.json", description)
        files.write_bytes_atomic(self.root / "settings.yaml", settings_yaml(self.settings).encode())

    # -- folds and trainings

    def write_folds(self, plan: FoldPlan) -> None:
        """folds.json."""
        path = self.root / "folds.json"
        files.write_json(path, {"count": plan.count, "seed": plan.seed, "folds": dict(plan.folds)})

    def read_folds(self) -> FoldPlan:
        """Raises MissingFileError before the cross-fit."""
        stored = files.read_json(self.root / "folds.json")
        return FoldPlan(stored["count"], stored["seed"], stored["folds"])

    def training_folder(self, *names: str) -> Path:
        """Where a training keeps its weights and logs: teachers/fold0, students/hard, ..."""
        return self.root.joinpath(*names)

    # -- probabilities

    def write_probabilities(self, case: Case, probs: FloatArray, fold: int, plan: FoldPlan) -> None:
        """probabilities/CASE.npy (num_channels, *S) float16, and CASE.json with its origin."""
        folder = self.root / "probabilities"
        files.write_array(folder / f"{case.id}.npy", probs.astype(np.float16))
        # last, since it says that the array is whole
        files.write_json(folder / f"{case.id}.json", _origin(fold, plan))

    def has_probabilities(self, case: Case, fold: int, plan: FoldPlan) -> bool:
        """Whether they are there, of a teacher trained on the cases of this plan."""
        path = self.root / "probabilities" / f"{case.id}.json"
        return path.exists() and files.read_json(path) == _origin(fold, plan)

    def read_probabilities(self, case: Case) -> NDArray[np.float16]:
        """(num_channels, *S) float16, of a teacher that was not trained on the case.

        Raises InSampleError if the case, or another one of its patient, was; and if the record
        of what the teacher was trained on does not fit its digest.
        """
        folder = self.root / "probabilities"
        origin = files.read_json(folder / f"{case.id}.json")
        self._check_out_of_sample(case, origin)
        probs: NDArray[np.float16] = files.read_array(folder / f"{case.id}.npy", mmap=True)
        return probs

    def read_predicted(self, case: Case) -> LabelArray:
        """The most probable labels by those probabilities, (planes, *S)."""
        return predicted_labels(self.read_probabilities(case), self.dataset.scheme)

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

        Of a volume CASE.npy, bool.
        """
        for plane, name in enumerate(self.dataset.scheme.planes):
            path = self.root / "noise_maps" / name / f"{case.id}.png"
            if flagged[plane].ndim > 2:
                files.write_array(path.with_name(f"{case.id}.npy"), flagged[plane])
            else:
                picture = flagged[plane].astype(np.uint8) * 255
                files.write_bytes_atomic(path, encode_png(picture))

    def write_masks_table(self, rows: list[list[Any]]) -> None:
        """masks.csv, worst agreement first, NaN (no mask) last.  rows: as MASKS_HEADER says."""
        ordered = sorted(rows, key=lambda row: (np.nan_to_num(row[2], nan=np.inf), row[0], row[1]))
        files.write_csv(self.root / "masks.csv", MASKS_HEADER, ordered)

    def read_noise_map(self, case: Case) -> BoolArray:
        """(planes, *S) bool."""
        return np.stack(
            [
                self._read_noise_map(self.root / "noise_maps" / name / f"{case.id}.png")
                for name in self.dataset.scheme.planes
            ]
        )

    def _read_noise_map(self, picture: Path) -> BoolArray:
        volume = picture.with_name(picture.name.removesuffix(".png") + ".npy")
        if volume.exists():
            flagged: BoolArray = files.read_array(volume)
            return flagged
        return read_mask(picture)[0] > 0

    def read_masks_table(self) -> list[dict[str, str]]:
        return files.read_csv(self.root / "masks.csv")

    def doubted(self) -> dict[str, set[str]]:
        """Case id -> the structures whose mask is doubted, from masks.csv."""
        found: dict[str, set[str]] = {case.id: set() for case in self.cases}
        for row in self.read_masks_table():
            if row["doubted"] == "True":
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

    def write_mended(self, case: Case, labels: NDArray[np.uint8]) -> None:
        write_labels(self.dataset, case, labels, self.labels_root)

    def write_soft(self, case: Case, soft: FloatArray) -> None:
        write_soft_labels(self.dataset, case, soft, self.labels_root)

    def read_given(self, case: Case) -> NDArray[np.uint8]:
        """(planes, *S) uint8."""
        return read_labels(self.dataset, case)

    def read_mended(self, case: Case) -> NDArray[np.uint8]:
        """(planes, *S) uint8."""
        return read_labels(self.dataset, self._below(self.labels_root, case))

    def read_soft(self, case: Case) -> NDArray[np.float32]:
        """(num_channels, *S) float32."""
        soft: NDArray[np.float32] = files.read_array(self.labels_root / "soft" / f"{case.id}.npy")
        return soft

    def _below(self, root: Path, case: Case) -> Case:
        """The same case in a copy of the data set."""
        masks = {plane: root / place_of(self.dataset, path) for plane, path in case.masks.items()}
        return replace(case, masks=masks)


def _origin(fold: int, plan: FoldPlan) -> dict[str, Any]:
    return {"fold": fold, "trained_on": digest_of(plan.trained_on(fold))}


def _fixed(source: dict[str, Any], settings: dict[str, Any]) -> dict[str, Any]:
    """What the probabilities of a run depend on, beside the data."""
    opened = {name: source.get(name) for name in ("splits", "ignore_value", "group_pattern")}
    return opened | {name: settings.get(name) for name in ("seed", "threads", "device", "crossfit")}


def _check_format(root: Path, described: dict[str, Any]) -> None:
    if described.get("format") != FORMAT:
        raise RunMismatchError(
            str(root), expected=f"a run folder of format {FORMAT}",
            got=f"format {described.get('format')} of maskmend {described.get('version')}",
            remedy="Use that version, or choose a new folder with --run.",
        )  # fmt: skip
