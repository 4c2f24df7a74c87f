"""Real errors with a reference: are the images that people had to correct looked at first?

Nuclei (`dsb2018_fixes`, 96 microscopy images): the ORIGINAL labels, as nuclei against background,
are cross-fitted, flagged and ranked.  Wrong are the 36 images that the community corrected.  Most
corrections split or merge nuclei or move a pixel, which a mask of nuclei against background does
not show: `visible` says how many are visible at all, and how much of them.

Cells (`bubil`, d2 69, d3 47, d4 61 images): one of seven crowd masks an image is drawn at random,
with the seed.  Wrong are the masks with a Dice to the gold standard below 0.8.

Settings are the defaults, but for nuclei: these images come from several microscopes, some in a
few examples.  Those with a bright background are inverted, networks see 192 x 192 pixels for 600
steps at least, and no mask is left out of a training for being unlike the rest.  No setting and no
score was chosen by these truths.  Each seed is another training, and for cells another draw.

JSON: data set -> score (those of rankings.csv, and cleanlab's own softmin on the same
probabilities) -> figure -> its values, one a seed (null where no mask is wrong):
  average_precision   of "is this image wrong"
  first_10, first_20, first_40   share of the wrong images among the first so many
  beyond_softmin      average precision minus that of cleanlab's softmin, and the 95 % interval of
                      that difference over resampled images
and `wrong`, `images`: how many there are; `random`: 95 % interval of the average precision of
random rankings.  Of nuclei also average_precision_visible, where only images with at least 10
changed pixels are wrong; `visible`: images by changed pixels; `changed_share`: changed pixels
over those in which label and prediction differ, the median over the corrected images; `by_size`:
average precision of the ranking that puts the images with most pixels first, and looks at nothing.
"""

from __future__ import annotations

import argparse
import math
from pathlib import Path
from typing import Any

import numpy as np

from jsrt import Lines
from maskmend import files, formats
from maskmend.arrays.overlap import average_precision, count_overlap
from maskmend.core import BoolArray, FloatArray, IntArray
from maskmend.formats.png import encode_png
from maskmend.report.tables import Cell, Table, markdown, spread
from maskmend.settings import Settings, override_settings
from maskmend.store import Run
from review_effort import CLEANLAB, judged, mask_scores, write_summary

NUCLEI = "nuclei"
NUCLEI_SETTINGS = (
    "crossfit.teacher.size=192", "crossfit.teacher.least_steps=600",
    "crossfit.teacher.select_after=0",
)  # fmt: skip
CELLS = {"d2": "d2_phase_rabbit_smc", "d3": "d3_phase_fibroblast", "d4": "d4_fluo_lu_melanoma"}
BRIGHT = 127
"""Median of an image with a bright background."""
CROWD = 7
GOOD_DICE = 0.8
FIRST = (10, 20, 40)
DRAWS = 2000
"""Random rankings, and resampled sets of images."""
VISIBLE = 10
"""Changed pixels from which a correction is held to be visible; the median nucleus has 305."""

Values = dict[str, list[float | None]]
"""Figure -> its values, one a seed."""


def main() -> None:
    options = parse()
    summary: dict[str, Any] = {"seeds": list(range(options.seeds))}
    for name in options.only or [NUCLEI, *CELLS]:
        overrides = (*(NUCLEI_SETTINGS if name == NUCLEI else ()), *options.set)
        settings = override_settings(Settings(), overrides)
        summary[name] = measure(name, settings, options)
        print(f"{name}: {summary[name]['wrong']} of {summary[name]['images']} are wrong")
        print(markdown(as_table(summary[name]["scores"])))
        print(f"score beyond softmin: {summary[name]['beyond_softmin']}")
        print(f"average precision of random rankings: {summary[name]['random']}\n", flush=True)
    cells = [summary[name]["scores"] for name in CELLS if name in summary]
    if len(cells) == len(CELLS):
        print(markdown(mean_table(cells)))
    if NUCLEI in summary:
        print(f"pixels that corrections changed: {summary[NUCLEI]['visible']}")
        print(f"of those that label and prediction differ in: {summary[NUCLEI]['changed_share']}")
        print(f"average precision of a ranking by size: {summary[NUCLEI]['by_size']:.3f}")
    write_summary(options.json, summary)


def parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    default = Path(__file__).parents[1] / ".." / "shared" / "data"
    parser.add_argument("--data", type=Path, default=default, help="folder of both data sets")
    runs = Path("runs/real-errors")
    parser.add_argument("--work", type=Path, default=runs, help="folder for runs; resumable")
    parser.add_argument("--seeds", type=int, default=3, help="how many seeds")
    parser.add_argument("--only", action="append", choices=[NUCLEI, *CELLS], help="a data set")
    parser.add_argument("--set", action="append", default=[], help="a setting, name=value")
    parser.add_argument("--json", type=Path, help="file for the figures")
    return parser.parse_args()


def measure(name: str, settings: Settings, options: argparse.Namespace) -> dict[str, Any]:
    """The figures of one data set over all seeds."""
    scores: dict[str, Values] = {}
    found: dict[str, Any] = {"scores": scores, "wrong": [], "random": [], "beyond_softmin": []}
    changed: dict[str, int] = {}
    for seed in range(options.seeds):
        root = options.work / name
        source = options.data / ("dsb2018_fixes" if name == NUCLEI else f"bubil/{CELLS[name]}")
        labels = root / ("data" if name == NUCLEI else f"draw{seed}")
        if not (labels / "complete.json").exists():
            if name == NUCLEI:
                write_nuclei(source, labels)
            else:
                write_cells(source, labels, draw_crowd(source, seed))
        run = judged(
            labels, root / f"run{seed}", settings.model_copy(update={"seed": seed}), Lines()
        )
        changed = changed_nuclei(source) if name == NUCLEI else {}
        truth = corrected(source) if name == NUCLEI else bad_cells(source, run)
        wrong = np.array([truth[case.id] for case in run.cases])
        pixels = np.array([changed.get(case.id, 0) for case in run.cases])
        tables = mask_scores(run)
        for score, table in tables.items():
            of = scores.setdefault(score, {})
            for figure, value in figures(wrong, table[:, 0], pixels).items():
                of.setdefault(figure, []).append(None if math.isnan(value) else value)
        found["wrong"].append(int(wrong.sum()))
        found["random"].append(random_interval(wrong))
        beyond = difference(wrong, tables["score"][:, 0], tables[CLEANLAB][:, 0])
        found["beyond_softmin"].append(beyond)
        if name == NUCLEI:
            share = changed_share(run, changed, truth)
            found.setdefault("changed_share", []).append(share)
            sizes = np.array([run.read_given(case).size for case in run.cases], float)
            found["by_size"] = average_precision(wrong, sizes)
    found["images"] = len(wrong)
    return found | ({"visible": visible(truth, changed)} if name == NUCLEI else {})


def write_nuclei(data: Path, out: Path) -> None:
    """Images in grey on a dark ground, and masks of nuclei from the original instance maps."""
    for row in files.read_csv(data / "changes.csv"):
        name = f"{row['id']}.png"
        channels, _ = formats.read_image(data / "images" / name)
        grey = channels.mean(axis=0).round().astype(np.uint8)
        if np.median(grey) > BRIGHT:
            grey = 255 - grey
        nuclei, _ = formats.read_mask(data / "labels_original" / name)
        _write_case(out, "nuclei", name, encode_png(grey), nuclei)
    files.write_json(out / "complete.json", {})


def draw_crowd(data: Path, draw: int) -> dict[str, str]:
    """Image -> the folder of the crowd mask that is drawn for it."""
    rng = np.random.default_rng(draw)
    images = sorted((data / "images").glob("*.png"))
    return {path.stem: f"crowd{rng.integers(CROWD) + 1}" for path in images}


def write_cells(data: Path, out: Path, masks: dict[str, str]) -> None:
    """Images, each with the mask from the folder named for it; complete.json says which."""
    for image, folder in masks.items():
        name = f"{image}.png"
        mask, _ = formats.read_mask(data / folder / name)
        _write_case(out, "cell", name, (data / "images" / name).read_bytes(), mask)
    files.write_json(out / "complete.json", masks)


def _write_case(out: Path, structure: str, name: str, image: bytes, mask: IntArray) -> None:
    files.write_bytes_atomic(out / "images" / name, image)
    picture = np.where(mask > 0, 255, 0).astype(np.uint8)
    files.write_bytes_atomic(out / "masks" / structure / name, encode_png(picture))


def corrected(data: Path) -> dict[str, bool]:
    """Image -> whether anybody corrected its labels."""
    return {row["id"]: row["status"] != "unchanged" for row in files.read_csv(data / "changes.csv")}


def changed_nuclei(data: Path) -> dict[str, int]:
    """Image -> pixels that the correction moved between nuclei and background."""
    found = {}
    for path in sorted((data / "labels_original").glob("*.png")):
        before, _ = formats.read_mask(path)
        after, _ = formats.read_mask(data / "labels_corrected" / path.name)
        found[path.stem] = int(np.count_nonzero((before > 0) != (after > 0)))
    return found


def bad_cells(data: Path, run: Run) -> dict[str, bool]:
    """Image -> whether the mask that was drawn for it has a Dice to gold below 0.8."""
    found = {}
    for case in run.cases:
        gold, _ = formats.read_mask(data / "gold" / f"{case.id}.png")
        dice = count_overlap(gold > 0, run.read_given(case)[0] == 1).dice
        found[case.id] = dice < GOOD_DICE
    return found


def visible(wrong: dict[str, bool], changed: dict[str, int]) -> dict[str, int]:
    """Corrected images by the pixels that changed, smallest first."""
    pixels = sorted(changed[name] for name, is_wrong in wrong.items() if is_wrong)
    edges = (0, 1, VISIBLE, 100, 1000, 1 << 30)
    names = ("none", "1 to 9", "10 to 99", "100 to 999", "1000 and more")
    counts = np.histogram(pixels, edges)[0]
    return {name: int(count) for name, count in zip(names, counts, strict=True)}


def changed_share(run: Run, changed: dict[str, int], wrong: dict[str, bool]) -> float:
    """Changed pixels over those that label and prediction differ in, median over wrong images."""
    differing = {
        case.id: int(np.count_nonzero(run.read_given(case) != run.read_predicted(case)))
        for case in run.cases
        if wrong[case.id]
    }
    return float(np.median([changed[name] / max(n, 1) for name, n in differing.items()]))


def random_interval(wrong: BoolArray) -> list[float] | None:
    """2.5 and 97.5 % of the average precision of random rankings; None where none is wrong."""
    rng = np.random.default_rng(0)
    drawn = [average_precision(wrong, rng.random(len(wrong))) for _ in range(DRAWS)]
    return _interval(drawn)


def difference(wrong: BoolArray, mine: FloatArray, theirs: FloatArray) -> dict[str, Any]:
    """Average precision of one score minus that of another, with its interval over images."""
    rng = np.random.default_rng(0)
    known = [np.nan_to_num(scores, nan=-math.inf) for scores in (mine, theirs)]
    picks = [np.arange(len(wrong)), *rng.integers(0, len(wrong), (DRAWS, len(wrong)))]
    first, second = (
        [average_precision(wrong[pick], scores[pick]) for pick in picks] for scores in known
    )
    gaps = np.subtract(first, second)
    whole = None if math.isnan(gaps[0]) else float(gaps[0])
    return {"difference": whole, "interval": _interval(gaps[1:].tolist())}


def _interval(values: list[float]) -> list[float] | None:
    known = [value for value in values if not math.isnan(value)]
    return [float(v) for v in np.percentile(known, [2.5, 97.5])] if known else None


def figures(wrong: BoolArray, scores: FloatArray, changed: IntArray) -> dict[str, float]:
    """wrong, scores, changed: (N,).  What has no score is looked at last."""
    known = np.nan_to_num(scores, nan=-math.inf)
    order = np.argsort(-known, kind="stable")
    found = {"average_precision": average_precision(wrong, known)}
    if changed.any():
        found["average_precision_visible"] = average_precision(changed >= VISIBLE, known)
    total = max(int(wrong.sum()), 1)
    return found | {f"first_{n}": float(wrong[order[:n]].sum() / total) for n in FIRST}


def as_table(scores: dict[str, Values]) -> Table:
    """A row a score, the best mean average precision first."""
    names = list(next(iter(scores.values())))
    rows: list[list[Cell]] = [
        [score, *(spread(_known(of[name])) for name in names)] for score, of in scores.items()
    ]
    order = sorted(rows, key=lambda row: -_mean(scores[str(row[0])]["average_precision"]))
    return Table(["score", *(name.replace("_", " ") for name in names)], order)


def mean_table(cells: list[dict[str, Values]]) -> Table:
    """Average precision in the mean over the data sets of cells."""
    rows: list[list[Cell]] = []
    for score in ("score", CLEANLAB):
        each = [_mean(scores[score]["average_precision"]) for scores in cells]
        rows.append([score, *each, spread(each).mean])
    return Table(["average precision", *CELLS, "mean"], rows)


def _known(values: list[float | None]) -> list[float]:
    return [math.nan if value is None else value for value in values]


def _mean(values: list[float | None]) -> float:
    return spread(_known(values)).mean


if __name__ == "__main__":
    main()
