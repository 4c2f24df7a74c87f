"""A benchmark from end to end: what it leaves, what is worked out again, and what a kill costs."""

from __future__ import annotations

import csv
import json
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import nibabel
import numpy as np
import pytest

from maskmend import benchmarking, files
from maskmend.arrays.overlap import average_precision
from maskmend.benchmarking import benchmark, plan_benchmark, report_benchmark
from maskmend.benchmarking.cells import plan_cells
from maskmend.benchmarking.config import load_config
from maskmend.benchmarking.crew import Crew
from maskmend.benchmarking.data import open_data
from maskmend.benchmarking.running import _alone_in
from maskmend.benchmarking.work import Places
from maskmend.core import Listener
from maskmend.datasets import open_dataset, read_labels
from maskmend.errors import RunMismatchError, SettingsError
from maskmend.store import Run

Config = dict[str, Any]
Write = Callable[..., Path]

KILLED_IN_ITS_SECOND_TEACHER = """
import os, signal, sys
from maskmend.benchmarking import benchmark
from maskmend.core import Listener

class Killer(Listener):
    trainings = 0

    def epoch(self, progress):
        self.trainings += progress.epoch == 1
        # the plain training, the first teacher, the second one
        if self.trainings == 3:
            os.kill(os.getpid(), signal.SIGKILL)

if __name__ == "__main__":
    benchmark(sys.argv[1], listener=Killer())
"""


class Ear(Listener):
    def __init__(self) -> None:
        self.heard: list[str] = []

    def say(self, text: str) -> None:
        self.heard.append(text)


def rows(out: Path) -> list[dict[str, str]]:
    with (out / "results.csv").open(newline="") as handle:
        return list(csv.DictReader(handle))


def figures(out: Path) -> list[dict[str, str]]:
    return [row for row in rows(out) if row["subject"] != "cost"]


def worked_out(out: Path) -> dict[str, int]:
    """File that says that something is done -> when it was written."""
    return {
        path.relative_to(out).as_posix(): path.stat().st_mtime_ns
        for name in ("result.json", "clock.json", "corruptions.csv")
        for path in out.rglob(name)
    }


# -- what it leaves


def test_every_figure_of_every_cell_is_in_the_table(whole: Path) -> None:
    found = rows(whole)
    cells = {(row["method"], row["protocol"], row["alpha"], row["seed"]) for row in found}
    assert cells == {
        (method, "reference", alpha, seed)
        for method in ("cross entropy", "maskmend")
        for alpha in ("0.0", "0.5")
        for seed in ("0", "1")
    }
    masks = ("dice", "iou", "hd95", "assd")
    of = {name: [] for name in ("cross entropy", "maskmend")}  # type: dict[str, list[Any]]
    for row in found:
        if (row["alpha"], row["seed"]) == ("0.5", "1"):
            of[row["method"]].append((row["subject"], row["structure"], row["metric"]))
    organs = ("clavicle", "heart", "lung")
    student = [("student", organ, metric) for organ in organs for metric in masks]
    cost = [("cost", "", "cpu_minutes"), ("cost", "", "wall_minutes")]
    labels = [
        *((what, organ, metric) for what in ("given", "mended") for organ in organs
          for metric in masks),
        *(("noise map", organ, metric) for organ in organs
          for metric in ("precision", "recall", "f1", "auprc")),
    ]  # fmt: skip
    assert of["cross entropy"] == [*student, *cost]
    assert of["maskmend"] == [*student, *labels, *cost]


def value(out: Path, *wanted: str) -> float:
    names = ("method", "alpha", "seed", "subject", "structure", "metric")
    (found,) = (row["value"] for row in rows(out) if tuple(row[n] for n in names) == wanted)
    return float(found) if found else float("nan")


def test_given_labels_are_scored_against_the_clean_ones(whole: Path, clean: Path) -> None:
    assert value(whole, "maskmend", "0.0", "0", "given", "lung", "dice") == 1
    truth = open_dataset(clean)
    noisy = open_dataset(whole / "noisy" / labels_key(whole, seed=0))
    dices = []
    for case in truth.split("training"):
        other = next(each for each in noisy.cases if each.id == case.id)
        lung = truth.scheme.structures.index("lung")
        a, b = (read_labels(d, c)[lung] == 1 for d, c in ((truth, case), (noisy, other)))
        dices.append(2 * (a & b).sum() / (a.sum() + b.sum()))
    found = value(whole, "maskmend", "0.5", "0", "given", "lung", "dice")
    assert found == pytest.approx(np.mean(dices))


def labels_key(out: Path, seed: int) -> str:
    config = load_config(out.with_suffix(".yaml"))
    _, tasks = plan_cells(config, open_data(config, out.parent))
    noisy = (task for task in tasks.values() if task.labels.noise is not None)
    (key,) = {task.labels_key for task in noisy if task.settings.seed == seed}
    return key


def test_nothing_is_worked_out_twice(whole: Path) -> None:
    # at alpha 0.5 and at alpha 0, for each of two seeds
    assert len(list(whole.glob("cells/*/result.json"))) == 8
    assert len(list(whole.glob("trainings/*/run"))) == 4
    assert len(list(whole.glob("crossfits/*/run"))) == 4
    assert len(list(whole.glob("noisy/*/corruptions.csv"))) == 2
    assert not list(whole.glob("cells/*/run")), "keep_runs was not asked for"


def test_minutes_are_those_of_the_work_and_of_what_it_shares(whole: Path) -> None:
    for cell in whole.glob("cells/*/result.json"):
        stored = json.loads(cell.read_text())
        parts = stored["parts"].values()
        assert stored["minutes"]["cpu"] == pytest.approx(sum(part["cpu"] for part in parts))
        assert all(part["cpu"] > 0 for part in parts)
        if stored["identity"]["kind"] == "audit":
            assert set(stored["parts"]) == {"crossfits", "audit"}


def test_tables_summary_and_plots_are_there(whole: Path) -> None:
    text = (whole / "table.md").read_text()
    assert text.count("| cross entropy |") == 2
    assert "## reference, alpha 0.5" in text
    summary = json.loads((whole / "summary.json").read_text())
    assert [(r["method"], r["alpha"], r["seeds"]) for r in summary["results"]] == [
        (method, alpha, [0, 1]) for alpha in (0.0, 0.5) for method in ("cross entropy", "maskmend")
    ]
    assert sorted(path.name for path in (whole / "plots").glob("*.svg")) == [
        "dice-by-alpha-reference.svg", "dice-by-minutes-reference-0.5.svg",
        "dice-by-minutes-reference-0.svg", "noise-maps-reference-0.5.svg",
        "noise-maps-reference-0.svg",
    ]  # fmt: skip


def test_the_report_is_made_again_from_the_results_alone(
    whole: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    copy = shutil.copytree(whole, tmp_path / "copy")
    for name in ("noisy", "trainings", "crossfits"):
        shutil.rmtree(copy / name)
    made = [path for path in copy.rglob("*") if (path.parent in (copy, copy / "plots")
            and path.suffix in (".csv", ".md", ".svg")) or path.name == "summary.json"]  # fmt: skip
    before = {path: path.read_bytes() for path in made}
    for path in made:
        path.unlink()
    monkeypatch.setattr(benchmarking.running, "open_data", None)
    report_benchmark(copy)
    assert {path: path.read_bytes() for path in made} == before
    assert len(made) >= 13


# -- what is worked out again


def test_a_done_benchmark_starts_no_work_whatever_its_methods_are_called(
    whole: Path, noise_and_methods: Config, write: Write, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: object) -> None:
        raise AssertionError("nothing was left to do")

    methods: Config = {"plain": {"train": {}}, "ours": {"audit": {}}}
    before = worked_out(whole)
    monkeypatch.setattr(Crew, "give", refuse)
    out = shutil.copytree(whole, write(noise_and_methods).parent / "out", copy_function=os.link)
    done = benchmark(write(noise_and_methods | {"methods": methods}), out, plots=False)
    assert {outcome.state for outcome in done.outcomes} == {"done"}
    assert worked_out(out) == before
    assert [row | {"method": ""} for row in rows(out)] == [
        row | {"method": ""} for row in rows(whole)
    ]
    assert {row["method"] for row in rows(out)} == {"plain", "ours"}


def test_only_new_and_changed_cells_are_worked_out(
    whole: Path, noise_and_methods: Config, write: Write
) -> None:
    methods: Config = {
        "cross entropy": {"train": {}},
        "best": {"train": {}, "weights": "best"},
        "longer": {"train": {"epochs": 3}},
        "soft": {"audit": {"audit_labels": "soft"}},
    }
    config = noise_and_methods | {"methods": methods, "seeds": [1]}
    config["protocols"] = [{"preset": "reference", "alphas": [0.5]}]
    before = worked_out(whole)
    out = shutil.copytree(whole, write(config).parent / "out", copy_function=os.link)
    benchmark(write(config), out, plots=False)
    after = worked_out(out)
    assert {name: after[name] for name in before} == before
    new = sorted(name.split("/")[0] for name in after.keys() - before.keys())
    # three results, the clock of the audit and that of the longer training; no cross-fit
    assert new == ["cells", "cells", "cells", "cells", "trainings"]
    assert {row["method"] for row in rows(out)} == set(methods)
    same = [row for row in figures(whole) if (row["method"], row["alpha"], row["seed"])
            == ("cross entropy", "0.5", "1")]  # fmt: skip
    assert [row for row in figures(out) if row["method"] == "cross entropy"] == same


def test_a_killed_benchmark_goes_on_and_ends_in_the_same_figures(
    whole: Path, noise_and_methods: Config, write: Write, tmp_path: Path
) -> None:
    protocols = [{"preset": "reference", "alphas": [0.5]}]
    path = write(noise_and_methods | {"seeds": [0], "protocols": protocols})
    script = tmp_path / "killed.py"
    script.write_text(KILLED_IN_ITS_SECOND_TEACHER)
    killed = subprocess.run([sys.executable, script, path], capture_output=True, check=False)
    assert killed.returncode == -signal.SIGKILL, killed.stderr.decode()
    out = path.with_suffix("")
    before = worked_out(out)
    states = {outcome.cell.method: outcome.state for outcome in plan_benchmark(path).outcomes}
    assert states == {"cross entropy": "done", "maskmend": "to do"}
    (clock,) = out.glob("crossfits/*/clock.json")
    assert not json.loads(clock.read_text())["done"]
    benchmark(path, plots=False)
    after = worked_out(out)
    assert [name for name in before if after[name] != before[name]] == [
        clock.relative_to(out).as_posix()
    ]
    wanted = [row for row in figures(whole) if (row["alpha"], row["seed"]) == ("0.5", "0")]
    assert figures(out) == wanted
    assert len(wanted) == 60


def test_nobody_works_in_the_same_folder_at_once(plain: Config, write: Write) -> None:
    path = write(plain)
    with _alone_in(path.with_suffix("")), pytest.raises(RunMismatchError, match="another"):
        benchmark(path, plots=False)


def test_the_output_does_not_lie_in_the_data(plain: Config, write: Write, clean: Path) -> None:
    with pytest.raises(SettingsError, match="a folder outside of the data set"):
        benchmark(write(plain), clean / "out", plots=False)


def test_jobs_need_a_number_of_threads(plain: Config, write: Write) -> None:
    path = write(plain | {"settings": {"device": "cpu"}})
    with pytest.raises(SettingsError, match="threads"):
        benchmark(path, jobs=2, plots=False)
    with pytest.raises(SettingsError, match="at least 1"):
        benchmark(path, jobs=0, plots=False)


# -- what fails


def test_a_cell_that_fails_is_recorded_and_the_others_go_on(plain: Config, write: Write) -> None:
    ear = Ear()
    methods = {"broken": {"train": {"learning_rate": 1e30}}, "fine": {"train": {}}}
    path = write(plain | {"methods": methods})
    done = benchmark(path, plots=False, listener=ear)
    assert [outcome.state for outcome in done.outcomes] == ["failed", "done"]
    (failed,) = done.failed
    assert "its training has diverged" in failed.error
    assert any("1 of 2 cells done, 1 failed" in text for text in ear.heard)
    assert {row["method"] for row in rows(done.out)} == {"fine"}
    text = (done.out / "table.md").read_text()
    assert "broken: 0 of 1 seeds done; seed 0 failed (NotFiniteError" in text
    # a second call leaves it alone, unless it is told to try again
    record = next(done.out.glob("cells/*/failed.json"))
    written = record.stat().st_mtime_ns
    benchmark(path, plots=False)
    assert record.stat().st_mtime_ns == written
    shutil.rmtree(next(done.out.glob("trainings/*/run/students/given/training.json")).parents[2])
    again = benchmark(path, plots=False, retry=True)
    assert [outcome.state for outcome in again.outcomes] == ["failed", "done"]
    assert record.stat().st_mtime_ns > written


@dataclass
class Deadly:
    """An order at which a process ends, as one does that the system kills."""

    key: str = "deadly"
    code: int = 7
    task: Any = field(init=False)

    def __post_init__(self) -> None:
        self.task = self

    def __reduce__(self) -> tuple[Any, ...]:
        return os._exit, (self.code,)


def test_a_process_that_dies_takes_only_its_cell_with_it() -> None:
    with Crew(1) as crew:
        crew.give(Deadly())  # type: ignore[arg-type]
        assert crew.at_work == ("deadly",)
        assert not crew.has_room
        (ended,) = crew.wait(lambda *_: None)
        assert ended.key == "deadly"
        assert ended.failure is not None
        assert "exit code 7" in ended.failure.error
        assert crew.has_room


# -- other data


@pytest.fixture
def volumes(tmp_path: Path) -> Path:
    """Eight volumes with exclusive labels, all of them in one split."""
    root = tmp_path / "volumes"
    for number in range(8):
        rng = np.random.default_rng(number)
        z, y, x = np.indices((8, 20, 18))
        inside = ((z - 4) / 3) ** 2 + ((y - 10) / 7) ** 2 + ((x - 9) / 6) ** 2 < 1
        labels = np.where(y > 9 + number % 3, 2, 1) * inside
        image = 200 * inside + 80 * (labels == 2) + rng.normal(100, 20, inside.shape)
        for name, voxels in (("images", image.astype(np.float32)), ("masks", labels)):
            (root / name).mkdir(parents=True, exist_ok=True)
            stored = voxels if name == "images" else voxels.astype(np.uint8)
            picture = nibabel.Nifti1Image(stored.T, np.diag([1, 1, 2, 1]))
            nibabel.save(picture, root / name / f"v{number:02}.nii.gz")
    (root / "labels.json").write_text(json.dumps({"front": 1, "back": 2}))
    return root


def test_volumes_with_exclusive_labels_and_a_share_held_out(
    plain: Config, volumes: Path, write: Write
) -> None:
    training = {"epochs": 12, "least_steps": 0, "learning_rate": 0.01, "averaging": 0.9}
    config = plain | {
        "data": str(volumes), "test": 0.25, "keep_runs": True,
        "protocols": [{"preset": "volume", "alphas": [0.5]}],
        "settings": {"threads": 1, "device": "cpu", "student": training,
                     "crossfit": {"folds": 2, "teacher": training}},
        "methods": {"ours": {"audit": {}}},
    }  # fmt: skip
    path = write(config)
    benchmark(path, plots=False)
    out = path.with_suffix("")
    found = {(r["subject"], r["structure"], r["metric"]): r["value"] for r in rows(out)}
    assert {structure for _, structure, _ in found} == {"front", "back", ""}
    assert float(found["student", "front", "dice"]) > 0.3
    (cases,) = out.glob("cells/*/cases.csv")
    tested = {row["case"] for row in csv.DictReader(cases.open(newline=""))}
    assert len(tested) == 2
    (root,) = out.glob("cells/*/run")
    run = Run.open(root)
    judged = {case.id for case in run.cases}
    assert judged | tested == {f"v{number:02}" for number in range(8)}
    assert not judged & tested
    wanted = average_precision(*evidence(run, volumes, "back"))
    assert float(found["noise map", "back", "auprc"]) == pytest.approx(wanted, abs=2e-3)


def evidence(run: Run, clean: Path, structure: str) -> Iterator[Any]:
    """Which voxels are wrong, and how improbable their given label is."""
    truth = open_dataset(clean)
    index = truth.scheme.structures.index(structure) + 1
    wrong, scores = [], []
    for mine in run.cases:
        case = next(each for each in truth.cases if each.id == mine.id)
        given = run.read_given(mine)[0] == index
        p = np.asarray(run.read_probabilities(mine)[index], np.float64)
        wrong.append((read_labels(truth, case)[0] == index) != given)
        scores.append(np.abs(given - p))
    yield np.stack(wrong)
    yield np.stack(scores)


def test_what_another_version_has_begun_is_begun_anew(plain: Config, write: Write) -> None:
    path = write(plain)
    planned = plan_benchmark(path)
    config = load_config(path)
    _, tasks = plan_cells(config, open_data(config, path.parent))
    (task,) = tasks.values()
    places = Places(planned.out)
    folder = places.shared(task)
    files.write_json(folder / "run" / "run.json", {"format": 0, "version": "0.0.1"})
    files.write_json(folder / "clock.json", {"cpu": 1e6, "wall": 1e6, "done": False})
    done = benchmark(path, plots=False)
    (outcome,) = done.outcomes
    assert outcome.state == "done"
    # the time of the other version is none of this one's
    assert 0 < outcome.scores["cost", "", "cpu_minutes"] < 1e3
