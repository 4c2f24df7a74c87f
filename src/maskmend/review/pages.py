"""The files of the page, and which of them a browser may have."""

from __future__ import annotations

import hashlib
from pathlib import Path

from starlette.requests import Request
from starlette.responses import Response

from maskmend.review.refusals import RefusedError

TYPES = {
    ".html": "text/html; charset=utf-8",
    ".js": "text/javascript; charset=utf-8",
    ".mjs": "text/javascript; charset=utf-8",
    ".css": "text/css; charset=utf-8",
    ".svg": "image/svg+xml",
    ".png": "image/png",
    ".ico": "image/x-icon",
    ".wasm": "application/wasm",
    ".json": "application/json",
    ".txt": "text/plain; charset=utf-8",
    ".md": "text/plain; charset=utf-8",
}
"""Ending -> type of a file of the page; a file with another ending is not served."""

VIEW3D = "niivue"
"""A file of the page whose name begins so is the bundle of the 3D view."""


class Pages:
    """The files of the page, read once.

    A request names one of them or none: no path is ever made from what a request says.
    """

    def __init__(self, root: Path) -> None:
        self._files: dict[str, tuple[bytes, str]] = {}
        for path in sorted(root.rglob("*")):
            inside = path.resolve().is_relative_to(root.resolve())
            if path.is_file() and not path.is_symlink() and inside and path.suffix in TYPES:
                content = path.read_bytes()
                tag = f'"{hashlib.sha256(content).hexdigest()[:32]}"'
                self._files[path.relative_to(root).as_posix()] = content, tag

    @property
    def view3d(self) -> bool:
        """Whether the bundle of the 3D view is there."""
        return any(name.rpartition("/")[2].startswith(VIEW3D) and name.endswith((".js", ".mjs"))
                   for name in self._files)  # fmt: skip

    def file(self, name: str, request: Request) -> Response:
        if name not in self._files:
            raise RefusedError(404, expected="a file of the page", got=name, remedy="Go to /.")
        content, tag = self._files[name]
        headers = {"cache-control": "private, no-cache", "etag": tag, "vary": "Cookie"}
        if request.headers.get("if-none-match") == tag:
            return Response(status_code=304, headers=headers)
        kind = TYPES[Path(name).suffix]
        return Response(content, media_type=kind, headers=headers)
