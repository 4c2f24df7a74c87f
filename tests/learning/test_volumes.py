"""Volumes on the network's grid: resampling, normalising, targets, CT numbers, and batches."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from maskmend.arrays.targets import soft_targets
from maskmend.core import LabelScheme
from maskmend.errors import SettingsError
from maskmend.learning.losses import channel_shares
from maskmend.learning.volumes import (
    Intensities,
    Item,
    VolumeData,
    VolumeWay,
    foreground_intensities,
    prepare_targets,
    resize_volume,
    stack_volumes,
)
from maskmend.settings import TrainingSettings

TWO = LabelScheme(("front", "back"), overlapping=False)
BOTH = LabelScheme(("front", "back"), overlapping=True)
SMALL = TrainingSettings(patch=(16, 16, 8), spacing=(1, 1, 1), normalisation="image")
seeds = st.integers(0, 2**31 - 1)


def generator(seed: int) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def items_of(scheme: LabelScheme, count: int = 3) -> list[Item]:
    rng = np.random.default_rng(1)
    items: list[Item] = []
    for number in range(count):
        shape = (18 + number, 20, 10 + 2 * number)
        top = 2 if scheme.overlapping else 3
        labels = rng.integers(0, top, (len(scheme.planes), *shape), np.uint8)
        labels[:, :2] = 255
        image = rng.normal(100, 20, (1, *shape))
        items.append((f"c{number}", image, (1.0, 1.0, 1.0), *soft_targets(labels, scheme)))
    return items


def data_of(scheme: LabelScheme, settings: TrainingSettings = SMALL) -> VolumeData:
    items = items_of(scheme)
    return stack_volumes(lambda: items, scheme, settings)


class TestResizeVolume:
    def test_by_hand(self) -> None:
        line = torch.tensor([0.0, 0.0, 8.0, 8.0]).reshape(1, 1, 4, 1)
        assert torch.equal(resize_volume(line, (1, 4, 1)), line)
        torch.testing.assert_close(resize_volume(line, (1, 1, 1)), torch.full((1, 1, 1, 1), 4.0))
        doubled = resize_volume(line, (1, 8, 1)).flatten()
        # voxel centres kept: halfway between them a quarter of the way
        assert doubled.tolist() == [0, 0, 0, 2, 6, 8, 8, 8]

    @given(st.tuples(*[st.integers(1, 14)] * 3), st.integers(0, 2))
    def test_a_ramp_along_any_axis_stays_one_inside(
        self, shape: tuple[int, ...], axis: int
    ) -> None:
        ramp = torch.from_numpy(np.indices(shape)[axis][None].astype(np.float32))
        wanted = tuple(2 * n if a == axis else n + 1 for a, n in enumerate(shape))
        found = resize_volume(ramp, wanted)
        assert found.shape == (1, *wanted)
        places = (np.arange(wanted[axis]) + 0.5) / 2 - 0.5
        expected = np.clip(places, 0, shape[axis] - 1).reshape(
            [-1 if a == axis else 1 for a in range(3)]
        )
        np.testing.assert_allclose(found[0], np.broadcast_to(expected, wanted), atol=1e-4)

    @given(seeds, st.sampled_from([2, 3]))
    def test_shrinking_averages(self, seed: int, factor: int) -> None:
        maps = torch.zeros(2, 8 * factor, 8 * factor, 8 * factor)
        inner = slice(2 * factor, 6 * factor)
        maps[:, inner, inner, inner] = torch.rand(
            2, 4 * factor, 4 * factor, 4 * factor, generator=generator(seed)
        )
        small = resize_volume(maps, (8, 8, 8))
        torch.testing.assert_close(small.mean(dim=(1, 2, 3)), maps.mean(dim=(1, 2, 3)),
                                   rtol=1e-3, atol=0)  # fmt: skip


class TestPreparing:
    def test_a_volume_takes_the_spacing_of_the_network(self) -> None:
        way = VolumeWay((1.0, 0.5, 2.0), (8, 8, 8), 0.5)
        assert way.shape_of((10, 20, 30), (3.0, 0.5, 1.0)) == (30, 20, 15)
        assert way.shape_of((1, 1, 1), (0.1, 0.1, 0.1)) == (1, 1, 1)
        image = np.random.default_rng(0).normal(5, 3, (2, 10, 20, 30)).astype(np.int16)
        before = image.copy()
        prepared = way.prepare_image(image, (3.0, 0.5, 1.0))
        assert prepared.shape == (2, 30, 20, 15)
        assert prepared.dtype == torch.float32
        axes = (1, 2, 3)
        torch.testing.assert_close(prepared.mean(dim=axes), torch.zeros(2), atol=1e-4, rtol=0)
        torch.testing.assert_close(
            prepared.std(dim=axes, correction=0), torch.ones(2), atol=1e-4, rtol=0
        )
        np.testing.assert_array_equal(image, before)

    def test_one_grey_and_one_voxel_stay_finite(self) -> None:
        way = VolumeWay((1.0,) * 3, (8, 8, 8), 0.5)
        for shape in ((1, 4, 4, 4), (1, 1, 1, 1)):
            prepared = way.prepare_image(np.full(shape, 7.0), (1.0,) * 3)
            assert torch.equal(prepared, torch.zeros(shape))

    def test_ct_numbers_are_clipped_and_on_one_scale_for_all(self) -> None:
        way = VolumeWay((1.0,) * 3, (8, 8, 8), 0.5, (Intensities(-100, 300, 50, 25),))
        image = np.array([-1000.0, -100, 50, 75, 300, 3000], np.float32).reshape(1, 1, 1, 6)
        before = image.copy()
        found = way.prepare_image(image, (1.0,) * 3).flatten()
        assert found.tolist() == [-6, -6, 0, 1, 10, 10]
        # the image is the caller's
        np.testing.assert_array_equal(image, before)

    def test_the_scale_of_ct_is_that_of_the_structures(self) -> None:
        image = np.full((1, 10, 10, 10), -1000.0)
        image[0, 5:] = np.random.default_rng(0).normal(60, 10, (5, 10, 10))
        labels = np.zeros((1, 10, 10, 10), np.uint8)
        labels[0, 5:] = 1
        labels[0, 4] = 255  # air that nobody vouches for
        item = ("a", image, (1.0,) * 3, *soft_targets(labels, TWO))
        (found,) = foreground_intensities([item], TWO)
        inside = image[0, 5:]
        assert found.mean == pytest.approx(inside.mean())
        assert found.deviation == pytest.approx(inside.std())
        assert (found.low, found.high) == pytest.approx(tuple(np.percentile(inside, [0.5, 99.5])))

    def test_without_a_structure_all_numbers_tell_the_scale(self) -> None:
        image = np.arange(1000.0).reshape(1, 10, 10, 10)
        item = ("a", image, (1.0,) * 3, *soft_targets(np.zeros((1, 10, 10, 10), np.uint8), TWO))
        (found,) = foreground_intensities([item], TWO)
        assert found.mean == pytest.approx(499.5)

    def test_a_way_comes_back_from_json(self) -> None:
        way = VolumeWay((1.0, 0.5, 2.0), (8, 16, 8), 0.25, (Intensities(-1, 2, 0.5, 1.5),))
        assert VolumeWay.from_json(way.to_json()) == way


class TestTargets:
    def test_on_the_same_grid_they_stay(self) -> None:
        labels = np.random.default_rng(0).integers(0, 3, (1, 6, 7, 8), np.uint8)
        soft, part = soft_targets(labels, TWO)
        targets, known = prepare_targets(soft, part, (6, 7, 8))
        np.testing.assert_array_equal(targets, soft * 255)
        assert (known == 255).all()

    @given(seeds)
    def test_ignored_voxels_have_no_say(self, seed: int) -> None:
        rng = np.random.default_rng(seed)
        part = rng.integers(0, 2, (1, 9, 10, 11)).astype(np.float32)
        soft = rng.random((3, 9, 10, 11), dtype=np.float32)
        soft /= soft.sum(axis=0)
        changed = np.where(part > 0, soft, 1 - soft)
        targets, known = prepare_targets(soft, part, (5, 12, 7))
        again, _ = prepare_targets(changed, part, (5, 12, 7))
        np.testing.assert_array_equal(targets, again)
        # and those that have one still add up, but for what rounding to bytes takes
        sums = targets.astype(int).sum(axis=0)
        assert (abs(sums[known[0] > 2] - 255) <= 2).all()


class TestVolumeData:
    @pytest.mark.parametrize("scheme", [TWO, BOTH], ids=["exclusive", "overlapping"])
    def test_shares_are_those_of_all_voxels(self, scheme: LabelScheme) -> None:
        shares = data_of(scheme).shares()
        soft = [item[3].reshape(len(item[3]), -1) for item in items_of(scheme)]
        part = [item[4].reshape(len(item[4]), -1) for item in items_of(scheme)]
        flat = [torch.from_numpy(np.concatenate(maps, axis=1))[None] for maps in (soft, part)]
        torch.testing.assert_close(shares, channel_shares(*flat), rtol=1e-4, atol=1e-5)

    @pytest.mark.parametrize("scheme", [TWO, BOTH], ids=["exclusive", "overlapping"])
    @pytest.mark.parametrize("augmented", [False, True])
    def test_a_batch_is_drawn_from_its_generator_alone(
        self, scheme: LabelScheme, augmented: bool
    ) -> None:
        data = data_of(scheme)
        settings = SMALL.model_copy(update={"augment": augmented})
        kept = torch.ones(3, len(scheme.planes), dtype=torch.bool)
        chosen = torch.tensor([2, 0, 2])
        first = data.draw(chosen, kept, generator(5), settings)
        assert first.shape == (3, sum(data.counts), 16, 16, 8)
        torch.manual_seed(0)
        assert torch.equal(first, data.draw(chosen, kept, generator(5), settings))
        assert not torch.equal(first, data.draw(chosen, kept, generator(6), settings))
        # the same case twice, but not the same patch
        assert not torch.equal(first[0], first[2])
        _, known, part = first.split(data.counts, dim=1)
        assert known.min() >= 0
        assert part.max() <= 1 + 1e-5
        planes = part if scheme.overlapping else part.expand_as(known)
        assert (known <= planes + 1e-2).all()

    def test_a_doubted_mask_takes_no_part(self) -> None:
        data = data_of(BOTH)
        kept = torch.tensor([[True, False]])
        drawn = data.draw(torch.tensor([1]), kept, generator(0), SMALL)
        _, known, part = drawn.split(data.counts, dim=1)
        assert part[0, 0].any()
        assert known[0, 0].any()
        assert not part[0, 1].any()
        assert not known[0, 1].any()

    def test_patches_lie_around_structures_as_often_as_asked(self) -> None:
        labels = np.zeros((1, 40, 40, 40), np.uint8)
        labels[0, 36:39, 36:39, 36:39] = 2
        item = ("a", np.zeros((1, 40, 40, 40)), (1.0,) * 3, *soft_targets(labels, TWO))
        data = stack_volumes(lambda: [item], TWO, SMALL)

        def share(foreground: float) -> float:
            settings = SMALL.model_copy(update={"foreground": foreground, "augment": False})
            kept = torch.ones(100, 1, dtype=torch.bool)
            drawn = data.draw(torch.zeros(100, dtype=torch.long), kept, generator(0), settings)
            return float(drawn[:, 3].flatten(1).any(dim=1).float().mean())

        assert share(1.0) == 1
        assert share(0.0) < 0.3
        assert 0.4 < share(0.5) < 0.75

    def test_a_subset_keeps_the_order_asked_for(self) -> None:
        data = data_of(TWO)
        chosen = data.subset([2, 0])
        assert chosen.case_ids == ("c2", "c0")
        assert chosen.volumes == (data.volumes[2], data.volumes[0])
        assert (chosen.way, chosen.scheme) == (data.way, data.scheme)

    def test_ct_reads_the_cases_twice_and_others_once(self) -> None:
        for normalisation, expected in (("ct", 2), ("image", 1)):
            calls: list[int] = []

            def read(calls: list[int] = calls) -> Iterator[Item]:
                calls.append(1)
                yield from items_of(TWO)

            settings = SMALL.model_copy(update={"normalisation": normalisation})
            assert len(stack_volumes(read, TWO, settings).way.intensities) == expected - 1
            assert len(calls) == expected


@pytest.mark.parametrize(
    "change",
    [{"patch": None}, {"spacing": None}, {"normalisation": None}, {"patch": (15, 15, 15)},
     {"patch": (1, 8, 8)}],
)  # fmt: skip
def test_volumes_need_settings_without_a_gap(change: dict[str, object]) -> None:
    with pytest.raises(SettingsError, match="patch"):
        data_of(TWO, SMALL.model_copy(update=change))
