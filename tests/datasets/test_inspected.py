"""What was found in files that have not changed since is not looked for again."""

from __future__ import annotations

import json
import os
import pickle
from collections.abc import Callable
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
import pytest

from maskmend.core import Dataset
from maskmend.datasets import inspected, open_dataset, reading
from maskmend.datasets.layouts import find_layout
from maskmend.datasets.phantom import write_phantoms
from maskmend.datasets.reading import Examined, examine
from maskmend.formats.seg_nrrd import create_segments


@pytest.fixture(autouse=True)
def long_ago(monkeypatch: pytest.MonkeyPatch) -> None:
    """Files of this second count as those of last year do."""
    monkeypatch.setattr(inspected, "SETTLED", -60.0)


def pictures(root: Path, make: Any) -> None:
    write_phantoms(root, {"training": 3}, seed=1, size=32)


def label_maps(root: Path, make: Any) -> None:
    """Uncompressed, so that files of one shape have one size; images of floats."""
    for seed, case in enumerate(("a", "b", "c")):
        make.image(root / "images" / f"{case}.nii", seed)
        make.label(root / "masks" / f"{case}.nii", 0, 1, 4)


def segments(root: Path, make: Any) -> None:
    for seed, case in enumerate(("a", "b")):
        make.image(root / "images" / f"{case}.nii.gz", seed)
        masks = {"liver": np.zeros(make.shape, bool), "spleen": np.ones(make.shape, bool)}
        masks["liver"][1, 2, seed] = True
        (root / "masks").mkdir(exist_ok=True)
        grid = open_grid(root / "images" / f"{case}.nii.gz")
        create_segments(root / "masks" / f"{case}.seg.nrrd", masks, grid)


def series(root: Path, make: Any) -> None:
    for case in ("a", "b"):
        pixels = np.arange(3 * 4 * 5).reshape(3, 4, 5)
        slices = make.series(root / "images" / case, pixels)
        make.segmentation(root / "masks" / f"{case}.dcm", slices, {"liver": pixels > 30})


def detached(root: Path, make: Any) -> None:
    """A header and its numbers apart."""
    for case in ("a", "b"):
        for folder, dtype in (("images", "short"), ("masks", "uchar")):
            (root / folder).mkdir(parents=True, exist_ok=True)
            (root / folder / f"{case}.nhdr").write_text(
                f"NRRD0004\ntype: {dtype}\ndimension: 3\nsizes: 5 4 3\nencoding: raw\n"
                f"endian: little\ndata file: {case}.raw\n\n"
            )
            numbers = np.zeros(60, "<i2" if folder == "images" else "u1")
            numbers[:2] = 1
            (root / folder / f"{case}.raw").write_bytes(numbers.tobytes())


def open_grid(path: Path) -> Any:
    from maskmend.formats import read_header

    return read_header(path).grid


KINDS = (pictures, label_maps, segments, series, detached)


def again(dataset: Dataset) -> Any:
    """What an opening found, as it comes back from a file."""
    return json.loads(json.dumps(dataset.inspected))


def read_cases(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The ids of the cases that are read from now on."""
    read: list[str] = []
    whole = reading.inspect

    def watched(found: Any, draft: Any, *more: Any) -> Any:
        read.append(draft.id)
        return whole(found, draft, *more)

    monkeypatch.setattr(reading, "inspect", watched)
    return read


@pytest.mark.parametrize("kind", KINDS)
def test_what_is_recalled_is_what_was_read(
    kind: Callable[..., None], tmp_path: Path, make: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    root = tmp_path / "data"
    kind(root, make)

    def examined(**known: Any) -> Examined:
        return examine(find_layout(root), **known)

    first = examined()
    known = again(first.dataset)
    assert list(known) == [case.id for case in first.dataset.cases]
    read = read_cases(monkeypatch)
    second = examined(inspected=known)
    assert read == []
    assert second.dataset == first.dataset
    assert second.inspections == first.inspections
    assert again(second.dataset) == known


@pytest.mark.parametrize("elsewhere", [False, True])
def test_the_root_may_be_named_in_any_way(
    elsewhere: bool, tmp_path: Path, make: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    label_maps(tmp_path / "data", make)
    monkeypatch.chdir(tmp_path)
    known = again(open_dataset("data"))
    root = (tmp_path / "data").rename(tmp_path / "moved") if elsewhere else tmp_path / "data"
    read = read_cases(monkeypatch)
    assert len(open_dataset(root, inspected=known).cases) == 3
    assert read == []


def test_settings_are_applied_to_what_is_recalled(tmp_path: Path, make: Any) -> None:
    label_maps(tmp_path, make)
    known = again(open_dataset(tmp_path))
    dataset = open_dataset(tmp_path, ignore_value=4, group_pattern="(.)", inspected=known)
    assert dataset == open_dataset(tmp_path, ignore_value=4, group_pattern="(.)")
    assert dataset.scheme.structures == ("foreground",)


def rewrite(path: Path, change: Callable[[bytearray], None]) -> None:
    """Other bytes of the same number, and the time of the last change put back."""
    before = path.stat()
    content = bytearray(path.read_bytes())
    change(content)
    path.write_bytes(content)
    os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))
    assert (path.stat().st_size, path.stat().st_mtime_ns) == (before.st_size, before.st_mtime_ns)


def test_a_changed_file_is_read_again_even_if_its_time_was_put_back(
    tmp_path: Path, make: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    label_maps(tmp_path, make)
    known = again(open_dataset(tmp_path))
    rewrite(tmp_path / "masks" / "b.nii", lambda content: content.__setitem__(-1, 7))
    read = read_cases(monkeypatch)
    dataset = open_dataset(tmp_path, inspected=known)
    assert read == ["b"]
    assert dataset.scheme.structures == ("class_1", "class_4", "class_7")


def test_an_image_that_is_no_longer_finite_is_found(tmp_path: Path, make: Any) -> None:
    label_maps(tmp_path, make)
    known = again(open_dataset(tmp_path))
    loaded: Any = nib.load(tmp_path / "images" / "c.nii")
    values = np.asarray(loaded.dataobj).copy()
    values[0, 0, 0] = np.nan
    nib.save(nib.Nifti1Image(values, loaded.affine), tmp_path / "images" / "c.nii")
    dataset = open_dataset(tmp_path, inspected=known)
    assert [left_out.case for left_out in dataset.left_out] == ["c"]
    # what is at fault is read again each time
    assert list(dataset.inspected) == ["a", "b"]


def test_the_numbers_beside_a_header_count(
    tmp_path: Path, make: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    detached(tmp_path, make)
    known = again(open_dataset(tmp_path))
    rewrite(tmp_path / "masks" / "a.raw", lambda content: content.__setitem__(5, 2))
    read = read_cases(monkeypatch)
    assert len(open_dataset(tmp_path, inspected=known).scheme.structures) == 2
    assert read == ["a"]


def test_a_file_more_in_the_folder_of_a_series_counts(
    tmp_path: Path, make: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    series(tmp_path, make)
    known = again(open_dataset(tmp_path))
    folder = tmp_path / "images" / "b"
    (folder / "more.dcm").write_bytes((folder / "z.dcm").read_bytes())
    read = read_cases(monkeypatch)
    open_dataset(tmp_path, inspected=known)
    assert read == ["b"]


def test_another_file_of_the_same_case_counts(
    tmp_path: Path, make: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    label_maps(tmp_path, make)
    known = again(open_dataset(tmp_path))
    (tmp_path / "masks" / "a.nii").unlink()
    make.label(tmp_path / "masks" / "a.nii.gz", 0, 1)
    read = read_cases(monkeypatch)
    open_dataset(tmp_path, inspected=known)
    assert read == ["a"]


def test_a_file_that_was_just_written_is_not_kept(
    tmp_path: Path, make: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    label_maps(tmp_path, make)
    monkeypatch.setattr(inspected, "SETTLED", 60.0)
    assert open_dataset(tmp_path).inspected == {}


@pytest.mark.parametrize(
    "spoil",
    [
        lambda record: "text",
        lambda record: {},
        lambda record: {**record, "files": [1]},
        lambda record: {**record, "dtype": "no such"},
        lambda record: {**record, "counts": {"labels": [[1]]}},
        lambda record: {name: value for name, value in record.items() if name != "grid"},
    ],
)
def test_a_record_of_another_make_is_not_used(
    spoil: Callable[[Any], Any], tmp_path: Path, make: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    label_maps(tmp_path, make)
    first = open_dataset(tmp_path)
    known = again(first) | {"b": spoil(again(first)["b"])}
    read = read_cases(monkeypatch)
    assert open_dataset(tmp_path, inspected=known) == first
    assert read == ["b"]


def test_workers_do_not_get_it(tmp_path: Path, make: Any) -> None:
    label_maps(tmp_path, make)
    dataset = open_dataset(tmp_path)
    sent = pickle.loads(pickle.dumps(dataset))
    assert sent == dataset
    assert sent.inspected == {}
    assert dataset.inspected
