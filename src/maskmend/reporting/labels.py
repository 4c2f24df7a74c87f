"""How good the labels are: noise rates with their intervals, transition matrices, expected Dice."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from maskmend.report.figures import Interval, Words, interval_chart
from maskmend.report.html import Figure, Matrix, Section, Shade, Shown
from maskmend.report.tables import Cell, Table
from maskmend.reporting.names import share, share_between
from maskmend.store import Run

MOST_CLASSES = 12
"""Classes of a matrix that can be read on a page; of more, the pairs most often confused."""

PAIRS = 20

Range = tuple[float | None, float | None]


@dataclass(frozen=True)
class Noise:
    """Of one structure.  wrong: P(true is another | given it).  missed: P(given another | true)."""

    structure: str
    pixels: int
    wrong: float | None
    wrong_range: Range
    missed: float | None
    missed_range: Range


def read_noise(run: Run) -> list[Noise]:
    """From counts.json, in the order of the structures.  Raises MissingFileError before flag."""
    rows = []
    for counts in run.read_json("counts.json").values():
        for k, name in enumerate(counts["classes"][1:], start=1):
            intervals = counts["intervals"]
            low, high = intervals["given_true"][k][k]
            rows.append(
                Noise(
                    name, counts["class_sizes"][k],
                    counts["noise_rate"][k], tuple(intervals["noise_rate"][k]),
                    _rest(counts["given_true"][k][k]), (_rest(high), _rest(low)),
                )
            )  # fmt: skip
    return rows


def label_section(run: Run, noise: Sequence[Noise]) -> Section:
    """Noise rates, and from what to what."""
    planes = run.read_json("counts.json")
    sentences = [
        "Estimated by confident learning from predictions of models that have not seen the labels. "
        "The intervals hold 95 % of 1,000 redrawings of the cases; they say how much the estimate "
        "hangs on which cases are there, not how good the models are.",
    ]
    header = ["structure", "pixels given", "of these wrong", "95 % interval",
              "of the true ones missed", "95 % interval"]  # fmt: skip
    rows = [
        [n.structure, f"{n.pixels:,}", share(n.wrong), share_between(*n.wrong_range),
         share(n.missed), share_between(*n.missed_range)]
        for n in noise
    ]  # fmt: skip
    matrices, pairs, overlapping = [], [], run.dataset.scheme.overlapping
    for plane in () if overlapping else planes.values():
        if len(plane["classes"]) <= MOST_CLASSES:
            matrices = _matrices(plane)
        else:
            pairs = [_pairs_table(plane)]
    return Section(
        "labels", "How good the labels are", sentences, [Shown(header, rows, (1, 2, 3, 4, 5))],
        [_rates_figure(noise), _transitions(planes, overlapping)], matrices, after=pairs,
    )  # fmt: skip


def _rest(value: float | None) -> float | None:
    return None if value is None else max(1 - value, 0.0)


def _rates_figure(noise: Sequence[Noise]) -> Figure:
    rows = [Interval(n.structure, n.wrong, n.wrong_range, share(n.wrong)) for n in noise]
    heard = [f"{n.structure} {share(n.wrong)}, {share_between(*n.wrong_range)}" for n in noise]
    words = Words(
        "Noise rate of each structure", "; ".join(heard),
        "share of the pixels given to the structure that are wrong",
    )  # fmt: skip
    numbers: list[Sequence[Cell]] = [
        [n.structure, n.pixels, n.wrong, *n.wrong_range, n.missed, *n.missed_range] for n in noise
    ]
    header = ["structure", "pixels_given", "noise_rate", "noise_rate_low", "noise_rate_high",
              "missed", "missed_low", "missed_high"]  # fmt: skip
    caption = "Noise rate of each structure, with its 95 % interval."
    return Figure(
        "noise_rates", caption, [interval_chart(rows, words)], Table(header, numbers)
    )  # fmt: skip


def _transitions(planes: dict[str, Any], overlapping: bool) -> Figure:
    """The numbers of the matrices; they are drawn as tables."""
    rows: list[Sequence[Cell]] = []
    for plane, counts in planes.items():
        names = counts["classes"]
        for i, given in enumerate(names):
            for j, true in enumerate(names):
                rows.append(
                    [plane, given, true, counts["true_given"][i][j], counts["given_true"][i][j],
                     counts["joint"][i][j]]
                )  # fmt: skip
    header = ["plane", "given", "true", "true_given_given", "given_given_true", "joint"]
    caption = (
        "Transition matrices: the share of each true class among the pixels of a given one, and "
        "the reverse."
    )
    if overlapping:
        caption += (
            " Of structures that may overlap each has its own, with the background as the only "
            "other class; the table above has what is wrong in it."
        )
    return Figure("transitions", caption, [], Table(header, rows))


def _matrices(counts: dict[str, Any]) -> list[Matrix]:
    names = counts["classes"]
    of_given = Matrix(
        "What pixels truly are, by what was given (a row adds up to 100 %)", "given \\ true", names,
        [[_shade(value) for value in row] for row in counts["true_given"]],
    )  # fmt: skip
    of_true = Matrix(
        "What was given, by what pixels truly are (a column adds up to 100 %)", "given \\ true",
        names, [[_shade(value) for value in row] for row in counts["given_true"]],
    )  # fmt: skip
    return [of_given, of_true]


def _shade(value: float | None) -> Shade:
    return Shade(share(value), 0 if value is None else min(int(value * 10), 9))


def _pairs_table(counts: dict[str, Any]) -> Shown:
    names = counts["classes"]
    pairs = [
        (counts["joint"][i][j] or 0.0, given, true, counts["true_given"][i][j])
        for i, given in enumerate(names)
        for j, true in enumerate(names)
        if i != j
    ]
    pairs.sort(key=lambda pair: (-pair[0], pair[1], pair[2]))
    rows = [[given, true, share(joint), share(rate)] for joint, given, true, rate in pairs[:PAIRS]]
    return Shown(
        ["given", "truly", "of all pixels", "of those given so"], rows, (2, 3),
        f"The {len(rows)} pairs of classes confused most often; all of them: transitions.csv.",
    )  # fmt: skip
