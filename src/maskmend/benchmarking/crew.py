"""Processes that carry out the tasks, each at most one at a time.

A process of its own for each: a training that takes the process with it, as one does that the
system kills for its memory, is a failed cell and not the end of the benchmark; and the CPU time of
a process is that of its task.
"""

from __future__ import annotations

import os
import signal
import threading
import traceback
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from importlib import import_module
from multiprocessing import connection, get_context, parent_process
from typing import Any

from maskmend.benchmarking.work import Order, carry_out
from maskmend.core import Listener, TrainingProgress
from maskmend.errors import SettingsError


@dataclass(frozen=True)
class Failure:
    """Why a task has no result.  error: a sentence.  details: for who looks for the cause."""

    error: str
    details: str


@dataclass(frozen=True)
class Finished:
    """A task has ended.  failure: None where its result is there."""

    key: str
    failure: Failure | None


class _Worker:
    """One process, and the task that it is at."""

    def __init__(self) -> None:
        context = get_context("spawn")
        self.pipe, theirs = context.Pipe()
        self.process = context.Process(target=serve, args=(theirs,))
        self.process.start()
        # the process has its own end now; without this one, its death ends the pipe
        theirs.close()
        self.key: str | None = None
        try:
            self.pipe.recv()
        except EOFError as error:
            self.process.join()
            raise SettingsError(
                "benchmark", expected="a process that starts",
                got=f"one that ended with exit code {self.process.exitcode}",
                remedy="In a script, call it below `if __name__ == '__main__':`.",
            ) from error  # fmt: skip

    def kill(self) -> None:
        self.process.kill()
        self.process.join()
        self.pipe.close()


class Crew:
    """So many processes; they start with their first task and end with the block."""

    def __init__(self, count: int) -> None:
        self._count = count
        self._workers: list[_Worker] = []

    def __enter__(self) -> Crew:
        return self

    def __exit__(self, *_: object) -> None:
        # a killed task goes on where it stopped; asking politely would wait for the end of an epoch
        for worker in self._workers:
            worker.kill()

    @property
    def at_work(self) -> tuple[str, ...]:
        """Keys of the tasks under way."""
        return tuple(worker.key for worker in self._workers if worker.key is not None)

    @property
    def has_room(self) -> bool:
        return len(self.at_work) < self._count

    def give(self, order: Order) -> None:
        """Have a process carry out an order.  Only where there is room."""
        free = [worker for worker in self._workers if worker.key is None]
        if not free:
            free = [_Worker()]
            self._workers += free
        free[0].key = order.task.key
        with suppress(BrokenPipeError):
            # one that has gone meanwhile is noticed by `wait`
            free[0].pipe.send(order)

    def wait(self, heard: Callable[[int, TrainingProgress], None]) -> list[Finished]:
        """Wait until somebody says something; the tasks that have ended by that.

        heard: called with the number of the process, from 0, and what its training said.
        """
        busy = {worker.pipe: worker for worker in self._workers if worker.key is not None}
        ended: list[Finished] = []
        for pipe in connection.wait(list(busy)):
            worker = busy[pipe]  # type: ignore[index]
            key = worker.key
            assert key is not None
            try:
                said = worker.pipe.recv()
            except (EOFError, OSError):
                ended.append(Finished(key, self._dismiss(worker)))
                continue
            if isinstance(said, TrainingProgress):
                heard(self._workers.index(worker), said)
            else:
                worker.key = None
                ended.append(Finished(key, said))
        return ended

    def _dismiss(self, worker: _Worker) -> Failure:
        """A process that has gone: why its task failed.  Another one takes its place."""
        worker.process.join()
        self._workers.remove(worker)
        code = worker.process.exitcode
        worker.pipe.close()
        reason = f"its process ended with exit code {code}"
        if code == -9:
            reason += ", as when the system is out of memory"
        return Failure(reason, "")


class _Sender(Listener):
    """Passes on how far a training is."""

    def __init__(self, pipe: Any) -> None:
        self._pipe = pipe

    def epoch(self, progress: TrainingProgress) -> None:
        self._pipe.send(progress)


def serve(pipe: Any) -> None:
    """The life of a process: orders come in, and for each, `None` or a Failure goes out."""
    # Ctrl-C goes to all processes of a terminal; the parent ends this one
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    threading.Thread(target=_end_with_parent, daemon=True).start()
    # loaded before any clock runs: the first task is not to pay for it
    import_module("maskmend.learning.training")
    pipe.send("ready")
    with suppress(EOFError):
        while True:
            order: Order = pipe.recv()
            failure = None
            try:
                carry_out(order, _Sender(pipe))
            except Exception as error:
                # whatever it is, it is this cell's; the others go on
                failure = Failure(f"{type(error).__name__}: {error}", traceback.format_exc())
            pipe.send(failure)


def _end_with_parent() -> None:
    """A benchmark that was killed must not go on unseen beside the one that takes it up again."""
    parent = parent_process()
    assert parent is not None
    parent.join()
    os._exit(1)
