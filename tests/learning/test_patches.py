"""Patches: where they lie, how they turn, and that image and masks move together."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from maskmend.learning.patches import brighten, draw_center, random_patch_matrix, sample_patch

seeds = st.integers(0, 2**31 - 1)
sizes = st.tuples(*[st.integers(1, 30)] * 3)
IDENTITY = torch.eye(3, dtype=torch.float64)


def generator(seed: int) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def volume(shape: tuple[int, ...], seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    image = rng.normal(0, 1, (2, *shape)).astype(np.float32)
    return image, rng.integers(0, 256, (3, *shape), np.uint8)


class TestDrawCenter:
    @given(sizes, sizes, seeds, st.floats(0, 1))
    def test_a_patch_lies_in_the_volume_or_around_it(
        self, shape: tuple[int, ...], patch: tuple[int, ...], seed: int, foreground: float
    ) -> None:
        corner = np.array([[n - 1 for n in shape]], dtype=np.int32)
        center = draw_center(shape, patch, [corner], foreground, generator(seed)).numpy()
        first = center - (np.array(patch) - 1) / 2
        last = center + (np.array(patch) - 1) / 2
        for low, high, n, size in zip(first, last, shape, patch, strict=True):
            if size <= n:
                assert 0 <= low == round(low)
                assert high <= n - 1
            else:
                # as much before as after
                assert low == pytest.approx(-(high - (n - 1)))

    def test_every_place_is_drawn(self) -> None:
        found = {
            tuple(draw_center((3, 4, 2), (2, 2, 2), [], 1.0, generator(seed)).tolist())
            for seed in range(200)
        }
        assert found == {(z, y, 0.5) for z in (0.5, 1.5) for y in (0.5, 1.5, 2.5)}

    def test_each_structure_that_is_there_is_laid_around_alike(self) -> None:
        rare = np.array([[10, 10, 10]], dtype=np.int32)
        common = np.tile(np.array([[20, 20, 20]], dtype=np.int32), (500, 1))
        none = np.empty((0, 3), dtype=np.int32)
        centers = [
            draw_center((40, 40, 40), (9, 9, 9), [rare, none, common], 1.0, generator(s))[0]
            for s in range(400)
        ]
        assert set(map(float, centers)) == {10, 20}
        assert 150 < sum(float(center) == 10 for center in centers) < 250

    def test_a_share_lies_anywhere(self) -> None:
        one = np.array([[20, 20, 20]], dtype=np.int32)
        around = [
            bool((draw_center((40,) * 3, (9,) * 3, [one], 0.25, generator(s)) == 20).all())
            for s in range(400)
        ]
        assert 60 < sum(around) < 140


class TestSamplePatch:
    @given(sizes, st.tuples(*[st.integers(1, 12)] * 3), seeds)
    def test_unturned_it_is_a_part_of_the_volume(
        self, shape: tuple[int, ...], patch: tuple[int, ...], seed: int
    ) -> None:
        image, masks = volume(shape, seed % 7)
        center = draw_center(shape, patch, [], 0.5, generator(seed))
        first = [int(c - (n - 1) / 2) for c, n in zip(center.tolist(), patch, strict=True)]
        wide = [n > size for n, size in zip(patch, shape, strict=True)]
        if any(wide) and any(
            (n - size) % 2 for n, size, is_wide in zip(patch, shape, wide, strict=True) if is_wide
        ):
            return  # the voxels of the patch lie between those of the volume
        found, masked = sample_patch(image, masks, center, IDENTITY, patch)
        places = np.meshgrid(*[np.arange(a, a + n) for a, n in zip(first, patch, strict=True)],
                             indexing="ij")  # fmt: skip
        inside = np.all([(p >= 0) & (p < n) for p, n in zip(places, shape, strict=True)], axis=0)
        clipped: Any = tuple(np.clip(p, 0, n - 1) for p, n in zip(places, shape, strict=True))
        np.testing.assert_allclose(found, image[:, *clipped], atol=1e-4)
        np.testing.assert_allclose(masked, masks[:, *clipped] * inside, atol=0.05)

    @given(seeds)
    def test_turned_it_reads_a_plane_where_the_matrix_says(self, seed: int) -> None:
        # an image that is linear in z, y, x is interpolated exactly
        z, y, x = np.indices((30, 34, 28)).astype(np.float32)
        image = np.stack([z, y, x])
        matrix, shift = random_patch_matrix((3.0, 1.0, 1.5), (6, 8, 10), generator(seed))
        center = torch.tensor([14.0, 16.5, 13.0], dtype=torch.float64) + shift
        found, _ = sample_patch(image, volume((30, 34, 28))[1], center, matrix, (6, 8, 10))
        offsets = np.indices((6, 8, 10)).reshape(3, -1) - np.array([[2.5], [3.5], [4.5]])
        expected = matrix.numpy() @ offsets + center.numpy()[:, None]
        np.testing.assert_allclose(found.reshape(3, -1), expected, atol=1e-3)

    def test_only_the_part_that_it_covers_is_read(self) -> None:
        class Watched(np.ndarray):
            most = 0

            def __getitem__(self, index: Any) -> Any:  # type: ignore[override]
                part = np.asarray(super().__getitem__(index))
                Watched.most = max(Watched.most, part.size)
                return part

        image = np.zeros((1, 100, 100, 100), np.float32).view(Watched)
        masks = np.zeros((1, 100, 100, 100), np.uint8).view(Watched)
        matrix, shift = random_patch_matrix((1.0,) * 3, (8,) * 3, generator(1))
        sample_patch(image, masks, torch.tensor([50.0] * 3).double() + shift, matrix, (8,) * 3)
        assert 8**3 < Watched.most < 16**3


class TestRandomPatchMatrix:
    @given(seeds, st.sampled_from([(1.0, 1.0, 1.0), (5.0, 0.5, 0.7)]))
    def test_a_turn_of_10_degrees_and_a_scale_of_a_tenth_in_mm(
        self, seed: int, spacing: tuple[float, ...]
    ) -> None:
        matrix, shift = random_patch_matrix(spacing, (20, 30, 40), generator(seed))
        steps = np.diag(spacing)
        in_mm = steps @ matrix.numpy() @ np.linalg.inv(steps)
        scale = np.linalg.norm(in_mm, axis=0)
        assert np.abs(np.log(scale)).max() <= 0.1 + 1e-9
        turn = in_mm / scale
        np.testing.assert_allclose(turn @ turn.T, np.eye(3), atol=1e-9)
        # never a mirror image
        assert np.linalg.det(turn) == pytest.approx(1)
        # three turns of 10 degrees each are less than 18 together
        assert np.degrees(np.arccos((np.trace(turn) - 1) / 2)) < 18
        assert (shift.abs() <= torch.tensor([1.0, 1.5, 2.0])).all()

    def test_it_turns_about_each_axis(self) -> None:
        drawn = torch.stack(
            [random_patch_matrix((1.0,) * 3, (9,) * 3, generator(s))[0] for s in range(50)]
        )
        off = drawn[:, [0, 0, 1], [1, 2, 2]].abs()
        assert (off.mean(dim=0) > 0.05).all()


def test_brightness_and_noise_stay_small() -> None:
    image = torch.randn(1, 12, 12, 12, generator=generator(0))
    for seed in range(30):
        changed = brighten(image, generator(seed))
        gain, offset = np.polyfit(image.flatten().numpy(), changed.flatten().numpy(), 1)
        assert 0.78 < gain < 1.22
        assert abs(offset) < 0.22
        assert (changed - gain * image - offset).std() < 0.06
    same: Tensor = brighten(image, generator(3))
    assert torch.equal(same, brighten(image, generator(3)))
