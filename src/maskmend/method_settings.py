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
