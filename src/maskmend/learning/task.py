"""What Lightning trains: one network, its averaged twin, its loss, and which masks it believes."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import lightning.pytorch as pl
import numpy as np
import torch
from torch import Tensor
from torch.optim.swa_utils import AveragedModel

from maskmend.arrays.agreement import believed_masks, mask_distance, size_bias
from maskmend.learning.batches import TrainingCases, mean_of_known
from maskmend.learning.losses import (
    plane_weights,
    soft_cross_entropy,
    soft_dice_loss,
    weighted_mean,
)
from maskmend.learning.prediction import mismatch_with
from maskmend.settings import TrainingSettings

WARM_UP_STEPS = 20


class SegmentationTask(pl.LightningModule):
    """One network, its averaged twin, and the loss; the training data is held, not loaded.

    Batches are indices into `data`, which draws them from (seed, step) alone, and masks are
    selected at the start of an epoch from the averaged weights alone, so that a resumed training
    repeats what an unbroken one does.
    """

    kept: Tensor

    def __init__(
        self, data: TrainingCases, monitor: TrainingCases, settings: TrainingSettings, seed: int,
        listener: Callable[[int, float, float], None],
    ) -> None:  # fmt: skip
        """listener: called after each epoch with its number from 1, loss and monitor Dice."""
        super().__init__()
        self._listener = listener
        self._data, self._monitor, self._settings, self._seed = data, monitor, settings, seed
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            network = data.way.build_network(
                settings.network, data.in_channels, data.scheme.num_channels
            )
        self.network = network.to(memory_format=data.way.memory_format)  # type: ignore[call-overload]
        shares = data.shares()
        self._start_at(shares)
        decay = settings.averaging
        self.averaged = AveragedModel(
            self.network, multi_avg_fn=lambda *values: _average(*values, decay=decay),
            use_buffers=True,
        )  # fmt: skip
        self.averaged.requires_grad_(False)
        self._weights = plane_weights(shares, data.scheme.overlapping)
        kept = torch.ones(len(data.case_ids), len(data.scheme.planes), dtype=torch.bool)
        self.register_buffer("kept", kept)
        self._losses: list[Tensor] = []
        self.history: list[list[float]] = []

    def _start_at(self, shares: Tensor) -> None:
        """Set the output bias to the share of each class, so that no step is lost to learn it."""
        prior = shares.clamp(1e-4, 1 - 1e-4)
        logits = torch.logit(prior) if self._data.scheme.overlapping else prior.log()
        bias = self.network.last.bias  # type: ignore[union-attr]
        with torch.no_grad():
            bias.copy_(logits.repeat_interleave(len(bias) // len(logits)))  # type: ignore[operator, arg-type]

    def configure_optimizers(self) -> Any:
        """AdamW; the rate rises for WARM_UP_STEPS, then stays or falls as half a cosine."""
        settings = self._settings
        optimizer = torch.optim.AdamW(
            self.network.parameters(), lr=settings.learning_rate,
            weight_decay=settings.weight_decay, fused=True,
        )  # fmt: skip
        count = len(self._data.case_ids)
        total = epochs_of(settings, count) * math.ceil(count / settings.step_size)

        def rate(step: int) -> float:
            warm = min(1.0, (step + 1) / WARM_UP_STEPS)
            if settings.schedule == "constant":
                return warm
            return warm * (0.5 + 0.5 * math.cos(math.pi * min(1.0, step / total)))

        schedule = torch.optim.lr_scheduler.LambdaLR(optimizer, rate)
        return {
            "optimizer": optimizer,
            "lr_scheduler": {"scheduler": schedule, "interval": "step"},
        }

    def on_train_epoch_start(self) -> None:
        self._losses = []
        share, epochs = self._settings.select_after, epochs_of(self._settings, len(self.kept))
        start = math.ceil(share * epochs)
        if start and self.current_epoch >= start and (self.current_epoch - start) % 2 == 0:
            self._select_masks()

    def _select_masks(self) -> None:
        """Believe the masks that agree, a common difference in size left aside.

        A network half way through its training draws every mask of a structure too large or too
        small.  Judged by plain Dice, the masks with the same fault would agree best, be the ones
        that are kept, and make it worse.
        """
        mismatch = mismatch_with(self.averaged, self._data)
        distance = mask_distance(mismatch, self._data.scheme, size_bias(mismatch))
        self.kept.copy_(torch.from_numpy(believed_masks(distance, self._settings.doubt_ratio)))

    def training_step(self, indices: Tensor, _: int) -> Tensor:
        """One batch.  indices: (B,) of cases in the training data.  Returns the mean loss."""
        chosen = indices.cpu()
        data = self._data
        generator = torch.Generator().manual_seed(self._seed * 1_000_003 + self.global_step)
        maps = data.draw(chosen, self.kept[chosen].cpu(), generator, self._settings)
        images, known, taking_part = maps.to(self.device).split(data.counts, dim=1)
        targets = mean_of_known(known, taking_part)
        logits = self.network(images.to(memory_format=data.way.memory_format))
        loss = self._loss(logits.float(), targets, taking_part)
        self._losses.append(loss.detach())
        self.log("train/loss", loss, on_epoch=True, on_step=False, batch_size=len(chosen))
        return loss

    def _loss(self, logits: Tensor, targets: Tensor, taking_part: Tensor) -> Tensor:
        overlapping = self._data.scheme.overlapping
        pixels = soft_cross_entropy(logits, targets, overlapping)
        loss = weighted_mean(pixels, taking_part, self._weights.to(self.device))
        dice = self._settings.dice
        if dice is None:
            dice = self._data.way.usual_dice
        if dice:
            loss = loss + dice * soft_dice_loss(logits, targets, taking_part, overlapping)
        return loss

    def on_train_batch_end(self, *_: object) -> None:
        self.averaged.update_parameters(self.network)

    def on_train_epoch_end(self) -> None:
        mismatch = mismatch_with(self.averaged, self._monitor)
        dice = float(np.nanmean(1 - mask_distance(mismatch, self._monitor.scheme)))
        self.log("monitor/dice", dice)
        self.log("train/kept", self.kept.float().mean())
        loss = float(torch.stack(self._losses).mean())
        kept = float(self.kept.float().mean())
        self.history.append([self.current_epoch + 1, loss, dice, kept])
        self._listener(self.current_epoch + 1, loss, dice)

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        checkpoint["history"] = self.history

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        self.history = checkpoint["history"]


def _average(means: list[Tensor], news: list[Tensor], count: Tensor | int, *, decay: float) -> None:
    if not means[0].is_floating_point():
        # the number of batches that a normalisation has seen
        torch._foreach_copy_(means, news)
        return
    # the decay grows with the steps taken: the first random weights are forgotten at once
    steps = float(count)
    torch._foreach_lerp_(means, news, 1 - min(decay, (1 + steps) / (10 + steps)))


def epochs_of(settings: TrainingSettings, count: int) -> int:
    """Passes over `count` cases: settings.epochs, or as many more as make least_steps steps."""
    steps = math.ceil(count / settings.step_size)
    return max(settings.epochs, math.ceil(settings.least_steps / steps))
