"""Progress on the terminal."""

from __future__ import annotations

from rich.console import Console
from rich.progress import BarColumn, Progress, TaskID, TextColumn, TimeElapsedColumn

from maskmend.core import Listener, TrainingProgress


class Bar(Listener):
    """Progress on the terminal; plain lines where there is none."""

    def __init__(self) -> None:
        self._console = Console(stderr=True)
        columns = ("{task.description}", BarColumn(), "{task.completed}/{task.total}")
        self._progress = Progress(
            *columns, TextColumn("{task.fields[note]}"), TimeElapsedColumn(),
            console=self._console,
        )  # fmt: skip
        self._tasks: dict[str, TaskID] = {}

    def __enter__(self) -> Bar:
        self._progress.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._progress.stop()

    def say(self, text: str) -> None:
        self._console.print(text)

    def epoch(self, progress: TrainingProgress) -> None:
        note = f"loss {progress.loss:.3f}, Dice {progress.monitor_dice:.3f}"
        self._update(progress.training, progress.epoch, progress.epochs, note)

    def case(self, stage: str, done: int, total: int) -> None:
        self._update(stage, done, total, "")

    def _update(self, name: str, done: int, total: int, note: str) -> None:
        if name not in self._tasks:
            self._tasks[name] = self._progress.add_task(name, total=total, note=note)
        self._progress.update(self._tasks[name], completed=done, total=total, note=note)
        if not self._console.is_terminal and done in (1, total):
            self._console.print(f"{name} {done}/{total} {note}")
