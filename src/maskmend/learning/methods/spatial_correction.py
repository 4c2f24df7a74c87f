"""Spatial correction: predicted boundaries are moved back by how far they are known to be off.

Yao, Zhang, Zheng, Goswami, Prasanna, Chen, Learning to segment from noisy annotations: a spatial
correction approach, ICLR 2023.  Annotators whose errors move a boundary more often one way than the
other teach a network a shifted one.  The shift of each structure is the signed distance between
predicted and true boundary, averaged over a few cases whose masks are right; all predictions are
moved back by it, and the training goes on with them as labels.

Beyond the paper: the masks that are right are named among the training cases (`trusted_cases`,
which then do not teach), or the masks that agree best with the predictions stand in for them;
labels are corrected once, with the averaged weights, and the training neither starts anew nor
repeats it; a distance is measured from the line between pixels and a boundary moved by a threshold
of it, where the authors' program adds a Gaussian ridge to the logits and leaves shifts below one
pixel alone; a case in which either mask is empty does not count for a shift; a structure whose
shift no case can tell keeps its given labels.
"""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Any

import numpy as np
import torch
from torch import Tensor

from maskmend.arrays.agreement import mask_mismatch, predicted_labels, structure_distance
from maskmend.arrays.shifted import boundary_shift, shifted_labels
from maskmend.arrays.targets import soft_targets
from maskmend.core import IGNORED, BoolArray, FloatArray, LabelArray, LabelScheme
from maskmend.errors import SettingsError
from maskmend.learning.batches import TrainingCases
from maskmend.learning.methods.interface import Batch, EpochStart, Setup
from maskmend.learning.methods.plain import Plain


class SpatialCorrection(Plain):
    """The loss of `plain`, from `correct_after` on against moved predictions.

    labels: the corrected ones, of each case (planes, *S) uint8; none before they are made.
    """

    trusted: Tensor

    def __init__(self, setup: Setup) -> None:
        """Raises SettingsError where cases are trusted and none of them is trained with."""
        super().__init__(setup)
        self.settings = setup.settings.spatial_correction
        self.labels: list[Tensor] = []
        self._relabelled: TrainingCases | None = None
        chosen, ids = self.settings.trusted_cases, setup.given.case_ids
        trusted = torch.tensor([case in chosen for case in ids])
        if chosen and not (trusted.any() and not trusted.all()):
            raise SettingsError(
                "spatial_correction.trusted_cases",
                expected=f"some, but not all, of {', '.join(ids)}", got=", ".join(chosen),
                remedy="Trust more cases, or others: a fold and `monitor_share` hold some out.",
            )  # fmt: skip
        self.register_buffer("trusted", trusted, persistent=False)

    def get_extra_state(self) -> dict[str, Any]:
        return {"labels": self.labels}

    def set_extra_state(self, state: dict[str, Any]) -> None:
        self.labels = state["labels"]

    def start_epoch(self, start: EpochStart) -> TrainingCases:
        if start.epoch < math.ceil(self.settings.correct_after * start.epochs):
            return start.given
        if not self.labels:
            self.labels = [torch.from_numpy(labels) for labels in self._corrected(start)]
        if self._relabelled is None:
            scheme = start.given.scheme
            self._relabelled = start.given.relabelled(
                soft_targets(labels.numpy(), scheme)[0] for labels in self.labels
            )
        return self._relabelled

    def _corrected(self, start: EpochStart) -> list[LabelArray]:
        given, scheme = start.given, start.given.scheme
        steps = given.way.spacing
        found = [predicted_labels(probs, scheme) for probs in given.probabilities(start.averaged)]
        masks = [
            np.where(part > 0.5, predicted_labels(targets, scheme), IGNORED).astype(np.uint8)
            for targets, part in given.known()
        ]
        pairs = list(zip(masks, found, strict=True))
        measuring = self._measuring(pairs, scheme)
        shifts = np.full(len(scheme.structures), np.nan)
        for number in range(len(shifts)):
            each = [
                _shift_of(number, *pairs[case], scheme, steps)
                for case in np.flatnonzero(measuring[:, number])
            ]
            told = [shift for shift in each if not math.isnan(shift)]
            if told:
                shifts[number] = np.mean(told)
        return [
            shifted_labels(guess, np.where(mask == IGNORED, 0, mask), shifts, scheme, steps)
            for mask, guess in pairs
        ]

    def _measuring(
        self, pairs: list[tuple[LabelArray, LabelArray]], scheme: LabelScheme
    ) -> BoolArray:
        """Which cases tell the shift of which structure, (N, structures)."""
        if self.settings.trusted_cases:
            rows: BoolArray = (
                self.trusted.cpu().numpy()[:, None].repeat(len(scheme.structures), axis=1)
            )
            return rows
        mismatch = np.stack([mask_mismatch(mask, guess, scheme) for mask, guess in pairs])
        return nearest_share(structure_distance(mismatch), self.settings.trusted_share)

    def loss(self, batch: Batch, logits: list[Tensor]) -> Tensor:
        """What is trusted measures, and does not teach."""
        teaching = ~self.trusted.to(batch.images.device)[batch.indices.to(batch.images.device)]
        part = batch.taking_part * teaching.reshape(-1, *(1,) * (batch.taking_part.ndim - 1))
        return super().loss(replace(batch, taking_part=part), logits)


def _shift_of(
    number: int, given: LabelArray, found: LabelArray, scheme: LabelScheme,
    steps: tuple[float, ...],
) -> float:  # fmt: skip
    plane, value = (number, 1) if scheme.overlapping else (0, number + 1)
    judged = given[plane] != IGNORED
    return boundary_shift(found[plane] == value, given[plane] == value, judged, steps)


def nearest_share(distance: FloatArray, share: float) -> BoolArray:
    """The masks nearest to their predictions, (N, structures) bool.

    distance: (N, structures), 1 - Dice; 0 and NaN tell of no boundary, and are not counted.  Of
    each structure the `share` of those that are, rounded up.
    """
    counted = np.where(distance > 0, distance, np.inf)
    wanted = np.ceil(share * np.isfinite(counted).sum(axis=0))
    rank = counted.argsort(axis=0, kind="stable").argsort(axis=0, kind="stable")
    nearest: BoolArray = (rank < wanted) & np.isfinite(counted)
    return nearest
