"""Networks applied to images that are prepared for them."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from monai.inferers.utils import sliding_window_inference
from torch import Tensor, nn

from maskmend.core import LabelScheme


def probabilities_of(logits: Tensor, scheme: LabelScheme) -> Tensor:
    """A sigmoid for each structure, or the softmax of the classes; float32, (N, channels, *S)."""
    return logits.float().sigmoid() if scheme.overlapping else logits.float().softmax(dim=1)


@torch.no_grad()
def predict_prepared(network: nn.Module, images: Tensor, scheme: LabelScheme) -> Tensor:
    """Probabilities (N, channels, H, W) float32 on the CPU, of prepared images (N, C, H, W)."""
    device = next(network.parameters()).device
    was_training = network.training
    network.eval()
    maps = [probabilities_of(network(batch.to(device)), scheme).cpu() for batch in images.split(16)]
    network.train(was_training)
    return torch.cat(maps)


@torch.no_grad()
def window_logits(
    network: nn.Module, image: Tensor, patch: Sequence[int], overlap: float
) -> Tensor:
    """Logits (1, channels, *S) float32 on the CPU, of one prepared volume (C, *S).

    Windows of the size of a patch overlap by a share of it, and weigh less towards their edge
    (a Gaussian of 1/8 of the patch).  What a small volume lacks is filled with its border, as in
    the patches of a training.  Only a window's voxels go to the network's device.
    """
    device = next(network.parameters()).device
    was_training = network.training
    network.eval()

    def predict(windows: Tensor) -> Tensor:
        # PyTorch convolves a single volume on a CPU three times slower than a pair
        pair = windows.expand(2, *windows.shape[1:]) if len(windows) == 1 else windows
        found: Tensor = network(pair)[: len(windows)].float()
        return found

    logits = sliding_window_inference(
        image[None], list(patch), 2, predict, overlap=overlap, mode="gaussian",
        padding_mode="replicate", sw_device=device, device=torch.device("cpu"),
    )  # fmt: skip
    network.train(was_training)
    assert isinstance(logits, Tensor)
    return logits
