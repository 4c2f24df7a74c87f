"""The review page on 10,000 findings: `maskmend review` itself, looked at in a real Chromium.

    python benchmarks/review_scale.py --work /some/disk        about 5 GB there, kept for next time

2,000 radiographs of 512 x 512 pixels, 16 bits, three overlapping structures, five errors in each;
and 40 volumes of 64 x 192 x 192 voxels, five errors in each, as a run of their own.  Nothing is
trained (`review_data.py`).  For each run:

- first: milliseconds from the navigation to the first finding on the screen, of a server that has
  just been started and a browser that has never seen the page; also ready, from the start of the
  server's process until it prints its URL;
- next: from the key press (accept, reject, unsure in turn) until the next finding is on the
  screen, 200 times, the page having had --pause seconds for what it fetches in advance;
- hurried: the same without any pause, a key as soon as a picture is there;
- stored: from sending one of the decisions of `next` to the end of the answer, by the browser's
  own clock; the server answers when it is on the disk; stored_hurried: of those of `hurried`, when
  the server also makes the pictures that are fetched in advance;
- memory: of the server's process in MiB after all that, the highest resident set as the kernel
  counts it (peak; the pages of mapped files are in it) and the highest PSS of samples every
  0.2 s (pss).

A finding counts as drawn when the frame after its drawing has been given to the compositor.
JSON: {run: {name: {median, p95, worst, count}}} for the times, {run: {memory: {peak, pss}}}, and
`bars`: what is asked for, and whether it holds.  Writes benchmarks/results/review-scale.json.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import shutil
import statistics
import subprocess
import sys
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from maskmend import files
from maskmend.findings import read_findings
from maskmend.store import Run
from review_data import Size, by_type, prepare

RESULTS = Path(__file__).parent / "results" / "review-scale.json"
CHROMIUM = (
    "--no-sandbox", "--use-gl=angle", "--use-angle=swiftshader", "--enable-unsafe-swiftshader",
    "--disable-quic", "--no-first-run", "--disable-background-networking",
    "--disable-component-update", "--disable-sync",
)  # fmt: skip
KEYS = ("a", "r", "u")
OPENINGS = 3
BARS = {"first": 1500.0, "next": 150.0, "stored": 20.0, "memory": 500.0}
"""Medians in ms, and the highest resident set in MiB."""
SERVER = "from maskmend.cli import main\nmain()"
URL = re.compile(r"http://127\.0\.0\.1:\d+/\S+")
MIB = 1 << 20

WATCH = """
window.watched = {keys: [], drawn: []};
addEventListener('keydown', event => watched.keys.push(event.timeStamp), true);
const mark = performance.mark.bind(performance);
performance.mark = (name, options) => {
    const made = mark(name, options);
    if (name === 'finding-drawn') {
        // a task after the next frame runs when that frame has been handed over
        requestAnimationFrame(() => {
            const channel = new MessageChannel();
            channel.port1.onmessage = () =>
                watched.drawn.push({id: made.detail, at: performance.now()});
            channel.port2.postMessage(0);
        });
    }
    return made;
};
"""
"""In the page before its own scripts: when keys were pressed, and findings on the screen."""


class Server:
    """`maskmend review` as a process of its own.  ready: ms until its URL was there."""

    def __init__(self, run: Run) -> None:
        start = time.perf_counter()
        command = [sys.executable, "-c", SERVER, "review", str(run.root), "--no-browser"]
        self.process = subprocess.Popen(
            command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, env=_plain()
        )
        self.url = self._url()
        self.ready = (time.perf_counter() - start) * 1000
        self.pss = 0
        self._ended = threading.Event()
        self._watcher = threading.Thread(target=self._watch, daemon=True)
        self._watcher.start()

    def _url(self) -> str:
        assert self.process.stdout is not None
        said = ""
        for line in self.process.stdout:
            said += line
            found = URL.search(line)
            if found:
                return found[0]
        raise RuntimeError(f"maskmend review ended: {said}")

    def _watch(self) -> None:
        while not self._ended.wait(0.2):
            self.pss = max(self.pss, self._kilobytes("smaps_rollup", "Pss:"))

    def _kilobytes(self, file: str, field: str) -> int:
        text = Path(f"/proc/{self.process.pid}/{file}").read_text()
        return next(int(line.split()[1]) for line in text.splitlines() if line.startswith(field))

    def memory(self) -> dict[str, float]:
        peak = self._kilobytes("status", "VmHWM:")
        return {"peak": peak * 1024 / MIB, "pss": self.pss * 1024 / MIB}

    def stop(self) -> None:
        self._ended.set()
        self._watcher.join()
        self.process.terminate()
        self.process.wait(10)
        assert self.process.stdout is not None
        self.process.stdout.close()


def _plain() -> dict[str, str]:
    """Lines as they are printed, not when a buffer is full; none of them broken or coloured."""
    return {**os.environ, "PYTHONUNBUFFERED": "1", "COLUMNS": "500", "NO_COLOR": "1"}


@contextmanager
def serving(run: Run) -> Iterator[Server]:
    server = Server(run)
    try:
        yield server
    finally:
        server.stop()


def open_page(browser: Any, server: Server) -> Any:
    """The page in a browser without a cache, with its first finding on the screen."""
    page = browser.new_context(viewport={"width": 1280, "height": 720}).new_page()
    page.add_init_script(WATCH)
    page.goto(server.url)
    wait(page, "watched.drawn.length > 0")
    return page


def wait(page: Any, condition: str, seconds: float = 30) -> None:
    """Poll: the page's policy allows no `wait_for_function`."""
    end = time.monotonic() + seconds
    while not page.evaluate(condition):
        if time.monotonic() > end:
            raise RuntimeError(f"the page did not come to: {condition}")
        time.sleep(0.005)


def introduce(page: Any) -> None:
    """Say who is reviewing, as the page asks at first."""
    page.get_by_test_id("reviewer-name").fill("benchmark")
    page.get_by_test_id("reviewer-ok").click()


def decide(page: Any, count: int, pause: float) -> list[float]:
    """Milliseconds from each of some key presses to the next finding on the screen."""
    took = []
    for number in range(count):
        page.wait_for_timeout(pause * 1000)
        seen = page.evaluate("[watched.drawn.length, watched.keys.length]")
        page.keyboard.press(KEYS[number % len(KEYS)])
        wait(page, f"watched.drawn.length > {seen[0]}")
        took.append(page.evaluate(f"watched.drawn[{seen[0]}].at - watched.keys[{seen[1]}]"))
    return took


def stored(page: Any) -> list[float]:
    """Milliseconds that each decision took by the browser's clock."""
    call = """performance.getEntriesByType('resource')
        .filter(entry => entry.name.endsWith('/api/decisions'))
        .map(entry => entry.responseEnd - entry.requestStart)"""
    found: list[float] = page.evaluate(call)
    return found


def measure(browser: Any, run: Run, decisions: int, pause: float) -> dict[str, Any]:
    for name in ("review.sqlite", "review.sqlite-wal", "review.sqlite-shm"):
        (run.root / name).unlink(missing_ok=True)
    ready, first = [], []
    for opening in range(OPENINGS):
        with serving(run) as server:
            page = open_page(browser, server)
            ready.append(server.ready)
            first.append(page.evaluate("watched.drawn[0].at"))
            if opening < OPENINGS - 1:
                page.context.close()
                continue
            introduce(page)
            page.evaluate("performance.setResourceTimingBufferSize(1000000)")
            after = decide(page, decisions, pause)
            hurried = decide(page, decisions, 0)
            page.wait_for_timeout(1000)
            sent = stored(page)
            if len(sent) != 2 * decisions:
                raise RuntimeError(f"{2 * decisions} decisions were made, {len(sent)} sent")
            memory = server.memory()
            page.context.close()
    # they are sent one after the other, in the order of the keys
    times = {"ready": ready, "first": first, "next": after, "hurried": hurried,
             "stored": sent[:decisions], "stored_hurried": sent[decisions:]}  # fmt: skip
    return {**{name: summary(values) for name, values in times.items()}, "memory": memory}


def summary(values: Sequence[float]) -> dict[str, float]:
    ordered = sorted(values)
    return {
        "median": statistics.median(ordered),
        "p95": ordered[min(int(0.95 * len(ordered)), len(ordered) - 1)],
        "worst": ordered[-1],
        "count": len(ordered),
    }


def held(figures: dict[str, Any]) -> dict[str, dict[str, Any]]:
    """Each bar with what was measured beside it."""
    found = {}
    for name, bar in BARS.items():
        value = figures[name]["peak" if name == "memory" else "median"]
        found[name] = {"bar": bar, "measured": value, "held": value <= bar}
    return found


def show(name: str, described: str, figures: dict[str, Any]) -> None:
    print(f"\n{name}: {described}")
    for measured, values in figures.items():
        if measured not in ("memory", "bars", "findings", "cases"):
            text = ", ".join(f"{key} {values[key]:.1f}" for key in ("median", "p95", "worst"))
            print(f"  {measured:14} {text} ms ({values['count']})")
    print("  memory         " + ", ".join(f"{k} {v:.0f} MiB" for k, v in figures["memory"].items()))
    for bar, values in figures["bars"].items():
        verdict = "held" if values["held"] else "NOT HELD"
        print(f"  {bar}: {values['measured']:.1f} of at most {values['bar']:.0f}: {verdict}")


def main() -> None:
    options = parse()
    from playwright.sync_api import sync_playwright

    runs = prepare(options.work, Size(options.pictures, options.volumes))
    path = shutil.which("chromium")
    if path is None:
        raise SystemExit("This benchmark needs Debian's chromium.")
    results: dict[str, Any] = {}
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=path, args=list(CHROMIUM))
        for name, run in runs.items():
            findings = read_findings(run)
            decisions = min(options.decisions, len(findings) // 2 - 1)
            figures = measure(browser, run, decisions, options.pause)
            figures |= {"findings": len(findings), "cases": len(run.cases)}
            figures["bars"] = held(figures)
            described = f"{len(findings)} findings over {len(run.cases)} cases"
            show(name, f"{described}, {by_type(findings)}", figures)
            results[name] = figures
        browser.close()
    results["machine"] = {"cores": os.cpu_count(), "load": os.getloadavg()[0]}
    results["pause"] = options.pause
    files.write_bytes_atomic(options.json, (json.dumps(results, indent=1) + "\n").encode())


def parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--work", type=Path, required=True, help="folder for the runs")
    parser.add_argument("--pictures", type=int, default=2000)
    parser.add_argument("--volumes", type=int, default=40)
    parser.add_argument("--decisions", type=int, default=200)
    parser.add_argument("--pause", type=float, default=0.5, help="seconds before each key")
    parser.add_argument("--json", type=Path, default=RESULTS)
    return parser.parse_args()


if __name__ == "__main__":
    main()
