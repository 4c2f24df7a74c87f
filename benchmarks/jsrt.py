"""JSRT with reference noise: the whole way, beside what it must beat.

For each seed: the training masks are corrupted (preset `reference`), maskmend's default audit runs
(cross-fit, noise maps, mended labels, student), and the same network is trained on the given and
on the clean labels.  All settings were chosen on the training images; the 50 validation images
score the finished students, once, at 256 x 256.

JSON: numbers under these names; beside NAME_mean stand NAME_spread (standard deviation over the
seeds), NAME_seeds, NAME_organs (mean over the seeds) and NAME_organs_by_seed:
  student_mean            Dice of the student on maskmend's mended labels
  noisy_mean              Dice of plain training on the noisy labels, as long as the student's,
                          stopped where it agrees best with the masks of held-out training cases
  noisy_last_mean         Dice of the same training at its last epoch
  noisy_to_the_end_mean   Dice of plain training on the noisy labels for --end epochs
  clean_mean              Dice of plain training on the clean labels
  f1_mean                 F1 of the noise maps against the known errors (also precision, recall)
  mended_mean             Dice of the mended labels to the clean ones, on the training images
  given_mean              Dice of the noisy labels to the clean ones
  minutes                 of cross-fit, flagging, mending and student, mean over the seeds; also
                          minutes_seeds; it holds for --set threads=N and an otherwise idle machine
The paper's preset stands beside it as paper_student_mean, paper_f1_mean, paper_mended_mean and
paper_minutes: two folds, noise map `both`, soft labels with eps 0.8 (Zhang et al., MICCAI 2020),
with the same network and plain training.
"""

from __future__ import annotations

import argparse
import json
import statistics
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

from maskmend import stages
from maskmend.core import Dataset, Listener, TrainingProgress
from maskmend.datasets import open_dataset
from maskmend.datasets.noise import plan_noise
from maskmend.report.tables import Cell, Table, markdown, spread
from maskmend.scores import Evaluation
from maskmend.settings import Settings, TrainingSettings, override_settings
from maskmend.store import Run, Source

BETA = {"clavicle": (5, 10), "heart": (14, 20), "lung": (20, 30)}
TRAINING = ("training",)
Figures = dict[str, dict[str, float]]
"""Name of a figure -> organ -> value, of one seed."""


class Lines(Listener):
    """Progress as lines, for a log."""

    def say(self, text: str) -> None:
        print(f"  {text}", flush=True)

    def epoch(self, progress: TrainingProgress) -> None:
        if progress.epoch in (1, progress.epochs):
            print(f"    {progress}", flush=True)


def main() -> None:
    options = parse()
    clean = open_dataset(options.data)
    settings = override_settings(Settings(), tuple(options.set))
    seeds = range(options.first_seed, options.first_seed + options.seeds)
    figures = [run_seed(clean, seed, settings, options) for seed in seeds]
    summary = summarise(figures)
    summary["settings"] = settings.model_dump()
    summary |= {"alpha": options.alpha, "epochs_to_the_end": options.end}
    print(markdown(as_table(summary)))
    print(f"minutes a seed: {summary['minutes']:.1f}")
    if options.json:
        options.json.parent.mkdir(parents=True, exist_ok=True)
        options.json.write_text(json.dumps(summary, indent=1, sort_keys=True) + "\n")


def parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    default = Path(__file__).parents[1] / ".." / "shared" / "data" / "jsrt"
    parser.add_argument("--data", type=Path, default=default, help="JSRT, reference layout")
    runs = Path("runs/jsrt")
    parser.add_argument("--work", type=Path, default=runs, help="folder for runs; resumable")
    parser.add_argument("--alpha", type=float, default=0.7, help="share of masks corrupted")
    parser.add_argument("--seeds", type=int, default=3, help="how many seeds")
    parser.add_argument("--first-seed", type=int, default=0)
    parser.add_argument("--end", type=int, default=40, help="epochs of the training to the end")
    parser.add_argument("--set", action="append", default=[], help="a setting, name=value")
    parser.add_argument("--no-paper", action="store_true", help="leave out the paper's preset")
    parser.add_argument("--json", type=Path, help="file for the figures")
    return parser.parse_args()


def run_seed(clean: Dataset, seed: int, settings: Settings, options: argparse.Namespace) -> Figures:
    print(f"alpha {options.alpha}, seed {seed}", flush=True)
    settings = settings.model_copy(update={"seed": seed})
    root = options.work / f"alpha{options.alpha}-seed{seed}"
    if not (root / "noisy" / "corruptions.csv").exists():
        noise = plan_noise(clean, "reference", {"": options.alpha}, BETA, TRAINING)
        stages.corrupt(clean, root / "noisy", noise, seed)
    noisy = Source(str(root / "noisy"), TRAINING)
    figures: Figures = {}
    audited(figures, "", clean, noisy, root / "run", settings)
    run = Run.open(root / "run")
    figures |= plain_training(run, clean, settings.student, options.end)
    source = Source(str(clean.root.resolve()), TRAINING)
    clean_run = Run.create(options.work / f"clean-seed{seed}", source, settings)
    stages.train(clean_run, stages.GIVEN, listener=Lines())
    figures["clean"] = score(clean_run, stages.GIVEN, clean)
    if not options.no_paper:
        paper = override_settings(
            settings,
            ("crossfit.folds=2", "crossfit.teacher.select_after=0", "flag.method=both",
             "correct.eps=0.8", "audit_labels=soft"),
        )  # fmt: skip
        audited(figures, "paper_", clean, noisy, root / "paper", paper)
    return figures


def audited(
    figures: Figures, prefix: str, clean: Dataset, noisy: Source, root: Path, settings: Settings
) -> None:
    """Adds the figures of an audit; its minutes are kept beside the run for a resumed benchmark."""
    clock = root.with_suffix(".minutes")
    start = time.perf_counter()
    run = stages.audit(noisy, root, settings, listener=Lines())
    if not clock.exists():
        clock.write_text(f"{(time.perf_counter() - start) / 60:.2f}")
    evaluation = stages.evaluate(run, clean)
    figures[f"{prefix}student"] = score(run, settings.audit_labels, clean)
    figures[f"{prefix}minutes"] = {"all": float(clock.read_text())}
    for name in ("precision", "recall", "f1"):
        figures[prefix + name] = {
            organ: getattr(overlap, name) for organ, overlap in evaluation.noise_maps.items()
        }
    for what in ("given", "mended"):
        figures[prefix + what] = organs(partial(evaluation.mean, what), run)


def plain_training(run: Run, clean: Dataset, plain: TrainingSettings, epochs: int) -> Figures:
    stages.train(run, stages.GIVEN, plain, "plain", Lines())
    longest = "plain"
    if epochs != plain.epochs:
        longest = "to-the-end"
        long = plain.model_copy(update={"epochs": epochs})
        stages.train(run, stages.GIVEN, long, longest, Lines())
    return {
        "noisy": score(run, "plain", clean, "best"),
        "noisy_last": score(run, "plain", clean, "last"),
        "noisy_to_the_end": score(run, longest, clean, "last"),
    }


def score(run: Run, student: str, clean: Dataset, weights: str | None = None) -> dict[str, float]:
    """Dice of a student on the validation images, mean over the cases, for each organ."""
    out = run.root / "predictions" / f"{student}-{weights or 'default'}"
    stages.predict(run, student, clean.root / "validation", out, weights)
    found: Evaluation = stages.evaluate(open_dataset(out), clean)
    return organs(partial(found.mean, "predicted"), run)


def organs(value: Callable[[str], float], run: Run) -> dict[str, float]:
    return {name: value(name) for name in run.dataset.scheme.structures}


def summarise(figures: list[Figures]) -> dict[str, Any]:
    summary: dict[str, Any] = {}
    for name, values in figures[0].items():
        seeds = [statistics.fmean(seed[name].values()) for seed in figures]
        if name.endswith("minutes"):
            summary |= {name: statistics.fmean(seeds), f"{name}_seeds": seeds}
            continue
        by_seed = {organ: [seed[name][organ] for seed in figures] for organ in values}
        summary |= {
            f"{name}_mean": statistics.fmean(seeds),
            f"{name}_spread": statistics.stdev(seeds) if len(seeds) > 1 else None,
            f"{name}_seeds": seeds,
            f"{name}_organs": {organ: statistics.fmean(of) for organ, of in by_seed.items()},
            f"{name}_organs_by_seed": by_seed,
        }
    return summary


def as_table(summary: dict[str, Any]) -> Table:
    rows: list[list[Cell]] = []
    columns = sorted(summary["student_organs"])
    for name in [key.removesuffix("_mean") for key in summary if key.endswith("_mean")]:
        by_seed = summary[f"{name}_organs_by_seed"]
        cells = [spread(by_seed[organ]) for organ in columns]
        rows.append([name.replace("_", " "), spread(summary[f"{name}_seeds"]), *cells])
    return Table(["figure", "mean", *columns], rows)


if __name__ == "__main__":
    main()
