"""The passes on Dask: one worker process and two of the same cluster kind, side by side.

Cases of 256 x 256 pixels and two classes lie in the workers' memory, made from a seed; `both`
with float32, all passes but the flagging one.  Each worker is a process of one thread.

JSON: numbers under these names:
  pixels                  number of pixels judged
  passes                  over all of them
  seconds_1, seconds_2    with one worker and with two, the best of --repeats
  times                   how many times faster two are
  same                    whether thresholds, joint and cuts are equal to the bit
  pixels_per_second       of one worker, all passes together
  bytes_per_second        of one worker: labels and probabilities counted, over all passes
  tally_bytes             largest value that a task sends on, pickled
  search_bytes            what a pass sends to each worker, pickled
  tasks                   in a pass, the additions not counted
Times are those of whatever else the machine is doing; for the docs run it on an idle one.
"""

from __future__ import annotations

import argparse
import json
import pickle
import sys
import time
from dataclasses import dataclass, replace
from functools import cache
from importlib import import_module
from pathlib import Path
from typing import Any

import numpy as np
from distributed import Client, LocalCluster
from numpy.typing import NDArray

from maskmend.arrays.search import ErrorSearch
from maskmend.execute import Workers, count_span, spans

Array = NDArray[Any]
CASE = 256 * 256
CLASSES = 2


@cache
def tile(number: int) -> tuple[Array, Array]:
    """Labels and probabilities, (2 * CASE,) and (CLASSES, 2 * CASE), the same twice over."""
    rng = np.random.default_rng(number)
    labels = np.repeat(rng.integers(0, CLASSES, CASE // 64), 64).astype(np.uint8)
    logits = rng.normal(size=(CLASSES, CASE)).astype(np.float32)
    sure = rng.random(CASE) > 0.1
    logits[labels[sure], np.flatnonzero(sure)] += 5
    odds = np.exp(logits)
    return np.tile(labels, 2), np.tile(odds / odds.sum(axis=0), 2)


@dataclass(frozen=True)
class Stream:
    """Cases from eight tiles made from a seed, moved on for each case; nothing is copied, or the
    copying would be what is timed."""

    count: int

    def __len__(self) -> int:
        return self.count

    def __getitem__(self, number: int) -> tuple[Array, Array]:
        labels, probs = tile(number % 8)
        start = number * 64 % CASE
        part = slice(start, start + CASE)
        return labels[part], probs[:, part]


def passes(workers: Workers, cases: Stream) -> tuple[ErrorSearch, dict[str, int]]:
    """As `search_on`, and what it sends about."""
    search = ErrorSearch(CLASSES, np.dtype(np.float32), "both", engine="native")
    pieces = spans(cases, workers)
    facts = {"passes": 0, "tally_bytes": 0, "search_bytes": 0, "tasks": len(pieces)}
    while not search.ready:
        known = replace(search, histogram=None)
        tally = workers.add_up(Count(known, cases), pieces)
        facts["passes"] += 1
        facts["tally_bytes"] = max(facts["tally_bytes"], len(pickle.dumps(tally)))
        facts["search_bytes"] = max(facts["search_bytes"], len(pickle.dumps(known)))
        search = search.advance(tally)
    return search, facts


@dataclass(frozen=True, eq=False)
class Count:
    """What a task does."""

    search: ErrorSearch
    cases: Stream

    def __call__(self, span: range) -> Any:
        return count_span(self.search, self.cases, 0, span)


def same(one: ErrorSearch, other: ErrorSearch) -> bool:
    return one.sums == other.sums and all(
        np.array_equal(mine, theirs)
        for mine, theirs in (
            (one.confident.joint, other.confident.joint),  # type: ignore[union-attr]
            (one.cuts.scores, other.cuts.scores),  # type: ignore[union-attr]
        )
    )


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--json", type=Path, help="write the figures here")
    parser.add_argument("--pixels", type=int, default=10**9, help="how many (1e9)")
    parser.add_argument("--repeats", type=int, default=1)
    options = parser.parse_args()
    cases = Stream(options.pixels // CASE)
    found: dict[int, ErrorSearch] = {}
    figures: dict[str, Any] = {"pixels": len(cases) * CASE}
    # workers import this file by its name
    sys.path.insert(0, str(Path(__file__).parent))
    for number in (1, 2):
        with (
            LocalCluster(
                n_workers=number, threads_per_worker=1, host="127.0.0.1", dashboard_address=":0"
            ) as cluster,
            Client(cluster, set_as_default=False) as client,
        ):
            client.wait_for_workers(number)
            passes(Workers(client), Stream(64))  # compiled, and tiles made
            best = np.inf
            for _ in range(options.repeats):
                start = time.perf_counter()
                found[number], facts = passes(Workers(client), cases)
                best = min(best, time.perf_counter() - start)
        figures |= facts | {f"seconds_{number}": float(best)}
        print(f"{number} workers: {best:.1f} s", flush=True)
    figures["times"] = figures["seconds_1"] / figures["seconds_2"]
    figures["same"] = same(found[1], found[2])
    rate = figures["pixels"] / figures["seconds_1"]
    figures["pixels_per_second"] = rate
    figures["bytes_per_second"] = rate * figures["passes"] * (1 + 4 * CLASSES)
    for name, value in figures.items():
        print(f"{name}: {value:.4g}" if isinstance(value, float) else f"{name}: {value}")
    if options.json:
        options.json.write_text(json.dumps(figures, indent=1) + "\n")


if __name__ == "__main__":
    # under this name the workers find what is sent to them
    import_module("scaling").main()
