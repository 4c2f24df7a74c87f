"""Hippocampus MRI with corrupted labels: the whole way in 3D, beside what it must beat.

The 260 volumes of the Decathlon's hippocampus set that have both image and label (about
36 x 50 x 35 voxels of 1 mm; 1 anterior, 2 posterior).  In the order of their names, every fourth
is kept for testing until there are 60; the other 200 are for training.  For each seed: the
training labels are corrupted (preset `volume`: dilation, erosion, shift, anterior and posterior
swapped, a part missing; radii from the size of the structures), maskmend's default audit runs
(cross-fit, noise maps, mended labels, student), and the same network is trained on the given and
on the clean labels.  All settings were chosen on the training cases; the 60 test cases score the
finished students, once, on their own grid.

JSON: numbers under these names; beside NAME_mean stand NAME_spread (standard deviation over the
seeds), NAME_seeds, NAME_organs (mean over the seeds) and NAME_organs_by_seed:
  student_mean            Dice of the student on maskmend's mended labels
  noisy_mean              Dice of the same training on the given labels
  clean_mean              Dice of the same training on the clean labels
  f1_mean                 F1 of the noise maps against the known errors (also precision, recall)
  mended_mean             Dice of the mended labels to the clean ones, on the training cases
  given_mean              Dice of the corrupted labels to the clean ones
  minutes                 of cross-fit, flagging, mending and student, mean over the seeds; also
                          minutes_seeds; it holds for --set threads=N and an otherwise idle machine
"""

from __future__ import annotations

import argparse
import json
import statistics
import time
from functools import partial
from pathlib import Path
from typing import Any

from jsrt import Figures, Lines, organs, summarise
from maskmend import files, stages, trainings
from maskmend.arrays.agreement import predicted_labels
from maskmend.arrays.overlap import count_overlap
from maskmend.core import Case, Dataset
from maskmend.datasets import open_dataset, read_grid, read_image, read_labels
from maskmend.datasets.noise import plan_noise
from maskmend.report.tables import Cell, Table, markdown, spread
from maskmend.settings import Settings, override_settings
from maskmend.store import Run, Source

STRUCTURES = {"anterior": 1, "posterior": 2}
TRAINING = ("training",)
TESTED = 60
RESULTS = Path(__file__).parent / "results" / "hippocampus.json"


def main() -> None:
    options = parse()
    clean, test = split(options.data, options.work / "clean", options.work / "test")
    settings = override_settings(Settings(), tuple(options.set))
    seeds = range(options.first_seed, options.first_seed + options.seeds)
    figures = [run_seed(clean, test, seed, settings, options) for seed in seeds]
    summary = summarise(figures)
    used = Run.open(run_root(options, seeds[0]) / "run").settings
    summary |= {"settings": used.model_dump(), "alpha": options.alpha, "seeds": list(seeds)}
    summary |= {"cases": {"training": len(clean.cases), "test": len(test.cases)}}
    print(markdown(as_table(summary)))
    print(f"minutes a seed: {summary['minutes']:.1f}")
    options.json.parent.mkdir(parents=True, exist_ok=True)
    options.json.write_text(json.dumps(summary, indent=1, sort_keys=True) + "\n")


def parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    default = Path(__file__).parents[1] / ".." / "shared" / "data" / "msd_hippocampus"
    parser.add_argument("--data", type=Path, default=default, help="images/ and labels/")
    runs = Path("runs/hippocampus")
    parser.add_argument("--work", type=Path, default=runs, help="folder for runs; resumable")
    parser.add_argument("--alpha", type=float, default=0.5, help="share of masks corrupted")
    parser.add_argument("--seeds", type=int, default=3, help="how many seeds")
    parser.add_argument("--first-seed", type=int, default=0)
    parser.add_argument("--set", action="append", default=[], help="a setting, name=value")
    parser.add_argument("--json", type=Path, default=RESULTS, help="file for the figures")
    return parser.parse_args()


def split(data: Path, training: Path, test: Path) -> tuple[Dataset, Dataset]:
    """Two data sets of links: every fourth whole case for testing, until there are TESTED."""
    images, labels = ({p.name: p for p in (data / n).iterdir()} for n in ("images", "labels"))
    names = sorted(images.keys() & labels.keys())
    tested = names[::4][:TESTED]
    for root, chosen in ((test, tested), (training, sorted({*names} - {*tested}))):
        for name in chosen:
            files.link_file_atomic(images[name].resolve(), root / "images" / name)
            files.link_file_atomic(labels[name].resolve(), root / "masks" / name)
        files.write_json(root / "labels.json", STRUCTURES)
    return open_dataset(training), open_dataset(test)


def run_root(options: argparse.Namespace, seed: int) -> Path:
    root: Path = options.work / f"alpha{options.alpha}-seed{seed}"
    return root


def run_seed(
    clean: Dataset, test: Dataset, seed: int, settings: Settings, options: argparse.Namespace
) -> Figures:
    print(f"alpha {options.alpha}, seed {seed}", flush=True)
    settings = settings.model_copy(update={"seed": seed})
    root = run_root(options, seed)
    if not (root / "noisy" / "corruptions.csv").exists():
        noise = plan_noise(clean, "volume", {"": options.alpha}, {}, TRAINING)
        stages.corrupt(clean, root / "noisy", noise, seed)
    run, figures = audited(clean, root, settings)
    figures["student"] = score(run, settings.audit_labels, test)
    stages.train(run, stages.GIVEN, listener=Lines())
    figures["noisy"] = score(run, stages.GIVEN, test)
    clean_source = Source(str(clean.root.resolve()), TRAINING)
    clean_run = Run.create(options.work / f"clean-seed{seed}", clean_source, settings)
    stages.train(clean_run, stages.GIVEN, listener=Lines())
    figures["clean"] = score(clean_run, stages.GIVEN, test)
    print(json.dumps(figures), flush=True)
    return figures


def audited(clean: Dataset, root: Path, settings: Settings) -> tuple[Run, Figures]:
    """An audit and its figures; its minutes are kept beside the run for a resumed benchmark."""
    clock = root / "run.minutes"
    start = time.perf_counter()
    noisy = Source(str((root / "noisy").resolve()), TRAINING)
    run = stages.audit(noisy, root / "run", settings, listener=Lines())
    if not clock.exists():
        clock.write_text(f"{(time.perf_counter() - start) / 60:.2f}")
    evaluation = stages.evaluate(run, clean)
    figures: Figures = {"minutes": {"all": float(clock.read_text())}}
    for name in ("precision", "recall", "f1"):
        found = evaluation.noise_maps.items()
        figures[name] = {organ: getattr(overlap, name) for organ, overlap in found}
    for what in ("given", "mended"):
        figures[what] = organs(partial(evaluation.mean, what), run)
    return run, figures


def score(run: Run, student: str, test: Dataset) -> dict[str, float]:
    """Dice of a student on the test cases, mean over the cases, for each structure."""
    trained = trainings.load(run, f"students/{student}", None)

    def dices(case: Case) -> dict[str, float]:
        probs = trainings.probabilities(trained, read_image(case), read_grid(case).steps)
        predicted, truth = predicted_labels(probs, test.scheme), read_labels(test, case)
        masks = partial(test.scheme.structure_mask)
        return {
            name: count_overlap(masks(truth, name), masks(predicted, name)).dice
            for name in test.scheme.structures
        }

    found = [dices(case) for case in test.cases]
    return {name: statistics.fmean(one[name] for one in found) for name in test.scheme.structures}


def as_table(summary: dict[str, Any]) -> Table:
    rows: list[list[Cell]] = []
    for name in [key.removesuffix("_mean") for key in summary if key.endswith("_mean")]:
        by_seed = summary[f"{name}_organs_by_seed"]
        cells = [spread(by_seed[organ]) for organ in STRUCTURES]
        rows.append([name, spread(summary[f"{name}_seeds"]), *cells])
    return Table(["figure", "mean", *STRUCTURES], rows)


if __name__ == "__main__":
    main()
