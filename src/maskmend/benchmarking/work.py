"""What a task does: train or audit, then score; all in folders of its own, resumable."""

from __future__ import annotations

import math
import os
import shutil
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from functools import partial
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np

from maskmend import files, stages, trainings
from maskmend.arrays.agreement import predicted_labels
from maskmend.arrays.curves import RankedCounts, count_ranked
from maskmend.benchmarking.cells import Task
from maskmend.benchmarking.clock import Minutes, read_clock, timed
from maskmend.benchmarking.data import Data
from maskmend.core import Dataset, FloatArray, Listener
from maskmend.datasets import read_grid, read_image, read_labels
from maskmend.errors import NotFiniteError, RunMismatchError
from maskmend.scores import SCORES, Evaluation, MaskRow, score_masks
from maskmend.store import Run, Source
from maskmend.trainings import GIVEN

STUDENT, GIVEN_MASKS, MENDED, NOISE_MAP = "student", "given", "mended", "noise map"
"""What is scored: the student on the test cases, all others on the training cases."""

RECALLS = np.arange(1, 51) / 50
"""Recalls at which the precision of the evidence for errors is kept, for the plots."""

Score = tuple[str, str, str, float]
"""Subject, structure, metric, value."""


@dataclass(frozen=True)
class Places:
    """The folders below the output of a benchmark."""

    root: Path

    def cell(self, key: str) -> Path:
        """Of a task: result.json or failed.json, clock.json, cases.csv, run/."""
        return self.root / "cells" / key

    def shared(self, task: Task) -> Path:
        """Of the training, or the cross-fit, that other tasks may need too."""
        below = "trainings" if task.kind == "train" else "crossfits"
        return self.root / below / task.shared_key

    def noisy(self, key: str) -> Path:
        return self.root / "noisy" / key

    def result(self, key: str) -> Path:
        return self.cell(key) / "result.json"

    def failure(self, key: str) -> Path:
        return self.cell(key) / "failed.json"


@dataclass(frozen=True)
class Order:
    """A task, and all that it takes to carry it out in another process.

    given: a data set with the labels that are given; source: how it is opened, and its splits
    that are trained on.
    """

    task: Task
    data: Data
    given: Dataset
    source: Source
    places: Places
    keep_run: bool


def carry_out(order: Order, listener: Listener) -> None:
    """Work the task out and write its result.json, last of all."""
    task, key = order.task, order.task.key
    shared = _shared_work(order, listener)
    parts = {order.places.shared(task).parent.name: shared}
    if task.kind == "train":
        student = order.places.shared(task) / "run" / "students" / GIVEN
        found: list[Score] = []
        curves: dict[str, list[float | None]] = {}
    else:
        run = _audit(order, listener)
        parts["audit"] = read_clock(order.places.cell(key)).minutes
        student = run.root / "students" / task.settings.audit_labels
        found, curves = _score_labels(run, order.data.training)
    rows = _score_student(order, student)
    tested = Evaluation(tuple(rows), {}, ())
    structures = order.data.test.scheme.structures
    found = [*_mask_scores(tested, STUDENT, structures), *found]
    cells = [[row.case, row.structure, *asdict(row.scores).values()] for row in rows]
    files.write_csv(order.places.cell(key) / "cases.csv", ["case", "structure", *SCORES], cells)
    result = {
        "identity": task.identity(),
        "version": version("maskmend"),
        "cases": {"training": len(order.data.training.cases), "test": len(order.data.test.cases)},
        "minutes": sum(parts.values(), Minutes()).to_json(),
        "parts": {name: minutes.to_json() for name, minutes in parts.items()},
        "scores": [[*names, _or_none(value)] for *names, value in found],
        "curves": curves,
    }
    files.write_json(order.places.result(key), result)
    if not order.keep_run:
        drop_run(order.places.cell(key))


def drop_run(folder: Path) -> None:
    """Delete what an audit leaves beside its figures: a few hundred MB for 200 radiographs."""
    shutil.rmtree(folder / "run", ignore_errors=True)


def _shared_work(order: Order, listener: Listener) -> Minutes:
    """The training or the cross-fit of a task, if no other task has done it before."""
    task, folder = order.task, order.places.shared(order.task)

    def work(heard: Listener) -> Run:
        run = Run.create(folder / "run", order.source, task.shared_settings, order.given)
        if task.kind == "train":
            stages.train(run, GIVEN, listener=heard)
        else:
            stages.crossfit(run, heard)
        return run

    if not read_clock(folder).done:
        _resumed(work, folder, listener)
    return read_clock(folder).minutes


def _audit(order: Order, listener: Listener) -> Run:
    """The audit of a task, on the cross-fit that is there."""
    task, folder = order.task, order.places.cell(order.task.key)
    root = folder / "run"

    def work(heard: Listener) -> Run:
        if not root.exists():
            # a copy: an audit may go on to write beside what the cross-fit left
            begun = folder / "copying"
            shutil.rmtree(begun, ignore_errors=True)
            shutil.copytree(order.places.shared(task) / "run", begun)
            os.replace(begun, root)
        return stages.audit(order.source, root, task.settings, dataset=order.given, listener=heard)

    return _resumed(work, folder, listener)


def _resumed(work: Callable[[Listener], Run], folder: Path, listener: Listener) -> Run:
    """Work in FOLDER/run with its time kept; begun anew where another version had begun it."""
    begun = (folder / "run").exists()
    try:
        with timed(folder, listener) as heard:
            return work(heard)
    except RunMismatchError:
        if not begun:
            raise
    shutil.rmtree(folder)
    with timed(folder, listener) as heard:
        return work(heard)


def _score_student(order: Order, student: Path) -> list[MaskRow]:
    """Scores on the test cases.  Raises NotFiniteError where the training has diverged."""
    # torch comes with them
    from maskmend.learning.compute import choose_compute
    from maskmend.learning.prediction import load_trained

    settings, test = order.task.settings, order.data.test
    compute = choose_compute(settings.device, settings.threads)
    trained = load_trained(student, compute, settings.student.weights)
    rows: list[MaskRow] = []
    for case in test.cases:
        probs = trainings.probabilities(trained, read_image(case), read_grid(case).steps)
        if not np.isfinite(probs).all():
            raise NotFiniteError(
                case.id, expected="finite probabilities of the student",
                got="NaN or infinity: its training has diverged",
                remedy="Lower its learning_rate.",
            )  # fmt: skip
        rows += score_masks(STUDENT, case, test, predicted_labels(probs, test.scheme))
    return rows


def _score_labels(run: Run, truth: Dataset) -> tuple[list[Score], dict[str, list[float | None]]]:
    """Scores of given and mended labels and of the noise maps, and the curves of the evidence.

    The curves: structure -> precision at RECALLS, of the pixels of all cases together in the order
    of how improbable the given label is.
    """
    evaluation = stages.evaluate(run, truth)
    if evaluation.left_out:
        first = evaluation.left_out[0]
        raise RunMismatchError(
            first.case, expected="clean labels of every training case", got=first.reason,
            remedy="Correct the data set.",
        )  # fmt: skip
    names = truth.scheme.structures
    found = [
        *_mask_scores(evaluation, GIVEN_MASKS, names), *_mask_scores(evaluation, MENDED, names)
    ]  # fmt: skip
    evidence = _evidence(run, truth)
    curves = {}
    for name in names:
        overlap, ranked = evaluation.noise_maps[name], evidence[name]
        figures = {
            "precision": overlap.precision, "recall": overlap.recall, "f1": overlap.f1,
            "auprc": ranked.average_precision,
        }  # fmt: skip
        found += [(NOISE_MAP, name, metric, value) for metric, value in figures.items()]
        curves[name] = [_or_none(value) for value in ranked.precision_at(RECALLS).tolist()]
    return found, curves


def _evidence(run: Run, truth: Dataset) -> Mapping[str, RankedCounts]:
    """How well the improbability of the given label alone ranks the wrong pixels."""
    scheme = truth.scheme
    counts = dict.fromkeys(scheme.structures, RankedCounts.none())
    clean = {case.id: case for case in truth.cases}
    for case in run.cases:
        labels, given = read_labels(truth, clean[case.id]), run.read_given(case)
        probs = run.read_probabilities(case)
        for number, name in enumerate(scheme.structures):
            stated = scheme.structure_mask(given, name)
            inside: FloatArray = np.asarray(
                probs[number if scheme.overlapping else number + 1], np.float32
            )
            counts[name] += count_ranked(
                scheme.structure_mask(labels, name) != stated,
                np.where(stated, 1 - inside, inside),
                scheme.ignored_mask(labels, name) | scheme.ignored_mask(given, name),
            )
    return counts


def _mask_scores(evaluation: Evaluation, what: str, structures: Sequence[str]) -> list[Score]:
    mean = partial(evaluation.mean, what)
    return [(what, name, metric, mean(name, metric)) for name in structures for metric in SCORES]


def _or_none(value: Any) -> Any:
    return None if isinstance(value, float) and math.isnan(value) else value
