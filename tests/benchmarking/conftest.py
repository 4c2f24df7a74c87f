"""A small data set, and configurations of benchmarks on it that take seconds."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml

from maskmend.benchmarking import benchmark
from maskmend.datasets.phantom import write_phantoms

TINY = {
    "threads": 1,
    "device": "cpu",
    "student": {"size": 32, "epochs": 2, "least_steps": 0},
    "crossfit": {"folds": 2, "teacher": {"size": 32, "epochs": 2, "least_steps": 0}},
    "flag": {"method": "argmax"},
}
"""Two folds of two epochs at 32 px."""

Write = Callable[..., Path]


@pytest.fixture(scope="session")
def clean(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Six training and two validation phantoms of 48 px, with true masks."""
    root = tmp_path_factory.mktemp("benchmarking") / "clean"
    write_phantoms(root, {"training": 6, "validation": 2}, seed=5, size=48)
    return root


@pytest.fixture(scope="session")
def plain(clean: Path) -> dict[str, Any]:
    """A configuration: one method, one protocol, one alpha, one seed."""
    return {
        "data": str(clean),
        "test": ["validation"],
        "protocols": [{"preset": "reference", "alphas": [0.5]}],
        "settings": TINY,
        "methods": {"cross entropy": {"train": {}}},
    }


@pytest.fixture
def write(tmp_path: Path) -> Write:
    """A function that writes a configuration to a file."""

    def write_config(config: dict[str, Any], name: str = "small.yaml") -> Path:
        path = tmp_path / name
        path.write_text(yaml.safe_dump(config, sort_keys=False))
        return path

    return write_config


@pytest.fixture(scope="session")
def noise_and_methods(plain: dict[str, Any]) -> dict[str, Any]:
    """Two methods x two alphas x two seeds."""
    return plain | {
        "seeds": [0, 1],
        "protocols": [{"preset": "reference", "alphas": [0, 0.5]}],
        "methods": {"cross entropy": {"train": {}}, "maskmend": {"audit": {}}},
    }


@pytest.fixture(scope="session")
def whole(noise_and_methods: dict[str, Any], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The output of that benchmark, two cells at a time."""
    folder = tmp_path_factory.mktemp("whole")
    (folder / "small.yaml").write_text(yaml.safe_dump(noise_and_methods, sort_keys=False))
    benchmark(folder / "small.yaml", jobs=2)
    return folder / "small"
