"""Trainings on bright discs: the same bytes however they were broken, and which masks train."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

from maskmend.arrays.agreement import mask_distance
from maskmend.arrays.targets import soft_targets
from maskmend.core import LabelScheme, Listener, TrainingProgress
from maskmend.errors import (
    MissingFileError,
    RunMismatchError,
    UnreadableFileError,
)
from maskmend.files import read_csv, read_json, write_json
from maskmend.learning.batches import TrainingData, stack_training_data
from maskmend.learning.compute import Compute
from maskmend.learning.inference import predict_prepared
from maskmend.learning.prediction import (
    Trained,
    load_trained,
    mismatch_with,
    predict_case,
)
from maskmend.learning.task import epochs_of
from maskmend.learning.training import split_monitor, train_network
from maskmend.settings import TrainingSettings

DISC = LabelScheme(("disc",), overlapping=True)
CPU = Compute(torch.device("cpu"), threads=1)
SHORT = TrainingSettings(
    dice=0,
    size=32, epochs=4, least_steps=0, batch_size=2, learning_rate=0.05, averaging=0.3,
    select_after=0.5, doubt_ratio=1.0001, monitor_share=0.2,
)  # fmt: skip
"""Quick rather than good; at the start of its third epoch most masks are dropped."""

SEED = 3
FINISHED = ("best.safetensors", "last.safetensors", "metrics.csv", "training.json")


def disc_case(number: int) -> tuple[np.ndarray, np.ndarray]:
    """Image (1, 32, 32) of a bright disc on a dark ground with noise, and its mask (1, 32, 32)."""
    rng = np.random.default_rng(number)
    rows, columns = np.mgrid[:32, :32]
    row, column = rng.uniform(10, 22, 2)
    mask = (rows - row) ** 2 + (columns - column) ** 2 <= rng.uniform(5, 8) ** 2
    return (3 * mask + rng.normal(0, 0.3, mask.shape))[None], mask[None].astype(np.uint8)


def wrong(mask: np.ndarray, number: int) -> np.ndarray:
    """The mask half of the image away, to the side or up and down."""
    return np.roll(mask, 16, axis=1 + number % 2)


def discs(count: int, num_wrong: int = 0) -> TrainingData:
    """Cases of which the first `num_wrong` have a mask that is wrong."""
    items = []
    for number in range(count):
        image, mask = disc_case(number)
        given = wrong(mask, number) if number < num_wrong else mask
        items.append((f"c{number:02}", image, *soft_targets(given, DISC)))
    return stack_training_data(items, 32, DISC)


class _Breaks(Listener):
    """Stops a training at the end of an epoch, before its checkpoint is written."""

    def __init__(self, epoch: int, stop: Callable[[], None]) -> None:
        self._epoch = epoch
        self._stop = stop

    def epoch(self, progress: TrainingProgress) -> None:
        if progress.epoch == self._epoch:
            self._stop()


class PowerCutError(Exception):
    """What no one handles."""


def power_cut() -> None:
    raise PowerCutError


def ctrl_c() -> None:
    raise KeyboardInterrupt


def center(probs: np.ndarray) -> list[float]:
    """Row and column of the centre of gravity."""
    return [float((probs * axis).sum() / probs.sum()) for axis in np.indices(probs.shape)]


def train_until_killed(folder: str) -> None:
    """For another process: waits in the second epoch, so that a kill finds one checkpoint."""

    def wait() -> None:
        # ends by itself when the process that would kill it is gone
        sys.stdin.read()

    train_network(discs(10, 3), SHORT, Path(folder), SEED, CPU, _Breaks(2, wait))


def contents(folder: Path) -> dict[str, bytes]:
    return {name: (folder / name).read_bytes() for name in FINISHED}


def column_of_kept(checkpoint: dict[str, list[list[float]]]) -> list[float]:
    return [kept for _, _, _, kept in checkpoint["history"]]


def last_weights(folder: Path) -> bytes:
    return (folder / "last.safetensors").read_bytes()


def column(folder: Path, name: str) -> list[float]:
    return [float(row[name]) for row in read_csv(folder / "metrics.csv")]


@pytest.fixture(scope="module")
def unbroken(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("unbroken")
    train_network(discs(10, 3), SHORT, folder, SEED, CPU)
    return folder


class TestTheSameBytes:
    def test_masks_were_selected_in_the_training_that_all_are_compared_to(
        self, unbroken: Path
    ) -> None:
        kept = column(unbroken, "kept")
        assert kept[:2] == [1, 1]
        assert max(kept[2:]) < 1

    def test_same_seed(self, unbroken: Path, tmp_path: Path) -> None:
        # whoever else draws random numbers changes nothing
        torch.manual_seed(99)
        np.random.seed(99)
        train_network(discs(10, 3), SHORT, tmp_path, SEED, CPU)
        assert contents(tmp_path) == contents(unbroken)

    def test_another_seed(self, unbroken: Path, tmp_path: Path) -> None:
        train_network(discs(10, 3), SHORT, tmp_path, SEED + 1, CPU)
        assert last_weights(tmp_path) != last_weights(unbroken)

    @pytest.mark.parametrize("epoch", [1, 2, 3, 4])
    def test_broken_at_an_epoch_and_resumed(
        self, unbroken: Path, tmp_path: Path, epoch: int
    ) -> None:
        with pytest.raises(PowerCutError):
            train_network(discs(10, 3), SHORT, tmp_path, SEED, CPU, _Breaks(epoch, power_cut))
        assert (tmp_path / "last.ckpt").exists() == (epoch > 1)
        assert not (tmp_path / "last.safetensors").exists()
        train_network(discs(10, 3), SHORT, tmp_path, SEED, CPU)
        assert contents(tmp_path) == contents(unbroken)
        assert not list(tmp_path.glob("*.ckpt"))

    def test_broken_twice_without_selection(self, tmp_path: Path) -> None:
        settings = SHORT.model_copy(update={"select_after": 0, "schedule": "constant"})
        train_network(discs(10), settings, tmp_path / "unbroken", SEED, CPU)
        for epoch in (2, 4):
            with pytest.raises(PowerCutError):
                train_network(
                    discs(10), settings, tmp_path / "broken", SEED, CPU, _Breaks(epoch, power_cut)
                )
        train_network(discs(10), settings, tmp_path / "broken", SEED, CPU)
        assert contents(tmp_path / "broken") == contents(tmp_path / "unbroken")
        assert column(tmp_path / "broken", "kept") == [1] * 4

    def test_half_the_bits(self, unbroken: Path, tmp_path: Path) -> None:
        settings = SHORT.model_copy(update={"precision": "mixed"})
        trained = train_network(discs(10, 3), settings, tmp_path / "unbroken", SEED, CPU)
        assert last_weights(tmp_path / "unbroken") != last_weights(unbroken)
        assert {value.dtype for value in trained.network.parameters()} == {torch.float32}
        losses = [column(folder, "loss") for folder in (tmp_path / "unbroken", unbroken)]
        np.testing.assert_allclose(losses[0][:2], losses[1][:2], rtol=0.02)
        with pytest.raises(PowerCutError):
            train_network(
                discs(10, 3), settings, tmp_path / "broken", SEED, CPU, _Breaks(3, power_cut)
            )
        train_network(discs(10, 3), settings, tmp_path / "broken", SEED, CPU)
        assert contents(tmp_path / "broken") == contents(tmp_path / "unbroken")
        full = SHORT.model_copy(update={"precision": "full"})
        train_network(discs(10, 3), full, tmp_path / "full", SEED, CPU)
        assert last_weights(tmp_path / "full") == last_weights(unbroken)

    def test_ctrl_c_is_heard_as_such_and_resumed(self, unbroken: Path, tmp_path: Path) -> None:
        handler = signal.getsignal(signal.SIGINT)
        with pytest.raises(KeyboardInterrupt):
            train_network(discs(10, 3), SHORT, tmp_path, SEED, CPU, _Breaks(3, ctrl_c))
        assert signal.getsignal(signal.SIGINT) == handler
        train_network(discs(10, 3), SHORT, tmp_path, SEED, CPU)
        assert contents(tmp_path) == contents(unbroken)

    def test_killed_in_earnest(self, unbroken: Path, tmp_path: Path) -> None:
        code = (
            f"import runpy; runpy.run_path({__file__!r})['train_until_killed']({str(tmp_path)!r})"
        )
        environment = os.environ | {"OMP_NUM_THREADS": "1"}
        with subprocess.Popen(
            [sys.executable, "-c", code], env=environment, stdin=subprocess.PIPE
        ) as training:
            patience = time.monotonic() + 300
            while not (tmp_path / "last.ckpt").exists():
                assert training.poll() is None, "the training ended by itself"
                assert time.monotonic() < patience, "no checkpoint appeared"
                time.sleep(0.05)
            training.kill()
        assert training.returncode == -signal.SIGKILL
        assert not (tmp_path / "last.safetensors").exists()
        train_network(discs(10, 3), SHORT, tmp_path, SEED, CPU)
        assert contents(tmp_path) == contents(unbroken)

    def test_killed_between_training_and_its_last_file(
        self, unbroken: Path, tmp_path: Path
    ) -> None:
        train_network(discs(10, 3), SHORT, tmp_path, SEED, CPU)
        (tmp_path / "best.ckpt").write_bytes(b"left over")
        train_network(discs(10, 3), SHORT, tmp_path, SEED, CPU)
        assert contents(tmp_path) == contents(unbroken)
        assert not list(tmp_path.glob("*.ckpt"))

    def test_a_finished_training_is_loaded_not_repeated(self, unbroken: Path) -> None:
        before = {path: path.stat().st_mtime_ns for path in unbroken.rglob("*")}
        trained = train_network(discs(10, 3), SHORT, unbroken, SEED, CPU, _Breaks(1, pytest.fail))
        assert {path: path.stat().st_mtime_ns for path in unbroken.rglob("*")} == before
        torch.testing.assert_close(
            trained.network.state_dict(), load_file(unbroken / "last.safetensors")
        )

    def test_a_checkpoint_that_cannot_be_written_leaves_the_one_before(
        self, unbroken: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        save = torch.save
        saved = []

        def full_disk(checkpoint: object, handle: object) -> None:
            saved.append(handle)
            # the second checkpoint of the last epoch but one, or one soon after
            if len(saved) > 3:
                handle.write(b"half of a checkpoint")  # type: ignore[attr-defined]
                raise OSError("no space left on device")
            save(checkpoint, handle)  # type: ignore[arg-type]

        with monkeypatch.context() as patched:
            patched.setattr(torch, "save", full_disk)
            with pytest.raises(OSError, match="no space left"):
                train_network(discs(10, 3), SHORT, tmp_path, SEED, CPU)
        assert (tmp_path / "last.ckpt").exists()
        train_network(discs(10, 3), SHORT, tmp_path, SEED, CPU)
        assert contents(tmp_path) == contents(unbroken)


def test_the_listener_hears_what_the_table_says(unbroken: Path, tmp_path: Path) -> None:
    heard: list[TrainingProgress] = []

    class Ear(Listener):
        def epoch(self, progress: TrainingProgress) -> None:
            heard.append(progress)

    train_network(discs(10, 3), SHORT, tmp_path / "teacher", SEED, CPU, Ear())
    assert [(p.training, p.epoch, p.epochs) for p in heard] == [
        ("teacher", epoch, 4) for epoch in (1, 2, 3, 4)
    ]
    assert [p.loss for p in heard] == column(unbroken, "loss")
    assert [p.monitor_dice for p in heard] == column(unbroken, "monitor_dice")
    assert column(unbroken, "epoch") == [1, 2, 3, 4]


class TestWhatIsInTheFolder:
    @pytest.mark.parametrize(
        ("data", "settings", "seed"),
        [
            (discs(10, 2), SHORT, SEED),
            (discs(9, 3), SHORT, SEED),
            (discs(10, 3), SHORT.model_copy(update={"learning_rate": 1e-3}), SEED),
            (discs(10, 3), SHORT, SEED + 1),
        ],
        ids=["labels", "cases", "settings", "seed"],
    )
    def test_another_training_is_refused(
        self, unbroken: Path, data: TrainingData, settings: TrainingSettings, seed: int
    ) -> None:
        before = contents(unbroken)
        with pytest.raises(RunMismatchError, match=unbroken.name):
            train_network(data, settings, unbroken, seed, CPU)
        assert contents(unbroken) == before

    def test_one_stored_before_a_setting_existed_is_loaded(
        self, unbroken: Path, tmp_path: Path
    ) -> None:
        for name, content in contents(unbroken).items():
            (tmp_path / name).write_bytes(content)
        described = read_json(tmp_path / "training.json")
        for name in ("method", "gce"):
            del described["settings"][name]
        write_json(tmp_path / "training.json", described)
        train_network(discs(10, 3), SHORT, tmp_path, SEED, CPU, _Breaks(1, pytest.fail))
        # what it was not trained with is still refused
        other = SHORT.model_copy(update={"method": "gce"})
        with pytest.raises(RunMismatchError):
            train_network(discs(10, 3), other, tmp_path, SEED, CPU)

    @pytest.mark.parametrize("damage", ["truncated", "text", "of another network"])
    def test_broken_weights(self, unbroken: Path, tmp_path: Path, damage: str) -> None:
        for name, content in contents(unbroken).items():
            (tmp_path / name).write_bytes(content)
        weights = tmp_path / "last.safetensors"
        if damage == "truncated":
            weights.write_bytes(weights.read_bytes()[:-100])
        elif damage == "text":
            weights.write_text("no weights")
        else:
            described = (tmp_path / "training.json").read_text()
            (tmp_path / "training.json").write_text(described.replace("compact", "vnet"))
        with pytest.raises(UnreadableFileError, match=r"last\.safetensors"):
            load_trained(tmp_path, CPU)

    def test_nothing_finished(self, unbroken: Path, tmp_path: Path) -> None:
        (tmp_path / "training.json").write_bytes((unbroken / "training.json").read_bytes())
        with pytest.raises(MissingFileError, match=r"last\.safetensors"):
            load_trained(tmp_path, CPU)


class TestWhichMasksTrain:
    def test_wrong_masks_are_dropped_and_right_ones_kept(self, tmp_path: Path) -> None:
        settings = TrainingSettings(
            size=32, epochs=10, least_steps=0, batch_size=5, learning_rate=0.01, averaging=0.9,
            select_after=0.6, doubt_ratio=4, monitor_share=0,
        )  # fmt: skip
        # broken in the eighth epoch: the checkpoint of the seventh says what trained in it
        with pytest.raises(PowerCutError):
            train_network(discs(30, 12), settings, tmp_path, 0, CPU, _Breaks(8, power_cut))
        checkpoint = torch.load(tmp_path / "last.ckpt", weights_only=True)
        kept = checkpoint["state_dict"]["kept"][:, 0]
        assert not kept[:12].any()
        # one or two that were drawn less well than the best may go on another machine
        assert kept[12:].sum() >= 15
        assert column_of_kept(checkpoint) == [1] * 6 + [pytest.approx(float(kept.float().mean()))]

    def test_what_is_dropped_does_not_train(self, tmp_path: Path) -> None:
        # hardly more than the median of the nearest two of eight is allowed; the two whose size is
        # in the middle are as far from it
        train_network(discs(10), SHORT, tmp_path, SEED, CPU)
        losses, kept = column(tmp_path, "loss"), column(tmp_path, "kept")
        assert kept == [1, 1, 0.25, 0.25]
        # a mask that is dropped has a loss of 0
        assert max(losses[2:]) < 0.4 * min(losses[:2])

    def test_ignored_pixels_have_no_influence(self, unbroken: Path, tmp_path: Path) -> None:
        data = discs(10, 3)
        part = data.taking_part.clone()
        part[::2, :, 8:20, 5:17] = 0
        part[3] = 0
        ignoring = replace(data, taking_part=part)
        flipped = replace(ignoring, targets=torch.where(part > 0, data.targets, 1 - data.targets))
        train_network(ignoring, SHORT, tmp_path / "as given", SEED, CPU)
        train_network(flipped, SHORT, tmp_path / "flipped", SEED, CPU)
        assert last_weights(tmp_path / "as given") == last_weights(tmp_path / "flipped")
        assert last_weights(tmp_path / "as given") != last_weights(unbroken)
        for name in ("loss", "monitor_dice", "kept"):
            assert column(tmp_path / "as given", name) == column(tmp_path / "flipped", name)

    def test_a_mask_without_a_pixel_taking_part_is_neither_scored_nor_dropped(self) -> None:
        data = discs(3)
        data.taking_part[1] = 0
        network = torch.nn.Conv2d(1, 1, 1)
        distance = mask_distance(mismatch_with(network, data), DISC)
        assert np.isnan(distance[:, 0]).tolist() == [False, True, False]


class TestWhichWeightsPredict:
    @pytest.fixture(scope="class")
    @staticmethod
    def restless(tmp_path_factory: pytest.TempPathFactory) -> Path:
        """A training that gets worse after a while: too fast, and of masks half wrong."""
        settings = TrainingSettings(
            size=32, epochs=8, least_steps=0, learning_rate=0.03, schedule="constant", averaging=0,
            dice=0, monitor_share=0.2, weights="best",
        )  # fmt: skip
        folder = tmp_path_factory.mktemp("restless")
        train_network(discs(10, 5), settings, folder, SEED, CPU)
        return folder

    def test_best_is_the_best_on_held_out_training_cases(self, restless: Path) -> None:
        dices = column(restless, "monitor_dice")
        assert max(dices) > dices[-1]
        data = discs(10, 5)
        watched = data.subset(split_monitor(10, 0.2, SEED)[1])
        for weights, expected in (("best", max(dices)), ("last", dices[-1])):
            network = load_trained(restless, CPU, weights).network
            dice = 1 - mask_distance(mismatch_with(network, watched), DISC)
            assert np.mean(dice) == pytest.approx(expected, abs=1e-3)

    def test_the_settings_say_which(self, restless: Path, unbroken: Path) -> None:
        for folder, name in ((restless, "best"), (unbroken, "last")):
            state = load_trained(folder, CPU).network.state_dict()
            assert all(
                torch.equal(state[key], value)
                for key, value in load_file(folder / f"{name}.safetensors").items()
            )
        assert (restless / "best.safetensors").read_bytes() != last_weights(restless)


@pytest.mark.parametrize("network", ["compact", "vnet"])
def test_exclusive_labels_train(network: str, tmp_path: Path) -> None:
    scheme = LabelScheme(("disc", "rim"), overlapping=False)
    items = []
    for number in range(10):
        image, mask = disc_case(number)
        labels = mask.copy()
        labels[0, :3] = 2
        labels[0, 3] = 255
        image[0, :3] += 6
        items.append((f"c{number}", image, *soft_targets(labels, scheme)))
    data = stack_training_data(items, 32, scheme)
    settings = SHORT.model_copy(
        update={
            "network": network,
            "epochs": 12,
            "learning_rate": 0.02,
            "select_after": 0,
        }
    )
    trained = train_network(data, settings, tmp_path, SEED, CPU)
    losses = column(tmp_path, "loss")
    assert losses[-1] < 0.7 * losses[0]
    image, mask = disc_case(100)
    image[0, :3] += 6
    probs = predict_case(trained, image)
    assert probs.shape == (3, 32, 32)
    np.testing.assert_allclose(probs.sum(axis=0), 1, atol=1e-5)
    disc = mask[0] == 1
    assert probs[1][disc].mean() > 5 * probs[1][~disc].mean()
    assert probs[2][:3].mean() > 5 * probs[2][4:].mean()


@pytest.mark.parametrize(
    ("count", "least_steps", "epochs"),
    [(8, 0, 3), (8, 12, 3), (8, 13, 4), (9, 12, 3), (1, 12, 12), (1000, 360, 3)],
)
def test_a_small_data_set_is_passed_over_more_often(
    count: int, least_steps: int, epochs: int
) -> None:
    settings = TrainingSettings(epochs=3, batch_size=2, least_steps=least_steps)
    assert epochs_of(settings, count) == epochs


def test_a_training_has_as_many_epochs_as_its_steps_ask_for(tmp_path: Path) -> None:
    settings = SHORT.model_copy(update={"epochs": 1, "least_steps": 7, "select_after": 0})
    train_network(discs(10), settings, tmp_path, SEED, CPU)
    # eight cases in batches of two
    assert column(tmp_path, "epoch") == [1, 2]


class TestSplitMonitor:
    def test_held_out_cases_do_not_train(self) -> None:
        training, monitor = split_monitor(10, 0.25, seed=0)
        assert len(monitor) == 3
        assert sorted(training + monitor) == list(range(10))
        assert split_monitor(10, 0.25, seed=0) == (training, monitor)
        assert len({tuple(split_monitor(10, 0.25, seed)[1]) for seed in range(8)}) > 4

    def test_without_a_share_all_train_and_all_are_watched(self) -> None:
        assert split_monitor(4, 0, seed=0) == ([0, 1, 2, 3], [0, 1, 2, 3])

    @pytest.mark.parametrize("share", [0, 0.1, 0.49])
    def test_a_single_case_trains(self, share: float) -> None:
        assert split_monitor(1, share, seed=0) == ([0], [0])

    @pytest.mark.parametrize("share", [0.1, 0.49])
    def test_of_two_cases_one_trains(self, share: float) -> None:
        training, monitor = split_monitor(2, share, seed=0)
        assert len(training) == len(monitor) == 1


class TestPredictCase:
    @pytest.fixture(scope="class")
    @staticmethod
    def trained(unbroken: Path) -> Trained:
        return load_trained(unbroken, CPU)

    @pytest.mark.parametrize("shape", [(32, 32), (50, 37), (7, 90), (1, 1), (200, 31)])
    def test_an_image_of_any_size(self, trained: Trained, shape: tuple[int, int]) -> None:
        image = np.random.default_rng(0).integers(0, 4096, (1, *shape)).astype(np.uint16)
        probs = predict_case(trained, image)
        assert probs.shape == (1, *shape)
        assert probs.dtype == np.float32
        assert probs.min() >= 0
        assert probs.max() <= 1

    def test_on_the_network_s_grid_it_is_what_the_network_says(self, trained: Trained) -> None:
        data = discs(3)
        expected = predict_prepared(trained.network, data.images, DISC).numpy()
        for number in range(3):
            image, _ = disc_case(number)
            np.testing.assert_allclose(predict_case(trained, image), expected[number], atol=1e-5)

    @pytest.mark.parametrize("factor", [2, 4, 7])
    def test_a_larger_image_of_the_same_scene_says_the_same(
        self, trained: Trained, factor: int
    ) -> None:
        def smooth_disc(size: int) -> np.ndarray:
            rows, columns = (np.mgrid[:size, :size] + 0.5) * 32 / size
            return (3 / (1 + np.exp(np.hypot(rows - 16, columns - 14) / 1.5 - 4.7)))[None]

        small = predict_case(trained, smooth_disc(32))[0]
        large = predict_case(trained, smooth_disc(32 * factor))[0]
        shrunk = large.reshape(32, factor, 32, factor).mean(axis=(1, 3))
        # a misplaced half of a pixel would move the disc by much more
        np.testing.assert_allclose(center(shrunk), center(small), atol=0.1)
        np.testing.assert_allclose(shrunk.sum(), small.sum(), rtol=0.01)
        sure = np.abs(small - 0.5) > 0.25
        assert ((shrunk > 0.5) == (small > 0.5))[sure].all()

    def test_it_does_not_change_the_network(self, trained: Trained) -> None:
        before = {key: value.clone() for key, value in trained.network.state_dict().items()}
        first = predict_case(trained, disc_case(0)[0])
        np.testing.assert_array_equal(predict_case(trained, disc_case(0)[0]), first)
        after = trained.network.state_dict()
        assert all(torch.equal(before[key], after[key]) for key in before)


def test_a_last_batch_of_one_on_the_smallest_grid(tmp_path: Path) -> None:
    settings = TrainingSettings(size=32, epochs=2, least_steps=0, batch_size=2, monitor_share=0)
    train_network(discs(5), settings, tmp_path, SEED, CPU)
    assert len(column(tmp_path, "loss")) == 2
