"""A real server in a process of its own, and a real browser that looks at it."""

from __future__ import annotations

import os
import re
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, Any

import pytest
from playwright.sync_api import Browser, BrowserContext, Page, sync_playwright

ARGUMENTS = (
    "--no-sandbox", "--use-gl=angle", "--use-angle=swiftshader", "--enable-unsafe-swiftshader",
    "--disable-quic", "--no-first-run", "--disable-background-networking",
    "--disable-component-update", "--disable-sync",
)  # fmt: skip
SIZE = (1280, 720)
REVIEWER = "Ada"
PATIENCE = 10_000
"""Milliseconds that a page may take for anything."""


@contextmanager
def chromium() -> Iterator[Browser]:
    """Where there is no Chromium a test fails in CI, and is skipped on a desk."""
    found = shutil.which("chromium")
    if found is None:
        message = "chromium is not installed: the page is not tested in a browser"
        if os.environ.get("CI"):
            pytest.fail(message)
        pytest.skip(message)
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=found, args=list(ARGUMENTS))
        yield browser
        browser.close()


class Server:
    """`maskmend review` on a run, to be killed and started again."""

    def __init__(self, run: Path) -> None:
        self.run = run
        self.process: subprocess.Popen[str] | None = None
        self.url = ""
        self.port = 0
        self.start()

    def start(self) -> None:
        """On the port that it had before, if it had one."""
        command = [sys.executable, "-m", "maskmend", "review", str(self.run), "--no-browser"]
        self.process = subprocess.Popen(
            [*command, "--port", str(self.port)],
            stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
        )  # fmt: skip
        assert self.process.stdout is not None
        self.url = _address(self.process.stdout)
        found = re.search(r":(\d+)/", self.url)
        assert found
        self.port = int(found[1])

    @property
    def base(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def kill(self) -> None:
        """At once, in the middle of whatever it does."""
        assert self.process
        with suppress(ProcessLookupError):
            self.process.send_signal(signal.SIGKILL)
        self.process.wait(10)
        assert self.process.stdout is not None
        self.process.stdout.close()


def _address(output: IO[str]) -> str:
    """What the server prints, read until its address."""
    said = ""
    for line in output:
        said += line
        if found := re.search(r"http://\S+", line):
            return found[0]
    raise AssertionError(f"the server printed no address:\n{said}")


@dataclass
class Visit:
    """A page of one reviewer, and what it did that it should not."""

    page: Page
    server: Server
    asked: list[str] = field(default_factory=list)
    complaints: list[str] = field(default_factory=list)

    def open(self) -> None:
        """By the address that the server printed, until the first picture is drawn."""
        self.page.goto(self.server.url)
        self.page.wait_for_selector("body[data-ready=true]")

    def get(self, name: str) -> Any:
        """The control of a data-testid."""
        return self.page.get_by_test_id(name)

    def press(self, *keys: str) -> None:
        for key in keys:
            self.page.keyboard.press(key)

    def decide(self, key: str) -> str:
        """Press a key that decides; returns the finding that it was about, once it is stored."""
        self.page.wait_for_selector("body[data-ready=true]")
        decided = self.finding
        self.press(key)
        self.page.wait_for_selector(f'.row[data-id="{decided}"]:not([data-state=open])')
        self.page.wait_for_selector("body[data-waiting='0']")
        return decided

    @property
    def finding(self) -> str:
        """Id of the finding whose picture is drawn."""
        return str(self.page.locator("body").get_attribute("data-finding"))

    def drawn(self, finding: str) -> None:
        self.page.wait_for_selector(f'body[data-ready=true][data-finding="{finding}"]')

    def choose(self, finding: str) -> None:
        """Click on the row of a finding."""
        self.page.locator(f'.row[data-id="{finding}"]').click()
        self.drawn(finding)

    def settle(self) -> None:
        """Wait for what has been asked to be drawn: a change of the layout takes a frame more."""
        frames = "requestAnimationFrame(() => " * 3 + "done()" + ")" * 3
        self.page.evaluate(f"() => new Promise(done => {frames})")

    def place(self, row: float, column: float) -> tuple[float, float]:
        """Where a place of the picture, in its pixels, is on the screen."""
        a, d, e, f = map(float, (self.get("canvas").get_attribute("data-view") or "").split())
        box = self.get("canvas").bounding_box()
        assert box
        return box["x"] + a * column + e, box["y"] + d * row + f

    def foreign(self) -> list[str]:
        """Requests to anybody else than the server."""
        own = (self.server.base + "/", "data:", f"blob:{self.server.base}/")
        return [address for address in self.asked if not address.startswith(own)]


@contextmanager
def visit(
    browser: Browser, server: Server, reviewer: str | None = REVIEWER, **options: Any
) -> Iterator[Visit]:
    """A page in a profile of its own.  At the end it must have asked nobody else."""
    size = dict(zip(("width", "height"), options.pop("size", SIZE), strict=True))
    context: BrowserContext = browser.new_context(viewport=size, **options)  # type: ignore[arg-type]
    context.set_default_timeout(PATIENCE)
    if reviewer:
        stored = f"localStorage.setItem('maskmend.reviewer', '{reviewer}')"
        context.add_init_script(f"if (location.protocol === 'http:') {stored}")
    seen = Visit(context.new_page(), server)
    context.on("request", lambda request: seen.asked.append(request.url))
    seen.page.on("console", lambda said: _note(seen, said.type, said.text))
    seen.page.on("pageerror", lambda error: seen.complaints.append(str(error)))
    try:
        yield seen
        assert not seen.foreign()
        assert not seen.complaints
    finally:
        context.close()


def _note(seen: Visit, kind: str, text: str) -> None:
    if kind in ("error", "warning"):
        seen.complaints.append(f"{kind}: {text}")
