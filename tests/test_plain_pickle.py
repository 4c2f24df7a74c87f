"""What a pickle of plain values holds is read; what it would do is not done."""

from __future__ import annotations

import os
import pickle
from collections import OrderedDict, defaultdict
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from maskmend.errors import MissingFileError, UnreadableFileError
from maskmend.plain_pickle import plain_value, read_plain_pickle

PROTOCOLS = range(6)

PLAIN: list[Any] = [
    None, True, False, 0, -1, 255, 65536, 2**31, -(2**70), 1.5, float("inf"), "", "Größe", b"",
    b"\x00\xff", bytearray(b"\x80"), [], [1, [2, [3]]], (), (1,), (1, 2), (1, 2, 3), (1, 2, 3, 4),
    {}, {"a": {"b": [1.0]}}, {1: 2, (3, 4): 5}, set(), {1, 2}, frozenset({"x"}), OrderedDict(),
    OrderedDict([("z", 1), ("a", [2])]),
]  # fmt: skip

ARRAYS = [
    np.arange(6, dtype=np.int64).reshape(2, 3),
    np.asfortranarray(np.arange(6, dtype=np.float32).reshape(2, 3)),
    np.array([1.5, -2.0], dtype=">f8"),
    np.zeros((0, 3), np.uint8),
    np.array(7, np.int16),
    np.array([True, False]),
    np.arange(2**18, dtype=np.float16)[::2],
]


@pytest.mark.parametrize("protocol", PROTOCOLS)
@pytest.mark.parametrize("value", PLAIN, ids=repr)
def test_plain_values_come_back_with_their_types(value: Any, protocol: int, tmp_path: Path) -> None:
    if isinstance(value, bytearray) and protocol < 5:
        pytest.skip("needs the class bytearray before protocol 5")
    path = tmp_path / "value.pkl"
    path.write_bytes(pickle.dumps(value, protocol))
    found = read_plain_pickle(path)
    assert found == value
    assert type(found) is type(value)


@pytest.mark.parametrize("protocol", PROTOCOLS)
@pytest.mark.parametrize("value", ARRAYS, ids=lambda a: f"{a.dtype.str}{a.shape}")
def test_arrays_come_back_bit_by_bit(value: Any, protocol: int) -> None:
    found = plain_value(pickle.dumps({"array": value, "again": [value]}, protocol))
    for one in (found["array"], found["again"][0]):
        assert one.dtype == value.dtype
        assert one.shape == value.shape
        np.testing.assert_array_equal(one, value)


@pytest.mark.parametrize("protocol", PROTOCOLS)
@pytest.mark.parametrize("kind", [np.int64, np.float32, np.float16, np.bool_, np.uint8])
def test_scalars_of_numpy(protocol: int, kind: Any) -> None:
    found = plain_value(pickle.dumps([kind(1), (kind(0),)], protocol))
    assert found == [kind(1), (kind(0),)]
    assert type(found[0]) is kind


@pytest.mark.parametrize("protocol", [2, 4, 5])
def test_names_of_both_major_versions_of_numpy(protocol: int) -> None:
    value = {"bbox": np.array([[0, 4], [1, 5]]), "n": np.int64(3)}
    data = pickle.dumps(value, protocol)
    old, new = (b"numpy.core.", b"numpy._core.")
    here, other = (new, old) if new in data else (old, new)

    def renamed(text: bytes) -> bytes:
        # in protocol 4 and later the length of a name stands before it
        for name in (b"multiarray", b"numeric"):
            was, becomes = here + name, other + name
            text = text.replace(bytes([len(was)]) + was, bytes([len(becomes)]) + becomes)
            text = text.replace(was, becomes)
        return text

    changed = renamed(data)
    assert here not in changed
    # frames say how long they are; without them it is the same pickle
    found = plain_value(_without_frames(changed) if protocol >= 4 else changed)
    np.testing.assert_array_equal(found["bbox"], value["bbox"])
    assert found["n"] == 3


def _without_frames(data: bytes) -> bytes:
    assert data[2:3] == b"\x95"
    return data[:2] + data[11:]


def test_properties_as_nnunet_writes_them() -> None:
    properties = {
        "sitk_stuff": {"spacing": (0.5, 0.5, 3.0), "origin": (0.0, 0.0, 0.0)},
        "spacing": [3.0, 0.5, 0.5],
        "shape_before_cropping": (20, 30, 40),
        "bbox_used_for_cropping": [[0, 20], [np.int64(3), 27], [0, 40]],
        "class_locations": {1: np.array([[0, 1, 2, 3]]), (1, 2): np.zeros((0, 4), np.int64)},
    }
    found = plain_value(pickle.dumps(properties))
    assert found["bbox_used_for_cropping"] == [[0, 20], [3, 27], [0, 40]]
    assert found["class_locations"][1, 2].shape == (0, 4)


def test_memoised_and_recursive_values_keep_their_identity() -> None:
    shared = [1]
    loop: list[Any] = [shared, shared]
    loop.append(loop)
    found = plain_value(pickle.dumps(loop))
    assert found[0] is found[1]
    assert found[2] is found


class Trap:
    """Unpickling it runs a command."""

    def __init__(self, command: str) -> None:
        self.command = command

    def __reduce__(self) -> Any:
        return os.system, (self.command,)


class Quiet:
    """Harmless, but a class of somebody."""


@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_a_command_is_named_and_not_run(protocol: int, tmp_path: Path) -> None:
    sprung = tmp_path / "sprung"
    path = tmp_path / "trap.pkl"
    path.write_bytes(pickle.dumps({"spacing": [1.0], "x": Trap(f"touch {sprung}")}, protocol))
    with pytest.raises(UnreadableFileError, match=r"names (posix|nt)\.system") as caught:
        read_plain_pickle(path)
    assert caught.value.case == str(path)
    assert not sprung.exists()
    pickle.loads(path.read_bytes())
    assert sprung.exists()  # so the trap works, where it is let


@pytest.mark.parametrize(
    "value",
    [
        Quiet(), Quiet, print, len, complex(1, 2), range(3), defaultdict(list), Path("x"),
        np.array([{}], dtype=object), np.array(["text"]), np.zeros(1, [("a", "i4")]),
        np.dtype("f4"), np.ma.masked_array([1]), np.datetime64("2020-01-01"),
    ],
    ids=lambda value: type(value).__name__,
)  # fmt: skip
@pytest.mark.parametrize("protocol", [0, 2, 4, 5])
def test_other_things_are_refused(value: Any, protocol: int, tmp_path: Path) -> None:
    path = tmp_path / "other.pkl"
    path.write_bytes(pickle.dumps([value], protocol))
    with pytest.raises(UnreadableFileError, match="plain values"):
        read_plain_pickle(path)


@pytest.mark.parametrize(
    "data",
    [
        b"", b"no pickle", b"\x80\x04", b"\x80\x04]", b"\x80\x04a.", b"\x80\x04e.", b"\x80\x04R.",
        b"\x80\x04)b.", b"\x80\x04h\x05.", b"\x80\x04](}s.", b"}(]K\x01u.", b"K\x01K\x02.", b"(.",
        b"\x80\x63N.", b"\x82\x01.", b"Pid\n.", b"N\x97.", b"\x80\x04\x8c\x02os\x8c\x06system\x93.",
        b"cnumpy\nndarray\n)R.", b"c__builtin__\neval\n(S'1'\ntR.", b"cnumpy.core.multiarray\nx\n.",
        b"(ios\nsystem\n.", b"(cposix\nsystem\nS'true'\no.",
    ],
)  # fmt: skip
def test_broken_and_crafted_files_are_refused(data: bytes, tmp_path: Path) -> None:
    path = tmp_path / "broken.pkl"
    path.write_bytes(data)
    with pytest.raises(UnreadableFileError) as caught:
        read_plain_pickle(path)
    assert caught.value.case == str(path)


@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_every_cut_is_refused(protocol: int, tmp_path: Path) -> None:
    data = pickle.dumps({"shape": (1, 2), "bbox": np.arange(4), "name": "x" * 300}, protocol)
    for stop in range(len(data)):
        path = tmp_path / "cut.pkl"
        path.write_bytes(data[:stop])
        with pytest.raises(UnreadableFileError):
            read_plain_pickle(path)


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(MissingFileError, match=r"gone\.pkl"):
        read_plain_pickle(tmp_path / "gone.pkl")
