"""Settings: YAML there and back, overrides, and what is refused."""

from __future__ import annotations

import json
import math
from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml
from hypothesis import HealthCheck, given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st
from pydantic import BaseModel

from maskmend.errors import SettingsError
from maskmend.method_settings import (
    AdeleSettings,
    CoTeachingSettings,
    GceSettings,
    JocorSettings,
    NrDiceSettings,
    PickAndLearnSettings,
    SpatialCorrectionSettings,
    TriNetSettings,
)
from maskmend.settings import (
    CorrectSettings,
    CrossfitSettings,
    FlagSettings,
    Settings,
    TeacherSettings,
    TrainingSettings,
    demo_settings,
    load_settings,
    override_settings,
    settings_yaml,
)

ramps = dict(
    forget=st.floats(0, 0.9), ramp_start=st.floats(0, 1), ramp_end=st.floats(0, 1)
)  # fmt: skip
training_values = dict(
    network=st.sampled_from(["compact", "vnet"]),
    method=st.sampled_from(
        [
            "plain",
            "gce",
            "nr_dice",
            "co_teaching",
            "trinet",
            "jocor",
            "pick_and_learn",
            "adele",
            "spatial_correction",
        ]
    ),
    gce=st.builds(GceSettings, q=st.floats(0.01, 1)),
    nr_dice=st.builds(NrDiceSettings, gamma=st.floats(1, 2)),
    co_teaching=st.builds(CoTeachingSettings, **ramps),
    trinet=st.builds(TriNetSettings, **ramps),
    jocor=st.builds(JocorSettings, agreement=st.floats(0, 0.9), **ramps),
    pick_and_learn=st.builds(
        PickAndLearnSettings, alpha=st.floats(0.01, 10), reduce=st.integers(1, 8)
    ),
    adele=st.builds(
        AdeleSettings,
        slowdown=st.floats(0.01, 0.99),
        confidence=st.floats(0.5, 0.99),
        scales=st.lists(st.floats(0.1, 4), min_size=1, max_size=5).map(tuple),
        consistency=st.floats(0, 10),
    ),
    spatial_correction=st.builds(
        SpatialCorrectionSettings,
        trusted_cases=st.lists(st.sampled_from(["case 1", "b"]), max_size=2).map(tuple),
        trusted_share=st.floats(0.01, 1),
        correct_after=st.floats(0.01, 0.99),
    ),
    size=st.integers(1, 32).map(lambda n: 32 * n),
    epochs=st.integers(1, 500),
    batch_size=st.none() | st.integers(1, 64),
    spacing=st.none() | st.tuples(*[st.floats(1e-3, 50)] * 3),
    patch=st.none() | st.tuples(*[st.integers(1, 512)] * 3),
    normalisation=st.sampled_from([None, "image", "ct"]),
    foreground=st.floats(0, 1),
    overlap=st.floats(0, 1, exclude_max=True),
    dice=st.none() | st.floats(0, 10),
    learning_rate=st.floats(1e-12, 10),
    precision=st.sampled_from(["auto", "full", "mixed"]),
    schedule=st.sampled_from(["constant", "cosine"]),
    weight_decay=st.floats(0, 1),
    averaging=st.floats(0, 1, exclude_max=True),
    augment=st.booleans(),
    least_steps=st.integers(0, 500),
    select_after=st.floats(0, 0.9),
    doubt_ratio=st.floats(1, 100, exclude_min=True),
    monitor_share=st.floats(0, 0.49),
    weights=st.sampled_from(["best", "last"]),
)
trainings = st.builds(TrainingSettings, **training_values)
teachers = st.builds(TeacherSettings, **training_values)
all_settings = st.builds(
    Settings,
    seed=st.integers(0, 2**31),
    device=st.sampled_from(["auto", "cpu", "cuda:1"]),
    threads=st.integers(0, 64),
    resources=st.none()
    | st.dictionaries(st.sampled_from(["GPU", "memory", "a long name " * 8]), st.floats(0, 9)),
    crossfit=st.builds(
        CrossfitSettings, folds=st.integers(2, 20), stated_folds=st.booleans(), teacher=teachers
    ),
    flag=st.builds(FlagSettings, method=st.sampled_from(["both", "argmax"])),
    correct=st.builds(CorrectSettings, eps=st.floats(0, 1)),
    student=trainings,
    audit_labels=st.sampled_from(["given", "hard", "soft", "believed"]),
)


def options(group: type[BaseModel], prefix: str = "") -> Iterator[tuple[str, str | None]]:
    """Dotted name and description of every setting."""
    for name, field in group.model_fields.items():
        kind = field.annotation
        if isinstance(kind, type) and issubclass(kind, BaseModel):
            yield from options(kind, f"{prefix}{name}.")
        else:
            yield prefix + name, field.description


OPTIONS = dict(options(Settings))


@given(all_settings)
@hypothesis_settings(max_examples=30, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_yaml_there_and_back(tmp_path: Path, settings: Settings) -> None:
    path = tmp_path / "settings.yaml"
    path.write_text(settings_yaml(settings))
    assert load_settings(path) == settings


def test_the_defaults_need_no_file() -> None:
    assert load_settings() == Settings()
    assert override_settings(Settings(), ()) == Settings()


def test_a_file_changes_what_it_names_and_an_empty_one_nothing(tmp_path: Path) -> None:
    path = tmp_path / "settings.yaml"
    path.write_text("crossfit:\n  teacher:\n    epochs: 7\n")
    settings = load_settings(path)
    assert settings.crossfit.teacher.epochs == 7
    assert settings.crossfit.folds == Settings().crossfit.folds
    assert settings.student == Settings().student
    path.write_text("# nothing\n")
    assert load_settings(path) == Settings()


def test_an_override_comes_after_the_file_and_the_last_one_counts(tmp_path: Path) -> None:
    path = tmp_path / "settings.yaml"
    path.write_text("seed: 4\nstudent:\n  epochs: 7\n")
    overrides = ("student.epochs=8", "student.learning_rate=1e-3", "student.epochs = 9")
    settings = load_settings(path, overrides)
    assert settings.seed == 4
    assert settings.student == TrainingSettings(epochs=9, learning_rate=1e-3)
    assert override_settings(settings, ("seed=5",)) == settings.model_copy(update={"seed": 5})
    assert settings.seed == 4


@pytest.mark.parametrize(("name", "description"), OPTIONS.items(), ids=OPTIONS)
def test_every_setting_says_what_it_does(name: str, description: str | None) -> None:
    assert description
    (line,) = [
        line for line in settings_yaml(Settings()).splitlines() if line.endswith(f"# {description}")
        and line.strip().startswith(name.split(".")[-1] + ":")
    ][:1]  # fmt: skip
    assert line.startswith("  " * name.count("."))


def test_the_yaml_has_every_setting() -> None:
    def flat(tree: dict[str, object], prefix: str = "") -> set[str]:
        return {
            inner
            for name, value in tree.items()
            for inner in (
                flat(value, f"{prefix}{name}.") if isinstance(value, dict) else {prefix + name}
            )
        }

    assert flat(yaml.safe_load(settings_yaml(Settings()))) == set(OPTIONS)


@pytest.mark.parametrize(
    ("override", "named"),
    [
        ("epochs=3", "epochs"),
        ("student.epoch=3", "student.epoch"),
        ("teacher.epochs=3", "teacher"),
        ("student.epochs=0", "student.epochs"),
        ("student.epochs=2.5", "student.epochs"),
        ("student.epochs=many", "student.epochs"),
        ("student.epochs=", "student.epochs"),
        ("student.size=16", "student.size"),
        ("student.size=100", "student.size"),
        ("student.network=unet", "student.network"),
        ("student.learning_rate=0", "student.learning_rate"),
        ("student.learning_rate=.inf", "student.learning_rate"),
        ("student.doubt_ratio=.nan", "student.doubt_ratio"),
        ("student.averaging=1", "student.averaging"),
        ("student.monitor_share=0.5", "student.monitor_share"),
        ("student=3", "student"),
        ("crossfit.folds=1", "crossfit.folds"),
        ("flag.method=none", "flag.method"),
        ("correct.eps=1.01", "correct.eps"),
        ("correct.eps=-0.01", "correct.eps"),
        ("seed=-1", "seed"),
        ("audit_labels=clean", "audit_labels"),
        ("seed", "seed"),
        ("device=[cpu", "device=[cpu"),
        ("device=*here", "device=*here"),
    ],
)
def test_what_cannot_be_is_refused_by_name(override: str, named: str) -> None:
    for refuse in (
        lambda: load_settings(None, (override,)),
        lambda: override_settings(Settings(), (override,)),
    ):
        with pytest.raises(SettingsError) as caught:
            refuse()
        assert caught.value.case.removeprefix("settings: ") == named


@pytest.mark.parametrize("override", ["seed.value=3", "student.epochs.max=3"])
def test_a_setting_is_no_group(override: str) -> None:
    with pytest.raises(SettingsError, match=override.rpartition(".")[0]):
        load_settings(None, (override,))
    with pytest.raises(SettingsError, match="a group of settings before each dot"):
        override_settings(Settings(), (override,))


@pytest.mark.parametrize(
    "text", ["- a list\n", "only words\n", "3\n", "seed: [\n", "seed: 1\n  folds: 2\n"]
)
def test_a_file_that_is_no_tree_of_settings(tmp_path: Path, text: str) -> None:
    path = tmp_path / "settings.yaml"
    path.write_text(text)
    for overrides in ((), ("seed=3",)):
        with pytest.raises(SettingsError, match=r"settings\.yaml"):
            load_settings(path, overrides)


def test_a_file_that_is_no_text_or_not_there(tmp_path: Path) -> None:
    (tmp_path / "image.png").write_bytes(b"\x89PNG\xff\xfe\x00")
    for name in ("image.png", "missing.yaml", "."):
        with pytest.raises(SettingsError, match="a YAML file of settings"):
            load_settings(tmp_path / name)


def test_settings_do_not_change() -> None:
    with pytest.raises(ValueError, match="frozen"):
        Settings().seed = 3  # type: ignore[misc]


def test_the_demo_is_seeded_and_no_larger_than_the_defaults() -> None:
    demo = demo_settings(seed=7)
    assert demo.seed == 7
    assert demo.student.size < Settings().student.size
    assert demo.crossfit.folds <= Settings().crossfit.folds
    assert math.isclose(demo.correct.eps, Settings().correct.eps)


def test_lists_of_numbers_are_as_json_reads_them_back() -> None:
    settings = override_settings(
        Settings(), ("student.patch=[16, 32, 48]", "student.spacing=[3, 1, 1]")
    )
    assert settings.student.patch == (16, 32, 48)
    dumped = settings.model_dump()
    assert json.loads(json.dumps(dumped)) == dumped


@pytest.mark.parametrize("change", ["patch=[16, 16]", "patch=[0, 16, 16]", "spacing=[1, 1, 0]"])
def test_impossible_patches_and_spacings_are_refused(change: str) -> None:
    with pytest.raises(SettingsError):
        override_settings(Settings(), (f"student.{change}",))


def test_a_step_has_4_cases_where_nobody_says_otherwise() -> None:
    assert TrainingSettings().step_size == 4
    assert TrainingSettings(batch_size=7).step_size == 7
