"""The command line as a user meets it: help, a whole way, one message for an error, Ctrl-C."""

from __future__ import annotations

import contextlib
import csv
import io
import os
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
import typer
from typer.testing import CliRunner

from maskmend import cli, stages
from maskmend.datasets import open_dataset
from maskmend.datasets.phantom import write_phantoms
from maskmend.settings import CrossfitSettings, Settings, TeacherSettings, TrainingSettings

VERBS = {
    "audit", "benchmark", "correct", "corrupt", "crossfit", "demo", "doctor", "evaluate", "export",
    "flag", "predict", "rank", "report", "review", "settings", "train",
}  # fmt: skip

QUICK = (
    "threads=1", "device=cpu", "crossfit.folds=2", "flag.method=argmax",
    *(f"{group}.{name}={value}" for group in ("crossfit.teacher", "student")
      for name, value in (("size", 32), ("epochs", 3), ("least_steps", 0))),
)  # fmt: skip
"""Two folds of three epochs at 32 px."""


@dataclass(frozen=True)
class Ended:
    code: int
    out: str
    err: str


def maskmend(*arguments: object) -> Ended:
    """The entry point in this process, with its exit code and all that it says."""
    out, err = io.StringIO(), io.StringIO()
    code = 0
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(sys, "argv", ["maskmend", *map(str, arguments)])
        with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
            try:
                cli.main()
            except SystemExit as ended:
                code = int(ended.code or 0)
    return Ended(code, out.getvalue(), err.getvalue())


def settings_options() -> Iterator[str]:
    for change in QUICK:
        yield from ("--set", change)


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """clean: 8 phantoms and 2 for validation; noisy: the same with errors."""
    root = tmp_path_factory.mktemp("cli")
    write_phantoms(root / "clean", {"training": 8, "validation": 2}, seed=2, size=64)
    ended = maskmend(
        "corrupt", root / "clean", root / "noisy", "--alpha", "0.5", "--alpha", "lung=1",
        "--beta", "heart=3..5", "--seed", "4",
    )  # fmt: skip
    assert ended.code == 0, ended.err
    assert str(root / "noisy" / "corruptions.csv") in ended.out
    return root


@pytest.fixture(scope="module")
def audited(root: Path) -> Ended:
    return maskmend("audit", root / "noisy", "--run", root / "run", *settings_options())


# -- help


def test_the_verbs_are_those_that_the_readme_teaches() -> None:
    assert set(typer.main.get_command(cli.app).commands) == VERBS  # type: ignore[attr-defined]


@pytest.mark.parametrize("verb", sorted(VERBS))
def test_help_says_what_a_verb_does_and_what_each_option_means(verb: str) -> None:
    command = typer.main.get_command(cli.app).commands[verb]  # type: ignore[attr-defined]
    assert len(command.help or "") > 20
    for parameter in command.params:
        assert len(getattr(parameter, "help", None) or "") > 5, parameter.name
    shown = CliRunner().invoke(cli.app, [verb, "--help"], env={"COLUMNS": "200", "TERM": "dumb"})
    assert shown.exit_code == 0
    for parameter in command.params:
        assert any(name in shown.output for name in (*parameter.opts, parameter.name.upper()))


def test_without_a_verb_the_help_is_shown() -> None:
    shown = CliRunner().invoke(cli.app, [], env={"COLUMNS": "200", "TERM": "dumb"})
    assert all(verb in shown.output for verb in VERBS)


def test_help_loads_no_torch() -> None:
    program = (
        "import sys\n"
        "from typer.testing import CliRunner\n"
        "from maskmend.cli import app\n"
        f"for verb in {sorted(VERBS)!r}:\n"
        "    assert CliRunner().invoke(app, [verb, '--help']).exit_code == 0, verb\n"
        "assert CliRunner().invoke(app, ['--help']).exit_code == 0\n"
        "heavy = {'torch', 'lightning', 'monai', 'numpy', 'scipy', 'PIL'} & set(sys.modules)\n"
        "print('heavy:', sorted(heavy))\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=False
    )
    assert done.stdout.splitlines()[-1:] == ["heavy: []"], done.stderr


# -- the whole way


def test_corrupt_hits_the_shares_that_were_asked_for(root: Path) -> None:
    with (root / "noisy" / "corruptions.csv").open(newline="") as file:
        hit = [row["structure"] for row in csv.DictReader(file)]
    assert {name: hit.count(name) for name in set(hit)} == {"lung": 8, "heart": 4, "clavicle": 4}


def test_corrupt_takes_the_share_of_the_protocol(root: Path, tmp_path: Path) -> None:
    ended = maskmend("corrupt", root / "clean", tmp_path / "out", "--preset", "systematic")
    assert ended.code == 0, ended.err
    with (tmp_path / "out" / "corruptions.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    # two of eight cases: a third, rounded down
    hit = [row["case"] for row in rows if row["structure"] == "lung"]
    assert len(hit) == 2
    assert [(row["case"], row["radius"], row["annotator"]) for row in rows] == [
        (case, "5", "wide") for case in hit * 3
    ]


def test_corrupt_at_alpha_0_is_a_clean_copy_with_an_empty_record(
    root: Path, tmp_path: Path
) -> None:
    ended = maskmend(
        "corrupt", root / "clean", tmp_path / "out", "--preset", "pymic", "--alpha", "0"
    )
    assert ended.code == 0, ended.err
    record = tmp_path / "out" / "corruptions.csv"
    with record.open(newline="") as file:
        reader = csv.DictReader(file)
        assert list(reader) == []
    assert reader.fieldnames is not None
    assert {"case", "structure", "kind", "annotator"} < set(reader.fieldnames)
    given, copied = (
        {path.relative_to(folder): path.read_bytes() for path in folder.rglob("*.png")}
        for folder in (root / "clean", tmp_path / "out")
    )
    assert copied == given
    again = maskmend("corrupt", root / "clean", tmp_path / "again", "--replay", record)
    assert again.code == 0, again.err
    assert (tmp_path / "again" / "corruptions.csv").read_bytes() == record.read_bytes()


def test_corrupt_explains_every_preset() -> None:
    from maskmend.arrays.corruption import PRESETS

    lines = [line.split() for line in maskmend("corrupt", "--help").out.splitlines()]
    explained = [words[0] for words in lines if len(words) > 3 and words[0] in PRESETS]
    assert sorted(explained) == sorted(PRESETS)


def test_corrupt_replays_its_record(root: Path, tmp_path: Path) -> None:
    record = root / "noisy" / "corruptions.csv"
    ended = maskmend("corrupt", root / "clean", tmp_path / "again", "--replay", record)
    assert ended.code == 0
    for path in (root / "noisy").rglob("*.*"):
        copy = tmp_path / "again" / path.relative_to(root / "noisy")
        assert copy.read_bytes() == path.read_bytes()


def test_audit_says_what_it_understood_found_and_left(root: Path, audited: Ended) -> None:
    assert audited.code == 0, audited.err
    assert "Layout reference: 10 cases, 8 training, 2 validation." in audited.err
    for structure in ("lung", "heart", "clavicle"):
        assert f"Estimated label noise, {structure}:" in audited.out
    assert "of 24 masks are doubted" in audited.out
    for folder in ("labels", "pictures"):
        assert str(root / "run" / folder) in audited.out
        assert any((root / "run" / folder).iterdir())


def test_predict_and_evaluate_end_in_a_table_and_a_file(root: Path, audited: Ended) -> None:
    assert audited.code == 0
    out = root / "predicted"
    ended = maskmend("predict", root / "run", root / "clean" / "validation", out)
    assert ended.code == 0, ended.err
    assert str(out / "masks") in ended.out
    assert len(open_dataset(out).cases) == 2
    ended = maskmend("evaluate", out, "--truth", root / "clean", "--out", root / "scores")
    assert ended.code == 0, ended.err
    with (root / "scores" / "evaluation.csv").open(newline="") as file:
        scored = [(row["case"], row["structure"]) for row in csv.DictReader(file)]
    assert len(set(scored)) == len(scored) == 2 * 3
    table = [line.split() for line in ended.out.splitlines() if line.startswith("predicted")]
    assert [line[1:3] for line in table] == [[s, "2"] for s in ("clavicle", "heart", "lung")]


def test_evaluate_of_a_run_scores_its_noise_maps_too(root: Path, audited: Ended) -> None:
    assert audited.code == 0
    ended = maskmend("evaluate", root / "run", "--truth", root / "clean")
    assert ended.code == 0, ended.err
    assert "precision" in ended.out
    for name in ("evaluation.csv", "noise_maps.csv"):
        assert (root / "run" / name).stat().st_size > 50


def test_flag_and_correct_store_what_they_were_told(root: Path, audited: Ended) -> None:
    assert audited.code == 0
    try:
        assert maskmend("flag", root / "run", "--method", "both").code == 0
        assert maskmend("correct", root / "run", "--eps", "0.7").code == 0
        stored = (root / "run" / "settings.yaml").read_text()
        assert "method: both" in stored
        assert "eps: 0.7" in stored
    finally:
        # the others read this run as the audit left it
        maskmend("flag", root / "run", "--method", "argmax")
        maskmend("correct", root / "run", "--eps", "0.8")


def test_rank_says_what_there_is_and_stores_its_tolerance(root: Path, audited: Ended) -> None:
    assert audited.code == 0
    table = root / "run" / "findings.csv"
    try:
        ended = maskmend("rank", root / "run", "--tolerance", "0px", "--least-pixels", "3")
        assert ended.code == 0, ended.err
        with table.open(newline="") as opened:
            rows = list(csv.DictReader(opened))
        assert f"{len(rows)} findings in" in ended.out
        assert min(int(row["pixels"]) for row in rows) >= 3
        assert "tolerance: 0px" in (root / "run" / "settings.yaml").read_text()
        refused = maskmend("rank", root / "run", "--tolerance", "1mm")
        assert (refused.code, "does not know its spacing" in refused.err) == (2, True)
        assert maskmend("rank", root / "run", "--tolerance", "two").code == 2
    finally:
        # the others read this run as the audit left it
        maskmend("rank", root / "run", "--tolerance", "2px", "--least-pixels", "1")


def test_export_says_what_changed_and_where_it_is_listed(
    root: Path, audited: Ended, tmp_path: Path
) -> None:
    assert audited.code == 0
    command = ("export", root / "run", tmp_path / "out", "--as", "soft", "--images", "link")
    ended = maskmend(*command, "--cases", "training_0001", "--structures", "lung", "--segments")
    assert ended.code == 0, ended.err
    with (tmp_path / "out" / "changes.csv").open(newline="") as table:
        rows = list(csv.DictReader(table))
    assert {(row["case"], row["structure"]) for row in rows} == {("training_0001", "lung")}
    changed = sum(int(row["voxels"]) for row in rows)
    assert f"{changed} pixels changed, in 1 mask files" in ended.out
    assert str(tmp_path / "out" / "findings.csv") in ended.out
    assert [path.name for path in (tmp_path / "out" / "flagged").iterdir()] == [
        "training_0001.seg.nrrd"
    ]
    again = maskmend("export", root / "run", tmp_path / "out")
    assert (again.code, "earlier export" in again.err) == (2, True)


def test_train_makes_a_student_of_another_name_and_settings(root: Path, audited: Ended) -> None:
    assert audited.code == 0
    ended = maskmend(
        "train", root / "run", "--labels", "given", "--name", "plain", "--set", "epochs=1"
    )
    assert ended.code == 0, ended.err
    folder = root / "run" / "students" / "plain"
    assert str(folder) in ended.out
    assert len((folder / "metrics.csv").read_text().splitlines()) == 2


def test_demo_ends_in_its_tables_and_pictures(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    teacher = TeacherSettings(size=32, epochs=1, least_steps=0)
    folds = CrossfitSettings(folds=2, teacher=teacher)
    student = TrainingSettings(size=32, epochs=1, least_steps=0)
    small = Settings(device="cpu", threads=1, crossfit=folds, student=student)
    monkeypatch.setattr(stages, "demo_settings", lambda seed: small)
    monkeypatch.setattr(stages, "DEMO_CASES", {"training": 8, "validation": 1})
    ended = maskmend("demo", "--run", tmp_path / "demo")
    assert ended.code == 0, ended.err
    for title in (
        "Estimated label noise, lung:",
        "Dice of the labels against the clean ones:",
        "Noise maps against the known errors:",
        "Dice of the students on unseen phantoms:",
    ):
        assert title in ended.out
    for row in ("given", "mended", "trained on given", "trained on mended", "trained on clean"):
        assert any(line.startswith(row) for line in ended.out.splitlines())
    assert len(list((tmp_path / "demo" / "pictures").glob("*.png"))) == 8


# -- settings


def test_the_settings_that_are_printed_can_be_fed_back(tmp_path: Path) -> None:
    first = maskmend("settings", "--set", "crossfit.folds=3", "--set", "student.network=vnet")
    assert first.code == 0
    assert "folds: 3" in first.out
    assert "network: vnet" in first.out
    (tmp_path / "mine.yaml").write_text(first.out)
    assert maskmend("settings", "--settings", tmp_path / "mine.yaml") == first
    # an option on the command line is stronger than the file
    changed = maskmend(
        "settings", "--settings", tmp_path / "mine.yaml", "--set", "crossfit.folds=4"
    )
    assert changed.out == first.out.replace("folds: 3", "folds: 4")


# -- errors

WRONG = {
    "no such data set": ("audit {tmp}/nowhere --run {tmp}/run", "nowhere: expected a folder"),
    "no data set": ("corrupt {tmp} {tmp}-out", "expected one of the known layouts"),
    "no run": ("flag {tmp}", "expected a run folder with run.json"),
    "run in the data set": ("audit {clean} --run {clean}/run", "outside of the data set"),
    "a folder of something else": ("audit {clean} --run {clean}/..", "with other files"),
    "no such split": ("audit {clean} --run {tmp}/run --split test", "cases in the split test"),
    "more folds than cases": (
        "crossfit {clean} --run {tmp}/run --set crossfit.folds=9", "at most 8 folds",
    ),
    "no such patient": (
        "audit {clean} --run {tmp}/run --group-pattern (xyz)", "which finds no patient",
    ),
    "no such device": (
        "crossfit {clean} --run {tmp}/run --set crossfit.folds=2 --device cuda:7", "cuda:7",
    ),
    "alpha is no number": ("corrupt {clean} {tmp}/out --alpha much", "--alpha: expected a share"),
    "alpha is too large": ("corrupt {clean} {tmp}/out --alpha 7", "a share of the masks in 0..1"),
    "beta is no range": ("corrupt {clean} {tmp}/out --beta 3", "--beta: expected two radii"),
    "no such preset": ("corrupt {clean} {tmp}/out --preset rust", "preset: expected one of"),
    "no such structure": ("corrupt {clean} {tmp}/out --alpha liver=1", "liver: expected one of"),
    "noise into the source": ("corrupt {clean} {clean}/noisy", "outside the data set"),
    "no such setting": ("settings --set crossfit.fold=3", "crossfit.fold: expected a known"),
    "an impossible value": ("settings --set correct.eps=2", "correct.eps: expected a known"),
    "no equals sign": ("settings --set seed", "name=value"),
    "no such file": ("settings --settings {tmp}/none.yaml", "a YAML file of settings"),
    "no YAML": ("settings --set flag.method=[", "flag.method"),
    "a value where a group is": ("settings --set crossfit=3", "crossfit"),
    "a group where a value is": ("settings --set seed=1 --set seed.x=2", "seed"),
}  # fmt: skip


@pytest.mark.parametrize("name", WRONG)
def test_an_error_is_one_message_and_exit_code_2(name: str, root: Path, tmp_path: Path) -> None:
    command, expected = WRONG[name]
    arguments = command.format(clean=root / "clean", tmp=tmp_path).split()
    ended = maskmend(*arguments)
    assert ended.code == 2
    assert ended.err.count("error: ") == 1
    message = ended.err[ended.err.index("error: ") :]
    assert expected in message
    assert "; got " in message
    assert "Traceback" not in ended.out + ended.err


def test_a_run_that_was_only_started_says_what_is_missing(root: Path, audited: Ended) -> None:
    assert audited.code == 0
    ended = maskmend("train", root / "run", "--labels", "sour")
    assert (ended.code, "given, hard, soft, believed" in ended.err) == (2, True)
    ended = maskmend("predict", root / "run", root / "clean" / "validation", root / "p2",
                     "--student", "nobody")  # fmt: skip
    assert (ended.code, "students/nobody" in ended.err) == (2, True)


def test_an_error_is_one_message_in_a_process_of_its_own_too(tmp_path: Path) -> None:
    program = [sys.executable, "-c", "from maskmend.cli import main; main()"]
    done = subprocess.run(
        [*program, "flag", str(tmp_path)], capture_output=True, text=True, check=False
    )
    assert done.returncode == 2
    assert done.stdout == ""
    assert done.stderr == (
        f"error: {tmp_path}: expected a run folder with run.json; got none. "
        "`maskmend audit DATASET --run RUN` makes one.\n"
    )


# -- Ctrl-C

CTRL_C_IN_THE_SECOND_EPOCH = """
import os, signal
from maskmend.cli import main
from maskmend.progress import Bar

def epoch(self, progress):
    if progress.epoch == 2:
        os.kill(os.getpid(), signal.SIGINT)

Bar.epoch = epoch
# a shell without job control starts what it puts into the background with the signal ignored
signal.signal(signal.SIGINT, signal.default_int_handler)
main()
"""


def test_ctrl_c_ends_in_130_and_the_same_command_goes_on(root: Path, tmp_path: Path) -> None:
    command = ["crossfit", str(root / "noisy"), "--run", str(tmp_path / "run"), *settings_options()]
    stopped = subprocess.run(
        [sys.executable, "-c", CTRL_C_IN_THE_SECOND_EPOCH, *command],
        env=os.environ | {"OMP_NUM_THREADS": "1"}, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert stopped.returncode == 130, stopped.stderr
    assert stopped.stderr.endswith("\nstopped; the same command goes on from here\n")
    assert "Traceback" not in stopped.stderr
    fold = tmp_path / "run" / "teachers" / "fold0"
    assert (fold / "last.ckpt").exists()
    assert not (fold / "last.safetensors").exists()
    ended = maskmend(*command)
    assert ended.code == 0, ended.err
    # without a terminal the first and the last epoch are said: the first was done before
    assert "fold0 1/3" not in ended.err
    assert "fold0 3/3" in ended.err
    assert "fold1 1/3" in ended.err
    assert len(list((tmp_path / "run" / "probabilities").glob("*.npy"))) == 8


def test_a_cluster_that_is_not_there_is_named(root: Path, audited: Ended) -> None:
    assert audited.code == 0
    ended = maskmend("flag", root / "run", "--cluster", "tcp://nowhere.invalid:8786")
    assert ended.code == 2
    assert "tcp://nowhere.invalid:8786: expected a Dask scheduler" in ended.err
