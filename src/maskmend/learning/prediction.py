"""What finished networks say about images."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor, nn

from maskmend.arrays.agreement import mask_mismatch, predicted_labels
from maskmend.core import IGNORED, FloatArray, LabelScheme
from maskmend.errors import MissingFileError, UnreadableFileError
from maskmend.files import read_json
from maskmend.learning.batches import TrainingData, prepare_image, resize
from maskmend.learning.compute import Compute
from maskmend.learning.networks import build_network
from maskmend.settings import TrainingSettings


@torch.no_grad()
def predict_prepared(network: nn.Module, images: Tensor, scheme: LabelScheme) -> Tensor:
    """Probabilities (N, channels, H, W) float32 on the CPU, of prepared images (N, C, H, W)."""
    device = next(network.parameters()).device
    was_training = network.training
    network.eval()
    maps = [_probabilities(network(batch.to(device)), scheme).cpu() for batch in images.split(16)]
    network.train(was_training)
    return torch.cat(maps)


def _probabilities(logits: Tensor, scheme: LabelScheme) -> Tensor:
    return logits.float().sigmoid() if scheme.overlapping else logits.float().softmax(dim=1)


@dataclass(frozen=True)
class Trained:
    """A finished network and what it needs to predict."""

    network: nn.Module
    size: int
    scheme: LabelScheme


@torch.no_grad()
def predict_case(trained: Trained, image: NDArray[np.generic]) -> FloatArray:
    """Probabilities (channels, *S) float32 of one image (C, *S) of any size.

    Logits, not probabilities, are enlarged to the case's grid: the boundary stays as sharp as
    the network meant it.
    """
    prepared = prepare_image(image, trained.size)
    device = next(trained.network.parameters()).device
    logits = trained.network(prepared[None].to(device)).float()
    height, width = image.shape[1:]
    enlarged = resize(logits, (height, width))
    probs: FloatArray = _probabilities(enlarged, trained.scheme)[0].cpu().numpy()
    return probs


def mismatch_with(network: nn.Module, data: TrainingData) -> FloatArray:
    """How targets differ from predictions, (N, structures, 2) as from `mask_mismatch`.

    On the network's grid.
    """
    scheme = data.scheme
    predicted = predict_prepared(network, data.images, scheme).numpy()
    rows = []
    for target, part, probs in zip(
        data.targets.numpy(), data.taking_part.numpy(), predicted, strict=True
    ):
        given = np.where(part > 0.5, predicted_labels(target, scheme), IGNORED).astype(np.uint8)
        rows.append(mask_mismatch(given, predicted_labels(probs, scheme), scheme))
    return np.stack(rows)


def load_trained(folder: Path, compute: Compute, weights: str | None = None) -> Trained:
    """A finished training.  weights: "best" or "last"; by default what its settings say.

    Raises MissingFileError if nothing is finished there, UnreadableFileError for broken weights.
    """
    identity = read_json(folder / "training.json")
    settings = TrainingSettings.model_validate(identity["settings"])
    scheme = LabelScheme(tuple(identity["structures"]), identity["overlapping"])
    network = build_network(settings.network, identity["in_channels"], scheme.num_channels)
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
    return Trained(placed.eval(), settings.size, scheme)
