"""Training data: resizing, normalising, the order of cases, and augmentation."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from maskmend.core import LabelScheme
from maskmend.learning.batches import (
    SeededOrder,
    augment,
    mean_of_known,
    prepare_image,
    prepare_targets,
    resize,
    stack_training_data,
)

seeds = st.integers(0, 2**31 - 1)


def generator(seed: int) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def test_resize_by_hand() -> None:
    maps = torch.tensor([[0.0, 0.0, 8.0, 8.0], [0.0, 0.0, 8.0, 8.0]])[None, None]
    same = resize(maps, (2, 4))
    assert torch.equal(same, maps)
    # pixel centres kept: half of what is on either side of an edge in the middle
    torch.testing.assert_close(resize(maps, (1, 1)), torch.full((1, 1, 1, 1), 4.0))
    small = resize(maps, (2, 2))[0, 0, 0]
    assert small[0] < 2
    assert small[0] + small[1] == pytest.approx(8)


@given(st.integers(4, 40), st.integers(4, 40), st.floats(-5, 5, width=32))
def test_resize_keeps_a_constant(height: int, width: int, value: float) -> None:
    resized = resize(torch.full((1, 1, height, width), value), (16, 24))
    torch.testing.assert_close(resized, torch.full((1, 1, 16, 24), value))


@given(seeds, st.sampled_from([2, 3, 4, 8]))
def test_shrinking_keeps_the_mean_of_what_is_off_the_border(seed: int, factor: int) -> None:
    side = 8 * factor
    maps = torch.zeros(1, 1, side, side)
    inside = slice(2 * factor, side - 2 * factor)
    maps[..., inside, inside] = torch.rand(
        side - 4 * factor, side - 4 * factor, generator=generator(seed)
    )
    assert float(resize(maps, (8, 8)).mean()) == pytest.approx(float(maps.mean()), rel=1e-4)


@given(st.integers(5, 60), st.integers(5, 60), st.floats(1e-3, 1e4), st.floats(-1e3, 1e3))
def test_images_are_normalised_and_their_gain_does_not_matter(
    height: int, width: int, gain: float, offset: float
) -> None:
    image = np.random.default_rng(height * 100 + width).random((2, height, width))
    prepared = prepare_image(image, 32)
    assert prepared.shape == (2, 32, 32)
    torch.testing.assert_close(prepared.mean(dim=(1, 2)), torch.zeros(2), atol=1e-4, rtol=0)
    torch.testing.assert_close(prepared.std(dim=(1, 2)), torch.ones(2), atol=1e-4, rtol=0)
    if abs(offset) < 1e3 * gain:  # else float32 has no digits left for the image
        changed = prepare_image(gain * image + offset, 32)
        torch.testing.assert_close(changed, prepared, atol=2e-3, rtol=0)


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16, np.int32, np.float64])
def test_images_of_any_type_come_as_one(dtype: type[np.generic]) -> None:
    image = np.arange(36 * 36).reshape(1, 36, 36) % 251
    expected = prepare_image(image.astype(np.float32), 32)
    assert torch.equal(prepare_image(image.astype(dtype), 32), expected)


def test_an_image_of_one_grey_stays_finite() -> None:
    assert torch.equal(prepare_image(np.full((1, 32, 32), 7), 32), torch.zeros(1, 32, 32))


def test_targets_of_the_right_size_stay_as_they_are() -> None:
    soft = np.random.default_rng(0).random((2, 32, 32), dtype=np.float32)
    part = np.random.default_rng(1).integers(0, 2, (2, 32, 32)).astype(np.float32)
    targets, known = prepare_targets(soft, part, 32)
    assert torch.equal(known, torch.from_numpy(part))
    assert torch.equal(targets, torch.from_numpy(soft * part))


def test_a_target_is_the_mean_of_its_known_pixels() -> None:
    sums = torch.tensor([0.5, 0.25, 0.0, 1.0])
    part = torch.tensor([0.5, 1.0, 0.0, 1.0])
    assert mean_of_known(sums, part).tolist() == [1, 0.25, 0, 1]


@given(seeds, st.booleans())
def test_ignored_pixels_have_no_say_in_the_targets_around_them(
    seed: int, overlapping: bool
) -> None:
    scheme = LabelScheme(("lung", "heart"), overlapping)
    rng = np.random.default_rng(seed)
    part = rng.integers(0, 2, (len(scheme.planes), 50, 70)).astype(np.float32)
    soft = rng.random((scheme.num_channels, 50, 70), dtype=np.float32)
    changed = np.where(part > 0, soft, 1 - soft)
    targets, known = prepare_targets(soft, part, 32)
    again, _ = prepare_targets(changed, part, 32)
    assert torch.equal(targets, again)
    assert targets.min() >= 0
    assert targets.max() <= 1
    assert known.max() <= 1 + 1e-6


def test_beside_an_ignored_region_a_structure_keeps_its_value() -> None:
    part = np.ones((1, 64, 64), dtype=np.float32)
    part[:, :, 20:31] = 0
    targets, known = prepare_targets(np.ones_like(part), part, 32)
    assert ((known > 0.01) & (known < 0.99)).any()
    torch.testing.assert_close(targets[known > 0.01], torch.ones(int((known > 0.01).sum())))


def test_training_data_holds_the_cases_in_their_order() -> None:
    scheme = LabelScheme(("lung",), overlapping=True)
    items = [
        (f"c{i}", np.random.default_rng(i).random((1, 40, 36)), np.full((1, 40, 36), i / 4),
         np.full((1, 40, 36), i < 3)) for i in range(4)
    ]  # fmt: skip
    data = stack_training_data(items, 32, scheme)
    assert data.case_ids == ("c0", "c1", "c2", "c3")
    assert data.images.shape == data.targets.shape == data.taking_part.shape == (4, 1, 32, 32)
    torch.testing.assert_close(data.targets.mean(dim=(1, 2, 3)), torch.tensor([0, 0.25, 0.5, 0]))
    torch.testing.assert_close(data.taking_part.mean(dim=(1, 2, 3)), torch.tensor([1.0, 1, 1, 0]))
    chosen = data.subset([2, 0])
    assert chosen.case_ids == ("c2", "c0")
    for name in ("images", "targets", "taking_part"):
        assert torch.equal(getattr(chosen, name), getattr(data, name)[[2, 0]])


class TestSeededOrder:
    @given(st.integers(1, 40), seeds, st.integers(0, 30))
    def test_an_epoch_sees_each_case_once_in_the_same_order(
        self, count: int, seed: int, epoch: int
    ) -> None:
        order, resumed = SeededOrder(count, seed), SeededOrder(count, seed)
        for earlier in range(epoch):
            order.set_epoch(earlier)
            list(order)
        order.set_epoch(epoch)
        resumed.set_epoch(epoch)
        assert list(order) == list(resumed)
        assert sorted(order) == list(range(count))
        assert len(order) == count

    def test_epochs_and_seeds_differ(self) -> None:
        orders = set()
        for seed in range(3):
            order = SeededOrder(20, seed)
            for epoch in range(4):
                order.set_epoch(epoch)
                orders.add(tuple(order))
        assert len(orders) == 12


def ramps(count: int) -> Tensor:
    """Images of how far right and how far down a pixel is, -1..1 each, and all takes part."""
    line = torch.linspace(-1, 1, 32)
    right, down = line.expand(32, 32), line[:, None].expand(32, 32)
    return torch.stack([right, down, right, down, torch.ones(32, 32)]).repeat(count, 1, 1, 1)


class TestAugment:
    @given(seeds)
    def test_left_stays_left_and_up_stays_up(self, seed: int) -> None:
        augmented = augment(ramps(4), 2, generator(seed))
        middle = augmented[:, 2:4, 8:24, 8:24]
        assert (middle[:, 0].diff(dim=2) > 0).all()
        assert (middle[:, 1].diff(dim=1) > 0).all()

    @given(seeds)
    def test_a_mark_on_the_left_stays_on_the_left(self, seed: int) -> None:
        maps = torch.zeros(8, 3, 32, 32)
        maps[:, :2, 10:22, 3:11] = 1
        maps[:, 2] = 1
        augmented = augment(maps, 1, generator(seed))
        assert (augmented[:, 1, :, :16].sum(dim=(1, 2)) > 30).all()
        assert (augmented[:, 1, :, 20:] == 0).all()

    @given(seeds)
    def test_image_and_target_move_together(self, seed: int) -> None:
        augmented = augment(ramps(4), 2, generator(seed))
        inside = augmented[:, 4] > 0.999
        for image, target, judged in zip(
            augmented[:, :2].transpose(0, 1).flatten(0, 1),
            augmented[:, 2:4].transpose(0, 1).flatten(0, 1),
            inside.repeat(2, 1, 1),
            strict=True,
        ):
            # brightness is a line through the same places; the rest is the noise of 0.05
            gain, offset = np.polyfit(target[judged].numpy(), image[judged].numpy(), 1)
            assert 0.75 < gain < 1.25
            assert abs(offset) < 0.25
            assert (image[judged] - gain * target[judged] - offset).std() < 0.06

    @given(seeds)
    def test_outside_of_the_image_nothing_takes_part(self, seed: int) -> None:
        maps = torch.ones(4, 3, 32, 32)
        augmented = augment(maps, 1, generator(seed))
        target, part = augmented[:, 1], augmented[:, 2]
        torch.testing.assert_close(target, part)
        assert part.min() >= 0
        assert part.max() <= 1 + 1e-5
        # the image is continued there: it has no black frame to learn
        flat = augmented[:, 0].flatten(1)
        assert (flat.std(dim=1) < 0.06).all()

    def test_something_does_lie_outside(self) -> None:
        part = augment(torch.ones(16, 3, 32, 32), 1, generator(0))[:, 2]
        assert ((part == 0).any(dim=(1, 2))).sum() > 8

    def test_planes_move_alike_and_cases_apart(self) -> None:
        maps = ramps(2)
        maps[:, 3] = maps[:, 2]
        augmented = augment(maps, 2, generator(3))
        assert torch.equal(augmented[:, 2], augmented[:, 3])
        assert not torch.allclose(augmented[0, 2], augmented[1, 2])

    def test_the_generator_alone_decides(self) -> None:
        maps = ramps(2)
        before = maps.clone()
        first, again = augment(maps, 2, generator(5)), augment(maps, 2, generator(5))
        assert torch.equal(first, again)
        assert not torch.equal(first, augment(maps, 2, generator(6)))
        assert torch.equal(maps, before)
