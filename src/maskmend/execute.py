"""Where work runs: one case after the other, on the cores of this machine, or on a Dask cluster.

    with connect("tcp://host:8786") as workers:        # or Workers(), for the local cores
        search = search_on(workers, cases, num_classes=2)

What travels is small: which cases to read, and the counts that came of them, which are added up
in a tree on the workers themselves.  Counts are exact and add in any order, so the result has the
same bytes on one worker, on a thousand, and when some of them die in between.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence, Sized
from contextlib import contextmanager
from dataclasses import replace
from functools import partial, reduce
from itertools import pairwise
from multiprocessing import cpu_count
from operator import add
from typing import Any, Protocol, TypeVar

from maskmend.arrays.accumulate import Tally
from maskmend.arrays.blocks import Labels, Probabilities
from maskmend.arrays.search import ErrorSearch
from maskmend.core import QUIET, BoolArray, Case, LeftOut, Listener
from maskmend.errors import ClusterError, MaskmendError, MissingExtraError, SettingsError

Item = TypeVar("Item")
Result = TypeVar("Result")

FAN_IN = 16
"""Values that one task adds up."""

SPANS = 24
"""Pieces that a pass is cut into at least, where there are as many cases."""


class CaseArrays(Protocol):
    """Labels and probabilities of each case, read anew whenever they are asked for.

    On processes and clusters it is pickled: it should know where the arrays lie, not hold them.
    """

    def __len__(self) -> int: ...

    def __getitem__(self, number: int, /) -> tuple[Labels, Probabilities]: ...


class Workers:
    """Runs independent pieces of work with Dask.

    scheduler: "threads" or "processes" of this machine, or a dask.distributed Client.
    count: how many threads or processes; 0 for one a core.  A cluster has what it has.
    """

    def __init__(self, scheduler: Any = "threads", count: int = 0) -> None:
        self._scheduler = scheduler
        self.remote = not isinstance(scheduler, str)
        self.count = len(scheduler.ncores()) if self.remote else count or cpu_count()

    def add_up(self, work: Callable[[Item], Result], items: Sequence[Item]) -> Result:
        """The sum of work(item) over all items, at least one; added in a tree.

        work: pickled for processes and clusters.  Its results need `+`, and no order.
        """
        from dask import delayed

        shared = delayed(work, pure=False, traverse=False)
        parts = [delayed(_call, pure=False)(shared, item) for item in items]
        while len(parts) > 1:
            groups = [parts[start : start + FAN_IN] for start in range(0, len(parts), FAN_IN)]
            parts = [delayed(_sum, pure=False)(group) for group in groups]
        (total,) = self._compute(parts)
        return total

    def each(
        self,
        work: Callable[[Item], Result],
        items: Sequence[Item],
        resources: Mapping[str, float] | None = None,
    ) -> Iterator[Result]:
        """work(item) of each item, in order, as they get done.

        resources: what one item needs of a cluster's worker, as {"GPU": 1}.
        """
        if self.remote:
            client, needs = self._scheduler, dict(resources or {})
            # a task, not scattered data: that would be lost for ever with its worker
            shared = client.submit(_same, work, pure=False)
            futures = deque(
                client.map(_call, [shared] * len(items), items, pure=False, resources=needs)
            )
            try:
                while futures:
                    yield futures[0].result()
                    # let go of, so that the workers forget the result
                    futures.popleft()
            finally:
                client.cancel(list(futures))
            return
        from dask import delayed

        group = 4 * self.count
        for start in range(0, len(items), group):
            yield from self._compute(
                [delayed(work, pure=False)(item) for item in items[start : start + group]]
            )

    def _compute(self, tasks: list[Any]) -> tuple[Any, ...]:
        from dask import compute

        options = {} if self.remote else {"num_workers": self.count}
        results: tuple[Any, ...] = compute(*tasks, scheduler=self._scheduler, **options)
        return results


def _call(work: Callable[[Item], Result], item: Item) -> Result:
    return work(item)


def _same(work: Item) -> Item:
    return work


def _sum(values: list[Any]) -> Any:
    return reduce(add, values)


@contextmanager
def connect(address: str, *, timeout: float = 10) -> Iterator[Workers]:
    """The workers of an existing Dask cluster, as tcp://host:8786.

    They need maskmend, and the data set and the run folder under the same paths.
    Raises ClusterError if nobody answers within `timeout` seconds, or no worker is there;
    MissingExtraError without dask.distributed.
    """
    try:
        from distributed import Client
    except ImportError as error:
        raise MissingExtraError(
            address, expected="dask.distributed to reach a cluster", got="it is not installed",
            remedy="pip install 'maskmend[dist]'",
        ) from error  # fmt: skip
    try:
        client = Client(address, timeout=timeout, set_as_default=False)
    except (OSError, ValueError) as error:
        raise ClusterError(
            address, expected="a Dask scheduler, as tcp://host:8786", got=str(error),
            remedy="Start one with `dask scheduler`, and workers with `dask worker ADDRESS`.",
        ) from error  # fmt: skip
    with client:
        if not client.ncores():
            raise ClusterError(
                address, expected="a cluster with workers", got="a scheduler alone",
                remedy=f"Start workers with `dask worker {address}`.",
            )  # fmt: skip
        yield Workers(client)


def search_on(
    workers: Workers,
    cases: CaseArrays,
    *,
    num_classes: int,
    method: str = "both",
    class_axis: int = 0,
    ignore: int | None = None,
    with_statistics: bool = True,
    engine: str = "auto",
) -> ErrorSearch:
    """`maskmend.arrays.selection.search_cases` on many workers: the same search, to the bit.

    Raises SettingsError without a case.
    """
    if not len(cases):
        raise SettingsError(
            "cases", expected="at least one", got="none", remedy="Name a folder with cases."
        )
    dtype = cases[0][1].dtype
    search = ErrorSearch(
        num_classes, dtype, method, ignore=ignore, with_statistics=with_statistics, engine=engine
    )
    pieces = spans(cases, workers)
    while not search.ready:
        # a histogram of an earlier pass has no part in the counting
        known = replace(search, histogram=None)
        count = partial(count_span, known, cases, class_axis)
        search = search.advance(workers.add_up(count, pieces))
    return search


def spans(cases: Sized, workers: Workers) -> list[range]:
    """The numbers of the cases in pieces: enough to keep all workers busy to the end."""
    count = len(cases)
    pieces = min(count, max(SPANS, 8 * workers.count))
    edges = [count * piece // pieces for piece in range(pieces + 1)]
    return [range(start, stop) for start, stop in pairwise(edges)]


def count_span(search: ErrorSearch, cases: CaseArrays, class_axis: int, span: range) -> Tally:
    """What the pass under way counts in some cases."""
    first = cases[span.start]
    counter = search.counter()
    for number in span:
        labels, probs = first if number == span.start else cases[number]
        counter.add_case(labels, probs, class_axis, number, f"case {number}")
    return counter.tally()


def flag_on(
    workers: Workers, search: ErrorSearch, cases: CaseArrays, *, class_axis: int = 0
) -> Iterator[BoolArray]:
    """The errors of each case in turn, once the search is ready."""
    flag = partial(_flag, search, cases, class_axis)
    return workers.each(flag, range(len(cases)))


def _flag(search: ErrorSearch, cases: CaseArrays, class_axis: int, number: int) -> BoolArray:
    labels, probs = cases[number]
    return search.flag(labels, probs, class_axis=class_axis, case=number)


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
