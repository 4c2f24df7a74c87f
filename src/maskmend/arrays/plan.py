"""What a pass counts, as plain numbers that the kernels in NumPy and those in C both follow.

The score of a pixel given class i, the lower the likelier wrong, has K + 1 forms:

    column j != i   p_i - p_j      margin against class j   (prune_by_noise_rate)
    column i        p_i            self-confidence          (prune_by_class, low_self_confidence)
    column K        p_i - max p_j  margin against the rest  (low_normalized_margin)

rounded once, in the dtype of the block (float16 values: to float16).  slots, (K, K + 1) int32,
names the ranking in which each given class and column takes part, -1 for none; column K is used
alone.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from maskmend.arrays.accumulate import Cuts
from maskmend.arrays.bins import Bins
from maskmend.arrays.blocks import Bounds, ProbabilityKind, bounds_of

Slots = NDArray[np.int32]

# a pixel whose given class has more is out of reach of every method that asks for doubt
_SURE = 0.51
# the same where margins against several classes are ranked
_SURE_BY_MARGIN = 0.76


@dataclass(frozen=True)
class Rule:
    """Which pixels a method flags, as numbers that a kernel can follow.

    ranking: 0 none, 1 self-confidence, 2 margins, 3 both of them, 4 slot 0 for all classes.
    confident: 0 unused, 1 alone, 2 and the ranking, 3 or the ranking.  doubted: only pixels whose
    given class is not the most probable one.
    """

    ranking: int
    confident: int
    doubted: bool


@dataclass(frozen=True, eq=False)
class Cutoffs:
    """Least probability, (K,) in stored units, that is confident, and which classes exist.

    slack: what the given class is raised by before the most probable class is sought.
    """

    least: NDArray[np.floating[Any]]
    present: NDArray[np.bool_]
    slack: float


@dataclass(frozen=True, eq=False)
class PassPlan:
    """Everything that counting or marking a case needs to know.

    counts: of "sums", "histogram", "confident", "candidates".  checked: an earlier pass has
    checked the probabilities.
    """

    counts: frozenset[str]
    num_classes: int
    kind: ProbabilityKind
    ignore: int | None
    checked: bool
    rule: Rule
    slots: Slots
    bins: Bins
    cutoffs: Cutoffs
    cuts: Cuts

    @property
    def rankings(self) -> int:
        return int(self.slots.max()) + 1

    @property
    def bounds(self) -> Bounds:
        return bounds_of(self.kind, self.num_classes)

    @property
    def sure(self) -> float | None:
        """Self-confidence, in stored units, above which a pixel need not be ranked.

        Methods that flag doubted pixels alone flag none above (1 + t) / 2, where the classes of
        a pixel sum to at most 1 + t.  Self-confidences above that come after all that can be
        flagged, and so do margins against the other of two classes: those are above 0 there, and
        below it where a pixel is doubted.  With more classes a doubted pixel's margins are at
        most its self-confidence, and those of a pixel above 0.76 + t all higher than 0.5 + t.
        So the order of what can be flagged does not change without it, and where a ranking takes
        more pixels than are counted, it takes every one that can be flagged.
        """
        margins = self.rule.ranking in (2, 3) and self.num_classes > 2
        least = _SURE_BY_MARGIN if margins else _SURE
        bound = least * self.kind.scale + self.bounds.tolerance
        return bound if self.rule.doubted and bound < self.bounds.high else None


class Memory:
    """Ranked pixels of one run that an earlier pass has found, up to a number of bytes.

    Only for a run that stays where it is from pass to pass.  The compiled kernels fill it from the
    first pixel on, in the first pass that ranks, and read it in the later ones; NumPy reads the
    run again, which takes it no longer.
    """

    def __init__(self, most_bytes: int) -> None:
        self.room = np.empty(most_bytes, np.uint8)
        self.used = 0
        self.tiles = 0
        self.open = True
