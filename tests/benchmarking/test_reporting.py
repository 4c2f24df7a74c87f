"""The tables of a benchmark: who wins, what stands in them, and how long it still takes."""

from __future__ import annotations

import csv
import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from maskmend import files
from maskmend.benchmarking.cells import Cell, Labels, Task
from maskmend.benchmarking.clock import FILE, Minutes, read_clock, timed
from maskmend.benchmarking.estimate import Estimate, duration, pieces_of
from maskmend.benchmarking.plots import slug
from maskmend.benchmarking.reporting import (
    clear_winner,
    conditions,
    student_table,
    tables_text,
    write_report,
)
from maskmend.benchmarking.results import DONE, FAILED, OPEN, Outcome, states, tidy
from maskmend.benchmarking.work import RECALLS, Places
from maskmend.core import QUIET, Listener
from maskmend.datasets import open_dataset
from maskmend.report.tables import Spread, markdown
from maskmend.settings import Settings, TrainingSettings

CONFIG: dict[str, Any] = {"data": "../jsrt", "seeds": [0, 1]}


def outcome(
    method: str, seed: int, dice: tuple[float, float] | None, *, alpha: float = 0.5,
    on_clean: bool = False, f1: float | None = None, error: str = "",
) -> Outcome:  # fmt: skip
    """A cell with the Dice of heart and lung; None where it is not done."""
    cell = Cell(method, "reference", alpha, seed, on_clean, f"{method}{alpha}{seed}")
    if dice is None:
        return Outcome(cell, FAILED if error else OPEN, {}, {}, error)
    organs = dict(zip(("heart", "lung"), dice, strict=True))
    scores = {("student", organ, "dice"): value for organ, value in organs.items()}
    curves = {}
    if f1 is not None:
        for organ in organs:
            for metric in ("precision", "recall", "f1", "auprc"):
                scores["noise map", organ, metric] = f1
            scores |= {(what, organ, "dice"): 0.75 for what in ("mended", "given")}
            curves[organ] = np.linspace(1, f1, len(RECALLS)).tolist()
    scores |= {("cost", "", "cpu_minutes"): 12.34, ("cost", "", "wall_minutes"): 15.0}
    return Outcome(cell, DONE, scores, curves)


# -- the winner


@pytest.mark.parametrize(
    ("figures", "best"),
    [
        # better by 0.03, more than either spread
        ([(0.90, 0.01), (0.93, 0.02), (0.80, 0.20)], 1),
        # the best one's own spread, the second one's, and just as much as the spread
        ([(0.90, 0.01), (0.93, 0.04)], None),
        ([(0.90, 0.04), (0.93, 0.01)], None),
        ([(0.50, 0.25), (0.75, 0.25)], None),
        ([(0.9, 0.0), (0.9, 0.0)], None),
        ([(0.9, 0.0)], None),
        ([], None),
        # one seed has no spread; a method without a figure is not the second
        ([(0.9, None), (0.8, 0.01)], None),
        ([(0.9, 0.01), (0.8, None)], None),
        ([(0.9, 0.01), (math.nan, None), (0.8, 0.01)], 0),
    ],
)
def test_the_winner_is_better_than_the_spread(
    figures: list[tuple[float, float | None]], best: int | None
) -> None:
    assert clear_winner([Spread(mean, std, 2) for mean, std in figures]) == best


OUTCOMES = [
    outcome("clean", 0, (0.99, 0.99), on_clean=True),
    outcome("clean", 1, (0.98, 0.98), on_clean=True),
    outcome("plain", 0, (0.80, 0.90)),
    outcome("plain", 1, (0.82, 0.91)),
    outcome("ours", 0, (0.90, 0.905), f1=0.5),
    outcome("ours", 1, (0.91, 0.915), f1=0.7),
    outcome("half", 0, (0.99, 0.99)),
    outcome("half", 1, None, error="NotFiniteError: it has diverged"),
]


def test_the_table_by_hand() -> None:
    (condition,) = conditions(OUTCOMES)
    # mean of ours: 0.9025 and 0.9125; plain: 0.85 and 0.865; the heart is won, the lung is not
    assert markdown(student_table(condition)) == (
        "| Dice of the student | mean | heart | lung | CPU minutes |\n"
        "| --- | ---: | ---: | ---: | --- |\n"
        "| *clean* | 0.985±0.007 | 0.985±0.007 | 0.985±0.007 | 12.3 |\n"
        "| plain | 0.858±0.011 | 0.810±0.014 | 0.905±0.007 | 12.3 |\n"
        "| ours | **0.908±0.007** | **0.905±0.007** | 0.910±0.007 | 12.3 |\n"
        "| half | 0.990 | 0.990 | 0.990 | 12.3 |\n"
    )


def test_the_text_says_what_is_marked_and_what_is_missing() -> None:
    text = tables_text(conditions([*OUTCOMES, outcome("ours", 0, None, alpha=0.3)]), CONFIG)
    assert text.startswith("# Benchmark on ../jsrt\n")
    assert "over the seeds 0, 1;" in text
    assert "half: 1 of 2 seeds done; seed 1 failed (NotFiniteError: it has diverged)." in text
    assert "## reference, alpha 0.3" in text
    assert "ours: 0 of 1 seeds done." in text
    assert "| ours | 0.600±0.141 | 0.600±0.141 | 0.600±0.141 | 0.600±0.141 | 0.750±0.000 |" in text
    assert "With one seed" not in text
    one = tables_text(conditions([outcome("ours", 0, (0.9, 0.8))]), CONFIG | {"seeds": [0]})
    assert "With one seed there is no spread, and nothing is marked." in one
    assert "Noise maps" not in one


def test_a_report_of_nothing_done_and_of_all(tmp_path: Path) -> None:
    write_report([outcome("ours", 0, None)], CONFIG, tmp_path / "none", plots=True)
    assert files.read_csv(tmp_path / "none" / "results.csv") == []
    write_report(OUTCOMES, CONFIG, tmp_path / "all", plots=True)
    summary = files.read_json(tmp_path / "all" / "summary.json")
    by_name = {each["method"]: each for each in summary["results"]}
    assert by_name["ours"]["winner_in"] == ["mean", "heart"]
    assert by_name["ours"]["figures"]["student: dice"]["heart"] == {"mean": 0.905, "std": 0.007071}
    assert by_name["half"]["failed"] == {"1": "NotFiniteError: it has diverged"}
    assert (by_name["half"]["seeds"], by_name["half"]["winner_in"]) == ([0], [])


def test_beside_each_plot_stand_its_numbers(tmp_path: Path) -> None:
    more = [outcome("ours", seed, (0.95, 0.97), alpha=0.1, f1=0.2) for seed in (0, 1)]
    write_report([*OUTCOMES, *more], CONFIG, tmp_path, plots=True)
    by_alpha = read(tmp_path / "plots" / "dice-by-alpha-reference.csv")
    ours = [row for row in by_alpha if row["method"] == "ours" and row["structure"] == "heart"]
    assert [(row["alpha"], row["dice"]) for row in ours] == [("0.1", "0.95"), ("0.5", "0.905")]
    noise = read(tmp_path / "plots" / "noise-maps-reference-0.5.csv")
    points = [row for row in noise if row["of"] == "noise map"]
    assert [row["structure"] for row in points] == ["heart", "lung"]
    assert [float(row["recall"]) for row in points] == pytest.approx([0.6, 0.6])
    curve = [row for row in noise if row["of"] == "evidence" and row["structure"] == "lung"]
    # the mean of curves that end at 0.5 and at 0.7
    assert len(curve) == len(RECALLS)
    assert float(curve[-1]["precision"]) == pytest.approx(0.6)
    minutes = read(tmp_path / "plots" / "dice-by-minutes-reference-0.5.csv")
    assert [row["method"] for row in minutes] == ["clean", "plain", "ours", "half"]
    assert float(minutes[1]["dice"]) == pytest.approx(0.8575)
    for path in (tmp_path / "plots").glob("*.svg"):
        text = path.read_text()
        assert "<svg" in text
        assert "ours" in text
    before = {path: path.read_bytes() for path in (tmp_path / "plots").iterdir()}
    write_report([*OUTCOMES, *more], CONFIG, tmp_path, plots=True)
    assert {path: path.read_bytes() for path in (tmp_path / "plots").iterdir()} == before


def read(path: Path) -> list[dict[str, str]]:
    with path.open(newline="") as handle:
        return list(csv.DictReader(handle))


def test_the_tidy_table_and_the_list() -> None:
    table = tidy([outcome("plain", 3, (0.8, math.nan)), outcome("half", 1, None, error="bad")])
    assert table.rows[0] == ["plain", "reference", 0.5, 3, "student", "heart", "dice", 0.8]
    assert len(table.rows) == 4
    listed = states([outcome("plain", 3, (0.8, 0.9)), outcome("half", 1, None, error="bad")])
    assert [row[4:] for row in listed.rows] == [
        ["done", 12.34, "cells/plain0.53", ""], ["failed", None, "cells/half0.51", "bad"]
    ]  # fmt: skip


def test_a_mean_needs_every_structure() -> None:
    assert outcome("plain", 0, (0.5, 0.75)).mean("student", "dice") == 0.625
    assert math.isnan(outcome("plain", 0, (0.5, math.nan)).mean("student", "dice"))
    assert math.isnan(outcome("plain", 0, (0.5, 0.75)).mean("mended", "dice"))


@pytest.mark.parametrize(
    ("name", "file"), [("reference", "reference"), ("J1, T/2", "j1-t-2"), ("//", "x")]
)
def test_names_in_file_names(name: str, file: str) -> None:
    assert slug(name) == file


# -- time


class BrokenError(Exception):
    pass


def test_the_clock_counts_all_attempts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    now = [Minutes(10, 100)]
    monkeypatch.setattr("maskmend.benchmarking.clock._now", lambda: now[0])
    assert read_clock(tmp_path).minutes == Minutes()

    def fail() -> None:
        with timed(tmp_path, QUIET):
            now[0] = Minutes(12, 103)
            raise BrokenError

    with pytest.raises(BrokenError):
        fail()
    assert read_clock(tmp_path).minutes == Minutes(2, 3)
    assert not read_clock(tmp_path).done
    with timed(tmp_path, QUIET) as heard:
        now[0] = Minutes(13, 105)
        heard.say("so far")
        # what a kill would leave
        assert read_clock(tmp_path).minutes == Minutes(3, 5)
        now[0] = Minutes(14, 107)
    assert read_clock(tmp_path).minutes == Minutes(4, 7)
    assert read_clock(tmp_path).done


def test_the_clock_passes_on_what_is_said(tmp_path: Path) -> None:
    class Ear(Listener):
        heard: list[object] = []  # noqa: RUF012

        def case(self, stage: str, done: int, total: int) -> None:
            self.heard.append((stage, done, total))

    with timed(tmp_path, Ear()) as listener:
        listener.case("flag", 1, 2)
    assert Ear.heard == [("flag", 1, 2)]


def task(epochs: int, seed: int, kind: Any = "train") -> Task:
    student = TrainingSettings(epochs=epochs, least_steps=0)
    settings = Settings(seed=seed, student=student)
    return Task(kind, settings, Labels(None, 0), {"training": "a", "test": "b"})


def test_what_is_left_follows_from_what_is_measured(clean: Path, tmp_path: Path) -> None:
    training = open_dataset(clean)
    short, again, long = task(2, 0), task(2, 1), task(8, 0)
    places = Places(tmp_path)
    estimate = Estimate([short, again, long], places, training)
    (prior,) = pieces_of(short, places, training)
    pending = [again.key, long.key]
    assert estimate.remaining(pending, 1) == pytest.approx(5 * prior.prior)
    clock: dict[str, Any] = {"cpu": 1.0, "wall": 10.0, "done": True}
    files.write_json(places.shared(short) / FILE, clock)
    # the same with another seed as measured, four times the epochs four times as much
    assert estimate.remaining(pending, 1) == pytest.approx(10 + 40)
    assert estimate.remaining(pending, 2) == pytest.approx(25)
    files.write_json(places.shared(long) / FILE, clock | {"done": False})
    assert estimate.remaining(pending, 1) == pytest.approx(10 + 30)
    files.write_json(places.shared(long) / FILE, clock | {"wall": 90.0, "done": False})
    assert estimate.remaining([long.key], 2) == pytest.approx(0.1 * 40)
    assert estimate.remaining([], 1) == 0


def test_an_audit_costs_its_cross_fit_once(clean: Path, tmp_path: Path) -> None:
    training, places = open_dataset(clean), Places(tmp_path)
    first, second = task(2, 0, "audit"), task(4, 0, "audit")
    assert places.shared(first) == places.shared(second)
    crossfit, rest = pieces_of(first, places, training)
    _, more = pieces_of(second, places, training)
    both = Estimate([first, second], places, training)
    expected = crossfit.prior + rest.prior + more.prior
    assert both.remaining([first.key, second.key], 1) == pytest.approx(expected)


@pytest.mark.parametrize(
    ("minutes", "said"),
    [(0, "1 s"), (0.5, "30 s"), (1, "1 min"), (59.4, "59 min"), (60, "1 h 0 min"),
     (200, "3 h 20 min"), (3000, "2 d 2 h")],
)  # fmt: skip
def test_durations(minutes: float, said: str) -> None:
    assert duration(minutes) == said
