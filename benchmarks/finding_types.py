"""Findings on masks whose error is known: is its type the one that was made?

Each mask of a phantom or of a JSRT training image gets one error of each kind in turn.  It is
judged twice: by the clean mask ("clean"), and by one whose boundary is displaced at random by up
to 2 pixels, as a teacher's is ("teacher"); what differs is flagged.  The type of a mask is that of
its finding with the largest share; "none" where there is no finding.  An error that moves no
boundary by more than the tolerance cannot be found and takes no part; how many is told.  A mask
that an error leaves empty is "empty" in truth.

Phantoms also as one label map (left lung, right lung, heart), where a structure can be swapped with
its mirror image.  The figures in `maskmend.arrays.findings_rules` were chosen on the first half of
the JSRT training images and on phantoms 0..39; this reports the second half, and phantoms from
1000 on.

JSON: for each data set and judge macro_f1, per type precision, recall, f1 and masks, and the
confusion table (truth -> found -> masks).
"""

from __future__ import annotations

import argparse
import json
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from scipy import ndimage

from maskmend.arrays.corruption import Noise, corrupt_labels, sample_corruption
from maskmend.arrays.findings import Mistake, find_mistakes
from maskmend.arrays.findings_pairs import Ruler
from maskmend.arrays.findings_rules import TYPES
from maskmend.core import BoolArray, LabelArray, LabelScheme
from maskmend.datasets import open_dataset, read_labels
from maskmend.datasets.phantom import draw_phantom
from maskmend.report.tables import Cell, Table, plain

CHEST = LabelScheme(("lung", "heart", "clavicle"), overlapping=True)
SIDES = LabelScheme(("lung left", "lung right", "heart"), overlapping=False)

BETA = {
    "clavicle": (5, 10), "heart": (14, 20), "lung": (20, 30), "lung left": (8, 14),
    "lung right": (8, 14),
}  # fmt: skip
"""Radii at 256 pixels; those of whole lungs are the published ones, a single lung gets less."""

KINDS: tuple[tuple[str, str, str], ...] = (
    ("dilate", "reference", "over"), ("erode", "reference", "under"),
    ("edge_distortion", "reference", "rough"), ("edge_distortion", "paper", "rough"),
    ("bulge", "bulge", "over"), ("dent", "dent", "under"), ("polygon", "polygon", "rough"),
    ("shift", "shift", "shifted"),
    ("missing_part", "missing_part", "missing"), ("missing", "missing", "empty"),
    ("blob", "blob", "extra"), ("swapped", "swapped", "swapped"),
    ("mirrored", "mirrored", "left-right"), ("none", "", "none"),
)  # fmt: skip
"""Kind of error, preset that draws it, and the type that it should be found as."""

RULER = Ruler((1.0, 1.0), 2.0, (1.0, 1.0), 1)


@dataclass(frozen=True, eq=False)
class Made:
    """A case with an error in one structure.  truth: type; given, clean: (planes, *S)."""

    kind: str
    truth: str
    structure: int
    given: LabelArray
    clean: LabelArray


@dataclass(frozen=True)
class Judgement:
    """truth, found: types.  findings: how many there are of the structure."""

    kind: str
    structure: str
    truth: str
    found: str
    findings: int


def make_errors(clean: LabelArray, scheme: LabelScheme, seed: list[int]) -> Iterator[Made]:
    """Each kind of error in each structure of a case that has it.  clean: (planes, *S)."""
    for structure, name in enumerate(scheme.structures):
        if not scheme.structure_mask(clean, name).any():
            continue
        for number, (kind, preset, truth) in enumerate(KINDS):
            rng = np.random.default_rng([*seed, structure, number])
            made = _make(clean, scheme, name, kind, preset, rng)
            if made is None:
                continue
            mask = scheme.structure_mask(made, name)
            if not mask.any():
                truth = "missing" if made.any() and not scheme.overlapping else "empty"
            elif kind == "swapped" and not scheme.overlapping and "lung" in name:
                truth = "left-right"
            yield Made(kind, truth, structure, made, clean)


def _make(
    clean: LabelArray, scheme: LabelScheme, name: str, kind: str, preset: str,
    rng: np.random.Generator,
) -> LabelArray | None:  # fmt: skip
    if kind == "none":
        return clean
    low, high = (round(r * clean.shape[-1] / 256) for r in BETA[name])
    partners = tuple(
        other for other in scheme.structures
        if other != name and scheme.structure_mask(clean, other).any()
    )  # fmt: skip
    if kind == "swapped" and not scheme.overlapping:
        partners = tuple(other for other in partners if "lung" in name + other and name != "heart")
        partners = partners[:1]
    if (kind == "swapped" and not partners) or (kind == "mirrored" and not scheme.overlapping):
        return None
    noise = Noise(preset, 1.0, (max(low, 2), high), clean.ndim - 1, partners)
    corruption = sample_corruption("case", name, noise, rng)
    while corruption.kind != kind:
        corruption = sample_corruption("case", name, noise, rng)
    return corrupt_labels(clean, scheme, [corruption])


def teacher_mask(mask: BoolArray, rng: np.random.Generator) -> BoolArray:
    """The mask with its boundary displaced smoothly at random, by 1 to 2 pixels at most."""
    if not mask.any() or mask.all():
        return mask.copy()
    outward = ndimage.distance_transform_edt(~mask) - ndimage.distance_transform_edt(mask)
    # 0 at the boundary itself, which lies between the pixels
    outward -= 0.5 * np.sign(outward)
    most = rng.uniform(1, 2)
    waves = ndimage.gaussian_filter(rng.standard_normal(mask.shape), mask.shape[-1] / 32)
    displaced: BoolArray = outward < np.clip(waves / waves.std(), -1, 1) * most
    return displaced


def teacher_labels(
    clean: LabelArray, scheme: LabelScheme, rng: np.random.Generator
) -> LabelArray:  # fmt: skip
    """`teacher_mask` of each structure; later structures of a label map lie over earlier ones."""
    labels = np.zeros_like(clean)
    for index, name in enumerate(scheme.structures):
        mask = teacher_mask(scheme.structure_mask(clean, name), rng)
        labels[index if scheme.overlapping else 0][mask] = 1 if scheme.overlapping else index + 1
    return labels


def judge(made: Made, suggested: LabelArray, scheme: LabelScheme, ruler: Ruler) -> Judgement:
    found = _findings(made, suggested, scheme, ruler)
    best = max(found, key=lambda each: len(each.pixels), default=None)
    return Judgement(
        made.kind, scheme.structures[made.structure], made.truth,
        "none" if best is None else best.type, len(found),
    )  # fmt: skip


def _findings(
    made: Made, suggested: LabelArray, scheme: LabelScheme, ruler: Ruler
) -> list[Mistake]:
    """Those that concern the structure with the error."""
    flagged = made.given != suggested
    found = []
    for mistake in find_mistakes(made.given, suggested, flagged, scheme, ruler):
        if scheme.overlapping:
            concerns = mistake.structure == made.structure
        else:
            labels = (made.given[0].reshape(-1), suggested[0].reshape(-1))
            concerns = any((of[mistake.pixels] == made.structure + 1).any() for of in labels)
        if concerns:
            found.append(mistake)
    return found


def judge_all(
    cases: Iterable[LabelArray], scheme: LabelScheme, seed: int, ruler: Ruler = RULER
) -> dict[str, list[Judgement]]:
    """Judgements by the clean mask, by a teacher's, and those too small to be seen."""
    found: dict[str, list[Judgement]] = {"clean": [], "teacher": [], "unseen": []}
    for number, clean in enumerate(cases):
        taught = teacher_labels(clean, scheme, np.random.default_rng([seed, number, 99]))
        for made in make_errors(clean, scheme, [seed, number]):
            judgement = judge(made, clean, scheme, ruler)
            if made.truth != "none" and not judgement.findings:
                found["unseen"].append(judgement)
                continue
            found["clean"].append(judgement)
            found["teacher"].append(judge(made, taught, scheme, ruler))
    return found


# -- figures


def confusion(judged: Iterable[Judgement]) -> dict[str, dict[str, int]]:
    """truth -> found -> masks."""
    table: dict[str, Counter[str]] = {}
    for each in judged:
        table.setdefault(each.truth, Counter())[each.found] += 1
    return {truth: dict(counts) for truth, counts in table.items()}


def by_type(table: dict[str, dict[str, int]]) -> dict[str, dict[str, float]]:
    """Precision, recall and F1 of each type that is in the truth; 0 where nothing is found."""
    figures = {}
    for name in (name for name in (*TYPES, "none") if name in table):
        hit = table[name].get(name, 0)
        masks = sum(table[name].values())
        found = sum(row.get(name, 0) for row in table.values())
        figures[name] = {
            "precision": hit / found if found else 0.0,
            "recall": hit / masks,
            "f1": 2 * hit / (found + masks),
            "masks": masks,
        }
    return figures


def macro_f1(figures: dict[str, dict[str, float]]) -> float:
    """Mean over the types; masks without an error, where they are judged, are no type."""
    return float(np.mean([each["f1"] for name, each in figures.items() if name != "none"]))


def as_tables(judged: list[Judgement]) -> str:
    table = confusion(judged)
    figures = by_type(table)
    names = (*TYPES, "none")
    shown: list[list[Cell]] = [
        [truth, *(table[truth].get(name, 0) for name in names),
         *(figures[truth][each] for each in ("precision", "recall", "f1"))]
        for truth in names if truth in table
    ]  # fmt: skip
    text = plain(Table(["truth / found", *names, "precision", "recall", "F1"], shown))
    return f"{text}macro-F1 {macro_f1(figures):.3f}\n"


# -- data


def chest_phantoms(numbers: Iterable[int], size: int) -> Iterator[LabelArray]:
    for number in numbers:
        _, masks = draw_phantom(np.random.default_rng([31, number]), size)
        yield np.stack([masks[name] for name in CHEST.structures]).astype(np.uint8)


def sided_phantoms(numbers: Iterable[int], size: int) -> Iterator[LabelArray]:
    """The same with the lungs apart, as one label map."""
    for lung, heart, _ in chest_phantoms(numbers, size):
        pieces, _ = ndimage.label(lung)
        middle = ndimage.center_of_mass(heart)[1] - 0.04 * size
        labels = np.zeros((1, size, size), np.uint8)
        for piece, box in enumerate(ndimage.find_objects(pieces), start=1):
            centre = (box[1].start + box[1].stop) / 2
            labels[0][pieces == piece] = 1 if centre > middle else 2
        labels[0][heart == 1] = 3
        yield labels


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--jsrt", type=Path, default=Path("../shared/data/jsrt"))
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--phantoms", type=int, default=60)
    parser.add_argument("--tuning", action="store_true", help="the half the rules are from")
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    numbers = range(40) if options.tuning else range(1000, 1000 + options.phantoms)
    dataset = open_dataset(options.jsrt)
    training = dataset.split("training")
    half = len(training) // 2
    jsrt = [
        read_labels(dataset, case)
        for case in (training[:half] if options.tuning else training[half:])
    ]
    order = [dataset.scheme.structures.index(name) for name in CHEST.structures]
    sources = {
        "phantoms": (list(chest_phantoms(numbers, 256)), CHEST),
        "phantoms, one label map": (list(sided_phantoms(numbers, 256)), SIDES),
        "JSRT": ([labels[order] for labels in jsrt], CHEST),
    }
    figures: dict[str, Any] = {}
    for name, (cases, scheme) in sources.items():
        seeds = [judge_all(cases, scheme, seed) for seed in range(options.seeds)]
        unseen = sum(len(each["unseen"]) for each in seeds)
        for judge_name in ("clean", "teacher"):
            judged = [one for each in seeds for one in each[judge_name]]
            print(f"{name}, judged by {judge_name} masks; {unseen} errors within the tolerance\n")
            print(as_tables(judged), flush=True)
            table = confusion(judged)
            figures[f"{name}, {judge_name}"] = {
                "cases": len(cases), "seeds": options.seeds, "unseen": unseen,
                "macro_f1": macro_f1(by_type(table)),
                "macro_f1_seeds": [macro_f1(by_type(confusion(s[judge_name]))) for s in seeds],
                "types": by_type(table), "confusion": table,
            }  # fmt: skip
    if options.json:
        options.json.write_text(json.dumps(figures, indent=2) + "\n")


if __name__ == "__main__":
    main()
