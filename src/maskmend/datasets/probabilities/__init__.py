"""Probabilities that exist: found, checked for their origin, and brought into our order.

    prepared = prepare(Path("nnUNetTrainer__nnUNetPlans__3d_fullres"), dataset, ...)
    for incoming in prepared.incoming:
        bring(incoming.stored, incoming.place, scheme, incoming.case, out)

Nothing here writes; `store` does, into the run.
"""

from __future__ import annotations

from maskmend.datasets.probabilities.converting import (
    Extent,
    bring,
    bring_logits,
    extent_of,
    refuse_label_map,
    take_foreground,
)
from maskmend.datasets.probabilities.origin import BY_SPLITS, BY_USER, read_splits
from maskmend.datasets.probabilities.preparing import (
    Incoming,
    Prepared,
    place_held,
    prepare,
    seems_logits,
)

__all__ = [
    "BY_SPLITS",
    "BY_USER",
    "Extent",
    "Incoming",
    "Prepared",
    "bring",
    "bring_logits",
    "extent_of",
    "place_held",
    "prepare",
    "read_splits",
    "refuse_label_map",
    "seems_logits",
    "take_foreground",
]
