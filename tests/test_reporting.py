"""The report of a run: what it says, what it must not say, and runs that lack parts."""

from __future__ import annotations

import csv
import json
import math
import re
from collections.abc import Callable, Iterator
from html.parser import HTMLParser
from itertools import pairwise, product
from pathlib import Path
from urllib.parse import unquote

import nibabel
import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image
from scipy import ndimage

from maskmend import files, stages
from maskmend.arrays.findings_rules import TYPES
from maskmend.arrays.overlap import count_overlap
from maskmend.arrays.ranking import BINS
from maskmend.cli import app
from maskmend.core import Finding, LeftOut
from maskmend.datasets import open_dataset, read_grid
from maskmend.datasets.noise import plan_noise
from maskmend.datasets.phantom import write_phantoms
from maskmend.errors import MissingFileError, SettingsError
from maskmend.execute import Workers
from maskmend.findings import HEADER, NAME, findings_rows
from maskmend.rankings import write_rankings
from maskmend.reporting.effort import measure_effort
from maskmend.reporting.found import MEANINGS, Found, read_found
from maskmend.reporting.learned import read_histories
from maskmend.reporting.measuring import Measured, expected_dice, measure
from maskmend.reporting.names import Names, share
from maskmend.settings import CrossfitSettings, FlagSettings, Settings
from maskmend.store import Run, Source

ALL_WRONG = Settings(threads=1, flag=FlagSettings(method="argmax"))
"""Every pixel that differs from the prediction is wrong."""


class Page(HTMLParser):
    """What is in a page: its tags with their attributes, and its text."""

    def __init__(self, path: Path) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.open: list[str] = []
        self.text = ""
        self._silent = False
        self.source = path.read_text(encoding="utf-8")
        self.feed(self.source)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))
        if tag not in ("meta", "br"):
            self.open.append(tag)
        self._silent = tag == "style"

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag, f"</{tag}> closes another tag"
        self._silent = False

    def handle_data(self, data: str) -> None:
        if not self._silent:
            self.text += data if data.strip() else " "

    def all(self, tag: str) -> list[dict[str, str | None]]:
        return [attributes for name, attributes in self.tags if name == tag]


def rows_of(path: Path) -> list[dict[str, str]]:
    with path.open(newline="") as handle:
        return list(csv.DictReader(handle))


def judged(run: Run, probs: Callable[[str], NDArray[np.float32]]) -> Run:
    """Flagged by predictions made up here."""
    plan = stages.trainings.plan(run)
    run.write_folds(plan)
    for case in run.cases:
        run.write_probabilities(case, probs(case.id), plan.folds[case.id], plan)
    stages.flag(run)
    return run


def phantoms(root: Path, count: int, size: int = 64) -> Run:
    """Radiographs with errors, judged by good predictions, corrected and evaluated."""
    write_phantoms(root / "clean", {"training": count}, seed=1, size=size)
    clean = open_dataset(root / "clean")
    noise = plan_noise(clean, "mixed", {"": 0.3}, {}, ("training",))
    stages.corrupt(clean, root / "thorax", noise, seed=1)
    truth = {case.id: stages.read_labels(clean, case) for case in clean.cases}
    settings = Settings(threads=1, crossfit=CrossfitSettings(folds=2))
    run = Run.create(root / "my run", Source(str(root / "thorax"), ("training",)), settings)

    def predicted(case: str) -> NDArray[np.float32]:
        rng = np.random.default_rng(int(case.rpartition("_")[2]))
        moved = [ndimage.shift(plane.astype(float), rng.normal(0, 0.7, 2), order=1)
                 for plane in truth[case]]  # fmt: skip
        return (0.02 + 0.96 * np.clip(moved, 0, 1)).astype(np.float32)

    judged(run, predicted)
    stages.correct(run)
    stages.evaluate(run, clean)
    return run


@pytest.fixture(scope="module")
def ranked(tmp_path_factory: pytest.TempPathFactory) -> Run:
    """Overlapping structures in 2D, with everything but trainings."""
    run = phantoms(tmp_path_factory.mktemp("ranked"), 16)
    stages.rank(run)
    write_rankings(run)
    stages.write_report(run)
    return run


@pytest.fixture(scope="module")
def page(ranked: Run) -> Page:
    return Page(ranked.root / "report.html")


class TestPage:
    def test_it_needs_no_other_file_and_no_network(self, ranked: Run, page: Page) -> None:
        assert not {tag for tag, _ in page.tags} & {"script", "link", "iframe", "object", "img"}
        links = [a["href"] or "" for a in page.all("a")]
        beside = {f"report/{path.name}" for path in (ranked.root / "report").iterdir()}
        assert {link for link in links if not link.startswith("#")} == beside
        sources = [image["href"] or "" for image in page.all("image")]
        assert sources
        assert all(source.startswith("data:image/") for source in sources)
        text = (ranked.root / "report.html").read_text()
        assert not re.search(r"url\(|@import|https?:", text)
        assert "default-src 'none'" in text

    def test_it_can_be_heard(self, page: Page) -> None:
        headings = [int(tag[1]) for tag, _ in page.tags if re.fullmatch("h[1-6]", tag)]
        assert headings[0] == 1
        assert headings.count(1) == 1
        assert all(after - before <= 1 for before, after in pairwise(headings))
        assert all(head.get("scope") in ("col", "row") for head in page.all("th"))
        drawings = [svg for svg in page.all("svg") if svg.get("class")]
        assert drawings
        assert all(svg["role"] == "img" and svg["aria-label"] for svg in drawings)
        ids = [attributes["id"] for _, attributes in page.tags if "id" in attributes]
        assert len(ids) == len(set(ids))
        assert page.all("html") == [{"lang": "en"}]
        assert not page.open
        labelled = [attributes.get("aria-labelledby") for _, attributes in page.tags]
        assert {name for name in labelled if name} <= set(ids)

    def test_chapters_are_in_the_order_of_a_curator(self, page: Page) -> None:
        ids = [h["id"] for h in page.all("h2") if "id" in h]
        assert ids == ["summary", "labels", "worst", "findings", "effort", "agreement", "training",
                       "settings", "left-out", "understood"]  # fmt: skip

    def test_the_summary_has_the_figures_of_the_run(self, ranked: Run, page: Page) -> None:
        masks = ranked.read_masks_table()
        doubted = sum(row["doubted"] == "True" for row in masks)
        assert f"{doubted} of {len(masks)} masks" in page.text
        findings = rows_of(ranked.root / "findings.csv")
        assert f"{len(findings)} findings" in page.text
        rate = ranked.read_json("counts.json")["lung"]["noise_rate"][1]
        assert f"{share(rate)} of lung" in page.text
        dices = [float(row["dice"]) for row in rows_of(ranked.root / "evaluation.csv")
                 if row["what"] == "mended"]  # fmt: skip
        assert f"{np.mean(dices):.3f} for the mended" in page.text
        assert "maskmend review 'my run'" in page.text

    def test_the_same_run_gives_the_same_bytes(self, ranked: Run) -> None:
        def written() -> dict[str, bytes]:
            paths = [ranked.root / "report.html", *(ranked.root / "report").iterdir()]
            return {path.name: path.read_bytes() for path in paths}

        before = written()
        stages.write_report(ranked, workers=Workers(count=3))
        assert written() == before

    def test_no_place_on_this_computer_is_named(self, ranked: Run) -> None:
        text = (ranked.root / "report.html").read_text()
        assert str(ranked.root.parent) not in text
        assert str(Path.home()) not in text

    def test_the_first_cases_are_those_of_the_ranking(self, ranked: Run) -> None:
        text = (ranked.root / "report.html").read_text()
        shown = re.findall(r'<h3 id="worst-\d+"><span class="rank">\d+</span> (.*?)</h3>', text)
        order = [row["case"] for row in rows_of(ranked.root / "cases.csv")]
        assert len(shown) > 3
        assert shown == [case for case in order if case in shown]


class TestNumbers:
    """Every figure's numbers are in a CSV, and they are those of the run."""

    def test_findings_by_type(self, ranked: Run) -> None:
        counted = rows_of(ranked.root / "report" / "findings_by_type.csv")
        findings = rows_of(ranked.root / "findings.csv")
        for row in counted:
            mine = [f for f in findings if (f["type"], f["structure"]) ==
                    (row["type"], row["structure"])]  # fmt: skip
            assert int(row["findings"]) == len(mine)
        assert sum(int(row["findings"]) for row in counted) == len(findings)

    def test_noise_rates(self, ranked: Run) -> None:
        counts = ranked.read_json("counts.json")
        for row in rows_of(ranked.root / "report" / "noise_rates.csv"):
            plane = counts[row["structure"]]
            assert float(row["noise_rate"]) == plane["noise_rate"][1]
            assert [float(row["noise_rate_low"]), float(row["noise_rate_high"])] == (
                plane["intervals"]["noise_rate"][1]
            )
            assert float(row["missed"]) == pytest.approx(plane["given_true"][0][1])

    def test_every_mask_is_in_a_bin_and_on_its_side_of_the_threshold(self, ranked: Run) -> None:
        bins = rows_of(ranked.root / "report" / "agreement.csv")
        for name in ranked.dataset.scheme.structures:
            mine = [row for row in bins if row["structure"] == name]
            masks = [row for row in ranked.read_masks_table() if row["structure"] == name]
            limit = float(mine[0]["threshold"])
            for column, doubted in (("believed", "False"), ("doubted", "True")):
                there = [float(mask["agreement"]) for mask in masks if mask["doubted"] == doubted]
                assert sum(int(row[column]) for row in mine) == len(there)
                assert all((dice < limit) == (doubted == "True") for dice in there)
            lowest = min(float(mask["agreement"]) for mask in masks)
            assert float(mine[0]["agreement_from"]) <= lowest

    def test_the_curve_ends_with_all_errors(self, ranked: Run) -> None:
        rows = rows_of(ranked.root / "report" / "errors_found.csv")
        assert [int(row["cases"]) for row in rows] == list(range(1, 17))
        for column in ("estimated_share_of_errors", "true_share_of_errors"):
            values = [float(row[column]) for row in rows]
            assert values == sorted(values)
            assert values[-1] == pytest.approx(1)

    def test_the_change_is_that_of_the_mended_masks(self, ranked: Run) -> None:
        measured = measure(ranked, Workers(count=1))
        scheme = ranked.dataset.scheme
        for index, case in enumerate(ranked.cases):
            given, mended = ranked.read_given(case), ranked.read_mended(case)
            for number, name in enumerate(scheme.structures):
                masks = [scheme.structure_mask(labels, name) for labels in (given, mended)]
                wanted = 1 - count_overlap(*masks).dice
                assert measured.change[index, number] == pytest.approx(wanted)
        assert np.nanmean(measured.after) > np.nanmean(measured.now) + 0.02


def test_expected_dice_by_hand() -> None:
    calibrated = np.linspace(0, 1, BINS)
    everywhere, mask = np.zeros((2, BINS), np.int64)
    everywhere[255], everywhere[51], everywhere[0] = 4, 5, 9
    mask[255], mask[51] = 3, 1
    # 3 + 0.2 of the mask's 4 pixels are expected to be right, of 4 + 5 * 0.2 true ones
    assert expected_dice(mask, everywhere, calibrated) == pytest.approx(2 * 3.2 / (4 + 5))
    assert expected_dice(0 * mask, everywhere, calibrated) == 0
    assert expected_dice(0 * mask, 0 * everywhere, calibrated) == 0


def test_masks_that_agree_lack_and_are_not_there(tmp_path: Path) -> None:
    root = tmp_path / "data"
    masks = {"a": [[1, 1], [0, 0]], "b": [[1, 0], [0, 0]], "c": [[0, 0], [0, 0]]}
    for name, mask in masks.items():
        for folder, values in (("images", [[9, 8], [7, 6]]), ("masks/dot", mask)):
            path = root / folder / f"{name}.png"
            path.parent.mkdir(parents=True, exist_ok=True)
            Image.fromarray(np.array(values, np.uint8)).save(path)
    dataset = open_dataset(root)
    splits = tuple({case.split for case in dataset.cases})
    run = Run.create(tmp_path / "run", Source(str(root), splits), ALL_WRONG, dataset)
    truth = np.array([[[1, 1], [0, 0]]], np.float32)
    judged(run, lambda case: 0 * truth if case == "c" else truth)
    measured = measure(run, Workers(count=1))
    # b lacks one of two pixels: Dice 2 / 3
    assert measured.change[:, 0].tolist() == pytest.approx([0, 1 / 3, 0])
    (now_a, now_b, now_c), (after_a, after_b, after_c) = measured.now[:, 0], measured.after[:, 0]
    assert now_b < after_b == now_a == after_a
    assert now_c == after_c == 1


def test_ignored_pixels_need_no_probability(tmp_path: Path) -> None:
    root = tmp_path / "data"
    for name, last in (("a", 7), ("b", 7), ("c", 0)):
        mask = [[1, 1], [0, last]]
        for folder, values in (("images", [[9, 8], [7, 6]]), ("masks/dot", mask)):
            path = root / folder / f"{name}.png"
            path.parent.mkdir(parents=True, exist_ok=True)
            Image.fromarray(np.array(values, np.uint8)).save(path)
    dataset = open_dataset(root, ignore_value=7)
    source = Source(str(root), tuple({case.split for case in dataset.cases}), ignore_value=7)
    run = Run.create(tmp_path / "run", source, ALL_WRONG, dataset)
    known, unknown = (np.array([[[1, 0.9], [0, last]]], np.float32) for last in (0, np.nan))
    judged(run, lambda case: known if case == "c" else unknown)
    measured = measure(run, Workers(count=1))
    assert measured.change.tolist() == [[0], [0], [0]]
    assert np.isfinite(measured.now).all()
    stages.write_report(run)


def test_the_curve_by_hand(ranked: Run) -> None:
    change = np.zeros((len(ranked.cases), 3))
    change[2] = 0.3, 0.3, math.nan
    change[7, 0] = 0.2
    order = (7, 2, 0, 1, 3, 4, 5, 6, 8, 9, 10, 11, 12, 13, 14, 15)
    measured = Measured(change, change, change)
    effort = measure_effort(ranked, measured, Found(None, order, True))
    assert effort.estimated is not None
    assert effort.estimated.tolist() == pytest.approx([0.25, *[1.0] * 15])
    assert effort.needed() == 2
    none = measure_effort(ranked, Measured(0 * change, change, change), Found(None, order, True))
    assert none.estimated is None
    assert none.needed() is None


class TestLackingParts:
    def test_before_rank(self, tmp_path: Path) -> None:
        run = phantoms(tmp_path, 8)
        stages.write_report(run)
        page = Page(run.root / "report.html")
        assert "maskmend rank 'my run'" in page.text
        assert "There are no findings yet" in page.text
        assert "no finished training" in page.text
        assert page.all("article")

    def test_a_ranking_of_an_earlier_flagging_is_not_taken(self, tmp_path: Path) -> None:
        run = phantoms(tmp_path, 4)
        write_rankings(run)
        measured = measure(run, Workers(count=1))
        assert not read_found(run, measured).ranked
        stages.rank(run)
        assert read_found(run, measured).ranked

    def test_before_flag(self, tmp_path: Path) -> None:
        write_phantoms(tmp_path / "data", {"training": 4}, seed=1, size=48)
        run = Run.create(tmp_path / "run", Source(str(tmp_path / "data"), ("training",)), ALL_WRONG)
        with pytest.raises(MissingFileError):
            stages.write_report(run)
        assert not (run.root / "report.html").exists()

    def test_nothing_is_wrong(self, tmp_path: Path) -> None:
        write_phantoms(tmp_path / "data", {"training": 4}, seed=1, size=48)
        dataset = open_dataset(tmp_path / "data")
        truth = {case.id: stages.read_labels(dataset, case) for case in dataset.cases}
        settings = Settings(threads=1, crossfit=CrossfitSettings(folds=2))
        source = Source(str(tmp_path / "data"), ("training",))
        run = judged(Run.create(tmp_path / "run", source, settings),
                     lambda case: (0.05 + 0.9 * truth[case]).astype(np.float32))  # fmt: skip
        stages.rank(run)
        write_rankings(run)
        stages.write_report(run)
        page = Page(run.root / "report.html")
        assert "None of 12 masks stands out" in page.text
        assert "There is nothing to review" in page.text
        assert "No case has a flagged pixel" in page.text

    def test_trainings(self, tmp_path: Path) -> None:
        run = phantoms(tmp_path, 4)
        losses = {"teachers/fold0": [1.0, 0.5], "teachers/fold10": [0.9, 0.4],
                  "teachers/fold2": [0.8, 0.3], "students/believed": [0.7]}  # fmt: skip
        for folder, values in losses.items():
            rows = [[k + 1, loss, 1 - loss, 1.0] for k, loss in enumerate(values)]
            header = ["epoch", "loss", "monitor_dice", "kept"]
            files.write_csv(run.root / folder / "metrics.csv", header, rows)
        names = [history.name for history in read_histories(run)]
        assert names == ["fold0", "fold2", "fold10", "believed"]
        stages.write_report(run)
        page = Page(run.root / "report.html")
        assert "teacher 11 0.600" in page.text
        assert "1 student, Dice at the end: student on believed 0.300." in page.text
        table = rows_of(run.root / "report" / "training_teachers.csv")
        assert [(row["training"], row["loss"]) for row in table[2:4]] == [
            ("fold2", "0.8"), ("fold2", "0.3"),
        ]  # fmt: skip


def volumes(root: Path, structures: int, count: int = 4) -> Path:
    """Label maps of slabs beside each other, in voxels of 3 x 1 x 1.5 mm."""
    rng = np.random.default_rng(0)
    for number in range(count):
        labels = np.zeros((5, 12, 2 * structures + 4), np.uint8)
        for value in range(1, structures + 1):
            labels[1:4, 3 + number % 3 : 9, 2 * value : 2 * value + 2] = value
        for folder, values in (
            ("images", rng.normal(100, 20, labels.shape).astype(np.float32) + 30 * labels),
            ("masks", labels),
        ):
            (root / folder).mkdir(parents=True, exist_ok=True)
            image = nibabel.Nifti1Image(values.T, np.diag([1.5, 1, 3, 1]))
            nibabel.save(image, root / folder / f"v{number}.nii.gz")
    names = {f"structure {value:02}": value for value in range(1, structures + 1)}
    (root / "labels.json").write_text(json.dumps(names))
    return root


def existing(root: Path, out: Path, wrong: int) -> Run:
    """A run on the predictions of a model that moves what is given by two rows, in some cases."""
    dataset = open_dataset(root)
    classes = dataset.scheme.num_classes

    def predictions() -> Iterator[tuple[str, NDArray[np.float32]]]:
        for index, case in enumerate(dataset.cases):
            given = stages.read_labels(dataset, case)[0]
            labels = np.roll(given, 2, axis=1) if index < wrong else given
            hot = np.moveaxis(np.eye(classes, dtype=np.float32)[labels], -1, 0)
            kept = hot[1:] if dataset.scheme.overlapping else hot
            yield case.id, 0.1 / classes + 0.9 * kept

    source = Source(str(root), tuple({case.split for case in dataset.cases}))
    return stages.audit(source, out, ALL_WRONG, probabilities=predictions(), out_of_sample=True)


@pytest.fixture(scope="module")
def layered(tmp_path_factory: pytest.TempPathFactory) -> Run:
    """Exclusive structures in 3D, on predictions that existed; two of four cases are wrong."""
    root = tmp_path_factory.mktemp("volumes")
    run = existing(volumes(root / "data", 2), root / "run", 2)
    stages.rank(run)
    write_rankings(run)
    stages.write_report(run)
    return run


class TestVolumes:
    def test_audit_writes_it(self, tmp_path: Path) -> None:
        run = existing(volumes(tmp_path / "data", 1), tmp_path / "run", 1)
        assert "Nothing was trained in this run" in Page(run.root / "report.html").text

    def test_the_best_slice_of_the_first_finding_is_shown(self, layered: Run) -> None:
        text = Page(layered.root / "report.html").text
        first = rows_of(layered.root / "findings.csv")[0]
        assert f"Shown: slice {first['best_slice']} of 0 to 4 along axis 0." in text
        assert " mm³" in text

    def test_a_slice_lies_as_a_radiologist_has_it(self, layered: Run) -> None:
        # the affine is RAS+: rows layered to the front, columns to the right; both are turned
        text = (layered.root / "report.html").read_text()
        drawing = next(re.finditer(r'<svg class="overlay".*?</svg>', text)).group()
        assert re.findall(r"<text[^>]*>(A|R|S)</text>", drawing) == ["A", "R"]
        case = layered.cases[0]
        given = layered.read_given(case)[0]
        rows = np.flatnonzero((given[2] == 1).any(axis=1))
        height = given.shape[1]
        scale = 320 / max(height * 1.0, given.shape[2] * 1.5)
        lines = re.findall(r'<path class="given" d="M([\d.]+) ([\d.]+)', drawing)
        assert float(lines[0][1]) == pytest.approx((height - 1 - rows[-1]) * scale, abs=0.1)

    def test_matrices_add_up(self, layered: Run) -> None:
        rows = rows_of(layered.root / "report" / "transitions.csv")
        for given in ("background", "structure 01", "structure 02"):
            total = sum(float(r["true_given_given"]) for r in rows if r["given"] == given)
            assert total == pytest.approx(1)
        assert Page(layered.root / "report.html").text.count("adds up to 100 %") == 2

    def test_thirty_structures(self, tmp_path: Path) -> None:
        run = existing(volumes(tmp_path / "data", 30), tmp_path / "run", 2)
        stages.rank(run)
        write_rankings(run)
        stages.write_report(run)
        page = Page(run.root / "report.html")
        assert "pairs of classes confused most often" in page.text
        assert len(rows_of(run.root / "report" / "transitions.csv")) == 31 * 31
        assert (run.root / "report.html").stat().st_size < 1_500_000


class TestPrivacy:
    def test_html_in_names_is_text(self, tmp_path: Path) -> None:
        evil = "<script>alert(1)</script>"
        root = volumes(tmp_path / "data", 1)
        name = evil.replace("/", "")
        for folder in ("images", "masks"):
            (root / folder / "v0.nii.gz").rename(root / folder / f"{name}.nii.gz")
        (root / "labels.json").write_text(json.dumps({'<b onclick="x">&': 1}))
        run = existing(root, tmp_path / "<i>run", 3)
        stages.rank(run)
        write_rankings(run)
        stages.write_report(run)
        page = Page(run.root / "report.html")
        assert name in page.text
        assert '<b onclick="x">&' in page.text
        assert not {tag for tag, _ in page.tags} & {"script", "b", "i"} - {"i"}
        assert not any("onclick" in attributes for _, attributes in page.tags)
        # the key of colours has the only <i>
        assert {i.get("class") for i in page.all("i")} == {"swatch s0", "swatch s1"}

    def test_paths_lose_their_folders(self, ranked: Run) -> None:
        names = Names(ranked)
        data, home = ranked.source.root, "/home/anna smith/scans"
        assert names.relative(f"{data}/images/a.png is empty") == "thorax/images/a.png is empty"
        assert names.relative(f"got {home}/mri 3/a.nii.gz, not b") == "got a.nii.gz, not b"
        assert names.relative(r"got C:\Users\Anna\a.nii") == "got a.nii"
        assert names.relative("3 x 4 / 5, and/or 1/2 mm") == "3 x 4 / 5, and/or 1/2 mm"
        assert names.relative(f"in {ranked.root}: a.json") == "in my run: a.json"

    def test_reasons_and_sentences_are_relative(self, tmp_path: Path) -> None:
        run = existing(volumes(tmp_path / "data", 1), tmp_path / "run", 1)
        reasons = [f"bad: {tmp_path}/data/images/bad.nii.gz is no image"] * 60
        left_out = tuple(LeftOut(f"bad{k}", reason) for k, reason in enumerate(reasons))
        object.__setattr__(run.dataset, "left_out", left_out)
        object.__setattr__(run.dataset, "understood", (f"Read from {tmp_path}/elsewhere/x.csv.",))
        stages.write_report(run)
        written = (run.root / "report.html").read_text()
        table = (run.root / "report" / "left_out.csv").read_text()
        assert str(tmp_path) not in written + table
        assert "data/images/bad.nii.gz is no image" in written
        assert "60 cases took no part. 10 more are in the file." in written
        assert "Read from x.csv." in written
        assert "bad59" in table

    def test_no_field_of_a_dicom_header(self, tmp_path: Path) -> None:
        root = tmp_path / "data"
        secrets = dicom_data(root)
        run = existing(root, tmp_path / "run", 1)
        stages.rank(run)
        write_rankings(run)
        stages.write_report(run)
        written = [path for path in (run.root / "report").iterdir()] + [run.root / "report.html"]
        for path in written:
            text = path.read_text()
            assert not [secret for secret in secrets if secret.lower() in text.lower()], path


def dicom_data(root: Path) -> list[str]:
    """Three CT series with masks; returns what identifies their patient."""
    pydicom = pytest.importorskip("pydicom")
    from pydicom.uid import CTImageStorage, ExplicitVRLittleEndian

    said = {
        "PatientName": "Doe^Jane", "PatientID": "MRN-778899", "PatientBirthDate": "19610203",
        "InstitutionName": "Saint Elsewhere", "ReferringPhysicianName": "Quincy^Jack",
        "StudyDescription": "Follow-up Zebra", "AccessionNumber": "ACC55512", "StudyID": "ST4711",
        "SeriesDescription": "Walrus 2 mm", "StudyDate": "20190807", "StationName": "CTROOM9",
    }  # fmt: skip
    rng = np.random.default_rng(1)
    for number in range(3):
        folder = root / "images" / f"p{number}"
        folder.mkdir(parents=True)
        for index in range(4):
            image = pydicom.dataset.Dataset()
            image.file_meta = pydicom.dataset.FileMetaDataset()
            image.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
            image.file_meta.MediaStorageSOPClassUID = image.SOPClassUID = CTImageStorage
            uid = f"1.2.{number + 1}.{index + 1}"
            image.file_meta.MediaStorageSOPInstanceUID = image.SOPInstanceUID = uid
            image.StudyInstanceUID, image.SeriesInstanceUID = "1.2.4", f"1.2.5.{number}"
            image.FrameOfReferenceUID, image.Modality = f"1.2.6.{number}", "CT"
            for name, value in said.items():
                setattr(image, name, value)
            image.Rows, image.Columns = 10, 8
            image.ImagePositionPatient = [-10, -20, -30 + 2.5 * index]
            image.ImageOrientationPatient = [1, 0, 0, 0, 1, 0]
            image.PixelSpacing, image.SliceThickness = [0.75, 0.5], 2.5
            image.SamplesPerPixel, image.PhotometricInterpretation = 1, "MONOCHROME2"
            image.BitsAllocated = image.BitsStored = 16
            image.HighBit, image.PixelRepresentation = 15, 0
            image.InstanceNumber = index + 1
            image.PixelData = rng.integers(0, 1000, (10, 8)).astype("<u2").tobytes()
            image.save_as(folder / f"{index}.dcm", enforce_file_format=True)
        mask = np.zeros((4, 10, 8), np.uint8)
        mask[1:3, 2:7, 2:6] = 1
        # columns to the left, rows to the back: as the series lies
        affine = np.array([[-0.5, 0, 0, 10], [0, -0.75, 0, 20], [0, 0, 2.5, -30], [0, 0, 0, 1]])
        (root / "masks").mkdir(exist_ok=True)
        nibabel.save(nibabel.Nifti1Image(mask.T, affine), root / "masks" / f"p{number}.nii.gz")
    (root / "labels.json").write_text(json.dumps({"liver": 1}))
    return [*said.values(), "Jane", "Elsewhere", "Quincy", "Zebra", "Walrus"]


class TestPlaces:
    def test_another_file(self, ranked: Run, tmp_path: Path) -> None:
        out = tmp_path / "for me" / "labels.html"
        assert stages.write_report(ranked, out) == out
        links = [unquote(a["href"] or "") for a in Page(out).all("a")]
        tables = [link for link in links if link.endswith(".csv")]
        assert tables
        assert all((out.parent / link).is_file() for link in tables)
        assert all(link.startswith("labels/") for link in tables)

    @pytest.mark.parametrize("name", ["report", "report.txt", ""])
    def test_not_a_page(self, ranked: Run, tmp_path: Path, name: str) -> None:
        with pytest.raises(SettingsError, match=r"ends in \.html"):
            stages.write_report(ranked, tmp_path / name)

    def test_never_into_the_data_set(self, ranked: Run) -> None:
        with pytest.raises(SettingsError, match="outside of the data set"):
            stages.write_report(ranked, Path(ranked.source.root) / "report.html")
        assert not (Path(ranked.source.root) / "report").exists()

    def test_command(self, ranked: Run, tmp_path: Path) -> None:
        from typer.testing import CliRunner

        out = tmp_path / "labels.html"
        ended = CliRunner().invoke(app, ["report", str(ranked.root), "--out", str(out)])
        assert ended.exit_code == 0
        assert str(out) in ended.output
        assert out.is_file()


def test_every_type_is_explained() -> None:
    assert set(MEANINGS) == set(TYPES)


class TestDocs:
    TEXT = (Path(__file__).parents[1] / "docs" / "report.md").read_text()

    def test_python_runs(self, ranked: Run, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.chdir(ranked.root.parent)
        (block,) = re.findall(r"```python\n(.*?)```", self.TEXT, re.DOTALL)
        said: dict[str, object] = {}
        exec(compile(block.replace("my-run", "my run"), "report.md", "exec"), said)
        assert said["page"] == ranked.root / "report.html"

    def test_every_table_is_named(self, ranked: Run) -> None:
        for path in (ranked.root / "report").glob("*.csv"):
            assert f"`{path.name}`" in self.TEXT

    def test_every_chapter_is_named(self, page: Page) -> None:
        titles = re.findall(r'<h2 id="[^"]+">(.*?)</h2>', page.source)
        assert len(titles) == 10
        assert all(f"| {title} |" in self.TEXT for title in titles)


def test_ten_thousand_findings_stay_a_page(tmp_path: Path) -> None:
    """Dots of which a few are given, and the others predicted."""
    root, rng, size = tmp_path / "data", np.random.default_rng(0), 64
    for folder in ("images", "masks/dots"):
        (root / folder).mkdir(parents=True)
    dots = np.zeros((2, size, size), np.uint8)
    for number, (row, column) in enumerate(product(range(0, size, 8), repeat=2)):
        dots[int(number >= 8), row : row + 4, column : column + 4] = 1
    for number in range(200):
        name = f"case_{number:04}.png"
        noise = rng.integers(0, 255, (size, size)).astype(np.uint8)
        Image.fromarray(noise).save(root / "images" / name)
        Image.fromarray(dots[0]).save(root / "masks" / "dots" / name)
    dataset = open_dataset(root)
    splits = tuple({case.split for case in dataset.cases})
    run = Run.create(tmp_path / "run", Source(str(root), splits), ALL_WRONG, dataset)
    judged(run, lambda case: (0.05 + 0.9 * dots[1:]).astype(np.float32))
    found = [
        Finding(
            f"{case:06x}{number:06x}", f"case_{case:04}", number, 0, "dots", kind, "background",
            "dots", 16, 16.0, "px", 0.1, 2.0, 0.9, ((8, 12), (8, 12)), None, (9.5, 9.5), 0.09,
        )
        for case, number in product(range(200), range(1, 51))
        for kind in (("missing", "extra")[number % 2],)
    ]  # fmt: skip
    grids = {case.id: read_grid(case) for case in run.cases}
    run.write_table(NAME, HEADER, findings_rows(found, grids))
    write_rankings(run)
    page = stages.write_report(run)
    assert page.stat().st_size < 1_000_000
    assert "10,000 findings in 200 cases" in page.read_text()
    assert "9,975 more are in findings.csv" in page.read_text()
    # a line of so many cases is thinned, its numbers are not
    assert len(rows_of(run.root / "report" / "errors_found.csv")) == 200
