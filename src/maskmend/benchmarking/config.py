"""What a benchmark runs: the YAML file of `maskmend benchmark`, checked."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Literal

import yaml
from pydantic import BaseModel, ConfigDict, Field, field_validator, model_validator

from maskmend.errors import SettingsError
from maskmend.settings import Settings, checked, settings_from

REMEDY = "docs/benchmark.md explains every entry."

Share = Annotated[float, Field(ge=0, le=1)]
Radius = Annotated[int, Field(ge=0)]


class _Part(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)


class Protocol(_Part):
    """Errors that are put into the training masks, with some shares of masks hit."""

    preset: str
    name: str | None = Field(None, min_length=1)
    alphas: tuple[Share, ...] | None = Field(None, min_length=1)
    beta: dict[str, tuple[Radius, Radius]] = {}

    @property
    def label(self) -> str:
        return self.name or self.preset


class Method(_Part):
    """What is made of the given labels: one training, or a whole audit with its student.

    on: the labels that it gets; clean ones are nobody's in practice, and give the upper bound.
    train: settings of one training, over those of `student`.  audit: settings of the audit.
    weights: which checkpoint of the student scores.
    """

    on: Literal["given", "clean"] = "given"
    train: dict[str, Any] | None = None
    audit: dict[str, Any] | None = None
    weights: Literal["best", "last"] | None = None

    @model_validator(mode="before")
    @classmethod
    def _as_meant(cls, value: Any) -> Any:
        if not isinstance(value, Mapping):
            return value
        # YAML 1.1 reads the word `on` as true
        named = {"on" if name is True else name: of for name, of in value.items()}
        # `audit:` with nothing after it is an audit with the settings as they are
        empty: dict[Any, Any] = {
            kind: {} for kind in ("train", "audit") if named.get(kind, ...) is None
        }
        return named | empty

    @model_validator(mode="after")
    def _one_kind(self) -> Method:
        if (self.train is None) == (self.audit is None):
            raise ValueError("a method has either `train` or `audit`")
        return self


class BenchmarkConfig(_Part):
    """Methods x protocols x alphas x seeds on one data set with clean labels.

    data: the data set, relative to the file.  train: splits that are corrupted and trained on, by
    default `training` where there is one, else all.  test: splits that score the students, or the
    share of the training cases that is held out for it, patient by patient.  settings: base of all
    methods.  keep_runs: keep the run folder of each audit.
    """

    data: Path
    train: tuple[str, ...] | None = Field(None, min_length=1)
    test: tuple[str, ...] | Annotated[float, Field(gt=0, lt=1)]
    ignore_value: int | None = None
    group_pattern: str | None = None
    seeds: tuple[Annotated[int, Field(ge=0)], ...] = Field((0,), min_length=1)
    protocols: tuple[Protocol, ...] = Field(min_length=1)
    settings: dict[str, Any] = {}
    methods: dict[str, Method] = Field(min_length=1)
    keep_runs: bool = False

    @field_validator("seeds")
    @classmethod
    def _each_once(cls, seeds: tuple[int, ...]) -> tuple[int, ...]:
        if len(set(seeds)) < len(seeds):
            raise ValueError("each seed once")
        return seeds

    @field_validator("settings")
    @classmethod
    def _without_seed(cls, settings: dict[str, Any]) -> dict[str, Any]:
        if "seed" in settings:
            raise ValueError("`seeds` says which")
        return settings

    def settings_of(self, name: str, seed: int) -> Settings:
        """The settings of a method, complete, with the weights that score in student.weights.

        Raises SettingsError for an unknown name or an impossible value.
        """
        method = self.methods[name]
        changes = {"student": method.train} if method.train is not None else method.audit
        tree = merged(self.settings, changes or {})
        settings = settings_from(tree | {"seed": seed}, f"methods: {name}")
        weights = method.weights or settings.student.weights
        student = settings.student.model_copy(update={"weights": weights})
        return settings.model_copy(update={"student": student})


def load_config(path: Path) -> BenchmarkConfig:
    """The benchmark in a YAML file.

    Raises SettingsError for an unknown name, an impossible value or settings of a method that are
    none.
    """
    try:
        tree = yaml.safe_load(path.read_text())
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        raise SettingsError(
            str(path), expected="a YAML file that describes a benchmark", got=str(error),
            remedy=REMEDY,
        ) from error  # fmt: skip
    config = checked(BenchmarkConfig, tree, str(path), REMEDY)
    for name in config.methods:
        config.settings_of(name, config.seeds[0])
    return config


def merged(base: Mapping[str, Any], changes: Mapping[str, Any]) -> dict[str, Any]:
    """A tree with the leaves of another put over its own."""
    tree = dict(base)
    for name, value in changes.items():
        below = tree.get(name)
        both = isinstance(below, Mapping) and isinstance(value, Mapping)
        tree[name] = merged(below, value) if both else value  # type: ignore[arg-type]
    return tree
