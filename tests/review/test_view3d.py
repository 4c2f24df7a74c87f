"""The 3D view: bundled from the locked packages, and really drawn under the page's policy."""

from __future__ import annotations

import gzip
import http.server
import importlib.util
import io
import os
import shutil
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import nibabel as nib
import numpy as np
import pytest
from PIL import Image
from playwright.sync_api import Browser, Page

from maskmend import stages
from maskmend.review.serving import STATIC

from .browser import Server, chromium, visit
from .conftest import make_volumes

ROOT = Path(__file__).parents[2]
CSP = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' blob: data:; "
    "connect-src 'self'; worker-src 'self' blob:; base-uri 'none'; form-action 'none'; "
    "frame-ancestors 'none'"
)
PAGE = b"""<!doctype html><html lang="en"><head><meta charset="utf-8"><title>view</title>
<link rel="stylesheet" href="/page.css"><script type="module" src="/page.js"></script></head>
<body><main id="here"></main></body></html>"""
SCRIPT = b"""import { show3d, hide3d } from "/view3d.js";
window.view3d = { show3d, hide3d };"""
SHAPE = (20, 24, 28)
"""Slices, rows, columns."""
RED, BLUE = (255, 0, 0), (0, 0, 255)
OPTIONS = {
    "image": "/image.nii.gz?plane=0",
    "given": "/given.nii.gz?plane=0",
    "suggested": "/suggested.nii.gz?plane=0",
    "decided": None,
    "structures": ["liver", "spleen"],
    "colours": {"liver": "#ff0000", "spleen": "#0000ff"},
    "classes": ["background", "liver", "spleen"],
    "window": {"low": 0, "high": 1000},
}


def _unless_in_ci(reason: str) -> None:
    if os.environ.get("CI"):
        pytest.fail(reason)
    pytest.skip(reason)


@pytest.fixture(scope="session")
def bundling() -> ModuleType:
    spec = importlib.util.spec_from_file_location("bundle", ROOT / "web" / "bundle.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def _tree(folder: Path) -> Path:
    """A source tree with nothing but the sources of the bundle."""
    shutil.copytree(ROOT / "web", folder / "web", ignore=shutil.ignore_patterns("node_modules"))
    return folder


@pytest.fixture(scope="session")
def bundle(bundling: ModuleType, tmp_path_factory: pytest.TempPathFactory) -> str:
    """The text of a bundle made from nothing."""
    tree = _tree(tmp_path_factory.mktemp("tree"))
    try:
        assert bundling.bundle(tree, "require", print)
    except bundling.CannotBundleError as error:
        _unless_in_ci(f"the 3D view cannot be bundled: {error}")
    text = (tree / bundling.TARGET).read_text(encoding="utf-8")
    assert isinstance(text, str)
    return text


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with chromium() as opened:
        yield opened


def _nifti(volume: np.ndarray[Any, Any]) -> bytes:
    """As the server sends it: slices, rows, columns on disk, and an affine that mirrors an axis."""
    affine = np.array([[-1.0, 0, 0, 10], [0, 1, 0, -5], [0, 0, 2, 0], [0, 0, 0, 1]])
    return gzip.compress(nib.Nifti1Image(volume.T, affine).to_bytes())


def _labels(value: int, where: slice) -> np.ndarray[Any, Any]:
    labels = np.zeros(SHAPE, np.uint8)
    labels[where, 6:18, 6:22] = value
    labels[0] = 255
    return labels


class Site:
    """What the little server answers: path -> (status, type, content)."""

    def __init__(self, bundle: str) -> None:
        ramp = np.linspace(300, 1000, SHAPE[2], dtype=np.float32)
        image = np.broadcast_to(ramp, SHAPE)
        volume = "application/gzip"
        self.answers = {
            "/": (200, "text/html", PAGE),
            "/page.js": (200, "text/javascript", SCRIPT),
            "/page.css": (200, "text/css", b"#here { width: 900px; height: 600px }"),
            "/view3d.js": (200, "text/javascript", bundle.encode()),
            "/favicon.ico": (200, "image/png", b""),
            "/image.nii.gz": (200, volume, _nifti(image)),
            "/given.nii.gz": (200, volume, _nifti(_labels(1, slice(2, 18)))),
            "/suggested.nii.gz": (200, volume, _nifti(_labels(2, slice(2, 18)))),
            "/first.nii.gz": (200, volume, _nifti(_labels(1, slice(2, 10)))),
            "/second.nii.gz": (200, volume, _nifti(_labels(1, slice(10, 18)))),
            "/refused.nii.gz": (
                404, "application/json",
                b'{"error": {"expected": "a volume", "got": "a picture", "remedy": "None needed"}}',
            ),
        }  # fmt: skip
        self.address = ""

    def serve(self) -> http.server.ThreadingHTTPServer:
        site = self

        class Handler(http.server.BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                missing = (404, "text/plain", b"")
                status, kind, content = site.answers.get(self.path.split("?")[0], missing)
                self.send_response(status)
                self.send_header("Content-Type", kind)
                self.send_header("Content-Length", str(len(content)))
                self.send_header("Content-Security-Policy", CSP)
                self.send_header("X-Content-Type-Options", "nosniff")
                self.end_headers()
                self.wfile.write(content)

            def log_message(self, *_: Any) -> None:
                pass

        server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.address = f"http://127.0.0.1:{server.server_address[1]}"
        threading.Thread(target=server.serve_forever, daemon=True).start()
        return server


@pytest.fixture(scope="session")
def site(bundle: str) -> Iterator[Site]:
    made = Site(bundle)
    server = made.serve()
    yield made
    server.shutdown()
    server.server_close()


class Tab:
    """A page that keeps what it complained of and which addresses it asked for."""

    def __init__(self, page: Page, site: Site) -> None:
        self.page = page
        self.complaints: list[str] = []
        self.asked: list[str] = []
        page.on("console", self._heard)
        page.on("pageerror", lambda error: self.complaints.append(str(error)))
        page.on("request", lambda request: self.asked.append(request.url))
        # modules have run when it has loaded
        page.goto(site.address)

    def _heard(self, message: Any) -> None:
        if message.type in {"error", "warning"}:
            self.complaints.append(message.text)

    def show(self, **changes: Any) -> Any:
        call = "o => view3d.show3d(document.getElementById('here'), o).then(view => view !== null)"
        return self.page.evaluate(call, {**OPTIONS, **changes})

    def picture(self) -> np.ndarray[Any, Any]:
        """What the canvas shows, (rows, columns, 3) int."""
        png = self.page.locator("canvas").screenshot()
        return np.asarray(Image.open(io.BytesIO(png)).convert("RGB")).astype(int)


@pytest.fixture
def tab(browser: Browser, site: Site) -> Iterator[Tab]:
    context = browser.new_context(viewport={"width": 1000, "height": 700})
    tab = Tab(context.new_page(), site)
    yield tab
    foreign = [
        url for url in tab.asked if not url.startswith((site.address + "/", "data:", "blob:"))
    ]
    context.close()
    assert foreign == []


def _tinted(picture: np.ndarray[Any, Any], colour: tuple[int, int, int]) -> int:
    """Pixels that lean clearly to one of the pure colours."""
    channel = int(np.argmax(colour))
    others = np.delete(picture, channel, axis=2).max(axis=2)
    return int((picture[:, :, channel] - others > 60).sum())


@pytest.mark.slow
def test_a_volume_and_its_labels_are_drawn_under_the_strict_policy(tab: Tab) -> None:
    assert tab.show() is True
    picture = tab.picture()
    assert picture.std() > 10
    assert _tinted(picture, RED) > 5000
    assert _tinted(picture, BLUE) == 0
    assert tab.page.locator("#here").get_attribute("data-view3d") == "ready"
    assert tab.complaints == []


@pytest.mark.slow
def test_another_layer_is_chosen_and_its_opacity(tab: Tab) -> None:
    tab.show()
    tab.page.get_by_label("Show").select_option("suggested")
    tab.page.locator("output").filter(has_text="spleen").wait_for()
    picture = tab.picture()
    assert _tinted(picture, RED) == 0
    assert _tinted(picture, BLUE) > 5000
    tab.page.get_by_label("Label opacity").fill("0")
    assert _tinted(tab.picture(), BLUE) == 0
    assert tab.page.get_by_label("Show").locator("option").count() == 2
    assert tab.complaints == []


@pytest.mark.slow
def test_structures_that_overlap_come_as_one_volume_each(tab: Tab) -> None:
    tab.show(given=["/first.nii.gz", "/second.nii.gz"], suggested=None, classes=None)
    picture = tab.picture()
    assert _tinted(picture, RED) > 1000
    assert _tinted(picture, BLUE) > 1000
    assert tab.complaints == []


@pytest.mark.slow
def test_the_crosshair_goes_where_it_is_asked_and_moves_by_key(tab: Tab) -> None:
    def told() -> str:
        text = tab.page.locator("output").text_content()
        assert isinstance(text, str)
        return text

    tab.show(at=[5, 6, 7])
    # x = 10 - column, y = row - 5, z = 2 * slice, and the ramp along the columns
    value = float(np.linspace(300, 1000, SHAPE[2], dtype=np.float32)[7])
    assert told() == f"3.0, 1.0, 10.0 mm · value {value:.2f} · liver"
    tab.page.evaluate(
        "view3d.moved = 0; document.addEventListener('keydown', () => view3d.moved++)"
    )
    tab.page.locator("canvas").focus()
    tab.page.keyboard.press("PageUp")
    assert told().startswith("3.0, 1.0, 12.0 mm")
    assert tab.page.evaluate("view3d.moved") == 0
    # the page's own keys pass
    tab.page.keyboard.press("j")
    assert tab.page.evaluate("view3d.moved") == 1
    assert told().startswith("3.0, 1.0, 12.0 mm")
    tab.show(at=[0, 6, 7])
    assert told().endswith("ignored")


@pytest.mark.slow
def test_the_planes_lie_as_the_slices_of_the_page_do(tab: Tab) -> None:
    """The ramp grows with the columns, which go from the patient's right to the left."""

    def halves(**changes: Any) -> tuple[float, float]:
        tab.show(given=None, suggested=None, at=[5, 6, 7], **changes)
        tab.page.get_by_role("combobox").last.select_option(label="Axial")
        shown = tab.picture()
        picture = shown.sum(axis=2)[:, np.flatnonzero(shown.sum(axis=(0, 2)) > shown.shape[0])]
        middle = picture.shape[1] // 2
        return float(picture[:, :middle].mean()), float(picture[:, middle:].mean())

    left, right = halves()
    assert left < 0.8 * right
    # the patient's left lies on the right, and the right arrow leads there
    tab.page.locator("canvas").focus()
    tab.page.keyboard.press("ArrowRight")
    assert (tab.page.locator("output").text_content() or "").startswith("2.0, 1.0, 10.0 mm")
    # nobody knows which side is which: the columns grow to the right, by the sign of the affine
    left, right = halves(oriented=False)
    assert right < 0.8 * left


@pytest.mark.slow
def test_hidden_it_leaves_nothing_and_can_be_shown_again(tab: Tab) -> None:
    for _ in range(20):
        # more often than a browser gives contexts
        assert tab.show() is True
    tab.page.evaluate("view3d.hide3d()")
    assert tab.page.locator("canvas").count() == 0
    assert tab.page.locator("#here").inner_html() == ""
    assert tab.show() is True
    assert _tinted(tab.picture(), RED) > 5000
    assert tab.complaints == []


@pytest.mark.slow
def test_the_later_of_two_calls_wins(tab: Tab) -> None:
    both = """async o => {
        const here = document.getElementById('here');
        return Promise.all([view3d.show3d(here, o), view3d.show3d(here, o)])
            .then(views => views.map(view => view !== null));
    }"""
    assert tab.page.evaluate(both, OPTIONS) == [False, True]
    assert tab.page.locator("canvas").count() == 1
    assert tab.complaints == []


@pytest.mark.slow
@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"image": "/refused.nii.gz"}, "a picture. None needed"),
        ({"image": "/nothing.nii.gz"}, "the server answered 404"),
        ({"given": "/nothing.nii.gz"}, "the server answered 404"),
        ({"colours": {"liver": "url(x)", "spleen": "#0000ff"}}, "not of the form #rrggbb"),
    ],
)
def test_what_cannot_be_shown_says_why(tab: Tab, changes: dict[str, Any], message: str) -> None:
    failed = "o => view3d.show3d(document.getElementById('here'), o).catch(error => error.message)"
    assert message in tab.page.evaluate(failed, {**OPTIONS, **changes})
    assert tab.page.locator("#here").inner_html() == ""


@pytest.mark.slow
def test_the_page_shows_a_finding_of_a_volume(browser: Browser, tmp_path: Path) -> None:
    if not (STATIC / "view3d.js").exists():
        _unless_in_ci("this installation was built without the 3D view")
    run = make_volumes(tmp_path)[0]
    stages.rank(run)
    server = Server(run.root)
    try:
        with visit(browser, server) as seen:
            seen.open()
            seen.press("v")
            seen.page.locator("[data-view3d=ready]").wait_for()
            # what the finding would become, where it is
            place = seen.page.locator("#volume output").text_content()
            png = seen.page.locator("#volume canvas").screenshot()
            picture = np.asarray(Image.open(io.BytesIO(png)).convert("RGB")).astype(int)
            assert (np.ptp(picture, axis=2) > 60).sum() > 1000
            assert place is not None
            assert place.split(" · ")[-1] in run.dataset.scheme.structures
            seen.press("v")
            assert seen.page.locator("#volume canvas").count() == 0
            assert seen.page.locator("#volume").is_hidden()
    finally:
        server.kill()


def test_the_bundle_has_the_licences_and_nothing_that_the_policy_forbids(bundle: str) -> None:
    assert "Copyright (c) 2021, Niivue" in bundle
    for name in ("gl-matrix", "fflate", "nifti-reader-js", "@lukeed/uuid"):
        assert f"\n{name} " in bundle
    assert "WebAssembly" not in bundle
    assert "new Function" not in bundle


def test_a_bundle_of_the_same_sources_is_kept(
    bundling: ModuleType, bundle: str, tmp_path: Path
) -> None:
    tree = _tree(tmp_path)
    target = tree / bundling.TARGET
    target.parent.mkdir(parents=True)
    target.write_text(bundle, encoding="utf-8")
    told: list[str] = []
    # skip cannot build: it is there because it was kept
    assert bundling.bundle(tree, "skip", told.append)
    assert target.read_text(encoding="utf-8") == bundle
    assert told == []
    (tree / "web" / "view3d.js").write_text("export {};", encoding="utf-8")
    assert not bundling.bundle(tree, "skip", told.append)
    assert not target.exists()


def _no_programs(monkeypatch: pytest.MonkeyPatch, folder: Path) -> None:
    monkeypatch.setenv("PATH", str(folder))


def _old_node(monkeypatch: pytest.MonkeyPatch, folder: Path) -> None:
    for name in ("node", "npm"):
        (folder / name).write_text("#!/bin/sh\necho v16.20.0\n")
        (folder / name).chmod(0o755)
    monkeypatch.setenv("PATH", f"{folder}:{os.environ['PATH']}")


def _no_network(monkeypatch: pytest.MonkeyPatch, folder: Path) -> None:
    if shutil.which("npm") is None:
        _unless_in_ci("no npm")
    monkeypatch.setenv("npm_config_registry", "http://127.0.0.1:9/")
    monkeypatch.setenv("npm_config_cache", str(folder / "cache"))


@pytest.mark.parametrize(
    ("hinder", "reason"),
    [
        (_no_programs, "node and npm was not found"),
        (_old_node, "Node 18 or later is needed to build it, got v16.20.0"),
        (_no_network, "npm ci failed: "),
    ],
)
def test_what_hinders_it_is_told_and_the_package_built_without_it(
    bundling: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch,
    hinder: Callable[[pytest.MonkeyPatch, Path], None], reason: str,
) -> None:  # fmt: skip
    tree = _tree(tmp_path / "tree")
    (tmp_path / "bin").mkdir()
    hinder(monkeypatch, tmp_path / "bin")
    told: list[str] = []
    assert not bundling.bundle(tree, "auto", told.append)
    assert [reason in sentence for sentence in told] == [True]
    stored = (tree / bundling.MISSING).read_text(encoding="utf-8")
    assert stored.startswith("This installation of maskmend has no 3D view: ")
    assert reason in stored
    with pytest.raises(bundling.CannotBundleError, match=reason):
        bundling.bundle(tree, "require", told.append)


def test_an_unknown_mode_is_refused(bundling: ModuleType, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="'always': expected one of auto, require, skip"):
        bundling.bundle(tmp_path, "always", print)
