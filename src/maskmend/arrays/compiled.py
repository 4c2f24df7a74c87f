"""A sweep over runs of pixels by the compiled kernels, `maskmend.native`.

One call goes through a whole run, tile by tile, without the interpreter's lock: it converts labels
and probabilities as it comes to them, so that no array of the size of the data is ever made.
"""

from __future__ import annotations

import ctypes
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from maskmend import native
from maskmend.arrays import kernels
from maskmend.arrays.accumulate import Counts, Gathered, Tally
from maskmend.arrays.blocks import BlockReader, Run, bad_pixel, check_labels
from maskmend.arrays.confidence import ClassSums, ConfidentCounts
from maskmend.arrays.plan import Memory, PassPlan, Slots

if TYPE_CHECKING:
    # read by people and mypy alone; loading it takes as long as judging a million pixels
    from maskmend.core import BoolArray

_POINTER, _INTEGER, _REAL = ctypes.c_void_p, ctypes.c_int64, ctypes.c_double

_WANTED = {"sums": 2, "confident": 4, "histogram": 8, "candidates": 16}
_CHECK, _MARK = 1, 32
_DONE, _NO_ROOM, _BAD_LABEL = 0, 1, 2
_KINDS = {"uint8": 1, "float16": 2, "uint16": 3, "float32": 4, "float64": 8}
_SIGNED = 16
_SELF, _REST = -1, -2
# what float32 lacks of the bits of float64
_NARROW = 29
# pixels of the largest tile, and edge on which the room for one begins
_TILE, _EDGE = 4096, 64
# candidates that are brought back at a time
_FOUND = 1 << 16
# values of a run that is converted because the kernels cannot read it where it lies
_CONVERTED = 1 << 18


class Job(ctypes.Structure):
    """`Job` of maskmend/native/job.h, where the fields are explained."""

    _fields_ = [
        *((name, _POINTER) for name in ("labels", "probs")),
        *((name, _INTEGER) for name in ("label_step", "label_kind", "class_step", "pixel_step")),
        *((name, _INTEGER) for name in ("prob_kind", "pixels", "start")),
        *((name, _INTEGER) for name in ("classes", "foreground", "ignoring", "ignore", "wanted")),
        *((name, _REAL) for name in ("low", "high", "whole", "tolerance")),
        *((name, _POINTER) for name in ("sizes", "sums")),
        ("scale", _REAL),
        *((name, _POINTER) for name in ("least", "present")),
        ("slack", _REAL),
        ("joint", _POINTER),
        *((name, _INTEGER) for name in ("errors", "everything")),
        ("sure", _REAL),
        ("columns", _INTEGER),
        *((name, _POINTER) for name in ("kinds", "slots")),
        ("half", _INTEGER),
        ("bias", _REAL),
        *((name, _INTEGER) for name in ("floor", "shift", "middle")),
        *((name, _POINTER) for name in ("counts", "window_low", "window_high")),
        *((name, _POINTER) for name in ("found_slots", "found_scores")),
        *((name, _INTEGER) for name in ("found", "found_room")),
        *((name, _POINTER) for name in ("cuts", "left")),
        *((name, _INTEGER) for name in ("ranking", "confident", "doubted")),
        *((name, _POINTER) for name in ("flagged", "memory")),
        *((name, _INTEGER) for name in ("memory_room", "memory_used", "memory_at", "known")),
        ("memory_open", _INTEGER),
        ("room", _POINTER),
    ]  # fmt: skip


class CompiledPlan:
    """A plan as the kernels want it; made once a pass, for all its sweeps."""

    def __init__(self, plan: PassPlan, level: str | None = None) -> None:
        """level: of processor, by default the best that this one has; see `native.levels`."""
        self.plan = plan
        self.job = Job()
        wide = plan.kind.work == np.float64
        self.kernel = native.kernel("sweep64" if wide else "sweep32", level)
        self.room = native.kernel("room", level)(plan.num_classes, wide)
        # arrays that the job points to
        self._held: list[NDArray[Any]] = []
        self._plan_reading()
        if plan.counts.isdisjoint({"sums", "confident"}) or "histogram" in plan.counts:
            self._plan_ranking()

    def sweep(self) -> CompiledSweep:
        return CompiledSweep(self)

    def _plan_reading(self) -> None:
        plan, job, bounds = self.plan, self.job, self.plan.bounds
        job.classes = plan.num_classes
        job.prob_kind = _KINDS[plan.kind.dtype.name]
        job.ignoring, job.ignore = plan.ignore is not None, plan.ignore or 0
        job.low, job.high = bounds.low, bounds.high
        job.whole, job.tolerance = bounds.whole, bounds.tolerance
        job.wanted = sum(_WANTED[name] for name in plan.counts) + (not plan.checked) * _CHECK
        job.scale = plan.kind.unit // plan.kind.scale
        job.least = self._hold(plan.cutoffs.least)
        job.present = self._hold(plan.cutoffs.present)
        job.slack = plan.cutoffs.slack

    def _plan_ranking(self) -> None:
        plan, job, bins, work = self.plan, self.job, self.plan.bins, self.plan.kind.work
        low, high = plan.cuts.windows()
        useful = np.ones(plan.rankings, bool)
        if "candidates" in plan.counts:
            useful = low <= high
        elif not plan.counts:
            useful = plan.cuts.scores > -np.inf
        kinds, slots = _columns(plan.slots, useful)
        job.columns = len(kinds)
        job.kinds, job.slots = self._hold(kinds), self._hold(slots)
        job.everything, job.sure = plan.sure is None, plan.sure or 0
        job.half, job.bias = bins.half, bins.bias
        job.floor, job.shift, job.middle = bins.floor, bins.shift, bins.middle
        if work == np.float32:
            job.floor, job.shift = _single_bits(bins.floor), bins.shift - _NARROW
        job.window_low = self._hold(-_at_most(np.append(-low, -np.inf), work))
        job.window_high = self._hold(_at_most(np.append(high, -np.inf), work))
        job.cuts = self._hold(_at_most(np.append(plan.cuts.scores, -np.inf), work))
        job.found_room = max(_FOUND, _TILE * len(kinds)) if "candidates" in plan.counts else 0
        rule = plan.rule
        job.ranking, job.confident, job.doubted = rule.ranking, rule.confident, rule.doubted

    def _hold(self, array: NDArray[Any]) -> int:
        """Where an array lies, which is kept as long as the plan."""
        whole = np.ascontiguousarray(array)
        self._held.append(whole)
        return _address(whole)


class CompiledSweep:
    """Counts or marks runs as a plan says, in one thread; see `passes.Sweep`."""

    def __init__(self, compiled: CompiledPlan) -> None:
        self._compiled = compiled
        self._plan = plan = compiled.plan
        self._job = job = Job.from_buffer_copy(compiled.job)
        self._room = np.empty(compiled.room + _EDGE, np.uint8)
        start = _address(self._room)
        job.room = start + -start % _EDGE
        if not plan.counts:
            return
        classes = plan.num_classes
        self._sizes = np.zeros(classes, np.int64)
        self._sums = np.zeros((classes, 2), np.int64)
        # the last column: confident of no class
        self._joint = np.zeros((classes, classes + 1), np.int64)
        counted = plan.rankings + 1 if "histogram" in plan.counts else 0
        self._histogram = np.zeros((counted, plan.bins.count), np.int64)
        self._found_slots = np.empty(job.found_room, np.int32)
        self._found_scores = np.empty(job.found_room)
        self._gathered = Gathered(plan.cuts)
        job.sizes, job.sums = _address(self._sizes), _address(self._sums)
        job.joint, job.counts = _address(self._joint), _address(self._histogram)
        job.found_slots, job.found_scores = (
            _address(self._found_slots),
            _address(self._found_scores),
        )

    def count(self, run: Run, case: int, name: str, memory: Memory) -> None:
        for _, part, its_memory in _readable(run, memory):
            self._point_to(part, its_memory)
            while self._go_on(part, name) == _NO_ROOM:
                self._collect(case)
            self._collect(case)
            self._note(its_memory)

    def mark(self, run: Run, left: Counts, name: str, memory: Memory, flagged: BoolArray) -> None:
        self._job.wanted |= _MARK
        self._job.left = _address(left)
        for start, part, its_memory in _readable(run, memory):
            self._point_to(part, its_memory)
            self._job.flagged = _address(flagged[start:])
            self._go_on(part, name)
            self._note(its_memory)

    def tally(self) -> Tally:
        counts, sizes, joint = self._plan.counts, self._sizes, self._joint
        sums = tuple((high << 32) + low for high, low in self._sums.tolist())
        given = sizes if "sums" in counts else joint.sum(axis=1)
        confident = ConfidentCounts(given, joint[:, :-1].copy(), int(self._job.errors))
        return Tally(
            sums=ClassSums(tuple(sizes.tolist()), sums, self._plan.kind.unit)
            if "sums" in counts
            else None,
            # the last ranking is that of the pixels which take part in none
            histogram=self._histogram[:-1] if "histogram" in counts else None,
            confident=confident if "confident" in counts else None,
            candidates=self._gathered.candidates() if "candidates" in counts else None,
        )

    def _point_to(self, run: Run, memory: Memory) -> None:
        job, labels, probs = self._job, run.labels, run.probs
        job.labels, job.probs = _address(labels), _address(probs)
        job.label_step, job.pixel_step = labels.strides[0], probs.strides[-1]
        job.label_kind = labels.itemsize + _SIGNED * (labels.dtype.kind == "i")
        job.foreground = probs.ndim == 1
        job.class_step = 0 if probs.ndim == 1 else probs.strides[0]
        job.pixels, job.start = len(run), 0
        job.memory, job.memory_room = _address(memory.room), len(memory.room)
        job.memory_used, job.memory_at = memory.used, 0
        job.known, job.memory_open = memory.tiles, memory.open

    def _note(self, memory: Memory) -> None:
        job = self._job
        memory.used, memory.tiles = job.memory_used, job.known
        memory.open = bool(job.memory_open)

    def _go_on(self, run: Run, name: str) -> int:
        """Sweep until the end of a run, or until there is no room for candidates."""
        plan, job = self._plan, self._job
        stopped = self._compiled.kernel(ctypes.byref(job))
        if stopped in (_DONE, _NO_ROOM):
            return stopped
        here = job.start
        if stopped == _BAD_LABEL:
            check_labels(run.labels[here : here + _TILE], plan.num_classes, plan.ignore, name)
        reader = BlockReader(plan.kind, plan.num_classes, plan.ignore, kernels.widen)
        raise bad_pixel(reader.read(run, here, here + 1).probs[:, 0], plan.bounds, name)

    def _collect(self, case: int) -> None:
        found, self._job.found = self._job.found, 0
        self._gathered.add(
            self._found_slots[:found].copy(), self._found_scores[:found].copy(), case
        )


def _readable(run: Run, memory: Memory) -> Iterator[tuple[int, Run, Memory]]:
    """A run, or parts of it in the byte order of this machine, and where they start."""
    arrays = run.labels, run.probs
    if all(array.dtype.isnative and array.flags.aligned for array in arrays):
        yield 0, run, memory
        return
    length = max(_CONVERTED // run.num_classes, 1)
    for start in range(0, len(run), length):
        part = run.part(start, start + length)
        labels, probs = (a.astype(a.dtype.newbyteorder("=")) for a in (part.labels, part.probs))
        yield start, Run(labels, probs, run.num_classes), Memory(0)


def _columns(slots: Slots, useful: BoolArray) -> tuple[NDArray[np.int32], Slots]:
    """Slots, (K, K + 1), as columns to go through, of the rankings that are useful, (rankings,).

    What is scored, (columns,): a class, _SELF, _REST; and the slot of each given class,
    (columns, 256), one more than there are for none.
    """
    classes = len(slots)
    own = np.diagonal(slots)
    margins = slots[:, :classes].copy()
    np.fill_diagonal(margins, -1)
    columns = [(_SELF, own), (_REST, slots[:, classes])]
    if classes == 2:
        # the rest of two classes is the other one
        columns[1] = (_REST, np.maximum(slots[:, 2], margins.max(axis=1)))
    else:
        columns += [(k, margins[:, k]) for k in range(classes)]
    wanted = np.append(useful, False)
    used = [(kind, column) for kind, column in columns if wanted[column].any()]
    table = np.full((len(used), 256), len(useful), np.int32)
    for row, (_, column) in zip(table, used, strict=True):
        row[:classes] = np.where(column < 0, len(useful), column)
    return np.array([kind for kind, _ in used], np.int32), table


def _address(array: NDArray[Any]) -> int:
    address: int = array.__array_interface__["data"][0]
    return address


def _at_most(values: NDArray[np.float64], dtype: np.dtype[Any]) -> NDArray[np.floating[Any]]:
    """The highest value of the dtype that is not above each value."""
    found = values.astype(dtype)
    return np.where(found > values, np.nextafter(found, dtype.type(-np.inf)), found)


def _single_bits(double_bits: int) -> int:
    value = np.array([double_bits], dtype=np.int64).view(np.float64)
    return int(value.astype(np.float32).view(np.int32)[0])
