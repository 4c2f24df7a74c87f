from __future__ import annotations

import csv
import json
import math
import os
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from maskmend import files
from maskmend.errors import MissingFileError, NotFiniteError, UnreadableFileError


class Killed(BaseException):
    """Stands for a process that ends in the middle of a write."""


class TestAtomicWriting:
    def test_the_folder_is_made_and_nothing_else_is_left(self, tmp_path: Path) -> None:
        files.write_bytes_atomic(tmp_path / "new" / "a.bin", b"one")
        files.write_bytes_atomic(tmp_path / "new" / "a.bin", b"two")
        assert [(p.name, p.read_bytes()) for p in (tmp_path / "new").iterdir()] == [
            ("a.bin", b"two")
        ]

    def test_an_interrupted_write_leaves_the_old_file_whole(self, tmp_path: Path) -> None:
        target = tmp_path / "a.bin"
        target.write_bytes(b"old")

        def write() -> None:
            with files.atomic_file(target) as handle:
                handle.write(b"half of the n")
                raise Killed

        with pytest.raises(Killed):
            write()
        assert [(p.name, p.read_bytes()) for p in tmp_path.iterdir()] == [("a.bin", b"old")]

    def test_the_target_is_untouched_until_the_data_are_on_the_disk(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        target = tmp_path / "a.bin"
        target.write_bytes(b"old")
        synced: list[bytes] = []
        fsync = os.fsync

        def watch(descriptor: int) -> None:
            fsync(descriptor)
            synced.append(target.read_bytes())

        monkeypatch.setattr(os, "fsync", watch)
        files.write_bytes_atomic(target, b"new")
        assert synced == [b"old"]
        assert target.read_bytes() == b"new"

    def test_the_usual_permissions_are_kept(self, tmp_path: Path) -> None:
        (tmp_path / "usual").write_bytes(b"")
        files.write_bytes_atomic(tmp_path / "atomic", b"")
        modes = {(tmp_path / name).stat().st_mode for name in ("usual", "atomic")}
        assert len(modes) == 1

    def test_a_link_is_replaced_and_not_written_through(self, tmp_path: Path) -> None:
        source, other, link = (tmp_path / name for name in ("source", "other", "link"))
        source.write_bytes(b"source")
        other.write_bytes(b"other")
        files.link_file_atomic(source, link)
        assert link.is_symlink()
        assert link.read_bytes() == b"source"
        files.copy_file_atomic(other, link)
        assert not link.is_symlink()
        assert (source.read_bytes(), link.read_bytes()) == (b"source", b"other")

    def test_copying_what_is_not_there(self, tmp_path: Path) -> None:
        with pytest.raises(MissingFileError, match="gone"):
            files.copy_file_atomic(tmp_path / "gone", tmp_path / "copy")
        assert list(tmp_path.iterdir()) == []


class TestJson:
    def test_order_of_keys_does_not_change_the_bytes(self, tmp_path: Path) -> None:
        files.write_json(tmp_path / "a", {"b": 0.1, "a": [1, None, "ß"]})
        files.write_json(tmp_path / "b", {"a": (1, None, "ß"), "b": np.float64(0.1)})
        assert (tmp_path / "a").read_bytes() == (tmp_path / "b").read_bytes()

    def test_numpy_values_and_paths(self, tmp_path: Path) -> None:
        value = {"n": np.int64(3), "m": np.array([[1, 2]]), "p": tmp_path}
        files.write_json(tmp_path / "a", value)
        assert files.read_json(tmp_path / "a") == {"n": 3, "m": [[1, 2]], "p": str(tmp_path)}

    @given(st.floats(allow_nan=False, allow_infinity=False))
    def test_floats_read_back_exactly(
        self, tmp_path_factory: pytest.TempPathFactory, value: float
    ) -> None:
        path = tmp_path_factory.getbasetemp() / "float.json"
        files.write_json(path, value)
        back = files.read_json(path)
        assert (back, math.copysign(1, back)) == (value, math.copysign(1, value))

    @pytest.mark.parametrize("value", [math.nan, math.inf, np.array([1.0, -np.inf])])
    def test_what_json_cannot_hold(self, tmp_path: Path, value: object) -> None:
        with pytest.raises(NotFiniteError, match=r"a\.json"):
            files.write_json(tmp_path / "a.json", {"t": value})
        assert list(tmp_path.iterdir()) == []

    def test_an_object_without_a_rule_is_refused(self, tmp_path: Path) -> None:
        with pytest.raises(TypeError, match="set"):
            files.write_json(tmp_path / "a.json", {1, 2})

    @pytest.mark.parametrize("data", [b"", b'{"a": 1', b"\xff\xfe\x00"])
    def test_reading_what_is_no_json(self, tmp_path: Path, data: bytes) -> None:
        (tmp_path / "a.json").write_bytes(data)
        with pytest.raises(UnreadableFileError, match=r"a\.json"):
            files.read_json(tmp_path / "a.json")

    def test_reading_what_is_not_there(self, tmp_path: Path) -> None:
        with pytest.raises(MissingFileError, match=r"a\.json"):
            files.read_json(tmp_path / "a.json")

    def test_the_file_is_plain_text(self, tmp_path: Path) -> None:
        files.write_json(tmp_path / "a.json", {"organ": "Schlüsselbein"})
        text = (tmp_path / "a.json").read_text(encoding="utf-8")
        assert text == '{\n  "organ": "Schlüsselbein"\n}\n'
        assert json.loads(text) == {"organ": "Schlüsselbein"}


class TestArrays:
    @pytest.mark.parametrize("mmap", [False, True])
    @given(
        array=hnp.arrays(
            st.sampled_from(["u1", "<u2", ">i4", "f2", "f4", "f8", "?"]),
            hnp.array_shapes(min_dims=0, max_dims=4, min_side=1, max_side=4),
        )
    )
    def test_round_trip(
        self, tmp_path_factory: pytest.TempPathFactory, mmap: bool, array: np.ndarray
    ) -> None:
        path = tmp_path_factory.getbasetemp() / "round-trip.npy"
        files.write_array(path, array)
        back = files.read_array(path, mmap=mmap)
        assert (back.dtype, back.shape, back.tobytes()) == (
            array.dtype,
            array.shape,
            array.tobytes(),
        )

    @pytest.mark.parametrize("mmap", [False, True])
    def test_truncated_anywhere(self, tmp_path: Path, mmap: bool) -> None:
        path = tmp_path / "a.npy"
        files.write_array(path, np.arange(20, dtype=np.float32))
        data = path.read_bytes()
        for length in range(len(data)):
            path.write_bytes(data[:length])
            with pytest.raises(UnreadableFileError, match=r"a\.npy"):
                files.read_array(path, mmap=mmap)

    def test_objects_are_never_written(self, tmp_path: Path) -> None:
        with pytest.raises(ValueError, match="Object arrays"):
            files.write_array(tmp_path / "a.npy", np.array([{}]))
        assert list(tmp_path.iterdir()) == []

    def test_objects_are_never_read(self, tmp_path: Path) -> None:
        np.save(tmp_path / "a.npy", np.array([{"a": 1}]), allow_pickle=True)
        with pytest.raises(UnreadableFileError, match=r"a\.npy"):
            files.read_array(tmp_path / "a.npy")

    def test_an_archive_is_no_array(self, tmp_path: Path) -> None:
        np.savez(tmp_path / "a.npz", x=np.zeros(3))
        with pytest.raises(UnreadableFileError, match=r"not a \.npy"):
            files.read_array(tmp_path / "a.npz")

    def test_missing(self, tmp_path: Path) -> None:
        with pytest.raises(MissingFileError, match=r"a\.npy"):
            files.read_array(tmp_path / "a.npy")


class TestTables:
    def test_cells(self, tmp_path: Path) -> None:
        rows = [["a,b", 0.1, np.float32(0.5), None], ['"', 1 / 3, np.int64(7), math.nan]]
        files.write_csv(tmp_path / "t.csv", ["case", "dice", "share", "note"], rows)
        with (tmp_path / "t.csv").open(newline="", encoding="utf-8") as handle:
            assert list(csv.reader(handle)) == [
                ["case", "dice", "share", "note"],
                ["a,b", "0.1", "0.5", ""],
                ['"', repr(1 / 3), "7", ""],
            ]

    def test_reading(self, tmp_path: Path) -> None:
        files.write_csv(tmp_path / "t.csv", ["case", "note"], [["a", "x,\ny"], ["ß", None]])
        assert files.read_csv(tmp_path / "t.csv") == [
            {"case": "a", "note": "x,\ny"},
            {"case": "ß", "note": ""},
        ]

    @pytest.mark.parametrize("data", [b"a,b\n\xff,1\n", b'a,b\n"x,1\n'])
    def test_reading_what_is_no_table(self, tmp_path: Path, data: bytes) -> None:
        (tmp_path / "t.csv").write_bytes(data)
        with pytest.raises(UnreadableFileError, match=r"t\.csv"):
            files.read_csv(tmp_path / "t.csv")

    def test_a_row_of_another_length(self, tmp_path: Path) -> None:
        with pytest.raises(ValueError, match="row 1 has 1 cells, not 2"):
            files.write_csv(tmp_path / "t.csv", ["a", "b"], [[1, 2], [3]])
        assert list(tmp_path.iterdir()) == []

    def test_infinity(self, tmp_path: Path) -> None:
        with pytest.raises(NotFiniteError, match=r"t\.csv"):
            files.write_csv(tmp_path / "t.csv", ["a"], [[math.inf]])


def test_digest_of_a_file(tmp_path: Path) -> None:
    (tmp_path / "a").write_bytes(b"abc")
    # FIPS 180-4, the example of one block
    assert files.sha256_of(tmp_path / "a").hex().startswith("ba7816bf8f01cfea414140de5dae2223")
    with pytest.raises(MissingFileError):
        files.sha256_of(tmp_path / "b")
