"""Confident learning on pixels: cleanlab 2.9.0 and maskmend side by side in one run.

Labels are the JSRT training masks (197 x 256 x 256 = 12.9 million pixels), each shifted a little;
probabilities are a softmax of the smoothed true masks and noise, float32.  Both get the same
values: cleanlab as (N, K), the only form it takes; maskmend as (K, N) and, where a name says
`same_array`, as that very (N, K) array.

JSON: numbers under these names, K being 2 or 4 and METHOD both, prune_by_class,
prune_by_noise_rate or confident_joint:
  pixels                           number of pixels judged
  kK_METHOD_cleanlab               seconds of cleanlab.filter.find_label_issues, in memory,
                                   best of two
  kK_METHOD_maskmend               seconds of flag_errors, warmed up, best of seven
  kK_METHOD_times                  how many times faster (also kK_METHOD_times_same_array)
  kK_METHOD_differing              pixels that the two flag differently
  kK_METHOD_unexplained            of those, the ones that are neither ties at a cut nor follow
                                   from the float32 rounding of cleanlab's mean (thresholds)
  kK_METHOD_reading_ratio          seconds of flag_errors over those of plainly reading the same
                                   arrays once for each pass it makes, with as many threads
  kK_METHOD_memory_mb              highest memory during flag_errors beyond inputs and imports
  kK_METHOD_cold_cleanlab, ..._cold_maskmend, ..._cold_times
                                   whole processes that start Python and read .npy files; best
                                   of two and of five
  segmentation_cleanlab, segmentation_maskmend, segmentation_times, segmentation_differing
                                   cleanlab.segmentation.filter.find_label_issues at full
                                   resolution, (N, K, H, W), and low_self_confidence less the
                                   pixels whose label is the most probable class
  growth                           for each K and size: pixels, nanoseconds_per_pixel (counting
                                   and marking in one thread, not making the data; of short
                                   streams the best of several), passes, memory_mb (of the whole
                                   process)
  growth_spread                    for each K: longest over shortest time a pixel
  processors                       that the process may run on
Times are those of whatever else the machine is doing; for the README run it on an idle one.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
import time
import warnings
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from maskmend import native
from maskmend.arrays.search import ErrorSearch, least_passes
from maskmend.arrays.selection import ErrorFinder, flag_errors

Array = NDArray[Any]

TWINS = {
    "both": "both",
    "prune_by_class": "prune_by_class",
    "prune_by_noise_rate": "prune_by_noise_rate",
    "confident_joint": "confident_learning",
}
STRUCTURES = ("lung", "heart", "clavicle")
JSRT = Path(__file__).parents[2] / "shared" / "data" / "jsrt" / "training"
CASE = 256 * 256
GROWTH_CLASSES = (2, 10, 104)
THREADS = native.processors()


def read_masks(structure: str, cases: int) -> Array:
    """(cases, 256, 256) bool; ellipses where JSRT is not at hand."""
    files = sorted((JSRT / structure).glob("*.png"))[:cases]
    if files:
        from PIL import Image

        return np.stack([np.asarray(Image.open(file)) > 0 for file in files])
    rng = np.random.default_rng(len(structure))
    rows, columns = np.mgrid[:256, :256]
    middle, radius = rng.uniform(80, 170, (cases, 2)), rng.uniform(20, 60, (cases, 2))
    return np.stack(
        [
            ((rows - m[0]) / r[0]) ** 2 + ((columns - m[1]) / r[1]) ** 2 < 1
            for m, r in zip(middle, radius, strict=True)
        ]
    )


def make_problem(num_classes: int, cases: int) -> tuple[Array, Array]:
    """Labels (cases, H, W) uint8 and probabilities (cases, H, W, K) float32."""
    from scipy.ndimage import gaussian_filter, shift

    rng = np.random.default_rng(num_classes)
    masks = [read_masks(structure, cases) for structure in STRUCTURES[: num_classes - 1]]
    truth = np.zeros(masks[0].shape, np.uint8)
    for k, mask in enumerate(masks, start=1):
        truth[mask] = k
    labels = np.stack([shift(t, rng.integers(-9, 10, 2), order=0) for t in truth])
    probs = np.empty((*truth.shape, num_classes), np.float32)
    for case, t in enumerate(truth):
        z = np.stack([gaussian_filter(6.0 * (t == k), 2) for k in range(num_classes)], axis=-1)
        e = np.exp(z + rng.normal(scale=1.0, size=z.shape))
        probs[case] = e / e.sum(axis=-1, keepdims=True)
    return labels, probs


def timed(work: Callable[[], Any], repeats: int = 1) -> tuple[float, Any]:
    """Best seconds, and the result."""
    best, result = np.inf, None
    for _ in range(repeats):
        start = time.perf_counter()
        result = work()
        best = min(best, time.perf_counter() - start)
    return float(best), result


def cleanlab_flags(labels: Array, probs: Array, method: str) -> Array:
    from cleanlab.filter import find_label_issues

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        flags: Array = find_label_issues(labels, probs, filter_by=TWINS[method])
    return flags


def unexplained(labels: Array, probs: Array, method: str, expected: Array) -> int:
    """Pixels that differ though maskmend uses cleanlab's thresholds, and do not tie at a cut."""
    from cleanlab.count import get_confident_thresholds

    thresholds = tuple(float(t) for t in get_confident_thresholds(labels, probs))
    search = ErrorSearch(probs.shape[1], probs.dtype, method, fixed_thresholds=thresholds)
    while not search.ready:
        search = search.advance(search.count(labels, probs, class_axis=-1))
    different = np.flatnonzero(search.flag(labels, probs, class_axis=-1) != expected)
    cuts = set() if search.cuts is None else set(search.cuts.scores.tolist())
    own = probs[different, labels[different]]
    margins = own[:, None] - probs[different]
    scores = np.concatenate([own[:, None], margins], axis=1)
    return sum(not cuts.intersection(row.tolist()) for row in scores)


def reading_seconds(labels: Array, probs: Array) -> float:
    """Seconds to read both arrays once, in as many threads as flag_errors has."""
    words = [
        a.reshape(-1).view(np.uint8)[: a.nbytes // 8 * 8].view(np.uint64) for a in (labels, probs)
    ]
    parts = [part for w in words for part in np.array_split(w, 64)]
    with ThreadPoolExecutor(min(THREADS, 8)) as threads:
        return timed(lambda: sum(int(s) for s in threads.map(np.bitwise_or.reduce, parts)), 3)[0]


def memory_status(name: str) -> float:
    """A line of /proc/self/status in megabytes."""
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith(name):
            return int(line.split()[1]) / 1024
    raise RuntimeError(f"no {name} in /proc/self/status")


def child(*arguments: str) -> str:
    """Run this script again with a hidden command, and return what it prints."""
    command = [sys.executable, __file__, *arguments]
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout


COLD = {
    "cleanlab": """
import sys, warnings, numpy as np
from cleanlab.filter import find_label_issues
warnings.simplefilter("ignore")
labels, probs = np.load(sys.argv[1]), np.load(sys.argv[2])
print(int(find_label_issues(labels, probs, filter_by=sys.argv[4]).sum()))
""",
    "maskmend": """
import sys, numpy as np, maskmend
labels, probs = np.load(sys.argv[1]), np.load(sys.argv[2], mmap_mode="r")
print(int(maskmend.flag_errors(labels, probs, method=sys.argv[3], class_axis=-1).sum()))
""",
}
"""Whole programs; arguments: files of labels and of probabilities, the method, cleanlab's name of
it."""


def run_cold(who: str, files: tuple[str, str], method: str) -> int:
    """Pixels that a new process flags."""
    command = [sys.executable, "-c", COLD[who], *files, method, TWINS[method]]
    return int(subprocess.run(command, check=True, capture_output=True, text=True).stdout)


def memory_of_flagging(labels_file: str, probs_file: str, method: str) -> None:
    labels, probs = np.load(labels_file), np.load(probs_file)
    flag_errors(labels[:1000], probs[:1000], method=method, class_axis=-1, engine="native")
    Path("/proc/self/clear_refs").write_text("5")  # forget the peak of loading
    before = memory_status("VmRSS")
    flag_errors(labels, probs, method=method, class_axis=-1, engine="native")
    print(memory_status("VmHWM") - before)


def compare(num_classes: int, cases: int, figures: dict[str, Any]) -> None:
    """Every method on one problem, into figures."""
    images, maps = make_problem(num_classes, cases)
    labels, rows = images.reshape(-1), maps.reshape(-1, num_classes)
    classes_first = np.ascontiguousarray(rows.T)
    figures["pixels"] = len(labels)
    reading = reading_seconds(labels, classes_first)
    with tempfile.TemporaryDirectory() as folder:
        files = f"{folder}/labels.npy", f"{folder}/probs.npy"
        np.save(files[0], labels)
        np.save(files[1], rows)
        for method in TWINS:
            found: dict[str, Any] = {}
            clean = partial(cleanlab_flags, labels, rows, method)
            found["cleanlab"], expected = timed(clean, 2)
            flag = partial(flag_errors, labels, method=method, engine="native")
            flag(rows, class_axis=-1)
            found["maskmend"], flags = timed(partial(flag, classes_first), 7)
            same_array = timed(partial(flag, rows, class_axis=-1), 7)[0]
            found["times"] = found["cleanlab"] / found["maskmend"]
            found["times_same_array"] = found["cleanlab"] / same_array
            found["differing"] = int(np.count_nonzero(flags != expected))
            found["unexplained"] = unexplained(labels, rows, method, expected)
            passes = least_passes(method, rows.dtype, num_classes)
            found["reading_ratio"] = found["maskmend"] / (reading * passes)
            found["memory_mb"] = float(child("memory", *files, method))
            for who, repeats in (("cleanlab", 2), ("maskmend", 5)):
                found[f"cold_{who}"], _ = timed(partial(run_cold, who, files, method), repeats)
            found["cold_times"] = found["cold_cleanlab"] / found["cold_maskmend"]
            for name, value in found.items():
                figures[f"k{num_classes}_{method}_{name}"] = value
            show(f"K = {num_classes}, {method}", found)
    if num_classes == 4:
        compare_segmentation(images, maps, figures)


def compare_segmentation(images: Array, maps: Array, figures: dict[str, Any]) -> None:
    from cleanlab.segmentation.filter import find_label_issues

    probs = np.ascontiguousarray(np.moveaxis(maps, -1, 1))
    found: dict[str, Any] = {}
    found["cleanlab"], expected = timed(lambda: find_label_issues(images, probs, verbose=False))

    def flag() -> Array:
        low = flag_errors(
            images, probs, method="low_self_confidence", class_axis=1, engine="native"
        )
        return low & flag_errors(images, probs, method="argmax", class_axis=1, engine="native")

    found["maskmend"], flags = timed(flag, 3)
    found["times"] = found["cleanlab"] / found["maskmend"]
    found["differing"] = int(np.count_nonzero(flags != expected))
    figures |= {f"segmentation_{name}": value for name, value in found.items()}
    show("cleanlab.segmentation.filter", found)


class Stream:
    """Cases made on the fly: views into four tiles from a seed, moved on for each case."""

    def __init__(self, pixels: int, num_classes: int) -> None:
        self.cases = max(pixels // CASE, 1)
        rng = np.random.default_rng(num_classes)
        self._tiles = []
        for _ in range(4):
            labels = np.repeat(rng.integers(0, num_classes, CASE // 64), 64).astype(np.uint8)
            z = rng.normal(size=(num_classes, CASE)).astype(np.float32)
            sure = rng.random(CASE) > 0.1
            z[labels[sure], np.flatnonzero(sure)] += 5
            e = np.exp(z)
            probs = e / e.sum(axis=0)
            self._tiles.append((np.tile(labels, 2), np.tile(probs, 2)))

    def __iter__(self) -> Iterator[tuple[Array, Array]]:
        for number in range(self.cases):
            labels, probs = self._tiles[number % 4]
            part = slice(number * 64 % CASE, number * 64 % CASE + CASE)
            yield labels[part], probs[:, part]


def judge(stream: Stream, num_classes: int) -> tuple[float, int]:
    """Seconds of counting and marking a stream, and passes over it; making the data not counted."""
    finder = ErrorFinder(num_classes, engine="native")
    seconds, passes = 0.0, 1
    while not finder.ready:
        for number, (labels, probs) in enumerate(stream):
            start = time.perf_counter()
            finder.update(labels, probs, case=number)
            seconds += time.perf_counter() - start
        start = time.perf_counter()
        finder.finish()
        seconds += time.perf_counter() - start
        passes += 1
    for number, (labels, probs) in enumerate(stream):
        start = time.perf_counter()
        finder.flag(labels, probs, case=number)
        seconds += time.perf_counter() - start
    return seconds, passes


def grow(pixels: str, num_classes: str) -> None:
    """Judge a stream; prints nanoseconds a pixel, passes, and megabytes."""
    stream = Stream(int(pixels), int(num_classes))
    # short ones several times: what else the machine does would be felt most by them
    repeats = max(min(10**9 // (int(pixels) * int(num_classes)), 9), 1)
    best, passes = min(judge(stream, int(num_classes)) for _ in range(repeats))
    print(best / (stream.cases * CASE) * 1e9, passes, memory_status("VmHWM"))


def growth(largest: int, most_values: float, figures: dict[str, Any]) -> None:
    rows = []
    sizes = [10**n for n in range(6, 19) if 10**n <= largest]
    # the longest ones last, and then alone
    for pixels in sizes:
        for num_classes in GROWTH_CLASSES:
            if pixels * num_classes > most_values:
                continue
            out = child("grow", str(pixels), str(num_classes)).split()
            row = {
                "classes": num_classes,
                "pixels": pixels,
                "nanoseconds_per_pixel": float(out[0]),
                "passes": int(out[1]),
                "memory_mb": float(out[2]),
            }
            rows.append(row)
            show("growth", row)
    figures["growth"] = rows
    figures["growth_spread"] = {
        str(k): max(times) / min(times)
        for k in GROWTH_CLASSES
        if (times := [r["nanoseconds_per_pixel"] for r in rows if r["classes"] == k])
    }


def draw_growth(rows: list[dict[str, Any]], file: Path) -> None:
    """Time a pixel and memory over the number of pixels."""
    import matplotlib

    matplotlib.use("agg")
    from matplotlib import pyplot

    figure, (left, right) = pyplot.subplots(1, 2, figsize=(9, 3.5), layout="constrained")
    for num_classes in sorted({row["classes"] for row in rows}):
        mine = [row for row in rows if row["classes"] == num_classes]
        pixels = [row["pixels"] for row in mine]
        left.loglog(pixels, [r["nanoseconds_per_pixel"] for r in mine], "o-", label=num_classes)
        right.semilogx(pixels, [r["memory_mb"] for r in mine], "o-", label=num_classes)
    left.set(xlabel="pixels", ylabel="ns a pixel, all passes")
    right.set(xlabel="pixels", ylabel="peak memory, MB", ylim=0)
    right.legend(title="classes")
    figure.savefig(file)


def show(title: str, values: dict[str, Any]) -> None:
    shown = ", ".join(
        f"{k} {v:.4g}" if isinstance(v, float) else f"{k} {v}" for k, v in values.items()
    )
    print(f"{title}: {shown}", flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--json", type=Path, help="write the figures here")
    parser.add_argument("--figure", type=Path, help="draw time and memory over size here")
    parser.add_argument("--cases", type=int, default=197, help="masks of 256 x 256 (197)")
    parser.add_argument("--classes", type=int, nargs="*", default=[2, 4], choices=[2, 3, 4])
    parser.add_argument(
        "--largest", type=int, default=10**9, help="pixels of the largest stream; 0 for none"
    )
    parser.add_argument(
        "--most-values", type=float, default=np.inf, help="leave out larger streams x classes"
    )
    options = parser.parse_args()
    figures: dict[str, Any] = {"processors": THREADS}
    for num_classes in options.classes:
        compare(num_classes, options.cases, figures)
    if options.json:
        options.json.write_text(json.dumps(figures, indent=1) + "\n")
    growth(options.largest, options.most_values, figures)
    if options.json:
        options.json.write_text(json.dumps(figures, indent=1) + "\n")
    if options.figure and figures["growth"]:
        draw_growth(figures["growth"], options.figure)


HIDDEN: dict[str, Callable[..., None]] = {
    "memory": memory_of_flagging,
    "grow": grow,
}

if __name__ == "__main__":
    if len(sys.argv) > 1 and sys.argv[1] in HIDDEN:
        HIDDEN[sys.argv[1]](*sys.argv[2:])
    else:
        main()
