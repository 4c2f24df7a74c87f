"""The rules that give a mistake its type, and the figures in them.

They are explained in `docs/findings.md`.  The figures were chosen on half of the cases of
`benchmarks/finding_types.py`, which reports on the other half.
"""

from __future__ import annotations

from dataclasses import dataclass

from maskmend.arrays.findings_evidence import Evidence

TYPES = (
    "missing", "extra", "over", "under", "shifted", "swapped", "left-right", "rough", "empty",
)  # fmt: skip

SAME_MASK = 0.5
"""Dice of a mask with another structure whose mask it is."""

EXPLAINED = 0.5
"""Share of the differing pixels that a move, a mirror or a swap has to explain."""

ALL_AROUND = 0.85
"""Share of the suggested boundary that a mask drawn too wide, or too narrow, as a whole passes."""

HARDLY = 0.05
"""Share of a boundary that goes the other way all the same."""

BOTH_WAYS = 0.07
"""Share of a boundary that a rough outline goes beyond, and share that it stays behind."""

RESTLESS = 1.1
"""How much more than the suggested outline a jagged one turns."""

VERY_RESTLESS = 1.8
"""The same where the outline does not go far."""

TOUCHED = 0.02
"""Share of the suggested boundary that such an outline leaves all the same."""

ANGULAR = 0.66
"""Share of the turns of an outline in its sharpest fifth, in a polygon."""

MORE_ANGULAR = 0.07
"""How much larger that share is than in the suggested outline."""

SEEN = 0.1
"""Share of the suggested boundary at which a polygon lies beside it."""

PART = 0.25
"""Share of a structure from which on what lacks is a part of it, not a matter of its boundary."""

MOST = 0.5
"""Share of a structure that is drawn as another one if their classes are swapped."""

WHOLE_DEPTH = 1.15
"""How many times deeper than the half of its usual thickness a structure is lost with a part."""

ALOOF = 1.5
"""How many times farther than it is deep a region reaches that is a thing of its own."""


@dataclass(frozen=True)
class RegionEvidence:
    """One connected region of a structure that is given or suggested, but not both.

    gained: whether it is given.  touches: whether it shares a face with the other mask.  out: how
    far it reaches from there; depth: how deep it is in its own mask; limit: greatest distance
    within the tolerance.  share: of the structure.
    """

    gained: bool
    touches: bool
    out: float
    depth: float
    limit: float
    share: float


def whole_type(seen: Evidence) -> str | None:
    """What is wrong with a mask as a whole, or None."""
    moved = seen.shift_explains >= EXPLAINED and seen.shift > seen.tolerance
    mirrored = seen.mirror_explains >= EXPLAINED
    if mirrored and not (moved and seen.shift_explains >= seen.mirror_explains):
        return "left-right"
    if moved and min(seen.wide, seen.narrow) >= HARDLY:
        return "shifted"
    if seen.wide >= ALL_AROUND and seen.narrow <= HARDLY:
        return "over"
    if seen.narrow >= ALL_AROUND and seen.wide <= HARDLY:
        return "under"
    return "rough" if _is_rough(seen) else None


def _is_rough(seen: Evidence) -> bool:
    restless = seen.given_corners.turns / max(seen.suggested_corners.turns, 1e-9)
    if min(seen.wide, seen.narrow) >= BOTH_WAYS and restless >= RESTLESS:
        return True
    if seen.lost >= PART and seen.lost_depth >= WHOLE_DEPTH * seen.thickness:
        # a part is lost, which changes any outline
        return False
    if seen.wide + seen.narrow >= TOUCHED and restless >= VERY_RESTLESS:
        return True
    given, suggested = seen.given_corners.sharpness, seen.suggested_corners.sharpness
    angular = given >= ANGULAR and given - suggested >= MORE_ANGULAR
    return angular and seen.wide + seen.narrow >= SEEN


def region_type(seen: RegionEvidence) -> str:
    """What is wrong where a mask is not wrong as a whole."""
    alone = not seen.touches or seen.out > ALOOF * max(seen.depth, seen.limit)
    if seen.gained:
        return "extra" if alone else "over"
    return "missing" if alone or seen.share >= PART else "under"
