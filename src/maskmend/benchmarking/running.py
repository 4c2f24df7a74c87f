"""A benchmark from its file to its report: plan the cells, work them out, write what came of it."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from maskmend import files
from maskmend.benchmarking.cells import Cell, Task, plan_cells
from maskmend.benchmarking.clock import read_clock
from maskmend.benchmarking.config import BenchmarkConfig, load_config
from maskmend.benchmarking.crew import Crew, Failure
from maskmend.benchmarking.data import Data, copy_source, noisy_copy, open_data
from maskmend.benchmarking.estimate import Estimate, duration
from maskmend.benchmarking.reporting import write_report
from maskmend.benchmarking.results import DONE, FAILED, Outcome, outcome_of
from maskmend.benchmarking.work import Order, Places, drop_run
from maskmend.core import QUIET, Dataset, Listener, TrainingProgress
from maskmend.errors import MaskmendError, MissingExtraError, RunMismatchError, SettingsError

PLAN = "plan.json"


@dataclass(frozen=True)
class Benchmark:
    """A benchmark and what is known of its cells.  config: as `BenchmarkConfig` dumps it."""

    out: Path
    config: Mapping[str, Any]
    cells: tuple[Cell, ...]

    @property
    def outcomes(self) -> tuple[Outcome, ...]:
        """What the disk says of each cell."""
        places = Places(self.out)
        return tuple(outcome_of(cell, places) for cell in self.cells)

    @property
    def failed(self) -> tuple[Outcome, ...]:
        return tuple(outcome for outcome in self.outcomes if outcome.state == FAILED)


def benchmark(
    config: str | Path, out: str | Path | None = None, *, jobs: int = 1, retry: bool = False,
    plots: bool = True, listener: Listener = QUIET,
) -> Benchmark:  # fmt: skip
    """Work out all cells of a benchmark that are not done, and write its tables and plots.

    config: a YAML file, see docs/benchmark.md.  out: folder for all that it makes, by default the
    file without its ending.  jobs: cells at a time, each in a process with as many threads as the
    settings say; in a script, call this below `if __name__ == "__main__":`.  retry: also cells that
    failed before.  plots: needs matplotlib.

    A cell that fails is recorded with its error, and the others go on.  When it is killed, the same
    call goes on where it stopped.  Raises SettingsError, MissingExtraError, and what opening the
    data set raises; RunMismatchError while another process works in `out`.
    """
    if plots:
        _check_matplotlib()
    root = Path(config).with_suffix("") if out is None else Path(out)
    described, data, tasks, planned = _plan(Path(config), root)
    threads = next(iter(tasks.values())).settings.threads
    if jobs < 1 or (jobs > 1 and threads == 0):
        raise SettingsError(
            "jobs", expected="at least 1, and with more than one `settings: {threads: N}`",
            got=f"{jobs} jobs, threads {threads}",
            remedy="Say how many threads each has: figures depend on it in the last digits.",
        )  # fmt: skip
    with _alone_in(root):
        files.write_json(root / PLAN, _plan_json(planned))
        _Running(planned, data, tasks, described.keep_runs, listener).work(jobs, retry)
        write_report(planned.outcomes, planned.config, root, plots)
    return planned


def open_benchmark(out: str | Path) -> Benchmark:
    """The benchmark in a folder, as it was planned last, without the data set."""
    stored = files.read_json(Path(out) / PLAN)
    return Benchmark(Path(out), stored["config"], tuple(Cell(**cell) for cell in stored["cells"]))


def plan_benchmark(config: str | Path, out: str | Path | None = None) -> Benchmark:
    """The benchmark in a file, as it would be run; nothing is written."""
    root = Path(config).with_suffix("") if out is None else Path(out)
    return _plan(Path(config), root)[-1]


def report_benchmark(out: str | Path, plots: bool = True) -> Benchmark:
    """Write the tables and plots of what is done in a folder, also while it is worked in."""
    if plots:
        _check_matplotlib()
    planned = open_benchmark(out)
    write_report(planned.outcomes, planned.config, planned.out, plots)
    return planned


def _plan(file: Path, root: Path) -> tuple[BenchmarkConfig, Data, dict[str, Task], Benchmark]:
    config = load_config(file)
    data = open_data(config, file.parent)
    source = Path(data.source.root)
    source = source.parent if source.is_file() else source
    if source in (root.resolve(), *root.resolve().parents):
        raise SettingsError(
            str(root), expected="a folder outside of the data set", got=f"one inside of {source}",
            remedy="Choose another folder with --out.",
        )  # fmt: skip
    cells, tasks = plan_cells(config, data)
    return config, data, tasks, Benchmark(root, config.model_dump(mode="json"), cells)


def _plan_json(planned: Benchmark) -> dict[str, Any]:
    return {"config": planned.config, "cells": [asdict(cell) for cell in planned.cells]}


class _Running:
    """The tasks of a benchmark while they are worked out, and what is told of it."""

    def __init__(
        self, planned: Benchmark, data: Data, tasks: dict[str, Task], keep_runs: bool,
        listener: Listener,
    ) -> None:  # fmt: skip
        self._planned, self._data, self._tasks = planned, data, tasks
        self._keep_runs, self._listener = keep_runs, listener
        self._places = Places(planned.out.absolute())
        self._estimate = Estimate(tasks.values(), self._places, data.training)
        self._names = {cell.key: cell.name for cell in reversed(planned.cells)}
        self._copies: dict[str, Dataset] = {}

    def work(self, jobs: int, retry: bool) -> None:
        """Until no task is left that is not done or failed."""
        pending = self._pending(retry)
        with Crew(jobs) as crew:
            while pending or crew.at_work:
                started = self._start(crew, pending)
                if started:
                    self._tell(crew.at_work, [*crew.at_work, *pending], jobs)
                ended = crew.wait(self._hear) if crew.at_work else []
                for finished in ended:
                    self._record(finished.key, finished.failure)
        self._tell((), [], jobs)

    def _pending(self, retry: bool) -> list[str]:
        """What is to do, all of the first seed before the second: what fails is known early."""
        pending = []
        for key in self._tasks:
            if self._places.result(key).exists():
                if not self._keep_runs:
                    # of a benchmark that was killed right then
                    drop_run(self._places.cell(key))
            elif retry or not self._places.failure(key).exists():
                pending.append(key)
        seeds = list(self._planned.config["seeds"])
        return sorted(pending, key=lambda key: seeds.index(self._tasks[key].settings.seed))

    def _start(self, crew: Crew, pending: list[str]) -> bool:
        """Give out what can be done now; whether there was anything."""
        started = False
        while crew.has_room:
            held = {self._places.shared(self._tasks[key]) for key in crew.at_work}
            free = (key for key in pending if self._can_start(key, held))
            key = next(free, None)
            if key is None:
                break
            pending.remove(key)
            try:
                order = self._order(self._tasks[key])
            except MaskmendError as error:
                self._record(key, Failure(f"{type(error).__name__}: {error}", ""))
                continue
            crew.give(order)
            started = True
        return started

    def _can_start(self, key: str, held: set[Path]) -> bool:
        """Whether nobody is at the training or cross-fit that it shares with others."""
        shared = self._places.shared(self._tasks[key])
        return shared not in held or read_clock(shared).done

    def _order(self, task: Task) -> Order:
        given, source, noise = self._data.whole, self._data.source, task.labels.noise
        # cases that are held out of a split have no part in the data set that a run opens
        if noise is not None or self._data.by_share:
            key = task.labels_key
            root = self._places.noisy(key)
            if key not in self._copies:
                self._copies[key] = noisy_copy(self._data, noise or {}, task.labels.seed, root)
            given, source = self._copies[key], copy_source(self._data, root)
        return Order(task, self._data, given, source, self._places, self._keep_runs)

    def _record(self, key: str, failure: Failure | None) -> None:
        if failure is None:
            self._places.failure(key).unlink(missing_ok=True)
            return
        files.write_json(self._places.failure(key), asdict(failure))
        self._listener.say(f"failed: {self._names[key]}: {failure.error}")

    def _hear(self, worker: int, progress: TrainingProgress) -> None:
        named = TrainingProgress(
            f"job {worker + 1}", progress.epoch, progress.epochs, progress.loss,
            progress.monitor_dice,
        )  # fmt: skip
        self._listener.epoch(named)

    def _tell(self, at_work: tuple[str, ...], left: list[str], jobs: int) -> None:
        found = [outcome.state for outcome in self._planned.outcomes]
        said = f"{found.count(DONE)} of {len(found)} cells done"
        if FAILED in found:
            said += f", {found.count(FAILED)} failed"
        if left:
            said += f"; about {duration(self._estimate.remaining(left, jobs))} left"
        if at_work:
            said += f"; now: {'; '.join(self._names[key] for key in at_work)}"
        self._listener.say(said)
        self._listener.case("benchmark", found.count(DONE) + found.count(FAILED), len(found))


def _check_matplotlib() -> None:
    if find_spec("matplotlib") is None:
        raise MissingExtraError(
            "plots", expected="matplotlib", got="it is not installed",
            remedy="pip install 'maskmend[plots]', or ask for no plots.",
        )  # fmt: skip


@contextmanager
def _alone_in(root: Path) -> Iterator[None]:
    """Nobody else works in a folder.  The lock ends with the process, however that ends."""
    root.mkdir(parents=True, exist_ok=True)
    held = sqlite3.connect(root / "lock.sqlite", timeout=0)
    try:
        try:
            held.execute("BEGIN EXCLUSIVE")
        except sqlite3.OperationalError as error:
            raise RunMismatchError(
                str(root), expected="nobody else at work there", got="another benchmark",
                remedy="Wait for it, or choose another folder with --out.",
            ) from error  # fmt: skip
        yield
    finally:
        held.close()
