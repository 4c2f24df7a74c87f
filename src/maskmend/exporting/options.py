"""What an export is to be, and whether the run and the folder can give it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from functools import cached_property
from importlib.metadata import version
from pathlib import Path
from typing import Any, Literal

from maskmend import files
from maskmend.core import Case, Dataset
from maskmend.datasets import place_of
from maskmend.errors import LayoutError, MissingFileError, RunMismatchError, SettingsError
from maskmend.exporting.ignoring import with_ignore_value
from maskmend.store import Run

Kind = Literal["mended", "ignore", "soft"]
Images = Literal["copy", "link", "none"]
KINDS: tuple[Kind, ...] = ("mended", "ignore", "soft")
IMAGES: tuple[Images, ...] = ("copy", "link", "none")

FORMAT = 1
"""Of export.json."""

RECORD = "export.json"
OWN = frozenset(
    {
        RECORD, "findings.csv", "changes.csv", "decisions.csv", "outcomes.csv",
        "soft_datalist.json", "soft", "flagged",
    }
)  # fmt: skip
"""What an export adds beside the data set."""


@dataclass(frozen=True)
class ExportOptions:
    """What is wanted.

    kind: `mended`, flagged pixels take the suggested class; `ignore`, they take the ignore value;
    `soft`, `mended` with soft targets and a datalist for MONAI beside it.  images: copied, linked
    to, or left out.  segments: flagged regions for 3D Slicer.  ignore_value: for `ignore` where
    the data set has none.  cases, structures: those whose changes are taken; all where empty.
    decisions: what reviewers decided is taken, instead of all that is flagged.
    """

    kind: Kind = "mended"
    images: Images = "copy"
    segments: bool = False
    ignore_value: int | None = None
    cases: tuple[str, ...] = ()
    structures: tuple[str, ...] = ()
    decisions: bool = False

    def __post_init__(self) -> None:
        """SettingsError for an unknown kind, or another way with images."""
        for name, value, allowed in (("as", self.kind, KINDS), ("images", self.images, IMAGES)):
            if value not in allowed:
                raise _unknown(f"--{name}", value, allowed)

    def takes(self, case: Case) -> bool:
        return not self.cases or case.id in self.cases


MENDED = ExportOptions()


@dataclass(frozen=True)
class Job:
    """One export on its way.  target: the data set as OUT will hold it, with its ignore value."""

    run: Run
    out: Path
    options: ExportOptions
    target: Dataset

    @cached_property
    def judged(self) -> frozenset[tuple[str, str]]:
        """(split, id) of the cases that the run has judged."""
        return frozenset((case.split, case.id) for case in self.run.cases)

    def record(self, finished: bool, **facts: Any) -> dict[str, Any]:
        """What export.json says; nothing in it depends on where the folders lie."""
        return {
            "format": FORMAT,
            "version": version("maskmend"),
            "finished": finished,
            "run": _identity(self.run),
            "settings": {name: _settings(self.run)[name] for name in ("flag", "correct")},
            "options": _plain(self.options),
            "ignore_value": self.target.ignore_value,
            **facts,
        }


def prepare(run: Run, out: Path, options: ExportOptions) -> Job:
    """Check everything that can be checked before the first write, and claim the folder.

    Raises SettingsError (an unknown case or structure; an impossible ignore value),
    MissingFileError (a run that has not been flagged), LayoutError (OUT in the data set),
    RunMismatchError (OUT in the run, or with other files than those of such an export).
    """
    _check_options(run, options)
    if not (run.root / "masks.csv").exists():
        raise MissingFileError(
            str(run.root), expected="a run that says which pixels are wrong", got="no masks.csv",
            remedy=f"Run `maskmend flag {run.root}` first.",
        )  # fmt: skip
    _check_place(run, out)
    target = run.dataset
    if options.kind == "ignore":
        target = with_ignore_value(run.dataset, run.cases, options.ignore_value)
    job = Job(run, out, options, target)
    _check_names(job)
    _check_earlier(job)
    files.write_json(out / RECORD, job.record(finished=False))
    return job


def _check_options(run: Run, options: ExportOptions) -> None:
    known = [case.id for case in run.cases]
    for case in sorted({*options.cases} - {*known}):
        raise _unknown("--cases", case, known)
    for structure in options.structures:
        if structure not in run.dataset.scheme.structures:
            raise _unknown("--structures", structure, run.dataset.scheme.structures)
    if options.ignore_value is not None and options.kind != "ignore":
        raise SettingsError(
            "--ignore-value", expected="an export as ignore", got=f"one as {options.kind}",
            remedy="Leave it out, or add --as ignore.",
        )  # fmt: skip


def _unknown(option: str, value: str, allowed: Sequence[str]) -> SettingsError:
    names = list(allowed)
    shown = ", ".join(names[:20]) + (f" and {len(names) - 20} more" if len(names) > 20 else "")
    return SettingsError(
        option, expected=f"one of {shown}", got=value, remedy="Choose one of these."
    )


def _check_place(run: Run, out: Path) -> None:
    place = out.resolve()
    for root, error in ((run.dataset.root, LayoutError), (run.root, RunMismatchError)):
        if root.resolve() in (place, *place.parents):
            raise error(
                str(out), expected="a folder outside of the data set and of the run",
                got=f"one in {root}, which is not changed", remedy="Choose another folder.",
            )  # fmt: skip


def _check_names(job: Job) -> None:
    """No file of the data set may stand where the export puts one of its own."""
    dataset = job.run.dataset
    used = [path for case in dataset.cases for path in (*case.images, *case.masks.values())]
    used += [description.file for description in dataset.descriptions]
    for path in used:
        top = place_of(dataset, path).parts[0]
        if top in OWN:
            raise LayoutError(
                str(dataset.root), expected=f"nothing called {top}, which the export writes",
                got=str(path), remedy="Rename that file or folder of the data set.",
            )  # fmt: skip


def _check_earlier(job: Job) -> None:
    """OUT is new, empty, or holds an export of the same run with the same options."""
    record = job.out / RECORD
    if not record.exists():
        # a folder that was claimed and killed before its first write holds at most a dotfile
        if job.out.exists() and any(not p.name.startswith(".") for p in job.out.iterdir()):
            raise RunMismatchError(
                str(job.out), expected="a new or empty folder, or one of an earlier export",
                got="a folder with other files", remedy="Choose another folder.",
            )  # fmt: skip
        return
    stored, mine = files.read_json(record), job.record(finished=False)
    differing = [name for name in ("format", "run", "options") if stored.get(name) != mine[name]]
    if differing:
        raise RunMismatchError(
            str(job.out), expected="an earlier export of this run with the same options",
            got="one with another " + " and ".join(differing),
            remedy="Choose another folder, or delete this one.",
        )  # fmt: skip


def _identity(run: Run) -> dict[str, str]:
    return {"name": run.root.name, "data_digest": run.read_json("run.json")["data_digest"]}


def _settings(run: Run) -> dict[str, Any]:
    return run.settings.model_dump(mode="json")


def _plain(options: ExportOptions) -> dict[str, Any]:
    """As JSON gives it back."""
    values = asdict(options)
    return values | {name: sorted(values[name]) for name in ("cases", "structures")}
