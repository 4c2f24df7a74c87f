"""The attack list: every request is refused, or its answer harmless; none reaches a file."""

from __future__ import annotations

import http.client
import json
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from starlette.testclient import TestClient

from maskmend import stages
from maskmend.core import Finding, Listener
from maskmend.errors import SettingsError
from maskmend.review.decisions import FILE, Decisions
from maskmend.review.security import LONGEST_TARGET, Session
from maskmend.review.serving import bound, serve
from maskmend.review.session import Review
from maskmend.store import Run

from .conftest import BASE, PORT, make_pictures

Made = tuple[Run, tuple[Finding, ...]]
Start = Callable[..., TestClient]

READ = ["/", "/static/main.js", "/api/run", "/api/queue", "/api/findings/abc", "/api/cases/0",
        "/api/cases/0/image", "/api/cases/0/labels", "/api/cases/0/volume/given.nii.gz",
        "/api/progress", "/api/changes"]  # fmt: skip
WRITE = ["/api/decisions", "/api/undo", "/api/bulk"]

PATHS = [
    "/../../etc/passwd",
    "/static/../secret.txt",
    "/static/%2e%2e/secret.txt",
    "/static/..%2fsecret.txt",
    "/static/%252e%252e%252fsecret.txt",
    "/static/%2e%2e%5csecret.txt",
    "/static/..\\secret.txt",
    "/static//etc/passwd",
    "/static/%2fetc%2fpasswd",
    "/static/link.txt",
    "/static/vendor/../../secret.txt",
    "/static/vendor",
    "/static/",
    "/static/index.html%00.js",
    "/static/%00",
    "/static/.%00./secret.txt",
    "/static/INDEX.HTML",
    "/static/main.js/",
    "/static/\u202e",
    "/secret.txt",
    "/api",
    "/api/",
    "/api/run/",
    "/api//run",
    "/api/cases",
    "/api/cases/film-0",
    "/api/cases/../run.json",
    "/api/cases/%2e%2e/image",
    "/api/cases/-1",
    "/api/cases/6",
    "/api/cases/0x0",
    "/api/cases/0.0",
    "/api/cases/٠",
    "/api/cases/99999999999999999999999999",
    "/api/cases/" + "9" * 2000,
    "/api/cases/0/volume/../../run.json",
    "/api/cases/0/volume/given",
    "/api/cases/0/volume/given.nii.gz",
    "/api/cases/0/volume/..%2f..%2frun.json",
    "/api/findings/%27%20OR%201=1",
    "/api/findings/%3Cscript%3E",
    "/review.sqlite",
    "/run.json",
]

QUERIES = [
    "queue?offset=-1", "queue?offset=1e3", "queue?offset=99999999999999999999999",
    "queue?limit=-1", "queue?limit=1001", "queue?limit=nan", "queue?limit=%F0%9F%98%80",
    "queue?type=%27%20OR%20%271%27=%271", "queue?structure=x%27;DROP%20TABLE%20decisions;--",
    "queue?state=open%27--", "queue?state=%00", "queue?order=rank;DELETE%20FROM%20decisions",
    "queue?order=__class__", "queue?case=film-0", "queue?case=-1", "queue?case=999999",
    "queue?q=" + "a" * 201, "queue?type=" + "a" * 1500,
    "changes?after=-1", "changes?after=x", "changes?after=0%20OR%201", "changes?after=1e999",
    "cases/0/image?slice=-1", "cases/0/image?slice=1", "cases/0/image?slice=99999999999999999",
    "cases/0/image?axis=1", "cases/0/image?axis=-1", "cases/0/image?axis=x",
    "cases/0/image?channel=1", "cases/0/image?channel=-1",
    "cases/0/image?low=nan", "cases/0/image?high=inf", "cases/0/image?low=5&high=5",
    "cases/0/image?low=9&high=1", "cases/0/image?low=1_0&high=20", "cases/0/image?low=" + "1" * 999,
    "cases/0/labels?slice=-1", "cases/0/labels?slice=5", "cases/0/labels?axis=2",
    "cases/0/labels?decided=2", "cases/0/labels?decided=true",
    "cases/0/image?low=-1e308&high=1e308", "cases/0/image?low=0&high=1e-300",
    "cases/0/image?low=1e40&high=2e40",
]  # fmt: skip

HARMLESS = [
    "queue?q=%27;DROP%20TABLE%20decisions;--", "queue?q=%25", "queue?q=_", "queue?q=../..",
    "queue?q=%00", "queue?q=%FF", "queue?q=%3Cscript%3Ealert(1)%3C/script%3E",
    "queue?limit=0", "queue?offset=1000000000", "progress?reviewer=%27%20OR%201=1",
    "progress?reviewer=%3Cimg%20src=x%20onerror=alert(1)%3E", "queue?unknown=1", "queue?&&==",
    "cases/0/image?low=-1e29&high=1e29", "cases/0/image?low=0&high=1e-11",
]  # fmt: skip


def check_refused(answer: Any) -> None:
    assert 400 <= answer.status_code < 500, (answer.status_code, answer.text[:200])
    check_harmless(answer)
    assert set(answer.json()["error"]) == {"expected", "got", "remedy"}


def check_harmless(answer: Any) -> None:
    body = answer.content
    for sign in (b"Traceback", b"SECRET", b"root:", b'File "', b".py", b"<script", b"<img"):
        assert sign not in body
    assert answer.headers["x-content-type-options"] == "nosniff"
    assert "default-src 'none'" in answer.headers["content-security-policy"]
    assert answer.headers["referrer-policy"] == "no-referrer"
    assert answer.headers["cross-origin-resource-policy"] == "same-origin"
    assert "access-control-allow-origin" not in answer.headers


@pytest.fixture
def client(started: Start, pictures: Made) -> TestClient:
    return started(pictures)


@pytest.fixture
def nothing_stored(client: TestClient) -> Iterator[None]:
    yield
    assert client.app_state["review"].state.decisions.last() == 0


# -- paths and parameters


@pytest.mark.parametrize("path", PATHS)
def test_a_path_to_nothing_of_ours(client: TestClient, path: str) -> None:
    check_refused(client.get(path))


@pytest.mark.parametrize("query", QUERIES)
def test_a_parameter_that_cannot_be(client: TestClient, query: str) -> None:
    check_refused(client.get(f"/api/{query}"))


@pytest.mark.parametrize("query", HARMLESS)
def test_a_parameter_that_does_nothing(client: TestClient, query: str) -> None:
    answer = client.get(f"/api/{query}")
    assert answer.status_code == 200
    check_harmless(answer)
    assert client.get("/api/queue").json()["total"] == 3


def test_what_is_served_is_served(client: TestClient) -> None:
    """Else the tests above would pass with a server that refuses all."""
    for path in READ:
        if path not in ("/api/findings/abc", "/api/cases/0/volume/given.nii.gz"):
            answer = client.get(path)
            assert answer.status_code == 200, path
            check_harmless(answer)
    assert client.get("/static/vendor/lib.js").headers["content-type"].startswith("text/javascript")
    tag = client.get("/static/main.js").headers["etag"]
    assert client.get("/static/main.js", headers={"If-None-Match": tag}).status_code == 304


# -- who asks


@pytest.mark.parametrize("path", [*READ, *WRITE])
@pytest.mark.parametrize("cookie", [None, "", "maskmend=1", "{name}=", "{name}=wrong", "{name}"])
def test_without_the_cookie(started: Start, pictures: Made, path: str, cookie: str | None) -> None:
    client = started(pictures, cookie=False)
    name = client.app_state["session"].cookie_name
    if cookie is not None:
        client.headers["cookie"] = cookie.format(name=name)
    answer = client.post(path, json={"reviewer": "a"}) if path in WRITE else client.get(path)
    assert answer.status_code == 401
    check_refused(answer)


@pytest.mark.parametrize(
    "query",
    ["token=", "token=wrong", "token", "token={t}x", "token={t}&token={t}", "Token={t}token",
     "token={t}%00", "token=%FF", "token=%F0%9F%98%80", "x=token", "token[]={t}", "token={short}",
     "token=" + "&" * 50],
)  # fmt: skip
def test_a_wrong_token(started: Start, pictures: Made, query: str) -> None:
    client = started(pictures, cookie=False)
    token = client.app_state["session"].token
    answer = client.get("/?" + query.format(t=token, short=token[:-1]), follow_redirects=False)
    assert answer.status_code == 401
    assert "set-cookie" not in answer.headers
    check_refused(answer)


def test_the_token_becomes_a_cookie(started: Start, pictures: Made) -> None:
    client = started(pictures, cookie=False)
    session: Session = client.app_state["session"]
    answer = client.get(f"/?token={session.token}", follow_redirects=False)
    assert (answer.status_code, answer.headers["location"]) == (303, "/")
    cookie = answer.headers["set-cookie"]
    assert cookie.startswith(session.cookie_name)
    assert {"HttpOnly", "SameSite=Strict", "Path=/"} <= {p.strip() for p in cookie.split(";")}
    assert "Domain" not in cookie
    assert session.token not in cookie
    assert client.get("/api/run").status_code == 200
    # 256 bits, and others at every start
    assert len(session.token) >= 43
    other = Session(PORT)
    assert len({session.token, other.token}) == len({session.cookie_name, other.cookie_name}) == 2
    # a token opens the page, and nothing else
    stranger = started(pictures, cookie=False)
    check_refused(stranger.get(f"/api/run?token={stranger.app_state['session'].token}"))


@pytest.mark.parametrize(
    "host",
    ["evil.example", f"evil.example:{PORT}", "127.0.0.1", "127.0.0.1:1", f"127.0.0.1:{PORT}.evil",
     f"0.0.0.0:{PORT}", f"[::1]:{PORT}", f"127.0.0.1.nip.io:{PORT}", f"localhost.:{PORT}",
     f"127.1:{PORT}", f"2130706433:{PORT}", f"user@127.0.0.1:{PORT}", "", " "],
)  # fmt: skip
def test_a_foreign_host(client: TestClient, host: str) -> None:
    """A name that was rebound to this machine reaches the server, but not the data."""
    token = client.app_state["session"].token
    for path in ("/", "/api/run", f"/?token={token}"):
        answer = client.get(path, headers={"Host": host}, follow_redirects=False)
        assert answer.status_code == 403
        assert "set-cookie" not in answer.headers
        check_refused(answer)


@pytest.mark.parametrize("host", [f"127.0.0.1:{PORT}", f"localhost:{PORT}", f"LOCALHOST:{PORT}"])
def test_our_own_hosts(client: TestClient, host: str) -> None:
    assert client.get("/api/run", headers={"Host": host}).status_code == 200


ORIGINS = ["http://evil.example", "null", "https://127.0.0.1:8765", "http://127.0.0.1",
           "http://127.0.0.1:8766", "http://127.0.0.1:8765.evil.example", "file://", "",
           "http://127.0.0.1:8765/", "HTTP://127.0.0.1:8765 http://evil.example"]  # fmt: skip


@pytest.mark.usefixtures("nothing_stored")
@pytest.mark.parametrize("origin", ORIGINS)
def test_a_foreign_origin(client: TestClient, pictures: Made, origin: str) -> None:
    for path in ("/api/run", "/"):
        check_refused(client.get(path, headers={"Origin": origin}))
    for path, body in bodies(pictures).items():
        answer = client.post(path, json=body, headers={"Origin": origin})
        assert answer.status_code == 403
        check_refused(answer)


def bodies(made: Made) -> dict[str, dict[str, Any]]:
    """Good ones."""
    return {
        "/api/decisions": {"finding": made[1][0].id, "case": 1, "verdict": "accept",
                           "reviewer": "ann"},
        "/api/undo": {"reviewer": "ann"},
        "/api/bulk": {"filter": {}, "verdict": "accept", "reviewer": "ann", "dry_run": False},
    }  # fmt: skip


@pytest.mark.usefixtures("nothing_stored")
@pytest.mark.parametrize(
    "headers",
    [{"Origin": None}, {"X-Maskmend": None}, {"X-Maskmend": "0"}, {"X-Maskmend": "1, 1"},
     {"Sec-Fetch-Site": "cross-site"}, {"Sec-Fetch-Site": "same-site"},
     {"Sec-Fetch-Site": "cross-site", "Sec-Fetch-Mode": "navigate"},
     {"Content-Type": "text/plain"}, {"Content-Type": "application/x-www-form-urlencoded"},
     {"Content-Type": "multipart/form-data; boundary=x"}, {"Content-Type": ""}],
    ids=str,
)  # fmt: skip
def test_a_post_that_no_page_of_ours_sends(
    client: TestClient, pictures: Made, headers: dict[str, str | None]
) -> None:
    sent = {"Origin": BASE, "X-Maskmend": "1", "Content-Type": "application/json", **headers}
    client.headers.pop("Origin")
    client.headers.pop("X-Maskmend")
    for path, body in bodies(pictures).items():
        given = {name: value for name, value in sent.items() if value is not None}
        check_refused(client.post(path, content=json.dumps(body), headers=given))


@pytest.mark.parametrize("site", ["cross-site", "same-site", "nonsense"])
def test_another_page_cannot_embed_ours(client: TestClient, site: str) -> None:
    for mode in ("no-cors", "cors"):
        headers = {"Sec-Fetch-Site": site, "Sec-Fetch-Mode": mode}
        check_refused(client.get("/api/cases/0/image", headers=headers))


# -- methods and bodies


@pytest.mark.usefixtures("nothing_stored")
@pytest.mark.parametrize(
    "method", ["PUT", "DELETE", "PATCH", "OPTIONS", "TRACE", "CONNECT", "PROPFIND", "X" * 99]
)
def test_a_method_that_there_is_not(client: TestClient, method: str) -> None:
    for path in ("/", "/api/queue", "/api/decisions"):
        assert client.request(method, path).status_code == 405


def test_reading_does_not_write_and_writing_does_not_read(client: TestClient) -> None:
    for path in WRITE:
        assert client.get(path).status_code == 405
    for path in READ:
        assert client.post(path, json={}).status_code == 405
    assert client.head("/api/run").status_code == 200


DEEP = "[" * 100_000 + "]" * 100_000

BODIES = [
    b"", b" ", b"null", b"[]", b"1", b'"x"', b"{", b"{}", b"\xff\xfe", b"\xef\xbb\xbf{}",
    b'{"reviewer": "\xff"}', DEEP.encode(), b'{"a":' * 5000 + b"1" + b"}" * 5000,
    b"NaN", b'{"case": NaN}', b'{"case": 1e400}', b'{"case": ' + b"9" * 5000 + b"}",
    b"{'reviewer': 'a'}", b'{"reviewer": "a"} x',
]  # fmt: skip


@pytest.mark.usefixtures("nothing_stored")
@pytest.mark.parametrize("body", BODIES, ids=lambda body: repr(body[:20]))
def test_a_malformed_body(client: TestClient, body: bytes) -> None:
    for path in WRITE:
        answer = client.post(path, content=body, headers={"Content-Type": "application/json"})
        check_refused(answer)


FIELDS: list[tuple[str, Any]] = [
    ("finding", "000000000000"), ("finding", "' OR 1=1 --"), ("finding", "../../run"),
    ("finding", 7), ("finding", ["a"]), ("finding", {"$ne": ""}), ("finding", "a" * 100_000),
    ("case", -1), ("case", 6), ("case", 0), ("case", "1"), ("case", 1.5), ("case", True),
    ("case", 10**30), ("case", None), ("case", "film-1"),
    ("verdict", "undo"), ("verdict", "delete"), ("verdict", ""), ("verdict", None),
    ("verdict", "ACCEPT"), ("verdict", "edit"), ("verdict", "comment"),
    ("reviewer", ""), ("reviewer", "   "), ("reviewer", None), ("reviewer", 5),
    ("reviewer", "a" * 81), ("reviewer", "a\nb"), ("reviewer", "a\x00b"), ("reviewer", "\u202eann"),
    ("reviewer", "\ud800"),
    ("comment", "x" * 4001), ("comment", "\x00"), ("comment", "\x1b[31m"), ("comment", 5),
    ("comment", "\udfff"),
    ("runs", []), ("runs", [[0, 1, 1]]),
    ("number", 1), ("time", "1970-01-01"), ("__proto__", {}), ("undoes", 1), ("after", "x"),
]  # fmt: skip


@pytest.mark.usefixtures("nothing_stored")
@pytest.mark.parametrize(("name", "value"), FIELDS, ids=lambda value: repr(value)[:30])
def test_a_field_that_cannot_be(client: TestClient, pictures: Made, name: str, value: Any) -> None:
    body = {**bodies(pictures)["/api/decisions"], name: value}
    check_refused(
        client.post(
            "/api/decisions", content=json.dumps(body),
            headers={"Content-Type": "application/json"},
        )
    )  # fmt: skip


SIZE = 40 * 56
RUNS: list[Any] = [
    None, "0,1,1", [[0, 1]], [[0, 1, 1, 1]], [["0", 1, 1]], [[0.5, 1, 1]], [[True, 1, 1]],
    [[-1, 1, 1]], [[0, 0, 1]], [[0, -1, 1]], [[0, SIZE + 1, 1]], [[SIZE, 1, 1]], [[0, 1, 2]],
    [[0, 1, -1]], [[0, 1, 255]], [[10**30, 1, 1]], [[0, 10**30, 1]], [[0, 5, 1], [4, 1, 0]],
    [[0, 5, 1], [0, 5, 1]], [[0, 1, None]], [[[0], 1, 1]], [[0, SIZE, 1]] * 1000,
]  # fmt: skip


@pytest.mark.usefixtures("nothing_stored")
@pytest.mark.parametrize("runs", RUNS, ids=lambda runs: repr(runs)[:30])
def test_paint_that_does_not_fit(client: TestClient, pictures: Made, runs: Any) -> None:
    body = {**bodies(pictures)["/api/decisions"], "verdict": "edit", "runs": runs}
    check_refused(client.post("/api/decisions", json=body))


@pytest.mark.usefixtures("nothing_stored")
def test_too_many_runs_and_too_large_a_body(client: TestClient, pictures: Made) -> None:
    body = {**bodies(pictures)["/api/decisions"], "verdict": "edit"}
    many = client.post("/api/decisions", json={**body, "runs": [[0, 1, 1]] * 200_001})
    check_refused(many)
    huge = client.post("/api/decisions", json={**body, "comment": "x" * (4 * 2**20)})
    assert huge.status_code == 413
    check_refused(huge)

    def endless() -> Iterator[bytes]:
        for _ in range(200):
            yield b" " * 65_536

    # sent in chunks, so that no header tells the size
    headers = {"Content-Type": "application/json"}
    for path in WRITE:
        answer = client.post(path, content=endless(), headers=headers)
        assert answer.status_code == 413
        check_refused(answer)
    lying = {**headers, "Content-Length": "99999999999999"}
    check_refused(client.post("/api/undo", content=b"{}", headers=lying))


@pytest.mark.usefixtures("nothing_stored")
@pytest.mark.parametrize(
    ("name", "value"),
    [("filter", None), ("filter", {"state": "accept"}), ("filter", {"type": "' OR 1=1"}),
     ("filter", {"structure": "heart"}), ("filter", {"sql": "1"}), ("filter", []),
     ("filter", {"min_score": "0"}), ("verdict", "edit"), ("verdict", "undo"), ("dry_run", None),
     ("dry_run", "false"), ("dry_run", 0)],
)  # fmt: skip
def test_a_bulk_that_cannot_be(client: TestClient, pictures: Made, name: str, value: Any) -> None:
    body = {**bodies(pictures)["/api/bulk"], name: value}
    check_refused(client.post("/api/bulk", json=body))
    nan = json.dumps({**body, "filter": {"min_score": float("nan")}})
    headers = {"Content-Type": "application/json"}
    check_refused(client.post("/api/bulk", content=nan, headers=headers))


NASTY = "<img src=x onerror=alert(1)>'; DROP TABLE decisions;--"


def test_text_of_people_and_names_of_files_stay_text(
    started: Start, tmp_path_factory: pytest.TempPathFactory
) -> None:
    names = ["<script>alert(1)<script>", "a&amp;b'\"", "=cmd()", "%2e%2e", "x;y`z$(id)", "ünïcode"]
    made = make_pictures(tmp_path_factory.mktemp("nasty"), names)
    client = started(made)
    queue = client.get("/api/queue")
    check_harmless(queue)
    assert {item["case"] for item in queue.json()["items"]} <= set(names)
    first = queue.json()["items"][0]
    body = {"finding": first["id"], "case": first["case_index"], "verdict": "accept",
            "reviewer": NASTY, "comment": NASTY}  # fmt: skip
    answer = client.post("/api/decisions", json=body)
    assert answer.status_code == 200
    check_harmless(answer)
    detail = client.get(f"/api/findings/{first['id']}")
    check_harmless(detail)
    assert detail.headers["content-type"] == "application/json"
    assert detail.json()["comments"][0]["comment"] == NASTY
    changes = client.get("/api/changes?after=0")
    check_harmless(changes)
    assert changes.json()["decisions"][0]["reviewer"] == NASTY
    for index in range(len(names)):
        for path in ("", "/image", "/labels"):
            check_harmless(client.get(f"/api/cases/{index}{path}"))


def test_a_fault_of_ours_shows_nothing(client: TestClient, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(*_: Any) -> None:
        raise RuntimeError("SECRET")

    monkeypatch.setattr(Review, "select", broken)
    answer = client.get("/api/queue")
    assert answer.status_code == 500
    check_harmless(answer)


# -- over a socket


@dataclass
class Running:
    session_url: str
    port: int
    cookie: str

    def raw(self, data: bytes) -> bytes:
        """Send bytes as they are; what comes back until the server closes or falls silent."""
        answer = b""
        with socket.create_connection(("127.0.0.1", self.port), timeout=1) as connection:
            try:
                connection.sendall(data)
                while part := connection.recv(65_536):
                    answer += part
            except (TimeoutError, ConnectionError):
                # it has fallen silent, or did not want to hear more
                pass
        return answer

    def request(self, line: str, *headers: str, body: bytes = b"") -> bytes:
        host = [] if any(h.lower().startswith("host:") for h in headers) else [
            f"Host: 127.0.0.1:{self.port}"
        ]  # fmt: skip
        lines = [line, *host, f"Cookie: {self.cookie}", "Connection: close", *headers, "", ""]
        return self.raw("\r\n".join(lines).encode("latin-1") + body)


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory, pictures: Made) -> Iterator[Running]:
    """The real server, in a thread of this process."""
    import uvicorn

    root = tmp_path_factory.mktemp("running")
    (root / "static").mkdir()
    (root / "static" / "index.html").write_text("<!doctype html>")
    (root / "secret.txt").write_text("SECRET")
    said: list[str] = []

    class Said(Listener):
        def say(self, text: str) -> None:
            said.append(text)

    servers: list[uvicorn.Server] = []
    run_as_it_is = uvicorn.Server.run

    def kept(server: uvicorn.Server, sockets: Any = None) -> None:
        servers.append(server)
        run_as_it_is(server, sockets)

    decisions = Decisions(root / FILE)
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(uvicorn.Server, "run", kept)
        thread = threading.Thread(
            target=serve, args=(Review(*pictures, decisions), 0, False, Said(), root / "static")
        )
        thread.start()
        while not (servers and servers[0].started):
            time.sleep(0.01)
    url = said[0].split()[1]
    port = int(url.split(":")[2].split("/")[0])
    opened = Running(url, port, "")
    answer = opened.request(f"GET {url[url.index('/?') :]} HTTP/1.1").decode()
    cookie = next(line for line in answer.splitlines() if line.lower().startswith("set-cookie"))
    yield Running(url, port, cookie.split(": ")[1].split(";")[0])
    servers[0].should_exit = True
    thread.join(10)
    decisions.close()
    assert not thread.is_alive()


RAW_PATHS = [
    "/../../../../etc/passwd", "/static/../../secret.txt", "/static/..%2f..%2fsecret.txt",
    "/api/cases/0/../../run",
    "//etc/passwd", "/static/%00", "http://evil.example/api/run", "*", "/static/\\..\\secret.txt",
    "/%", "/%zz", "/static/%c0%ae%c0%ae/secret.txt", "/" + "a" * 3000, "/" + "a/" * 900,
    "/api/cases/0/image?" + "a" * 3000, "/api/cases/" + "9" * 1500 + "/image",
]  # fmt: skip


@pytest.mark.parametrize("path", RAW_PATHS, ids=lambda path: path[:40])
def test_a_raw_path(running: Running, path: str) -> None:
    check_raw(running.request(f"GET {path} HTTP/1.1"))


def check_raw(answer: bytes) -> None:
    """Refused by the server or by its protocol, or not heard to the end."""
    assert answer == b"" or 400 <= int(answer.split()[1]) < 500, answer[:300]
    assert b"SECRET" not in answer
    assert b"root:" not in answer
    assert b"Traceback" not in answer


def test_the_real_server_answers_and_does_not_say_what_it_is(running: Running) -> None:
    answer = running.request("GET /api/run HTTP/1.1")
    assert answer.startswith(b"HTTP/1.1 200")
    assert b"uvicorn" not in answer.lower()
    assert b"server:" not in answer.lower()


GOOD = b'{"reviewer":"ann"}'

RAW_REQUESTS: list[tuple[str, bytes]] = [
    ("no host", b"GET /api/run HTTP/1.1\r\nCookie: {cookie}\r\n\r\n"),
    ("no host, 1.0", b"GET /api/run HTTP/1.0\r\nCookie: {cookie}\r\n\r\n"),
    ("two hosts", b"GET /api/run HTTP/1.1\r\nHost: {host}\r\nHost: evil\r\nCookie: {cookie}\r\n"
     b"Connection: close\r\n\r\n"),
    ("forwarded host", b"GET /api/run HTTP/1.1\r\nHost: evil\r\nX-Forwarded-Host: {host}\r\n"
     b"Cookie: {cookie}\r\nConnection: close\r\n\r\n"),
    ("absolute target", b"GET http://evil/api/run HTTP/1.1\r\nHost: {host}\r\nCookie: {cookie}\r\n"
     b"Connection: close\r\n\r\n"),
    ("long header", b"GET /api/run HTTP/1.1\r\nHost: {host}\r\nX: " + b"a" * 200_000 + b"\r\n\r\n"),
    ("no request at all", b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" * 10 + b"\r\n\r\n"),
    ("a body with a GET", b"GET /api/run HTTP/1.1\r\nHost: {host}\r\nCookie: {cookie}\r\n"
     b"Content-Length: 5\r\nConnection: close\r\n\r\nhello"),
    ("two lengths", b"POST /api/undo HTTP/1.1\r\nHost: {host}\r\nOrigin: http://{host}\r\n"
     b"X-Maskmend: 1\r\nContent-Type: application/json\r\nCookie: {cookie}\r\n"
     b"Content-Length: 18\r\nContent-Length: 0\r\n\r\n" + GOOD),
    ("length and chunks", b"POST /api/undo HTTP/1.1\r\nHost: {host}\r\nOrigin: http://{host}\r\n"
     b"X-Maskmend: 1\r\nContent-Type: application/json\r\nCookie: {cookie}\r\n"
     b"Content-Length: 18\r\nTransfer-Encoding: gzip, chunked\r\nConnection: close\r\n\r\n" + GOOD),
    ("huge stated length", b"POST /api/undo HTTP/1.1\r\nHost: {host}\r\nOrigin: http://{host}\r\n"
     b"X-Maskmend: 1\r\nContent-Type: application/json\r\nCookie: {cookie}\r\n"
     b"Content-Length: 10000000000\r\n\r\n{}"),
    ("negative length", b"POST /api/undo HTTP/1.1\r\nHost: {host}\r\nOrigin: http://{host}\r\n"
     b"X-Maskmend: 1\r\nContent-Type: application/json\r\nCookie: {cookie}\r\n"
     b"Content-Length: -1\r\n\r\n{}"),
    ("endless chunks", b"POST /api/undo HTTP/1.1\r\nHost: {host}\r\nOrigin: http://{host}\r\n"
     b"X-Maskmend: 1\r\nContent-Type: application/json\r\nCookie: {cookie}\r\n"
     b"Transfer-Encoding: chunked\r\n\r\n" + (b"10000\r\n" + b" " * 65_536 + b"\r\n") * 40),
    ("websocket", b"GET /api/run HTTP/1.1\r\nHost: {host}\r\nUpgrade: websocket\r\n"
     b"Connection: Upgrade\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n"
     b"Sec-WebSocket-Version: 13\r\n\r\n"),
]  # fmt: skip


@pytest.mark.parametrize(("name", "request_"), RAW_REQUESTS, ids=[name for name, _ in RAW_REQUESTS])
def test_a_raw_request(running: Running, name: str, request_: bytes) -> None:
    host = f"127.0.0.1:{running.port}".encode()
    data = request_.replace(b"{host}", host).replace(b"{cookie}", running.cookie.encode())
    check_raw(running.raw(data))
    assert running.request("GET /api/run HTTP/1.1").startswith(b"HTTP/1.1 200")


def test_only_this_machine_is_listened_to(running: Running) -> None:
    with bound(0) as listening:
        assert listening.getsockname()[0] == "127.0.0.1"
    with pytest.raises(SettingsError, match="free"):
        bound(running.port)
    with pytest.raises(SettingsError, match="65535"):
        bound(70_000)


def test_a_long_address_is_cut_off_where_it_is_said(client: TestClient) -> None:
    room = LONGEST_TARGET - len("/api/queueunknown=")
    assert client.get("/api/queue?unknown=" + "a" * room).status_code == 200
    assert client.get("/api/queue?unknown=" + "a" * (room + 1)).status_code == 414


class Command:
    """`maskmend review` in a process of its own."""

    def __init__(self, root: Path) -> None:
        command = [sys.executable, "-m", "maskmend", "review", str(root), "--no-browser"]
        self.process = subprocess.Popen(
            command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
        )
        assert self.process.stdout is not None
        self.url = self.process.stdout.readline().split()[1]
        assert self.url.startswith("http://127.0.0.1:")
        self.port = int(self.url.split(":")[2].split("/")[0])
        self.connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=20)
        self.connection.request("GET", self.url[self.url.index("/?") :])
        answer = self.connection.getresponse()
        answer.read()
        assert answer.status == 303
        self.headers = {
            "Cookie": str(answer.headers["set-cookie"]).split(";")[0],
            "Origin": f"http://127.0.0.1:{self.port}",
            "X-Maskmend": "1",
            "Content-Type": "application/json",
        }

    def ask(self, path: str, body: Any = None) -> Any:
        method, data = ("GET", None) if body is None else ("POST", json.dumps(body))
        self.connection.request(method, path, data, self.headers)
        answer = self.connection.getresponse()
        assert answer.status == 200
        return json.loads(answer.read())

    def end(self, sign: signal.Signals) -> tuple[int, str]:
        """Its exit code, and what it printed after the address."""
        assert self.process.stdout is not None
        self.process.send_signal(sign)
        rest = self.process.stdout.read()
        self.process.stdout.close()
        return self.process.wait(10), rest


def test_the_command_ends_with_ctrl_c_and_survives_a_kill(tmp_path: Path) -> None:
    run, _ = make_pictures(tmp_path)
    findings = stages.rank(run)
    command, confirmed = Command(run.root), []
    for count in range(1000):
        each = findings[count % 3]
        index = [case.id for case in run.cases].index(each.case)
        if count == 40:
            # in the middle of one
            threading.Timer(0.002, command.process.kill).start()
        body = {"finding": each.id, "case": index, "verdict": "accept", "reviewer": "ann",
                "comment": f"{count}"}  # fmt: skip
        try:
            confirmed.append((command.ask("/api/decisions", body)["decision"], str(count)))
        except (OSError, http.client.HTTPException):
            break
    assert command.process.wait(10) == -signal.SIGKILL
    assert 40 <= len(confirmed) < 1000
    assert command.process.stdout is not None
    command.process.stdout.close()
    again = Command(run.root)
    changes = again.ask("/api/changes?after=0")
    assert changes["last"] - len(confirmed) in (0, 1)
    assert again.ask("/api/progress")["decided"] == 3
    decisions = Decisions(run.root / FILE)
    stored = [(kept.decision.number, kept.decision.comment) for kept in decisions.after(0)]
    assert stored[: len(confirmed)] == confirmed
    decisions.close()
    code, rest = again.end(signal.SIGINT)
    assert code == 0
    assert "stopped" in rest
    # no address is logged, with or without a token
    assert "token" not in rest
    assert "/api" not in rest
    assert "Traceback" not in rest


def test_answers_are_sent_at_once() -> None:
    """asyncio turns Nagle's algorithm off for sockets that name TCP: 40 ms an answer else."""
    with bound(0) as listening:
        assert listening.proto == socket.IPPROTO_TCP
