"""What a command says at its end, as text."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from maskmend.report.tables import Cell, Table, plain
from maskmend.scores import Evaluation
from maskmend.store import Run

WORST = 10


def noise_rates(run: Run) -> str:
    """Estimated noise rates with intervals, and both transition matrices, from counts.json."""
    parts = []
    for plane, counts in run.read_json("counts.json").items():
        classes = counts["classes"]
        rows = []
        for index, name in enumerate(classes):
            low, high = counts["intervals"]["noise_rate"][index]
            between = "n/a" if low is None else f"{low:.3f}..{high:.3f}"
            shares = [*counts["true_given"][index], *counts["given_true"][index]]
            rows.append([name, counts["noise_rate"][index], between, *shares])
        header = [
            "given", "noise rate", "95 % interval",
            *(f"P(true {name} | given)" for name in classes),
            *(f"P(given | true {name})" for name in classes),
        ]  # fmt: skip
        parts.append(f"Estimated label noise, {plane}:\n\n{plain(Table(header, rows))}")
    return "\n".join(parts)


def worst_masks(run: Run) -> str:
    """The masks that agree least with their out-of-sample predictions, from masks.csv."""
    rows = run.read_masks_table()
    doubted = sum(row["doubted"] == "True" for row in rows)
    table = Table(
        ["case", "structure", "agreement (Dice)", "flagged share"],
        [
            [
                row["case"],
                row["structure"],
                _number(row["agreement"]),
                _number(row["flagged_share"]),
            ]
            for row in rows[:WORST]
        ],
    )
    return (
        f"{doubted} of {len(rows)} masks are doubted; the worst (all of them: masks.csv):\n\n"
        + plain(table)
    )


def _number(text: str) -> float | None:
    return float(text) if text else None


def demo_tables(
    evaluation: Evaluation, students: Mapping[str, Evaluation]
) -> list[tuple[str, Table]]:
    """The tables that end the demo; Dice is the mean over the cases."""
    structures = list(evaluation.noise_maps)
    labels: list[Sequence[Cell]] = [
        [what, *(evaluation.mean(what, name) for name in structures)]
        for what in ("given", "mended")
    ]
    trained: list[Sequence[Cell]] = [
        [f"trained on {name} labels", *(scores.mean("predicted", s) for s in structures)]
        for name, scores in students.items()
    ]
    return [
        ("Dice of the labels against the clean ones:", Table(["labels", *structures], labels)),
        ("Noise maps against the known errors:", evaluation.noise_table()),
        ("Dice of the students on unseen phantoms:", Table(["student", *structures], trained)),
    ]
