"""Tables of cases: CSV and JSON, channels, groups, and structures that are not labelled."""

from __future__ import annotations

import csv
import io
from pathlib import Path
from typing import Any

import pytest

from maskmend.core import IGNORED, LabelScheme
from maskmend.datasets import open_dataset, read_image, read_labels
from maskmend.errors import LayoutError, MissingFileError, SettingsError, UnreadableFileError
from maskmend.files import read_csv


def write(path: Path, *rows: str) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("\n".join(rows) + "\n")
    return path


@pytest.fixture
def maps(tmp_path: Path, make: Any) -> Path:
    """Label maps of liver 1 and spleen 2; in `b` only the liver was looked for."""
    root = tmp_path / "data"
    for seed, case in enumerate(("a", "b", "c")):
        make.image(root / "scans" / f"{case}.nii.gz", seed)
        make.label(root / "segs" / f"{case}-x.nii.gz", 0, 1, 0 if case == "b" else 2)
    make.json(root / "labels.json", {"liver": 1, "spleen": 2})
    return write(
        root / "cases.csv",
        "case,image,label,group,split,labelled,comment",
        "a,scans/a.nii.gz,segs/a-x.nii.gz,P1,train,,fine",
        "b,scans/b.nii.gz,segs/b-x.nii.gz,P1,train,liver,",
        "c,scans/c.nii.gz,segs/c-x.nii.gz,P2,held-back,liver;spleen,",
    )


def test_it_is_understood(maps: Path) -> None:
    dataset = open_dataset(maps)
    assert dataset.layout == "table"
    assert dataset.scheme == LabelScheme(("liver", "spleen"), overlapping=False)
    assert [(case.id, case.group, case.split) for case in dataset.cases] == [
        ("a", "P1", "training"), ("b", "P1", "training"), ("c", "P2", "held-back")
    ]  # fmt: skip
    said = "\n".join(dataset.understood)
    assert "2 patients, as the data set states." in said
    assert "Columns that are not read: comment." in said
    assert "spleen is not labelled in 1 case and takes no part there: b." in said
    assert open_dataset(maps.parent).cases == dataset.cases
    grouped = open_dataset(maps, group_pattern="(.)").cases
    assert [case.group for case in grouped] == ["a", "b", "c"]


def test_a_partly_labelled_map_ignores_its_background(
    maps: Path, tmp_path: Path, make: Any
) -> None:
    dataset = open_dataset(maps)
    case = dataset.cases[1]
    assert case.unlabelled == {"spleen"}
    labels = read_labels(dataset, case)
    assert labels.ravel()[:3].tolist() == [IGNORED, 1, IGNORED]
    assert (labels == IGNORED).sum() == labels.size - 1
    # the one labelled voxel is taken away; nothing else may change
    wanted = labels.copy()
    wanted.ravel()[1] = 0
    mended = make.mend(dataset, tmp_path / "out", {"b": wanted})
    from maskmend.formats import read_mask

    assert not read_mask(mended.cases[1].masks["labels"])[0].any()
    wanted.ravel()[0] = 1
    with pytest.raises(MissingFileError, match=r"b: expected no labels of spleen.*got 1 labelled"):
        make.mend(dataset, tmp_path / "other", {"b": wanted})


def test_there_and_back(maps: Path, tmp_path: Path, make: Any) -> None:
    dataset = open_dataset(maps)
    wanted = read_labels(dataset, dataset.cases[2]).copy()
    wanted[0, 1, 1] = 1
    make.check_round_trip(dataset, tmp_path / "out", "c", wanted)
    assert (tmp_path / "out" / "cases.csv").read_bytes() == maps.read_bytes()
    assert (tmp_path / "out" / "labels.json").read_bytes() == (
        maps.parent / "labels.json"
    ).read_bytes()


@pytest.mark.parametrize("ending", ["csv", "json"])
def test_a_copy_does_not_list_what_was_left_out(
    maps: Path, tmp_path: Path, make: Any, ending: str
) -> None:
    if ending == "json":
        rows = read_csv(maps)
        maps.unlink()
        maps = make.json(maps.with_suffix(".json"), rows)
    (maps.parent / "segs" / "b-x.nii.gz").unlink()
    dataset = open_dataset(maps)
    assert [each.case for each in dataset.left_out] == ["b"]
    mended = make.mend(dataset, tmp_path / "out", {})
    assert mended.left_out == ()
    assert [case.id for case in mended.cases] == ["a", "c"]
    if ending == "csv":
        lines = maps.read_text().splitlines()
        kept = [line for line in lines if not line.startswith("b,")]
        assert (tmp_path / "out" / "cases.csv").read_text().splitlines() == kept


SPREADSHEETS = {
    "semicolons": (";", "utf-8", "\n"),
    "semicolons, as Excel writes them": (";", "utf-8-sig", "\r\n"),
    "tabs": ("\t", "utf-8", "\n"),
    "commas and a mark": (",", "utf-8-sig", "\n"),
}


@pytest.mark.parametrize("quoted", [False, True])
@pytest.mark.parametrize("kind", SPREADSHEETS)
def test_what_spreadsheets_write(
    maps: Path, tmp_path: Path, make: Any, kind: str, quoted: bool
) -> None:
    delimiter, encoding, line_end = SPREADSHEETS[kind]
    expected = open_dataset(maps)
    rows = [list(row.values()) for row in read_csv(maps)]
    rows[0][0] = expected_id = "müller; anna"
    text = io.StringIO()
    dialect = csv.unix_dialect if quoted else csv.excel
    writer = csv.writer(text, dialect, delimiter=delimiter, lineterminator=line_end)
    names = ["Case", "IMAGE", "Label", "group", "split", "labelled", "comment"]
    # the last two rows had their cells cleared
    writer.writerows([names, *rows, [""] * 7, [""] * 7])
    maps.write_bytes(text.getvalue().encode(encoding))
    dataset = open_dataset(maps)
    assert dataset.cases[0].id == expected_id
    assert dataset.cases[1:] == expected.cases[1:]
    assert dataset.left_out == ()
    assert open_dataset(maps.parent).cases == dataset.cases
    # a copy that does not hold for all cases is written in the same way
    (maps.parent / "segs" / "b-x.nii.gz").unlink()
    mended = make.mend(open_dataset(maps), tmp_path / "out", {})
    assert [case.id for case in mended.cases] == [expected_id, "c"]
    written = (tmp_path / "out" / "cases.csv").read_bytes()
    assert written.startswith(b"\xef\xbb\xbf") == (encoding == "utf-8-sig")
    lines = written.decode(encoding).split(line_end)
    assert lines[0] == delimiter.join(names)
    assert lines[2:] == [delimiter.join(rows[2]).replace("liver;spleen", quote(delimiter)), ""]


def quote(delimiter: str) -> str:
    return '"liver;spleen"' if delimiter == ";" else "liver;spleen"


def test_another_encoding(maps: Path) -> None:
    maps.write_bytes(maps.read_text().replace("fine", "schön").encode("cp1252"))
    with pytest.raises(UnreadableFileError, match=r"table in UTF-8.*CSV UTF-8"):
        open_dataset(maps)


def test_what_is_not_labelled_must_not_be_there(maps: Path, make: Any) -> None:
    make.label(maps.parent / "segs" / "b-x.nii.gz", 1, 2)
    (left_out,) = open_dataset(maps).left_out
    assert left_out.case == "b"
    assert "expected no pixels of spleen, which is not labelled" in left_out.reason


def test_a_structure_that_nobody_knows(maps: Path) -> None:
    maps.write_text(maps.read_text().replace(",liver,", ",lung,"))
    (left_out,) = open_dataset(maps).left_out
    assert "structures of liver, spleen under labelled; got lung" in left_out.reason


def test_files_elsewhere(maps: Path, tmp_path: Path, make: Any) -> None:
    text = maps.read_text().replace("segs/a-x", f"{maps.parent}/segs/a-x")
    table = write(tmp_path / "tables" / "mine.csv", *text.replace("scans/", "../data/scans/")
                  .replace(",segs/", ",../data/segs/").splitlines())  # fmt: skip
    make.json(tmp_path / "tables" / "labels.json", {"liver": 1, "spleen": 2})
    dataset = open_dataset(table)
    assert [case.id for case in dataset.cases] == ["a", "b", "c"]
    before = make.contents(maps.parent)
    wanted = read_labels(dataset, dataset.cases[0]).copy()
    wanted[0, 1, 1] = 1
    mended = make.check_round_trip(dataset, tmp_path / "out", "a", wanted)
    assert make.contents(maps.parent) == before
    assert mended.cases[0].image == tmp_path / "out" / "files" / "a" / "image_0" / "a.nii.gz"
    with pytest.raises(LayoutError, match="outside the data set"):
        make.mend(dataset, tmp_path / "tables" / "out", {})


class TestBinaryMasks:
    @pytest.fixture
    def masks(self, tmp_path: Path, make: Any) -> Path:
        root = tmp_path / "data"
        for case in ("a", "b"):
            for name in ("t1", "t2"):
                make.image(root / case / f"{name}.nii.gz")
            for structure, values in (("liver", (1, 1)), ("lung", (0, 1, 1))):
                make.label(root / case / f"{structure}.nii.gz", *values)
        return make.json(
            root / "cases.json",
            [
                {"case": "a", "image": ["a/t1.nii.gz", "a/t2.nii.gz"],
                 "label:lung": "a/lung.nii.gz", "label:liver": "a/liver.nii.gz"},
                {"case": "b", "image_0": None, "image": "b/t1.nii.gz;b/t2.nii.gz",
                 "label:lung": "b/lung.nii.gz", "label:liver": "b/liver.nii.gz",
                 "labelled": ["lung"]},
            ],
        )  # fmt: skip

    def test_there_and_back(self, masks: Path, tmp_path: Path, make: Any) -> None:
        dataset = open_dataset(masks)
        assert dataset.scheme == LabelScheme(("liver", "lung"), overlapping=True)
        assert read_image(dataset.cases[1]).shape == (2, *make.shape)
        # not labelled, though there is a file
        assert set(dataset.cases[1].masks) == {"lung"}
        labels = read_labels(dataset, dataset.cases[1])
        assert (labels[0] == IGNORED).all()
        wanted = labels.copy()
        wanted[1, 2] = 1
        make.check_round_trip(dataset, tmp_path / "out", "b", wanted)
        assert not (tmp_path / "out" / "b" / "liver.nii.gz").exists()

    def test_labelled_without_a_mask(self, masks: Path) -> None:
        masks.write_text(masks.read_text().replace('"b/lung.nii.gz"', '""'))
        (left_out,) = open_dataset(masks).left_out
        assert "expected a mask of lung, said to be labelled" in left_out.reason

    def test_an_empty_cell_is_not_labelled(self, masks: Path) -> None:
        masks.write_text(masks.read_text().replace('"a/liver.nii.gz"', "null"))
        assert set(open_dataset(masks).cases[0].masks) == {"lung"}


@pytest.mark.parametrize(
    ("rows", "expected"),
    [
        (["case,label", "a,a.nii"], "a column image"),
        (["image,case", "a.nii,a"], "either a column label or columns label:NAME"),
        (["image,label,label:x", "a.nii,a,b"], "either a column label or columns label:NAME"),
        (["image_1,label", "a.nii,a"], "a column image, or image_0"),
        (["case,image,label", "a,i.nii,l.nii", "a,j.nii,m.nii"], "a case id of its own"),
        (["case,image,label", "../a,i.nii,l.nii"], "case ids that can be names of files"),
        (["image,label"], "a row for each case"),
    ],
)
def test_a_table_that_makes_no_sense(tmp_path: Path, rows: list[str], expected: str) -> None:
    with pytest.raises(SettingsError, match=rf"t\.csv: expected .*{expected}"):
        open_dataset(write(tmp_path / "t.csv", *rows))


@pytest.mark.parametrize("row", ["a.nii", "a.nii,b.nii,c"])
def test_a_row_of_another_length(tmp_path: Path, row: str) -> None:
    with pytest.raises(UnreadableFileError, match="another number in row 1"):
        open_dataset(write(tmp_path / "t.csv", "image,label", row))


def test_two_tables_in_a_folder(maps: Path) -> None:
    (maps.parent / "more.csv").write_bytes(maps.read_bytes())
    with pytest.raises(LayoutError, match=r"got cases\.csv, more\.csv"):
        open_dataset(maps.parent)


def test_rows_without_a_file(maps: Path) -> None:
    maps.write_text(maps.read_text().replace("segs/a-x.nii.gz", "").replace("c-x.nii", "no.nii"))
    first, second = open_dataset(maps).left_out
    assert (first.case, second.case) == ("a", "c")
    assert "an image without a mask" in first.reason
    assert "no.nii.gz; got nothing there" in second.reason


def test_an_output_onto_a_file_from_elsewhere(tmp_path: Path, make: Any) -> None:
    out = tmp_path / "out"
    make.image(out / "files" / "a" / "image_0" / "a.nii.gz")
    make.label(out / "files" / "a" / "labels" / "a-l.nii.gz", 1, 2)
    table = write(
        tmp_path / "tables" / "t.csv",
        "image,label",
        f"{out}/files/a/image_0/a.nii.gz,{out}/files/a/labels/a-l.nii.gz",
    )
    dataset = open_dataset(table)
    before = make.contents(out)
    with pytest.raises(LayoutError, match="without files of the data set"):
        make.mend(dataset, out, {})
    assert make.contents(out) == before
