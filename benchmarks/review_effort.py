"""JSRT with reference noise: how much must be looked at until the corrupted masks are found?

For each seed the training masks are corrupted (preset `reference`), cross-fitted and flagged with
the default settings, and all 591 masks are ranked by every score of rankings.csv, beside cleanlab's
own `segmentation.rank.get_label_quality_scores` (method softmin) on the same probabilities.  The
default score was chosen on seeds 10 and 11 of alpha 0.3 and seed 10 of alpha 0.5 and 0.7.

With --radii 0.25 the errors are a quarter as large, so that rankings differ for large structures,
too: at the full size each of them finds all corrupted lungs first.

JSON: `masks`, score -> structure (and `mean`) -> figure -> its values, one a seed:
  average_precision   of "is this mask corrupted", area under the precision-recall curve
  effort              share of the masks to look at, worst first, until 95 % of the corrupted ones
                      are found; equal scores are all looked at
`cases`: the same of "is any mask of this case corrupted", by the ranking of cases.csv and by the
worst of cleanlab's scores.  `least_effort`: what a perfect ranking needs.
"""

from __future__ import annotations

import argparse
import json
import math
import statistics
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np

from jsrt import BETA, TRAINING, Lines
from maskmend import stages
from maskmend.arrays.overlap import average_precision
from maskmend.core import BoolArray, Dataset, FloatArray, Listener
from maskmend.datasets import open_dataset
from maskmend.datasets.noise import plan_noise
from maskmend.rankings import SCORES, read_cases, read_masks, write_rankings
from maskmend.report.tables import Cell, Spread, Table, markdown, spread
from maskmend.settings import Settings, override_settings
from maskmend.store import Run, Source

CLEANLAB = "cleanlab_softmin"
FOUND = 0.95
Figures = dict[str, float]
Seed = dict[str, dict[str, Figures]]
"""Of one seed: score -> structure -> figure -> value."""


def main() -> None:
    options = parse()
    clean = open_dataset(options.data)
    settings = override_settings(Settings(), tuple(options.set))
    seeds = range(options.first_seed, options.first_seed + options.seeds)
    found = [run_seed(clean, seed, settings, options) for seed in seeds]
    summary: dict[str, Any] = {
        name: joined([one[name] for one in found]) for name in ("masks", "cases", "least_effort")
    }
    summary |= {
        "alpha": options.alpha,
        "radii": radii(options.radii),
        "seeds": list(seeds),
        "settings": settings.model_dump(),
    }
    print_tables(summary)
    write_summary(options.json, summary)


def parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    default = Path(__file__).parents[1] / ".." / "shared" / "data" / "jsrt"
    parser.add_argument("--data", type=Path, default=default, help="JSRT, reference layout")
    runs = Path("runs/review-effort")
    parser.add_argument("--work", type=Path, default=runs, help="folder for runs; resumable")
    parser.add_argument("--alpha", type=float, default=0.3, help="share of masks corrupted")
    parser.add_argument("--radii", type=float, default=1.0, help="share of the reference's radii")
    parser.add_argument("--seeds", type=int, default=3, help="how many seeds")
    parser.add_argument("--first-seed", type=int, default=0)
    parser.add_argument("--set", action="append", default=[], help="a setting, name=value")
    parser.add_argument("--json", type=Path, help="file for the figures")
    return parser.parse_args()


def write_summary(path: Path | None, summary: dict[str, Any]) -> None:
    if path:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(json.dumps(summary, indent=1, sort_keys=True) + "\n")


def run_seed(
    clean: Dataset, seed: int, settings: Settings, options: argparse.Namespace
) -> dict[str, Seed]:
    print(f"alpha {options.alpha}, seed {seed}", flush=True)
    smaller = "" if options.radii == 1 else f"-radii{options.radii}"
    root = options.work / f"alpha{options.alpha}{smaller}-seed{seed}"
    noisy = root / "noisy"
    if not (noisy / "corruptions.csv").exists():
        noise = plan_noise(clean, "reference", {"": options.alpha}, radii(options.radii), TRAINING)
        stages.corrupt(clean, noisy, noise, seed)
    run = judged(noisy, root / "run", settings.model_copy(update={"seed": seed}), Lines())
    names = run.dataset.scheme.structures
    record = {
        (one.case, one.structure) for one in stages.read_corruptions(noisy / "corruptions.csv")
    }
    wrong = np.array([[(case.id, name) in record for name in names] for case in run.cases])
    scores = mask_scores(run)
    masks: Seed = {}
    for score, table in scores.items():
        columns = zip(names, wrong.T, table.T, strict=True)
        masks[score] = {name: measures(truth, column) for name, truth, column in columns}
    corrupted: BoolArray = np.asarray(wrong.any(axis=1))
    of_cases = case_scores(run, scores).items()
    least = {
        name: {"effort": least_effort(column)} for name, column in zip(names, wrong.T, strict=True)
    }
    return {
        "masks": masks,
        "cases": {name: {"case": measures(corrupted, score)} for name, score in of_cases},
        "least_effort": {"masks": least, "cases": {"case": {"effort": least_effort(corrupted)}}},
    }


def radii(share: float) -> dict[str, tuple[int, int]]:
    """The reference's ranges of radii times a share, in pixels, 1 at least."""
    return {
        name: (max(round(share * low), 1), max(round(share * high), 1))
        for name, (low, high) in BETA.items()
    }


def judged(data: Path, root: Path, settings: Settings, listener: Listener) -> Run:
    """Cross-fit, flag and rank the labels as they came."""
    run = Run.create(root, Source(str(data.resolve()), TRAINING), settings)
    stages.crossfit(run, listener)
    stages.flag(run, listener)
    write_rankings(run, listener)
    return run


def mask_scores(run: Run) -> dict[str, FloatArray]:
    """Score -> (cases, structures), the higher the worse; cleanlab's own among them."""
    places = {case.id: index for index, case in enumerate(run.cases)}
    names = run.dataset.scheme.structures
    found = {score: np.full((len(places), len(names)), np.nan) for score in ("score", *SCORES)}
    for mask in read_masks(run):
        place = places[mask.case], names.index(mask.structure)
        found["score"][place] = mask.score
        for score in SCORES:
            found[score][place] = getattr(mask.scores, score)
    found[CLEANLAB] = cleanlab_softmin(run)
    return found


def cleanlab_softmin(run: Run) -> FloatArray:
    """1 - cleanlab's score of each mask of overlapping structures, (cases, structures)."""
    from cleanlab.segmentation.rank import get_label_quality_scores

    rows = []
    for case in run.cases:
        labels, probs = run.read_given(case), np.array(run.read_probabilities(case))
        both = np.stack([np.subtract(1, probs, dtype=probs.dtype), probs], axis=1)
        quality, _ = get_label_quality_scores(labels.astype(int), both, verbose=False)
        rows.append(1 - quality)
    return np.array(rows)


def case_scores(run: Run, scores: dict[str, FloatArray]) -> dict[str, FloatArray]:
    """Score -> (cases,): of cases.csv, and the worst mask by cleanlab."""
    by_case = {case.case: case.score for case in read_cases(run)}
    return {
        "score": np.array([by_case[case.id] for case in run.cases]),
        CLEANLAB: scores[CLEANLAB].max(axis=1),
    }


def measures(wrong: BoolArray, scores: FloatArray) -> Figures:
    """Average precision and effort.  wrong, scores: (N,); what has no score is looked at last."""
    known = np.nan_to_num(scores, nan=-math.inf)
    return {"average_precision": average_precision(wrong, known), "effort": effort(wrong, known)}


def effort(wrong: BoolArray, scores: FloatArray) -> float:
    """Share to look at, highest score first, until 95 % of the wrong ones are found."""
    lowest = np.sort(scores[wrong])[::-1][_enough(wrong) - 1]
    return float(np.mean(scores >= lowest))


def least_effort(wrong: BoolArray) -> float:
    """The same of a perfect ranking."""
    return _enough(wrong) / len(wrong)


def _enough(wrong: BoolArray) -> int:
    # 0.95 x 20 is 19, not the 20 that a product just above it would give
    return math.ceil(round(FOUND * int(wrong.sum()), 9))


def joined(seeds: list[Seed]) -> dict[str, dict[str, dict[str, list[float]]]]:
    """Score -> structure -> figure -> values of the seeds; of several structures also `mean`."""
    found: dict[str, dict[str, dict[str, list[float]]]] = {}
    for score, structures in seeds[0].items():
        figures = list(next(iter(structures.values())))
        names = list(structures)
        table = {
            name: {figure: [seed[score][name][figure] for seed in seeds] for figure in figures}
            for name in names
        }
        if len(names) > 1:
            table["mean"] = {
                figure: [
                    statistics.fmean(v)
                    for v in zip(*(table[n][figure] for n in names), strict=True)
                ]
                for figure in figures
            }
        found[score] = table
    return found


def as_table(found: dict[str, dict[str, dict[str, list[float]]]], figure: str) -> Table:
    """A row a score, the best mean first."""
    columns = list(next(iter(found.values())))
    rows: list[list[Cell]] = [
        [score, *(spread(table[column][figure]) for column in columns)]
        for score, table in found.items()
    ]

    def mean(row: Iterable[Cell]) -> float:
        last = list(row)[-1]
        best_first = 1 if figure == "effort" else -1
        return best_first * last.mean if isinstance(last, Spread) else 0.0

    return Table([figure.replace("_", " "), *columns], sorted(rows, key=mean))


def print_tables(summary: dict[str, Any]) -> None:
    for what in ("masks", "cases"):
        for figure in ("average_precision", "effort"):
            print(f"{what}:\n{markdown(as_table(summary[what], figure), digits=4)}")
    for what, columns in summary["least_effort"].items():
        least = {name: round(statistics.fmean(of["effort"]), 4) for name, of in columns.items()}
        print(f"effort of a perfect ranking of {what}: {least}")


if __name__ == "__main__":
    main()
