"""nnU-Net v2 trained on labels with known errors; maskmend audits what its cross-validation wrote.

Hippocampus volumes become a raw data set of nnU-Net, into whose labels errors are put (preset
`mixed`: every kind alike).  nnU-Net plans, preprocesses and trains three folds on the CPU, by its
own commands with `--npz`.  `maskmend audit --probabilities` then trains nothing: it reads the
probabilities of the held-out cases, flags, and mends.  All is scored against the clean labels.

nnU-Net lives in an environment of its own, whose interpreter --python names:
  python3 -m venv nnunet-env && nnunet-env/bin/pip install nnunetv2==2.8.1 torch==2.13.0
Its trainer with AdamW (nnUNetTrainerAdam1en3) is stopped early, and its network is as wide as
--features says (32 in its own plan): the folds took 9 to 11 minutes each, on one thread of a busy
machine.  Each step whose result is there is skipped, so that a stopped benchmark goes on.  nnU-Net
seeds neither its patches nor its augmentation: another training gives somewhat other figures.

JSON: numbers under these names, and with _structures behind the name those of each structure:
  precision, recall, f1   of the noise maps against the known errors; the voxels of all structures
                          and cases together
  given, mended           Dice of the noisy and of the mended labels to the clean ones, mean over
                          the cases, then over the structures
  predicted               the same of nnU-Net's own held-out predictions
  given_hd95, mended_hd95, predicted_hd95   95th percentile of the surface distance, in mm
  minutes                 of each fold, trained and predicted, and of the audit; on a machine that
                          does other work too they are longer
  versions, settings      what it was run with
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial, reduce
from importlib.metadata import version
from operator import add
from pathlib import Path
from typing import Any

from maskmend import stages
from maskmend.core import Dataset
from maskmend.datasets import open_dataset
from maskmend.datasets.noise import plan_noise
from maskmend.report.tables import Cell, Table, markdown
from maskmend.scores import Evaluation, score_predictions
from maskmend.store import Run

NAME = "Dataset004_Hippocampus"
CLASSES = {"background": 0, "anterior": 1, "posterior": 2}
STRUCTURES = tuple(CLASSES)[1:]
CONFIGURATION = "3d_fullres"
FOLDS = 3
BASE = "nnUNetTrainerAdam1en3"
ITERATIONS = 50
"""Of an epoch; nnU-Net's own has 250."""

TRAINER = f'''\
"""One of nnU-Net's own trainers, stopped early, under its own command nnUNetv2_train."""

import os

import numpy
import torch
from nnunetv2.run.run_training import run_training_entry
from nnunetv2.training.nnUNetTrainer import nnUNetTrainer as home
from nnunetv2.training.nnUNetTrainer.variants.optimizer.nnUNetTrainerAdam import {BASE}


# 600 iterations of the usual SGD, its momentum 0.99, were too few to tell the structures apart
class ShortTrainer({BASE}):
    # the base looks these names up
    def __init__(self, plans, configuration, fold, dataset_json, device=torch.device("cpu")):
        super().__init__(plans, configuration, fold, dataset_json, device)
        self.num_epochs = int(os.environ["SHORT_EPOCHS"])
        self.num_iterations_per_epoch = int(os.environ["SHORT_ITERATIONS"])
        self.num_val_iterations_per_epoch = 2
        # the command has just taken every core there is
        torch.set_num_threads(int(os.environ["OMP_NUM_THREADS"]))


# found here at once; on the way to nnUNet_extTrainer it would import timm, which needs torchvision
home.ShortTrainer = ShortTrainer

if __name__ == "__main__":
    numpy.random.seed(int(os.environ["SHORT_SEED"]))
    torch.manual_seed(int(os.environ["SHORT_SEED"]))
    run_training_entry()
'''


def main() -> None:
    options = parse()
    make_data(options)
    prepare(options)
    with ThreadPoolExecutor(options.at_once) as pool:
        list(pool.map(partial(train, options), range(FOLDS)))
    run = audit(options)
    clean, predicted = open_dataset(options.work / "clean" / NAME), collect(options)
    summary = summarise(stages.evaluate(run, clean), score_predictions(predicted, clean))
    summary |= {"minutes": minutes(options), "versions": versions(options.python)}
    summary["settings"] = {
        name: getattr(options, name)
        for name in ("cases", "preset", "alpha", "epochs", "features", "at_once", "threads", "seed")
    } | {"folds": FOLDS, "iterations": ITERATIONS, "configuration": CONFIGURATION, "trainer": BASE}
    print(markdown(as_table(summary)))
    print(f"minutes: {summary['minutes']}")
    options.json.parent.mkdir(parents=True, exist_ok=True)
    options.json.write_text(json.dumps(summary, indent=1, sort_keys=True) + "\n")


def parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    here = Path(__file__).parent
    data = here.parent / ".." / "shared" / "data" / "msd_hippocampus"
    parser.add_argument("--python", type=Path, required=True, help="interpreter with nnU-Net")
    parser.add_argument("--data", type=Path, default=data, help="folder with images/ and labels/")
    parser.add_argument("--work", type=Path, default=Path("runs/nnunet"), help="resumable")
    parser.add_argument("--cases", type=int, default=60, help="how many, evenly out of all")
    parser.add_argument("--preset", default="mixed", help="of the errors")
    parser.add_argument("--alpha", type=float, default=0.5, help="share of the masks corrupted")
    parser.add_argument("--epochs", type=int, default=10, help=f"of {ITERATIONS} iterations")
    parser.add_argument("--features", type=int, default=16, help="of the network's first stage")
    # two trainings on a thread each take less time than one after the other on two
    parser.add_argument("--at-once", type=int, default=2, help="folds trained at the same time")
    parser.add_argument("--threads", type=int, default=1, help="of each of them")
    parser.add_argument("--seed", type=int, default=0, help="of the errors and the first weights")
    parser.add_argument("--json", type=Path, help="file; by default results/nnunet-seedN.json")
    options = parser.parse_args()
    options.json = options.json or here / "results" / f"nnunet-seed{options.seed}.json"
    return options


def make_data(options: argparse.Namespace) -> None:
    """WORK/clean/NAME, as nnU-Net wants it, and WORK/raw/NAME, the same with errors."""
    clean, noisy = (options.work / kind / NAME for kind in ("clean", "raw"))
    if not (clean / "dataset.json").exists():
        write_raw(options.data, clean, chosen_cases(options.data, options.cases))
    if not (noisy / "corruptions.csv").exists():
        dataset = open_dataset(clean)
        splits = ("training",)
        noise = plan_noise(dataset, options.preset, {"": options.alpha}, {}, splits)
        stages.corrupt(dataset, noisy, noise, options.seed, splits)


def chosen_cases(data: Path, count: int) -> list[str]:
    """File names that have an image and a label, evenly spaced in the order of the names."""
    folders = (data / "images", data / "labels")
    images, labels = ({path.name for path in folder.glob("*.nii.gz")} for folder in folders)
    names = sorted(images & labels)
    if not FOLDS <= count <= len(names):
        sys.exit(f"--cases: expected {FOLDS} to {len(names)}, got {count}")
    return [names[round(k * (len(names) - 1) / (count - 1))] for k in range(count)]


def write_raw(data: Path, root: Path, names: Sequence[str]) -> None:
    """A raw data set of nnU-Net v2; dataset.json last, as the sign that it is whole."""
    for folder in ("imagesTr", "labelsTr"):
        (root / folder).mkdir(parents=True, exist_ok=True)
    for name in names:
        image = name.replace(".nii.gz", "_0000.nii.gz")
        (root / "imagesTr" / image).write_bytes((data / "images" / name).read_bytes())
        (root / "labelsTr" / name).write_bytes((data / "labels" / name).read_bytes())
    content = {
        "channel_names": {"0": "MRI"},
        "labels": CLASSES,
        "numTraining": len(names),
        "file_ending": ".nii.gz",
    }
    (root / "dataset.json").write_text(json.dumps(content, indent=1) + "\n")


def prepare(options: argparse.Namespace) -> None:
    """Let nnU-Net plan and preprocess; narrow the network; write the folds, as the last step."""
    splits = splits_file(options)
    if splits.exists():
        return
    command = beside(options.python, "nnUNetv2_plan_and_preprocess")
    number = NAME[len("Dataset") :].split("_")[0]
    verify = "--verify_dataset_integrity"
    call([command, "-d", number, "-c", CONFIGURATION, "-np", "2", verify], "plan", options)
    file = splits.parent / "nnUNetPlans.json"
    plans = json.loads(file.read_text())
    shape = plans["configurations"][CONFIGURATION]["architecture"]["arch_kwargs"]
    # nnU-Net doubles the features from stage to stage, up to 320 in three dimensions
    shape["features_per_stage"] = [
        min(options.features * 2**stage, 320) for stage in range(shape["n_stages"])
    ]
    file.write_text(json.dumps(plans, indent=4) + "\n")
    labels = (options.work / "raw" / NAME / "labelsTr").glob("*.nii.gz")
    cases = sorted(path.name.removesuffix(".nii.gz") for path in labels)
    folds = [set(cases[fold::FOLDS]) for fold in range(FOLDS)]
    rows = [{"train": sorted(set(cases) - fold), "val": sorted(fold)} for fold in folds]
    splits.write_text(json.dumps(rows, indent=1) + "\n")


def train(options: argparse.Namespace, fold: int) -> None:
    """One fold with nnU-Net, which ends in the probabilities of its held-out cases."""
    # nnU-Net writes the summary after all predictions
    if (results(options) / f"fold_{fold}" / "validation" / "summary.json").exists():
        return
    script = options.work / f"short_trainer_{fold}.py"
    script.write_text(TRAINER)
    print(f"nnU-Net, fold {fold + 1} of {FOLDS}", flush=True)
    start = time.perf_counter()
    arguments = [NAME, CONFIGURATION, str(fold), "-tr", "ShortTrainer", "--npz", "-device", "cpu"]
    call([str(options.python), str(script), *arguments], f"fold_{fold}", options)
    keep_minutes(f"fold_{fold}", start, options)


def audit(options: argparse.Namespace) -> Run:
    """`maskmend audit` with nnU-Net's probabilities; nothing is trained."""
    root = options.work / "run"
    if not (options.work / "audit.minutes").exists():
        print("maskmend audit", flush=True)
        start = time.perf_counter()
        paths = {
            "--probabilities": results(options),
            "--splits": splits_file(options),
            "--run": root,
        }
        named = [str(part) for pair in paths.items() for part in pair]
        command = [sys.executable, "-m", "maskmend.cli", "audit", str(options.work / "raw" / NAME)]
        call([*command, *named], "audit", options)
        keep_minutes("audit", start, options)
    return Run.open(root)


def collect(options: argparse.Namespace) -> Dataset:
    """nnU-Net's held-out segmentations of all folds, as a data set of its own."""
    root = options.work / "predicted" / NAME
    source = options.work / "clean" / NAME
    for folder in ("imagesTr", "labelsTr"):
        (root / folder).mkdir(parents=True, exist_ok=True)
    for image in (source / "imagesTr").iterdir():
        (root / "imagesTr" / image.name).write_bytes(image.read_bytes())
    for mask in results(options).glob("fold_*/validation/*.nii.gz"):
        (root / "labelsTr" / mask.name).write_bytes(mask.read_bytes())
    (root / "dataset.json").write_bytes((source / "dataset.json").read_bytes())
    return open_dataset(root)


def summarise(audited: Evaluation, predicted: Evaluation) -> dict[str, Any]:
    summary: dict[str, Any] = {}
    together = reduce(add, audited.noise_maps.values())
    for name in ("precision", "recall", "f1"):
        summary[name] = getattr(together, name)
        summary[f"{name}_structures"] = {
            structure: getattr(overlap, name) for structure, overlap in audited.noise_maps.items()
        }
    for what, evaluation in (("given", audited), ("mended", audited), ("predicted", predicted)):
        for score, name in (("dice", what), ("hd95", f"{what}_hd95")):
            values = {each: evaluation.mean(what, each, score) for each in STRUCTURES}
            summary |= {name: statistics.fmean(values.values()), f"{name}_structures": values}
    return summary


def as_table(summary: dict[str, Any]) -> Table:
    rows: list[Sequence[Cell]] = []
    for key, values in summary.items():
        if key.endswith("_structures"):
            name = key.removesuffix("_structures")
            rows.append([name.replace("_", " "), summary[name], *values.values()])
    return Table(["figure", "all", *STRUCTURES], rows)


def results(options: argparse.Namespace) -> Path:
    """Where nnU-Net keeps its folds."""
    trained = f"ShortTrainer__nnUNetPlans__{CONFIGURATION}"
    return Path(options.work / "results" / NAME / trained)


def splits_file(options: argparse.Namespace) -> Path:
    return Path(options.work / "preprocessed" / NAME / "splits_final.json")


def beside(python: Path, name: str) -> str:
    """A command of the interpreter's environment; a link to the interpreter is not followed."""
    return str(python.absolute().parent / name)


def call(command: Sequence[str], name: str, options: argparse.Namespace) -> None:
    """Run a command to its end, its output in WORK/NAME.log; raises CalledProcessError."""
    folders = {name: str((options.work / name).absolute()) for name in ("raw", "results")}
    environment = os.environ | {
        "nnUNet_raw": folders["raw"],
        "nnUNet_results": folders["results"],
        "nnUNet_preprocessed": str((options.work / "preprocessed").absolute()),
        "nnUNet_compile": "f",
        # one process augments; planning fails with none
        "nnUNet_n_proc_DA": "1",
        "nnUNet_def_n_proc": "1",
        "OMP_NUM_THREADS": str(options.threads),
        "SHORT_EPOCHS": str(options.epochs),
        "SHORT_ITERATIONS": str(ITERATIONS),
        "SHORT_SEED": str(options.seed),
    }
    log = options.work / f"{name}.log"
    print(f"  {' '.join(command)} > {log}", flush=True)
    with log.open("w") as output:
        subprocess.run(command, env=environment, stdout=output, stderr=output, check=True)


def keep_minutes(name: str, start: float, options: argparse.Namespace) -> None:
    """Kept beside the results, for a resumed benchmark."""
    took = (time.perf_counter() - start) / 60
    (options.work / f"{name}.minutes").write_text(f"{took:.2f}\n")


def minutes(options: argparse.Namespace) -> dict[str, float]:
    names = (*(f"fold_{fold}" for fold in range(FOLDS)), "audit")
    return {name: float((options.work / f"{name}.minutes").read_text()) for name in names}


def versions(python: Path) -> dict[str, str]:
    ask = "from importlib.metadata import version as v; print(v('nnunetv2'), v('torch'))"
    answer = subprocess.run([str(python), "-c", ask], capture_output=True, text=True, check=True)
    nnunet, torch = answer.stdout.split()
    return {"maskmend": version("maskmend"), "nnunetv2": nnunet, "torch of nnU-Net": torch}


if __name__ == "__main__":
    main()
