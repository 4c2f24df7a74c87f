"""Every option with its default and meaning: one tree that YAML and the command line fill."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Annotated, Any, Literal, TypeVar

import yaml
from pydantic import BaseModel, Field, ValidationError

from maskmend.errors import SettingsError
from maskmend.method_settings import (
    AdeleSettings,
    CoTeachingSettings,
    GceSettings,
    Group,
    JocorSettings,
    Listed,
    NrDiceSettings,
    PickAndLearnSettings,
    SpatialCorrectionSettings,
    TriNetSettings,
)

_Voxels = Annotated[int, Field(ge=1)]
_Length = Annotated[float, Field(gt=0)]


class TrainingSettings(Group):
    """How one network is trained; what is null here is proposed from the data."""

    network: Literal["compact", "vnet"] = Field(
        "compact",
        description="compact: small U-Net, quick on a CPU, in 2D or 3D; vnet: the paper's 2D V-Net",
    )
    method: Literal[
        "plain",
        "gce",
        "nr_dice",
        "co_teaching",
        "trinet",
        "jocor",
        "pick_and_learn",
        "adele",
        "spatial_correction",
    ] = Field(
        "plain",
        description="what is made of labels that may be wrong; plain: nothing but `select_after`, "
        "which works beside all others",
    )
    size: int = Field(
        192, ge=32, multiple_of=32,
        description="pictures are resized to size x size for the network (pixels)",
    )  # fmt: skip
    spacing: Annotated[tuple[_Length, _Length, _Length] | None, Listed] = Field(
        None,
        description="volumes are resampled to this size of a voxel, slices first (mm); "
        "null: the median of the data",
    )
    patch: Annotated[tuple[_Voxels, _Voxels, _Voxels] | None, Listed] = Field(
        None,
        description="voxels that the network sees at once, slices first; null: the median volume, "
        "as far as memory allows",
    )
    normalisation: Literal["image", "ct"] | None = Field(
        None,
        description="of volumes; image: zero mean and unit variance each; ct: clipped to what the "
        "structures have (0.5 % to 99.5 %), one scale for all; null: ct where the data look so",
    )
    foreground: float = Field(
        0.5, ge=0, le=1,
        description="share of the patches that lie around a voxel of a structure (volumes)",
    )  # fmt: skip
    overlap: float = Field(
        0.5, ge=0, lt=1, description="of the windows in which a volume is predicted"
    )
    dice: float | None = Field(
        None, ge=0,
        description="weight of 1 - soft Dice beside the cross-entropy or what stands for it; null: "
        "1 where `method` is plain, 0 beside all others",
    )  # fmt: skip
    epochs: int = Field(24, ge=1, description="passes over the training cases")
    least_steps: int = Field(
        360, ge=0, description="a small data set is passed over more often, until so many steps"
    )  # fmt: skip
    batch_size: int | None = Field(
        None, ge=1,
        description="cases in a step; null: 4, or 2 for volumes that need a large patch",
    )  # fmt: skip
    learning_rate: float = Field(4e-3, gt=0, description="of AdamW")
    precision: Literal["auto", "full", "mixed"] = Field(
        "auto",
        description="mixed: the layers of the network work in 16 bits while it is trained (float16 "
        "on CUDA, else bfloat16); weights, losses and predictions stay float32; quicker on a CPU "
        "with AMX, slower on one without; auto: mixed on CUDA, else full",
    )  # fmt: skip
    schedule: Literal["constant", "cosine"] = Field(
        "cosine", description="learning rate after the warm-up of 20 steps"
    )
    weight_decay: float = Field(1e-4, ge=0, description="of AdamW")
    averaging: float = Field(
        0.99, ge=0, lt=1, description="decay of the averaged weights, with which all predict"
    )
    augment: bool = Field(
        True, description="small rotation, scaling, shift, brightness, noise; never a mirror image"
    )
    select_after: float = Field(
        0.0, ge=0, lt=1,
        description="share of the training after which masks that disagree with the network's own "
        "prediction beyond `doubt_ratio` do not train; 0: all masks always train",
    )  # fmt: skip
    doubt_ratio: float = Field(
        1.5, gt=1,
        description="a mask is believed while its 1 - Dice is at most this multiple of the median "
        "of the masks believed so; a size that is wrong alike in most masks does not count",
    )  # fmt: skip
    monitor_share: float = Field(
        0.08, ge=0, lt=0.5, description="share of the training cases held out to choose `best`"
    )
    weights: Literal["best", "last"] = Field(
        "last", description="checkpoint that predicts: best on the held-out training cases, or last"
    )
    gce: GceSettings = GceSettings()
    nr_dice: NrDiceSettings = NrDiceSettings()
    co_teaching: CoTeachingSettings = CoTeachingSettings()
    trinet: TriNetSettings = TriNetSettings()
    jocor: JocorSettings = JocorSettings()
    pick_and_learn: PickAndLearnSettings = PickAndLearnSettings()
    adele: AdeleSettings = AdeleSettings()
    spatial_correction: SpatialCorrectionSettings = SpatialCorrectionSettings()

    @property
    def step_size(self) -> int:
        """Cases in a step."""
        return 4 if self.batch_size is None else self.batch_size


class TeacherSettings(TrainingSettings):
    """How a teacher is trained: it stops learning from the masks that it comes to doubt."""

    size: int = Field(
        128, ge=32, multiple_of=32,
        description="as for every training; a teacher need not be as exact as a student",
    )  # fmt: skip
    select_after: float = Field(0.25, ge=0, lt=1, description="as for every training")


class CrossfitSettings(Group):
    """Predictions that have never seen the label they judge."""

    folds: int = Field(3, ge=2, description="teachers; each predicts the cases it was not shown")
    stated_folds: bool = Field(
        True,
        description="take the folds that the data set states, where they hold each case out once; "
        "`folds` then counts for nothing",
    )
    teacher: TeacherSettings = TeacherSettings()


class FlagSettings(Group):
    """Which pixels are wrong."""

    method: Literal[
        "doubted_masks", "argmax", "confident_joint", "prune_by_class", "prune_by_noise_rate",
        "both", "intersection", "union", "low_self_confidence", "low_normalized_margin",
    ] = Field(
        "doubted_masks",
        description="noise map; doubted_masks: where a mask that is doubted as a whole differs "
        "from the prediction; both: the paper's",
    )  # fmt: skip
    doubt_ratio: float = Field(
        1.65,
        gt=1,
        description="for whole masks against out-of-sample predictions: a mask is believed while "
        "its 1 - Dice is at most this multiple of the median of the masks believed so",
    )
    move: bool = Field(
        True,
        description="doubted_masks: a mask that is believed once its boundary is moved in or out "
        "by one distance is moved",
    )
    blend: bool = Field(
        True,
        description="doubted_masks: any other doubted mask is drawn between itself and the "
        "prediction, nearer to the one that is expected to be better; else it is the prediction",
    )


class CorrectSettings(Group):
    """What a flagged pixel becomes."""

    eps: float = Field(0.8, ge=0, le=1, description="share of the suggested class in soft labels")
    soft_files: Literal["auto", "always", "never"] = Field(
        "auto",
        description="write labels/soft/CASE.npy: always, never, or auto, of pictures only, since "
        "those of volumes are large; without the files they are computed when needed",
    )


class RankSettings(Group):
    """What is worth looking at, and where to look first."""

    tolerance: str = Field(
        "2px", pattern=r"^\d+(\.\d+)?(px|mm)$",
        description="a boundary may lie so far beside another without being wrong, as two people "
        "draw it: pixels, as 2px, or millimetres, as 1.5mm",
    )  # fmt: skip
    least_pixels: int = Field(1, ge=1, description="findings with fewer pixels are left out")
    all_scores: Literal["auto", "always", "never"] = Field(
        "auto",
        description="score masks also by what looks at every pixel, as softmin does, and not only "
        "by what ranks them; auto: not in volumes of more than 16 million voxels",
    )  # fmt: skip


class Settings(Group):
    """All settings of a run."""

    seed: int = Field(0, ge=0, description="of folds, weights, order and augmentation")
    device: str = Field("auto", description="auto, cpu, cuda, cuda:1, mps")
    threads: int = Field(0, ge=0, description="CPU threads of a training; 0: all cores")
    resources: dict[str, float] | None = Field(
        None,
        description="what each training asks of a Dask worker, as {GPU: 1}; by default a GPU where "
        "device is cuda, else nothing",
    )  # fmt: skip
    crossfit: CrossfitSettings = CrossfitSettings()
    flag: FlagSettings = FlagSettings()
    correct: CorrectSettings = CorrectSettings()
    rank: RankSettings = RankSettings()
    student: TrainingSettings = TrainingSettings()
    audit_labels: Literal["given", "hard", "soft", "believed"] = Field(
        "believed",
        description="labels that the student of `audit` is trained on; given, hard (mended), soft, "
        "or believed: given where believed, moved, or redrawn, but none nearer to the prediction",
    )


def demo_settings(seed: int) -> Settings:
    """Small and quick, for phantoms of 128 x 128 pixels."""
    crossfit = CrossfitSettings(teacher=TeacherSettings(size=96, epochs=16, least_steps=240))
    student = TrainingSettings(size=96, epochs=16, least_steps=240)
    return Settings(seed=seed, crossfit=crossfit, student=student)


def load_settings(path: Path | None = None, overrides: tuple[str, ...] = ()) -> Settings:
    """Defaults, then a YAML file, then overrides such as "crossfit.teacher.epochs=30".

    Raises SettingsError for an unknown name or an impossible value.
    """
    tree: dict[str, Any] = {}
    if path is not None:
        try:
            tree = yaml.safe_load(path.read_text()) or {}
        except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
            raise SettingsError(
                str(path), expected="a YAML file of settings", got=str(error),
                remedy="`maskmend settings` prints a complete one.",
            ) from error  # fmt: skip
        settings_from(tree, str(path))
    for override in overrides:
        _override(tree, override)
    return settings_from(tree, str(path or "settings"))


def override_settings(settings: Settings, overrides: tuple[str, ...]) -> Settings:
    """The settings with some changed, each as "crossfit.teacher.epochs=30"."""
    tree = settings.model_dump()
    for override in overrides:
        _override(tree, override)
    return settings_from(tree, "settings")


def settings_from(tree: dict[str, Any], where: str) -> Settings:
    """Check a plain dictionary.  where: its name in an error."""
    return checked(
        Settings, tree, where, "`maskmend settings` prints every setting with its default."
    )


Checked = TypeVar("Checked", bound=BaseModel)


def checked(kind: type[Checked], tree: Any, where: str, remedy: str) -> Checked:
    """A plain value as a group of settings.  Raises SettingsError for the first that is wrong."""
    try:
        return kind.model_validate(tree)
    except ValidationError as error:
        first = error.errors()[0]
        name = ".".join(str(part) for part in first["loc"])
        raise SettingsError(
            f"{where}: {name}" if name else where,
            expected="a known setting with a possible value",
            got=f"{first.get('input')!r} ({first['msg']})", remedy=remedy,
        ) from error  # fmt: skip


def _override(tree: dict[str, Any], override: str) -> None:
    name, equals, value = override.partition("=")
    if not equals:
        raise SettingsError(
            override, expected="name=value", got="no equals sign",
            remedy="For example --set crossfit.folds=3.",
        )  # fmt: skip
    *parents, leaf = name.strip().split(".")
    for parent in parents:
        tree = tree.setdefault(parent, {})
        if not isinstance(tree, dict):
            raise SettingsError(
                override, expected="a group of settings before each dot",
                got=f"{parent}, which is one setting",
                remedy="`maskmend settings` prints every setting with its default.",
            )  # fmt: skip
    try:
        tree[leaf] = yaml.safe_load(value)
    except yaml.YAMLError as error:
        raise SettingsError(
            override, expected="a value as in YAML", got=str(error),
            remedy="For example --set crossfit.folds=3.",
        ) from error  # fmt: skip


def settings_yaml(settings: Settings) -> str:
    """The settings as YAML, each with its meaning in a comment."""
    return "\n".join(_yaml_lines(settings, 0)) + "\n"


def _yaml_lines(group: BaseModel, depth: int) -> list[str]:
    lines: list[str] = []
    for name, field in type(group).model_fields.items():
        value = getattr(group, name)
        pad = "  " * depth
        if isinstance(value, BaseModel):
            summary = (type(value).__doc__ or "").strip().splitlines()[0]
            lines += [f"{pad}# {summary}", f"{pad}{name}:", *_yaml_lines(value, depth + 1)]
        else:
            text = yaml.safe_dump(value, default_flow_style=True, width=math.inf).splitlines()[0]
            lines.append(f"{pad}{name}: {text}  # {field.description}")
    return lines
