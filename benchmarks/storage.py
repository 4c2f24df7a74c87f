"""How to keep out-of-sample probabilities: size, speed, and what rounding them changes.

The teachers of a finished run predict their held-out cases once more in float32; these arrays,
(structures, H, W) a case, are written and read back in every form.  Flagged pixels are counted
with the probabilities as each form gives them back, against those of float32.

JSON: one entry a form under `forms`, with these names:
  form                    library, dtype, chunks, compression
  megabytes               on the disk
  write, read             seconds for all cases; read from the system's cache
  read_plane              milliseconds to read one structure of one case
  changed_METHOD          flagged pixels that differ from float32's, of all structures, METHOD
                          being both and argmax; flagged_METHOD is how many float32 flags
and cases, pixels (of all structures).  Times hold for an otherwise idle machine.
"""

from __future__ import annotations

import argparse
import json
import shutil
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import zarr
from numpy.typing import NDArray
from zarr.codecs import BloscCname, BloscCodec, BloscShuffle, ZstdCodec

from maskmend import trainings
from maskmend.arrays.selection import flag_cases
from maskmend.core import IGNORED
from maskmend.datasets import read_image
from maskmend.report.tables import Cell, Table, markdown
from maskmend.store import Run

Array = NDArray[Any]
METHODS = ("both", "argmax")
SCALES = {"uint8": 255, "uint16": 65535}


def quantised(probs: Array, dtype: str) -> Array:
    if dtype in SCALES:
        return np.rint(probs * SCALES[dtype]).astype(dtype)
    return probs.astype(dtype)


@dataclass(frozen=True)
class Form:
    """A way to store the cases.  chunks: "case", "plane", or the side of a square."""

    library: str
    dtype: str
    chunks: str = "case"
    compression: str = "none"

    @property
    def name(self) -> str:
        return f"{self.library} {self.dtype}, {self.chunks}, {self.compression}"

    def write(self, folder: Path, number: int, probs: Array) -> None:
        array = quantised(probs, self.dtype)
        if self.library == "npy":
            np.save(folder / f"{number}.npy", array)
        elif self.library == "npz":
            np.savez_compressed(folder / f"{number}.npz", probs=array)
        else:
            store = zarr.create_array(
                store=folder / f"{number}.zarr", shape=array.shape, dtype=array.dtype,
                chunks=self._chunks(array.shape), compressors=self._compressors(),
            )  # fmt: skip
            store[:] = array

    def read(self, folder: Path, number: int, plane: int | None = None) -> Array:
        where = slice(None) if plane is None else plane
        if self.library == "npy":
            found: Array = np.load(folder / f"{number}.npy", mmap_mode="r")[where]
            return np.array(found)
        if self.library == "npz":
            with np.load(folder / f"{number}.npz") as archive:
                return archive["probs"][where]
        return np.asarray(zarr.open_array(folder / f"{number}.zarr", mode="r")[where])

    def _chunks(self, shape: tuple[int, ...]) -> tuple[int, ...]:
        if self.chunks == "case":
            return shape
        if self.chunks == "plane":
            return (1, *shape[1:])
        return (1, *(int(self.chunks),) * (len(shape) - 1))

    def _compressors(self) -> Any:
        if self.compression == "none":
            return None
        if self.compression == "zstd":
            return [ZstdCodec(level=3)]
        name = BloscCname(self.compression.removeprefix("blosc-"))
        return [BloscCodec(cname=name, shuffle=BloscShuffle.shuffle)]


FORMS = (
    *(Form("npy", dtype) for dtype in ("float32", "float16", "uint16", "uint8")),
    *(Form("npz", dtype, "case", "deflate") for dtype in ("float16", "uint8")),
    *(
        Form("zarr", dtype, chunks, compression)
        for dtype in ("float32", "float16", "uint16", "uint8")
        for chunks, compression in (("plane", "none"), ("plane", "zstd"), ("plane", "blosc-lz4"))
    ),
    Form("zarr", "float16", "case", "zstd"),
    Form("zarr", "float16", "64", "zstd"),
)


def predict(run: Run) -> list[Array]:
    """Out-of-sample probabilities in float32, (structures, H, W) a case."""
    plan = run.read_folds()
    teachers = [trainings.load(run, f"teachers/fold{fold}", None) for fold in range(plan.count)]
    return [
        trainings.probabilities(teachers[plan.folds[case.id]], read_image(case))
        for case in run.cases
    ]


def flags(run: Run, cases: list[Array], method: str) -> list[Array]:
    given = [run.read_given(case) for case in run.cases]
    found = []
    for plane in range(len(run.dataset.scheme.planes)):
        pairs = [(labels[plane], probs[plane]) for labels, probs in zip(given, cases, strict=True)]
        found += list(flag_cases(pairs, num_classes=2, method=method, ignore=IGNORED))
    return found


def timed(work: Callable[[], Any]) -> float:
    start = time.perf_counter()
    work()
    return time.perf_counter() - start


def measure(form: Form, cases: list[Array], root: Path) -> tuple[dict[str, Any], list[Array]]:
    folder = root / "form"
    folder.mkdir()
    numbers = range(len(cases))
    start = time.perf_counter()
    for number, probs in enumerate(cases):
        form.write(folder, number, probs)
    write = time.perf_counter() - start
    size = sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())
    back = [form.read(folder, n) for n in numbers]
    read = min(timed(lambda: [form.read(folder, n) for n in numbers]) for _ in range(3))
    plane = min(timed(lambda: [form.read(folder, n, 0) for n in numbers]) for _ in range(3))
    shutil.rmtree(folder)
    return {
        "form": form.name, "megabytes": size / 1e6, "write": write, "read": read,
        "read_plane": plane / len(cases) * 1e3,
    }, back  # fmt: skip


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("run", type=Path, help="a run with teachers, such as ./maskmend-demo")
    parser.add_argument("--json", type=Path, help="write the figures here")
    options = parser.parse_args()
    run = Run.open(options.run)
    cases = predict(run)
    reference = {method: flags(run, cases, method) for method in METHODS}
    changed: dict[str, dict[str, int]] = {}
    forms = []
    for form in FORMS:
        with tempfile.TemporaryDirectory() as folder:
            entry, back = measure(form, cases, Path(folder))
        if form.dtype not in changed:
            changed[form.dtype] = {
                f"changed_{method}": sum(
                    int(np.count_nonzero(mine != theirs))
                    for mine, theirs in zip(
                        flags(run, back, method), reference[method], strict=True
                    )
                )
                for method in METHODS
            }
        forms.append(entry | changed[form.dtype])
        print({k: round(v, 3) if isinstance(v, float) else v for k, v in forms[-1].items()})
    figures: dict[str, Any] = {
        "cases": len(cases), "pixels": sum(probs.size for probs in cases), "forms": forms,
    }  # fmt: skip
    for method in METHODS:
        figures[f"flagged_{method}"] = sum(int(f.sum()) for f in reference[method])
    rows: list[list[Cell]] = [list(entry.values()) for entry in forms]
    print(markdown(Table(list(forms[0]), rows)))
    if options.json:
        options.json.write_text(json.dumps(figures, indent=1) + "\n")


if __name__ == "__main__":
    main()
