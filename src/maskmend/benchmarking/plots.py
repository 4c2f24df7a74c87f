"""The plots of a benchmark as SVG, each with its numbers in a CSV of the same name beside it."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from maskmend import files
from maskmend.benchmarking.reporting import MEAN, Condition, Group
from maskmend.benchmarking.work import NOISE_MAP, RECALLS, STUDENT
from maskmend.report.tables import Spread

STYLE: Any = {
    "font.size": 9, "axes.spines.top": False, "axes.spines.right": False, "axes.grid": True,
    "grid.alpha": 0.3, "svg.fonttype": "none",
    # the same figures give the same bytes
    "svg.hashsalt": "maskmend",
}  # fmt: skip

MARKERS = "osD^v<>Pp*Xh8d"

PANEL = 3.2
"""Side of a panel in inches."""


def draw_plots(found: Sequence[Condition], folder: Path) -> None:
    """Dice by alpha, precision and recall of noise maps, and Dice by CPU minutes."""
    import matplotlib

    with matplotlib.rc_context(STYLE):
        styles = _styles(found)
        for protocol in dict.fromkeys(condition.protocol for condition in found):
            mine = [condition for condition in found if condition.protocol == protocol]
            _draw_by_alpha(mine, styles, folder / f"dice-by-alpha-{slug(protocol)}")
        for condition in found:
            name = f"{slug(condition.protocol)}-{condition.alpha:g}"
            _draw_noise_maps(condition, styles, folder / f"noise-maps-{name}")
            _draw_by_minutes(condition, styles, folder / f"dice-by-minutes-{name}")


def slug(name: str) -> str:
    """A name as part of a file name."""
    return re.sub(r"[^\w.]+", "-", name).strip("-").lower() or "x"


def _styles(found: Sequence[Condition]) -> dict[str, dict[str, Any]]:
    """Method -> its colour and marker, the same in all plots."""
    import matplotlib

    names = list(dict.fromkeys(group.method for condition in found for group in condition.groups))
    colours: Any = matplotlib.color_sequences["tab10"]
    return {
        name: {"color": colours[index % len(colours)], "marker": MARKERS[index % len(MARKERS)]}
        for index, name in enumerate(names)
    }


def _draw_by_alpha(
    found: Sequence[Condition], styles: Mapping[str, dict[str, Any]], stem: Path
) -> None:
    """A panel for the mean and each structure, a line a method."""
    found = sorted(found, key=lambda condition: condition.alpha)
    columns = (MEAN, *next((c.structures for c in found if c.structures), ()))
    figure, axes = _panels(columns)
    rows: list[list[Any]] = []
    for panel, structure in zip(axes, columns, strict=True):
        for method, style in styles.items():
            points = [
                (condition.alpha, group.figure(STUDENT, structure, "dice"))
                for condition in found
                for group in condition.groups
                if group.method == method and group.done
            ]
            rows += [[structure, method, alpha, *_plain(dice)] for alpha, dice in points]
            if points:
                alphas, dices = [alpha for alpha, _ in points], [dice for _, dice in points]
                dashed = {"linestyle": "--"} if _on_clean(found, method) else {}
                panel.errorbar(
                    alphas, [dice.mean for dice in dices], yerr=[_std(dice) for dice in dices],
                    label=method, markersize=4, capsize=2, linewidth=1.2, **style, **dashed,
                )  # fmt: skip
        panel.set_xlabel("share of masks hit, alpha")
    axes[0].set_ylabel("Dice of the student")
    _save(figure, axes, stem, ["structure", "method", "alpha", "dice", "std"], rows)


def _draw_noise_maps(
    condition: Condition, styles: Mapping[str, dict[str, Any]], stem: Path
) -> None:
    """A panel a structure: the noise map as a point, the evidence it is made from as a curve."""
    audits = [group for group in condition.groups if group.figure(NOISE_MAP, MEAN, "recall").count]
    if not audits:
        return
    figure, axes = _panels(condition.structures)
    rows: list[list[Any]] = []
    for panel, structure in zip(axes, condition.structures, strict=True):
        for group in audits:
            style = styles[group.method]
            precision, recall = (
                group.figure(NOISE_MAP, structure, metric) for metric in ("precision", "recall")
            )
            rows.append([structure, group.method, "noise map", recall.mean, precision.mean])
            panel.plot([recall.mean], [precision.mean], label=group.method, linestyle="", **style)
            curve = _mean_curve(group, structure)
            if curve is not None:
                panel.plot(RECALLS, curve, color=style["color"], linewidth=1, alpha=0.7)
                both = zip(RECALLS.tolist(), curve.tolist(), strict=True)
                rows += [[structure, group.method, "evidence", *point] for point in both]
        panel.set(xlabel="recall", xlim=(0, 1.02), ylim=(0, 1.02))
    axes[0].set_ylabel("precision")
    _save(figure, axes, stem, ["structure", "method", "of", "recall", "precision"], rows)


def _draw_by_minutes(
    condition: Condition, styles: Mapping[str, dict[str, Any]], stem: Path
) -> None:
    """A point a method: what it costs and what it gives, mean over the structures."""
    done = [group for group in condition.groups if group.done]
    if not done:
        return
    figure, axes = _panels((condition.title,))
    rows: list[list[Any]] = []
    for group in done:
        dice, minutes = group.figure(STUDENT, MEAN, "dice"), group.minutes("cpu")
        rows.append([group.method, *_plain(minutes), *_plain(dice)])
        axes[0].errorbar(
            [minutes.mean], [dice.mean], xerr=[_std(minutes)], yerr=[_std(dice)],
            label=group.method, linestyle="", capsize=2, **styles[group.method],
        )  # fmt: skip
    axes[0].set(xlabel="CPU minutes", ylabel="Dice of the student, mean", xscale="log")
    header = ["method", "cpu_minutes", "cpu_minutes_std", "dice", "dice_std"]
    _save(figure, axes, stem, header, rows)


def _mean_curve(group: Group, structure: str) -> Any:
    """Mean over the seeds of the precision at RECALLS; None where no seed has a curve."""
    curves = [outcome.curves[structure] for outcome in group.done if outcome.curves]
    known = [curve for curve in curves if not any(map(math.isnan, curve))]
    return np.mean(known, axis=0) if known else None


def _panels(titles: Sequence[str]) -> tuple[Any, Sequence[Any]]:
    from matplotlib.figure import Figure

    # not pyplot: it keeps every figure, and may want a display
    figure = Figure(figsize=(PANEL * len(titles) + 2, PANEL), layout="constrained")
    axes = figure.subplots(1, len(titles), squeeze=False)[0]
    for panel, title in zip(axes, titles, strict=True):
        panel.set_title(title)
    return figure, axes


def _save(
    figure: Any, axes: Sequence[Any], stem: Path, header: Sequence[str], rows: list[list[Any]]
) -> None:
    handles, labels = axes[0].get_legend_handles_labels()
    if handles:
        figure.legend(handles, labels, loc="outside right upper", frameon=False)
    with files.atomic_file(Path(f"{stem}.svg")) as handle:
        figure.savefig(handle, format="svg", metadata={"Date": None})
    files.write_csv(Path(f"{stem}.csv"), header, rows)


def _on_clean(found: Sequence[Condition], method: str) -> bool:
    groups = (group for condition in found for group in condition.groups)
    return any(group.on_clean for group in groups if group.method == method)


def _plain(figure: Spread) -> tuple[float, float | None]:
    return figure.mean, figure.std


def _std(figure: Spread) -> float:
    return 0.0 if figure.std is None else figure.std
