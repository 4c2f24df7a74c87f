"""Part of the package's build: what git does not have is made first.

The kernels (src/maskmend/native/build.py), of which a wheel becomes one for this kind of machine,
and the 3D view of the review page (web/bundle.py).
"""

from __future__ import annotations

import importlib.util
import os
import sys
from pathlib import Path
from typing import Any

from hatchling.builders.hooks.plugin.interface import BuildHookInterface
from packaging.tags import sys_tags


class BuildHook(BuildHookInterface[Any]):
    """Runs for wheels, source distributions and editable installations.

    What is made, and in its absence the reason for that, are `artifacts` of pyproject.toml.
    """

    PLUGIN_NAME = "custom"

    def initialize(self, version: str, build_data: dict[str, Any]) -> None:
        self._bundle()
        if self.target_name == "wheel" and self._compile():
            build_data["pure_python"] = False
            build_data["tag"] = f"py3-none-{_platform()}"

    def _bundle(self) -> None:
        path = Path(self.root) / "web" / "bundle.py"
        spec = importlib.util.spec_from_file_location("bundle", path)
        assert spec is not None
        assert spec.loader is not None
        module = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(module)
        mode = os.environ.get("MASKMEND_BUILD_3D", "auto")
        if not module.bundle(Path(self.root), mode, self.app.display_warning):
            self.app.display_warning("Building without the 3D view.")

    def _compile(self) -> bool:
        """Whether there are compiled kernels."""
        sys.path.insert(0, str(Path(self.root) / "src"))
        # of the source tree, which needs nothing but the standard library
        from maskmend.native import build

        mode = os.environ.get("MASKMEND_BUILD_NATIVE", "auto")
        made = build.build(mode, self.app.display_warning)
        if not made:
            self.app.display_warning("Building without compiled kernels.")
        return made


def _platform() -> str:
    """This machine's, as a wheel's name has it: the library needs no particular Python."""
    # manylinux and musllinux promise to run elsewhere, which nobody has checked
    promises = ("manylinux", "musllinux")
    return next(tag.platform for tag in sys_tags() if not tag.platform.startswith(promises))
