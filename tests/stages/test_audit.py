"""The whole way: what it leaves, that it can be killed anywhere, and that it never lies."""

from __future__ import annotations

import csv
import hashlib
import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
import torch
import yaml
from numpy.typing import NDArray
from PIL import Image
from safetensors.numpy import load_file

from maskmend import stages
from maskmend.arrays.selection import flag_errors
from maskmend.core import IGNORED, Listener, TrainingProgress
from maskmend.datasets import open_dataset
from maskmend.errors import RunMismatchError
from maskmend.execute import connect
from maskmend.settings import Settings
from maskmend.store import DIGESTS, INSPECTED, Run, Source

STAGES = ("crossfit", "flag", "correct", "train", "draw_cases")

KILLED_IN_ITS_SECOND_TEACHER = """
import json, os, signal, sys
from pathlib import Path
from maskmend import stages
from maskmend.core import Listener
from maskmend.settings import settings_from
from maskmend.store import Source

class Killer(Listener):
    def epoch(self, progress):
        if (progress.training, progress.epoch) == ("fold1", 2):
            os.kill(os.getpid(), signal.SIGKILL)

_, data, run, settings = sys.argv
settings = settings_from(json.loads(settings), "settings")
stages.audit(Source(data, ("training",)), Path(run), settings, listener=Killer())
"""


def contents(root: Path) -> dict[str, bytes]:
    """File -> bytes, without those that hold times: TensorBoard's, and what is known of files."""
    found = {
        path.relative_to(root).as_posix(): path
        for path in root.rglob("*")
        if path.is_file() and "tfevents" not in path.name
    }
    return {
        name: path.read_bytes() for name, path in found.items() if name not in (INSPECTED, DIGESTS)
    }


@pytest.fixture
def threads_as_before() -> Iterator[None]:
    before = torch.get_num_threads()
    yield
    torch.set_num_threads(before)


# -- what it leaves


REPORTED = (
    "noise_rates", "transitions", "worst_cases", "findings_by_type", "errors_found", "agreement",
    "training_teachers", "training_students",
)  # fmt: skip


def test_every_file_of_the_run_opens_with_a_common_tool(audited: Run) -> None:
    openers: dict[str, Callable[[Path], object]] = {
        ".json": lambda path: json.loads(path.read_text()),
        ".yaml": lambda path: yaml.safe_load(path.read_text()),
        ".html": lambda path: path.read_text(),
        ".csv": lambda path: list(csv.DictReader(path.open(newline=""))),
        ".npy": lambda path: np.load(path, allow_pickle=False),
        ".npz": lambda path: dict(np.load(path, allow_pickle=False)),
        ".png": lambda path: np.array(Image.open(path)),
        ".safetensors": load_file,
    }
    kinds = set()
    for path in audited.root.rglob("*"):
        if path.is_file() and "tfevents" not in path.name:
            opened = openers[path.suffix](path)
            # Lightning's hparams.yaml is there and has nothing in it, as has a case in good order
            empty = path.name == "hparams.yaml" or path.parent.name == "findings"
            assert len(opened) > 0 or empty, path  # type: ignore[arg-type]
            kinds.add(path.suffix)
    assert kinds == set(openers)


def test_the_run_folder_is_complete(audited: Run) -> None:
    cases = [f"training_{index:04d}" for index in range(8)]
    planes = ["clavicle", "heart", "lung"]
    everyone = [
        f"{split}_{i:04d}" for split, n in (("training", 8), ("validation", 2)) for i in range(n)
    ]
    expected = {
        "run.json", "settings.yaml", "folds.json", "counts.json", "masks.csv",
        "findings.csv", "rankings.csv", "cases.csv", *(f"findings/{case}.npz" for case in cases),
        "report.html", *(f"report/{name}.csv" for name in REPORTED),
        *(f"probabilities/{case}.{end}" for case in cases for end in ("npy", "json")),
        *(f"noise_maps/{plane}/{case}.png" for plane in planes for case in cases),
        *(f"labels/soft/{case}.npy" for case in cases),
        *(f"labels/{case.split('_')[0]}/{folder}/{case}.png"
          for case in everyone for folder in ("images", *planes)),
        *(f"{training}/{file}"
          for training in ("teachers/fold0", "teachers/fold1", "students/believed")
          for file in ("training.json", "metrics.csv", "best.safetensors", "last.safetensors",
                       "tensorboard/hparams.yaml")),
    }  # fmt: skip
    found = set(contents(audited.root))
    pictures = {name for name in found if name.startswith("pictures/")}
    assert found - pictures == expected
    assert {name.partition("_")[2] for name in pictures} == {f"{case}.png" for case in cases}
    assert len(list(audited.root.glob("*/*/tensorboard/*tfevents*"))) == 3


def test_the_source_is_as_it_was(
    audited: Run, noisy: Path, before: dict[str, tuple[str, int]]
) -> None:
    assert audited.dataset.root == noisy
    digests = {name: hashlib.sha256(data).hexdigest() for name, data in contents(noisy).items()}
    assert digests == {name: digest for name, (digest, _) in before.items()}
    changed = {name: (noisy / name).stat().st_mtime_ns for name in before}
    assert changed == {name: changed for name, (_, changed) in before.items()}


def test_every_case_is_judged_by_a_teacher_that_has_not_seen_it(audited: Run) -> None:
    plan = audited.read_folds()
    assert sorted(plan.folds.values()) == [0] * 4 + [1] * 4
    for case in audited.cases:
        origin = json.loads((audited.root / "probabilities" / f"{case.id}.json").read_text())
        fold = plan.folds[case.id]
        training = json.loads(
            (audited.root / "teachers" / f"fold{fold}" / "training.json").read_text()
        )
        assert origin["fold"] == fold
        assert case.id not in training["cases"]
        assert sorted(training["cases"]) == list(plan.trained_on(fold))


# -- stopped and started again


def test_a_killed_audit_goes_on_and_ends_in_the_same_bytes(
    audited: Run, tiny: Settings, tmp_path: Path
) -> None:
    root, source = tmp_path / "run", audited.source
    script = [sys.executable, "-c", KILLED_IN_ITS_SECOND_TEACHER, source.root, str(root)]
    killed = subprocess.run(
        [*script, json.dumps(tiny.model_dump())], env=os.environ | {"OMP_NUM_THREADS": "1"},
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert killed.returncode == -signal.SIGKILL, killed.stderr
    assert (root / "teachers" / "fold0" / "last.safetensors").exists()
    assert (root / "teachers" / "fold1" / "last.ckpt").exists()
    heard = Epochs()
    stages.audit(source, root, tiny, listener=heard)
    # the first teacher is not trained again, the second goes on after its first epoch
    assert heard.epochs == [
        ("fold1", 2),
        ("fold1", 3),
        ("believed", 1),
        ("believed", 2),
        ("believed", 3),
    ]
    assert contents(root) == contents(audited.root)


class Epochs(Listener):
    def __init__(self) -> None:
        self.epochs: list[tuple[str, int]] = []

    def epoch(self, progress: TrainingProgress) -> None:
        self.epochs.append((progress.training, progress.epoch))


def test_an_audit_that_fails_between_stages_goes_on_and_ends_in_the_same_bytes(
    audited: Run, tiny: Settings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    root = tmp_path / "run"

    class PowerCutError(Exception):
        pass

    def fail(*_: object, **__: object) -> None:
        raise PowerCutError

    for stage in STAGES:
        with monkeypatch.context() as patched:
            patched.setattr(stages, stage, fail)
            with pytest.raises(PowerCutError):
                stages.audit(audited.source, root, tiny)
        assert contents(root).keys() < contents(audited.root).keys()
    stages.audit(audited.source, root, tiny)
    # never trained in one go with `audited`, so this is also: same seed, same bytes
    assert contents(root) == contents(audited.root)


@pytest.fixture
def heeded() -> Iterator[None]:
    """Ctrl-C is heard, though a shell may have put the tests into the background without it."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


@pytest.mark.usefixtures("heeded")
def test_ctrl_c_in_a_training_is_a_keyboard_interrupt_and_may_come_again(
    audited: Run, tiny: Settings, tmp_path: Path
) -> None:
    """Lightning turns it into SystemExit(1) and leaves the signal ignored."""

    class ControlC(Listener):
        def epoch(self, progress: TrainingProgress) -> None:
            os.kill(os.getpid(), signal.SIGINT)

    listening = signal.getsignal(signal.SIGINT)
    for _ in range(2):
        with pytest.raises(KeyboardInterrupt):
            stages.audit(audited.source, tmp_path / "run", tiny, listener=ControlC())
        assert signal.getsignal(signal.SIGINT) is listening
    assert not (tmp_path / "run" / "teachers" / "fold0" / "last.safetensors").exists()


def test_a_finished_audit_runs_again_without_training_and_changes_nothing(
    audited: Run, tiny: Settings
) -> None:
    before, heard = contents(audited.root), Epochs()
    stages.audit(audited.source, audited.root, tiny, listener=heard)
    assert heard.epochs == []
    assert contents(audited.root) == before


def test_a_student_of_other_settings_needs_a_name_of_its_own(audited: Run) -> None:
    longer = audited.settings.student.model_copy(update={"epochs": 4})
    with pytest.raises(RunMismatchError, match="students/believed"):
        stages.train(audited, "believed", longer)


# -- other kinds of labels


def to_label_map(masks: dict[str, NDArray[np.bool_]]) -> NDArray[np.uint8]:
    """Background 0, lung 10, heart 20, and the clavicle, over both, 30; a corner is ignored."""
    labels = np.zeros((64, 64), np.uint8)
    for value, name in ((10, "lung"), (20, "heart"), (30, "clavicle")):
        labels[masks[name]] = value
    labels[:6, :6] = 255
    return labels


@pytest.fixture(scope="module")
def exclusive(noisy: Path, tiny: Settings, tmp_path_factory: pytest.TempPathFactory) -> Run:
    """The noisy phantoms as label maps with ignored pixels, audited with `both`."""
    root = tmp_path_factory.mktemp("exclusive")
    for image in sorted((noisy / "training" / "images").iterdir()):
        masks = {
            name: np.array(Image.open(noisy / "training" / name / image.name)) > 0
            for name in ("lung", "heart", "clavicle")
        }
        for folder, pixels in (
            ("images", np.array(Image.open(image))),
            ("masks", to_label_map(masks)),
        ):
            path = root / "data" / folder / image.name
            path.parent.mkdir(parents=True, exist_ok=True)
            Image.fromarray(pixels).save(path)
    (root / "data" / "labels.json").write_text('{"lung": 10, "heart": 20, "clavicle": 30}')
    flag = tiny.flag.model_copy(update={"method": "both"})
    source = Source(str(root / "data"), ("training",), ignore_value=255)
    settings = tiny.model_copy(update={"flag": flag, "audit_labels": "soft"})
    return stages.audit(source, root / "run", settings)


def test_label_maps_go_the_whole_way(exclusive: Run) -> None:
    scheme = exclusive.dataset.scheme
    assert scheme.structures == ("lung", "heart", "clavicle")
    assert not scheme.overlapping
    mended = open_dataset(exclusive.labels_root, ignore_value=255)
    assert mended.scheme == scheme
    assert (exclusive.root / "students" / "soft" / "last.safetensors").exists()
    for case in exclusive.cases:
        assert exclusive.read_probabilities(case).shape == (4, 64, 64)
        assert exclusive.read_noise_map(case).shape == (1, 64, 64)
    assert list(exclusive.read_json("counts.json")["labels"]["classes"]) == [
        "background", "lung", "heart", "clavicle",
    ]  # fmt: skip


def test_label_maps_are_flagged_as_the_arrays_together_are(exclusive: Run) -> None:
    given = np.stack([exclusive.read_given(case)[0] for case in exclusive.cases])
    probs = np.stack([exclusive.read_probabilities(case) for case in exclusive.cases], axis=1)
    expected = flag_errors(given, probs, method="both", ignore=IGNORED)
    found = np.stack([exclusive.read_noise_map(case)[0] for case in exclusive.cases])
    np.testing.assert_array_equal(found, expected)
    assert found.any()


def test_label_maps_are_mended_to_the_most_probable_other_class(exclusive: Run) -> None:
    for case in exclusive.cases:
        given, flagged = exclusive.read_given(case)[0], exclusive.read_noise_map(case)[0]
        probs = exclusive.read_probabilities(case).astype(np.float64)
        np.put_along_axis(probs, np.where(given == IGNORED, 0, given)[None], -1, axis=0)
        other = probs.argmax(axis=0)
        hard, soft = exclusive.read_mended(case)[0], exclusive.read_soft(case)
        np.testing.assert_array_equal(hard, np.where(flagged, other, given))
        judged = given != IGNORED
        np.testing.assert_allclose(soft.sum(axis=0), judged, atol=1e-6)
        at = np.nonzero(flagged)
        np.testing.assert_allclose(soft[(other[at], *at)], 0.8, atol=1e-6)
        np.testing.assert_allclose(soft[(given[at], *at)], 0.2, atol=1e-6)
        one_hot = judged & ~flagged
        assert set(np.unique(soft[:, one_hot])) == {0, 1}


def test_ignored_pixels_of_label_maps_are_never_flagged_and_stay_as_stored(exclusive: Run) -> None:
    for case in exclusive.cases:
        assert not exclusive.read_noise_map(case)[0, :6, :6].any()
        stored = np.array(Image.open(exclusive.labels_root / "masks" / f"{case.id}.png"))
        assert (stored[:6, :6] == 255).all()
        assert (stored == 255).sum() == 36
        assert set(np.unique(stored)) <= {0, 10, 20, 30, 255}


# -- on a cluster


def test_on_a_cluster_an_audit_leaves_the_same_bytes(
    audited: Run, noisy: Path, tiny: Settings, tmp_path: Path
) -> None:
    distributed = pytest.importorskip("distributed", reason="needs maskmend[dist]")
    source = Source(str(noisy), ("training",))
    options = {"n_workers": 2, "threads_per_worker": 1, "host": "127.0.0.1"}
    with (
        distributed.LocalCluster(**options, dashboard_address=":0", silence_logs=50) as cluster,
        connect(cluster.scheduler_address) as workers,
    ):
        run = stages.audit(source, tmp_path / "run", tiny, student=False, workers=workers)
    there, here = contents(run.root), contents(audited.root)
    parts = ("teachers", "probabilities", "noise_maps", "labels", "counts.json", "masks.csv")
    compared = [name for name in here if name.startswith(parts)]
    assert len(compared) > 40
    assert [name for name in compared if there[name] != here[name]] == []


@pytest.mark.usefixtures("threads_as_before")
def test_a_finished_training_is_found_again_whatever_threads_torch_had(
    noisy: Path, tiny: Settings, tmp_path: Path
) -> None:
    """The mean of a large picture depends on them in its last bit."""
    run = Run.create(tmp_path / "run", Source(str(noisy), ("training",)), tiny)
    once = tiny.student.model_copy(update={"size": 224, "epochs": 1})
    written = []
    for threads in (2, 1, 2):
        torch.set_num_threads(threads)
        folder = stages.train(run, "given", once)
        written.append((folder / "training.json").read_bytes())
    assert written[0] == written[1] == written[2]
