"""The cells of a benchmark, and what makes two of them the same piece of work.

A *cell* is a method on a protocol with a share of masks hit and a seed.  What it costs is a *task*:
two cells with the same task, as training on the clean labels at two alphas, are worked out once.
A task's key is the hash of all that its figures depend on, so that a result is found again
whatever the method is called, and never taken for that of other settings.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Literal, get_args

from maskmend.arrays.corruption import Noise
from maskmend.benchmarking.config import REMEDY, BenchmarkConfig
from maskmend.benchmarking.data import Data, plan_protocol
from maskmend.errors import SettingsError
from maskmend.settings import Settings, TrainingSettings

SCHEMA = 1
"""Of result.json.  A higher one makes every cell of before a new one."""

NEUTRAL: Mapping[str, Any] = {
    "student.method": "plain",
    "crossfit.teacher.method": "plain",
    "student.precision": "auto",
    "crossfit.teacher.precision": "auto",
}
"""Settings that came after the first results, each with the value that does what was done before.

At this value a setting does not count for a key, so that results of before stay valid.  A setting
that is not listed counts, and makes every cell a new one.
"""

CHOICE = "method"
"""Setting of a training that says which of the groups of options named after its values counts."""

KEY_DIGITS = 16


@dataclass(frozen=True)
class Labels:
    """The labels of the training cases.  noise: what is drawn; None for the clean ones."""

    noise: Mapping[str, Noise] | None
    seed: int

    def describe(self) -> dict[str, Any]:
        """What the errors depend on beside the data."""
        if self.noise is None:
            return {}
        kinds = {name: [n.preset, n.alpha, list(n.beta)] for name, n in self.noise.items()}
        return {"noise": kinds, "seed": self.seed}


@dataclass(frozen=True)
class Task:
    """One training, or one audit with its student, and its scores.

    settings: complete; student.weights is the checkpoint that scores.  data: what the data are,
    `data_identity`.
    """

    kind: Literal["train", "audit"]
    settings: Settings
    labels: Labels
    data: Mapping[str, Any]

    def identity(self) -> dict[str, Any]:
        """All that the figures of the task depend on."""
        chosen = self.settings.model_dump()
        if self.kind == "train":
            chosen = {name: chosen[name] for name in ("seed", "device", "threads", "student")}
        return {
            "schema": SCHEMA, "kind": self.kind, "data": dict(self.data),
            "labels": self.labels.describe(), "settings": that_count(chosen, _ways()),
        }  # fmt: skip

    @property
    def key(self) -> str:
        return key_of(self.identity())

    @property
    def labels_key(self) -> str:
        """Of a copy of the data set with these labels."""
        return self._shared({})

    @property
    def shared_key(self) -> str:
        """Of the training, or of the cross-fit of the audit, which other tasks may need too."""
        settings = self.shared_settings.model_dump()
        part = "student" if self.kind == "train" else "crossfit"
        names = ("seed", "device", "threads", part)
        return self._shared({name: settings[name] for name in names})

    @property
    def shared_settings(self) -> Settings:
        """The settings of the training or the cross-fit, without those that do not touch it."""
        mine = self.settings
        names = {"seed": mine.seed, "device": mine.device, "threads": mine.threads}
        if self.kind == "train":
            # a training leaves both checkpoints, whichever of them scores
            return Settings(**names, student=mine.student.model_copy(update={"weights": "last"}))
        return Settings(**names, crossfit=mine.crossfit)

    def _shared(self, settings: Mapping[str, Any]) -> str:
        data = {name: value for name, value in self.data.items() if name != "test"}
        return key_of(
            {"schema": SCHEMA, "data": data, "labels": self.labels.describe(), "of": settings}
        )


@dataclass(frozen=True)
class Cell:
    """A method on a protocol with a share of masks hit, and a seed.

    on_clean: the method gets the clean labels.  key: of its task.
    """

    method: str
    protocol: str
    alpha: float
    seed: int
    on_clean: bool
    key: str

    @property
    def name(self) -> str:
        return f"{self.method}, {self.protocol} {self.alpha:g}, seed {self.seed}"


def plan_cells(config: BenchmarkConfig, data: Data) -> tuple[tuple[Cell, ...], dict[str, Task]]:
    """All cells, in the order of protocols, alphas, methods and seeds; and key -> task, each once.

    Raises SettingsError where two of them would have the same name.
    """
    described = data_identity(data)
    cells: list[Cell] = []
    tasks: dict[str, Task] = {}
    for label, alpha, noise in _conditions(config, data):
        for name, method in config.methods.items():
            on_clean = method.on == "clean"
            for seed in config.seeds:
                labels = Labels(noise, seed)
                if on_clean or not any(kind.alpha for kind in noise.values()):
                    # without noise the labels are the same for each seed
                    labels = Labels(None, 0)
                kind: Literal["train", "audit"] = "audit" if method.train is None else "train"
                task = Task(kind, config.settings_of(name, seed), labels, described)
                tasks.setdefault(task.key, task)
                cells.append(Cell(name, label, alpha, seed, on_clean, task.key))
    return tuple(cells), tasks


def data_identity(data: Data) -> dict[str, Any]:
    """What the cases are: their contents, and how they are read."""
    training, test = data.digests
    source = data.source
    return {
        "training": training, "test": test, "ignore_value": source.ignore_value,
        "group_pattern": source.group_pattern,
    }  # fmt: skip


def key_of(value: Any) -> str:
    """A short hash of plain values; equal values, equal keys."""
    text = json.dumps(value, sort_keys=True, allow_nan=False)
    return hashlib.sha256(text.encode()).hexdigest()[:KEY_DIGITS]


def that_count(
    tree: Mapping[str, Any], ways: Collection[str], neutral: Mapping[str, Any] = NEUTRAL,
    above: str = "",
) -> dict[str, Any]:  # fmt: skip
    """The settings that figures depend on.

    Not those that are at the value that does what was done before they came, and not the options
    of a way of training that is not chosen.  ways: the values of CHOICE.
    """
    kept: dict[str, Any] = {}
    for name, value in tree.items():
        path = f"{above}{name}"
        unused = CHOICE in tree and name in ways and name != tree[CHOICE]
        if unused or (path in neutral and neutral[path] == value):
            continue
        below = isinstance(value, Mapping)
        kept[name] = that_count(value, ways, neutral, f"{path}.") if below else value
    return kept


def _ways() -> tuple[str, ...]:
    field = TrainingSettings.model_fields.get(CHOICE)
    return () if field is None else get_args(field.annotation)


def _conditions(
    config: BenchmarkConfig, data: Data
) -> Iterator[tuple[str, float, dict[str, Noise]]]:
    """Name of the protocol, share of masks hit, and what is drawn."""
    seen = set()
    for protocol in config.protocols:
        for alpha, noise in plan_protocol(protocol, data):
            if (protocol.label, alpha) in seen:
                raise SettingsError(
                    f"protocols: {protocol.label}", expected="each alpha of a name once",
                    got=f"alpha {alpha:g} twice", remedy=f"Give one a `name`. {REMEDY}",
                )  # fmt: skip
            seen.add((protocol.label, alpha))
            yield protocol.label, alpha, noise
