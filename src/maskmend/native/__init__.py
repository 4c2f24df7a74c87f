"""The compiled kernels: found, checked, loaded; or why there are none.

`build.py` compiles them when the package is built.  Without them NumPy does the same work, five to
fifteen times slower.
"""

from __future__ import annotations

import ctypes
import os
import zlib
from collections.abc import Callable
from functools import cache

FOLDER = os.path.dirname(os.path.abspath(__file__))
SOURCES = (
    "kernels.c", "levels.c", "job.h", "bytes.h", "read.h", "tile.h", "rank.h", "sweep.h",
)  # fmt: skip
LIBRARY, MISSING = "kernels.so", "kernels.missing.txt"
LEVELS = ("plain", "avx2", "avx512")
"""Processors that the kernels are compiled for, the least first."""

REMEDY = (
    "For the compiled ones: install a C compiler (gcc or clang) and maskmend again"
    " (MASKMEND_BUILD_NATIVE=require fails without one)."
)

Kernel = Callable[..., int]


def stamp() -> str:
    """What the library of the sources in this folder says of itself."""
    found = 0
    for name in SOURCES:
        with open(os.path.join(FOLDER, name), "rb") as file:
            # the same on a system that checks text out with other line ends
            found = zlib.crc32(file.read().replace(b"\r\n", b"\n"), found)
    return f"maskmend kernels {found:08x}"


@cache
def why_missing() -> str | None:
    """Why there are no compiled kernels, in a sentence; None where there are."""
    path, told = os.path.join(FOLDER, LIBRARY), os.path.join(FOLDER, MISSING)
    if not os.path.exists(path):
        if not os.path.exists(told):
            return "This installation of maskmend has no compiled kernels: they were never built."
        with open(told, encoding="utf-8") as file:
            return file.read().strip()
    try:
        found = _library()
    except OSError as error:
        return f"The compiled kernels of this installation do not load: {error}."
    if found.maskmend_stamp() != stamp().encode():
        return "The compiled kernels of this installation are not those of the sources beside them."
    return None


def processors() -> int:
    """Processors that this process may run on."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


@cache
def tell_if_missing() -> None:
    """Say once that NumPy does the work, and why."""
    reason = why_missing()
    if reason:
        import logging

        told = "%s NumPy does the same, but slowly. %s"
        logging.getLogger("maskmend").warning(told, reason, REMEDY)


def levels() -> tuple[str, ...]:
    """Those of LEVELS that the library and this processor both have; none without a library."""
    return () if why_missing() else LEVELS[: _library().maskmend_level() + 1]


def kernel(name: str, level: str | None = None) -> Kernel:
    """A function of the library, which must be there: "room", "sweep32", "sweep64".

    level: one of `levels`, by default the best.
    """
    function: Kernel = getattr(_library(), f"maskmend_{name}_{level or levels()[-1]}")
    return function


@cache
def _library() -> ctypes.CDLL:
    """Raises OSError if it does not load."""
    found = ctypes.CDLL(os.path.join(FOLDER, LIBRARY))
    found.maskmend_stamp.restype = ctypes.c_char_p
    for level in LEVELS[: found.maskmend_level() + 1]:
        getattr(found, f"maskmend_room_{level}").argtypes = [ctypes.c_int64, ctypes.c_int64]
        getattr(found, f"maskmend_room_{level}").restype = ctypes.c_int64
    return found
