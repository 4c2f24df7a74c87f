"""Part of the package's build: the 3D view of the review page is bundled first (web/bundle.py)."""

from __future__ import annotations

import importlib.util
import os
from pathlib import Path
from typing import Any

from hatchling.builders.hooks.plugin.interface import BuildHookInterface


class View3DHook(BuildHookInterface[Any]):
    """Runs for wheels, source distributions and editable installations.

    The bundle, and in its absence the reason for that, are `artifacts` of pyproject.toml.
    """

    PLUGIN_NAME = "custom"

    def initialize(self, version: str, build_data: dict[str, Any]) -> None:
        path = Path(self.root) / "web" / "bundle.py"
        spec = importlib.util.spec_from_file_location("bundle", path)
        assert spec is not None
        assert spec.loader is not None
        module = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(module)
        mode = os.environ.get("MASKMEND_BUILD_3D", "auto")
        if not module.bundle(Path(self.root), mode, self.app.display_warning):
            self.app.display_warning("Building without the 3D view.")
