"""Export of what was decided, voxel by voxel; what nobody accepted keeps its bytes."""

from __future__ import annotations

import csv
import json
import shutil
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from typer.testing import CliRunner

from maskmend import stages
from maskmend.cli import app
from maskmend.core import Case, Decision, Finding
from maskmend.datasets import open_dataset, read_labels
from maskmend.errors import MissingFileError, RunMismatchError
from maskmend.exporting.options import ExportOptions
from maskmend.exporting.reviewed import plain_text
from maskmend.findings import read_findings
from maskmend.review.decisions import FILE, Decisions
from maskmend.review.pixels import digest
from maskmend.review.session import Answer, Review
from maskmend.store import Run

from .conftest import make_pictures, make_volumes

DECIDED = ExportOptions(decisions=True)

Labels = dict[str, NDArray[np.uint8]]


class Reviewing:
    """A run of its own, ranked by the program, and a review of it."""

    def __init__(self, run: Run) -> None:
        self.run = run
        self.findings = stages.rank(run)
        self.decisions = Decisions(run.root / FILE)
        self.review = Review(run, self.findings, self.decisions)

    def case(self, name: str) -> Case:
        return next(case for case in self.run.cases if case.id == name)

    def one(self, case: str, kind: str | None = None) -> Finding:
        """The finding of a case, the one with background on this side if there are several."""
        mine = [each for each in self.findings if each.case == case]
        if kind is not None:
            mine = [each for each in mine if getattr(each, kind) == "background"]
        assert len(mine) == 1, mine
        return mine[0]

    def say(
        self, verdict: str, finding: Finding | str, reviewer: str = "ann",
        runs: Sequence[tuple[int, int, int]] = (), comment: str = "",
    ) -> Decision:  # fmt: skip
        if isinstance(finding, str):
            return self.review.decide(Answer(self.case(finding), None, verdict, reviewer, comment))
        case = self.case(finding.case)
        answer = Answer(case, finding, verdict, reviewer, comment, tuple(runs))
        return self.review.decide(answer)

    def expected(self) -> Labels:
        """All as given."""
        return {case.id: np.array(self.run.read_given(case)) for case in self.run.cases}

    def suggest(self, labels: Labels, finding: Finding) -> None:
        """Paint a finding's suggestion, taken from the mended files."""
        case = self.case(finding.case)
        mask = self.run.read_finding_masks(case)[finding.number]
        box: Any = (finding.plane, *(slice(*ends) for ends in finding.box))
        labels[finding.case][box][mask] = self.run.read_mended(case)[box][mask]

    def export(self, out: Path, options: ExportOptions = DECIDED) -> Path:
        stages.export(self.run, out, options)
        return out

    def check(self, out: Path, expected: Labels) -> None:
        """Every voxel of the exported masks; files without a change have their source's bytes."""
        self.export(out)
        dataset = open_dataset(out)
        by_id = {case.id: case for case in dataset.cases}
        for case in self.run.cases:
            found, given = read_labels(dataset, by_id[case.id]), self.run.read_given(case)
            np.testing.assert_array_equal(found, expected[case.id], err_msg=case.id)
            for plane, name in enumerate(self.run.dataset.scheme.planes):
                source, copy = case.masks[name], by_id[case.id].masks[name]
                same = source.read_bytes() == copy.read_bytes()
                assert same == bool((expected[case.id][plane] == given[plane]).all())


@pytest.fixture(scope="session")
def kept(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """The two runs, made once; each test gets a copy of the run folder."""
    roots = {}
    for name, make in (("pictures", make_pictures), ("volumes", make_volumes)):
        roots[name] = tmp_path_factory.mktemp(name)
        make(roots[name])
    return roots


@pytest.fixture
def reviewing(kept: dict[str, Path], tmp_path: Path) -> Iterator[Callable[[str], Reviewing]]:
    opened: list[Reviewing] = []

    def start(name: str) -> Reviewing:
        shutil.copytree(kept[name] / "run", tmp_path / "run")
        opened.append(Reviewing(Run.open(tmp_path / "run")))
        return opened[-1]

    yield start
    for each in opened:
        each.decisions.close()


def rows_of(path: Path) -> list[dict[str, str]]:
    with path.open(newline="") as table:
        return list(csv.DictReader(table))


def outcomes(out: Path) -> dict[str, dict[str, str]]:
    return {row["finding"]: row for row in rows_of(out / "outcomes.csv")}


def test_accept_reject_unsure_and_open(
    reviewing: Callable[[str], Reviewing], tmp_path: Path
) -> None:
    it = reviewing("pictures")
    hole, blob = it.one("film-0", "given"), it.one("film-0", "suggested")
    bar = it.one("film-1")
    it.say("accept", hole)
    it.say("reject", blob)
    expected = it.expected()
    it.suggest(expected, hole)
    assert (expected["film-0"] != it.run.read_given(it.case("film-0"))).sum() == hole.pixels
    it.check(tmp_path / "a", expected)
    found = outcomes(tmp_path / "a")
    assert [found[each.id]["became"] for each in (hole, blob, bar)] == [
        "suggested", "given", "given",
    ]  # fmt: skip
    assert [found[each.id]["state"] for each in (hole, blob, bar)] == ["accept", "reject", "open"]
    assert found[hole.id]["changed_pixels"] == str(hole.pixels)
    assert found[hole.id]["before"] == digest(it.run.read_given(it.case("film-0"))[1])
    assert found[hole.id]["after"] == digest(expected["film-0"][1])
    assert found[bar.id]["why"] == "not reviewed"
    it.say("unsure", blob)
    it.check(tmp_path / "b", expected)
    assert outcomes(tmp_path / "b")[blob.id]["state"] == "unsure"
    record = json.loads((tmp_path / "b" / "export.json").read_text())
    assert record["outcomes"] == {"accept": 1, "unsure": 1, "open": 1}
    changes = rows_of(tmp_path / "b" / "changes.csv")
    assert [(row["voxels"], row["method"]) for row in changes] == [(str(hole.pixels), "review")]


def test_an_edit_is_what_was_painted_and_no_more(
    reviewing: Callable[[str], Reviewing], tmp_path: Path
) -> None:
    it = reviewing("pictures")
    blob, width = it.one("film-0", "suggested"), 56
    # half of the blob, and a pixel far from the finding
    it.say("edit", blob, runs=[(3 * width + 46, 3, 0), (30 * width + 2, 1, 1)])
    expected = it.expected()
    expected["film-0"][1, 3, 46:49] = 0
    expected["film-0"][1, 30, 2] = 1
    it.check(tmp_path / "out", expected)
    row = outcomes(tmp_path / "out")[blob.id]
    assert (row["became"], row["changed_pixels"]) == ("edited", "4")
    (trail,) = rows_of(tmp_path / "out" / "decisions.csv")
    assert (trail["verdict"], trail["painted_pixels"], trail["counts"]) == ("edit", "4", "yes")
    assert trail["after"] == row["after"] == digest(expected["film-0"][1])


def test_a_later_decision_is_painted_over_an_earlier_one(
    reviewing: Callable[[str], Reviewing], tmp_path: Path
) -> None:
    it = reviewing("pictures")
    hole, blob = it.one("film-0", "given"), it.one("film-0", "suggested")
    everything = [(0, 40 * 56, 0)]
    it.say("accept", hole)
    it.say("edit", blob, runs=everything)
    expected = it.expected()
    expected["film-0"][1] = 0
    it.check(tmp_path / "edit-last", expected)
    it.say("accept", hole)
    it.suggest(expected, hole)
    it.check(tmp_path / "accept-last", expected)


def test_undo_and_the_last_word(reviewing: Callable[[str], Reviewing], tmp_path: Path) -> None:
    it = reviewing("pictures")
    bar = it.one("film-1")
    it.say("accept", bar)
    it.say("reject", bar)
    it.check(tmp_path / "rejected", it.expected())
    it.review.undo("ann")
    expected = it.expected()
    it.suggest(expected, bar)
    it.check(tmp_path / "accepted", expected)
    it.review.undo("ann")
    it.check(tmp_path / "undone", it.expected())
    trail = rows_of(tmp_path / "undone" / "decisions.csv")
    assert [(row["verdict"], row["undoes"], row["undone_by"], row["counts"]) for row in trail] == [
        ("accept", "", "4", "no: undone"), ("reject", "", "3", "no: undone"),
        ("undo", "2", "", "no: an undo"), ("undo", "1", "", "no: an undo"),
    ]  # fmt: skip


def test_a_conflict_stays_as_given_and_is_said(
    reviewing: Callable[[str], Reviewing], tmp_path: Path
) -> None:
    it = reviewing("pictures")
    bar = it.one("film-1")
    it.say("accept", bar)
    it.say("reject", bar, "bob")
    it.check(tmp_path / "conflict", it.expected())
    row = outcomes(tmp_path / "conflict")[bar.id]
    assert (row["state"], row["became"]) == ("conflict", "given")
    assert row["why"] == "ann: accept; bob: reject"
    done = CliRunner().invoke(
        app, ["export", str(it.run.root), str(tmp_path / "cli"), "--decisions"]
    )
    assert done.exit_code == 0, done.output
    assert "1 conflict, 2 open" in done.output
    it.say("accept", bar, "bob")
    expected = it.expected()
    it.suggest(expected, bar)
    it.check(tmp_path / "agreed", expected)


def test_a_whole_case_and_an_exception(
    reviewing: Callable[[str], Reviewing], tmp_path: Path
) -> None:
    it = reviewing("pictures")
    hole, blob = it.one("film-0", "given"), it.one("film-0", "suggested")
    it.say("accept", "film-0")
    expected = it.expected()
    expected["film-0"] = it.run.read_mended(it.case("film-0"))
    it.check(tmp_path / "whole", expected)
    it.say("reject", blob)
    expected = it.expected()
    it.suggest(expected, hole)
    it.check(tmp_path / "without", expected)


def test_a_bulk_has_its_digests_in_the_trail(
    reviewing: Callable[[str], Reviewing], tmp_path: Path
) -> None:
    it = reviewing("pictures")
    it.review.decide_all(it.findings, "accept", "ann", "in bulk")
    expected = {case.id: it.run.read_mended(case) for case in it.run.cases}
    it.check(tmp_path / "out", expected)
    trail = rows_of(tmp_path / "out" / "decisions.csv")
    assert {row["in_bulk"] for row in trail} == {"True"}
    for row in trail:
        finding = next(each for each in it.findings if each.id == row["finding"])
        given = np.array(it.run.read_given(it.case(finding.case)))
        assert row["before"] == digest(given[finding.plane])
        alone = {finding.case: given}
        it.suggest(alone, finding)
        assert row["after"] == digest(given[finding.plane])


def test_volumes_with_exclusive_classes(
    reviewing: Callable[[str], Reviewing], tmp_path: Path
) -> None:
    it = reviewing("volumes")
    swapped = [each for each in it.findings if each.case == "scan_0"]
    it.say("accept", swapped[0])
    expected = it.expected()
    it.suggest(expected, swapped[0])
    assert (expected["scan_0"] != it.run.read_given(it.case("scan_0"))).sum() == swapped[0].pixels
    half = next(each for each in it.findings if each.case == "scan_1")
    start = int(np.ravel_multi_index((1, 4, 6), expected["scan_1"].shape[1:]))
    it.say("edit", half, runs=[(start, 6, 1)])
    expected["scan_1"][0, 1, 4, 6:12] = 1
    it.check(tmp_path / "out", expected)


def test_only_some_cases_and_structures(
    reviewing: Callable[[str], Reviewing], tmp_path: Path
) -> None:
    it = reviewing("pictures")
    it.review.decide_all(it.findings, "accept", "ann", "")
    bars = it.export(tmp_path / "bars", replace(DECIDED, structures=("bar",)))
    assert {row["case"] for row in rows_of(bars / "changes.csv")} == {"film-1"}
    hole = it.one("film-0", "given")
    assert "left out" in outcomes(bars)[hole.id]["why"]
    one = it.export(tmp_path / "one", replace(DECIDED, cases=("film-0",)))
    assert {row["case"] for row in rows_of(one / "changes.csv")} == {"film-0"}


def test_as_ignored_and_as_soft_targets(
    reviewing: Callable[[str], Reviewing], tmp_path: Path
) -> None:
    it = reviewing("pictures")
    hole = it.one("film-0", "given")
    it.say("accept", hole)
    expected = it.expected()
    it.suggest(expected, hole)
    given = it.run.read_given(it.case("film-0"))
    changed = expected["film-0"] != given
    out = it.export(tmp_path / "i", replace(DECIDED, kind="ignore", ignore_value=7))
    dataset = open_dataset(out, ignore_value=7)
    case = next(case for case in dataset.cases if case.id == "film-0")
    np.testing.assert_array_equal(read_labels(dataset, case), np.where(changed, 255, given))
    soft = np.load(it.export(tmp_path / "s", replace(DECIDED, kind="soft")) / "soft/film-0.npy")
    eps = it.run.settings.correct.eps
    np.testing.assert_allclose(soft, np.where(changed, eps, given), atol=1e-6)


def test_a_suggestion_that_is_another_one_now_is_not_applied(
    reviewing: Callable[[str], Reviewing], tmp_path: Path
) -> None:
    it = reviewing("pictures")
    bar = it.one("film-1")
    before = digest(it.run.read_given(it.case("film-1"))[0])
    it.decisions.add(
        Decision(0, "", "ann", "film-1", bar.id, "accept", before=before, after="0" * 64)
    )
    it.check(tmp_path / "out", it.expected())
    row = outcomes(tmp_path / "out")[bar.id]
    assert (row["state"], row["became"]) == ("outdated", "given")
    assert "look again" in row["why"]


def test_decisions_on_other_labels_are_refused(
    reviewing: Callable[[str], Reviewing], tmp_path: Path
) -> None:
    it = reviewing("pictures")
    bar = it.one("film-1")
    it.decisions.add(Decision(0, "", "ann", "film-1", bar.id, "reject", before="0" * 64))
    with pytest.raises(RunMismatchError, match="labels of this run"):
        it.export(tmp_path / "out")


def test_without_a_review_nothing_is_written(kept: dict[str, Path], tmp_path: Path) -> None:
    shutil.copytree(kept["pictures"] / "run", tmp_path / "run")
    run = Run.open(tmp_path / "run")
    with pytest.raises(MissingFileError, match="--decisions"):
        stages.export(run, tmp_path / "out", DECIDED)
    assert not (tmp_path / "out").exists()


def test_a_review_needs_a_ranking(kept: dict[str, Path], tmp_path: Path) -> None:
    shutil.copytree(kept["pictures"] / "run", tmp_path / "run")
    run = Run.open(tmp_path / "run")
    with pytest.raises(MissingFileError, match="maskmend rank"):
        stages.serve_review(run, browser=False)
    assert not (tmp_path / "run" / FILE).exists()
    Decisions(tmp_path / "run" / FILE).close()
    with pytest.raises(MissingFileError, match="maskmend rank"):
        stages.export(run, tmp_path / "out", DECIDED)
    assert not (tmp_path / "out").exists()


def test_the_same_decisions_give_the_same_bytes_and_go_on(
    reviewing: Callable[[str], Reviewing], tmp_path: Path
) -> None:
    it = reviewing("pictures")
    it.say("accept", it.one("film-1"), comment="=HYPERLINK(1)")
    one, other = it.export(tmp_path / "one"), it.export(tmp_path / "other")
    names = sorted(path.relative_to(one) for path in one.rglob("*") if path.is_file())
    assert Path("decisions.csv") in names
    for name in names:
        assert (one / name).read_bytes() == (other / name).read_bytes()
    # decisions that are made later are taken in by the same command
    it.say("reject", it.one("film-1"))
    it.check(one, it.expected())
    assert rows_of(one / "decisions.csv")[0]["comment"] == "'=HYPERLINK(1)"


def test_a_spreadsheet_computes_nothing() -> None:
    for text in ("=1+1", "+1", "-1", "@x", "\t=1"):
        assert plain_text(text) == f"'{text}"
    assert plain_text("a=1") == "a=1"


def test_the_findings_are_those_of_the_run(reviewing: Callable[[str], Reviewing]) -> None:
    it = reviewing("volumes")
    assert [each.id for each in read_findings(it.run)] == [each.id for each in it.findings]


def test_what_lies_within_the_tolerance_stays_as_given(
    reviewing: Callable[[str], Reviewing], tmp_path: Path
) -> None:
    it = reviewing("volumes")
    settings = it.run.settings
    rank = settings.rank.model_copy(update={"tolerance": "2px"})
    it.run = it.run.with_settings(settings.model_copy(update={"rank": rank}))
    it.findings = stages.rank(it.run)
    it.review = Review(it.run, it.findings, it.decisions)
    it.review.decide_all(it.findings, "accept", "ann", "")
    expected = it.expected()
    for finding in it.findings:
        it.suggest(expected, finding)
    left = sum(
        int((labels != it.run.read_mended(it.case(name))).sum())
        for name, labels in expected.items()
    )
    assert left > 0
    it.check(tmp_path / "out", expected)
