"""Compiles kernels.so, the kernels that judge pixels, with the C compiler of the system.

    python -m maskmend.native.build                into its own folder

Needs a C compiler, $CC or cc, gcc, clang, and of Python only the standard library: the build of the
package calls it (hatch_build.py).  MASKMEND_BUILD_NATIVE says what happens where it cannot be done:

- auto (default): the package is built without, NumPy does the same, five to fifteen times slower,
  and the reason is told;
- require: the build fails;
- skip: it is not tried; a library of these very sources that is there already is kept.

Without the library its place is taken by kernels.missing.txt: the reason, in a sentence for the
user.  The library needs no particular Python.  On x86-64 it has the kernels three times, plain and
for AVX2 and AVX-512; which of them suit the processor is asked when it is loaded.  A compiler that
knows no AVX-512 leaves those out.
"""

from __future__ import annotations

import os
import platform
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path

from maskmend.native import FOLDER, LEVELS, LIBRARY, MISSING, REMEDY, stamp

MODES = ("auto", "require", "skip")
SECONDS = 600

# no option may change a result: no fast-math, no a * b + c in one rounding
OPTIONS = (
    "-std=c11", "-O3", "-fPIC", "-ffp-contract=off", "-fno-math-errno", "-fno-trapping-math",
)  # fmt: skip
_FLAGS = {
    "plain": (),
    "avx2": ("-mavx2", "-mfma", "-mbmi2"),
    "avx512": (
        "-mavx2", "-mfma", "-mbmi2", "-mavx512f", "-mavx512bw", "-mavx512dq", "-mavx512vl",
        "-mprefer-vector-width=512",
    ),
}  # fmt: skip


class CannotCompileError(Exception):
    """Why there are no compiled kernels, in a sentence for the user."""


def build(mode: str, say: Callable[[str], None]) -> bool:
    """Bring the library beside its sources up to date; whether there is one afterwards.

    Raises CannotCompileError in the mode require, and ValueError of another mode than MODES.
    """
    if mode not in MODES:
        raise ValueError(f"MASKMEND_BUILD_NATIVE is {mode!r}: expected one of {', '.join(MODES)}.")
    library, missing = Path(FOLDER) / LIBRARY, Path(FOLDER) / MISSING
    if not library.exists() or stamp().encode() not in library.read_bytes():
        # one of other sources would be called wrongly
        library.unlink(missing_ok=True)
        try:
            if mode == "skip":
                raise CannotCompileError("MASKMEND_BUILD_NATIVE=skip was set when it was built")
            _compile(library)
        except CannotCompileError as error:
            if mode == "require":
                raise
            reason = f"This installation of maskmend has no compiled kernels: {error}."
            missing.write_text(reason + "\n", encoding="utf-8")
            say(f"{reason} NumPy does the same, but slowly. {REMEDY}")
            return False
        say(f"The kernels are compiled: {library.stat().st_size / 1e3:.0f} kB.")
    missing.unlink(missing_ok=True)
    return True


def _compile(library: Path) -> None:
    compiler = _compiler()
    with tempfile.TemporaryDirectory(prefix="maskmend-native-") as work:
        objects = [Path(work) / "levels.o"]
        levels = list(LEVELS) if platform.machine().lower() in ("x86_64", "amd64") else ["plain"]
        for level in levels:
            made = Path(work) / f"{level}.o"
            command = [*compiler, *OPTIONS, *_FLAGS[level], f"-DLEVEL={level}"]
            try:
                _run([*command, "-c", str(library.parent / "kernels.c"), "-o", str(made)])
            except CannotCompileError:
                if level == "plain":
                    raise
                # an old compiler: the levels below suit every processor too
                break
            objects.append(made)
        highest = f"-DHIGHEST={len(objects) - 2}"
        command = [*compiler, *OPTIONS, f'-DSTAMP="{stamp()}"', highest]
        _run([*command, "-c", str(library.parent / "levels.c"), "-o", str(objects[0])])
        linked = Path(work) / LIBRARY
        _run([*compiler, "-shared", "-o", str(linked), *map(str, objects)])
        _replace(library, linked.read_bytes())


def _compiler() -> list[str]:
    """The command of a C compiler.  Raises CannotCompileError without one."""
    named = os.environ.get("CC", "").split()
    names = [named] if named else [["cc"], ["gcc"], ["clang"]]
    for command in names:
        if shutil.which(command[0]):
            return command
    looked_for = " or ".join(command[0] for command in names)
    raise CannotCompileError(f"no C compiler ({looked_for}) was found when it was built")


def _run(command: list[str]) -> None:
    try:
        done = subprocess.run(
            command, capture_output=True, text=True, timeout=SECONDS, errors="replace"
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        raise CannotCompileError(f"{command[0]} failed: {error}") from error
    if done.returncode:
        said = [line.strip() for line in done.stderr.splitlines() if "error" in line.lower()]
        why = " / ".join(said[:4]) or f"it ended with {done.returncode}"
        raise CannotCompileError(f"{command[0]} failed: {why}")


def _replace(path: Path, content: bytes) -> None:
    """Atomically: a process that has loaded the library keeps the old file."""
    with tempfile.NamedTemporaryFile("wb", dir=path.parent, delete=False) as file:
        file.write(content)
    os.chmod(file.name, 0o755)
    os.replace(file.name, path)


def main() -> int:
    try:
        # asked for by hand, nothing but the library will do
        build(os.environ.get("MASKMEND_BUILD_NATIVE", "require"), print)
    except CannotCompileError as error:
        print(f"No compiled kernels: {error}.", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
