"""Answers in JSON, also those that say what went wrong."""

from __future__ import annotations

import json
import logging
import sqlite3
from collections.abc import Awaitable, Callable, Mapping
from typing import Any

from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response

from maskmend.errors import MaskmendError
from maskmend.review.refusals import RefusedError, error_json

log = logging.getLogger(__name__)


def json_answer(value: Any, status: int = 200) -> Response:
    text = json.dumps(value, allow_nan=False, ensure_ascii=False, separators=(",", ":"))
    # even a browser that took it for a page would find no tag in it
    for sign in "<>&":
        text = text.replace(sign, f"\\u{ord(sign):04x}")
    return Response(text.encode("utf-8", "replace"), status, media_type="application/json")


async def _refused(request: Request, error: Exception) -> Response:
    assert isinstance(error, RefusedError)
    return json_answer(error.to_json(), error.status)


async def _http(request: Request, error: Exception) -> Response:
    """No such address, or not with this method."""
    assert isinstance(error, HTTPException)
    return json_answer(error_json("an address of this server", error.detail, "Go to /."),
                 error.status_code)  # fmt: skip


async def _maskmend(request: Request, error: Exception) -> Response:
    """The run or the data set is not as it should be: the user can mend it, the page cannot."""
    assert isinstance(error, MaskmendError)
    log.warning("%s", error)
    return json_answer(error_json(error.expected, error.got, error.remedy), 409)


async def _database(request: Request, error: Exception) -> Response:
    log.error("the decisions cannot be read or stored: %s", error)
    return json_answer(error_json(
        "a file of decisions that can be read and written", "an error of the database",
        "Nothing was stored. Check the disk, then try again."), 503)  # fmt: skip


async def _unexpected(request: Request, error: Exception) -> Response:
    return json_answer(error_json("an answer", "a fault of the server", "See its terminal."), 500)


ERRORS: Mapping[Any, Callable[[Request, Exception], Awaitable[Response]]] = {
    RefusedError: _refused,
    HTTPException: _http,
    MaskmendError: _maskmend,
    sqlite3.Error: _database,
    Exception: _unexpected,
}
"""Kind of error -> what the page is told; none of them shows where in the program it was."""
