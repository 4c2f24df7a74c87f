"""The record of one label error, and how it goes through a CSV file."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields

from maskmend.errors import SettingsError

KINDS = (
    "dilate", "erode", "edge_distortion", "shift", "affine", "missing", "blob", "polygon",
    "missing_part", "bulge", "dent", "mirrored", "dilate_cross", "erode_cross", "edge_bumps",
    "markov", "swapped",
)  # fmt: skip
"""All kinds of label error."""

LATER_COLUMNS = {"smallest": "0", "steps": "0", "thetas": "", "annotator": ""}
"""Columns that records written before there were these do not have, with what they would say."""


@dataclass(frozen=True)
class Corruption:
    """One error in the mask of one structure of one case, with all that its replay needs.

    radius: dilate, erode, dilate_cross, erode_cross, blob, bulge, dent: of the disc (diamond);
    edge_distortion, edge_bumps: the largest; polygon: half of the distance between vertices along
    the outline.  seed: of the generator that edge_distortion, edge_bumps, blob, bulge, dent,
    missing_part and markov draw from.  offset: shift along each axis.  matrix: of affine, row by
    row, mapping an offset from the mask's centroid after to the one before.  partner: structure
    swapped with.  smallest: edge_bumps: radius of the smallest disc.  steps, thetas: markov: T,
    and theta1, theta2, theta3.  annotator: who makes this error in all of a number of cases, if
    it is one annotator's habit.  Fields that a kind does not use keep their defaults.
    """

    case: str
    structure: str
    kind: str
    radius: int = 0
    seed: int = 0
    offset: tuple[int, ...] = ()
    matrix: tuple[float, ...] = ()
    partner: str = ""
    smallest: int = 0
    steps: int = 0
    thetas: tuple[float, ...] = ()
    annotator: str = ""

    def to_row(self) -> dict[str, str]:
        """The record as text, one entry a field, tuples separated by spaces; exact."""
        values = {field.name: getattr(self, field.name) for field in fields(self)}
        return {
            name: " ".join(map(repr, value)) if isinstance(value, tuple) else str(value)
            for name, value in values.items()
        }

    @classmethod
    def from_row(cls, row: Mapping[str, str]) -> Corruption:
        """The record that `to_row` wrote; raises SettingsError for a row that it cannot have."""
        whole = LATER_COLUMNS | dict(row)
        try:
            corruption = cls(
                case=whole["case"],
                structure=whole["structure"],
                kind=whole["kind"],
                radius=int(whole["radius"]),
                seed=int(whole["seed"]),
                offset=tuple(int(part) for part in whole["offset"].split()),
                matrix=tuple(float(part) for part in whole["matrix"].split()),
                partner=whole["partner"],
                smallest=int(whole["smallest"]),
                steps=int(whole["steps"]),
                thetas=tuple(float(part) for part in whole["thetas"].split()),
                annotator=whole["annotator"],
            )
        except (KeyError, ValueError) as error:
            raise bad_setting(
                f"corruption of {row.get('case', '?')}", "a row written by maskmend", dict(row)
            ) from error
        if corruption.kind not in KINDS:
            raise bad_setting("kind", f"one of {', '.join(KINDS)}", corruption.kind)
        return corruption


def bad_setting(name: str, expected: str, got: object) -> SettingsError:
    """The error for a setting of a corruption that cannot be."""
    return SettingsError(name, expected=expected, got=f"{got}", remedy="Correct the setting.")
