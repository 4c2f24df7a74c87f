"""What each preset of `maskmend corrupt` does to the clean masks of a data set.

The errors are drawn and applied in memory, with the preset's own share of masks and radii, and for
`reference` and `paper` also with alpha 0.7 and the larger published radii of JSRT.

JSON: one entry a preset and seed under `protocols`, with these names for each structure:
  dice        mean Dice of all noisy masks to the clean ones
  dice_hit    of those with an error
  hit         share of masks with an error
  emptied     share of masks that have lost every pixel
  beta        smallest and largest radius, or number of steps
and alpha, seconds (of drawing and applying, on this machine as it was).
"""

from __future__ import annotations

import argparse
import json
import time
from collections import defaultdict
from pathlib import Path
from typing import Any

import numpy as np

from maskmend.arrays.corruption import PRESETS, Corruption, corrupt_labels
from maskmend.arrays.overlap import count_overlap
from maskmend.core import Dataset
from maskmend.datasets import open_dataset, read_labels
from maskmend.datasets.noise import plan_noise, sample_noise
from maskmend.report.tables import Cell, Table, markdown

TRAINING = ("training",)
PUBLISHED = {"clavicle": (5, 10), "heart": (14, 20), "lung": (20, 30)}
"""The larger radii of Zhang et al. for JSRT at 256 x 256."""

Figures = dict[str, Any]


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    default = Path(__file__).parents[1] / ".." / "shared" / "data" / "jsrt"
    parser.add_argument("--data", type=Path, default=default, help="data set with clean labels")
    parser.add_argument("--preset", action="append", help="only this one; repeatable")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--json", type=Path, help="file for the figures")
    options = parser.parse_args()
    clean = open_dataset(options.data)
    figures = [
        measure(clean, preset, published, options.seed)
        for preset in options.preset or PRESETS
        for published in ((False, True) if preset in ("reference", "paper") else (False,))
    ]
    print(markdown(as_table(figures, clean.scheme.structures)))
    if options.json:
        summary = {"seed": options.seed, "protocols": figures}
        options.json.write_text(json.dumps(summary, indent=1) + "\n")


def measure(clean: Dataset, preset: str, published: bool, seed: int) -> Figures:
    """The figures of one protocol; published: with alpha 0.7 and the radii of the paper."""
    alpha, beta = ({"": 0.7}, PUBLISHED) if published else (None, {})
    start = time.perf_counter()
    noise = plan_noise(clean, preset, alpha, beta, TRAINING)
    errors: dict[str, list[Corruption]] = defaultdict(list)
    for corruption in sample_noise(clean, noise, seed, TRAINING):
        errors[corruption.case].append(corruption)
    # (cases, structures): Dice, hit, emptied
    rows = [
        judge(clean, read_labels(clean, case), errors[case.id]) for case in clean.split("training")
    ]
    seconds = time.perf_counter() - start
    dice, hit, emptied = np.array(rows).transpose(1, 2, 0)
    print(f"{preset}: {seconds:.0f} s", flush=True)
    return {
        "preset": preset,
        "alpha": next(iter(noise.values())).alpha,
        "seconds": round(seconds, 1),
        "structures": {
            name: {
                "dice": dice[index].mean(),
                "dice_hit": dice[index][hit[index] > 0].mean(),
                "hit": hit[index].mean(),
                "emptied": emptied[index].mean(),
                "beta": noise[name].beta,
            }
            for index, name in enumerate(clean.scheme.structures)
        },
    }


def judge(clean: Dataset, labels: Any, errors: list[Corruption]) -> list[list[float]]:
    """Dice, hit and emptied of each structure of a case."""
    noisy = corrupt_labels(labels, clean.scheme, errors)
    hit = {corruption.structure for corruption in errors}
    pairs = [
        (clean.scheme.structure_mask(labels, name), clean.scheme.structure_mask(noisy, name))
        for name in clean.scheme.structures
    ]
    return [
        [count_overlap(truth, given).dice for truth, given in pairs],
        [float(name in hit) for name in clean.scheme.structures],
        [float(truth.any() and not given.any()) for truth, given in pairs],
    ]


def as_table(figures: list[Figures], structures: tuple[str, ...]) -> Table:
    """A row a protocol: mean Dice of all masks, and of those that are hit, by structure."""
    rows: list[list[Cell]] = []
    for entry in figures:
        each = [entry["structures"][name] for name in structures]
        radii = " / ".join("{}..{}".format(*one["beta"]) for one in each)
        hit = [one["dice_hit"] for one in each]
        rows.append([entry["preset"], f"{entry['alpha']:.2f}", radii,
                     *(one["dice"] for one in each), *hit])  # fmt: skip
    header = ["preset", "alpha", " / ".join(structures), *structures]
    return Table([*header, *(f"{name}, hit" for name in structures)], rows)


if __name__ == "__main__":
    main()
