"""What a command says at its end, as text."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence

from maskmend.core import Finding
from maskmend.datasets.doctor import Diagnosis
from maskmend.report.tables import Cell, Table, plain
from maskmend.scores import Evaluation
from maskmend.settings import Settings
from maskmend.store import Run

WORST = 10

LISTED = 40
"""Cases that `doctor` shows of a large data set, unless it is asked for all."""


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


def findings_by_type(findings: Sequence[Finding]) -> str:
    """How many findings there are of each structure and type, the most frequent first."""
    if not findings:
        return "Nothing found beyond the tolerance.\n"
    counts = Counter((found.structure, found.type) for found in findings)
    cases = len({found.case for found in findings})
    table = Table(
        ["structure", "type", "findings"],
        [[*pair, count] for pair, count in counts.most_common()],
    )
    return f"{len(findings)} findings in {cases} cases:\n\n{plain(table)}"


GOOD_MEDIAN, GOOD_LOW, FEWEST = 0.985, 0.95, 8
"""Median and 5th percentile of Dice above which predictions agree too well with the labels to be
out-of-sample, and masks that are needed to say so.  Teachers of JSRT radiographs agree out of
sample with clean labels at 0.93 to 0.97, and an easy organ in CT at 0.97 or 0.98 with a few masks
far below; a network that has learnt its labels by heart at more than 0.99 in nearly all of them."""


def too_good(run: Run) -> list[str]:
    """A warning where predictions that exist agree so well that they seem to be in-sample.

    Of a run with a cross-fit nothing: its teachers are known not to have seen the case.
    """
    if run.predictions is None:
        return []
    agreements = sorted(
        float(row["agreement"]) for row in run.read_masks_table() if row["agreement"]
    )
    if len(agreements) < FEWEST:
        return []
    middle, low = agreements[len(agreements) // 2], agreements[len(agreements) // 20]
    if middle < GOOD_MEDIAN or low < GOOD_LOW:
        return []
    return [
        f"the predictions agree with the labels almost perfectly: half of the masks above a Dice "
        f"of {middle:.3f}, 95 % of them above {low:.3f}. Models that have not seen the labels "
        "rarely do. Check that each case was predicted by a model that was trained without it and "
        "its patient; predictions by a model that has seen the labels hide the errors."
    ]


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


def diagnosis_text(found: Diagnosis, all_cases: bool = False) -> str:
    """What was understood, the structures, the cases and the warnings."""
    parts = ["\n".join(found.dataset.understood)]
    structures: list[Sequence[Cell]] = [
        [name, *counts] for name, counts in found.structures().items()
    ]
    parts.append(plain(Table(["structure", "labelled in", "occurs in", "voxels"], structures)))
    shown = found.cases if all_cases else found.cases[:LISTED]
    rows = [
        [
            f.case.id, f.case.split, f.case.group, f.dtype, _times(f.shape), _times(f.spacing),
            f"{f.low:.4g}..{f.high:.4g}",
            ", ".join(f"{name} {voxels}" for name, voxels in f.voxels.items()),
        ]
        for f in shown
    ]  # fmt: skip
    header = ["case", "split", "patient", "values", "size", "spacing", "1..99 %", "voxels"]
    more = len(found.cases) - len(shown)
    rest = f"and {more} more: --all-cases, or --csv FILE\n" if more else ""
    parts.append(plain(Table(header, rows)) + rest)
    lines = [f"  {sentence}" for sentence in found.warnings]
    parts.append("\n".join(["Worth a look:", *lines]) if lines else "Nothing unusual was found.")
    return "\n\n".join(part.rstrip() for part in parts) + "\n"


def _times(numbers: Sequence[float] | None) -> str | None:
    return None if numbers is None else " x ".join(f"{number:.4g}" for number in numbers)


def next_step(found: Diagnosis, root: str, splits: Sequence[str]) -> str:
    """What `maskmend audit` would do with the data set.  splits: those that it would take."""
    cases = [case for case in found.dataset.cases if case.split in splits]
    folds = Settings().crossfit.folds
    patients = len({case.group for case in cases})
    command = f"maskmend audit {root} --run RUN"
    if patients < folds:
        return (
            f"`{command}` would not start: its {folds} folds need as many patients, and there are "
            f"{patients} in {', '.join(splits)}."
        )
    said = (
        f"`{command}` would train {folds} teachers on about {len(cases) * (folds - 1) // folds} "
        f"cases each, judge the masks of all {len(cases)} cases of {', '.join(splits)}, and train "
        "a student on the mended ones."
    )
    if found.dataset.stated_folds:
        said += (
            f" Predictions made with the {len(found.dataset.stated_folds)} folds that the data set "
            "states can be checked for being out-of-sample."
        )
    return said
