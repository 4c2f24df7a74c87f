"""What an audit of one large volume costs beside reading it: 512 x 512 x 300, 10 classes, float16.

    python benchmarks/reading.py --work /some/large/disk

The same probabilities lie there twice: as a plain .npy, which is read where it is, and as the
compressed .npz of nnU-Net, which is unpacked into the run once.  For each of them

- reading: numpy.load of the whole array, and the label and the image with nibabel, each in a
  process of its own, the files dropped from the page cache before (`cold`) or just read (`warm`);
- audit: `maskmend audit DATASET --probabilities P` as a whole, in a new process: start, checks,
  probabilities, noise rates, noise map, mended label, pictures; no student.

`seconds` depend on what else the machine does (`load`, of the last minute); `cpu_seconds`, of all
threads together, hardly do.  Peak memory is that of the process as the kernel counts it (`peak`),
which includes pages of mapped files that it would drop at any time, and without those
(`anonymous`, sampled every 20 ms).
Writes benchmarks/results/reading.json.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np

SHAPE = (300, 512, 512)
CLASSES = 10
CASE = "volume"
RESULTS = Path(__file__).parent / "results" / "reading.json"
MIB = 1 << 20

COMMAND = "from maskmend.cli import main\nmain()"
READ_PROBABILITIES = "import numpy as np\nnp.load({path!r}){member}"
READ_NIFTI = "import nibabel, numpy as np\nnp.asarray(nibabel.load({path!r}).dataobj)"


def organs(shape: tuple[int, int, int], rng: np.random.Generator) -> np.ndarray[Any, Any]:
    """Nine ellipsoids, each a class of its own, on a background; (slices, rows, columns) uint8."""
    labels = np.zeros(shape, np.uint8)
    axes = [np.linspace(-1, 1, n, dtype=np.float32) for n in shape]
    for k in range(1, CLASSES):
        centre, radii = rng.uniform(-0.7, 0.7, 3), rng.uniform(0.12, 0.35, 3)
        z, y, x = (((axis - c) / r) ** 2 for axis, c, r in zip(axes, centre, radii, strict=True))
        inside = z[:, None, None] + y[None, :, None] + x[None, None, :] < 1
        labels[inside] = k
    return labels


def write_data(work: Path, shape: tuple[int, int, int]) -> None:
    """The data set (an image, a label with an error) and its probabilities, twice."""
    rng = np.random.default_rng(0)
    truth = organs(shape, rng)
    given = truth.copy()
    half = truth[shape[0] // 3 : shape[0] // 2]
    given[shape[0] // 3 : shape[0] // 2][half == 3] = 4  # mistaken for another
    given[: shape[0] // 2][truth[: shape[0] // 2] == 5] = 0  # cut off
    affine = np.diag([-0.8, -0.8, 1.5, 1.0])
    image = (truth.astype(np.int16) * 90) + rng.integers(-30, 30, shape, dtype=np.int16)
    for folder, volume in (("images", image), ("masks", given)):
        (work / "data" / folder).mkdir(parents=True)
        nib.save(nib.Nifti1Image(volume.T, affine), work / "data" / folder / f"{CASE}.nii.gz")
    (work / "npy").mkdir()
    (work / "npz").mkdir()
    path = work / "npy" / f"{CASE}.npy"
    probs = np.lib.format.open_memmap(path, mode="w+", dtype=np.float16, shape=(CLASSES, *shape))
    for z in range(shape[0]):
        logits = rng.standard_normal((CLASSES, *shape[1:]), dtype=np.float32)
        logits += 9 * (truth[z] == np.arange(CLASSES)[:, None, None])
        np.exp(logits, out=logits)
        probs[:, z] = logits / logits.sum(axis=0)
    np.savez_compressed(work / "npz" / f"{CASE}.npz", probabilities=probs)


def forget(root: Path) -> None:
    """Drop all files below a folder from the page cache; needs no rights."""
    for path in root.rglob("*"):
        if path.is_file():
            handle = os.open(path, os.O_RDONLY)
            os.fsync(handle)
            os.posix_fadvise(handle, 0, 0, os.POSIX_FADV_DONTNEED)
            os.close(handle)


def anonymous_of(process: int) -> int:
    """Bytes of a process that no file stands behind; 0 when it has ended."""
    try:
        status = Path(f"/proc/{process}/status").read_text()
    except OSError:
        return 0
    lines = (line.split() for line in status.splitlines() if line.startswith("RssAnon"))
    return sum(int(words[1]) * 1024 for words in lines)


def measure(command: list[str]) -> dict[str, float]:
    """Seconds and peak memory in MiB of a new process; RuntimeError if it fails."""
    start = time.perf_counter()
    with tempfile.TemporaryFile() as said:
        child = subprocess.Popen(command, stdout=said, stderr=subprocess.STDOUT)
        highest, ended = [0], threading.Event()

        def watch() -> None:
            while not ended.wait(0.02):
                highest[0] = max(highest[0], anonymous_of(child.pid))

        watcher = threading.Thread(target=watch)
        watcher.start()
        _, status, usage = os.wait4(child.pid, 0)
        seconds = time.perf_counter() - start
        ended.set()
        watcher.join()
        child.returncode = os.waitstatus_to_exitcode(status)
        if child.returncode:
            said.seek(0)
            raise RuntimeError(f"{command}: {said.read().decode()}")
    return {
        "seconds": round(seconds, 2),
        "cpu_seconds": round(usage.ru_utime + usage.ru_stime, 2),
        "peak_mib": round(usage.ru_maxrss * 1024 / MIB),
        "anonymous_mib": round(highest[0] / MIB),
    }


def read_plainly(work: Path, kind: str) -> dict[str, dict[str, float]]:
    """Each file, read whole by a process that does nothing else."""
    member = "['probabilities']" if kind == "npz" else ""
    path = str(work / kind / f"{CASE}.{kind}")
    codes = {"probabilities": READ_PROBABILITIES.format(path=path, member=member)}
    for name, folder in (("label", "masks"), ("image", "images")):
        codes[name] = READ_NIFTI.format(path=str(work / "data" / folder / f"{CASE}.nii.gz"))
    empty = measure([sys.executable, "-c", "import numpy, nibabel"])
    found = {name: measure([sys.executable, "-c", code]) for name, code in codes.items()}
    for one in found.values():
        for unit in ("seconds", "cpu_seconds"):
            one[unit] = round(max(one[unit] - empty[unit], 0), 2)
    return found


def audit(work: Path, kind: str, number: int) -> dict[str, float]:
    run = work / f"run_{kind}_{number}"
    return measure([
        sys.executable, "-c", COMMAND, "audit", str(work / "data"), "--run", str(run),
        "--probabilities", str(work / kind), "--out-of-sample", "yes",
    ])  # fmt: skip


def compare(work: Path, kind: str, state: str, repeats: int) -> dict[str, Any]:
    """The best of some runs of both; a busy machine makes them slower, never faster."""
    readings: list[dict[str, dict[str, float]]] = []
    audits: list[dict[str, float]] = []
    for number in range(repeats):
        if state == "cold":
            forget(work)
        readings.append(read_plainly(work, kind))
        if state == "cold":
            forget(work)
        audits.append(audit(work, kind, len(list(work.glob("run_*"))) + number))

    def best(unit: str) -> dict[str, float]:
        return {name: min(each[name][unit] for each in readings) for name in readings[0]}

    row: dict[str, Any] = {"files": kind, "cache": state, "load": round(os.getloadavg()[0], 1)}
    for unit in ("seconds", "cpu_seconds"):
        reading, audited = sum(best(unit).values()), min(each[unit] for each in audits)
        row[unit] = {
            "reading": best(unit), "reading_total": round(reading, 2), "audit": audited,
            "ratio": round(audited / reading, 2),
        }  # fmt: skip
    for memory in ("peak_mib", "anonymous_mib"):
        row[f"audit_{memory}"] = max(each[memory] for each in audits)
    return row


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--work", type=Path, help="folder for the files, 6 GB; kept if named")
    parser.add_argument("--shape", type=int, nargs=3, default=SHAPE)
    parser.add_argument("--repeats", type=int, default=2)
    parser.add_argument("--out", type=Path, default=RESULTS)
    chosen = parser.parse_args()
    with tempfile.TemporaryDirectory() as temporary:
        work = chosen.work or Path(temporary)
        if not (work / "npz").exists():
            write_data(work, tuple(chosen.shape))
        rows = []
        for kind in ("npy", "npz"):
            for state in ("cold", "warm"):
                rows.append(compare(work, kind, state, chosen.repeats))
                print(json.dumps(rows[-1]), flush=True)
    found = {
        "shape": chosen.shape, "classes": CLASSES, "cores": os.cpu_count(), "rows": rows,
        "page_size": resource.getpagesize(),
    }  # fmt: skip
    chosen.out.parent.mkdir(parents=True, exist_ok=True)
    chosen.out.write_text(json.dumps(found, indent=2) + "\n")


if __name__ == "__main__":
    main()
