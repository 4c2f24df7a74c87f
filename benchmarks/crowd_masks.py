"""Real noise: outlines of cells by internet workers, and what mending makes of them.

BU-BIL (`bubil`, Gurari et al., WACV 2015), d2, d3 and d4 (69, 47 and 61 images): each image with
one of its seven crowd masks, drawn at random; a gold standard fused from experts.  60 % of the
images, drawn anew with each draw of the masks, are for training, the others for testing.  On the
training images with their crowd masks maskmend's default audit runs (cross-fit, noise maps, mended
labels, student); the same network is trained on the given masks and on gold ones, as long and with
the same settings.  Gold masks of the training images score masks and train the upper bound; those
of the test images score the finished students, once, on their own grid.  No setting was chosen by
gold masks.

Why no cross-validation: a fold more is six trainings more, and all figures that are compared come
from the same images of the same draw, so that differences (the `gain`s) are paired.  Another split
in each draw makes the spread tell of images as well as of masks.  Some cells are on several images
at other times, and nothing says which: students are scored on images that they have not seen, but
not always on cells that they have not; that helps the student on gold masks most.

JSON, as of `jsrt.py`, with draws as seeds and data sets as organs: numbers under these names;
beside NAME_mean (over the data sets) stand NAME_spread (standard deviation over the draws),
NAME_seeds, NAME_organs and NAME_organs_by_seed:
  given_mean              Dice of the crowd masks to gold, on the training images
  predicted_mean          of the predictions of teachers that have not seen the image
  mended_mean             of the mended masks
  mended_gain_mean        mended minus given; the sum of the next two:
  moved_gain_mean         what moving doubted masks adds to the mean over all masks
  redrawn_gain_mean      what redrawing the other doubted masks adds to it
  student_mean            Dice to gold of maskmend's student, on the test images
  on_mended_mean          of a student on all mended masks, those nearer to the prediction included
  noisy_mean              of plain training on the crowd masks, stopped where it agrees best with
                          those of held-out training images
  noisy_last_mean         of the same training at its last epoch
  clean_mean              of plain training on gold masks
  student_gain_mean       student minus the better one of noisy and noisy_last, data set by data set
  agreement_mean          Dice of the crowd masks to the predictions of teachers that have not seen
                          them: all that is known without gold masks
  doubted_mean            share of the crowd masks that are doubted, and so may be mended
  precision_mean          of the noise maps: share of the flagged pixels that are wrong (also
                          recall, f1)
`images`: of each data set, how many for training and for testing.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path

import numpy as np

from jsrt import TRAINING, Figures, Lines, as_table, audited, score, summarise
from maskmend import files, stages, trainings
from maskmend.arrays.overlap import count_overlap
from maskmend.core import Dataset
from maskmend.datasets import open_dataset, read_labels
from maskmend.report.tables import markdown, spread
from maskmend.settings import Settings, override_settings
from maskmend.store import Run, Source
from real_errors import CELLS, draw_crowd, write_cells
from review_effort import write_summary

TRAINING_SHARE = 0.6


def main() -> None:
    options = parse()
    settings = override_settings(Settings(), tuple(options.set))
    names = options.only or list(CELLS)
    draws = range(options.first_draw, options.first_draw + options.draws)
    # a draw of all data sets before the next: a benchmark that is stopped has whole draws
    found = [run_draw(names, draw, settings, options) for draw in draws]
    summary = summarise(found)
    summary |= {"draws": list(draws), "settings": settings.model_dump()}
    summary["images"] = {
        name: {part: len(images) for part, images in split(options.data / CELLS[name], 0).items()}
        for name in names
    }
    print(markdown(as_table(summary)))
    write_summary(options.json, summary)


def parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    default = Path(__file__).parents[1] / ".." / "shared" / "data" / "bubil"
    parser.add_argument("--data", type=Path, default=default, help="BU-BIL, a folder a data set")
    runs = Path("runs/crowd-masks")
    parser.add_argument("--work", type=Path, default=runs, help="folder for runs; resumable")
    parser.add_argument("--draws", type=int, default=3, help="how many draws")
    parser.add_argument("--first-draw", type=int, default=0)
    parser.add_argument("--only", action="append", choices=list(CELLS), help="a data set")
    parser.add_argument("--set", action="append", default=[], help="a setting, name=value")
    parser.add_argument("--json", type=Path, help="file for the figures")
    return parser.parse_args()


def run_draw(
    names: list[str], draw: int, settings: Settings, options: argparse.Namespace
) -> Figures:
    """The figures of one draw: name -> data set -> value."""
    figures: Figures = {}
    for name in names:
        print(f"draw {draw}, {name}", flush=True)
        root = options.work / f"{name}-draw{draw}"
        found = measure(options.data / CELLS[name], root, draw, settings)
        print(json.dumps(found), flush=True)
        for figure, value in found.items():
            figures.setdefault(figure, {})[name] = value
    return figures


def measure(data: Path, root: Path, draw: int, settings: Settings) -> dict[str, float]:
    """All figures of one draw of one data set.  draw: also the seed of the trainings."""
    settings = settings.model_copy(update={"seed": draw})
    write_draw(data, root, draw)
    gold = open_dataset(root / "gold")
    by_structure: Figures = {}
    crowd = Source(str((root / "crowd").resolve()), TRAINING)
    audited(by_structure, "", gold, crowd, root / "run", settings)
    run = Run.open(root / "run")
    stages.train(run, trainings.HARD, listener=Lines())
    by_structure["on_mended"] = score(run, trainings.HARD, gold)
    stages.train(run, stages.GIVEN, listener=Lines())
    by_structure["noisy"] = score(run, stages.GIVEN, gold, "best")
    by_structure["noisy_last"] = score(run, stages.GIVEN, gold, "last")
    source = Source(str(gold.root.resolve()), TRAINING)
    gold_run = Run.create(root / "gold-run", source, settings)
    stages.train(gold_run, stages.GIVEN, listener=Lines())
    by_structure["clean"] = score(gold_run, stages.GIVEN, gold)
    del by_structure["minutes"]
    # cells are the only structure
    found = {name: next(iter(values.values())) for name, values in by_structure.items()}
    found["predicted"] = predicted_dice(run, gold)
    masks = run.read_masks_table()
    found["agreement"] = spread(float(mask["agreement"]) for mask in masks).mean
    found["doubted"] = sum(map(len, run.doubted().values())) / len(masks)
    found["mended_gain"] = found["mended"] - found["given"]
    found |= gains(files.read_csv(run.root / "evaluation.csv"), run.redrawn())
    found["student_gain"] = found["student"] - max(found["noisy"], found["noisy_last"])
    return found


def predicted_dice(run: Run, gold: Dataset) -> float:
    """Mean Dice to gold of the out-of-sample predictions."""
    clean = {case.id: case for case in gold.cases}
    return spread(
        count_overlap(
            read_labels(gold, clean[case.id])[0] == 1, run.read_predicted(case)[0] == 1
        ).dice
        for case in run.cases
    ).mean


def gains(scores: list[dict[str, str]], redrawn: dict[str, set[str]]) -> dict[str, float]:
    """What moving and what redrawing doubted masks adds to the mean Dice over all masks.

    scores: rows of evaluation.csv.  redrawn: case -> its structures that are doubted and not moved.
    """
    dice = {(row["what"], row["case"]): float(row["dice"]) for row in scores}
    changes = {case: dice["mended", case] - dice["given", case] for case in redrawn}
    of_redrawn = sum(change for case, change in changes.items() if redrawn[case])
    of_moved = sum(changes.values()) - of_redrawn
    total = len(changes)
    return {"moved_gain": of_moved / total, "redrawn_gain": of_redrawn / total}


def write_draw(data: Path, root: Path, draw: int) -> None:
    """Three data sets of masks: crowd/ for training, gold/ with the splits of both parts."""
    parts = split(data, draw)
    drawn = draw_crowd(data, draw)
    masks = {"crowd": {image: drawn[image] for image in parts["training"]}}
    for part, images in parts.items():
        masks[f"gold/{part}"] = dict.fromkeys(images, "gold")
    for folder, chosen in masks.items():
        if not (root / folder / "complete.json").exists():
            write_cells(data, root / folder, chosen)


def split(data: Path, draw: int) -> dict[str, list[str]]:
    """The images of training and validation, each in the order of their names."""
    names = sorted(path.stem for path in (data / "images").glob("*.png"))
    # a stream of its own: the crowd masks are drawn from the plain seed
    order = np.random.default_rng((draw, 1)).permutation(len(names))
    parts = np.split(order, [round(TRAINING_SHARE * len(names))])
    return {
        part: [names[place] for place in sorted(places)]
        for part, places in zip(("training", "validation"), parts, strict=True)
    }


if __name__ == "__main__":
    main()
