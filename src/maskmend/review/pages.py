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
    ".json": "application/json",
    ".txt": "text/plain; charset=utf-8",
    ".md": "text/plain; charset=utf-8",
}
"""Ending -> type of a file of the page; a file with another ending is not served."""

VIEW3D = "view3d.js"
"""The 3D view, bundled when the package is built (web/bundle.py)."""

NO_VIEW3D = "view3d.missing.txt"
"""In its place: why it could not be bundled."""


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
    def no_view3d(self) -> str | None:
        """Why there is no 3D view, in a sentence for the user; None where there is one."""
        if VIEW3D in self._files:
            return None
        if NO_VIEW3D in self._files:
            return self._files[NO_VIEW3D][0].decode().strip()
        return "This package was built without Node.js, so it has no 3D view."

    def file(self, name: str, request: Request) -> Response:
        if name not in self._files:
            raise RefusedError(404, expected="a file of the page", got=name, remedy="Go to /.")
        content, tag = self._files[name]
        headers = {"cache-control": "private, no-cache", "etag": tag, "vary": "Cookie"}
        if request.headers.get("if-none-match") == tag:
            return Response(status_code=304, headers=headers)
        kind = TYPES[Path(name).suffix]
        return Response(content, media_type=kind, headers=headers)
