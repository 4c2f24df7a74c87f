"""Which pixels are wrong and what they become, on probabilities of good teachers."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from maskmend import stages
from maskmend.arrays.blended import blended_mask
from maskmend.arrays.selection import flag_errors
from maskmend.core import IGNORED
from maskmend.datasets import open_dataset
from maskmend.errors import InSampleError, SettingsError
from maskmend.judging import NOISE_MAPS
from maskmend.method_settings import SpatialCorrectionSettings
from maskmend.settings import CrossfitSettings, FlagSettings, Settings
from maskmend.store import Run, Source

RunAgain = Callable[[Run, Path], Run]

SETTINGS = Settings(crossfit=CrossfitSettings(folds=2))


@pytest.fixture(scope="module")
def judged(
    noisy: Path, predicted: Callable[[Run], Run], tmp_path_factory: pytest.TempPathFactory
) -> Run:
    """Flagged by the default method, and corrected."""
    root = tmp_path_factory.mktemp("judged") / "run"
    run = predicted(Run.create(root, Source(str(noisy), ("training",)), SETTINGS))
    stages.flag(run)
    stages.correct(run)
    return run


def test_counts_say_what_is_known_of_each_structure(judged: Run) -> None:
    counts = judged.read_json("counts.json")
    assert sorted(counts) == ["clavicle", "heart", "lung"]
    for name, plane in counts.items():
        assert plane["classes"] == ["background", name]
        # P(true | given) sums over the columns, P(given | true) over the rows
        np.testing.assert_allclose(np.sum(plane["true_given"], axis=1), 1, rtol=1e-9)
        np.testing.assert_allclose(np.sum(plane["given_true"], axis=0), 1, rtol=1e-9)
        for rate, (low, high) in zip(
            plane["noise_rate"], plane["intervals"]["noise_rate"], strict=True
        ):
            assert 0 <= low <= high <= 1
            assert 0 <= rate <= 1


# -- noise maps and mended labels


def test_the_mended_data_set_opens_with_the_scheme_of_the_source(judged: Run) -> None:
    mended = open_dataset(judged.labels_root)
    assert mended.scheme == judged.dataset.scheme
    assert mended.layout == judged.dataset.layout
    assert mended.left_out == ()
    assert [c.id for c in mended.cases] == [c.id for c in judged.dataset.cases]


def test_masks_without_a_flagged_pixel_are_the_sources_bytes(judged: Run, noisy: Path) -> None:
    kept = changed = 0
    for case in judged.dataset.cases:
        flagged = np.zeros((3, 64, 64), bool)
        if case.split == "training":
            flagged = judged.read_noise_map(case)
        for plane, name in enumerate(judged.dataset.scheme.planes):
            source = case.masks[name]
            copy = judged.labels_root / source.relative_to(noisy)
            same = copy.read_bytes() == source.read_bytes()
            assert same == (not flagged[plane].any())
            kept, changed = kept + int(same), changed + int(not same)
    assert kept >= 6
    assert changed >= 1


def test_the_noise_map_is_where_given_and_mended_differ(judged: Run) -> None:
    flagged_at_all = 0
    for case in judged.cases:
        flagged = judged.read_noise_map(case)
        given, mended = judged.read_given(case), judged.read_mended(case)
        np.testing.assert_array_equal(flagged, given != mended)
        flagged_at_all += int(flagged.sum())
    assert flagged_at_all > 0


def test_soft_labels_are_mixed_where_flagged_and_one_hot_elsewhere(judged: Run) -> None:
    eps = np.float32(judged.settings.correct.eps)
    for case in judged.cases:
        flagged, given = judged.read_noise_map(case), judged.read_given(case)
        soft, hard = judged.read_soft(case), judged.read_mended(case)
        assert soft.dtype == np.float32
        expected = np.where(flagged, np.where(given == 1, 1 - eps, eps), given)
        np.testing.assert_allclose(soft, expected, atol=1e-6)
        # eps is above one half, so the larger share is the mended class
        np.testing.assert_array_equal(soft > 0.5, hard == 1)


def test_the_table_of_masks_says_what_the_maps_show(judged: Run) -> None:
    rows = judged.read_masks_table()
    assert len(rows) == 8 * 3
    agreements = [float(row["agreement"]) for row in rows]
    assert agreements == sorted(agreements)
    cases = {case.id: case for case in judged.cases}
    planes = judged.dataset.scheme.planes
    for row in rows:
        flagged = judged.read_noise_map(cases[row["case"]])[planes.index(row["structure"])]
        assert float(row["flagged_share"]) == pytest.approx(flagged.mean())
        # doubted_masks: nothing is flagged in a mask that is believed
        assert row["doubted"] == "True" or not flagged.any()
    assert {row["doubted"] for row in rows} == {"True", "False"}


@pytest.mark.parametrize("method", NOISE_MAPS)
def test_every_method_flags_what_it_flags_on_the_arrays(
    judged: Run, as_run_again: RunAgain, tmp_path: Path, method: str
) -> None:
    run = as_run_again(judged, tmp_path / "run")
    flag = run.settings.flag.model_copy(update={"method": method, "blend": False})
    run = run.with_settings(run.settings.model_copy(update={"flag": flag}))
    stages.flag(run)
    maps = np.stack([run.read_noise_map(case) for case in run.cases])
    given = np.stack([run.read_given(case) for case in run.cases])
    probs = np.stack([run.read_probabilities(case) for case in run.cases])
    if method == "doubted_masks":
        doubted, redrawn = run.doubted(), run.redrawn()
        for case, flagged, labels, foreground in zip(run.cases, maps, given, probs, strict=True):
            for plane, name in enumerate(run.dataset.scheme.planes):
                differs = (foreground[plane] > 0.5) != labels[plane]
                if name not in doubted[case.id]:
                    assert not flagged[plane].any()
                elif name in redrawn[case.id]:
                    np.testing.assert_array_equal(flagged[plane], differs)
                else:
                    # moved: nearer to the prediction than it was, but not the prediction
                    moved = flagged[plane] ^ labels[plane]
                    left = moved.astype(bool) != (foreground[plane] > 0.5)
                    assert 0 < left.sum() < differs.sum()
    else:
        for plane in range(3):
            expected = flag_errors(given[:, plane], probs[:, plane], method=method)
            np.testing.assert_array_equal(maps[:, plane], expected)
    assert 0 < maps.mean() < 0.6


def test_masks_are_redrawn_by_the_trust_that_the_table_says(
    judged: Run, as_run_again: RunAgain, tmp_path: Path
) -> None:
    run = as_run_again(judged, tmp_path / "run")
    stages.flag(run)
    redrawn = run.redrawn()
    trusts = {
        (row["case"], row["structure"]): float(row["trust_in_prediction"])
        for row in run.read_masks_table()
        if row["trust_in_prediction"]
    }
    assert set(trusts) == {(case, name) for case, names in redrawn.items() for name in names}
    assert any(0 < trust < 1 for trust in trusts.values())
    for case in run.cases:
        flagged, labels = run.read_noise_map(case), run.read_given(case)
        predicted = run.read_probabilities(case) > 0.5
        for plane, name in enumerate(run.dataset.scheme.planes):
            if name in redrawn[case.id]:
                given = labels[plane] == 1
                wanted, _ = blended_mask(given, predicted[plane], trusts[case.id, name], (1.0, 1.0))
                np.testing.assert_array_equal(flagged[plane], wanted != given)


def test_a_tampered_fold_stops_the_flagging(
    judged: Run, as_run_again: RunAgain, tmp_path: Path
) -> None:
    run = as_run_again(judged, tmp_path / "run")
    plan = run.read_folds()
    run.write_folds(replace(plan, folds={case: 1 - fold for case, fold in plan.folds.items()}))
    with pytest.raises(InSampleError, match="maskmend crossfit"):
        stages.flag(run)
    assert not (run.root / "noise_maps").exists()


UNLABELLED = "training_0003"


@pytest.fixture(scope="module")
def patchy(
    noisy: Path, predicted: Callable[[Run], Run], tmp_path_factory: pytest.TempPathFactory
) -> Run:
    """Overlapping masks with ignored pixels, and a case whose heart nobody has drawn."""
    root = tmp_path_factory.mktemp("patchy")
    for path in sorted(noisy.glob("training/*/*.png")):
        copy = root / "data" / path.relative_to(noisy)
        copy.parent.mkdir(parents=True, exist_ok=True)
        pixels = np.array(Image.open(path))
        if path.parent.name == "lung":
            pixels[30:40, 10:50] = 128
        Image.fromarray(pixels).save(copy)
    (root / "data" / "training" / "heart" / f"{UNLABELLED}.png").unlink()
    source = Source(str(root / "data"), ("training",), ignore_value=128)
    settings = SETTINGS.model_copy(update={"flag": FlagSettings(method="argmax")})
    run = predicted(Run.create(root / "run", source, settings))
    stages.flag(run)
    stages.correct(run)
    return run


def test_a_structure_that_is_not_labelled_takes_no_part_in_its_case(patchy: Run) -> None:
    case = next(case for case in patchy.cases if case.id == UNLABELLED)
    heart = patchy.dataset.scheme.planes.index("heart")
    assert "heart" not in case.masks
    assert not patchy.read_noise_map(case)[heart].any()
    assert (patchy.read_mended(case)[heart] == IGNORED).all()
    assert (patchy.read_soft(case)[heart] == 0).all()
    assert not (patchy.labels_root / "training" / "heart" / f"{UNLABELLED}.png").exists()
    # its other structures are judged all the same
    assert patchy.read_noise_map(case).any()
    mended = open_dataset(patchy.labels_root, ignore_value=128)
    assert [c.id for c in mended.cases] == [c.id for c in patchy.cases]


def test_a_mask_that_is_not_there_is_listed_last_and_not_doubted(patchy: Run) -> None:
    rows = patchy.read_masks_table()
    assert (rows[-1]["case"], rows[-1]["structure"]) == (UNLABELLED, "heart")
    assert (rows[-1]["agreement"], rows[-1]["doubted"]) == ("", "False")
    agreements = [float(row["agreement"]) for row in rows[:-1]]
    assert agreements == sorted(agreements)


def test_ignored_pixels_are_never_flagged_and_stay_as_stored(patchy: Run) -> None:
    lung = patchy.dataset.scheme.planes.index("lung")
    elsewhere = 0
    for case in patchy.cases:
        flagged = patchy.read_noise_map(case)[lung]
        elsewhere += int(flagged.sum())
        assert not flagged[30:40, 10:50].any()
        stored = np.array(Image.open(patchy.labels_root / "training" / "lung" / f"{case.id}.png"))
        assert (stored[30:40, 10:50] == 128).all()
        assert (stored == 128).sum() == 400
    assert elsewhere > 0


def test_ignored_pixels_do_not_count(patchy: Run) -> None:
    given = np.stack([patchy.read_given(case) for case in patchy.cases])
    counts = patchy.read_json("counts.json")
    for plane, name in enumerate(patchy.dataset.scheme.planes):
        support = [int((given[:, plane] == k).sum()) for k in range(2)]
        assert np.sum(counts[name]["joint"]) == pytest.approx(1)
        assert counts[name]["class_sizes"] == support


def test_trusted_cases_that_nobody_knows_are_named_before_anything_is_trained(judged: Run) -> None:
    correction = SpatialCorrectionSettings(trusted_cases=("nobody", judged.cases[0].id))
    wanted = judged.settings.student.model_copy(
        update={"method": "spatial_correction", "spatial_correction": correction}
    )
    with pytest.raises(SettingsError, match=r"ids of the 8 cases, such as .*; got nobody\. "):
        stages.train(judged, "given", wanted, "unknown")
    assert not (judged.root / "students" / "unknown").exists()
