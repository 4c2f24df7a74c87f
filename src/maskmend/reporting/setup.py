"""Settings and versions, what was left out and why, and what was understood of the data set."""

from __future__ import annotations

import platform
from collections.abc import Iterator, Sequence
from importlib.metadata import PackageNotFoundError, version

import yaml
from pydantic import BaseModel

from maskmend.report.html import Figure, Section, Shown
from maskmend.report.tables import Cell, Table
from maskmend.reporting.names import Names, count
from maskmend.settings import Settings
from maskmend.store import Run

PACKAGES = ("numpy", "scipy", "nibabel", "pydicom", "torch", "lightning", "monai")
LEFT_OUT = 50
"""Cases that are listed; all are in the CSV."""


def settings_section(run: Run) -> Section:
    """Every setting, with its default, and the versions."""
    rows = [
        [name, value, "" if value == default else default, meaning]
        for (name, value, meaning), (_, default, _) in zip(
            _lines(run.settings), _lines(Settings()), strict=True
        )
    ]
    made_by = str(run.read_json("run.json")["version"])
    versions = [["maskmend, of the run", made_by], ["maskmend, of this report", version("maskmend")],
                ["Python", platform.python_version()]]  # fmt: skip
    versions += [[name, found] for name in PACKAGES if (found := _installed(name))]
    return Section(
        "settings", "Settings and versions",
        ["The settings are those of settings.yaml in the run; where a value is not the default, the "
         "default stands beside it. null settings of a training were filled in from the data."],
        [Shown(("package", "version"), versions)],
        after=[Shown(("setting", "value", "default", "meaning"), rows)],
    )  # fmt: skip


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


def _lines(group: BaseModel, prefix: str = "") -> Iterator[tuple[str, str, str]]:
    """Name, value and meaning of each setting."""
    for name, field in type(group).model_fields.items():
        value = getattr(group, name)
        if isinstance(value, BaseModel):
            yield from _lines(value, f"{prefix}{name}.")
        else:
            text = yaml.safe_dump(value, default_flow_style=True, width=10_000).splitlines()[0]
            yield f"{prefix}{name}", text, field.description or ""


def _installed(name: str) -> str | None:
    try:
        return version(name)
    except PackageNotFoundError:
        return None
