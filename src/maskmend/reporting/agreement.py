"""How well the masks agree with their out-of-sample predictions, and which are doubted."""

from __future__ import annotations

import math
from collections.abc import Sequence
from itertools import pairwise

import numpy as np

from maskmend.arrays.agreement import belief_limits
from maskmend.report.figures import Bins, Words, histogram
from maskmend.report.html import Figure, Section
from maskmend.report.tables import Cell, Table
from maskmend.reporting.names import count, score, shown_number
from maskmend.store import Run

_WIDTHS = (0.005, 0.01, 0.02, 0.025, 0.05)
_MOST_BINS = 24
_BINS_OF_BELIEF = 5


def agreement_section(run: Run) -> Section:
    """A histogram of each structure, with the threshold of doubt."""
    structures = run.dataset.scheme.structures
    rows = run.read_masks_table()
    by_structure = {
        name: [(shown_number(row["agreement"]), row["doubted"] == "True")
               for row in rows if row["structure"] == name and row["agreement"]]
        for name in structures
    }  # fmt: skip
    drawings = []
    numbers: list[Sequence[Cell]] = []
    for name, masks in by_structure.items():
        limit = _threshold([dice for dice, _ in masks], run.settings.flag.doubt_ratio)
        lowest = min((dice for dice, _ in masks), default=0.0)
        edges = _edges(lowest, limit)
        parts = [_counts(masks, edges, doubted) for doubted in (False, True)]
        bins = Bins(edges, parts, lowest < edges[0])
        drawings.append(histogram(bins, _words(name, masks, limit), limit))
        for index, (low, high) in enumerate(pairwise(edges)):
            low = min(low, lowest) if index == 0 else low
            numbers.append([name, low, high, parts[0][index], parts[1][index], limit])
    header = ["structure", "agreement_from", "agreement_to", "believed", "doubted", "threshold"]
    caption = (
        "Masks by their agreement (Dice) with the prediction; the dashed line is the threshold "
        "below which a mask is doubted. Each structure has its own scale; where it begins with ≤, "
        "the first bar holds all below. Each mask: masks.csv."
    )
    figure = Figure("agreement", caption, drawings, Table(header, numbers), ("believed", "doubted"))
    ratio = run.settings.flag.doubt_ratio
    sentences = [
        "Dice of each given mask with the prediction of a model that has not seen it. A mask is "
        f"doubted where 1 - Dice is more than {ratio:g} times what is ordinary for its structure.",
    ]
    if run.settings.flag.method != "doubted_masks":
        sentences.append(
            f"The noise maps of this run are those of {run.settings.flag.method}, which does not "
            "ask whether a whole mask is doubted."
        )
    return Section("agreement", "Agreement with the predictions", sentences, figures=[figure])


def _threshold(dices: list[float], ratio: float) -> float | None:
    """The lowest agreement at which a mask is believed; None where all are."""
    distance = 1 - np.array(dices)[:, None]
    limit = float(belief_limits(distance, ratio, zeros_are_empty=False)[0]) if dices else math.inf
    return 1 - limit if math.isfinite(limit) else None


def _edges(lowest: float, limit: float | None) -> list[float]:
    """Edges of equal bins up to 1, round numbers, narrow enough to see the masks that are believed.

    They begin below the lowest value, unless that needs too many: the lowest bin then has all that
    lies below it, too.
    """
    believed = (1 - (lowest if limit is None else limit)) / _BINS_OF_BELIEF
    width = max((w for w in _WIDTHS if w <= believed), default=_WIDTHS[0])
    bins = min(max(math.ceil((1 - lowest) / width - 1e-9), 4), _MOST_BINS)
    return [round(1 - width * k, 6) for k in range(bins, -1, -1)]


def _counts(masks: Sequence[tuple[float, bool]], edges: list[float], doubted: bool) -> list[int]:
    values = [min(max(dice, edges[0]), edges[-1]) for dice, doubt in masks if doubt == doubted]
    counted: list[int] = np.histogram(values, edges)[0].tolist()
    return counted


def _words(name: str, masks: Sequence[tuple[float, bool]], limit: float | None) -> Words:
    doubted = sum(doubt for _, doubt in masks)
    median = score(float(np.median([dice for dice, _ in masks]))) if masks else "n/a"
    said = f"{count(len(masks), 'mask')}, median agreement {median}, {doubted} doubted"
    return Words(name, said + (f", threshold {limit:.3f}" if limit is not None else ""),
                 "agreement (Dice)", "masks")  # fmt: skip
