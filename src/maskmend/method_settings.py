"""Options of the ways of training on wrong labels, each method's in a group of its name."""

from __future__ import annotations

from pydantic import BaseModel, ConfigDict, Field


class Group(BaseModel):
    """Options that are checked, and do not change."""

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)


class GceSettings(Group):
    """Generalised cross-entropy (method: gce)."""

    q: float = Field(
        0.7, gt=0, le=1,
        description="towards 0 the loss becomes cross-entropy, at 1 the mean absolute error",
    )  # fmt: skip


class NrDiceSettings(Group):
    """Noise-robust Dice (method: nr_dice)."""

    gamma: float = Field(
        1.5, ge=1, le=2,
        description="2 is the Dice loss; towards 1 all errors weigh more alike",
    )  # fmt: skip


class SmallLossSettings(Group):
    """How many pixels of large loss do not teach."""

    forget: float = Field(
        0.2, ge=0, lt=1, description="share of the pixels, those of largest loss, left out at last"
    )
    ramp_start: float = Field(
        0.1, ge=0, le=1, description="share of the training after which the first are left out"
    )
    ramp_end: float = Field(
        0.8, ge=0, le=1, description="share of the training after which all of them are"
    )


class CoTeachingSettings(SmallLossSettings):
    """Co-teaching of two networks (method: co_teaching)."""


class TriNetSettings(SmallLossSettings):
    """Three networks, two of which choose for the third (method: trinet)."""

    forget: float = Field(
        0.1, ge=0, lt=1, description="share of the pixels that each network leaves out at last"
    )


class JocorSettings(SmallLossSettings):
    """Two networks that are drawn together (method: jocor)."""

    agreement: float = Field(
        0.1, ge=0, lt=1,
        description="weight of the networks' divergence; the cross-entropy has the rest",
    )  # fmt: skip


class PickAndLearnSettings(Group):
    """A second network that weighs whole masks, of pictures (method: pick_and_learn)."""

    alpha: float = Field(
        2.0, gt=0,
        description="bound of a mask's score: within a batch no mask weighs more than e^(2 alpha) "
        "times another",
    )  # fmt: skip
    reduce: int = Field(
        2, ge=1, le=8,
        description="the second network sees pictures that are smaller by this factor; 1: as they "
        "are, which takes four times as long as 2",
    )  # fmt: skip
