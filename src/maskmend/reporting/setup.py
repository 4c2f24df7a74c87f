"""Settings and versions, what was left out and why, and what was understood of the data set."""

from __future__ import annotations

import platform
from collections.abc import Iterator, Mapping, Sequence
from importlib.metadata import PackageNotFoundError, version

import yaml
from pydantic import BaseModel

from maskmend.report.html import Figure, Section, Shown
from maskmend.report.tables import Cell, Table
from maskmend.reporting.learned import read_histories
from maskmend.reporting.names import Names, count
from maskmend.settings import Settings
from maskmend.store import Run

PACKAGES = ("numpy", "scipy", "nibabel", "pydicom", "torch", "lightning", "monai")
TEACHER, STUDENT = "crossfit.teacher.", "student."
LEFT_OUT = 50
"""Cases that are listed; all are in the CSV."""

_Lines = Mapping[str, tuple[str, str]]


def settings_section(run: Run) -> Section:
    """Every setting, with its default, and the versions."""
    mine, defaults = dict(_lines(run.settings)), dict(_lines(Settings()))
    alone = [name for name in mine if not name.startswith((TEACHER, STUDENT))]
    rows = [[name, mine[name][0], _other(mine, defaults, name), mine[name][1]] for name in alone]
    trained = [name.removeprefix(STUDENT) for name in mine if name.startswith(STUDENT)]
    columns = [
        [name, *(mine[kind + name][0] for kind in (TEACHER, STUDENT)),
         _both(*(_other(mine, defaults, kind + name) for kind in (TEACHER, STUDENT))),
         mine[STUDENT + name][1]]
        for name in trained
    ]  # fmt: skip
    made_by = run.read_json("run.json")["version"]
    installed = [f"{name} {found}" for name in PACKAGES if (found := _installed(name))]
    sentences = [
        f"The run was made by maskmend {made_by}, this report by maskmend {version('maskmend')} "
        f"with Python {platform.python_version()}, {', '.join(installed)}.",
        "The settings are those of settings.yaml in the run. Where a value is not the default, the "
        "default is named; a default of null is filled in from the data.",
    ]
    tables = [Shown(("setting", "value", "default", "meaning"), rows)]
    if read_histories(run):
        header = ("of a training", "teachers", "student", "default", "meaning")
        tables.append(Shown(header, columns))
    return Section("settings", "Settings and versions", sentences, tables)


def _other(mine: _Lines, defaults: _Lines, name: str) -> str:
    """The default, where the value is another."""
    return "" if mine[name] == defaults[name] else defaults[name][0]


def _both(of_teacher: str, of_student: str) -> str:
    """Defaults that may differ."""
    if of_teacher and of_student and of_teacher != of_student:
        return f"{of_teacher} / {of_student}"
    return of_teacher or of_student


def left_out_section(run: Run, names: Names) -> Section:
    """The cases that took no part."""
    title = "What was left out, and why"
    left_out = [(each.case, names.relative(each.reason)) for each in run.left_out]
    if not left_out:
        return Section("left-out", title, ["Nothing: every case of the data set took part."])
    rows = [[case, reason] for case, reason in left_out[:LEFT_OUT]]
    more = len(left_out) - len(rows)
    numbers: list[Sequence[Cell]] = [[case, reason] for case, reason in left_out]
    caption = f"{count(len(left_out), 'case')} took no part." + (
        f" {more:,} more are in the file." if more else ""
    )
    figure = Figure("left_out", caption, [], Table(["case", "reason"], numbers))
    return Section("left-out", title, [], [Shown(("case", "why"), rows)], [figure])


def understood_section(run: Run, names: Names) -> Section:
    """What the program took the data set to be."""
    said = [*run.dataset.understood, *run.adopted.get("understood", ())]
    return Section(
        "understood", "What was understood of the data set",
        ["Check these sentences: all figures above rest on them."],
        lists=[names.relative(sentence) for sentence in said],
    )  # fmt: skip


def _lines(group: BaseModel, prefix: str = "") -> Iterator[tuple[str, tuple[str, str]]]:
    """Name of each setting, and its value and meaning."""
    for name, field in type(group).model_fields.items():
        value = getattr(group, name)
        if isinstance(value, BaseModel):
            yield from _lines(value, f"{prefix}{name}.")
        else:
            text = yaml.safe_dump(value, default_flow_style=True, width=10_000).splitlines()[0]
            yield f"{prefix}{name}", (text, (field.description or "").replace("`", ""))


def _installed(name: str) -> str | None:
    try:
        return version(name)
    except PackageNotFoundError:
        return None
