"""What the whole default costs on JSRT, and what the reference's own recipe would.

The audit (cross-fit, noise maps, mended labels, ranking, report, student) runs once from the start
with all cores, on the 197 training images with reference noise in 70 % of the masks.  Beside it the
reference's network is trained for a few steps as its configuration says (Zhang et al., MICCAI 2020;
config_confident_learning_pixel_level_classification.py: 2D V-Net, 256 x 256, batches of 4, one
structure a network, 1001 epochs), with as many threads.  Its recipe has a network for each half of
the images and one for all of them, for each of three structures: 1001 x 2 x 197 x 3 images.

JSON: numbers under these names:
  threads                     of both
  audit_minutes               of the whole default, wall
  vnet_images_per_second      of the reference's network in training
  reference_images            that its recipe trains on
  reference_hours             that they take at this rate
  times                       reference over audit
Run it on an idle machine.
"""

from __future__ import annotations

import argparse
import json
import os
import time
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import torch

from jsrt import BETA, TRAINING, Lines
from maskmend import stages
from maskmend.datasets import open_dataset
from maskmend.datasets.noise import plan_noise
from maskmend.learning.networks import ReferenceVNet
from maskmend.settings import Settings
from maskmend.store import Source

EPOCHS, BATCH, SIZE = 1001, 4, 256
STRUCTURES, IMAGES = 3, 197
WARM_UP = 3


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    default = Path(__file__).parents[1] / ".." / "shared" / "data" / "jsrt"
    parser.add_argument("--data", type=Path, default=default, help="JSRT, reference layout")
    parser.add_argument("--steps", type=int, default=20, help="of the reference's network")
    parser.add_argument("--json", type=Path, help="file for the figures")
    options = parser.parse_args()
    threads = len(os.sched_getaffinity(0))
    rate = vnet_rate(options.steps, threads)
    minutes = audit_minutes(options.data, threads)
    images = EPOCHS * 2 * IMAGES * STRUCTURES
    figures: dict[str, Any] = {
        "threads": threads,
        "audit_minutes": minutes,
        "vnet_images_per_second": rate,
        "reference_images": images,
        "reference_hours": images / rate / 3600,
        "times": images / rate / 60 / minutes,
    }
    for name, value in figures.items():
        print(f"{name}: {value:.4g}" if isinstance(value, float) else f"{name}: {value}")
    if options.json:
        options.json.write_text(json.dumps(figures, indent=1) + "\n")


def vnet_rate(steps: int, threads: int) -> float:
    """Images a second, forward, backward and Adam."""
    torch.set_num_threads(threads)
    network = ReferenceVNet(1, 2)
    optimizer = torch.optim.Adam(network.parameters(), lr=1e-3)
    images = torch.rand(BATCH, 1, SIZE, SIZE)
    labels = (images[:, 0] > 0.5).long()
    for step in range(WARM_UP + steps):
        if step == WARM_UP:
            start = time.perf_counter()
        loss = torch.nn.functional.cross_entropy(network(images), labels)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    return steps * BATCH / (time.perf_counter() - start)


def audit_minutes(data: Path, threads: int) -> float:
    clean = open_dataset(data)
    settings = Settings(threads=threads)
    with TemporaryDirectory() as folder:
        noise = plan_noise(clean, "reference", {"": 0.7}, BETA, TRAINING)
        stages.corrupt(clean, Path(folder) / "noisy", noise, settings.seed)
        start = time.perf_counter()
        noisy = Source(str(Path(folder) / "noisy"), TRAINING)
        stages.audit(noisy, Path(folder) / "run", settings, listener=Lines())
        return (time.perf_counter() - start) / 60


if __name__ == "__main__":
    main()
