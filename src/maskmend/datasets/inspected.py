"""What was found in the files of a data set before, so that they need not be read again.

Of a case it is trusted only while each of its files has the size and the times that it had then;
of a file that was written as late as it was read nothing is kept, since a second writing at the
same time of the clock would not show.
"""

from __future__ import annotations

import time
from collections.abc import Iterable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from maskmend import files, formats
from maskmend.core import Case, Grid
from maskmend.datasets.checks import Inspection
from maskmend.datasets.found import Draft, Found, check_draft
from maskmend.errors import MaskmendError

FORMAT = 1
"""Of what is kept; another than this is not read."""

SETTLED = 2.0
"""Seconds for which a file must have been left alone: the coarsest clock of a file system."""

Records = Mapping[str, Any]
"""Case id -> JSON of what was found in its files; or file -> [*stamp, SHA-256].

Files go by their path below the data set's root, where they lie there, so that it may be named in
any way, and moved.
"""

NOTHING: Records = {}


def stamp_of(path: Path) -> list[int]:
    """Size, and times of the last change of the content and of the entry, of a file or folder.

    The second one cannot be put back, as copying with times or `touch` do with the first.
    """
    stat = path.stat()
    return [stat.st_size, stat.st_mtime_ns, stat.st_ctime_ns]


def record_of(found: Found, inspection: Inspection, began: int) -> dict[str, Any] | None:
    """JSON of a case; None where a file was written so late that a change might not show.

    began: time.time_ns() before its files were read.
    """
    case, image = inspection.case, inspection.image
    stamps = {_name(found.root, path): stamp_of(path) for path in _files_of(case)}
    if not all(_is_settled(stamp, began) for stamp in stamps.values()):
        return None
    return {
        **_identity(found, inspection.draft, case),
        "files": stamps,
        "factor": case.image_factor,
        "grid": [image.grid.shape, image.grid.spacing, image.grid.affine],
        "channels": image.channels,
        "dtype": image.dtype.str,
        "palette": image.palette,
        "segments": image.segments,
        "counts": {plane: sorted(of.items()) for plane, of in inspection.counts.items()},
        "palettes": sorted(inspection.palettes),
        "layered": inspection.layered,
    }


def recall(record: Any, found: Found, draft: Draft, group: str) -> Inspection | None:
    """What `inspect` would give, from a record; None where there is none that may be trusted."""
    try:
        case = check_draft(draft, group)
        if any(record[name] != value for name, value in _identity(found, draft, case).items()):
            return None
        if any(stamp_of(found.root / name) != stamp for name, stamp in record["files"].items()):
            return None
        return _inspection(record, draft, case)
    except (MaskmendError, OSError, AttributeError, KeyError, TypeError, ValueError):
        # a fault, a file that is gone, or a record of another make: reading tells which
        return None


class Digests:
    """SHA-256 of files: of those that have not changed since as it was worked out then."""

    def __init__(self, root: Path, known: Records) -> None:
        """root: of the data set."""
        self._root = root
        self._known = known
        self.kept: dict[str, Any] = {}
        """Of the files that were asked for, as `known`."""

    def __reduce__(self) -> tuple[type[Digests], tuple[Path, Records]]:
        """Workers need none."""
        return Digests, (self._root, NOTHING)

    def of(self, path: Path) -> bytes:
        """The 32 bytes of a file.  Raises MissingFileError."""
        began = time.time_ns()
        try:
            stamp = stamp_of(path)
        except FileNotFoundError as error:
            raise files.missing(path) from error
        name = _name(self._root, path)
        known = self._known.get(name)
        if isinstance(known, list) and known[:-1] == stamp:
            self.kept[name] = known
            return bytes.fromhex(known[-1])
        digest = files.sha256_of(path)
        if _is_settled(stamp, began) and stamp_of(path) == stamp:
            self.kept[name] = [*stamp, digest.hex()]
        return digest


def _identity(found: Found, draft: Draft, case: Case) -> dict[str, Any]:
    """What else than the files an inspection follows from."""
    return {
        "images": [_name(found.root, path) for path in case.images],
        "masks": {plane: _name(found.root, path) for plane, path in case.masks.items()},
        "label_maps": found.label_maps,
        "shrinks": draft.shrinks,
    }


def _name(root: Path, path: Path) -> str:
    return (path.relative_to(root) if path.is_relative_to(root) else path.absolute()).as_posix()


def _files_of(case: Case) -> Iterable[Path]:
    """All that an inspection reads, and the folders of series, to which files may be added."""
    sources = {*case.images, *case.masks.values()}
    return sorted({*sources, *(part for source in sources for part in formats.parts(source))})


def _is_settled(stamp: list[int], began: int) -> bool:
    return max(stamp[1:]) < began - SETTLED * 1e9


def _inspection(record: Mapping[str, Any], draft: Draft, case: Case) -> Inspection:
    shape, spacing, affine = record["grid"]
    grid = Grid(
        tuple(shape),
        None if spacing is None else tuple(spacing),
        None if affine is None else tuple(tuple(row) for row in affine),
    )
    header = formats.Header(
        grid, record["channels"], np.dtype(record["dtype"]), record["palette"],
        tuple(record["segments"]),
    )  # fmt: skip
    return Inspection(
        draft,
        replace(case, image_factor=record["factor"]),
        header,
        {plane: dict(map(tuple, pairs)) for plane, pairs in record["counts"].items()},
        frozenset(record["palettes"]),
        record["layered"],
    )
