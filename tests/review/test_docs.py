"""What docs/review.md shows and promises is so."""

from __future__ import annotations

import re
import shlex
from pathlib import Path

import typer

import maskmend
from maskmend.cli import app
from maskmend.exporting.options import OWN
from maskmend.review.asked import LARGE_BODY, LONGEST_COMMENT, MOST_RUNS
from maskmend.review.progress import LOOKED_BACK, PAUSE
from maskmend.review.security import POLICY
from maskmend.review.session import IMAGE_BYTES, LABEL_BYTES
from maskmend.review.slices import SAMPLE, WINDOW_PERCENTILES
from maskmend.review.state import STATES

TEXT = (Path(__file__).parents[2] / "docs" / "review.md").read_text()


def test_the_commands_have_their_options() -> None:
    lines = re.findall(r"^maskmend .*$", TEXT, re.MULTILINE)
    assert len(lines) == 3
    commands = typer.main.get_command(app).commands  # type: ignore[attr-defined]
    for line in lines:
        _, verb, *words = shlex.split(line)
        known = {option for parameter in commands[verb].params for option in parameter.opts}
        assert {word for word in words if word.startswith("--")} <= known
    listed = set(re.findall(r"^\| `(--[a-z-]+)", TEXT, re.MULTILINE))
    review = commands["review"].params
    known = {
        option for parameter in review for option in (*parameter.opts, *parameter.secondary_opts)
    }
    assert listed == known - {"--browser", "--help"} - {"run"}


def test_the_python_is_that_of_the_package() -> None:
    (block,) = re.findall(r"```python\n(.*?)```", TEXT, re.DOTALL)
    compile(block, "review.md", "exec")
    for name in re.findall(r"maskmend\.(\w+)", block):
        assert callable(getattr(maskmend, name))


def test_the_figures_are_those_of_the_program() -> None:
    assert f"{LARGE_BODY // 2**20} MiB" in TEXT
    assert f"{MOST_RUNS:,}" in TEXT
    assert f"{LONGEST_COMMENT:,}" in TEXT
    assert f"last {LOOKED_BACK} decisions" in TEXT
    assert PAUSE == 5 * 60
    assert "more than five minutes" in TEXT
    assert f"{IMAGE_BYTES // 2**20} MiB" in TEXT
    assert f"{LABEL_BYTES // 2**20} MiB" in TEXT
    assert f"{SAMPLE:,}" in TEXT
    assert [int(share) for share in WINDOW_PERCENTILES] == [1, 99]
    assert {"outcomes.csv", "decisions.csv"} <= OWN
    assert all(state in TEXT for state in STATES if state != "open")
    assert "unsafe" not in POLICY.replace("wasm-unsafe-eval", "")
