"""What the README shows runs: its Python, and every option of its commands."""

from __future__ import annotations

import re
import shlex
from pathlib import Path

import pytest
import typer

from maskmend.cli import app
from maskmend.datasets.phantom import write_phantoms

README = (Path(__file__).parents[1] / "README.md").read_text()
PYTHON = re.findall(r"```python\n(.*?)```", README, re.DOTALL)
SHELL = "\n".join(re.findall(r"```sh\n(.*?)```", README, re.DOTALL))
COMMANDS = re.findall(r"(?:^|/)(maskmend .*?)(?:#.*)?$", SHELL, re.MULTILINE)
QUICK = [block for block in PYTHON if "audit" not in block]


def test_readme_has_what_is_tested() -> None:
    assert len(QUICK) == 3
    assert len(COMMANDS) >= 8


@pytest.mark.parametrize("block", QUICK)
def test_python_runs(
    block: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    write_phantoms(tmp_path / "my-data", {"training": 2}, seed=0, size=48)
    monkeypatch.chdir(tmp_path)
    exec(compile(block, "README.md", "exec"), {})
    if "understood" in block:
        assert "Structures, which may overlap: clavicle, heart, lung." in capsys.readouterr().out


@pytest.mark.parametrize("block", PYTHON)
def test_python_names_what_exists(block: str) -> None:
    import maskmend

    for name in re.findall(r"maskmend\.(\w+)", block):
        assert hasattr(maskmend, name)


@pytest.mark.parametrize("line", COMMANDS)
def test_command_has_its_options(line: str) -> None:
    _, verb, *words = shlex.split(line)
    command = typer.main.get_command(app).commands[verb]  # type: ignore[attr-defined]
    known = {option for parameter in command.params for option in parameter.opts}
    assert {word for word in words if word.startswith("--")} <= known
