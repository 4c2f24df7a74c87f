"""Options of the ways of training on wrong labels, each method's in a group of its name."""

from __future__ import annotations

from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field, PlainSerializer

Listed = PlainSerializer(lambda value: None if value is None else list(value))
"""Of a tuple: it is written as JSON reads it back."""


_Scale = Annotated[float, Field(gt=0, le=4)]


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


class AdeleSettings(Group):
    """Early-learning correction of each structure at its own moment (method: adele)."""

    slowdown: float = Field(
        0.9, gt=0, lt=1,
        description="share of its first slope that the curve of a structure's overlap with the "
        "labels must have lost; then its labels are corrected",
    )  # fmt: skip
    confidence: float = Field(
        0.8, ge=0.5, lt=1, description="a prediction above this replaces the label"
    )
    scales: Annotated[tuple[_Scale, ...], Listed] = Field(
        (0.7, 1.0, 1.5), min_length=1,
        description="sizes of the image, of its own, whose predictions are averaged",
    )  # fmt: skip
    consistency: float = Field(
        1.0, ge=0, description="weight of how far the predictions of the sizes are apart"
    )


class SpatialCorrectionSettings(Group):
    """Boundaries moved back by the distance at which they commonly lie (spatial_correction)."""

    trusted_cases: Annotated[tuple[str, ...], Listed] = Field(
        (), description="ids of cases whose masks are right: they measure the distance"
    )
    trusted_share: float = Field(
        0.25, gt=0, le=1,
        description="without trusted cases: share of a structure's masks, those that agree best "
        "with the predictions, that stand in for them",
    )  # fmt: skip
    correct_after: float = Field(
        0.5, gt=0, lt=1,
        description="share of the training after which the moved predictions are the labels",
    )  # fmt: skip
