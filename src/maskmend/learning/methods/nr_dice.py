"""Noise-robust Dice: a Dice loss that a few large errors of the labels do not rule.

Wang et al., A noise-robust framework for automatic segmentation of COVID-19 pneumonia lesions from
CT images, IEEE TMI 2020: sum |p - t|^gamma / (sum p^2 + sum t^2 + eps), gamma 1.5.  gamma = 2 is
the Dice loss of Milletari et al., 3DV 2016; the nearer it comes to 1, the more alike all errors
weigh, as in the mean absolute error.

Beyond the paper: the mean over the structures, each over all pixels of a batch, the background
left out.  A structure that no label of the batch has is left out too: without targets the quotient
grows as the predictions shrink.  The paper's network and its self-ensembling are not part of this.
"""

from __future__ import annotations

from torch import Tensor

from maskmend.errors import SettingsError
from maskmend.learning.methods.interface import Batch, Method, Setup

LEAST_PIXELS = 1e-3
"""Squared targets of a structure, summed over a batch, below which it is not there."""


class NoiseRobustDice(Method):
    """The noise-robust Dice loss, and nothing beside it."""

    def __init__(self, setup: Setup) -> None:
        """Raises SettingsError where a weight of the usual Dice is asked for."""
        super().__init__(setup)
        if setup.settings.dice:
            raise SettingsError(
                "dice", expected="null or 0 with the method nr_dice, a Dice loss itself",
                got=f"{setup.settings.dice:g}", remedy="Leave dice out, or use the method plain.",
            )  # fmt: skip
        self.gamma = setup.settings.nr_dice.gamma

    def loss(self, batch: Batch, logits: list[Tensor]) -> Tensor:
        (found,) = logits
        return noise_robust_dice(found, batch, self.gamma, self.overlapping)


def noise_robust_dice(logits: Tensor, batch: Batch, gamma: float, overlapping: bool) -> Tensor:
    """Mean over the structures that the targets have, a scalar; 0 where they have none.

    logits: (B, channels, *S).  gamma: in [1, 2].
    """
    targets = batch.targets
    if overlapping:
        probs = logits.sigmoid()
    else:
        # the background is not a structure
        probs, targets = logits.softmax(dim=1)[:, 1:], targets[:, 1:]
    axes = (0, *range(2, probs.ndim))
    wrong = ((probs - targets).abs() ** gamma * batch.taking_part).sum(axes)
    wanted = (targets**2 * batch.taking_part).sum(axes)
    total = (probs**2 * batch.taking_part).sum(axes) + wanted
    present = wanted > LEAST_PIXELS
    if not present.any():
        return wrong.sum() * 0
    return (wrong[present] / total[present]).mean()
