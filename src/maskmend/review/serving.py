"""The server's start and end: a socket on this machine, the browser, Ctrl-C."""

from __future__ import annotations

import contextlib
import socket
import webbrowser
from collections.abc import Callable
from pathlib import Path

from maskmend.core import QUIET, Listener
from maskmend.errors import MissingExtraError, SettingsError
from maskmend.review.security import HOST, Session
from maskmend.review.session import Review

STATIC = Path(__file__).parent / "static"
"""The page's files, in the package."""

SECONDS_TO_FINISH = 3
"""For requests that are on their way when the server is stopped."""


def serve(
    review: Review, port: int = 0, browser: bool = True, listener: Listener = QUIET,
    static: Path = STATIC, open_url: Callable[[str], object] = webbrowser.open,
) -> None:  # fmt: skip
    """Serve the page until Ctrl-C.  The listener is told the URL, with its token.

    port: 0 for any that is free.  browser: open it there.  open_url: how.  Raises SettingsError
    for a port that is taken, MissingExtraError without starlette and uvicorn.
    """
    try:
        import uvicorn

        from maskmend.review.app import create_app
    except ModuleNotFoundError as error:
        raise MissingExtraError(
            "review", expected="the packages of the review app", got=f"no {error.name}",
            remedy="Install them with `pip install 'maskmend[review]'`.",
        ) from error  # fmt: skip
    with bound(port) as listening:
        session = Session(listening.getsockname()[1])
        config = uvicorn.Config(
            create_app(review, session, static),
            http="h11", ws="none", lifespan="off", access_log=False, log_level="error",
            # a header must not say where a request comes from, nor what answers it
            proxy_headers=False, server_header=False, timeout_keep_alive=30,
            timeout_graceful_shutdown=SECONDS_TO_FINISH,
        )  # fmt: skip
        listener.say(f"Review: {session.url}\nCtrl-C ends it; every decision is stored at once.")
        if browser:
            # the socket listens already, so the page waits for the server, not the other way round
            open_url(session.url)
        # uvicorn ends in order, and then lets the signal through
        with contextlib.suppress(KeyboardInterrupt):
            uvicorn.Server(config).run(sockets=[listening])


def bound(port: int) -> socket.socket:
    """A listening socket on 127.0.0.1.  Raises SettingsError."""
    if not 0 <= port <= 65535:
        raise SettingsError(
            "--port", expected="0 to 65535", got=f"{port}", remedy="Choose another one."
        )
    # asyncio turns Nagle's delay of 40 ms an answer off only where the protocol is named
    listening = socket.socket(socket.AF_INET, socket.SOCK_STREAM, socket.IPPROTO_TCP)
    try:
        listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listening.bind((HOST, port))
        listening.listen(128)
    except OSError as error:
        listening.close()
        raise SettingsError(
            "--port", expected=f"a port of {HOST} that is free", got=f"{port}: {error.strerror}",
            remedy="Choose another one, or leave it out.",
        ) from error  # fmt: skip
    return listening
