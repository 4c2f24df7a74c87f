"""What docs/ shows runs: the Python, and the options of all commands."""

from __future__ import annotations

import json
import re
import shlex
from pathlib import Path

import numpy as np
import pytest
import typer

from maskmend import stages
from maskmend.arrays.corruption import PRESETS
from maskmend.arrays.findings_rules import TYPES
from maskmend.cli import app
from maskmend.core import FoldPlan
from maskmend.datasets.phantom import write_phantoms
from maskmend.exporting.options import OWN, ExportOptions
from maskmend.exporting.tables import CHANGES_HEADER
from maskmend.findings import HEADER
from maskmend.formats import FORMATS
from maskmend.settings import CrossfitSettings, FlagSettings, Settings
from maskmend.store import Run, Source

DOCS = Path(__file__).parents[1] / "docs"
EXPORT, NNUNET, DATA, FINDINGS, NOISE = (
    (DOCS / f"{name}.md").read_text() for name in ("export", "nnunet", "data", "findings", "noise")
)
PYTHON = re.findall(r"```python\n(.*?)```", EXPORT + FINDINGS + NOISE, re.DOTALL)
PAGES = EXPORT + NNUNET + DATA + FINDINGS + NOISE
SHELL = "\n".join(re.findall(r"```sh\n(.*?)```", PAGES, re.DOTALL))
COMMANDS = re.findall(r"^maskmend .*$", SHELL, re.MULTILINE)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with my-run, judged, and soft-data, its soft export."""
    root = tmp_path_factory.mktemp("docs")
    write_phantoms(root / "my-data", {"training": 4}, seed=0, size=48)
    settings = Settings(crossfit=CrossfitSettings(folds=2), flag=FlagSettings(method="argmax"))
    run = Run.create(root / "my-run", Source(str(root / "my-data"), ("training",)), settings)
    plan = FoldPlan(2, 0, {case.id: index % 2 for index, case in enumerate(run.cases)})
    run.write_folds(plan)
    for case in run.cases:
        given = run.read_given(case)
        probs = np.where(np.roll(given, 2, axis=-1) == 1, 0.9, 0.1).astype(np.float32)
        run.write_probabilities(case, probs, plan.folds[case.id], plan)
    stages.flag(run)
    stages.correct(run)
    stages.export(run, root / "soft-data", ExportOptions("soft"))
    return root


def test_the_docs_have_what_is_tested() -> None:
    assert len(PYTHON) == 4
    assert len(COMMANDS) >= 11


@pytest.mark.parametrize("block", PYTHON)
def test_python_runs(block: str, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(folder)
    exec(compile(block, "docs", "exec"), {})
    assert "without-doubt" not in block or (folder / "without-doubt" / "changes.csv").exists()


@pytest.mark.parametrize("line", COMMANDS)
def test_command_has_its_options(line: str) -> None:
    _, verb, *words = shlex.split(line)
    command = typer.main.get_command(app).commands[verb]  # type: ignore[attr-defined]
    known = {option for parameter in command.params for option in parameter.opts}
    assert {word for word in words if word.startswith("--")} <= known


def test_every_ending_is_named() -> None:
    endings = [ending for entry in FORMATS for ending in entry.endings]
    named = DATA.lower()
    # the rarer endings of DICOM files go without saying
    assert not [e for e in endings if f"`{e}`" not in named and e not in (".dicom", ".ima", ".seg")]


def test_columns_and_files_are_those_that_are_written() -> None:
    assert all(f"`{name}`" in EXPORT for name in CHANGES_HEADER)
    assert all(name in EXPORT for name in OWN)
    # all of a kind in one row of the table
    named = FINDINGS.replace("`slice_first` .. `column_last`", "").replace("`centroid_*`", "")
    whole = [name for name in HEADER if not name.endswith(("_first", "_last"))]
    whole = [name for name in whole if not name.startswith("centroid_")]
    assert [name for name in whole if f"`{name}`" not in named] == []


def test_every_type_of_finding_is_explained() -> None:
    assert [name for name in TYPES if f"| `{name}`" not in FINDINGS and f"`, `{name}`" not in
            FINDINGS] == []  # fmt: skip


def test_every_preset_of_noise_is_explained() -> None:
    assert [name for name in PRESETS if f"\n| `{name}`" not in NOISE] == []
    assert [name for name in PRESETS if f"**{name}**" not in NOISE] == []


def test_the_dice_of_the_presets_are_those_that_were_measured() -> None:
    results = DOCS.parent / "benchmarks" / "results" / "noise-protocols.json"
    measured = json.loads(results.read_text())["protocols"]
    assert {entry["preset"] for entry in measured} == set(PRESETS)
    for entry in measured:
        lung, heart, clavicle = (entry["structures"][s] for s in ("lung", "heart", "clavicle"))
        dice = [f"{s[key]:.3f}" for key in ("dice", "dice_hit") for s in (lung, heart, clavicle)]
        row = f"| `{entry['preset']}` | {entry['alpha']:.2f} |"
        assert any(
            line.startswith(row) and line.endswith(" | ".join(["", *dice, ""]).rstrip())
            for line in NOISE.splitlines()
        ), row
