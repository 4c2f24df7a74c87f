"""A library that is not installed is named, with the command that installs it."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from maskmend import formats
from maskmend.errors import MissingExtraError


@pytest.mark.parametrize(
    ("library", "name", "content"),
    [
        ("nrrd", "a.nrrd", b"NRRD0004\n"),
        ("nrrd", "a.seg.nrrd", b"NRRD0004\n"),
        (
            "SimpleITK",
            "a.mha",
            b"NDims = 2\nDimSize = 1 1\nElementType = MET_UCHAR\nElementDataFile = LOCAL\n\0",
        ),
    ],
)
def test_a_library_that_is_missing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, library: str, name: str, content: bytes
) -> None:
    (tmp_path / name).write_bytes(content)
    monkeypatch.setitem(sys.modules, library, None)
    with pytest.raises(MissingExtraError, match=rf"{name}.*pip install 'maskmend\[io\]'"):
        formats.read_header(tmp_path / name)
