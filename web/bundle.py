"""Builds src/maskmend/review/static/view3d.js, the 3D view of the review page, with Node.

    python web/bundle.py            what is needed comes from the npm registry, by package-lock.json

Needs Node 18 or later and npm, and of Python only the standard library: the build of the package
calls it (hatch_build.py).  MASKMEND_BUILD_3D says what happens where it cannot be built:

- auto (default): the package is built without the 3D view, and the reason is told;
- require: the build fails;
- skip: it is not tried; a bundle of these very sources that is there already is kept.

Without the bundle its place is taken by view3d.missing.txt: the reason, in a sentence for the user.
"""

from __future__ import annotations

import hashlib
import os
import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path

SOURCES = ("package.json", "package-lock.json", "build.mjs", "view3d.js", "absent.js", "licenses")
TARGET = Path("src/maskmend/review/static/view3d.js")
MISSING = TARGET.with_name("view3d.missing.txt")
MODES = ("auto", "require", "skip")
OLDEST_NODE = 18
SECONDS = 300
"""For all downloads; a registry that does not answer must not hold an installation up."""


class CannotBundleError(Exception):
    """Why there is no 3D view, in a sentence for the user."""


def bundle(root: Path, mode: str, say: Callable[[str], None]) -> bool:
    """Bring the bundle below a source tree up to date; whether there is one afterwards.

    root: the folder with pyproject.toml.  Raises CannotBundleError in the mode require, and
    ValueError of another mode than those of MODES.
    """
    if mode not in MODES:
        raise ValueError(f"MASKMEND_BUILD_3D is {mode!r}: expected one of {', '.join(MODES)}.")
    target, missing = root / TARGET, root / MISSING
    stamp = f"// built from {digest(root / 'web')}\n"
    if not target.exists() or not target.read_text(encoding="utf-8").endswith(stamp):
        # one of other sources would not fit the page
        target.unlink(missing_ok=True)
        try:
            if mode == "skip":
                raise CannotBundleError("MASKMEND_BUILD_3D=skip was set when it was built")
            _write(target, _built(root / "web") + stamp)
        except CannotBundleError as error:
            if mode == "require":
                raise
            reason = f"This installation of maskmend has no 3D view: {error}."
            _write(missing, reason + "\n")
            say(f"{reason} Everything else works. {_remedy()}")
            return False
        say(f"The 3D view is built: {TARGET}, {target.stat().st_size / 1e6:.1f} MB.")
    missing.unlink(missing_ok=True)
    return True


def digest(web: Path) -> str:
    """SHA-256 of everything that the bundle is made from, in hexadecimal."""
    found = hashlib.sha256()
    for path in sorted(file for name in SOURCES for file in _files(web / name)):
        # the same on a system that checks text out with other line ends
        content = path.read_bytes().replace(b"\r\n", b"\n")
        found.update(f"{path.relative_to(web).as_posix()} {len(content)}\n".encode() + content)
    return found.hexdigest()


def _files(path: Path) -> list[Path]:
    return [file for file in path.rglob("*") if file.is_file()] if path.is_dir() else [path]


def _built(web: Path) -> str:
    """The text of the bundle.  Raises CannotBundleError."""
    node, npm = _programs()
    with tempfile.TemporaryDirectory(prefix="maskmend-view3d-") as folder:
        work = Path(folder)
        for name in SOURCES:
            if (web / name).is_dir():
                shutil.copytree(web / name, work / name)
            else:
                shutil.copy2(web / name, work / name)
        # no package's own script is run; esbuild's program comes as a package of its own
        fetch = [npm, "ci", "--ignore-scripts", "--no-audit", "--no-fund"]
        _run([*fetch, "--fetch-retries=1", "--fetch-retry-mintimeout=1000"], work, "npm ci")
        out = work / "bundle.js"
        _run([node, "build.mjs", str(out)], work, "esbuild")
        return out.read_text(encoding="utf-8")


def _programs() -> tuple[str, str]:
    """Paths of node and npm.  Raises CannotBundleError without them, and of an old Node."""
    paths = {name: shutil.which(name) for name in ("node", "npm")}
    node, npm = paths["node"], paths["npm"]
    if node is None or npm is None:
        absent = " and ".join(name for name, path in paths.items() if path is None)
        raise CannotBundleError(f"{absent} was not found when it was built")
    version = subprocess.run([node, "--version"], capture_output=True, text=True).stdout.strip()
    major = re.match(r"v(\d+)\.", version)
    if major is None or int(major[1]) < OLDEST_NODE:
        got = version or "of no version"
        raise CannotBundleError(f"Node {OLDEST_NODE} or later is needed to build it, got {got}")
    return node, npm


def _run(command: list[str], folder: Path, name: str) -> None:
    try:
        done = subprocess.run(
            command, cwd=folder, capture_output=True, text=True, timeout=SECONDS, errors="replace",
        )  # fmt: skip
    except (OSError, subprocess.TimeoutExpired) as error:
        raise CannotBundleError(f"{name} failed: {error}") from error
    if done.returncode:
        said = [line.strip() for line in done.stderr.splitlines() if "error" in line.lower()]
        why = " / ".join(said[:4]) or f"it ended with {done.returncode}"
        raise CannotBundleError(f"{name} failed: {why}")


def _write(path: Path, text: str) -> None:
    """Atomically: another build of the same tree may go on at the same time."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.NamedTemporaryFile("wb", dir=path.parent, delete=False) as file:
        file.write(text.encode())
    os.chmod(file.name, 0o644)
    os.replace(file.name, path)


def _remedy() -> str:
    return (
        f"For the 3D view too: install Node {OLDEST_NODE} or later with npm, and install again "
        "with a connection to the npm registry (MASKMEND_BUILD_3D=require fails without it)."
    )


def main() -> int:
    root = Path(__file__).resolve().parent.parent
    try:
        # asked for by hand, nothing but the bundle will do
        bundle(root, os.environ.get("MASKMEND_BUILD_3D", "require"), print)
    except CannotBundleError as error:
        print(f"No 3D view: {error}.", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
