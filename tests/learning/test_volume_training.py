"""Trainings on volumes: the same bytes however they were broken, which masks train, and whole
cases predicted on their own grid."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from maskmend.arrays.targets import soft_targets
from maskmend.core import FloatArray, LabelArray, LabelScheme, Listener, TrainingProgress
from maskmend.errors import RunMismatchError, SettingsError
from maskmend.files import read_csv
from maskmend.learning.compute import Compute
from maskmend.learning.inference import window_logits
from maskmend.learning.prediction import Trained, load_trained, predict_case
from maskmend.learning.training import train_network
from maskmend.learning.volumes import Item, VolumeData, VolumeWay, stack_volumes
from maskmend.settings import TrainingSettings

BALL = LabelScheme(("low", "high"), overlapping=False)
CPU = Compute(torch.device("cpu"), threads=1)
SHORT = TrainingSettings(
    patch=(16, 16, 16), spacing=(1, 1, 1), normalisation="image", epochs=4, least_steps=0,
    batch_size=2, learning_rate=0.01, averaging=0.3, select_after=0.5, doubt_ratio=1.01,
    monitor_share=0.2,
)  # fmt: skip
"""Quick rather than good; at the start of its third epoch most masks are dropped."""

LONGER = SHORT.model_copy(
    update={"epochs": 25, "batch_size": 4, "averaging": 0.9, "select_after": 0.0}
)
SEED = 3
FINISHED = ("best.safetensors", "last.safetensors", "metrics.csv", "training.json")
STEPS = (1.0, 1.0, 1.0)


def ball_case(number: int, steps: tuple[float, ...] = STEPS) -> tuple[FloatArray, LabelArray]:
    """A bright ball in about 18 x 20 x 17 mm, its upper half another structure."""
    rng = np.random.default_rng(number)
    extent = (18 + number % 3, 20, 17)
    shape = tuple(round(n / step) for n, step in zip(extent, steps, strict=True))
    places = [(np.arange(n) + 0.5) * step for n, step in zip(shape, steps, strict=True)]
    z, y, x = np.meshgrid(*places, indexing="ij")
    middle = rng.uniform(7.5, 10.5, 3)
    radius = rng.uniform(4, 6)
    inside = (z - middle[0]) ** 2 + (y - middle[1]) ** 2 + (x - middle[2]) ** 2 <= radius**2
    labels = inside * np.where(z > middle[0], 2, 1)
    image = 3 * inside + np.where(z > middle[0], 1, 0) * inside + rng.normal(0, 0.3, shape)
    return image[None], labels[None].astype(np.uint8)


def item(number: int, is_wrong: bool = False, scheme: LabelScheme = BALL) -> Item:
    image, labels = ball_case(number)
    if is_wrong:
        labels = np.roll(labels, 8, axis=2)
    if scheme.overlapping:
        labels = np.concatenate([labels == 1, labels > 0]).astype(np.uint8)
    return (f"c{number:02}", image, STEPS, *soft_targets(labels, scheme))


def balls(
    count: int, num_wrong: int = 0, settings: TrainingSettings = SHORT, scheme: LabelScheme = BALL
) -> VolumeData:
    items = [item(number, number < num_wrong, scheme) for number in range(count)]
    return stack_volumes(lambda: items, scheme, settings)


class _Breaks(Listener):
    def __init__(self, epoch: int, error: type[BaseException]) -> None:
        self._epoch = epoch
        self._error = error

    def epoch(self, progress: TrainingProgress) -> None:
        if progress.epoch == self._epoch:
            raise self._error


class PowerCutError(Exception):
    """What no one handles."""


def contents(folder: Path) -> dict[str, bytes]:
    return {name: (folder / name).read_bytes() for name in FINISHED}


def column(folder: Path, name: str) -> list[float]:
    return [float(row[name]) for row in read_csv(folder / "metrics.csv")]


def dice(given: np.ndarray, found: np.ndarray, structure: int) -> float:
    first, second = given == structure, found == structure
    return float(2 * (first & second).sum() / (first.sum() + second.sum()))


@pytest.fixture(scope="module")
def unbroken(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("unbroken")
    train_network(balls(8, 3), SHORT, folder, SEED, CPU)
    return folder


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Trained:
    """A network that has learnt what balls are."""
    folder = tmp_path_factory.mktemp("trained")
    return train_network(balls(16, settings=LONGER), LONGER, folder, SEED, CPU)


class TestTheSameBytes:
    def test_same_seed(self, unbroken: Path, tmp_path: Path) -> None:
        kept = column(unbroken, "kept")
        assert kept[:2] == [1, 1]
        assert max(kept[2:]) < 1
        torch.manual_seed(99)
        np.random.seed(99)
        train_network(balls(8, 3), SHORT, tmp_path, SEED, CPU)
        assert contents(tmp_path) == contents(unbroken)

    def test_another_seed(self, unbroken: Path, tmp_path: Path) -> None:
        train_network(balls(8, 3), SHORT, tmp_path, SEED + 1, CPU)
        last = "last.safetensors"
        assert (tmp_path / last).read_bytes() != (unbroken / last).read_bytes()

    @pytest.mark.parametrize(
        ("epoch", "error"), [(2, PowerCutError), (3, KeyboardInterrupt), (4, PowerCutError)]
    )
    def test_broken_and_resumed(
        self, unbroken: Path, tmp_path: Path, epoch: int, error: type[BaseException]
    ) -> None:
        with pytest.raises(error):
            train_network(balls(8, 3), SHORT, tmp_path, SEED, CPU, _Breaks(epoch, error))
        assert (tmp_path / "last.ckpt").exists()
        assert not (tmp_path / "last.safetensors").exists()
        train_network(balls(8, 3), SHORT, tmp_path, SEED, CPU)
        assert contents(tmp_path) == contents(unbroken)

    def test_a_finished_training_is_loaded_not_repeated(self, unbroken: Path) -> None:
        before = contents(unbroken)
        again = train_network(balls(8, 3), SHORT, unbroken, SEED, CPU, _Breaks(1, PowerCutError))
        assert contents(unbroken) == before
        assert again.way == balls(8, 3).way

    def test_another_training_is_refused(self, unbroken: Path) -> None:
        with pytest.raises(RunMismatchError):
            train_network(balls(8, 2), SHORT, unbroken, SEED, CPU)


class TestWhatTrains:
    def test_masks_that_are_wrong_are_dropped(self, tmp_path: Path) -> None:
        settings = LONGER.model_copy(
            update={"select_after": 0.6, "doubt_ratio": 2.5, "monitor_share": 0.0}
        )
        with pytest.raises(PowerCutError):
            train_network(balls(16, 5), settings, tmp_path, SEED, CPU, _Breaks(24, PowerCutError))
        checkpoint = torch.load(tmp_path / "last.ckpt", weights_only=True)
        kept = checkpoint["state_dict"]["kept"][:, 0]
        assert not kept[:5].any()
        assert kept[5:].sum() >= 9

    def test_ignored_voxels_have_no_influence(self, tmp_path: Path) -> None:
        def data(flipped: bool) -> VolumeData:
            items = []
            for number in range(6):
                name, image, steps, soft, part = item(number)
                part = part.copy()
                part[:, :, 8:14, 5:12] = 0
                if flipped:
                    soft = np.where(part > 0, soft, soft[::-1])
                items.append((name, image, steps, soft, part))
            return stack_volumes(lambda: items, BALL, SHORT)

        for name, flipped in (("as given", False), ("flipped", True)):
            train_network(data(flipped), SHORT, tmp_path / name, SEED, CPU)
        weights = [
            (tmp_path / n / "last.safetensors").read_bytes() for n in ("as given", "flipped")
        ]
        assert weights[0] == weights[1]

    def test_a_dice_of_0_is_cross_entropy_alone(self, tmp_path: Path) -> None:
        plain = SHORT.model_copy(update={"dice": 0.0, "epochs": 1, "select_after": 0.0})
        both = plain.model_copy(update={"dice": None})
        for name, settings in (("plain", plain), ("both", both)):
            train_network(balls(8), settings, tmp_path / name, SEED, CPU)
        difference = column(tmp_path / "both", "loss")[0] - column(tmp_path / "plain", "loss")[0]
        # 1 - Dice of a network that knows nothing yet
        assert 0.4 < difference < 1

    def test_a_network_of_pictures_is_refused(self, tmp_path: Path) -> None:
        settings = SHORT.model_copy(update={"network": "vnet"})
        with pytest.raises(SettingsError, match="compact"):
            train_network(balls(4), settings, tmp_path, SEED, CPU)


class TestPrediction:
    def test_it_has_learnt_what_balls_are(self, trained: Trained) -> None:
        scores = []
        for number in range(100, 106):
            image, labels = ball_case(number)
            probs = predict_case(trained, image, STEPS)
            assert probs.shape == (3, *image.shape[1:])
            assert probs.dtype == np.float32
            np.testing.assert_allclose(probs.sum(axis=0), 1, atol=1e-5)
            found = probs.argmax(axis=0)
            scores.append([dice(labels[0], found, k) for k in (1, 2)])
        assert np.mean(scores, axis=0).min() > 0.8

    @pytest.mark.parametrize("steps", [(0.5, 1.0, 1.0), (2.0, 0.8, 0.7), (1.5, 1.5, 1.5)])
    def test_a_case_of_another_spacing_is_predicted_on_its_own_grid(
        self, trained: Trained, steps: tuple[float, ...]
    ) -> None:
        image, labels = ball_case(100, steps)
        found = predict_case(trained, image, steps).argmax(axis=0)
        assert found.shape == labels[0].shape
        assert min(dice(labels[0], found, k) for k in (1, 2)) > 0.75
        # taken for voxels of 1 mm it is another object
        blind = predict_case(trained, image).argmax(axis=0)
        assert (blind != found).any()

    @pytest.mark.parametrize("shape", [(3, 40, 9), (1, 16, 16), (50, 5, 20), (1, 1, 1)])
    def test_a_volume_of_any_size(self, trained: Trained, shape: tuple[int, ...]) -> None:
        image = np.random.default_rng(0).integers(-900, 900, (1, *shape)).astype(np.int16)
        probs = predict_case(trained, image, STEPS)
        assert probs.shape == (3, *shape)
        assert np.isfinite(probs).all()

    def test_where_windows_meet_nothing_breaks(self, trained: Trained) -> None:
        """A volume of four balls says what each quarter says."""
        image, _ = ball_case(100)
        large = np.concatenate([np.concatenate([image, image], axis=2)] * 2, axis=3)
        single = predict_case(trained, image, STEPS)
        found = predict_case(trained, large, STEPS)
        depth, height, width = image.shape[1:]
        for row in (0, height):
            for left in (0, width):
                part = found[:, :, row : row + height, left : left + width].argmax(axis=0)
                for structure in (1, 2):
                    assert dice(single.argmax(axis=0), part, structure) > 0.85
        assert depth == found.shape[1]

    def test_windows_of_one_and_of_many_agree_with_the_network(self) -> None:
        """A network that looks at each voxel alone says the same in any window."""
        network = torch.nn.Conv3d(1, 2, 1)
        image = torch.randn(1, 21, 9, 30)
        found = window_logits(network, image, (8, 16, 8), 0.5)
        with torch.no_grad():
            torch.testing.assert_close(found, network(image[None]), atol=1e-5, rtol=1e-4)

    def test_loaded_it_predicts_the_same(self, unbroken: Path) -> None:
        first, again = load_trained(unbroken, CPU), load_trained(unbroken, CPU)
        image, _ = ball_case(50)
        np.testing.assert_array_equal(
            predict_case(first, image, STEPS), predict_case(again, image, STEPS)
        )
        assert isinstance(first.way, VolumeWay)


def test_structures_that_overlap_train(tmp_path: Path) -> None:
    scheme = LabelScheme(("low", "ball"), overlapping=True)
    data = balls(16, settings=LONGER, scheme=scheme)
    trained = train_network(data, LONGER, tmp_path, SEED, CPU)
    image, labels = ball_case(101)
    found = predict_case(trained, image, STEPS) > 0.5
    assert dice(labels[0] == 1, found[0], 1) > 0.75
    assert dice(labels[0] > 0, found[1], 1) > 0.75


@pytest.mark.parametrize(
    ("patch", "spacing"), [((8, 32, 32), (4.0, 1.0, 1.0)), ((1, 32, 32), (1.0, 1.0, 1.0))]
)
def test_thick_and_thin_volumes_train(
    patch: tuple[int, int, int], spacing: tuple[float, float, float], tmp_path: Path
) -> None:
    settings = SHORT.model_copy(update={"patch": patch, "spacing": spacing, "select_after": 0.0})
    items = []
    for number in range(6):
        image, labels = ball_case(number)
        middle = slice(9, 10) if patch[0] == 1 else slice(None)
        items.append(
            (f"c{number}", image[:, middle], STEPS, *soft_targets(labels[:, middle], BALL))
        )
    data = stack_volumes(lambda: items, BALL, settings)
    trained = train_network(data, settings, tmp_path, SEED, CPU)
    assert column(tmp_path, "loss")[-1] < column(tmp_path, "loss")[0]
    probs = predict_case(trained, items[0][1], STEPS)
    assert probs.shape[1:] == items[0][1].shape[1:]


def test_a_case_without_a_structure_trains(tmp_path: Path) -> None:
    empty = np.zeros((1, 18, 20, 17), np.uint8)
    items = [(f"c{n}", ball_case(n)[0][:, :18], STEPS, *soft_targets(empty, BALL))
             for n in range(3)]  # fmt: skip
    data = stack_volumes(lambda: items, BALL, SHORT)
    train_network(data, SHORT, tmp_path, SEED, CPU)
    assert all(np.isfinite(column(tmp_path, "loss")))
