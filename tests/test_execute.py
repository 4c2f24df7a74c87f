"""Work over cases: in order, one failure does not stop the rest, other errors are not swallowed."""

from __future__ import annotations

from pathlib import Path

import pytest

from maskmend.core import Case, LeftOut, Listener
from maskmend.errors import UnreadableFileError
from maskmend.execute import map_cases

CASES = [Case(name, name, "training", Path(f"{name}.png")) for name in ("c", "a", "b")]


def name_or_fail(case: Case) -> str:
    if case.id == "a":
        raise UnreadableFileError("a.png", expected="a picture", got="text", remedy="Replace it.")
    return case.id.upper()


class Counting(Listener):
    def __init__(self) -> None:
        self.heard: list[tuple[str, int, int]] = []

    def case(self, stage: str, done: int, total: int) -> None:
        self.heard.append((stage, done, total))


def test_a_failing_case_is_left_out_and_the_others_go_on_in_order() -> None:
    left_out = [LeftOut("before", "already there")]
    done = list(map_cases(name_or_fail, CASES, left_out, stage="naming"))
    assert [(case.id, result) for case, result in done] == [("c", "C"), ("b", "B")]
    assert left_out == [
        LeftOut("before", "already there"),
        LeftOut("a", "a.png: expected a picture; got text. Replace it."),
    ]


def test_the_listener_hears_every_case_once_the_failing_one_too() -> None:
    counting = Counting()
    list(map_cases(name_or_fail, CASES, [], stage="naming", listener=counting))
    assert counting.heard == [("naming", 1, 3), ("naming", 2, 3), ("naming", 3, 3)]


def test_cases_may_come_from_a_generator_and_none_is_fine() -> None:
    assert [result for _, result in map_cases(str, (c for c in CASES), [], stage="x")] == [
        str(case) for case in CASES
    ]
    assert list(map_cases(str, [], [], stage="x")) == []


def test_a_result_is_handed_on_before_the_next_case_is_read() -> None:
    read = []

    def remember(case: Case) -> None:
        read.append(case.id)

    next(map_cases(remember, CASES, [], stage="reading"))
    assert read == ["c"]


def test_a_defect_is_not_taken_for_a_bad_case() -> None:
    left_out: list[LeftOut] = []

    def break_down(case: Case) -> None:
        raise ZeroDivisionError(case.id)

    with pytest.raises(ZeroDivisionError, match="c"):
        list(map_cases(break_down, CASES, left_out, stage="breaking"))
    assert left_out == []
