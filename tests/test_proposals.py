"""Settings proposed from the data: of volumes, of pictures, and where the user knows better."""

from __future__ import annotations

import math
from pathlib import Path

import nibabel
import numpy as np
import pytest
from PIL import Image

from maskmend.core import Case
from maskmend.errors import GridMismatchError
from maskmend.proposals import MOST_VOXELS, Measures, fill_in, measure, propose_settings
from maskmend.settings import Settings, TeacherSettings, TrainingSettings

BRAIN = Measures((1.0, 1.0, 1.0), "mm", (36, 50, 35), "image")
BODY = Measures((2.5, 0.8, 0.8), "mm", (120, 512, 512), "ct")


def volume(
    folder: Path, name: str, shape: tuple[int, ...], spacing: tuple[float, ...], low: int = 0
) -> Case:
    """A NIfTI image; shape and spacing slowest axis first."""
    voxels = np.random.default_rng(0).integers(low, 500, shape).astype(np.int16)
    image = nibabel.Nifti1Image(voxels.T, np.diag([*spacing[::-1], 1]))
    nibabel.save(image, folder / f"{name}.nii.gz")
    return Case(name, name, "training", folder / f"{name}.nii.gz")


def picture(folder: Path) -> Case:
    Image.fromarray(np.zeros((20, 30), np.uint8)).save(folder / "p.png")
    return Case("p", "p", "training", folder / "p.png")


class TestMeasure:
    def test_medians_of_the_headers(self, tmp_path: Path) -> None:
        cases = [
            volume(tmp_path, "a", (10, 20, 30), (1.0, 1.0, 1.0)),
            volume(tmp_path, "b", (8, 20, 30), (2.0, 1.0, 0.5)),
            volume(tmp_path, "c", (8, 40, 10), (2.0, 3.0, 0.5)),
        ]
        found = measure(cases)
        assert found.spacing == (2.0, 1.0, 0.5)
        # 10, 16, 16 mm; 20, 20, 120 mm; 30, 15, 5 mm
        assert found.shape == (8, 20, 30)
        assert found.unit == "mm"
        assert found.normalisation == "image"

    def test_a_spacing_that_is_there_not_one_between_two(self, tmp_path: Path) -> None:
        cases = [
            volume(tmp_path, "a", (10, 20, 30), (1.0, 1.0, 1.0)),
            volume(tmp_path, "b", (10, 20, 30), (2.0, 1.0, 1.0)),
        ]
        assert measure(cases).spacing == (1.0, 1.0, 1.0)

    def test_air_tells_ct(self, tmp_path: Path) -> None:
        cases = [
            volume(tmp_path, name, (4, 5, 6), (1.0,) * 3, low)
            for name, low in (("a", -1024), ("b", -1024), ("c", 0))
        ]
        # two of three, one of two, none
        found = [measure(cases[first:]).normalisation for first in range(3)]
        assert found == ["ct", "image", "image"]

    def test_pictures_among_volumes_are_refused(self, tmp_path: Path) -> None:
        cases = [volume(tmp_path, "a", (4, 5, 6), (1.0,) * 3), picture(tmp_path)]
        with pytest.raises(GridMismatchError, match="p: "):
            measure(cases)


class TestFillIn:
    def test_small_volumes_are_seen_whole(self) -> None:
        filled, said = fill_in(TrainingSettings(), BRAIN)
        assert filled.spacing == (1.0, 1.0, 1.0)
        assert filled.patch == (40, 56, 40)
        assert filled.batch_size == 4
        assert filled.normalisation == "image"
        assert said == (
            "proposed from the data: voxels of 1 x 1 x 1 mm, the median",
            "proposed from the data: patches of 40 x 56 x 40 voxels for volumes of 36 x 50 x 35",
            "proposed from the data: 4 patches in a step",
            "proposed from the data: zero mean and unit variance in each image",
        )

    def test_large_ones_in_fewer_and_larger_patches_than_memory_has_room_for(self) -> None:
        filled, _ = fill_in(TeacherSettings(), BODY)
        assert isinstance(filled, TeacherSettings)
        assert filled.batch_size == 2
        assert filled.patch is not None
        assert MOST_VOXELS / 8 < math.prod(filled.patch) * 2 <= MOST_VOXELS
        in_mm = [n * step for n, step in zip(filled.patch, BODY.spacing, strict=True)]
        assert max(in_mm) < 1.6 * min(in_mm)
        assert filled.normalisation == "ct"

    def test_what_the_user_has_set_stays(self) -> None:
        own = TrainingSettings(
            spacing=(5, 1.6, 1.6), patch=(16, 64, 64), batch_size=3, normalisation="image"
        )
        assert fill_in(own, BODY) == (own, ())

    def test_and_the_rest_follows_from_it(self) -> None:
        coarse, said = fill_in(TrainingSettings(spacing=(10, 6.4, 6.4)), BODY)
        # an eighth of the rows and columns, a quarter of the slices
        assert coarse.patch == (32, 64, 64)
        assert coarse.batch_size == 4
        assert not any("the median" in sentence for sentence in said)
        many, _ = fill_in(TrainingSettings(batch_size=16), BODY)
        assert many.patch is not None
        assert 16 * math.prod(many.patch) <= MOST_VOXELS
        huge, _ = fill_in(TrainingSettings(patch=(128, 128, 128)), BODY)
        assert huge.batch_size == 1

    def test_what_is_filled_in_passes_as_settings(self) -> None:
        filled, _ = fill_in(TrainingSettings(), BODY)
        assert TrainingSettings.model_validate(filled.model_dump()) == filled


class TestProposeSettings:
    def test_pictures_keep_their_settings(self, tmp_path: Path) -> None:
        proposal = propose_settings([picture(tmp_path)], Settings())
        assert proposal.settings == Settings()
        assert proposal.sentences == ()

    def test_teachers_and_student_of_volumes_have_no_gap(self, tmp_path: Path) -> None:
        cases = [volume(tmp_path, "a", (36, 50, 35), (1.0,) * 3)]
        settings = Settings(student=TrainingSettings(patch=(32, 32, 32)))
        proposal = propose_settings(cases, settings)
        assert proposal.settings.crossfit.teacher.patch == (40, 56, 40)
        assert proposal.settings.student.patch == (32, 32, 32)
        for each in (proposal.settings.crossfit.teacher, proposal.settings.student):
            assert None not in (each.spacing, each.patch, each.batch_size, each.normalisation)
        # said once, although two trainings have it
        assert len(proposal.sentences) == len(set(proposal.sentences)) == 4
        # and once filled in, nothing is left to propose
        assert propose_settings(cases, proposal.settings).sentences == ()
        assert propose_settings(cases, proposal.settings).settings == proposal.settings
