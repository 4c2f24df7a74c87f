"""What docs/benchmark.md shows runs, and names what there is."""

from __future__ import annotations

import re
import shlex
from pathlib import Path

import pytest
import typer
import yaml

from maskmend.benchmarking import plan_benchmark
from maskmend.benchmarking.config import BenchmarkConfig, Method, Protocol
from maskmend.benchmarking.results import HEADER
from maskmend.cli import app
from maskmend.datasets.phantom import write_phantoms

PAGE = (Path(__file__).parents[2] / "docs" / "benchmark.md").read_text()
(CONFIG,) = re.findall(r"```yaml\n(.*?)```", PAGE, re.DOTALL)
(PYTHON,) = re.findall(r"```python\n(.*?)```", PAGE, re.DOTALL)
COMMANDS = re.findall(r"^maskmend .*$", PAGE, re.MULTILINE)


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with my-data and my-benchmark.yaml, as the page has it."""
    write_phantoms(tmp_path / "my-data", {"training": 4, "validation": 1}, seed=0, size=48)
    (tmp_path / "my-benchmark.yaml").write_text(CONFIG)
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_the_file_is_one(folder: Path) -> None:
    planned = plan_benchmark("my-benchmark.yaml")
    assert len(planned.cells) == 6 * 3 * 3
    assert planned.out == Path("my-benchmark")


def test_python_runs(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    config = yaml.safe_load(CONFIG)
    config["settings"] = {"threads": 1, "device": "cpu",
                          "student": {"size": 32, "epochs": 1, "least_steps": 0}}  # fmt: skip
    config |= {"seeds": [0], "methods": {"cross entropy": {"train": {}}}}
    config["protocols"] = [{"preset": "reference", "alphas": [0]}]
    (folder / "my-benchmark.yaml").write_text(yaml.safe_dump(config))
    exec(compile(PYTHON, "benchmark.md", "exec"), {"__name__": "__main__"})
    (line,) = capsys.readouterr().out.splitlines()
    assert re.fullmatch(r"cross entropy, reference 0, seed 0 done [01]\.\d+", line)


@pytest.mark.parametrize("line", COMMANDS)
def test_command_has_its_options(line: str) -> None:
    _, verb, *words = shlex.split(line)
    command = typer.main.get_command(app).commands[verb]  # type: ignore[attr-defined]
    known = {option for parameter in command.params for option in parameter.opts}
    assert {word for word in words if word.startswith("--")} <= known


def test_every_entry_and_column_is_explained() -> None:
    assert len(COMMANDS) == 3
    entries = [*BenchmarkConfig.model_fields, *Protocol.model_fields, *Method.model_fields]
    shown = re.findall(r"`([^`]+)`", PAGE)
    words = {word for phrase in shown for word in re.findall(r"\w+", phrase)}
    assert [name for name in (*entries, *HEADER) if name not in words] == []
    options = typer.main.get_command(app).commands["benchmark"].params  # type: ignore[attr-defined]
    named = {each for option in options for each in option.opts if each.startswith("--")}
    assert [name for name in sorted(named) if name not in PAGE] == []
