"""rankings.csv and cases.csv of small runs whose errors are known."""

from __future__ import annotations

import math
import re
from collections.abc import Callable
from pathlib import Path

import nibabel
import numpy as np
import pytest
from numpy.typing import NDArray

from maskmend import files, stages
from maskmend.core import FoldPlan, LabelArray, Listener
from maskmend.errors import MissingFileError
from maskmend.execute import Workers
from maskmend.formats.png import encode_png
from maskmend.rankings import (
    SCORES,
    RankedMask,
    forget_rankings,
    read_cases,
    read_masks,
    write_rankings,
)
from maskmend.settings import CrossfitSettings, Settings
from maskmend.store import Run, Source

SIZE, COUNT = 32, 12
DOCS = (Path(__file__).parents[1] / "docs" / "ranking.md").read_text()


def disc(radius: float) -> NDArray[np.bool_]:
    rows, columns = np.mgrid[:SIZE, :SIZE]
    found: NDArray[np.bool_] = (rows - 16) ** 2 + (columns - 16) ** 2 <= radius**2
    return found


def blurred(mask: NDArray[np.bool_], blur: float) -> NDArray[np.float32]:
    """Probabilities of a disc with a soft edge."""
    from scipy.ndimage import gaussian_filter

    return np.clip(gaussian_filter(mask.astype(np.float32), blur), 0.01, 0.99)


def judge(data: Path, probs: Callable[[int], NDArray[np.float32]], ignore: int | None) -> Run:
    """A flagged run on the data, with these probabilities, (channels, *S) of each case."""
    settings = Settings(threads=1, crossfit=CrossfitSettings(folds=2))
    run = Run.create(data.parent / "run", Source(str(data), ("training",), ignore), settings)
    plan = FoldPlan(2, 0, {case.id: index % 2 for index, case in enumerate(run.cases)})
    run.write_folds(plan)
    for number, case in enumerate(run.cases):
        run.write_probabilities(case, probs(number), plan.folds[case.id], plan)
    stages.flag(run)
    return run


def make_run(
    root: Path, labels: Callable[[int], dict[str, LabelArray]],
    probs: Callable[[int], NDArray[np.float32]], ignore: int | None = None,
) -> Run:  # fmt: skip
    """A flagged run.  labels(number): folder below masks/ -> mask; probs: as for `judge`."""
    data = root / "data"
    for number in range(COUNT):
        name = f"case{number:02}.png"
        grey = np.full((SIZE, SIZE), number, np.uint8)
        files.write_bytes_atomic(data / "images" / name, encode_png(grey))
        for folder, mask in labels(number).items():
            files.write_bytes_atomic(data / "masks" / folder / name, encode_png(mask))
    return judge(data, probs, ignore)


def organs(number: int) -> dict[str, LabelArray]:
    """A sharp organ and a vague one.  Wrong: the sharp one of case 3, the vague one of case 7.

    The sharp one of case 5 was not drawn.
    """
    sharp = disc(8 + 0.5 * (number % 4 == 2))
    vague = disc(8 + 0.5 * (number % 4 == 2))
    if number == 3:
        sharp = disc(5)
    if number == 7:
        vague = disc(2)
    masks = {"vague": vague}
    if number != 5:
        masks["sharp"] = sharp
    return {name: mask.astype(np.uint8) * 255 for name, mask in masks.items()}


def organ_probs(_: int) -> NDArray[np.float32]:
    return np.stack([blurred(disc(8), 0.5), blurred(disc(8), 2.0)])


@pytest.fixture(scope="module")
def ranked(tmp_path_factory: pytest.TempPathFactory) -> Run:
    run = make_run(tmp_path_factory.mktemp("ranked"), organs, organ_probs)
    assert run.dataset.scheme.structures == ("sharp", "vague")
    write_rankings(run, workers=Workers(count=1))
    return run


def test_the_wrong_masks_come_first(ranked: Run) -> None:
    masks = read_masks(ranked)
    assert {(mask.case, mask.structure) for mask in masks[:2]} == {
        ("case03", "sharp"), ("case07", "vague"),
    }  # fmt: skip
    assert [mask.rank for mask in masks] == list(range(1, 2 * COUNT + 1))
    assert masks[1].score > 5 * masks[2].score


def test_what_nobody_drew_is_unknown_and_last(ranked: Run) -> None:
    last = read_masks(ranked)[-1]
    assert (last.case, last.structure) == ("case05", "sharp")
    assert math.isnan(last.score)
    assert all(math.isnan(getattr(last.scores, name)) for name in SCORES)


def test_an_ordinary_mask_scores_nothing_in_every_structure(ranked: Run) -> None:
    masks = read_masks(ranked)
    for structure in ("sharp", "vague"):
        scores = [m.score for m in masks if m.structure == structure and not math.isnan(m.score)]
        assert abs(np.median(scores)) < 0.01


def test_score_is_the_gain_beyond_the_ordinary(ranked: Run) -> None:
    vague, doubted = [m for m in read_masks(ranked) if m.structure == "vague"], ranked.doubted()
    gains = [mask.scores.gain for mask in vague if "vague" not in doubted[mask.case]]
    assert 0 < len(gains) < COUNT
    for mask in vague:
        assert mask.score == pytest.approx(mask.scores.gain - np.median(gains))


def test_a_case_is_as_bad_as_its_worst_mask(ranked: Run) -> None:
    masks, cases = read_masks(ranked), read_cases(ranked)
    assert [case.rank for case in cases] == list(range(1, COUNT + 1))
    assert {case.case for case in cases[:2]} == {"case03", "case07"}
    for case in cases:
        mine = [mask.score for mask in masks if mask.case == case.case]
        assert case.score == np.nanmax(mine)
    assert all(case.findings is None for case in cases)


def test_findings_are_counted_where_they_are_known(ranked: Run) -> None:
    table = ranked.root / "findings.csv"
    files.write_csv(table, ["id", "case"], [["a", "case03"], ["b", "case07"], ["c", "case03"]])
    write_rankings(ranked)
    found = {case.case: case.findings for case in read_cases(ranked)}
    table.unlink()
    write_rankings(ranked)
    assert found == {f"case{number:02}": {3: 2, 7: 1}.get(number, 0) for number in range(COUNT)}


def test_any_number_of_workers_writes_the_same_bytes(ranked: Run) -> None:
    tables = [ranked.root / "rankings.csv", ranked.root / "cases.csv"]
    before = [table.read_bytes() for table in tables]
    write_rankings(ranked, workers=Workers("processes", 2))
    assert [table.read_bytes() for table in tables] == before


def test_agreement_and_shares_are_those_of_flag(ranked: Run) -> None:
    flagged = {(row["case"], row["structure"]): row for row in ranked.read_masks_table()}
    for mask in read_masks(ranked):
        row = flagged[mask.case, mask.structure]
        if row["agreement"]:
            assert mask.scores.agreement == pytest.approx(1 - float(row["agreement"]))
            assert mask.scores.flagged_share == pytest.approx(float(row["flagged_share"]))


def test_progress_is_told(ranked: Run) -> None:
    told: list[tuple[str, int, int]] = []

    class Ear(Listener):
        def case(self, stage: str, done: int, total: int) -> None:
            told.append((stage, done, total))

    write_rankings(ranked, Ear(), Workers(count=1))
    assert told[-1] == ("rank", COUNT, COUNT)


def test_exclusive_classes_with_ignored_pixels(tmp_path: Path) -> None:
    """Label maps: case 2 has the classes swapped, case 4 lacks the second, case 6 is ignored."""

    def labels(number: int) -> dict[str, LabelArray]:
        mask = np.where(disc(8), 1, 0).astype(np.uint8)
        mask[:, 16:] *= 2
        if number == 2:
            mask = np.array([0, 2, 1], np.uint8)[mask]
        if number == 4:
            mask[mask == 2] = 0
        if number == 6:
            mask[:] = 9
        mask[0] = 9
        return {"": mask}

    def probs(number: int) -> NDArray[np.float32]:
        soft = blurred(disc(8), 0.5 + 0.05 * (number % 4))
        left = np.arange(SIZE) < 16
        return np.stack([1 - soft, soft * (0.02 + 0.96 * left), soft * (0.98 - 0.96 * left)])

    run = make_run(tmp_path, labels, probs, ignore=9)
    write_rankings(run)
    masks = read_masks(run)
    assert {(mask.case, mask.structure) for mask in masks[:2]} == {
        ("case02", name) for name in run.dataset.scheme.structures
    }
    assert (masks[2].case, masks[2].structure) == ("case04", run.dataset.scheme.structures[1])
    assert {mask.case for mask in masks[-2:]} == {"case06"}
    assert read_cases(run)[-1].case == "case06"
    assert math.isnan(read_cases(run)[-1].score)


def test_rarely_present_structures_do_not_hide_a_miss(tmp_path: Path) -> None:
    """Most cases rightly lack the structure; one lacks it wrongly, one has it wrongly."""

    def labels(number: int) -> dict[str, LabelArray]:
        shown = number in (1, 2, 3, 9)
        return {"organ": (disc(8) & shown).astype(np.uint8) * 255}

    def probs(number: int) -> NDArray[np.float32]:
        shown = number in (1, 2, 3, 8)
        return blurred(disc(8) & shown, 0.7)[None]

    run = make_run(tmp_path, labels, probs)
    write_rankings(run)
    assert {mask.case for mask in read_masks(run)[:2]} == {"case08", "case09"}
    assert all(mask.score > 0.8 for mask in read_masks(run)[:2])


def test_before_flag_and_before_rank(tmp_path: Path, ranked: Run) -> None:
    run = make_run(tmp_path, organs, organ_probs)
    with pytest.raises(MissingFileError):
        read_masks(run)
    with pytest.raises(MissingFileError):
        read_cases(run)
    (run.root / "masks.csv").unlink()
    with pytest.raises(MissingFileError):
        write_rankings(run)
    assert not (run.root / "rankings.csv").exists()


def test_tables_read_back_exactly(ranked: Run) -> None:
    before = read_masks(ranked)
    write_rankings(ranked)

    def plain(mask: RankedMask) -> str:
        return repr(mask)

    assert [plain(mask) for mask in read_masks(ranked)] == [plain(mask) for mask in before]


def test_volumes_are_ranked_where_they_lie(tmp_path: Path) -> None:
    """NIfTI label maps with thick slices: case 1 lacks a part, case 4 the second structure."""
    z, y, x = np.indices((9, 24, 24))
    inside = ((z - 4) / 3) ** 2 + ((y - 12) / 8) ** 2 + ((x - 12) / 8) ** 2 < 1
    truth = np.where(y > 12, 2, 1) * inside
    for number in range(COUNT):
        labels = truth.copy()
        if number == 1:
            labels[:4] *= labels[:4] != 1
        if number == 4:
            labels[labels == 2] = 0
        for name, voxels in (("images", z * 1.0), ("masks", labels)):
            path = tmp_path / "data" / name / f"v{number:02}.nii.gz"
            path.parent.mkdir(parents=True, exist_ok=True)
            stored = nibabel.Nifti1Image(voxels.astype(np.uint8).T, np.diag([1.0, 1.0, 3.0, 1]))
            nibabel.save(stored, path)

    def probs(number: int) -> NDArray[np.float32]:
        soft = np.stack([blurred(truth == k, 0.4 + 0.02 * (number % 5)) for k in range(3)])
        return soft / soft.sum(axis=0)

    run = judge(tmp_path / "data", probs, None)
    write_rankings(run)
    first, second = read_masks(run)[:2]
    names = run.dataset.scheme.structures
    assert [(first.case, first.structure), (second.case, second.structure)] == [
        ("v04", names[1]), ("v01", names[0]),
    ]  # fmt: skip
    assert first.scores.agreement == 1
    before = (run.root / "rankings.csv").read_bytes()
    write_rankings(run, workers=Workers("processes", 2))
    assert (run.root / "rankings.csv").read_bytes() == before


def test_old_tables_are_forgotten(tmp_path: Path) -> None:
    run = make_run(tmp_path, organs, organ_probs)
    write_rankings(run)
    forget_rankings(run)
    forget_rankings(run)
    assert not list(run.root.glob("rankings.csv")) + list(run.root.glob("cases.csv"))


def test_the_docs_run(
    ranked: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    (block,) = re.findall(r"```python\n(.*?)```", DOCS, re.DOTALL)
    (tmp_path / "my-run").symlink_to(ranked.root)
    monkeypatch.chdir(tmp_path)
    exec(compile(block, "ranking.md", "exec"), {})
    told = capsys.readouterr().out.splitlines()
    assert told[0].split()[0] in {"case03", "case07"}
    assert len(told) == 11


def test_the_docs_name_every_column() -> None:
    table = DOCS.split("## What each score says")[1]
    assert all(f"| `{name}` |" in table for name in (*SCORES, "score"))
