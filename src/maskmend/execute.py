"""Map a function over cases; a case that fails is left out with its reason, the others go on."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from typing import TypeVar

from maskmend.core import QUIET, Case, LeftOut, Listener
from maskmend.errors import MaskmendError

Result = TypeVar("Result")


def map_cases(
    work: Callable[[Case], Result],
    cases: Iterable[Case],
    left_out: list[LeftOut],
    *,
    stage: str,
    listener: Listener = QUIET,
) -> Iterator[tuple[Case, Result]]:
    """work(case) of each case in order; the cases that raise a MaskmendError go to left_out."""
    everything = list(cases)
    for done, case in enumerate(everything, start=1):
        try:
            result = work(case)
        except MaskmendError as error:
            left_out.append(LeftOut(case.id, str(error)))
        else:
            yield case, result
        listener.case(stage, done, len(everything))
