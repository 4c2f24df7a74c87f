"""What every way of training keeps: the same bytes however it was broken, ignored pixels without
influence, and networks that have learnt their structures, in pictures and in volumes."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import get_args

import numpy as np
import pytest
import torch

from maskmend.arrays.targets import soft_targets
from maskmend.core import LabelArray, LabelScheme, Listener, TrainingProgress
from maskmend.files import read_csv
from maskmend.learning.batches import TrainingData, stack_training_data
from maskmend.learning.compute import Compute
from maskmend.learning.ensemble import Ensemble, members_of
from maskmend.learning.methods import METHODS
from maskmend.learning.prediction import Trained, load_trained, predict_case
from maskmend.learning.training import train_network
from maskmend.learning.volumes import VolumeData, stack_volumes
from maskmend.settings import TrainingSettings

CPU = Compute(torch.device("cpu"), threads=1)
SEED = 3
DISCS = LabelScheme(("disc", "core"), overlapping=True)
RINGS = LabelScheme(("disc", "core"), overlapping=False)
FINISHED = ("best.safetensors", "last.safetensors", "metrics.csv", "training.json")

SHORT = TrainingSettings(
    size=32, epochs=4, least_steps=0, batch_size=2, learning_rate=0.02, averaging=0.3,
    select_after=0.5, doubt_ratio=1.0001, monitor_share=0.2,
)  # fmt: skip
"""Quick rather than good; at the start of its third epoch most masks are dropped."""

LONG = SHORT.model_copy(
    update={"epochs": 25, "batch_size": 4, "averaging": 0.9, "select_after": 0.0}
)
VOLUMES = LONG.model_copy(
    update={
        "patch": (16, 16, 16), "spacing": (1.0, 1.0, 1.0), "normalisation": "image",
        "learning_rate": 0.01,
    }
)  # fmt: skip

names = pytest.mark.parametrize("name", METHODS)
volume_names = pytest.mark.parametrize(
    "name", [name for name, method in METHODS.items() if 3 in method.axes]
)


def bodies(number: int, axes: int) -> tuple[np.ndarray, LabelArray]:
    """Image (1, *S) of a bright ball with a brighter core, and both as labels 1, 2 (1, *S)."""
    rng = np.random.default_rng(number)
    side = 32 if axes == 2 else 18
    places = np.meshgrid(*[np.arange(side)] * axes, indexing="ij")
    middle = rng.uniform(0.4, 0.6, axes) * side
    distance = np.sqrt(sum((x - m) ** 2 for x, m in zip(places, middle, strict=True)))
    radius = rng.uniform(0.25, 0.33) * side
    labels = (distance < radius).astype(np.uint8) + (distance < 0.55 * radius)
    image = 2 * labels + rng.normal(0, 0.3, labels.shape)
    return image[None], labels[None].astype(np.uint8)


def given(labels: LabelArray, scheme: LabelScheme) -> LabelArray:
    """Labels 0, 1, 2 as the scheme has them, (planes, *S)."""
    if not scheme.overlapping:
        return labels
    return np.concatenate([labels > 0, labels == 2]).astype(np.uint8)


def pictures(count: int, scheme: LabelScheme = DISCS) -> TrainingData:
    items = []
    for number in range(count):
        image, labels = bodies(number, 2)
        items.append((f"c{number:02}", image, *soft_targets(given(labels, scheme), scheme)))
    return stack_training_data(items, 32, scheme)


def volumes(count: int, settings: TrainingSettings, scheme: LabelScheme = RINGS) -> VolumeData:
    items = []
    for number in range(count):
        image, labels = bodies(number, 3)
        targets = soft_targets(given(labels, scheme), scheme)
        items.append((f"c{number:02}", image, (1.0, 1.0, 1.0), *targets))
    return stack_volumes(lambda: items, scheme, settings)


def of(name: str, settings: TrainingSettings) -> TrainingSettings:
    return settings.model_copy(update={"method": name})


class PowerCutError(Exception):
    """What no one handles."""


class _PowerCut(Listener):
    """Stops a training at the end of an epoch, before its checkpoint is written."""

    def __init__(self, epoch: int) -> None:
        self._epoch = epoch

    def epoch(self, progress: TrainingProgress) -> None:
        if progress.epoch == self._epoch:
            raise PowerCutError


def contents(folder: Path) -> dict[str, bytes]:
    return {name: (folder / name).read_bytes() for name in FINISHED}


def dices(trained: Trained, axes: int, numbers: range = range(100, 105)) -> np.ndarray:
    """Mean Dice of each structure over cases that no training saw, (2,)."""
    scores = []
    for number in numbers:
        image, labels = bodies(number, axes)
        probs = predict_case(trained, image)
        wanted, found = [labels[0] > 0, labels[0] == 2], [probs[0] > 0.5, probs[-1] > 0.5]
        if not trained.scheme.overlapping:
            np.testing.assert_allclose(probs.sum(axis=0), 1, atol=1e-5)
            winner = probs.argmax(axis=0)
            wanted[0], found = labels[0] == 1, [winner == 1, winner == 2]
        pairs = zip(wanted, found, strict=True)
        scores.append([2 * (a & b).sum() / (a.sum() + b.sum()) for a, b in pairs])
    return np.mean(scores, axis=0)


def test_every_method_of_the_settings_exists() -> None:
    assert set(get_args(TrainingSettings.model_fields["method"].annotation)) == set(METHODS)
    for name in set(METHODS) - {"plain"}:
        assert hasattr(TrainingSettings(), name)


@pytest.fixture(scope="module")
def unbroken(tmp_path_factory: pytest.TempPathFactory, request: pytest.FixtureRequest) -> Path:
    folder = tmp_path_factory.mktemp("methods") / request.param
    train_network(pictures(10), of(request.param, SHORT), folder, SEED, CPU)
    return folder


@pytest.mark.parametrize("unbroken", METHODS, indirect=True, scope="module")
class TestTheSameBytes:
    def test_same_seed_and_another(self, unbroken: Path, tmp_path: Path) -> None:
        settings = of(unbroken.name, SHORT)
        kept = [float(row["kept"]) for row in read_csv(unbroken / "metrics.csv")]
        assert max(kept[2:]) < min(kept[:2]) == 1
        # whoever else draws random numbers changes nothing
        torch.manual_seed(99)
        np.random.seed(99)
        train_network(pictures(10), settings, tmp_path / "same", SEED, CPU)
        assert contents(tmp_path / "same") == contents(unbroken)
        train_network(pictures(10), settings, tmp_path / "other", SEED + 1, CPU)
        last = "last.safetensors"
        assert (tmp_path / "other" / last).read_bytes() != (unbroken / last).read_bytes()

    def test_broken_twice_and_resumed(self, unbroken: Path, tmp_path: Path) -> None:
        settings = of(unbroken.name, SHORT)
        for epoch in (2, 4):
            with pytest.raises(PowerCutError):
                train_network(pictures(10), settings, tmp_path, SEED, CPU, _PowerCut(epoch))
        train_network(pictures(10), settings, tmp_path, SEED, CPU)
        assert contents(tmp_path) == contents(unbroken)

    def test_ignored_pixels_have_no_influence(self, unbroken: Path, tmp_path: Path) -> None:
        settings = of(unbroken.name, SHORT)
        data = pictures(10)
        part = data.taking_part.clone()
        part[::2, :, 8:20, 5:17] = 0
        part[3] = 0
        ignoring = replace(data, taking_part=part)
        flipped = replace(ignoring, targets=torch.where(part > 0, data.targets, 1 - data.targets))
        last = []
        for name, cases in (("as given", ignoring), ("flipped", flipped)):
            train_network(cases, settings, tmp_path / name, SEED, CPU)
            last.append((tmp_path / name / "last.safetensors").read_bytes())
        assert last[0] == last[1]
        assert last[0] != (unbroken / "last.safetensors").read_bytes()


@volume_names
def test_a_broken_training_of_volumes_ends_in_the_same_bytes(name: str, tmp_path: Path) -> None:
    settings = of(name, VOLUMES).model_copy(update={"epochs": 3, "batch_size": 2})
    data = volumes(5, settings)
    train_network(data, settings, tmp_path / "unbroken", SEED, CPU)
    with pytest.raises(PowerCutError):
        train_network(data, settings, tmp_path / "broken", SEED, CPU, _PowerCut(3))
    train_network(data, settings, tmp_path / "broken", SEED, CPU)
    assert contents(tmp_path / "broken") == contents(tmp_path / "unbroken")


@pytest.mark.parametrize("scheme", [DISCS, RINGS], ids=["overlapping", "exclusive"])
@names
def test_pictures_are_learnt(name: str, scheme: LabelScheme, tmp_path: Path) -> None:
    # what it has learnt half way is what it goes on with
    passes = {"epochs": 50} if name == "spatial_correction" else {}
    settings = of(name, LONG.model_copy(update=passes))
    trained = train_network(pictures(16, scheme), settings, tmp_path / "long", SEED, CPU)
    assert dices(trained, 2).min() > 0.8
    one = settings.model_copy(update={"epochs": 1, "learning_rate": 1e-9})
    untrained = train_network(pictures(16, scheme), one, tmp_path / "none", SEED, CPU)
    assert dices(untrained, 2).max() < 0.5


@volume_names
def test_volumes_are_learnt(name: str, tmp_path: Path) -> None:
    # small structures of volumes are not learnt so soon without it; nr_dice is a Dice loss itself
    beside = {} if name == "nr_dice" else {"dice": 1.0}
    if METHODS[name].networks > 1:
        # each of several networks learns from a part of every batch
        beside |= {"epochs": 40, "learning_rate": 0.02}
    settings = of(name, VOLUMES.model_copy(update=beside))
    trained = train_network(volumes(12, settings), settings, tmp_path, SEED, CPU)
    assert dices(trained, 3).min() > 0.7


@names
def test_what_is_loaded_predicts_the_same(name: str, tmp_path: Path) -> None:
    settings = of(name, SHORT).model_copy(update={"epochs": 1})
    image, _ = bodies(50, 2)
    trained = train_network(pictures(4), settings, tmp_path, SEED, CPU)
    loaded = load_trained(tmp_path, CPU)
    np.testing.assert_array_equal(predict_case(trained, image), predict_case(loaded, image))
    assert len(members_of(loaded.network)) == METHODS[name].networks
    if isinstance(loaded.network, Ensemble):
        single = [
            predict_case(Trained(member, loaded.scheme, loaded.way), image)
            for member in loaded.network.members
        ]
        assert not np.allclose(single[0], single[1])
        np.testing.assert_allclose(predict_case(loaded, image), np.mean(single, axis=0), atol=1e-5)
