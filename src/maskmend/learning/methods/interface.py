"""What a way of training on wrong labels is: how many networks, and what each step costs them.

A training is the same for all methods (`learning.task`): batches, augmentation, optimiser,
averaged weights, whole masks that are left out (`select_after`).  A method says how many networks
it trains side by side, what else it optimises, what the loss of a batch is, and, at the start of
an epoch, which labels are trained on.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass
from typing import ClassVar

from torch import Generator, Tensor, nn

from maskmend.errors import SettingsError
from maskmend.learning.batches import TrainingCases
from maskmend.learning.losses import soft_dice_loss, weighted_mean
from maskmend.settings import TrainingSettings


@dataclass(frozen=True)
class Setup:
    """What a method is made from.

    given: the training cases, as they were handed in.  plane_weights: (planes,), mean 1, how much
    a pixel of each plane counts.  dice: weight of 1 - soft Dice beside a loss of pixels.
    settings: of the training; those of the method lie under its name.
    """

    given: TrainingCases
    plane_weights: Tensor
    dice: float
    settings: TrainingSettings


@dataclass(frozen=True)
class EpochStart:
    """What a method may look at before an epoch.

    epoch: from 0, of `epochs`.  given: the training cases, as they were handed in.  averaged: the
    averaged weights, as one network that predicts (`given.probabilities(averaged)`).
    """

    epoch: int
    epochs: int
    given: TrainingCases
    averaged: nn.Module


@dataclass(frozen=True)
class Batch:
    """What a step is taken on; all but `indices` on the network's device.

    indices: (B,) of the cases, on the CPU.  images: (B, C, *S) float32.  targets: (B, channels,
    *S) in [0, 1], of exclusive labels summing to 1 where something takes part.  taking_part:
    (B, planes, *S) in [0, 1], 0 where a pixel is ignored or its mask left out: it must not
    count.  progress: share of the steps of the training that are done, in [0, 1).  generator: for
    all random numbers that a loss needs (on the CPU); torch's own are not seeded.  networks: those
    that are trained, images -> logits float32, for a loss that shows them other images, whose mean
    and variance are not remembered.
    """

    indices: Tensor
    images: Tensor
    targets: Tensor
    taking_part: Tensor
    progress: float
    generator: Generator
    networks: tuple[Callable[[Tensor], Tensor], ...]


class Method(nn.Module, ABC):
    """One way of training.  Its parameters are optimised with those of the networks; they and its
    buffers are in the checkpoint, and what is neither tensor nor fixed belongs there through
    `get_extra_state`, so that a resumed training ends as an unbroken one.

    networks: how many are trained; several predict by the mean of their probabilities.
    axes: of space that it takes; 2: pictures, 3: volumes.
    """

    networks: ClassVar[int] = 1
    axes: ClassVar[tuple[int, ...]] = (2, 3)
    plane_weights: Tensor

    def __init__(self, setup: Setup) -> None:
        """Raises SettingsError for cases that the method does not take."""
        super().__init__()
        if setup.given.way.axes not in self.axes:
            kinds = {2: "pictures", 3: "volumes"}
            taken = " and ".join(kinds[axes] for axes in self.axes)
            raise SettingsError(
                "method", expected=f"one that takes {kinds[setup.given.way.axes]}",
                got=f"{setup.settings.method}, which takes {taken} only",
                remedy="Set method to plain, or see docs/methods.md for others.",
            )  # fmt: skip
        self.overlapping = setup.given.scheme.overlapping
        self.dice = setup.dice
        # follows from the data: not in a checkpoint
        self.register_buffer("plane_weights", setup.plane_weights, persistent=False)

    def start_epoch(self, start: EpochStart) -> TrainingCases:
        """The cases that this epoch draws from: those given, or `relabelled` ones.

        Called before every epoch, the first one after a resume included.
        """
        return start.given

    def pixels_and_dice(self, pixels: Tensor, batch: Batch, logits: Tensor) -> Tensor:
        """Weighted mean of the losses of the pixels + dice * (1 - soft Dice), a scalar.

        pixels: (B, planes, *S).  logits: (B, channels, *S) of one network.
        """
        loss = weighted_mean(pixels, batch.taking_part, self.plane_weights)
        if self.dice:
            overlap = soft_dice_loss(logits, batch.targets, batch.taking_part, self.overlapping)
            loss = loss + self.dice * overlap
        return loss

    @abstractmethod
    def loss(self, batch: Batch, logits: list[Tensor]) -> Tensor:
        """A scalar to be made small; of several networks the mean.

        logits: of each network (B, channels, *S) float32.
        """
