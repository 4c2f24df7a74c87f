"""What finished networks say about images."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import nn

from maskmend.arrays.agreement import mask_mismatch, predicted_labels
from maskmend.core import IGNORED, FloatArray, LabelScheme
from maskmend.errors import MissingFileError, UnreadableFileError
from maskmend.files import read_json
from maskmend.learning.batches import PictureWay, TrainingCases, Way
from maskmend.learning.compute import Compute
from maskmend.learning.ensemble import build_networks
from maskmend.learning.inference import probabilities_of
from maskmend.learning.methods import METHODS
from maskmend.learning.volumes import VolumeWay
from maskmend.settings import TrainingSettings


@dataclass(frozen=True)
class Trained:
    """A finished network, or several as one, and what it needs to predict."""

    network: nn.Module
    scheme: LabelScheme
    way: Way


@torch.no_grad()
def predict_case(
    trained: Trained, image: NDArray[np.generic], steps: Sequence[float] | None = None
) -> FloatArray:
    """Probabilities (channels, *S) float32 of one image (C, *S) of any size.

    steps: size of a voxel along each axis (`Grid.steps`), 1 by default; a picture needs none.
    Logits, not probabilities, are brought to the case's grid: the boundary stays as sharp as
    the network meant it.
    """
    sizes = (1.0,) * (image.ndim - 1) if steps is None else steps
    logits = trained.way.logits(trained.network, image, sizes)
    probs: FloatArray = probabilities_of(logits, trained.scheme)[0].cpu().numpy()
    return probs


def mismatch_with(network: nn.Module, data: TrainingCases) -> FloatArray:
    """How targets differ from predictions, (N, structures, 2) as from `mask_mismatch`.

    On the network's grid.
    """
    scheme, rows = data.scheme, []
    for (targets, part), probs in zip(data.known(), data.probabilities(network), strict=True):
        given = predicted_labels(targets, scheme)
        judged = np.where(part > 0.5, given, IGNORED).astype(np.uint8)
        rows.append(mask_mismatch(judged, predicted_labels(probs, scheme), scheme))
    return np.stack(rows)


def load_trained(folder: Path, compute: Compute, weights: str | None = None) -> Trained:
    """A finished training.  weights: "best" or "last"; by default what its settings say.

    Raises MissingFileError if nothing is finished there, UnreadableFileError for broken weights.
    """
    identity = read_json(folder / "training.json")
    settings = TrainingSettings.model_validate(identity["settings"])
    scheme = LabelScheme(tuple(identity["structures"]), identity["overlapping"])
    way = _way_of(identity, settings)
    count = METHODS[settings.method].networks
    network = build_networks(way, settings.network, identity["in_channels"], scheme, count)
    path = folder / f"{weights or settings.weights}.safetensors"
    if not path.exists():
        raise MissingFileError(
            str(path), expected="the weights of a finished training", got="none",
            remedy="Run the same command again: it goes on where it stopped.",
        )  # fmt: skip
    try:
        network.load_state_dict(load_file(path))
    except (SafetensorError, RuntimeError) as error:
        raise UnreadableFileError(
            str(path), expected=f"weights of the {settings.network} network", got=str(error),
            remedy="Delete the folder of this training and run again.",
        ) from error  # fmt: skip
    placed: nn.Module = network.to(compute.device)
    return Trained(placed.eval(), scheme, way)


def _way_of(identity: dict[str, Any], settings: TrainingSettings) -> Way:
    if "volumes" in identity:
        return VolumeWay.from_json(identity["volumes"])
    return PictureWay(settings.size)
