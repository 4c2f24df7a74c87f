"""Runs to review, made of probabilities that say where the errors are; nothing is trained."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image
from scipy import ndimage
from starlette.testclient import TestClient

from maskmend import stages
from maskmend.core import Case, Finding
from maskmend.datasets import open_dataset, read_grid
from maskmend.review.app import create_app
from maskmend.review.decisions import FILE, Decisions
from maskmend.review.security import Session
from maskmend.review.session import Review
from maskmend.settings import FlagSettings, RankSettings, Settings
from maskmend.store import Run, Source

SETTINGS = Settings(
    device="cpu", threads=1, flag=FlagSettings(method="argmax"),
    # organs of a few slices: a tolerance would leave nothing of them
    rank=RankSettings(tolerance="0px"),
)  # fmt: skip
PORT = 8765
BASE = f"http://127.0.0.1:{PORT}"

PICTURE = (40, 56)
VOLUME = (6, 20, 28)
AFFINE = np.diag([-0.5, -0.5, 3.0, 1.0])


def flag_and_group(run: Run) -> tuple[Finding, ...]:
    """Noise maps, mended labels, and a finding for each connected group of flagged pixels."""
    stages.flag(run)
    stages.correct(run)
    found = []
    for case in run.cases:
        mine = group(run, case)
        run.write_finding_masks(case, {finding.number: mask for finding, mask in mine})
        found += [finding for finding, _ in mine]
    return tuple(sorted(found, key=lambda finding: (-finding.score, finding.id)))


def group(run: Run, case: Case) -> list[tuple[Finding, NDArray[np.bool_]]]:
    given, mended = run.read_given(case), run.read_mended(case)
    flagged, scheme = run.read_noise_map(case), run.dataset.scheme
    found: list[tuple[Finding, NDArray[np.bool_]]] = []
    grid = read_grid(case)
    for plane in range(len(given)):
        for old in np.unique(given[plane][flagged[plane]]):
            parts, _ = ndimage.label(flagged[plane] & (given[plane] == old))
            for part, box in enumerate(ndimage.find_objects(parts), start=1):
                mask = parts[box] == part
                new = int(mended[plane][box][mask][0])
                names = scheme.class_names(plane)
                number, ends = len(found) + 1, tuple((s.start, s.stop) for s in box)
                said = f"{case.id} {plane} {ends} {old} {new}"
                found.append((Finding(
                    id=hashlib.sha256(said.encode()).hexdigest()[:12], case=case.id,
                    number=number, plane=plane, structure=names[max(int(old), new)],
                    type="missing" if old == 0 else "extra", given=names[old],
                    suggested=names[new], pixels=int(mask.sum()), size=float(mask.sum()),
                    unit=grid.unit, share=0.5, distance=float("nan"), margin=0.4, box=ends,
                    best_slice=ends[0][0] if len(ends) == 3 else None,
                    centroid=tuple((a + b - 1) / 2 for a, b in ends), score=float(mask.sum()),
                ), mask))  # fmt: skip
    return found


def probabilities(labels: NDArray[np.uint8], classes: int, seed: int) -> NDArray[np.float32]:
    """A model that knows the truth but for some noise, (C, *S)."""
    raw = 0.3 * np.random.default_rng(seed).random((classes, *labels.shape))
    raw += 2.0 * (labels == np.arange(classes).reshape(-1, *(1,) * labels.ndim))
    return (raw / raw.sum(axis=0)).astype(np.float32)


def make_pictures(root: Path, names: list[str] | None = None) -> tuple[Run, tuple[Finding, ...]]:
    """Six radiographs with two structures that overlap, `disc` and `bar`.

    Case 0 lacks a square of the disc and has a blob too much; case 1 lacks the bar; 2 to 5 are
    right.
    """
    data, arrays = root / "data", {}
    for number, name in enumerate(names or [f"film-{n}" for n in range(6)]):
        rows, columns = np.mgrid[: PICTURE[0], : PICTURE[1]]
        disc = (rows - 20) ** 2 + (columns - 24 - number) ** 2 < 144
        bar = (abs(rows - 20) < 4) & (abs(columns - 30) < 16)
        truth = np.stack([bar, disc])
        given = truth.copy()
        if number == 0:
            given[1, 14:20, 20:26] = False
            given[1, 2:6, 46:52] = True
        if number == 1:
            given[0] = False
        arrays[name] = np.clip(
            truth * 0.8 + 0.1 + np.random.default_rng(number).normal(0, 0.02, truth.shape), 0, 1
        ).astype(np.float32)
        image = (80 * truth.sum(axis=0) + rows + columns // 2).astype(np.uint8)
        save(data / "images" / f"{name}.png", image)
        for plane, structure in enumerate(("bar", "disc")):
            save(data / "masks" / structure / f"{name}.png", given[plane].astype(np.uint8) * 255)
    return judged(root, data, arrays)


def make_volumes(root: Path) -> tuple[Run, tuple[Finding, ...]]:
    """Four MR-like volumes, int16 and float, with two exclusive organs.

    Case 0: the organs are swapped in two slices; case 1: organ 1 is missing in half.
    """
    data, arrays = root / "data", {}
    for folder in ("images", "masks"):
        (data / folder).mkdir(parents=True)
    for number in range(4):
        truth = np.zeros(VOLUME, np.uint8)
        truth[1:5, 4:12, 6:12] = 1
        truth[1:5, 4:12, 12:20] = 2
        given = truth.copy()
        if number == 0:
            given[1:3] = np.array([0, 2, 1], np.uint8)[truth[1:3]]
        if number == 1:
            given[:3][truth[:3] == 1] = 0
        name = f"scan_{number}"
        image = truth * 300.0 - 100 + np.arange(VOLUME[2])
        image = image.astype(np.int16) if number % 2 else image.astype(np.float32) / 1000
        for folder, array in (("images", image), ("masks", given)):
            nib.save(nib.Nifti1Image(array.T, AFFINE), data / folder / f"{name}.nii.gz")
        arrays[name] = probabilities(truth, 3, number)
    return judged(root, data, arrays)


def judged(
    root: Path, data: Path, arrays: dict[str, NDArray[Any]]
) -> tuple[Run, tuple[Finding, ...]]:
    dataset = open_dataset(data)
    source = Source(str(data), tuple(sorted({case.split for case in dataset.cases})))
    run = stages.adopt(
        source, root / "run", SETTINGS, stages.Existing(arrays, out_of_sample=True), dataset
    )
    return run, flag_and_group(run)


def save(path: Path, array: NDArray[Any]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(array).save(path)


@pytest.fixture(scope="session")
def pictures(tmp_path_factory: pytest.TempPathFactory) -> tuple[Run, tuple[Finding, ...]]:
    return make_pictures(tmp_path_factory.mktemp("pictures"))


@pytest.fixture(scope="session")
def volumes(tmp_path_factory: pytest.TempPathFactory) -> tuple[Run, tuple[Finding, ...]]:
    return make_volumes(tmp_path_factory.mktemp("volumes"))


@pytest.fixture
def static(tmp_path: Path) -> Path:
    """A page of three files, and beside it one that is no part of it."""
    root = tmp_path / "static"
    (root / "vendor").mkdir(parents=True)
    (root / "index.html").write_text("<!doctype html><title>review</title>")
    (root / "main.js").write_text("export {};")
    (root / "vendor" / "lib.js").write_text("export {};")
    (tmp_path / "secret.txt").write_text("SECRET")
    (root / "link.txt").symlink_to(tmp_path / "secret.txt")
    return root


@pytest.fixture
def started(tmp_path: Path, static: Path) -> Iterator[Callable[..., TestClient]]:
    """(run, findings) -> a client with the session's cookie; decisions in a file of their own."""
    opened: list[Decisions] = []

    def start(made: tuple[Run, tuple[Finding, ...]], cookie: bool = True) -> TestClient:
        decisions = Decisions(tmp_path / FILE)
        opened.append(decisions)
        review = Review(*made, decisions)
        session = Session(PORT)
        app: Any = create_app(review, session, static)
        client = TestClient(app, base_url=BASE, raise_server_exceptions=False)
        client.app_state["review"], client.app_state["session"] = review, session
        if cookie:
            name, _, value = session.set_cookie.partition(";")[0].partition("=")
            client.cookies.set(name, value)
        client.headers.update({"Origin": BASE, "X-Maskmend": "1"})
        return client

    yield start
    for decisions in opened:
        decisions.close()
