"""The first page in plain sentences: how good the labels are, and what to do next."""

from __future__ import annotations

import shlex
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from maskmend import files
from maskmend.report.figures import percent
from maskmend.report.html import Step
from maskmend.reporting.effort import GOAL, Effort
from maskmend.reporting.found import Found
from maskmend.reporting.labels import Noise
from maskmend.reporting.measuring import Measured
from maskmend.reporting.names import (
    Names,
    count,
    listing,
    score,
    share,
    share_between,
    shown_number,
)
from maskmend.store import Run

WORST_STRUCTURES = 3
"""Structures of which the summary names the noise rate."""


@dataclass(frozen=True)
class Summary:
    """headline: one sentence.  facts: value and what it is.  steps: in this order."""

    headline: str
    sentences: Sequence[str]
    facts: Sequence[tuple[str, str]]
    steps: Sequence[Step]


@dataclass(frozen=True, eq=False)
class Gathered:
    """All that the summary speaks of."""

    noise: Sequence[Noise]
    measured: Measured
    found: Found
    effort: Effort


def summarise(run: Run, names: Names, gathered: Gathered) -> Summary:
    """The sentences for a run."""
    doubted, masks = _doubted(run), _masks(run)
    measured, found = gathered.measured, gathered.found
    now, after = float(np.nanmean(measured.now)), float(np.nanmean(measured.after))
    total = sum(doubted.values())
    if total:
        headline = (
            f"{total:,} of {count(masks, 'mask')} ({share(total / masks)}) differ from their "
            "prediction much more than is ordinary here, and are doubted."
        )
    else:
        headline = f"None of {count(masks, 'mask')} stands out: each agrees with its prediction."
    sentences = [
        _origin(run), _by_structure(run, doubted), _noise_sentence(gathered.noise),
        f"Expected Dice of the labels with the truth, averaged over all masks: {score(now)} now, "
        f"{score(after)} with every suggestion taken. Both are estimates from the predictions, and "
        "an unsure prediction lowers both: it is the difference that counts.",
        *_truth(run), *_effort_sentence(run, gathered.effort), *_types(found),
    ]  # fmt: skip
    needed = gathered.effort.needed()
    facts = [
        (f"{len(run.cases):,}", f"cases, {masks:,} masks"),
        (f"{total:,}", "masks doubted"),
        (f"{score(now)} → {score(after)}", "expected Dice now → after (estimate)"),
        (
            "–" if needed is None else f"{needed:,}",
            f"cases hold {percent(GOAL)} of the estimated errors",
        ),
    ]
    steps = _steps(run, names, found, total)
    return Summary(headline, [s for s in sentences if s], facts, steps)


def _doubted(run: Run) -> Mapping[str, int]:
    rows = run.read_masks_table()
    return Counter(row["structure"] for row in rows if row["doubted"] == "True")


def _masks(run: Run) -> int:
    """Masks that took part: a structure without a label in a case has no mask."""
    return sum(bool(row["agreement"]) for row in run.read_masks_table())


def _origin(run: Run) -> str:
    structures = run.dataset.scheme.structures
    said = (
        f"{count(len(run.cases), 'case')} with {count(len(structures), 'structure')} "
        f"({listing(list(structures))}). "
    )
    if run.predictions is not None:
        return said + "Each mask was judged by a prediction that was brought to the run."
    folds = run.read_folds().count
    return said + (
        f"Each mask was judged by one of {folds} models, one that had seen neither the case nor "
        "its patient."
    )


def _by_structure(run: Run, doubted: Mapping[str, int]) -> str:
    if not doubted or len(run.dataset.scheme.structures) == 1:
        return ""
    most = sorted(doubted.items(), key=lambda pair: (-pair[1], pair[0]))
    named = [f"{name} {number:,}" for name, number in most]
    return f"Doubted masks by structure: {listing(named)}."


def _noise_sentence(noise: Sequence[Noise]) -> str:
    known = sorted((n for n in noise if n.wrong is not None), key=lambda n: -(n.wrong or 0))
    if not known:
        return ""
    parts = [
        f"{share(n.wrong)} of {n.structure} ({share_between(*n.wrong_range)})"
        for n in known[:WORST_STRUCTURES]
    ]
    rest = len(known) - len(parts)
    more = f" The other {rest} structures have lower rates." if rest > 0 else ""
    return (
        "Share of the pixels given to a structure that are estimated to be wrong, with the 95 % "
        f"interval: {listing(parts)}.{more}"
    )


def _truth(run: Run) -> list[str]:
    """What an evaluation against clean labels says."""
    if not (run.root / "evaluation.csv").exists():
        return []
    means = {}
    rows = files.read_csv(run.root / "evaluation.csv")
    for what in ("given", "mended"):
        dices = [shown_number(row["dice"]) for row in rows if row["what"] == what]
        known = [dice for dice in dices if dice == dice]
        means[what] = sum(known) / len(known) if known else float("nan")
    return [
        f"Measured against clean labels, mean Dice is {score(means['given'])} for the given and "
        f"{score(means['mended'])} for the mended masks."
    ]


def _effort_sentence(run: Run, effort: Effort) -> list[str]:
    needed = effort.needed()
    if needed is None:
        return []
    return [
        f"If the suggestions are right, the first {count(needed, 'case')} to look at "
        f"({share(needed / len(run.cases))}) hold {percent(GOAL)} of the errors."
    ]


def _types(found: Found) -> list[str]:
    if not found.findings:
        return []
    counted = Counter(finding.type for finding in found.findings)
    named = [f"{name} {number:,}" for name, number in
             sorted(counted.items(), key=lambda pair: (-pair[1], pair[0]))]  # fmt: skip
    return [f"{count(len(found.findings), 'finding')}: {listing(named)}."]


def _steps(run: Run, names: Names, found: Found, doubted: int) -> list[Step]:
    name = shlex.quote(names.run)
    steps = []
    if run.left_out:
        steps.append(
            Step(f"Decide on the {count(len(run.left_out), 'case')} left out: they are not judged.")
        )
    if found.findings is None:
        text = "Group what is flagged into findings, and rank them; then make this report again."
        steps.append(Step(text, f"maskmend rank {name}"))
    if found.findings or (found.findings is None and doubted):
        first = run.cases[found.order[0]].id
        steps.append(
            Step(
                f"Look at the findings in the browser, the first ones first (it begins with "
                f"{first}), and accept or reject each.", f"maskmend review {name}",
            )
        )  # fmt: skip
        steps.append(
            Step("Write the mended data set with what was accepted.",
                 f"maskmend export {name} OUT --decisions")
        )  # fmt: skip
    elif found.findings is not None:
        steps.append(Step("There is nothing to review. The data set can be used as it is."))
    return steps
