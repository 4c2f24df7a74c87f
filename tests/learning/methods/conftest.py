"""Batches and methods without a training around them."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
import torch
from torch import Tensor

from maskmend.arrays.targets import soft_targets
from maskmend.core import LabelScheme
from maskmend.learning.batches import stack_training_data
from maskmend.learning.methods import METHODS
from maskmend.learning.methods.interface import Batch, Method, Setup
from maskmend.settings import TrainingSettings

BatchOf = Callable[..., Batch]
MethodOf = Callable[..., Method]


@pytest.fixture
def batch_of() -> BatchOf:
    def build(targets: Tensor, taking_part: Tensor | None = None, progress: float = 0.0) -> Batch:
        """targets: (B, channels, *S).  taking_part: (B, planes, *S), all by default."""
        part = torch.ones_like(targets) if taking_part is None else taking_part
        return Batch(
            indices=torch.arange(len(targets)), images=torch.zeros_like(targets[:, :1]),
            targets=targets, taking_part=part, progress=progress,
            generator=torch.Generator().manual_seed(0), networks=(),
        )  # fmt: skip

    return build


@pytest.fixture
def method_of() -> MethodOf:
    def build(settings: TrainingSettings, scheme: LabelScheme, dice: float = 0.0) -> Method:
        """A method of four cases, each plane of which weighs the same."""
        labels = np.zeros((len(scheme.planes), 32, 32), np.uint8)
        items = [(f"c{n}", np.zeros((1, 32, 32)), *soft_targets(labels, scheme)) for n in range(4)]
        given = stack_training_data(items, 32, scheme)
        weights = torch.ones(len(scheme.planes))
        return METHODS[settings.method](Setup(given, weights, dice, settings))

    return build
