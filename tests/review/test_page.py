"""The page in a real browser, on a real server, up to the voxels of the exported masks."""

from __future__ import annotations

import io
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image
from playwright.sync_api import Browser, expect

from maskmend import stages
from maskmend.core import Finding
from maskmend.findings import read_findings
from maskmend.review.decisions import FILE, Decisions
from maskmend.store import Run

from .browser import Server, Visit, chromium, visit
from .conftest import VOLUME, make_pictures, make_volumes

HTML = "<img src=x onerror=alert(1)>"
"""A case's name: harmless as text, and only as text."""

NAMES = [HTML, *(f"film-{number}" for number in range(1, 6))]

Look = Callable[..., Visit]


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with chromium() as opened:
        yield opened


@pytest.fixture(scope="module")
def ranked(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Two runs with findings.csv: radiographs, volumes."""
    roots = {kind: tmp_path_factory.mktemp(kind) for kind in ("pictures", "volumes")}
    runs = {
        "pictures": make_pictures(roots["pictures"], NAMES)[0],
        "volumes": make_volumes(roots["volumes"])[0],
    }
    for run in runs.values():
        stages.rank(run)
    return {kind: run.root for kind, run in runs.items()}


@pytest.fixture(scope="module")
def standing(
    ranked: dict[str, Path], tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Callable[[str], Server]]:
    """Servers for those who only look, each on a copy of its run, started when first asked for."""
    servers: dict[str, Server] = {}

    def of(kind: str) -> Server:
        if kind not in servers:
            copy = tmp_path_factory.mktemp(f"looked-at-{kind}") / "run"
            servers[kind] = Server(Path(shutil.copytree(ranked[kind], copy)))
        return servers[kind]

    yield of
    for server in servers.values():
        server.kill()


@pytest.fixture
def server(
    ranked: dict[str, Path],
    standing: Callable[[str], Server],
    request: pytest.FixtureRequest,
) -> Iterator[Server]:
    """A new one on the pictures, without any decision; another where a test says so."""
    kind, new = getattr(request, "param", ("pictures", True))
    if not new:
        yield standing(kind)
        return
    root = ranked[kind]
    for file in root.glob(f"{FILE}*"):
        file.unlink()
    started = Server(root)
    yield started
    started.kill()


@pytest.fixture
def look(browser: Browser, server: Server) -> Iterator[Look]:
    """Opens a page; each is closed at the end, and must not have complained."""
    with ExitStack() as stack:

        def opened(**options: Any) -> Visit:
            seen = stack.enter_context(visit(browser, server, **options))
            seen.open()
            return seen

        yield opened


def on(*kinds: str, new: bool = False) -> pytest.MarkDecorator:
    """The runs that a test takes, and whether it decides on them."""
    return pytest.mark.parametrize("server", [(k, new) for k in kinds], indirect=True, ids=kinds)


def run_of(server: Server) -> tuple[Run, dict[str, Finding]]:
    run = Run.open(server.run)
    return run, {finding.id: finding for finding in read_findings(run)}


def of_case(findings: dict[str, Finding], case: str, number: int = 0) -> Finding:
    return [finding for finding in findings.values() if finding.case == case][number]


def pixels_of(run: Run, finding: Finding) -> NDArray[np.bool_]:
    """The finding's pixels in its plane, (*S)."""
    case = next(case for case in run.cases if case.id == finding.case)
    whole = np.zeros(run.read_given(case).shape[1:], bool)
    box = tuple(slice(first, end) for first, end in finding.box)
    whole[box] = run.read_finding_masks(case)[finding.number]
    return whole


def labels_of(run: Run, finding: Finding, kind: str) -> NDArray[np.uint8]:
    case = next(case for case in run.cases if case.id == finding.case)
    labels = run.read_given(case) if kind == "given" else run.read_mended(case)
    return labels[finding.plane]


def accepted(run: Run, finding: Finding) -> NDArray[np.uint8]:
    """The plane with the finding accepted, and nothing else."""
    own = pixels_of(run, finding)
    return np.where(own, labels_of(run, finding, "mended"), labels_of(run, finding, "given"))


def exported(server: Server, out: Path) -> Path:
    """The data set of `maskmend export --decisions`."""
    command = [sys.executable, "-m", "maskmend", "export", str(server.run), str(out), "--decisions"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=100, check=False)
    assert done.returncode == 0, done.stderr + done.stdout
    return out


def mask_file(root: Path, name: str) -> NDArray[np.uint8]:
    """A mask as others read it: 0 and 1 of a picture, the classes of a volume, (*S)."""
    (path,) = [path for path in root.rglob("*") if path.name == name and "mask" in str(path)]
    if name.endswith(".nii.gz"):
        volume: NDArray[np.uint8] = np.asarray(nib.load(path).dataobj).T.astype(np.uint8)  # type: ignore[attr-defined]
        return volume
    return (np.asarray(Image.open(path)) > 0).astype(np.uint8)


def shot(seen: Visit) -> NDArray[np.uint8]:
    """What the canvas shows, (rows, columns, 3)."""
    return np.asarray(Image.open(io.BytesIO(seen.get("canvas").screenshot())).convert("RGB"))


def colour_at(seen: Visit, row: float, column: float) -> tuple[int, int, int]:
    box = seen.get("canvas").bounding_box()
    x, y = seen.place(row, column)
    red, green, blue = shot(seen)[int(y - box["y"]), int(x - box["x"])]
    return int(red), int(green), int(blue)


def middle(run: Run, finding: Finding) -> tuple[float, float]:
    """Middle of the finding's pixel that is deepest inside it, in a picture."""
    from scipy import ndimage

    depth = ndimage.distance_transform_edt(np.pad(pixels_of(run, finding), 1))[1:-1, 1:-1]
    row, column = np.unravel_index(int(depth.argmax()), depth.shape)
    return row + 0.5, column + 0.5


# -- looking


@on("pictures")
def test_it_opens_and_filters(look: Look, server: Server) -> None:
    seen = look()
    _, findings = run_of(server)
    total = len(findings)
    assert total >= 3
    rows = seen.page.get_by_test_id("row")
    expect(seen.get("count")).to_have_text(f"{total} findings")
    assert seen.finding == next(iter(findings))
    seen.get("filter-type").select_option("extra")
    extra = [f.id for f in findings.values() if f.type == "extra"]
    expect(seen.get("count")).to_have_text(f"{len(extra)} finding{'s' * (len(extra) != 1)}")
    seen.drawn(extra[0])
    seen.get("filter-type").select_option("")
    seen.get("filter-structure").select_option("bar")
    bars = [f.id for f in findings.values() if f.structure == "bar"]
    expect(rows).to_have_count(len(bars))
    seen.get("filter-structure").select_option("")
    seen.get("filter-q").fill("FILM-1")
    film = [f.id for f in findings.values() if f.case == "film-1"]
    expect(rows).to_have_count(len(film))
    seen.get("filter-q").fill("nowhere")
    expect(seen.get("what")).to_have_text("Nothing to show")
    expect(seen.get("accept")).to_be_disabled()
    seen.get("filter-q").fill("onerror")
    expect(rows.first).to_contain_text(HTML)
    expect(seen.get("facts")).to_contain_text(HTML)
    assert seen.page.locator("img").count() == 0


@on("pictures")
def test_a_picture_is_shown_in_every_way(look: Look, server: Server) -> None:
    seen = look()
    run, findings = run_of(server)
    missing = next(f for f in findings.values() if f.case == "film-1")
    extra = next(f for f in findings.values() if f.type == "extra")
    seen.choose(extra.id)
    red, _, blue = colour_at(seen, *middle(run, extra))
    assert red > blue + 40, "what is to be removed is red"
    seen.choose(missing.id)
    red, _, blue = colour_at(seen, *middle(run, missing))
    assert blue > red + 40, "what is to be added is blue"
    seen.get("style-fill").check()
    seen.get("opacity").fill("1")
    pictures = {}
    for mode in ("difference", "given", "suggested", "side", "decided"):
        seen.get(f"mode-{mode}").check()
        seen.page.wait_for_timeout(150)
        pictures[mode] = shot(seen)[40:].tobytes()  # below its name
        if mode == "given":
            given = colour_at(seen, *middle(run, missing))
        if mode == "suggested":
            suggested = colour_at(seen, *middle(run, missing))
    colour = (230, 159, 0)  # of the first structure, the bar
    assert suggested == colour
    assert given != colour
    assert pictures["given"] == pictures["decided"], "nothing is decided yet"
    assert len(set(pictures.values())) == len(pictures) - 1
    seen.press("h")
    seen.settle()
    assert shot(seen)[40:].tobytes() != pictures["decided"]


@on("pictures")
def test_zoom_pan_and_window(look: Look) -> None:
    seen = look()
    scale = lambda: float(seen.get("canvas").get_attribute("data-view").split()[0])  # noqa: E731
    x, y = seen.place(20, 28)
    before = scale()
    seen.page.mouse.move(x, y)
    seen.page.mouse.wheel(0, -200)
    seen.settle()
    assert scale() > 1.3 * before
    assert seen.place(20, 28) == pytest.approx((x, y), abs=0.01), "the place under the mouse stays"
    seen.page.mouse.down()
    seen.page.mouse.move(x + 30, y + 10)
    seen.page.mouse.up()
    seen.settle()
    assert seen.place(20, 28) == pytest.approx((x + 30, y + 10), abs=0.01)
    dark = shot(seen).mean()
    asked = len(seen.asked)
    seen.page.mouse.down(button="right")
    seen.page.mouse.move(x + 30, y - 150, steps=4)
    seen.page.mouse.up(button="right")
    seen.page.wait_for_timeout(400)
    assert shot(seen).mean() > dark + 5, "a lower level is a brighter picture"
    assert any("/image?" in address for address in seen.asked[asked:])
    expect(seen.get("preset")).to_have_value("own")
    seen.get("preset").select_option("auto")
    seen.press("w")


@on("volumes")
def test_a_volume_in_three_planes(look: Look, server: Server) -> None:
    seen = look()
    _, findings = run_of(server)
    finding = findings[seen.finding]
    body = seen.page.locator("body")
    expect(body).to_have_attribute("data-slice", str(finding.best_slice))
    seen.get("canvas").hover()
    seen.page.mouse.wheel(0, 100)
    expect(body).to_have_attribute("data-slice", str((finding.best_slice or 0) + 1))
    seen.press("PageUp", "PageUp")
    expect(body).to_have_attribute("data-slice", str((finding.best_slice or 0) - 1))
    seen.press("b")
    expect(body).to_have_attribute("data-slice", str(finding.best_slice))
    for axis, ratio in (("1", 6.0), ("2", 6.0), ("0", 1.0)):
        seen.get(f"axis-{axis}").check()
        expect(body).to_have_attribute("data-axis", axis)
        a, d, _, _ = map(float, seen.get("canvas").get_attribute("data-view").split())
        assert abs(d / a) == pytest.approx(ratio), "3 mm slices of 0.5 mm pixels"
        expect(seen.get("slice-text")).to_contain_text(f"/ {VOLUME[int(axis)]}")
    seen.get("slice").fill("5")
    expect(body).to_have_attribute("data-slice", "5")


@on("pictures")
def test_outlines_against_a_slow_reference(look: Look) -> None:
    seen = look()
    wrong = seen.page.evaluate(
        """async () => {
        const { outline } = await import("/static/outline.js");
        const edges = (labels, h, w) => {
            const at = (y, x) => {
                const value = y < 0 || x < 0 || y >= h || x >= w ? 0 : labels[y * w + x];
                return value === 255 ? 0 : value;
            };
            const found = new Set();
            const add = (a, b, place) => a !== b && found.add(`${Math.max(a, b)} ${place}`);
            for (let y = 0; y <= h; y++) for (let x = 0; x <= w; x++) {
                if (x < w) add(at(y - 1, x), at(y, x), `level ${y} ${x}`);
                if (y < h) add(at(y, x - 1), at(y, x), `upright ${y} ${x}`);
            }
            return found;
        };
        const cut = (runs) => [...runs].flatMap(([owner, all]) => {
            const found = [];
            for (let i = 0; i < all.length; i += 4) {
                const [x0, y0, x1, y1] = all.slice(i, i + 4);
                for (let x = x0; x < x1; x++) found.push(`${owner} level ${y0} ${x}`);
                for (let y = y0; y < y1; y++) found.push(`${owner} upright ${y} ${x0}`);
            }
            return found;
        });
        let seed = 1, wrong = 0;
        const draw = (n) => (seed = (seed * 48271) % 2147483647) % n;
        for (let turn = 0; turn < 1500; turn++) {
            const h = 1 + draw(9), w = 1 + draw(14);
            const labels = new Uint8Array(h * w).map(() => [0, 0, 0, 0, 1, 1, 2, 255][draw(8)]);
            const wanted = edges(labels, h, w), found = cut(outline(labels, h, w));
            // each edge once, and no other
            if (found.length !== wanted.size || found.some((edge) => !wanted.has(edge))) wrong++;
        }
        return wrong; }"""
    )
    assert wrong == 0


# -- deciding


def test_decisions_last(look: Look, server: Server) -> None:
    seen = look()
    first = seen.finding
    # a key that is held decides once
    seen.page.keyboard.down("a")
    seen.page.wait_for_selector(f'.row[data-id="{first}"][data-state=accept]')
    seen.page.keyboard.down("a")
    seen.page.keyboard.up("a")
    expect(seen.get("progress-text")).to_contain_text("1 of")
    states = {first: "accept", seen.decide("r"): "reject", seen.decide("u"): "unsure"}
    assert len(states) == 3
    seen.press("z")
    undone = list(states)[2]
    seen.drawn(undone)
    seen.page.wait_for_selector(f'.row[data-id="{undone}"][data-state=open]')
    del states[undone]
    seen.page.reload()
    seen.page.wait_for_selector("body[data-ready=true]")
    seen.get("filter-state").select_option("")
    for finding, state in states.items():
        expect(seen.page.locator(f'.row[data-id="{finding}"]')).to_have_attribute(
            "data-state", state
        )
    expect(seen.page.locator(f'.row[data-id="{undone}"]')).to_have_attribute("data-state", "open")
    with closing(Decisions(server.run / FILE)) as stored:
        said = [(d.decision.reviewer, d.decision.verdict) for d in stored.after(0)]
    assert said == [("Ada", verdict) for verdict in ("accept", "reject", "unsure", "undo")]


def test_an_edit_a_kill_and_the_export(look: Look, server: Server, tmp_path: Path) -> None:
    seen = look()
    run, findings = run_of(server)
    taken, edited = of_case(findings, "film-1"), of_case(findings, HTML)
    seen.choose(taken.id)
    seen.decide("a")
    seen.choose(edited.id)
    seen.press("e")
    expect(seen.get("edit-store")).to_be_enabled()
    seen.get("brush-size").fill("2.5")
    seen.press("w")
    seen.settle()
    dab = (32.5, 45.5)
    seen.page.mouse.move(*seen.place(*dab))
    seen.page.mouse.down()
    seen.page.mouse.up()
    hole = middle(run, edited)
    seen.press("x", "[", "[")
    seen.page.mouse.move(*seen.place(*hole))
    seen.page.mouse.down()
    seen.page.mouse.up()
    seen.press("Control+z", "Control+z", "Control+y", "Control+y")
    seen.press("Enter")
    seen.page.wait_for_selector(f'.row[data-id="{edited.id}"][data-state=edit]')
    # in the middle of everything
    server.kill()
    server.start()
    seen.open()
    forgive(seen)
    expect(seen.get("progress-text")).to_have_text(f"2 of {len(findings)} decided")

    rows, columns = np.indices(labels_of(run, edited, "given").shape) + 0.5
    wanted = accepted(run, edited)
    wanted[np.hypot(rows - dab[0], columns - dab[1]) <= 2.5] = 1
    wanted[np.hypot(rows - hole[0], columns - hole[1]) <= 1.5] = 0
    assert (wanted != accepted(run, edited)).sum() > 10
    out = exported(server, tmp_path / "out")
    scheme = run.dataset.scheme
    masks = {(c.id, s): c.masks[s] for c in run.cases for s in scheme.structures}
    expected = {
        (edited.case, edited.structure): wanted,
        (taken.case, taken.structure): accepted(run, taken),
    }
    for (case, structure), source in masks.items():
        copy = out / source.relative_to(run.dataset.root)
        found = (np.asarray(Image.open(copy)) > 0).astype(np.uint8)
        if (case, structure) in expected:
            assert (found == expected[case, structure]).all()
        else:
            assert copy.read_bytes() == source.read_bytes()


@on("volumes", new=True)
def test_an_edit_across_slices(look: Look, server: Server, tmp_path: Path) -> None:
    seen = look()
    run, findings = run_of(server)
    edited = findings[seen.finding]
    seen.press("e")
    expect(seen.get("edit-store")).to_be_enabled()
    seen.get("edit-class").select_option("2")
    seen.get("brush-size").fill("0.5")
    painted = [(0, 5, 17, 3), (0, 0, 18, 25), (1, 15, 3, 26), (2, 20, 2, 17)]
    for axis, slice_, row, column in painted:
        seen.get(f"axis-{axis}").check()
        seen.page.wait_for_selector(f"body[data-axis='{axis}']")
        seen.get("slice").fill(str(slice_))
        seen.page.wait_for_selector(f"body[data-slice='{slice_}']")
        seen.press("w")
        seen.settle()
        seen.page.mouse.move(*seen.place(row + 0.5, column + 0.5))
        seen.page.mouse.down()
        seen.page.mouse.up()
    seen.press("Enter")
    seen.page.wait_for_selector(f'.row[data-id="{edited.id}"][data-state=edit]')
    wanted = accepted(run, edited)
    for voxel in ((5, 17, 3), (0, 18, 25), (3, 15, 26), (2, 17, 20)):
        wanted[voxel] = 2
    out = exported(server, tmp_path / "out")
    assert (mask_file(out, f"{edited.case}.nii.gz") == wanted).all()
    others = [case for case in run.cases if case.id != edited.case]
    assert others
    for case in others:
        assert (mask_file(out, f"{case.id}.nii.gz") == run.read_given(case)[0]).all()


def test_a_whole_case_and_the_rest_in_bulk(look: Look, server: Server) -> None:
    seen = look()
    _, findings = run_of(server)
    mine = [f.id for f in findings.values() if f.case == HTML]
    rest = [f.id for f in findings.values() if f.case != HTML]
    assert len(mine) >= 2
    seen.get("filter-state").select_option("")
    expect(seen.page.get_by_test_id("row")).to_have_count(len(findings))
    seen.choose(mine[0])
    seen.press("Shift+R")
    for finding in mine:
        seen.page.wait_for_selector(f'.row[data-id="{finding}"][data-state=reject]')
    seen.get("filter-state").select_option("open")
    seen.drawn(rest[0])
    seen.get("bulk").click()
    expect(seen.get("bulk-count")).to_have_text(f"{len(rest)} finding{'s' * (len(rest) != 1)}")
    seen.get("bulk-ok").click()
    expect(seen.get("progress-text")).to_have_text(f"{len(findings)} of {len(findings)} decided")
    expect(seen.get("what")).to_have_text("Nothing to show")
    seen.press("z")
    expect(seen.get("progress-text")).to_have_text(f"{len(mine)} of {len(findings)} decided")


def test_two_reviewers_see_each_other(look: Look) -> None:
    ada, grace = look(), look(reviewer="Grace")
    finding = ada.decide("a")
    assert grace.finding == finding
    grace.page.wait_for_selector(f'.row[data-id="{finding}"][data-state=accept]')
    expect(grace.get("said")).to_contain_text("Ada accepted")
    expect(grace.get("others")).to_have_text("Ada: accepted")
    grace.press("r")
    ada.page.wait_for_selector(f'.row[data-id="{finding}"][data-state=conflict]')
    expect(ada.get("agreement")).to_have_text("reviewers agree on 0 %")


def test_a_comment_is_text(look: Look) -> None:
    seen = look()
    seen.press("c")
    seen.get("comment-text").fill(HTML)
    seen.get("comment-ok").click()
    expect(seen.get("said")).to_contain_text(HTML)
    assert seen.page.locator("img").count() == 0


def test_the_connection_is_lost(look: Look, server: Server) -> None:
    seen = look()
    finding = seen.finding
    server.kill()
    seen.press("a")
    expect(seen.get("banner")).to_contain_text("1 decision is not stored yet")
    expect(seen.get("accept")).to_be_disabled()
    assert seen.page.locator(".row[data-state=accept]").count() == 0, "claimed before it is stored"
    seen.press("r")
    with closing(Decisions(server.run / FILE)) as stored:
        assert stored.after(0) == []
    server.start()
    expect(seen.get("banner")).to_contain_text("This session has ended")
    seen.page.on("dialog", lambda dialog: dialog.accept())
    seen.open()
    expect(seen.get("progress-text")).to_contain_text("1 of")
    expect(seen.get("banner")).to_be_hidden()
    with closing(Decisions(server.run / FILE)) as stored:
        (only,) = stored.after(0)
    assert (only.decision.finding, only.decision.verdict) == (finding, "accept")
    forgive(seen)


def forgive(seen: Visit) -> None:
    """That the server could not be reached, or refused, is the browser's to say."""
    assert all("Failed to load resource" in said for said in seen.complaints)
    seen.complaints.clear()


# -- for everybody


def test_by_keyboard_alone(look: Look, server: Server, browser: Browser) -> None:
    with visit(browser, server, reviewer=None) as seen:
        seen.page.goto(server.url)
        seen.page.wait_for_selector("dialog[open]")
        seen.page.keyboard.type("Hedy")
        seen.press("Enter")
        seen.page.wait_for_selector("body[data-ready=true]")
        expect(seen.get("reviewer")).to_have_text("Reviewer: Hedy")
        controls = tabbed(seen)
        wanted = seen.page.evaluate(
            """() => [...document.querySelectorAll("button, select, input, [tabindex='0']")]
            .filter((e) => e.checkVisibility({visibilityProperty: true}) && !e.disabled
                    && (e.type !== "radio" || e.checked))
            .map((e) => e.id || e.dataset.testid || e.className)"""
        )
        assert set(wanted) <= set(controls)
        seen.press("/")
        seen.page.keyboard.type("film-1")
        expect(seen.page.get_by_test_id("row")).to_have_count(1)
        seen.press("Enter")
        seen.settle()
        finding = seen.finding
        seen.press("e")
        expect(seen.get("edit-store")).to_be_enabled()
        seen.press("ArrowRight", "ArrowRight", "Space", "Control+z", "Control+y", "Escape")
        seen.press("d", "t", "s", "o", "f", "w", "+", "-")
        seen.press("a")
        seen.page.wait_for_selector("body[data-waiting='0']")
        expect(seen.get("progress-text")).to_contain_text("1 of")
        expect(seen.get("announcer")).to_contain_text("Stored, accepted")
        seen.press("?")
        expect(seen.page.get_by_role("dialog")).to_contain_text("Accept the finding")
        seen.press("Escape", "z")
        seen.drawn(finding)
        expect(seen.get("progress-text")).to_contain_text("0 of")


def tabbed(seen: Visit) -> list[str]:
    """What gets the focus, by Tab, once around."""
    found: list[str] = []
    for _ in range(120):
        seen.press("Tab")
        name = seen.page.evaluate(
            """() => { const e = document.activeElement;
            return e.id || e.dataset.testid || e.className || e.tagName; }"""
        )
        if name in found[:2] and len(found) > 3:
            break
        outline = seen.page.evaluate(
            """() => { const e = document.activeElement;
            const seen = e.type === "radio" ? e.nextElementSibling : e;
            return e === document.body ? "none needed" : getComputedStyle(seen).outlineStyle; }"""
        )
        assert outline != "none", f"{name} does not show that it has the focus"
        found.append(name)
    return found


@on("pictures", "volumes")
def test_every_control_has_a_name(look: Look) -> None:
    seen = look()
    for keys in ((), ("e",), ("Escape", "?"), ("Escape", "c")):
        seen.press(*keys)
        seen.page.wait_for_timeout(200)
        client = seen.page.context.new_cdp_session(seen.page)
        nodes = client.send("Accessibility.getFullAXTree")["nodes"]
        named = [(node["role"]["value"], node.get("name", {}).get("value", "")) for node in nodes
                 if not node.get("ignored") and focusable(node)]  # fmt: skip
        assert len(named) >= 2
        assert not [role for role, name in named if not name.strip() and role != "RootWebArea"]


def focusable(node: dict[str, Any]) -> bool:
    return any(p["name"] == "focusable" and p["value"].get("value") for p in node["properties"])


@on("volumes")
def test_nothing_scrolls_at_1280_by_720(look: Look) -> None:
    for scheme in ("light", "dark"):
        seen = look(color_scheme=scheme)
        for keys in ((), ("s",), ("2",), ("e",)):
            seen.press(*keys)
            seen.page.wait_for_timeout(150)
            size = seen.page.evaluate(
                """() => [document.documentElement, document.body]
                .flatMap((e) => [e.scrollWidth, e.scrollHeight])"""
            )
            assert size == [1280, 720, 1280, 720]
        assert seen.page.evaluate("() => getComputedStyle(document.body).backgroundColor") == (
            "rgb(238, 240, 242)" if scheme == "light" else "rgb(20, 23, 27)"
        )
