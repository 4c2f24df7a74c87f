"""Findings by type and structure, and the list of the first ones."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

from maskmend.core import Finding
from maskmend.report.figures import Words, bar_chart
from maskmend.report.html import Figure, Section, Shown
from maskmend.report.tables import Cell, Table
from maskmend.reporting.found import MEANINGS, Found
from maskmend.reporting.names import count, measure, share
from maskmend.store import Run

LISTED = 25
"""Findings in the table; all are in findings.csv."""

HEADER = ("", "structure", "type", "given → suggested", "size", "share", "margin")


def findings_section(run: Run, found: Found) -> Section:
    """How many of which type, and the first of the list."""
    title = "Findings by type and structure"
    if found.findings is None:
        return Section("findings", title, [
            "There are no findings yet: maskmend rank groups flagged pixels into findings, says "
            "of what type each is, and writes findings.csv. Make the report again after that."
        ])  # fmt: skip
    if not found.findings:
        return Section("findings", title, ["There is no finding: no mask has a flagged region."])
    types = _types(found.findings)
    cases = len({finding.case for finding in found.findings})
    sentences = [
        f"{count(len(found.findings), 'finding')} in {count(cases, 'case')}; all of them, with "
        "their places, are in findings.csv of the run. Share: of the structure's pixels. Margin: "
        "by how much the suggested class is more probable than the given one."
    ]
    meanings = [f"{name}: {MEANINGS[name]}." for name in types if name in MEANINGS]
    first = found.findings[:LISTED]
    rows = [[f"{rank}", finding.case, *finding_cells(finding)[1:]]
            for rank, finding in enumerate(first, start=1)]  # fmt: skip
    more = len(found.findings) - len(first)
    caption = "The first findings, best to look at first." + (
        f" {more:,} more are in findings.csv." if more else ""
    )
    listed = Shown(("rank", "case", *HEADER[1:]), rows, (0, 5, 6, 7), caption)
    return Section(
        "findings", title, sentences, [_crossed(run, found.findings, types)],
        [_figure(found.findings, types)], lists=meanings, after=[listed],
    )  # fmt: skip


def finding_cells(finding: Finding) -> list[str]:
    """As HEADER says."""
    return [
        f"{finding.number}", finding.structure, finding.type,
        f"{finding.given} → {finding.suggested}", measure(finding.size, finding.unit),
        share(finding.share), f"{finding.margin:.2f}",
    ]  # fmt: skip


def _types(findings: Sequence[Finding]) -> list[str]:
    """Most frequent first."""
    counted = Counter(finding.type for finding in findings)
    return sorted(counted, key=lambda name: (-counted[name], name))


def _crossed(run: Run, findings: Sequence[Finding], types: list[str]) -> Shown:
    counted = Counter((finding.structure, finding.type) for finding in findings)
    rows = []
    for name in run.dataset.scheme.structures:
        numbers = [counted[name, each] for each in types]
        rows.append([name, *(f"{n:,}" if n else "–" for n in numbers), f"{sum(numbers):,}"])
    columns = [sum(counted[s, each] for s in run.dataset.scheme.structures) for each in types]
    rows.append(["all", *(f"{n:,}" for n in columns), f"{sum(columns):,}"])
    return Shown(["structure", *types, "all"], rows, tuple(range(1, len(types) + 2)))


def _figure(findings: Sequence[Finding], types: list[str]) -> Figure:
    counted = Counter(finding.type for finding in findings)
    bars = [(name, counted[name]) for name in types]
    words = Words("Findings by type", ", ".join(f"{name} {number}" for name, number in bars))
    pairs = Counter((finding.type, finding.structure) for finding in findings)
    rows: list[Sequence[Cell]] = [
        [kind, structure, number] for (kind, structure), number in sorted(pairs.items())
    ]
    return Figure(
        "findings_by_type", "Findings by type.", [bar_chart(bars, words)],
        Table(["type", "structure", "findings"], rows),
    )  # fmt: skip
