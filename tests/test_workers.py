"""Many workers: the same bytes on threads, processes and a real cluster, also when one dies."""

from __future__ import annotations

import os
import pickle
import signal
from collections.abc import Iterator
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import fsspec
import numpy as np
import pytest

from maskmend.arrays.search import ErrorSearch
from maskmend.arrays.selection import search_cases
from maskmend.datasets.arrays import ArrayPairs
from maskmend.errors import (
    ClusterError,
    LayoutError,
    MissingFileError,
    NotFiniteError,
    SettingsError,
    UnreadableFileError,
)
from maskmend.execute import SPANS, Workers, connect, flag_on, search_on, spans

distributed = pytest.importorskip("distributed", reason="needs maskmend[dist]")

Arrays = tuple[np.ndarray, np.ndarray]


@dataclass(frozen=True)
class Drawn:
    """Cases of different sizes from a seed, with many ties."""

    count: int
    dtype: str = "float32"

    def __len__(self) -> int:
        return self.count

    def __getitem__(self, number: int) -> Arrays:
        rng = np.random.default_rng(number)
        labels = rng.integers(0, 3, (9, 10 + number % 7)).astype(np.uint8)
        probs = rng.multinomial(16, [0.4, 0.3, 0.3], labels.shape) / 16
        return labels, np.ascontiguousarray(np.moveaxis(probs, -1, 0), self.dtype)


@dataclass(frozen=True)
class Deadly(Drawn):
    """The same; the first process that reads case 20 is killed, as one out of memory would be."""

    grave: str = ""

    def __getitem__(self, number: int) -> Arrays:
        if number == 20:
            try:
                os.close(os.open(self.grave, os.O_CREAT | os.O_EXCL))
            except FileExistsError:
                pass
            else:
                os.kill(os.getpid(), signal.SIGKILL)
        return super().__getitem__(number)


@dataclass(frozen=True)
class Faulty(Drawn):
    """The same with a NaN in the last case."""

    def __getitem__(self, number: int) -> Arrays:
        labels, probs = super().__getitem__(number)
        if number == self.count - 1:
            probs[0, 0, 0] = np.nan
        return labels, probs


SCHEDULER = {
    "cls": distributed.Scheduler,
    "options": {"host": "127.0.0.1", "port": 0, "dashboard": False, "dashboard_address": ":0"},
}


@pytest.fixture(scope="module", autouse=True)
def importable() -> Iterator[None]:
    """Lets other processes import this module, as a cluster's workers can import a user's."""
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(str(Path(__file__).parents[1]))
        yield


@pytest.fixture(scope="module")
def cluster(importable: None) -> Iterator[Any]:
    """Two worker processes, one of which offers a GPU."""
    every = {"nthreads": 1}
    spec = {
        "with": {"cls": distributed.Nanny, "options": every | {"resources": {"GPU": 1}}},
        "without": {"cls": distributed.Nanny, "options": every},
    }
    with distributed.SpecCluster(workers=spec, scheduler=SCHEDULER, silence_logs=50) as running:
        yield running


@pytest.fixture
def client(cluster: Any) -> Iterator[Any]:
    with distributed.Client(cluster, set_as_default=False) as client:
        client.wait_for_workers(2, timeout=60)
        yield client


def same(one: ErrorSearch, other: ErrorSearch) -> None:
    """All that was counted is equal, to the bit."""
    assert one.sums == other.sums
    assert one.confident is not None
    assert other.confident is not None
    np.testing.assert_array_equal(one.confident.joint, other.confident.joint)
    np.testing.assert_array_equal(one.thresholds, other.thresholds)
    assert (one.cuts is None) == (other.cuts is None)
    if one.cuts is not None and other.cuts is not None:
        np.testing.assert_array_equal(one.cuts.scores, other.cuts.scores)


def judged(workers: Workers, cases: Drawn, method: str) -> tuple[ErrorSearch, list[np.ndarray]]:
    search = search_on(workers, cases, num_classes=3, method=method)
    return search, list(flag_on(workers, search, cases))


def expected(cases: Drawn, method: str) -> tuple[ErrorSearch, list[np.ndarray]]:
    arrays = [cases[number] for number in range(len(cases))]
    search = search_cases(arrays, num_classes=3, method=method)
    return search, [search.flag(*pair, case=number) for number, pair in enumerate(arrays)]


def check(
    found: tuple[ErrorSearch, list[np.ndarray]], wanted: tuple[ErrorSearch, list[np.ndarray]]
) -> None:
    same(found[0], wanted[0])
    for mine, theirs in zip(found[1], wanted[1], strict=True):
        np.testing.assert_array_equal(mine, theirs)


@pytest.mark.parametrize("method", ["both", "low_normalized_margin", "confident_joint"])
@pytest.mark.parametrize("dtype", ["float16", "float32"])
@pytest.mark.parametrize("count", [1, 2, 7])
def test_any_number_of_threads_finds_the_same(method: str, dtype: str, count: int) -> None:
    cases = Drawn(70, dtype)
    check(judged(Workers("threads", count), cases, method), expected(cases, method))


def test_processes_find_the_same() -> None:
    cases = Drawn(30)
    check(judged(Workers("processes", 2), cases, "both"), expected(cases, "both"))


@pytest.mark.parametrize("method", ["both", "union"])
def test_a_cluster_finds_the_same(client: Any, method: str) -> None:
    cases = Drawn(70)
    check(judged(Workers(client), cases, method), expected(cases, method))


def test_a_worker_that_is_killed_changes_nothing(client: Any, tmp_path: Path) -> None:
    grave = tmp_path / "grave"
    deadly = Deadly(40, grave=str(grave))
    plain = expected(Drawn(40), "both")
    before = set(client.run(os.getpid).values())
    search = search_on(Workers(client), deadly, num_classes=3)
    assert grave.exists()
    client.wait_for_workers(2, timeout=60)
    assert set(client.run(os.getpid).values()) != before
    grave.unlink()
    check((search, list(flag_on(Workers(client), search, deadly))), plain)
    assert grave.exists()


def test_an_error_in_a_case_comes_back_as_it_was(client: Any) -> None:
    for workers in (Workers(client), Workers("threads", 2)):
        with pytest.raises(NotFiniteError, match="case 9") as caught:
            search_on(workers, Faulty(10), num_classes=3)
        assert caught.value.case == "case 9"


def test_no_case_is_an_error() -> None:
    with pytest.raises(SettingsError, match="at least one"):
        search_on(Workers(), Drawn(0), num_classes=3)


def where(_: int) -> int:
    return os.getpid()


def test_work_that_needs_a_gpu_goes_where_there_is_one(client: Any) -> None:
    workers = Workers(client)
    pids = client.run(os.getpid)
    with_gpu = {
        pids[address]
        for address, info in client.scheduler_info(n_workers=-1)["workers"].items()
        if info["resources"].get("GPU")
    }
    assert set(workers.each(where, range(12), {"GPU": 1})) == with_gpu
    assert len(set(workers.each(where, range(40)))) == 2


def test_what_each_gives_is_in_order(client: Any) -> None:
    for workers in (Workers(client), Workers("threads", 3)):
        assert list(workers.each(partial(pow, 2), range(50))) == [2**n for n in range(50)]
        assert list(workers.each(partial(pow, 2), [])) == []


@pytest.mark.parametrize("count", [1, 5, 23, 24, 25, 1000])
def test_spans_are_every_case_once(count: int) -> None:
    pieces = spans(range(count), Workers("threads", 2))
    assert [number for piece in pieces for number in piece] == list(range(count))
    assert all(len(piece) for piece in pieces)
    assert len(pieces) == min(count, SPANS)


def test_connect(cluster: Any) -> None:
    with connect(cluster.scheduler_address) as workers:
        assert workers.remote
        assert workers.count == 2
        assert workers.add_up(partial(pow, 2), range(5)) == 31


def test_nobody_answers() -> None:
    with (
        pytest.raises(ClusterError, match=r"tcp://127\.0\.0\.1:9") as caught,
        connect("tcp://127.0.0.1:9", timeout=1),
    ):
        pass
    assert "dask scheduler" in caught.value.remedy


def test_a_scheduler_without_workers() -> None:
    with (
        distributed.SpecCluster(workers={}, scheduler=SCHEDULER, silence_logs=50) as empty,
        pytest.raises(ClusterError, match="a scheduler alone"),
        connect(empty.scheduler_address),
    ):
        pass


def test_errors_travel_between_processes() -> None:
    error = NotFiniteError("a", expected="b", got="c", remedy="D.")
    back = pickle.loads(pickle.dumps(error))
    assert type(back) is NotFiniteError
    assert (str(back), back.remedy) == (str(error), "D.")


# -- arrays on a disk and elsewhere


def save_pairs(labels: str, probabilities: str, cases: Drawn) -> None:
    for number in range(len(cases)):
        for folder, array in zip((labels, probabilities), cases[number], strict=True):
            with fsspec.open(f"{folder}/case{number:03}.npy", "wb", auto_mkdir=True) as handle:
                np.save(handle, array)


@pytest.mark.parametrize("where", ["disk", "memory"])
def test_arrays_are_judged_where_they_lie(where: str, tmp_path: Path) -> None:
    root = str(tmp_path) if where == "disk" else f"memory://{tmp_path.name}"
    cases = Drawn(20, "float16")
    save_pairs(f"{root}/labels", f"{root}/probs", cases)
    pairs = ArrayPairs.find(f"{root}/labels/", f"{root}/probs")
    assert pairs.names[:2] == ("case000", "case001")
    search = search_on(Workers("threads", 2), pairs, num_classes=3)
    wanted = expected(cases, "both")
    check((search, list(flag_on(Workers(), search, pairs))), wanted)


def test_arrays_reach_the_workers_by_their_names_alone(client: Any, tmp_path: Path) -> None:
    cases = Drawn(20)
    save_pairs(str(tmp_path / "labels"), str(tmp_path / "probs"), cases)
    pairs = ArrayPairs.find(str(tmp_path / "labels"), str(tmp_path / "probs"))
    assert len(pickle.dumps(pairs)) < 2000
    search = search_on(Workers(client), pairs, num_classes=3)
    same(search, expected(cases, "both")[0])


def test_pairs_that_are_none(tmp_path: Path) -> None:
    labels, probs = tmp_path / "labels", tmp_path / "probs"
    with pytest.raises(MissingFileError, match="labels"):
        ArrayPairs.find(str(labels), str(probs))
    labels.mkdir()
    probs.mkdir()
    with pytest.raises(LayoutError, match="none"):
        ArrayPairs.find(str(labels), str(probs))
    np.save(labels / "a.npy", np.zeros(3, np.uint8))
    with pytest.raises(MissingFileError, match=r"none in .*probs"):
        ArrayPairs.find(str(labels), str(probs))
    with pytest.raises(UnreadableFileError, match="nowhere"):
        ArrayPairs.find("nowhere://labels", str(probs))


def test_arrays_are_never_unpickled(tmp_path: Path) -> None:
    labels, probs = tmp_path / "labels", tmp_path / "probs"
    for folder in (labels, probs):
        folder.mkdir()
        np.save(folder / "a.npy", np.array([{"a": 1}], dtype=object), allow_pickle=True)
    pairs = ArrayPairs.find(str(labels), str(probs))
    with pytest.raises(UnreadableFileError, match=r"a\.npy"):
        pairs[0]
    (labels / "a.npy").write_bytes(b"\x93NUMPY\x01\x00")
    with pytest.raises(UnreadableFileError, match=r"a\.npy"):
        pairs[0]
    gone = replace(pairs, names=("b",))
    with pytest.raises(MissingFileError, match=r"b\.npy"):
        gone[0]
