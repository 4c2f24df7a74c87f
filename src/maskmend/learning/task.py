"""What Lightning trains: networks, their averaged twins, and which masks are believed."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from typing import Any

import lightning.pytorch as pl
import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm
from torch.optim.swa_utils import AveragedModel

from maskmend.arrays.agreement import believed_masks, mask_distance, size_bias
from maskmend.learning.batches import TrainingCases, mean_of_known
from maskmend.learning.ensemble import build_networks, members_of
from maskmend.learning.losses import plane_weights
from maskmend.learning.methods import METHODS
from maskmend.learning.methods.interface import Batch, EpochStart, Setup
from maskmend.learning.prediction import mismatch_with
from maskmend.settings import TrainingSettings

WARM_UP_STEPS = 20


class SegmentationTask(pl.LightningModule):
    """The networks of a method, their averaged twins; the training data is held, not loaded.

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
        self._given, self._data, self._monitor = data, data, monitor
        self._settings, self._seed = settings, seed
        count = len(data.case_ids)
        self._epochs = epochs_of(settings, count)
        self._steps = self._epochs * math.ceil(count / settings.step_size)
        shares = data.shares()
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            self._build(data, shares)
        decay = settings.averaging
        self.averaged = AveragedModel(
            self.network, multi_avg_fn=lambda *values: _average(*values, decay=decay),
            use_buffers=True,
        )  # fmt: skip
        self.averaged.requires_grad_(False)
        kept = torch.ones(count, len(data.scheme.planes), dtype=torch.bool)
        self.register_buffer("kept", kept)
        self._losses: list[Tensor] = []
        self.history: list[list[float]] = []

    def _build(self, data: TrainingCases, shares: Tensor) -> None:
        """Networks and method, with random weights from torch's generator.

        shares: (channels,), of the pixels.  The output bias is set to them, so that no step is
        lost to learn them.
        """
        settings, scheme, way = self._settings, data.scheme, data.way
        method = METHODS[settings.method]
        network = build_networks(way, settings.network, data.in_channels, scheme, method.networks)
        self.network = network.to(memory_format=way.memory_format)  # type: ignore[call-overload]
        prior = shares.clamp(1e-4, 1 - 1e-4)
        logits = torch.logit(prior) if scheme.overlapping else prior.log()
        for member in members_of(self.network):
            bias = member.last.bias  # type: ignore[union-attr]
            with torch.no_grad():
                bias.copy_(logits.repeat_interleave(len(bias) // len(logits)))  # type: ignore[operator, arg-type]
        weights = plane_weights(shares, scheme.overlapping)
        # the losses of the other methods stand alone in their papers
        usual_dice = 1.0 if settings.method == "plain" else 0.0
        dice = usual_dice if settings.dice is None else settings.dice
        self.method = method(Setup(data, weights, dice, settings))

    def configure_optimizers(self) -> Any:
        """AdamW; the rate rises for WARM_UP_STEPS, then stays or falls as half a cosine."""
        settings = self._settings
        optimizer = torch.optim.AdamW(
            [*self.network.parameters(), *self.method.parameters()], lr=settings.learning_rate,
            weight_decay=settings.weight_decay, fused=True,
        )  # fmt: skip

        def rate(step: int) -> float:
            warm = min(1.0, (step + 1) / WARM_UP_STEPS)
            if settings.schedule == "constant":
                return warm
            return warm * (0.5 + 0.5 * math.cos(math.pi * min(1.0, step / self._steps)))

        schedule = torch.optim.lr_scheduler.LambdaLR(optimizer, rate)
        return {
            "optimizer": optimizer,
            "lr_scheduler": {"scheduler": schedule, "interval": "step"},
        }

    def on_train_epoch_start(self) -> None:
        self._losses = []
        self._data = self.method.start_epoch(
            EpochStart(self.current_epoch, self._epochs, self._given, self.averaged)
        )
        start = math.ceil(self._settings.select_after * self._epochs)
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
        members = members_of(self.network)
        networks = tuple(partial(self._logits_elsewhere, member) for member in members)
        progress = self.global_step / self._steps
        batch = Batch(chosen, images, targets, taking_part, progress, generator, networks)
        loss = self.method.loss(batch, [self._logits(member, images) for member in members])
        self._losses.append(loss.detach())
        self.log("train/loss", loss, on_epoch=True, on_step=False, batch_size=len(chosen))
        return loss

    def _logits(self, network: nn.Module, images: Tensor) -> Tensor:
        logits: Tensor = network(images.to(memory_format=self._given.way.memory_format))
        return logits.float()

    def _logits_elsewhere(self, network: nn.Module, images: Tensor) -> Tensor:
        """Of images that are none of the batch: the statistics that predict are not theirs."""
        with _kept_statistics(network):
            return self._logits(network, images)

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


@contextmanager
def _kept_statistics(network: nn.Module) -> Iterator[None]:
    """Batches are normalised by their own mean and variance, which are not remembered."""
    norms = [module for module in network.modules() if isinstance(module, _BatchNorm)]
    momenta = [norm.momentum for norm in norms]
    for norm in norms:
        norm.momentum = 0.0
    try:
        yield
    finally:
        for norm, momentum in zip(norms, momenta, strict=True):
            norm.momentum = momentum


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
