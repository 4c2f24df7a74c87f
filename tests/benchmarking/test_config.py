"""The file of a benchmark: what it may say, and what is made of it."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from maskmend.arrays.corruption import Noise
from maskmend.benchmarking.cells import Labels, Task, key_of, plan_cells, that_count
from maskmend.benchmarking.config import load_config, merged
from maskmend.benchmarking.data import (
    HELD_OUT,
    Data,
    _held_out,
    noisy_copy,
    open_data,
    plan_protocol,
)
from maskmend.core import Dataset
from maskmend.datasets import open_dataset, read_labels
from maskmend.errors import SettingsError
from maskmend.settings import Settings

Config = dict[str, Any]
Write = Callable[..., Path]


def opened(path: Path) -> Data:
    return open_data(load_config(path), path.parent)


def keys(path: Path) -> dict[str, str]:
    """Name of a cell -> its key."""
    cells, _ = plan_cells(load_config(path), opened(path))
    return {cell.name: cell.key for cell in cells}


# -- what it may say


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"speed": 3}, "speed"),
        ({"test": []}, "test"),
        ({"test": ["testing"]}, "some of the splits training, validation"),
        ({"test": ["training"]}, "splits that are not trained on"),
        ({"test": 1.5}, "test"),
        ({"seeds": [1, 1]}, "each seed once"),
        ({"settings": {"seed": 4}}, "`seeds` says which"),
        ({"settings": {"student": {"epoch": 4}}}, "student.epoch"),
        ({"methods": {"x": {"train": {"size": 33}}}}, "methods: x: student.size"),
        ({"methods": {"x": {}}}, "either `train` or `audit`"),
        ({"methods": {"x": {"train": {}, "audit": {}}}}, "either `train` or `audit`"),
        ({"protocols": [{"preset": "reference", "alphas": [1.5]}]}, "alphas"),
        ({"protocols": [{"preset": "refernce", "alphas": [0.5]}]}, "refernce"),
        ({"protocols": [{"preset": "reference", "alphas": [0.5], "beta": {"liver": [1, 2]}}]},
         "liver"),
        ({"protocols": 2 * [{"preset": "reference", "alphas": [0.5]}]}, "alpha 0.5 twice"),
    ],
)  # fmt: skip
def test_what_is_wrong_is_named(plain: Config, write: Write, change: Config, said: str) -> None:
    path = write(plain | change)
    with pytest.raises(SettingsError, match=said):
        keys(path)


def test_no_file_and_no_yaml(tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match="a YAML file"):
        load_config(tmp_path / "none.yaml")
    (tmp_path / "broken.yaml").write_text("methods: [")
    with pytest.raises(SettingsError, match="a YAML file"):
        load_config(tmp_path / "broken.yaml")


def test_yaml_reads_the_word_on_as_true(plain: Config, write: Write) -> None:
    path = write(plain)
    text = path.read_text().replace("train: {}", "on: clean\n    audit:")
    path.write_text(text)
    (method,) = load_config(path).methods.values()
    assert (method.on, method.train, method.audit) == ("clean", None, {})


def test_settings_of_a_method_lie_over_the_common_ones(plain: Config, write: Write) -> None:
    methods = {
        "a": {"train": {"epochs": 7}, "weights": "best"},
        "b": {"audit": {"flag": {"doubt_ratio": 2}, "student": {"weights": "best"}}},
    }
    config = load_config(write(plain | {"methods": methods}))
    a, b = config.settings_of("a", 3), config.settings_of("b", 4)
    assert (a.seed, a.student.size, a.student.epochs, a.student.weights) == (3, 32, 7, "best")
    assert (b.seed, b.student.epochs, b.student.weights) == (4, 2, "best")
    assert (b.flag.method, b.flag.doubt_ratio) == ("argmax", 2)


def test_merging_changes_neither_tree() -> None:
    base, changes = {"a": {"b": 1, "c": 2}, "d": 3}, {"a": {"b": 4}, "d": {"e": 5}}
    assert merged(base, changes) == {"a": {"b": 4, "c": 2}, "d": {"e": 5}}
    assert base == {"a": {"b": 1, "c": 2}, "d": 3}


# -- who is trained on and tested on


def test_splits_of_the_data_set(plain: Config, write: Write) -> None:
    data = opened(write(plain))
    assert {case.split for case in data.training.cases} == {"training"}
    assert {case.split for case in data.test.cases} == {"validation"}
    assert (len(data.training.cases), len(data.test.cases)) == (6, 2)


def test_a_share_is_held_out_by_patient(clean: Path) -> None:
    dataset = open_dataset(clean)
    # two images a patient
    cases = [replace(case, group=f"p{n // 2}") for n, case in enumerate(dataset.split("training"))]
    split = _held_out(replace(dataset, cases=tuple(cases)), ("training",), 0.4)
    held_out = {case.group for case in split.split(HELD_OUT)}
    left = {case.group for case in split.split("training")}
    # 0.4 of six images are three, and so two patients
    assert (len(held_out), len(left)) == (2, 1)
    assert held_out | left == {"p0", "p1", "p2"}
    assert [case.id for case in split.cases] == [case.id for case in cases]


def test_a_share_takes_all_splits_where_none_is_named(plain: Config, write: Write) -> None:
    data = opened(write(plain | {"test": 0.5}))
    assert {case.split for case in data.training.cases} == {"training"}
    assert not {c.id for c in data.training.cases} & {c.id for c in data.test.cases}
    assert len(data.test.cases) == 3
    assert len(data.training.cases) == 3


def test_nobody_left_to_train_on(plain: Config, write: Write) -> None:
    with pytest.raises(SettingsError, match="patients to test on and others to train on"):
        opened(write(plain | {"test": 0.3, "group_pattern": r"([a-z]+)"}))


# -- errors in the masks


def differing(data: Data, noisy: Dataset) -> set[str]:
    """Training cases whose labels are not the clean ones."""
    known = {case.id: case for case in noisy.cases}
    return {
        case.id
        for case in data.training.cases
        if (read_labels(data.training, case) != read_labels(noisy, known[case.id])).any()
    }


def test_only_training_masks_are_hit_also_beside_held_out_ones(
    plain: Config, write: Write, tmp_path: Path
) -> None:
    path = write(plain | {"test": 0.5, "protocols": [{"preset": "reference", "alphas": [1]}]})
    data = opened(path)
    ((_, noise),) = plan_protocol(load_config(path).protocols[0], data)
    noisy = noisy_copy(data, noise, 0, tmp_path / "noisy")
    assert {case.id for case in noisy.cases} == {case.id for case in data.training.cases}
    assert differing(data, noisy) == {case.id for case in data.training.cases}
    record = (tmp_path / "noisy" / "corruptions.csv").read_text()
    assert not any(case.id in record for case in data.test.cases)


def test_an_alpha_is_needed_where_the_preset_has_none(plain: Config, write: Write) -> None:
    config = plain | {"protocols": [{"preset": "reference"}]}
    with pytest.raises(SettingsError, match="alphas, the shares of masks hit"):
        keys(write(config))


# -- what makes a cell another one

SHIFTED: Config = {"protocols": [{"preset": "shift", "alphas": [0.5]}]}


@pytest.mark.parametrize(
    ("change", "anew"),
    [
        ({}, False),
        ({"methods": {"cross entropy": {"train": {"size": 32}}}}, False),
        ({"keep_runs": True}, False),
        ({"methods": {"cross entropy": {"train": {}, "weights": "best"}}}, True),
        ({"methods": {"cross entropy": {"train": {"epochs": 3}}}}, True),
        ({"methods": {"cross entropy": {"on": "clean", "train": {}}}}, True),
        ({"settings": {"threads": 2, "device": "cpu"}}, True),
        ({"group_pattern": "(.*)"}, True),
        ({"test": 0.3}, True),
        ({"protocols": [{"preset": "reference", "alphas": [0.5], "beta": {"lung": [9, 12]}}]},
         True),
    ],
)  # fmt: skip
def test_a_cell_is_the_same_while_its_figures_depend_on_nothing_else(
    plain: Config, write: Write, change: Config, anew: bool
) -> None:
    (before,) = keys(write(plain)).values()
    (after,) = keys(write(plain | change, "changed.yaml")).values()
    assert (before != after) == anew


def test_the_protocol_and_the_contents_of_the_data_count(
    plain: Config, write: Write, tmp_path: Path
) -> None:
    (before,) = keys(write(plain)).values()
    (shifted,) = keys(write(plain | SHIFTED)).values()
    copy = shutil.copytree(plain["data"], tmp_path / "copy")
    (copied,) = keys(write(plain | {"data": str(copy)})).values()
    mask = next((copy / "validation" / "lung").iterdir())
    Image.fromarray(255 - np.array(Image.open(mask))).save(mask)
    (altered,) = keys(write(plain | {"data": str(copy)})).values()
    assert len({before, shifted, altered}) == 3
    assert copied == before


def test_without_noise_all_labels_are_the_clean_ones(plain: Config, write: Write) -> None:
    methods = {"clean": {"on": "clean", "train": {}}, "given": {"train": {}}}
    protocols = [
        {"preset": "reference", "alphas": [0.5, 0]},
        {"preset": "shift", "name": "moved", "alphas": [0]},
    ]
    found = keys(write(plain | {"methods": methods, "protocols": protocols}))
    noisy = found.pop("given, reference 0.5, seed 0")
    assert len(found) == 5
    assert len(set(found.values())) == 1
    assert noisy not in found.values()


def test_methods_with_the_same_training_or_cross_fit_share_it(plain: Config, write: Write) -> None:
    methods = {
        "last": {"train": {}},
        "best": {"train": {}, "weights": "best"},
        "longer": {"train": {"epochs": 3}},
        "hard": {"audit": {}},
        "soft": {"audit": {"audit_labels": "soft", "correct": {"eps": 0.5}}},
        "folds": {"audit": {"crossfit": {"folds": 3}}},
    }
    path = write(plain | {"methods": methods})
    _, tasks = plan_cells(load_config(path), opened(path))
    last, best, longer, hard, soft, folds = (task.shared_key for task in tasks.values())
    assert len(tasks) == 6
    assert last == best
    assert hard == soft
    assert len({last, longer, hard, folds}) == 4


def test_settings_that_came_later_do_not_count_at_their_neutral_value() -> None:
    before = {"seed": 0, "student": {"size": 32}}
    plain = {"seed": 0, "student": {"size": 32, "method": "plain", "gce": {"q": 0.7}}}
    gce = {"seed": 0, "student": {"size": 32, "method": "gce", "gce": {"q": 0.7}}}
    other = {"seed": 0, "student": {"size": 32, "method": "gce", "gce": {"q": 0.9}}}
    ways = ("plain", "gce")
    assert that_count(before, ways) == before
    assert that_count(plain, ways) == before
    assert that_count(gce, ways) == gce
    assert that_count(other, ways) != that_count(gce, ways)
    # a group that is no way of training always counts
    assert that_count({"student": {"method": "gce", "noise": {"p": 1}}}, ways) == {
        "student": {"method": "gce", "noise": {"p": 1}}
    }


def test_keys_stay_what_they_are() -> None:
    """Results that took days must be found again: change SCHEMA where figures become others."""
    assert key_of({"b": [1, 0.5], "a": None}) == "5675618c4f069e73"
    settings = Settings(seed=1, threads=1, device="cpu")
    data = {"training": "a", "test": "b", "ignore_value": None, "group_pattern": None}
    noise = {"lung": Noise("reference", 0.7, (20, 30))}
    task = Task("train", settings, Labels(noise, 1), data)
    identity = task.identity()
    assert identity["labels"] == {"noise": {"lung": ["reference", 0.7, [20, 30]]}, "seed": 1}
    assert set(identity["settings"]) == {"seed", "device", "threads", "student"}
    assert set(identity) == {"schema", "kind", "data", "labels", "settings"}
