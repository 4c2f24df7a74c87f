"""`rank`: findings.csv and the pixels of each finding, and that an export has the same ones."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from maskmend import stages
from maskmend.arrays.findings_rules import TYPES
from maskmend.deciding import decided
from maskmend.errors import MissingFileError, SettingsError, UnreadableFileError
from maskmend.exporting.options import ExportOptions
from maskmend.findings import read_findings
from maskmend.settings import Settings, override_settings
from maskmend.store import Run, Source


@pytest.fixture(scope="module")
def run(
    noisy: Path, predicted: Callable[[Run], Run], tmp_path_factory: pytest.TempPathFactory
) -> Run:
    settings = Settings(seed=1)
    source = Source(str(noisy), ("training",))
    found = predicted(Run.create(tmp_path_factory.mktemp("rank") / "run", source, settings))
    stages.flag(found)
    stages.correct(found)
    stages.rank(found)
    return found


def with_rank(run: Run, **changes: object) -> Run:
    overrides = tuple(f"rank.{name}={value}" for name, value in changes.items())
    return Run(run.root, run.source, run.dataset, override_settings(run.settings, overrides))


def test_findings_are_read_as_they_were_written(run: Run) -> None:
    found = stages.rank(run)
    assert len(found) > 5
    stored = read_findings(run)
    # NaN is not equal to itself
    assert [repr(each) for each in stored] == [repr(each) for each in found]
    assert [each.score for each in found] == sorted((e.score for e in found), reverse=True)
    assert {each.type for each in found} <= set(TYPES)
    for case in run.cases:
        numbers = sorted(each.number for each in found if each.case == case.id)
        assert numbers == list(range(1, len(numbers) + 1))


def test_each_finding_lies_on_its_flagged_pixels(run: Run) -> None:
    for case in run.cases:
        decision = decided(run, case)
        masks = run.read_finding_masks(case)
        times = np.zeros(decision.given.shape, int)
        for found in (each for each in read_findings(run) if each.case == case.id):
            box = tuple(slice(*ends) for ends in found.box)
            mask = masks[found.number]
            assert mask.sum() == found.pixels
            ends = [np.flatnonzero(mask.any(axis=1 - axis))[[0, -1]] for axis in range(2)]
            assert [list(pair) for pair in ends] == [[0, n - 1] for n in mask.shape]
            times[found.plane][box] += mask
            assert found.size == found.pixels
            assert 0 < found.share <= 1
            assert (found.given, found.suggested) in (
                ("background", found.structure), (found.structure, "background"),
            )  # fmt: skip
        assert times.max(initial=0) <= 1
        assert not (times.astype(bool) & ~decision.flagged).any()


def test_without_tolerance_every_flagged_pixel_is_in_a_finding(run: Run) -> None:
    exact = with_rank(run, tolerance="0px")
    found = stages.rank(exact)
    flagged = sum(int(run.read_noise_map(case).sum()) for case in run.cases)
    assert sum(each.pixels for each in found) == flagged > 0
    tolerant = stages.rank(with_rank(run, tolerance="4px"))
    assert 0 < sum(each.pixels for each in tolerant) < flagged
    stages.rank(run)


def test_small_findings_can_be_left_out(run: Run) -> None:
    every = stages.rank(run)
    least = sorted(each.pixels for each in every)[len(every) // 2]
    kept = stages.rank(with_rank(run, least_pixels=least))
    assert {e.id for e in kept} == {e.id for e in every if e.pixels >= least}
    stages.rank(run)


def test_an_id_stays_when_another_case_changes(run: Run) -> None:
    before = {each.id: each for each in stages.rank(run)}
    other = next(iter(before.values())).case
    case = next(case for case in run.cases if case.id == other)
    flags = run.read_noise_map(case)
    try:
        run.write_noise_map(case, np.zeros_like(flags))
        after = {each.id: each for each in stages.rank(run)}
    finally:
        run.write_noise_map(case, flags)
    assert any(each.case == case.id for each in before.values())
    kept = {name: each for name, each in before.items() if each.case != case.id}
    assert repr(sorted(after.items())) == repr(sorted(kept.items()))
    assert repr({e.id: e for e in stages.rank(run)}) == repr(before)


def test_an_export_has_the_same_findings(run: Run, tmp_path: Path) -> None:
    stages.rank(run)
    done = stages.export(run, tmp_path / "all")
    mine = (run.root / "findings.csv").read_bytes()
    assert (tmp_path / "all" / "findings.csv").read_bytes() == mine
    assert done.findings == len(read_findings(run))
    wanted = read_findings(run)[0]
    options = ExportOptions(cases=(wanted.case,), structures=(wanted.structure,))
    stages.export(run, tmp_path / "some", options)
    lines = (tmp_path / "some" / "findings.csv").read_text().splitlines()
    expected = [e for e in read_findings(run)
                if (e.case, e.structure) == (wanted.case, wanted.structure)]  # fmt: skip
    assert [line.split(",")[1] for line in lines[1:]] == [each.id for each in expected]


def test_flagging_again_forgets_the_findings(run: Run) -> None:
    assert read_findings(run)
    try:
        stages.flag(run)
        with pytest.raises(MissingFileError):
            read_findings(run)
    finally:
        stages.rank(run)


def test_a_table_of_another_make_is_refused(run: Run) -> None:
    path = run.root / "findings.csv"
    kept = path.read_text()
    try:
        for text in ("case,structure\na,b\n", kept.replace("background", "background,", 1)):
            path.write_text(text)
            with pytest.raises(UnreadableFileError, match="maskmend rank"):
                read_findings(run)
    finally:
        path.write_text(kept)


def test_a_tolerance_in_mm_needs_a_spacing(run: Run) -> None:
    with pytest.raises(SettingsError, match="does not know its spacing"):
        stages.rank(with_rank(run, tolerance="1.5mm"))


def test_an_impossible_tolerance_is_refused() -> None:
    for text in ("2", "mm", "-1px", "2cm", "nanpx"):
        with pytest.raises(SettingsError, match="tolerance"):
            override_settings(Settings(), (f"rank.tolerance={text}",))
