"""Outlines: worked by hand, and filled again by a slow reference."""

from __future__ import annotations

import re

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from maskmend.core import BoolArray
from maskmend.report.outlines import outline_path

Line = tuple[float, float, float]


def upright_lines(path: str) -> list[Line]:
    """x, and the lower and upper y, of every vertical line of a path."""
    lines, x, y, first = [], 0.0, 0.0, (0.0, 0.0)
    for letter, numbers in re.findall(r"([MHVZ])([^MHVZ]*)", path):
        values = [float(number) for number in numbers.split()]
        before = (x, y)
        if letter == "M":
            x, y = first = (values[0], values[1])
        elif letter == "H":
            x = values[0]
        elif letter == "V":
            y = values[0]
        else:
            x, y = first
        if letter != "M" and y != before[1]:
            assert x == before[0], "a line is slanted"
            lines.append((x, min(y, before[1]), max(y, before[1])))
    return lines


def filled(path: str, shape: tuple[int, int], steps: tuple[float, float]) -> BoolArray:
    """The pixels whose middle lies inside, even-odd: slow, and with nothing of the code tested."""
    inside = np.zeros(shape, bool)
    lines = upright_lines(path)
    for row, column in np.ndindex(shape):
        y, x = (row + 0.5) * steps[0], (column + 0.5) * steps[1]
        inside[row, column] = sum(low < y < high and at < x for at, low, high in lines) % 2
    return inside


def test_a_pixel() -> None:
    assert outline_path(np.array([[False, True]])) == "M1 0H2V1H1Z"


def test_a_hole_has_its_own_outline() -> None:
    mask = np.ones((3, 3), bool)
    mask[1, 1] = False
    assert outline_path(mask) == "M0 0H3V3H0ZM1 1V2H2V1Z"


def test_pixels_that_touch_at_a_corner_stay_apart() -> None:
    assert outline_path(np.eye(2, dtype=bool)).count("Z") == 2


def test_nothing() -> None:
    assert outline_path(np.zeros((3, 2), bool)) == ""


def test_steps_stretch_it() -> None:
    assert outline_path(np.array([[True], [True]]), (2.5, 1.0)) == "M0 0H1V5H0Z"


@given(arrays.arrays(bool, st.tuples(st.integers(1, 9), st.integers(1, 9))))
@pytest.mark.parametrize("steps", [(1.0, 1.0), (2.5, 0.5)])
def test_filling_it_gives_the_mask(steps: tuple[float, float], mask: BoolArray) -> None:
    assert (filled(outline_path(mask, steps), mask.shape, steps) == mask).all()
