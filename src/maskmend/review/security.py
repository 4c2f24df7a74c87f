"""Who may speak to the server: one browser session on this machine, and no other page.

Every request passes `Guard` before anything else sees it.  It asks for the Host that the server
has (a name that was rebound to 127.0.0.1 is another one), for the Origin and the fetch metadata
of its own page, for the cookie of this session, and, of whatever changes something, for a header
that no form can send.  Headers that keep the page to itself go onto every answer.
"""

from __future__ import annotations

import hmac
import json
import secrets
from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any
from urllib.parse import parse_qsl

from maskmend.review.refusals import RefusedError

Scope = MutableMapping[str, Any]
Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
App = Callable[[Scope, Receive, Send], Awaitable[None]]
Headers = list[tuple[bytes, bytes]]

HOST = "127.0.0.1"
"""The only address that is listened on."""

READING = frozenset({"GET", "HEAD"})
METHODS = READING | {"POST"}

LONGEST_TARGET = 2048
"""Bytes of path and query together."""

POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' blob: data:; "
    "connect-src 'self'; worker-src 'self' blob:; base-uri 'none'; form-action 'none'; "
    "frame-ancestors 'none'"
)


class Session:
    """The secrets of one start of the server.

    token: 256 bits, in the URL that is printed.  The cookie's name has the port and something
    random in it, because browsers send cookies to every port of an address.
    """

    def __init__(self, port: int) -> None:
        self.port = port
        self.token = secrets.token_urlsafe(32)
        self.cookie_name = f"maskmend-{port}-{secrets.token_hex(4)}"
        self._cookie_value = secrets.token_urlsafe(32)

    @property
    def hosts(self) -> frozenset[str]:
        names = (HOST, "localhost")
        # a browser leaves the port of http out
        plain = names if self.port == 80 else ()
        return frozenset({*(f"{name}:{self.port}" for name in names), *plain})

    @property
    def url(self) -> str:
        return f"http://{HOST}:{self.port}/?token={self.token}"

    @property
    def set_cookie(self) -> str:
        return f"{self.cookie_name}={self._cookie_value}; Path=/; HttpOnly; SameSite=Strict"

    def opened_by(self, token: str) -> bool:
        return hmac.compare_digest(token.encode(), self.token.encode())

    def knows(self, cookies: list[bytes]) -> bool:
        """cookies: values of the Cookie headers."""
        mine = f"{self.cookie_name}={self._cookie_value}".encode()
        pairs = [pair.strip() for header in cookies for pair in header.split(b";")]
        # every one is compared, so that the time does not say which
        return sum(hmac.compare_digest(pair, mine) for pair in pairs) > 0


class Guard:
    """ASGI: refuses what does not come from the page, and puts the headers on every answer."""

    def __init__(self, app: App, session: Session) -> None:
        self.app = app
        self.session = session
        self._headers: Headers = [
            (b"content-security-policy", POLICY.encode()),
            (b"x-content-type-options", b"nosniff"),
            (b"x-frame-options", b"DENY"),
            (b"referrer-policy", b"no-referrer"),
            (b"cross-origin-opener-policy", b"same-origin"),
            (b"cross-origin-resource-policy", b"same-origin"),
            (b"permissions-policy", b"camera=(), geolocation=(), microphone=()"),
        ]

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            # no websocket is ever accepted
            return
        dressed = self._dressed(send)
        try:
            opening = self._check(scope)
        except RefusedError as refused:
            await _answer(dressed, refused.status, [], json.dumps(refused.to_json()).encode())
            return
        if opening:
            headers = [(b"location", b"/"), (b"set-cookie", self.session.set_cookie.encode())]
            await _answer(dressed, 303, headers, b"")
            return
        await self.app(scope, receive, dressed)

    def _check(self, scope: Scope) -> bool:
        """Whether this opens the session, with the right token.  Raises RefusedError."""
        headers: Headers = scope["headers"]
        method = scope["method"]
        _check_target(scope)
        self._check_host(headers)
        if method not in METHODS:
            raise RefusedError(
                405, expected="GET, HEAD or POST", got=method, remedy="Use one of these."
            )
        self._check_origin(headers, method)
        if method in READING and scope["path"] == "/" and b"token" in scope["query_string"]:
            return self._opens(scope["query_string"])
        if not self.session.knows(_values(headers, b"cookie")):
            raise _stranger("no cookie of this session")
        if method not in READING and _values(headers, b"x-maskmend") != [b"1"]:
            raise RefusedError(
                403, expected="the header X-Maskmend: 1", got="none, or another",
                remedy="Send it; only the page itself can.",
            )  # fmt: skip
        _check_body(headers, method)
        return False

    def _check_host(self, headers: Headers) -> None:
        hosts = [value.decode("latin-1").lower() for value in _values(headers, b"host")]
        if len(hosts) != 1 or hosts[0] not in self.session.hosts:
            raise RefusedError(
                403, expected=f"the host {HOST}:{self.session.port}",
                got=", ".join(hosts) or "none",
                remedy="Open the address that `maskmend review` printed.",
            )  # fmt: skip

    def _check_origin(self, headers: Headers, method: str) -> None:
        origins = [value.decode("latin-1") for value in _values(headers, b"origin")]
        mine = {f"http://{host}" for host in self.session.hosts}
        needed = method not in READING
        if len(origins) > 1 or (needed and not origins) or not mine.issuperset(origins):
            raise _foreign(", ".join(origins) or "none")
        # other ports of this address count as the same site, so the cookie alone is not enough;
        # "none" is an address that was typed, or opened by this program
        sites = _values(headers, b"sec-fetch-site")
        navigating = _values(headers, b"sec-fetch-mode") == [b"navigate"]
        if any(site not in (b"same-origin", b"none") for site in sites) and not (
            navigating and not needed
        ):
            raise _foreign("a request by another page")

    def _opens(self, query: bytes) -> bool:
        try:
            # one parameter, no more: a longer query is not ours
            parameters = parse_qsl(query.decode("ascii"), keep_blank_values=True, max_num_fields=4)
        except ValueError:
            parameters = []
        tokens = [value for name, value in parameters if name == "token"]
        if len(tokens) != 1 or not self.session.opened_by(tokens[0]):
            raise _stranger("a wrong token")
        return True

    def _dressed(self, send: Send) -> Send:
        async def dressed(message: Message) -> None:
            if message["type"] == "http.response.start":
                headers: Headers = [*message.get("headers", ()), *self._headers]
                if not _values(headers, b"cache-control"):
                    headers.append((b"cache-control", b"no-store"))
                message = {**message, "headers": headers}
            await send(message)

        return dressed


def _check_target(scope: Scope) -> None:
    length = len(scope.get("raw_path") or scope["path"].encode()) + len(scope["query_string"])
    if length > LONGEST_TARGET:
        raise RefusedError(
            414, expected=f"an address of at most {LONGEST_TARGET} bytes", got=f"{length}",
            remedy="Shorten it.",
        )  # fmt: skip


def _check_body(headers: Headers, method: str) -> None:
    lengths = _values(headers, b"content-length")
    has_body = bool(_values(headers, b"transfer-encoding")) or lengths not in ([], [b"0"])
    if method in READING and has_body:
        raise RefusedError(
            400, expected=f"a {method} without a body", got="one", remedy="Leave it out."
        )


def _values(headers: Headers, name: bytes) -> list[bytes]:
    """ASGI gives names in small letters; those of an answer are ours."""
    return [value for key, value in headers if key.lower() == name]


def _stranger(got: str) -> RefusedError:
    return RefusedError(
        401, expected="the session that `maskmend review` opened", got=got,
        remedy="Open the address that it printed, with its token.",
    )  # fmt: skip


def _foreign(got: str) -> RefusedError:
    return RefusedError(
        403, expected="a request by the page of this server", got=got,
        remedy="Use the page that `maskmend review` opened.",
    )  # fmt: skip


async def _answer(send: Send, status: int, headers: Headers, body: bytes) -> None:
    about = [(b"content-type", b"application/json"), (b"content-length", str(len(body)).encode())]
    await send({"type": "http.response.start", "status": status, "headers": [*headers, *about]})
    await send({"type": "http.response.body", "body": body})
