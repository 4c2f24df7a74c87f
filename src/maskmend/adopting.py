"""Predictions that exist take the place of the cross-fit: into the run, or read where they lie."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from itertools import islice
from multiprocessing import cpu_count
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from maskmend import files
from maskmend.core import QUIET, Case, LabelArray, Listener, StatedFold
from maskmend.datasets import read_grid, read_labels
from maskmend.datasets.probabilities import (
    BY_USER,
    Extent,
    Incoming,
    Prepared,
    bring,
    bring_logits,
    extent_of,
    place_held,
    prepare,
    read_splits,
    refuse_label_map,
    seems_logits,
    take_foreground,
)
from maskmend.datasets.tree import shorten
from maskmend.errors import InSampleError, MaskmendError, MissingFileError, ProbabilityError
from maskmend.store import Run, stamp_of

Arrays = Mapping[str, Any] | Iterable[tuple[str, Any]]
"""Probabilities in memory: case id -> array, or pairs of them, as from a generator."""


@dataclass(frozen=True)
class Existing:
    """Out-of-sample probabilities that a model has given already.

    probabilities: a folder, as in `find_predictions`; or case id -> array, or pairs of both, where
    an array is (num_channels, *S) as float16/32/64, or uint8/uint16 with 255/65535 for 1.
    out_of_sample: the user states that no model has seen the case that it predicted, nor another
    one of its patient; it is not needed where splits say so.  splits: a splits_final.json,
    instead of the data set's own.
    """

    probabilities: str | Path | Arrays
    out_of_sample: bool = False
    splits: Path | None = None


MEMORY = "memory"
"""In run.json, where the probabilities come from Python."""

_AT_ONCE = 4
"""Files that are unpacked at the same time: more only wait for the disk."""


_NOTHING_SEEN = Extent()


@dataclass(frozen=True)
class _Result:
    """What became of a case.  fault: why it is left out, or None."""

    case: str
    extent: Extent = _NOTHING_SEEN
    fault: MaskmendError | None = None


def find(run: Run, root: Path, splits: Path | None, out_of_sample: bool) -> Prepared:
    """The predictions of the cases of a run in a folder, before anything is read or written.

    splits: a splits_final.json, instead of the data set's own folds.  Errors as in `prepare`.
    """
    folds: Sequence[StatedFold] = run.dataset.stated_folds
    if splits is not None:
        folds = read_splits(splits)
    run.check_splits()
    cases = [case for case in run.dataset.cases if case.split in run.source.splits]
    by_id = {case.id: case for case in cases}
    grids = {case.id: read_grid(case) for case in cases}

    def given_of(case: str) -> LabelArray:
        # not those that a run keeps: its folder is only made once the predictions fit
        return read_labels(run.dataset, by_id[case])

    return prepare(root.resolve(), run.dataset, cases, grids, given_of, folds, out_of_sample)


def adopt(run: Run, prepared: Prepared, listener: Listener = QUIET) -> None:
    """Bring the predictions into the run: read in place where they can be, else imported once.

    Those that are there already, of the same files, are not imported again.  A case with a fault
    is left out.  Raises ProbabilityError where some cases hold logits and others probabilities,
    and the first fault where no case is left.
    """
    for sentence in prepared.understood:
        listener.say(sentence)
    logits = _guess(prepared)
    results = _bring_all(run, prepared, logits, listener)
    contrary = _contrary(results, logits)
    if contrary and len(contrary) == sum(result.fault is None for result in results):
        logits = not logits
        results = _bring_all(run, prepared, logits, listener)
        contrary = _contrary(results, logits)
    if contrary:
        raise _mixture(contrary, results, logits)
    _finish(run, results, prepared, logits, listener)


def check_statement(out_of_sample: bool) -> None:
    """Raises InSampleError unless it is stated that arrays from memory are out-of-sample."""
    if not out_of_sample:
        raise InSampleError(
            "probabilities",
            expected="a statement that no model predicted a case that it was trained on",
            got="arrays without one",
            remedy="A model repeats the errors that it was trained on. Where each case was "
            "predicted by a model trained without it and its patient, give out_of_sample=True.",
        )


def adopt_arrays(run: Run, arrays: Arrays, listener: Listener = QUIET) -> None:
    """As `adopt`, of arrays from memory, each of which is looked at once."""
    pairs = arrays.items() if isinstance(arrays, Mapping) else arrays
    cases = {case.id: case for case in run.dataset.cases if case.split in run.source.splits}
    dtype, logits = np.dtype(np.float16), False
    results: list[_Result] = []
    for done, (name, array) in enumerate(pairs, start=1):
        if name not in cases:
            listener.say(f"{name}: no case of this data set, not used.")
            continue
        try:
            grid = read_grid(cases[name]).shape
            incoming = place_held(name, array, grid, run.dataset.scheme, BY_USER)
            if not results:
                logits = seems_logits(incoming.stored, name)
            results.append(_Result(name, _bring(run, incoming, cases[name], dtype, logits)))
        except MaskmendError as error:
            results.append(_Result(name, fault=error))
        listener.case("probabilities", done, len(cases))
    contrary = _contrary(results, logits)
    if contrary:
        raise _mixture(contrary, results, logits)
    given = {result.case for result in results}
    absent = [
        _Result(name, fault=MissingFileError(
            name, expected="its probabilities", got="none among the arrays",
            remedy="Predict the case too, or go on without it.",
        ))
        for name in cases
        if name not in given
    ]  # fmt: skip
    prepared = Prepared(Path(MEMORY), (), dtype, (), ())
    _finish(run, [*results, *absent], prepared, logits, listener)


def _guess(prepared: Prepared) -> bool:
    """Whether they are logits, by the beginning of the first that can be read."""
    for incoming in prepared.incoming:
        try:
            return seems_logits(incoming.stored, incoming.case)
        except MaskmendError:
            # its fault is told when it is brought
            continue
    return False


def _bring_all(run: Run, prepared: Prepared, logits: bool, listener: Listener) -> list[_Result]:
    by_id = {case.id: case for case in run.dataset.cases}
    dtype = np.dtype(np.float16) if logits else prepared.dtype
    work = partial(_adopted, run, by_id, dtype, logits)
    results = []
    threads = min(_AT_ONCE, run.settings.threads or cpu_count())
    for done, result in enumerate(_map(work, prepared.incoming, threads), start=1):
        results.append(result)
        listener.case("probabilities", done, len(prepared.incoming))
    return results


def _map(
    work: Callable[[Incoming], _Result], items: Sequence[Incoming], threads: int
) -> Iterator[_Result]:
    """In order, on a few threads; unpacking leaves Python's lock."""
    if threads == 1 or len(items) == 1:
        yield from map(work, items)
        return
    rest = iter(items)
    with ThreadPoolExecutor(threads) as pool:
        while some := list(islice(rest, 4 * threads)):
            yield from pool.map(work, some)


def _adopted(
    run: Run, by_id: Mapping[str, Case], dtype: np.dtype[Any], logits: bool, incoming: Incoming
) -> _Result:
    try:
        extent = _bring(run, incoming, by_id[incoming.case], dtype, logits)
    except MaskmendError as error:
        return _Result(incoming.case, fault=error)
    return _Result(incoming.case, extent)


def _bring(run: Run, incoming: Incoming, case: Case, dtype: np.dtype[Any], logits: bool) -> Extent:
    """Bring one case into the run, if it is not there; returns what range its numbers are in."""
    origin = _origin(incoming, dtype, logits)
    known = run.origin_of(case)
    if incoming.path is not None and known is not None and _same(known, origin):
        return Extent(*known["extent"])
    scheme = run.dataset.scheme
    if not logits and incoming.may_stay(dtype):
        extent = sum((extent_of(b, case.id) for _, b in incoming.stored.blocks()), Extent())
        refuse_label_map(extent, dtype, scheme.num_channels, case.id)
        if extent.is_exact:
            run.adopt(case, _finished(origin, extent, in_place=True))
            return extent
    shape = (scheme.num_channels, *read_grid(case).shape)
    with run.new_probabilities(case, shape, dtype) as out:
        if incoming.place.layout.paired:
            with run.scratch((2, *shape[1:]), dtype) as both:
                extent = _fill(run, incoming, both, logits)
                if extent.is_logits == logits:
                    take_foreground(both, case.id, out)
        else:
            extent = _fill(run, incoming, out, logits)
    if extent.is_logits == logits:
        run.adopt(case, _finished(origin, extent, in_place=False))
    return extent


def _fill(run: Run, incoming: Incoming, out: NDArray[Any], logits: bool) -> Extent:
    """Write the probabilities of a case, (channels, *S), the channels being those of its file."""
    scheme = incoming.place.layout.scheme(run.dataset.scheme)
    if not logits:
        return bring(incoming.stored, incoming.place, scheme, incoming.case, out)
    with run.scratch(out.shape, np.dtype(np.float32)) as scratch:
        return bring_logits(incoming.stored, incoming.place, scheme, incoming.case, scratch, out)


def _origin(incoming: Incoming, dtype: np.dtype[Any], logits: bool) -> dict[str, Any]:
    """What is recorded of a case, and decides whether it has to be brought again."""
    path = incoming.path
    return {
        "file": MEMORY if path is None else str(path),
        "stamp": None if path is None else stamp_of(path),
        "fold": incoming.fold,
        "out_of_sample": incoming.origin,
        "dtype": str(dtype),
        "logits": logits,
    }


def _finished(origin: dict[str, Any], extent: Extent, in_place: bool) -> dict[str, Any]:
    path = Path(origin["file"])
    # of a file in place length and time tell as much, without reading it all
    hashed = not in_place and origin["file"] != MEMORY and path.is_file()
    digest = files.sha256_of(path).hex() if hashed else None
    found = {"in_place": in_place, "sha256": digest, "extent": [extent.low, extent.high]}
    return {**origin, **found}


def _same(known: Mapping[str, Any], origin: Mapping[str, Any]) -> bool:
    stamped = origin["stamp"] != [-1, -1]
    return stamped and all(known.get(name) == value for name, value in origin.items())


def _contrary(results: Sequence[_Result], logits: bool) -> list[str]:
    return [r.case for r in results if r.fault is None and r.extent.is_logits != logits]


def _mixture(contrary: list[str], results: Sequence[_Result], logits: bool) -> ProbabilityError:
    others = [r.case for r in results if r.fault is None and r.case not in contrary]
    holding, lacking = (others, contrary) if logits else (contrary, others)
    return ProbabilityError(
        shorten(contrary), expected="probabilities in all cases, or logits in all",
        got=f"values outside of [0, 1] in {shorten(holding)}, and only inside in "
        f"{shorten(lacking)}",
        remedy="Predict all cases with the same version of the same program.",
    )  # fmt: skip


def _finish(
    run: Run, results: Sequence[_Result], prepared: Prepared, logits: bool, listener: Listener
) -> None:
    faults = [result for result in results if result.fault is not None]
    if len(faults) == len(results):
        raise faults[0].fault if faults and faults[0].fault else _nothing(prepared)
    said = list(prepared.understood)
    if logits:
        how = "a sigmoid" if run.dataset.scheme.overlapping else "a softmax"
        said.append(f"The arrays hold logits, not probabilities; {how} has made them such.")
        listener.say(said[-1])
    in_place = sum(bool((run.origin_of(c) or {}).get("in_place")) for c in run.dataset.cases)
    if in_place:
        said.append(f"Read where they are, without a copy: {in_place} of {len(results)}.")
    left_out = [
        *({"case": each.case, "reason": each.reason} for each in prepared.left_out),
        *({"case": each.case, "reason": str(each.fault)} for each in faults),
    ]
    run.write_adopted({
        "root": str(prepared.root), "dtype": str(prepared.dtype), "logits": logits,
        "understood": said, "left_out": left_out,
    })  # fmt: skip


def _nothing(prepared: Prepared) -> MissingFileError:
    return MissingFileError(
        str(prepared.root), expected="the probabilities of a case at least", got="none",
        remedy="Give (case id, array) pairs, with the ids of the data set.",
    )  # fmt: skip
