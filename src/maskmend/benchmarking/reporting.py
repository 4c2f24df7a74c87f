"""The report of a benchmark: results.csv, table.md, summary.json and the plots."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any

from maskmend import files
from maskmend.benchmarking.results import COST, DONE, FAILED, Outcome, tidy
from maskmend.benchmarking.work import GIVEN_MASKS, MENDED, NOISE_MAP, STUDENT
from maskmend.report.tables import Bold, Cell, Spread, Table, format_cell, markdown, spread

MEAN = "mean"
"""Name of the column that holds the mean over the structures."""

LABEL_FIGURES = (
    (NOISE_MAP, "precision"), (NOISE_MAP, "recall"), (NOISE_MAP, "f1"), (NOISE_MAP, "auprc"),
    (MENDED, "dice"), (GIVEN_MASKS, "dice"),
)  # fmt: skip
"""Subject and metric of what an audit says of the labels."""


@dataclass(frozen=True)
class Group:
    """The cells of one method on one protocol and alpha: one a seed."""

    method: str
    on_clean: bool
    outcomes: tuple[Outcome, ...]

    @property
    def done(self) -> tuple[Outcome, ...]:
        return tuple(outcome for outcome in self.outcomes if outcome.state == DONE)

    @property
    def is_whole(self) -> bool:
        return len(self.done) == len(self.outcomes)

    def figure(self, subject: str, structure: str, metric: str) -> Spread:
        """Over the seeds that are done; `structure` may be MEAN."""
        if structure == MEAN:
            return spread(outcome.mean(subject, metric) for outcome in self.done)
        key = (subject, structure, metric)
        return spread(outcome.scores.get(key, math.nan) for outcome in self.done)

    def minutes(self, kind: str) -> Spread:
        """kind: cpu or wall."""
        return self.figure(COST, "", f"{kind}_minutes")


@dataclass(frozen=True)
class Condition:
    """A protocol with a share of masks hit, and all methods on it."""

    protocol: str
    alpha: float
    groups: tuple[Group, ...]

    @property
    def title(self) -> str:
        return f"{self.protocol}, alpha {self.alpha:g}"

    @property
    def structures(self) -> tuple[str, ...]:
        done = (outcome for group in self.groups for outcome in group.done)
        return next((outcome.structures for outcome in done), ())

    def winner(self, structure: str) -> str | None:
        """The method whose student is better than all others by more than the spread."""
        compared = [group for group in self.groups if group.is_whole and not group.on_clean]
        figures = [group.figure(STUDENT, structure, "dice") for group in compared]
        best = clear_winner(figures)
        return None if best is None else compared[best].method


def write_report(
    outcomes: Sequence[Outcome], config: Mapping[str, Any], out: Path, plots: bool
) -> None:
    """Everything that is read of a benchmark, from its cells alone."""
    found = conditions(outcomes)
    table = tidy(outcomes)
    files.write_csv(out / "results.csv", table.header, table.rows)
    files.write_bytes_atomic(out / "table.md", tables_text(found, config).encode())
    files.write_json(out / "summary.json", summary(found, config))
    if plots:
        from maskmend.benchmarking.plots import draw_plots

        draw_plots(found, out / "plots")


def conditions(outcomes: Iterable[Outcome]) -> tuple[Condition, ...]:
    """The cells by protocol and alpha, and there by method, in their order."""
    sorted_in: dict[tuple[str, float], dict[str, list[Outcome]]] = {}
    for outcome in outcomes:
        cell = outcome.cell
        methods = sorted_in.setdefault((cell.protocol, cell.alpha), {})
        methods.setdefault(cell.method, []).append(outcome)
    return tuple(
        Condition(
            protocol, alpha,
            tuple(Group(name, of[0].cell.on_clean, tuple(of)) for name, of in methods.items()),
        )
        for (protocol, alpha), methods in sorted_in.items()
    )  # fmt: skip


def clear_winner(figures: Sequence[Spread]) -> int | None:
    """Index of the highest mean, if it exceeds the second by more than the spread of either.

    None also where there is no second, or either has no spread (one seed).
    """
    order = sorted(
        (index for index, figure in enumerate(figures) if not math.isnan(figure.mean)),
        key=lambda index: -figures[index].mean,
    )
    if len(order) < 2:
        return None
    first, second = figures[order[0]], figures[order[1]]
    if first.std is None or second.std is None:
        return None
    return order[0] if first.mean - second.mean > max(first.std, second.std) else None


def tables_text(found: Sequence[Condition], config: Mapping[str, Any]) -> str:
    """table.md."""
    seeds = config["seeds"]
    parts = [f"# Benchmark on {config['data']}\n", _how_to_read(seeds)]
    for condition in found:
        parts.append(f"## {condition.title}\n\n{markdown(student_table(condition))}")
        parts += [f"{sentence}\n" for sentence in _missing(condition)]
        about_labels = labels_table(condition)
        if about_labels.rows:
            parts.append(
                "Noise maps and labels of the training cases, mean over the structures:\n\n"
                + markdown(about_labels)
            )
    return "\n".join(parts)


def student_table(condition: Condition) -> Table:
    """Dice of the students: a row a method, columns for the mean and each structure."""
    columns = (MEAN, *condition.structures)
    winners = {structure: condition.winner(structure) for structure in columns}
    rows: list[list[Cell]] = []
    for group in condition.groups:
        cells: list[Cell] = [f"*{group.method}*" if group.on_clean else group.method]
        for structure in columns:
            figure = group.figure(STUDENT, structure, "dice")
            cells.append(Bold(figure) if winners[structure] == group.method else figure)
        minutes = group.minutes("cpu").mean
        rows.append([*cells, format_cell(minutes, 1)])
    return Table(["Dice of the student", *columns, "CPU minutes"], rows)


def labels_table(condition: Condition) -> Table:
    """What the audits say of the labels; without a row where there is none."""
    rows: list[list[Cell]] = []
    for group in condition.groups:
        figures = [group.figure(subject, MEAN, metric) for subject, metric in LABEL_FIGURES]
        if group.figure(MENDED, MEAN, "dice").count:
            rows.append([group.method, *figures])
    names = ("precision", "recall", "F1", "AUPRC", "Dice of mended", "Dice of given")
    return Table(["noise maps", *names], rows)


def summary(found: Sequence[Condition], config: Mapping[str, Any]) -> dict[str, Any]:
    """The figures of the tables as plain values, and the file that they came from."""
    return {
        "version": version("maskmend"),
        "config": dict(config),
        "results": [
            {"protocol": condition.protocol, "alpha": condition.alpha, "method": group.method,
             **_group_summary(condition, group)}
            for condition in found for group in condition.groups
        ],
    }  # fmt: skip


def _group_summary(condition: Condition, group: Group) -> dict[str, Any]:
    columns = (MEAN, *condition.structures)
    subjects = [(STUDENT, metric) for metric in ("dice", "iou", "hd95", "assd")]
    figures = {
        f"{subject}: {metric}": {
            structure: _plain(group.figure(subject, structure, metric)) for structure in columns
        }
        for subject, metric in (*subjects, *LABEL_FIGURES)
        if group.figure(subject, MEAN, metric).count
    }
    failed = {o.cell.seed: o.error for o in group.outcomes if o.state == FAILED}
    return {
        "seeds": [outcome.cell.seed for outcome in group.done],
        "failed": {str(seed): error for seed, error in failed.items()},
        "minutes": {kind: _plain(group.minutes(kind)) for kind in ("cpu", "wall")},
        "figures": figures,
        "winner_in": [name for name in columns if condition.winner(name) == group.method],
    }


def _plain(figure: Spread) -> dict[str, float | None]:
    mean = None if math.isnan(figure.mean) else round(figure.mean, 6)
    return {"mean": mean, "std": None if figure.std is None else round(figure.std, 6)}


def _how_to_read(seeds: Sequence[int]) -> str:
    said = (
        "Dice on the test cases against clean labels: mean ± standard deviation over the seeds "
        f"{', '.join(map(str, seeds))}; `{MEAN}` is that of the structures. CPU minutes are those "
        "of all that the method does until its student is trained.\n\n**Bold**: better than the "
        "second by more than the standard deviation of either; without bold, no method is. "
        "*Italics*: trained on the clean labels, which nobody has; such a method takes no part in "
        "that, nor does one whose seeds are not all done."
    )
    if len(seeds) < 2:
        said += " With one seed there is no spread, and nothing is marked."
    return f"{said}\n"


def _missing(condition: Condition) -> list[str]:
    """A sentence for each method whose seeds are not all done."""
    sentences = []
    for group in condition.groups:
        if not group.is_whole:
            said = f"{group.method}: {len(group.done)} of {len(group.outcomes)} seeds done"
            failed = [outcome for outcome in group.outcomes if outcome.state == FAILED]
            for outcome in failed:
                said += f"; seed {outcome.cell.seed} failed ({outcome.error})"
            sentences.append(f"{said}.")
    return sentences
