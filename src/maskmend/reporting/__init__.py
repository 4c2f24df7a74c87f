"""The report of a run: gathers what its files say, for `report.html` to lay out.

    page = gather(run, "report", workers)

One module a chapter: `summary`, `labels`, `worst`, `kinds`, `effort`, `agreement`, `learned`,
`setup`.  Nothing is taken from the headers of images but their grid; paths are shortened to names.
"""

from __future__ import annotations

from importlib.metadata import version
from pathlib import Path

from maskmend.core import QUIET, Listener
from maskmend.errors import SettingsError
from maskmend.execute import Workers
from maskmend.report.html import Page
from maskmend.reporting.agreement import agreement_section
from maskmend.reporting.effort import effort_section, measure_effort
from maskmend.reporting.found import read_found
from maskmend.reporting.kinds import findings_section
from maskmend.reporting.labels import label_section, read_noise
from maskmend.reporting.learned import training_section
from maskmend.reporting.measuring import measure
from maskmend.reporting.names import Names
from maskmend.reporting.setup import left_out_section, settings_section, understood_section
from maskmend.reporting.summary import Gathered, summarise
from maskmend.reporting.worst import worst_section
from maskmend.store import Run
from maskmend.summaries import too_good


def check_out(run: Run, out: Path) -> None:
    """Raises SettingsError where the page cannot go: into the data set, or without an ending."""
    root = run.dataset.root.resolve()
    if out.suffix.lower() not in (".html", ".htm") or out.is_dir():
        raise SettingsError(
            str(out), expected="a file that ends in .html", got="another name",
            remedy="For example --out labels.html; its tables go to the folder labels/.",
        )  # fmt: skip
    if root in out.resolve().parents:
        raise SettingsError(
            str(out), expected="a file outside of the data set", got=f"one inside of {root}",
            remedy="Choose another folder with --out.",
        )  # fmt: skip


def gather(run: Run, folder: str, workers: Workers, listener: Listener = QUIET) -> Page:
    """All that the report says.  folder: of the CSV files, as the page links to them.

    Raises MissingFileError for a run that is not flagged yet.
    """
    names, noise = Names(run), read_noise(run)
    measured = measure(run, workers, listener)
    found = read_found(run, measured)
    effort = measure_effort(run, measured, found)
    summary = summarise(run, names, Gathered(noise, measured, found, effort))
    sections = [
        label_section(run, noise),
        worst_section(run, found, measured),
        findings_section(run, found),
        effort_section(run, effort, found),
        agreement_section(run),
        training_section(run),
        settings_section(run),
        left_out_section(run, names),
        understood_section(run, names),
    ]
    splits = ("split " if len(run.source.splits) == 1 else "splits ") + ", ".join(run.source.splits)
    return Page(
        title="How good are these labels?",
        subtitle=f"Data set {names.dataset}, {splits} · run {names.run}",
        warnings=[sentence[:1].upper() + sentence[1:] for sentence in too_good(run)],
        headline=summary.headline, summary=summary.sentences, facts=summary.facts,
        steps=summary.steps, sections=sections, folder=folder,
        made_by=f"Made by maskmend {version('maskmend')} from the files of the run {names.run}. "
        "Figures called estimates come from the run itself.",
    )  # fmt: skip
