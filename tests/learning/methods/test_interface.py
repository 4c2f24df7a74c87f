"""What a training promises to a method: when it is asked, what it sees, and what is kept for it."""

from __future__ import annotations

from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import pytest
import torch
from safetensors.torch import load_file
from torch import Tensor, nn

from maskmend.arrays.targets import soft_targets
from maskmend.core import FloatArray, LabelScheme, Listener, TrainingProgress
from maskmend.learning.batches import TrainingCases, TrainingData, stack_training_data
from maskmend.learning.compute import Compute
from maskmend.learning.inference import probabilities_of
from maskmend.learning.methods import METHODS
from maskmend.learning.methods.interface import Batch, EpochStart, Setup
from maskmend.learning.methods.plain import Plain
from maskmend.learning.training import train_network
from maskmend.learning.volumes import VolumeData, stack_volumes
from maskmend.settings import TrainingSettings

SCHEME = LabelScheme(("disc",), overlapping=True)
CPU = Compute(torch.device("cpu"), threads=1)
SETTINGS = TrainingSettings(
    size=32, epochs=4, least_steps=0, batch_size=2, monitor_share=0, augment=False
)


def squares(count: int) -> TrainingData:
    items = []
    for number in range(count):
        labels = np.zeros((1, 32, 32), np.uint8)
        labels[0, : number + 4, :8] = 1
        labels[0, -1] = 255
        items.append((f"c{number}", labels * 1.0, *soft_targets(labels, SCHEME)))
    return stack_training_data(items, 32, SCHEME)


def boxes(count: int) -> VolumeData:
    settings = SETTINGS.model_copy(
        update={"patch": (16, 16, 16), "spacing": (1.0, 1.0, 1.0), "normalisation": "image"}
    )
    items = []
    for number in range(count):
        labels = np.zeros((1, 16 + number, 17, 18), np.uint8)
        labels[0, : number + 4, :8] = 1
        items.append((f"c{number}", labels * 1.0, (1.0, 1.0, 1.0), *soft_targets(labels, SCHEME)))
    return stack_volumes(lambda: items, SCHEME, settings)


class _Stop(Listener):
    def __init__(self, epoch: int) -> None:
        self._epoch = epoch

    def epoch(self, progress: TrainingProgress) -> None:
        if progress.epoch == self._epoch:
            raise KeyboardInterrupt


class _Spy(Plain):
    """Notes what it sees; from its second epoch on all targets are empty."""

    seen: ClassVar[list[Any]] = []

    def __init__(self, setup: Setup) -> None:
        super().__init__(setup)
        self.scale = nn.Parameter(torch.ones(()))
        self.emptied: list[Tensor] = []

    def get_extra_state(self) -> list[Tensor]:
        return self.emptied

    def set_extra_state(self, state: list[Tensor]) -> None:
        self.emptied = state

    def start_epoch(self, start: EpochStart) -> TrainingCases:
        self.seen.append(("start", start.epoch, start.epochs, len(self.emptied)))
        if start.epoch == 1:
            found = list(start.given.probabilities(start.averaged))
            self.emptied = [torch.zeros(maps.shape) for maps in found]
        if not self.emptied:
            return start.given
        return start.given.relabelled(maps.numpy() for maps in self.emptied)

    def loss(self, batch: Batch, logits: list[Tensor]) -> Tensor:
        torch.testing.assert_close(batch.networks[0](batch.images), logits[0], rtol=1e-4, atol=1e-4)
        draw = float(torch.rand((), generator=batch.generator))
        self.seen.append((batch.indices.tolist(), batch.progress, batch.targets.sum().item(), draw))
        return super().loss(batch, logits) * self.scale.exp()


@pytest.fixture
def spy(monkeypatch: pytest.MonkeyPatch) -> type[_Spy]:
    monkeypatch.setitem(METHODS, "plain", _Spy)
    monkeypatch.setattr(_Spy, "seen", [])
    return _Spy


def test_when_a_method_is_asked_and_what_it_sees(spy: type[_Spy], tmp_path: Path) -> None:
    data = squares(4)
    train_network(data, SETTINGS, tmp_path, 0, CPU)
    starts, steps = spy.seen[::3], [spy.seen[i] for i in range(len(spy.seen)) if i % 3]
    assert starts == [
        ("start", 0, 4, 0),
        ("start", 1, 4, 0),
        ("start", 2, 4, 4),
        ("start", 3, 4, 4),
    ]
    assert [progress for _, progress, _, _ in steps] == [n / 8 for n in range(8)]
    for indices, progress, claimed, _ in steps:
        expected = float(data.targets[indices].sum()) if progress < 0.25 else 0
        assert claimed == pytest.approx(expected)
    for first in range(0, 8, 2):
        assert sorted(steps[first][0] + steps[first + 1][0]) == [0, 1, 2, 3]
    assert len({draw for *_, draw in steps}) == 8


def test_after_a_break_it_goes_on_as_if_there_was_none(spy: type[_Spy], tmp_path: Path) -> None:
    train_network(squares(4), SETTINGS, tmp_path / "unbroken", 0, CPU)
    unbroken = list(spy.seen)
    spy.seen.clear()
    with pytest.raises(KeyboardInterrupt):
        train_network(squares(4), SETTINGS, tmp_path / "broken", 0, CPU, _Stop(3))
    checkpoint = torch.load(tmp_path / "broken" / "last.ckpt", weights_only=True)
    assert checkpoint["state_dict"]["method.scale"] != 1
    spy.seen.clear()
    train_network(squares(4), SETTINGS, tmp_path / "broken", 0, CPU)
    # the third epoch again, of which no checkpoint was written
    assert spy.seen == unbroken[6:]
    weights = [(tmp_path / n / "last.safetensors").read_bytes() for n in ("unbroken", "broken")]
    assert weights[0] == weights[1]


def test_other_images_leave_the_statistics_alone(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    class Looks(Plain):
        def loss(self, batch: Batch, logits: list[Tensor]) -> Tensor:
            batch.networks[0](batch.images * 100 + 5)
            return super().loss(batch, logits)

    weights = []
    for method in (Plain, Looks):
        monkeypatch.setitem(METHODS, "plain", method)
        train_network(squares(4), SETTINGS, tmp_path / method.__name__, 0, CPU)
        tensors = load_file(tmp_path / method.__name__ / "last.safetensors")
        # how many batches there were is counted, and counts for nothing
        weights.append({k: v for k, v in tensors.items() if "num_batches" not in k})
    assert any("running_var" in name for name in weights[0])
    for name, values in weights[0].items():
        assert torch.equal(values, weights[1][name]), name


@pytest.mark.parametrize("data", [squares(3), boxes(3)], ids=["pictures", "volumes"])
def test_new_labels_take_the_place_of_the_given_ones(data: TrainingCases) -> None:
    wanted: list[FloatArray] = []
    for targets, part in data.known():
        assert targets.dtype == part.dtype == np.float32
        assert len(part) == len(SCHEME.planes)
        assert targets[0, :3, :8].min() == 1
        assert targets.mean() < 0.5
        wanted.append(np.flip(targets, axis=1).copy())
    changed = data.relabelled(iter(wanted))
    for (found, part), (_, before), expected in zip(
        changed.known(), data.known(), wanted, strict=True
    ):
        np.testing.assert_array_equal(found, expected)
        np.testing.assert_array_equal(part, before)
    # those handed in are as they were
    assert next(iter(data.known()))[0][0, :3, :8].min() == 1
    kept = torch.ones(3, 1, dtype=torch.bool)
    drawn = changed.draw(torch.arange(3), kept, torch.Generator().manual_seed(0), SETTINGS)
    assert drawn.shape[1] == sum(changed.counts)


@pytest.mark.parametrize("data", [squares(3), boxes(3)], ids=["pictures", "volumes"])
def test_predictions_lie_on_the_grid_of_the_labels(data: TrainingData | VolumeData) -> None:
    network = nn.Conv2d(1, 1, 1) if isinstance(data, TrainingData) else nn.Conv3d(1, 1, 1)
    found = list(data.probabilities(network))
    assert [maps.shape for maps in found] == [targets.shape for targets, _ in data.known()]
    images = data.images if isinstance(data, TrainingData) else data.volumes[0].image[None]
    with torch.no_grad():
        expected = probabilities_of(network(torch.as_tensor(images)[:1]), SCHEME)[0].numpy()
    np.testing.assert_allclose(found[0], expected, atol=1e-5)
