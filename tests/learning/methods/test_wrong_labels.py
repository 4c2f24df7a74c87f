"""Labels that claim what no image shows, in four cases of ten: who believes them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from maskmend.arrays.targets import soft_targets
from maskmend.core import LabelScheme
from maskmend.learning.batches import TrainingData, stack_training_data
from maskmend.learning.compute import Compute
from maskmend.learning.prediction import predict_case
from maskmend.learning.training import train_network
from maskmend.settings import TrainingSettings

DISC = LabelScheme(("disc",), overlapping=True)
CPU = Compute(torch.device("cpu"), threads=1)
RAMP = {"ramp_start": 0.2, "ramp_end": 0.5}


def disc(number: int) -> tuple[np.ndarray, np.ndarray]:
    """Image (1, 32, 32) of a bright disc in the upper part, and its mask (1, 32, 32)."""
    rng = np.random.default_rng(number)
    rows, columns = np.mgrid[:32, :32]
    row, column = rng.uniform(9, 14), rng.uniform(10, 22)
    mask = (rows - row) ** 2 + (columns - column) ** 2 <= rng.uniform(5, 7) ** 2
    return (3 * mask + rng.normal(0, 0.3, mask.shape))[None], mask[None].astype(np.uint8)


def discs_with_bars(count: int) -> TrainingData:
    """The masks of two cases in five have a bar below the disc, of which no image knows."""
    items = []
    for number in range(count):
        image, mask = disc(number)
        if number % 5 < 2:
            mask[0, 24:28, 4:28] = 1
        items.append((f"c{number:02}", image, *soft_targets(mask, DISC)))
    return stack_training_data(items, 32, DISC)


def belief(settings: TrainingSettings, folder: Path) -> float:
    """Mean probability of the bar in cases that no training saw; the disc is found in any case."""
    trained = train_network(discs_with_bars(20), settings, folder, 0, CPU)
    bars = []
    for number in range(100, 105):
        image, mask = disc(number)
        probs = predict_case(trained, image)[0]
        found = probs > 0.5
        found[24:28, 4:28] = False
        assert 2 * (found & (mask[0] == 1)).sum() / (found.sum() + mask.sum()) > 0.8
        bars.append(float(probs[24:28, 4:28].mean()))
    return float(np.mean(bars))


@pytest.mark.parametrize(
    ("method", "without", "core"),
    [
        ("gce", {"q": 0.01}, {"q": 0.9}),
        ("co_teaching", {"forget": 0.0}, {"forget": 0.1, **RAMP}),
        ("trinet", {"forget": 0.0}, {"forget": 0.1, **RAMP}),
        ("jocor", {"forget": 0.0}, {"forget": 0.1, **RAMP}),
    ],
)
def test_what_a_minority_of_labels_claims_is_believed_less(
    method: str, without: dict[str, Any], core: dict[str, Any], tmp_path: Path
) -> None:
    beliefs = []
    for number, group in enumerate((without, core)):
        settings = TrainingSettings.model_validate(
            {
                "method": method, method: group, "size": 32, "epochs": 20, "least_steps": 0,
                "learning_rate": 0.02, "averaging": 0.9, "monitor_share": 0, "batch_size": 5,
            }
        )  # fmt: skip
        beliefs.append(belief(settings, tmp_path / str(number)))
    # as many labels as claim it
    print(method, beliefs)
    assert 0.25 < beliefs[0] < 0.5
    assert beliefs[1] < 0.5 * beliefs[0]
