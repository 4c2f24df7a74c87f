"""JPEG, as images only: its losses change the values of a mask."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from numpy.typing import NDArray

from maskmend.core import Grid
from maskmend.files import read_bytes
from maskmend.formats import Header
from maskmend.formats.pictures import decode, header_of, image_channels


def read_header(path: Path) -> Header:
    # only decoding shows that a JPEG is whole: its length stands nowhere
    return header_of(decode(path, "JPEG", read_bytes(path)), path)


def read_image(path: Path) -> tuple[NDArray[Any], Grid]:
    picture = decode(path, "JPEG", read_bytes(path))
    return image_channels(picture, path), Grid(picture.shape)
