"""The run that `review_scale.py` opens: thousands of radiographs, some volumes, known errors.

Nothing is trained: the probabilities are those of a model that knows the truth, and everything
else is what `maskmend audit --probabilities` does.
"""

from __future__ import annotations

import shutil
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import nibabel as nib
import numpy as np
from numpy.typing import NDArray
from PIL import Image
from scipy import ndimage

from maskmend import files, stages
from maskmend.adopting import Existing
from maskmend.core import Finding
from maskmend.datasets.phantom import STRUCTURES, draw_phantom
from maskmend.settings import FlagSettings, Settings
from maskmend.store import Run, Source

SIDE = 512
VOLUME = (64, 192, 192)
"""Slices, rows, columns."""
SHADOWS = tuple(sorted(STRUCTURES))
ORGANS = ("kidney", "liver", "spleen")
"""Sorted, as the folders of a data set are: the order of the planes of the probabilities."""
ERRORS = 5
"""In each case; each becomes one finding."""
RADII = (10, 24)
"""Of an error in a radiograph, in pixels; in a volume half of that."""
ALIKE = 8
"""Cases that show the same body, with other errors and other noise: drawing one takes long."""
AFFINE = np.diag([-0.9, -0.9, 2.0, 1.0])
FORMAT = 1
"""Of what lies in a work folder; one of another is made anew."""

Labels = NDArray[np.bool_]
"""(structures, *S)."""


@dataclass(frozen=True)
class Size:
    """pictures, volumes: how many cases of each."""

    pictures: int
    volumes: int


def prepare(work: Path, size: Size) -> dict[str, Run]:
    """The runs below a work folder, made if they are not there: "pictures" and "volumes".

    A data set has pictures or volumes, so that there are two.
    """
    runs = {}
    for name, count in (("pictures", size.pictures), ("volumes", size.volumes)):
        root = work / name
        done, wanted = root / "done.json", {"format": FORMAT, "cases": count}
        if not done.exists() or files.read_json(done) != wanted:
            shutil.rmtree(root, ignore_errors=True)
            _make(root, name, count)
            files.write_json(done, wanted)
        runs[name] = Run.open(root / "run")
    return runs


def _make(root: Path, kind: str, count: int) -> None:
    write = write_pictures if kind == "pictures" else write_volumes
    names = SHADOWS if kind == "pictures" else ORGANS
    for folder in (
        "data/training/images",
        *(f"data/training/{name}" for name in names),
        "probabilities",
    ):
        (root / folder).mkdir(parents=True)
    with ProcessPoolExecutor() as pool:
        spans = [range(first, min(first + ALIKE, count)) for first in range(0, count, ALIKE)]
        for _ in pool.map(partial(write, root), spans):
            pass
    settings = Settings(device="cpu", flag=FlagSettings(method="argmax"))
    existing = Existing(root / "probabilities", out_of_sample=True)
    run = stages.adopt(Source(str(root / "data"), ("training",)), root / "run", settings, existing)
    stages.flag(run)
    stages.rank(run)


def write_pictures(root: Path, span: range) -> None:
    """Radiographs of 16 bits, their masks with errors, and probabilities of 8 bits."""
    image, masks = draw_phantom(np.random.default_rng([0, span.start]), SIDE)
    truth = np.stack([masks[name] for name in SHADOWS])
    depth = depths(truth)
    for number in span:
        rng = np.random.default_rng([1, number])
        given, name = with_errors(truth, depth, rng, RADII), f"film-{number:05d}"
        fine = image.astype(np.uint16) * 257 + rng.integers(0, 257, image.shape, dtype=np.uint16)
        folder = root / "data" / "training"
        Image.fromarray(fine).save(folder / "images" / f"{name}.png", compress_level=1)
        for structure, mask in zip(SHADOWS, given, strict=True):
            picture = Image.fromarray(mask.astype(np.uint8) * 255)
            picture.save(folder / structure / f"{name}.png")
        np.save(root / "probabilities" / f"{name}.npy", probabilities(truth, rng))


def write_volumes(root: Path, span: range) -> None:
    """CT-like volumes of 16 bits; the rest as of radiographs."""
    axes = np.meshgrid(*(np.linspace(-1, 1, n, dtype=np.float32) for n in VOLUME), indexing="ij")
    truth = np.stack([
        sum((axis - c) ** 2 for axis, c in zip(axes, centre, strict=True)) < size
        for centre, size in (((0, 0, -0.45), 0.14), ((0, -0.3, 0.5), 0.1), ((0, 0.5, 0.4), 0.1))
    ])  # fmt: skip
    depth = depths(truth)
    body = (axes[1] ** 2 + axes[2] ** 2 < 0.9) * 1000 - 1000
    for number in span:
        rng = np.random.default_rng([2, number])
        given = with_errors(truth, depth, rng, (RADII[0] // 2, RADII[1] // 2))
        folder, name = root / "data" / "training", f"scan-{number:05d}"
        image = body + 150 * truth.sum(axis=0) + rng.normal(0, 20, VOLUME)
        _save_nifti(folder / "images" / f"{name}.nii.gz", image.astype(np.int16))
        for structure, mask in zip(ORGANS, given, strict=True):
            _save_nifti(folder / structure / f"{name}.nii.gz", mask.astype(np.uint8))
        np.save(root / "probabilities" / f"{name}.npy", probabilities(truth, rng))


def _save_nifti(path: Path, volume: NDArray[np.integer]) -> None:
    nib.save(nib.Nifti1Image(volume.T, AFFINE), path)


def probabilities(truth: Labels, rng: np.random.Generator) -> NDArray[np.uint8]:
    """Of a model that knows the truth and is not quite sure, 255 for 1."""
    return np.where(truth, 225, 15).astype(np.uint8) + rng.integers(0, 16, truth.shape, np.uint8)


def depths(truth: Labels) -> NDArray[np.floating]:
    """Distance of each pixel of a structure to its boundary, then of each pixel beside it.

    (2 * structures, *S); the edge of the picture is no boundary.
    """
    inner = (slice(1, -1),) * (truth.ndim - 1)
    return np.stack([
        ndimage.distance_transform_edt(np.pad(mask, 1, mode="edge"))[inner]
        for mask in (*truth, *~truth)
    ])  # fmt: skip


def with_errors(
    truth: Labels, depth: NDArray[np.floating], rng: np.random.Generator, radii: tuple[int, int]
) -> Labels:
    """The truth with a ball cut out or put on in ERRORS places.

    depth: as of `depths`.  radii: smallest and largest, in pixels.  The balls touch neither each
    other nor a boundary, so that each is one finding.
    """
    given = truth.copy()
    taken = np.zeros(truth.shape[1:], bool)
    for _ in range(ERRORS):
        plane, cut_out = int(rng.integers(len(truth))), rng.random() < 0.5
        radius = int(rng.integers(*radii))
        centre = None
        # a small hole where there is no room for a large one; a blob where there is none at all
        for side, r in [(plane, r) for r in range(radius, radii[0] // 2, -1) if cut_out] + [
            (plane + len(truth), r) for r in range(radius, 0, -1)
        ]:
            places = np.flatnonzero((depth[side] > r + 3) & ~taken)
            if len(places):
                centre = np.unravel_index(int(rng.choice(places)), taken.shape)
                break
        if centre is None:
            raise RuntimeError("no room for another error: the phantoms have changed")
        distance = _distance(taken.shape, centre)
        given[plane] ^= distance < r**2
        taken |= distance < (r + radii[1] + 4) ** 2
    return given


def _distance(shape: tuple[int, ...], centre: tuple[np.intp, ...]) -> NDArray[np.int64]:
    """Squared, of each pixel to a place."""
    axes = np.ogrid[tuple(slice(n) for n in shape)]
    found = np.zeros(shape, np.int64)
    for axis, c in zip(axes, centre, strict=True):
        found += (axis - c) ** 2
    return found


def by_type(findings: tuple[Finding, ...]) -> dict[str, int]:
    names = sorted({finding.type for finding in findings})
    return {name: sum(finding.type == name for finding in findings) for name in names}
