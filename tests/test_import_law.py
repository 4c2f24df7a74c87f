"""The layers of DESIGN section 4: an import points only to its own layer or an earlier one.

Held for every import, those inside functions and under TYPE_CHECKING included. Where the list in
DESIGN leaves a question: `files` (atomic file primitives) stands right after `core`; `native`, the
compiled kernels that `arrays` calls, before `arrays`; `settings`, and the `method_settings` that
are a part of them, before `learning`, because a training takes the settings of a training, and
`proposals`, which fill them from the data, between the two; `report` and `review` before `stages`,
because a stage writes the report. The package's own `__init__` is the table of the public names
and stands above all of them.
"""

from __future__ import annotations

import ast
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

import maskmend

PACKAGE = Path(maskmend.__file__).parent

LAYERS = (
    "errors",
    "core",
    "files",
    "plain_pickle",
    "native",
    "arrays",
    "formats",
    "datasets",
    "method_settings",
    "settings",
    "proposals",
    "learning",
    "noise_maps",
    "store",
    "execute",
    "report",
    "trainings",
    "adopting",
    "believing",
    "judging",
    "deciding",
    "findings",
    "rankings",
    "scores",
    "showing",
    "summaries",
    "progress",
    "reporting",
    "review",
    "exporting",
    "stages",
    "benchmarking",
    "cli",
    "__main__",
)
TRAINING = {"torch", "lightning", "pytorch_lightning", "monai", "torchmetrics"}
"""Only learning/ may import these, anywhere."""
HEAVY = TRAINING | {"matplotlib", "numba", "dask", "distributed", "pandas", "skimage"}
"""Outside learning/ these are imported inside functions, if at all."""
FILE_ACCESS = {"os", "pathlib", "io", "shutil", "tempfile", "glob"}
"""arrays/ knows no files."""


class _Imports(ast.NodeVisitor):
    """Collects (line, module, whether it runs when the module is loaded)."""

    def __init__(self, module: str, is_package: bool) -> None:
        self.package = module if is_package else module.rpartition(".")[0]
        self.depth = 0
        self.found: list[tuple[int, str, bool]] = []

    def _add(self, line: int, module: str) -> None:
        self.found.append((line, module, self.depth == 0))

    def visit_Import(self, node: ast.Import) -> None:
        for alias in node.names:
            self._add(node.lineno, alias.name)

    def visit_ImportFrom(self, node: ast.ImportFrom) -> None:
        parts = self.package.split(".")
        base = ".".join(parts[: len(parts) - node.level + 1]) if node.level else ""
        source = ".".join(part for part in (base, node.module) if part)
        if source == "maskmend":
            # `from maskmend import core` reaches the layer, not the package
            for alias in node.names:
                self._add(node.lineno, f"maskmend.{alias.name}")
        else:
            self._add(node.lineno, source)

    def visit_Call(self, node: ast.Call) -> None:
        called = node.func.attr if isinstance(node.func, ast.Attribute) else ""
        called = node.func.id if isinstance(node.func, ast.Name) else called
        if called in {"import_module", "__import__"} and node.args:
            target = node.args[0]
            if isinstance(target, ast.Constant) and isinstance(target.value, str):
                self._add(node.lineno, target.value)
        self.generic_visit(node)

    def generic_visit(self, node: ast.AST) -> None:
        inside = isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda)
        self.depth += inside
        super().generic_visit(node)
        self.depth -= inside


def violations(module: str, source: str, is_package: bool = False) -> list[str]:
    """What a module's source breaks, one sentence each.  module: "maskmend.arrays.selection"."""
    layer = module.split(".")[1] if "." in module else "__init__"
    imports = _Imports(module, is_package)
    imports.visit(ast.parse(source))
    broken = [] if layer in (*LAYERS, "__init__") else [f"{module}: {layer} is in no layer"]
    for line, target, at_load in imports.found:
        where = f"{module}:{line}: {layer}"
        top = target.split(".")[0]
        if top == "maskmend":
            broken += [f"{where} {fault}" for fault in _layer_faults(layer, target)]
        if layer == "learning":
            continue
        if top in TRAINING:
            broken.append(f"{where} imports {top}, which lives in learning/ only")
        elif top in HEAVY and at_load:
            broken.append(f"{where} imports {top} when it is loaded")
        elif layer == "arrays" and top in FILE_ACCESS:
            broken.append(f"{where} is pure, but imports {top}")
    return broken


def _layer_faults(layer: str, target: str) -> Iterator[str]:
    wanted = target.split(".")[1] if "." in target else ""
    if wanted == "__version__" or layer == "__init__":
        return
    if wanted not in LAYERS:
        yield f"imports {target}, which is in no layer"
    elif layer in LAYERS and LAYERS.index(wanted) > LAYERS.index(layer):
        yield f"imports {target}, which is a later layer"


def _modules() -> list[tuple[str, Path]]:
    found = []
    for path in sorted(PACKAGE.rglob("*.py")):
        parts = path.relative_to(PACKAGE.parent).with_suffix("").parts
        found.append((".".join(parts[:-1] if parts[-1] == "__init__" else parts), path))
    return found


@pytest.mark.parametrize(("module", "path"), _modules(), ids=lambda value: str(value))
def test_every_module_keeps_the_layers(module: str, path: Path) -> None:
    assert violations(module, path.read_text(encoding="utf-8"), path.stem == "__init__") == []


@pytest.mark.parametrize(
    ("module", "source", "fault"),
    [
        ("maskmend.arrays.selection", "from maskmend.store import Run", "a later layer"),
        ("maskmend.arrays.selection", "from ..store import Run", "a later layer"),
        ("maskmend.arrays.selection", "def f():\n    import maskmend.cli", "a later layer"),
        ("maskmend.core", "from maskmend import stages", "a later layer"),
        ("maskmend.core", "from . import stages", "a later layer"),
        ("maskmend.report.pictures", "from maskmend.stages import audit", "a later layer"),
        ("maskmend.store", "import_module('maskmend.stages')", "a later layer"),
        ("maskmend.stages", "from maskmend import audit", "in no layer"),
        ("maskmend.helpers", "", "in no layer"),
        ("maskmend.arrays.surface", "def f():\n    import torch", "learning/ only"),
        ("maskmend.stages", "def f():\n    from monai.networks import nets", "learning/ only"),
        ("maskmend.arrays.surface", "def f():\n    from pathlib import Path", "is pure"),
        ("maskmend.arrays.surface", "import os.path", "is pure"),
        ("maskmend.report.plots", "import matplotlib.pyplot as plt", "when it is loaded"),
        ("maskmend.arrays.fast", "try:\n    import numba\nexcept ImportError:\n    pass", "loaded"),
    ],
)
def test_a_forbidden_import_is_caught(module: str, source: str, fault: str) -> None:
    assert [fault in sentence for sentence in violations(module, source)] == [True]


@pytest.mark.parametrize(
    ("module", "source"),
    [
        ("maskmend.stages", "from maskmend.arrays.selection import flag_errors"),
        ("maskmend.stages", "from maskmend.report.pictures import render_panels"),
        ("maskmend.store", "from maskmend import __version__, core"),
        ("maskmend.arrays.overlap", "from .selection import flag_errors\nimport numpy, math"),
        ("maskmend.learning.networks", "import torch\nfrom monai.networks import nets"),
        ("maskmend.report.plots", "def plot():\n    import matplotlib.pyplot as plt"),
        ("maskmend.learning.training", "from maskmend.settings import TrainingSettings"),
        ("maskmend.files", "import os, tempfile\nfrom pathlib import Path"),
    ],
)
def test_an_allowed_import_is_not_reported(module: str, source: str) -> None:
    assert violations(module, source) == []


def _loaded_by(*modules: str) -> set[str]:
    """Top-level packages in sys.modules of a new interpreter after importing the modules."""
    code = (
        "import sys, importlib\n"
        f"for name in {modules!r}: importlib.import_module(name)\n"
        "print(*sorted({name.split('.')[0] for name in sys.modules}))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    return set(done.stdout.split())


def test_import_maskmend_loads_no_array_library() -> None:
    assert _loaded_by("maskmend") & (HEAVY | {"numpy", "scipy", "nibabel", "PIL"}) == set()


def test_judging_arrays_loads_what_it_needs_and_no_more() -> None:
    loaded = _loaded_by("maskmend.arrays.selection")
    slow = {"pydantic", "scipy", "typer", "yaml", "concurrent", "multiprocessing", "logging"}
    assert loaded & (HEAVY | slow | {"subprocess", "ssl"}) == set()
    assert "numpy" in loaded


def test_only_learning_loads_what_is_slow() -> None:
    quick = [
        name
        for name, _ in _modules()
        if not name.startswith("maskmend.learning.")
        # importing it would start the program
        and name != "maskmend.__main__"
    ]
    assert _loaded_by(*quick) & HEAVY == set()


def test_help_loads_no_array_library() -> None:
    code = (
        "import sys; sys.argv[1:] = ['--help']\n"
        "import maskmend.cli as c\n"
        "try: c.main()\n"
        "except SystemExit: pass\n"
        "print(*sorted({name.split('.')[0] for name in sys.modules}))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    loaded = set(done.stdout.splitlines()[-1].split())
    assert {"maskmend", "typer"} <= loaded
    # what makes a start slow, on any machine
    assert loaded & (HEAVY | {"numpy", "scipy", "nibabel", "PIL", "pydantic"}) == set()


def test_the_public_names_are_the_typed_ones() -> None:
    tree = ast.parse((PACKAGE / "__init__.py").read_text(encoding="utf-8"))
    typed = {
        alias.asname or alias.name: node.module
        for node in ast.walk(tree)
        if isinstance(node, ast.ImportFrom) and (node.module or "").startswith("maskmend.")
        for alias in node.names
    }
    assert typed == maskmend._HOMES


@pytest.mark.parametrize("name", sorted(maskmend._HOMES))
def test_every_public_name_is_there(name: str) -> None:
    assert callable(getattr(maskmend, name))


def test_an_unknown_name_is_refused() -> None:
    with pytest.raises(AttributeError, match="no_such_verb"):
        _ = maskmend.no_such_verb
