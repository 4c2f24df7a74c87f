"""The networks: size, shapes, and what a new one says before it has learnt anything."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from maskmend.core import LabelScheme
from maskmend.learning.batches import TrainingData
from maskmend.learning.inference import predict_prepared
from maskmend.learning.networks import NETWORKS, VolumeUNet, build_network, fold, unfold
from maskmend.learning.task import SegmentationTask
from maskmend.settings import TrainingSettings

THREE = ("lung", "heart", "clavicle")


def parameters(network: torch.nn.Module) -> int:
    return sum(parameter.numel() for parameter in network.parameters())


def test_the_vnet_has_as_many_parameters_as_the_reference() -> None:
    assert parameters(build_network("vnet", 1, 2)) == 1_151_932


@pytest.mark.parametrize("name", sorted(NETWORKS))
@pytest.mark.parametrize(("in_channels", "out_channels"), [(1, 1), (1, 4), (3, 2)])
def test_logits_lie_on_the_grid_of_the_image(
    name: str, in_channels: int, out_channels: int
) -> None:
    network = build_network(name, in_channels, out_channels).eval()
    height, width = 2 * network.multiple_of, 3 * network.multiple_of
    with torch.no_grad():
        logits = network(torch.randn(2, in_channels, height, width))
    assert logits.shape == (2, out_channels, height, width)
    assert logits.dtype == torch.float32


@pytest.mark.parametrize("name", sorted(NETWORKS))
def test_every_size_that_the_settings_allow_suits_every_network(name: str) -> None:
    def is_allowed(size: int) -> bool:
        try:
            TrainingSettings(size=size)
        except ValueError:
            return False
        return True

    allowed = [size for size in range(1, 300) if is_allowed(size)]
    assert {64, 96, 128, 256} <= set(allowed)
    multiple = build_network(name, 1, 1).multiple_of
    assert [size for size in allowed if size % multiple] == []


@pytest.mark.parametrize("name", sorted(NETWORKS))
def test_a_size_that_does_not_divide_is_refused(name: str) -> None:
    network = build_network(name, 1, 2).eval()
    with pytest.raises(RuntimeError):
        network(torch.zeros(1, 1, network.multiple_of + 1, network.multiple_of + 1))


@pytest.mark.parametrize("name", sorted(NETWORKS))
def test_the_generator_decides_about_the_weights(name: str) -> None:
    def weights(seed: int) -> Tensor:
        torch.manual_seed(seed)
        return torch.cat([p.flatten() for p in build_network(name, 1, 2).parameters()])

    with torch.random.fork_rng():
        first, again, other = weights(1), weights(1), weights(2)
    assert torch.equal(first, again)
    assert not torch.equal(first, other)


def blank(scheme: LabelScheme, shares: list[float]) -> TrainingData:
    """Two noisy images, and of each channel the given share of every row as target."""
    generator = torch.Generator().manual_seed(0)
    targets = torch.zeros(2, scheme.num_channels, 32, 32)
    start = 0
    for channel, share in enumerate(shares):
        stop = start + round(32 * share)
        targets[:, channel, :, start:stop] = 1
        start = 0 if scheme.overlapping else stop
    return TrainingData(
        ("a", "b"), torch.randn(2, 1, 32, 32, generator=generator), targets,
        torch.ones(2, len(scheme.planes), 32, 32), scheme,
    )  # fmt: skip


def new_task(data: TrainingData, network: str) -> SegmentationTask:
    settings = TrainingSettings.model_validate({"network": network, "size": 32})
    return SegmentationTask(data, data, settings, 0, lambda *_: None)


@pytest.mark.parametrize("name", sorted(NETWORKS))
@pytest.mark.parametrize(
    ("scheme", "shares"),
    [
        (LabelScheme(THREE, overlapping=True), [0.75, 0.25, 0.0625]),
        (LabelScheme(THREE, overlapping=False), [0.5, 0.25, 0.1875, 0.0625]),
    ],
    ids=["overlapping", "exclusive"],
)
def test_a_new_network_expects_each_class_as_often_as_it_is(
    name: str, scheme: LabelScheme, shares: list[float]
) -> None:
    data = blank(scheme, shares)
    task = new_task(data, name)
    with torch.no_grad():
        # what the last layer adds to the bias, before any training, says nothing
        task.network.last.weight.zero_()
    means = predict_prepared(task.network, data.images, scheme).mean(dim=(0, 2, 3))
    torch.testing.assert_close(means, torch.tensor(shares))


@pytest.mark.parametrize("name", sorted(NETWORKS))
def test_with_its_random_weights_it_is_still_near(name: str) -> None:
    data = blank(LabelScheme(THREE, overlapping=True), [0.75, 0.25, 0.0625])
    task = new_task(data, name)
    means = predict_prepared(task.network, data.images, data.scheme).mean(dim=(0, 2, 3))
    assert (means - torch.tensor([0.75, 0.25, 0.0625])).abs().max() < 0.15


def test_ignored_pixels_do_not_count_towards_what_is_expected() -> None:
    scheme = LabelScheme(("lung",), overlapping=True)
    data = blank(scheme, [0.5])
    # the left half is lung; a quarter of the image, all lung, is ignored
    data.taking_part[:, :, :, :8] = 0
    bias = new_task(data, "vnet").network.last.bias
    torch.testing.assert_close(bias.detach(), torch.tensor([1 / 3]).logit())


class TestVolumeUNet:
    @pytest.mark.parametrize(
        ("patch", "spacing"),
        [
            ((40, 56, 40), (1.0, 1.0, 1.0)),
            ((16, 128, 128), (8.0, 1.0, 1.0)),
            ((24, 96, 96), (2.5, 0.8, 0.8)),
            ((1, 64, 64), (1.0, 1.0, 1.0)),
            ((16, 16, 1), (1.0, 1.0, 1.0)),
        ],
    )
    @pytest.mark.parametrize(("in_channels", "out_channels"), [(1, 3), (4, 2)])
    def test_logits_lie_on_the_grid_of_the_patch(
        self,
        patch: tuple[int, ...],
        spacing: tuple[float, ...],
        in_channels: int,
        out_channels: int,
    ) -> None:
        network = VolumeUNet(in_channels, out_channels, patch, spacing, width=4).eval()
        with torch.no_grad():
            logits = network(torch.randn(2, in_channels, *patch))
        assert logits.shape == (2, out_channels, *patch)
        assert logits.dtype == torch.float32

    def test_thick_slices_are_neither_folded_nor_looked_across_at_first(self) -> None:
        network = VolumeUNet(1, 2, (16, 64, 64), (8.0, 1.0, 1.0), width=4)
        assert network.fold == (1, 2, 2)
        sizes = [m.kernel_size for m in network.modules() if isinstance(m, torch.nn.Conv3d)]
        assert sizes[0] == (1, 3, 3)
        assert (3, 3, 3) in sizes

    def test_each_weight_has_one_name(self) -> None:
        network = VolumeUNet(1, 2, (16, 16, 16), (1.0,) * 3, width=4)
        stored = network.state_dict()
        assert len({value.data_ptr() for value in stored.values() if value.numel()}) == len(stored)

    def test_fold_by_hand_and_back(self) -> None:
        maps = torch.arange(16.0).reshape(1, 2, 2, 2, 2)
        folded = fold(maps, (1, 2, 1))
        assert folded.shape == (1, 4, 2, 1, 2)
        # the rows of a channel stay together
        assert folded[0, 0].flatten().tolist() == [0, 1, 4, 5]
        assert folded[0, 1].flatten().tolist() == [2, 3, 6, 7]
        assert folded[0, 2].flatten().tolist() == [8, 9, 12, 13]
        larger = torch.randn(2, 3, 4, 6, 8)
        for by in ((2, 2, 2), (1, 3, 2), (4, 1, 1)):
            assert torch.equal(unfold(fold(larger, by), by), larger)

    def test_fold_in_a_plane_is_the_one_of_pictures(self) -> None:
        maps = torch.randn(2, 3, 1, 6, 8)
        expected = torch.nn.functional.pixel_unshuffle(maps[:, :, 0], 2)
        assert torch.equal(fold(maps, (1, 2, 2))[:, :, 0], expected)
