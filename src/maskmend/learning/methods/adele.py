"""ADELE: each structure's labels are corrected from the moment on at which errors are learnt.

Liu, Liu, Zhu, Shen, Fernandez-Granda, Adaptive early-learning correction for segmentation from
noisy annotations, CVPR 2022.  After each epoch the IoU of predictions and given labels is taken
for each structure, and f(t) = a (1 - exp(-b t^c)) fitted to it.  Once the slope of f has lost
`slowdown` of its value at t = 1, the early learning of that structure is over; from then on its
given labels are replaced, before each epoch, where the prediction is surer than `confidence`.
Predictions are the mean over several sizes of the image (`scales`).  The loss is the mean of those
of the sizes plus `consistency` times their divergence from their mean, through which the gradient
flows as well, as in the authors' program.

Exclusive labels, as in that program: a pixel is relabelled where both its given label and the
predicted one are background or a structure whose moment has come; the background has none of its
own.  Overlapping labels: each structure has its own moment and changes in its own plane.

Beyond the paper: the IoU is that of the averaged weights after an epoch, on all cases, not that of
the training steps during it; no moment comes in the first quarter of a training nor while the IoU
is far below its best, and one that has come stays; epochs before a structure is found at all (IoU
below 0.05) are not a part of its curve (the authors' program leaves out first epochs that gain less
than 0.1); a slope that rises never counts as one that has fallen; the consistency counts in all
images, not only in those of which some pixel is sure; a structure may appear where an image's
labels have none of it; labels are replaced by hard ones.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from scipy.optimize import least_squares
from torch import Tensor

from maskmend.arrays.agreement import predicted_labels
from maskmend.arrays.overlap import Overlap, count_overlap
from maskmend.arrays.targets import soft_targets
from maskmend.core import IGNORED, BoolArray, FloatArray, LabelArray, LabelScheme
from maskmend.learning.batches import TrainingCases
from maskmend.learning.losses import soft_cross_entropy, weighted_mean
from maskmend.learning.methods.interface import Batch, EpochStart, Method, Setup
from maskmend.learning.methods.sizes import AcrossSizes, disagreement, logits_at, scaled_shape

FOUND = 0.05
"""IoU from which on a structure is found at all."""

LEAST_EPOCHS = 3
"""A curve of three unknowns needs as many points."""

EARLIEST = 0.25
"""Share of the training before which no moment comes: while the learning rate warms up, predictions
that do not move yet look like those that move no more."""

SETTLED = 0.95
"""Share of its best IoU below which a structure is being lost again: a curve that only rises lies
flat in such a fall, and labels would be replaced by predictions that are at their worst."""


class Adele(Method):
    """Cross-entropy at several sizes that are to agree, on labels corrected structure by structure.

    overlaps: of each structure the IoU after each epoch.  corrected: whose moment has come.
    """

    def __init__(self, setup: Setup) -> None:
        super().__init__(setup)
        self.settings = setup.settings.adele
        self.multiples = setup.given.way.multiples(setup.settings.network)
        count = len(setup.given.scheme.structures)
        self.overlaps: list[list[float]] = [[] for _ in range(count)]
        self.corrected = [False] * count

    def get_extra_state(self) -> dict[str, Any]:
        return {"overlaps": self.overlaps, "corrected": self.corrected}

    def set_extra_state(self, state: dict[str, Any]) -> None:
        self.overlaps, self.corrected = state["overlaps"], state["corrected"]

    def start_epoch(self, start: EpochStart) -> TrainingCases:
        """What is replaced follows from the averaged weights alone, and is not kept."""
        if start.epoch == 0:
            return start.given
        scheme, settings = start.given.scheme, self.settings
        network = AcrossSizes(start.averaged, settings.scales, self.multiples, scheme.overlapping)
        sure, totals = [], [Overlap()] * len(scheme.structures)
        pairs = zip(start.given.known(), start.given.probabilities(network), strict=True)
        for (targets, part), probs in pairs:
            given, found = predicted_labels(targets, scheme), predicted_labels(probs, scheme)
            counts = overlaps_of(given, found, part <= 0.5, scheme)
            totals = [total + count for total, count in zip(totals, counts, strict=True)]
            sure.append(
                np.where(confidence_of(probs, scheme) > settings.confidence, found, IGNORED)
            )
        for number, total in enumerate(totals):
            self.overlaps[number].append(total.iou)
            over = early_learning_is_over(self.overlaps[number], settings.slowdown)
            if over and start.epoch >= EARLIEST * start.epochs:
                self.corrected[number] = True
        if not any(self.corrected):
            return start.given
        given_maps = (targets for targets, _ in start.given.known())
        return start.given.relabelled(
            corrected_targets(targets, found, self.corrected, scheme)
            for targets, found in zip(given_maps, sure, strict=True)
        )

    def loss(self, batch: Batch, logits: list[Tensor]) -> Tensor:
        """Mean loss of the sizes + consistency * their divergence, a scalar."""
        (own,) = logits
        shape = tuple(own.shape[2:])
        shapes = [scaled_shape(shape, scale, self.multiples) for scale in self.settings.scales]
        found = [
            own if size == shape else logits_at(batch.networks[0], batch.images, size)
            for size in shapes
        ]
        losses = [
            self.pixels_and_dice(
                soft_cross_entropy(each, batch.targets, self.overlapping), batch, each
            )
            for each in found
        ]
        apart = disagreement(torch.stack(found), self.overlapping)
        apart = weighted_mean(apart, batch.taking_part, self.plane_weights)
        return torch.stack(losses).mean() + self.settings.consistency * apart


def early_learning_is_over(overlaps: Sequence[float], slowdown: float) -> bool:
    """Whether the curve of a structure's IoU has lost `slowdown` of its first slope.

    overlaps: after each epoch, in [0, 1]; all NaN where no pixel is judged: then it never has.
    """
    found = [number for number, overlap in enumerate(overlaps) if overlap >= FOUND]
    curve = np.array(overlaps[found[0] :]) if found else np.empty(0)
    if len(curve) < LEAST_EPOCHS or curve[-1] < SETTLED * curve.max():
        return False
    _, b, c = fit_curve(curve)
    return lost_slope(len(curve), b, c) > slowdown


def fit_curve(overlaps: FloatArray) -> tuple[float, float, float]:
    """a, b, c of the curve a (1 - exp(-b t^c)) nearest to overlaps, (n,), at t = 1..n.

    a in [0, 1], b and c from 0.  Late epochs count up to ten times as much as the first, as in the
    authors' program.
    """
    times = np.arange(1, len(overlaps) + 1)
    weights = np.geomspace(1, 10, len(overlaps))

    def apart(unknowns: FloatArray) -> FloatArray:
        a, b, c = unknowns
        difference: FloatArray = weights * (a * (1 - np.exp(-b * times**c)) - overlaps)
        return difference

    # upper limits that no curve of an IoU reaches, so that no power overflows
    limits = ([0, 0, 0], [1, 100, 10])
    a, b, c = least_squares(apart, (min(float(overlaps.max()), 1.0), 1.0, 1.0), bounds=limits).x
    return float(a), float(b), float(c)


def lost_slope(time: float, b: float, c: float) -> float:
    """(f'(1) - f'(t)) / f'(1), at most 1; below 0 while the slope still rises.

    f'(t) = a b c t^(c - 1) exp(-b t^c), of which a, b and c cancel out.
    """
    return 1 - float(np.exp((c - 1) * np.log(time) - b * (time**c - 1)))


def overlaps_of(
    given: LabelArray, found: LabelArray, ignored: BoolArray, scheme: LabelScheme
) -> list[Overlap]:
    """How each structure of the given labels meets the prediction; all (planes, *S)."""
    if scheme.overlapping:
        planes = zip(given, found, ignored, strict=True)
        return [count_overlap(truth == 1, claim == 1, out) for truth, claim, out in planes]
    values = range(1, scheme.num_classes)
    return [count_overlap(given[0] == k, found[0] == k, ignored[0]) for k in values]


def confidence_of(probs: FloatArray, scheme: LabelScheme) -> FloatArray:
    """Probability of the predicted label, (planes, *S).  probs: (channels, *S)."""
    confidence: FloatArray = (
        np.maximum(probs, 1 - probs) if scheme.overlapping else probs.max(axis=0, keepdims=True)
    )
    return confidence


def corrected_targets(
    targets: FloatArray, sure: LabelArray, corrected: Sequence[bool], scheme: LabelScheme
) -> FloatArray:
    """Targets with the predicted label where it is sure, and its structure's moment has come.

    targets: (channels, *S).  sure: (planes, *S), the predicted label, or IGNORED.  corrected:
    (structures,).  Exclusive labels: the given label must be one of those too, or background.
    """
    if scheme.overlapping:
        open_planes = np.array(corrected).reshape(-1, *(1,) * (targets.ndim - 1))
        replaced = open_planes & (sure != IGNORED)
    else:
        may_change = np.zeros(256, bool)
        may_change[: len(corrected) + 1] = [True, *corrected]
        replaced = may_change[predicted_labels(targets, scheme)] & may_change[sure]
    return np.where(replaced, soft_targets(sure, scheme)[0], targets)
