"""The command line: parse, call a stage, show progress."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from maskmend.errors import MaskmendError, SettingsError

if TYPE_CHECKING:
    from maskmend.core import Dataset, LeftOut
    from maskmend.execute import Workers
    from maskmend.settings import Settings
    from maskmend.store import Run, Source

app = typer.Typer(
    help="Find, rank, mend and learn around label errors in segmentation masks.\n\n"
    "Try it on made-up radiographs: maskmend demo. On your own data: maskmend audit DATASET "
    "--run RUN.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)

LEFT_OUT = 1
"""Exit code of `doctor` where some cases are usable and some are not; 2 where none is."""

FAILED = 1
"""Exit code of `benchmark` where a cell has failed."""

INTERRUPTED = 130
"""Exit code after Ctrl-C: 128 and the number of the signal, as shells have it."""

DatasetRoot = Annotated[
    Path,
    typer.Argument(
        help="Folder of a data set, or its dataset.json, datalist or table; see the README."
    ),
]
RunRoot = Annotated[Path, typer.Argument(help="Run folder, as made by audit or crossfit.")]
NewRun = Annotated[Path, typer.Option("--run", help="Run folder to make, or to go on in.")]
SettingsFile = Annotated[
    Path | None, typer.Option("--settings", help="YAML file; `maskmend settings` prints one.")
]
Overrides = Annotated[
    list[str] | None,
    typer.Option("--set", help="Any setting by name, e.g. --set crossfit.folds=3; repeatable."),
]
Seed = Annotated[int | None, typer.Option(help="Of everything that is random.")]
Device = Annotated[str | None, typer.Option(help="auto, cpu, cuda, cuda:1 or mps.")]
Splits = Annotated[
    list[str] | None,
    typer.Option("--split", help="Split to take; repeatable. By default training, if there is."),
]
Cluster = Annotated[
    str | None,
    typer.Option(
        help="Scheduler of a Dask cluster, as tcp://host:8786, whose workers share the disk and "
        "do the work; by default the cores of this machine do."
    ),
]
IgnoreValue = Annotated[
    int | None, typer.Option(help="Value in the masks of pixels that take no part.")
]
GroupPattern = Annotated[
    str | None,
    typer.Option(
        help="Regular expression whose first group, in a case's name, is the patient; a patient "
        "is never split between folds."
    ),
]


@app.command()
def demo(
    run: Annotated[Path, typer.Option("--run", help="Folder for all that it makes.")] = Path(
        "maskmend-demo"
    ),
    seed: Annotated[int, typer.Option(help="Another seed, other phantoms.")] = 0,
) -> None:
    """The whole way on generated radiographs: corrupt, audit, train, evaluate. Under 3 minutes."""
    from maskmend import stages
    from maskmend.progress import Bar
    from maskmend.report.tables import plain
    from maskmend.summaries import demo_tables, noise_rates

    with Bar() as bar:
        result = stages.demo(run, seed, bar)
    typer.echo("\n" + noise_rates(result.run))
    for title, table in demo_tables(result.evaluation, result.students):
        typer.echo(f"{title}\n\n{plain(table)}")
    typer.echo(f"Report: {run / 'report.html'}")
    typer.echo(f"Pictures: {run / 'pictures'}\nRun folder, explained in the README: {run}")


@app.command()
def doctor(
    dataset: DatasetRoot,
    ignore_value: IgnoreValue = None,
    group_pattern: GroupPattern = None,
    split: Splits = None,
    splits_file: Annotated[
        Path | None,
        typer.Option(help="splits_final.json of nnU-Net, where it does not lie in the data set."),
    ] = None,
    json: Annotated[Path | None, typer.Option(help="File for all of it, as JSON.")] = None,
    csv: Annotated[Path | None, typer.Option(help="File for the table, a row a case.")] = None,
    all_cases: Annotated[bool, typer.Option(help="Show every case of a large data set.")] = False,
) -> None:
    """Say what a data set is understood to be, case by case, before anything is computed.

    Ends with 0 where every case is usable, with 1 where some are left out, with 2 where none is.
    """
    from maskmend import files, stages
    from maskmend.progress import Bar
    from maskmend.summaries import diagnosis_text, next_step

    with Bar() as bar:
        found = stages.doctor(
            dataset, ignore_value=ignore_value, group_pattern=group_pattern, splits=splits_file,
            listener=bar,
        )  # fmt: skip
    typer.echo("\n" + diagnosis_text(found, all_cases))
    typer.echo(next_step(found, str(dataset), _splits(found.dataset, split)))
    if json is not None:
        files.write_json(json, found.to_json())
    if csv is not None:
        files.write_csv(csv, *found.table())
    _tell_left_out(found.left_out)
    if found.left_out:
        raise typer.Exit(LEFT_OUT)


@app.command()
def audit(
    dataset: DatasetRoot,
    run: NewRun,
    settings: SettingsFile = None,
    overrides: Overrides = None,
    seed: Seed = None,
    device: Device = None,
    split: Splits = None,
    ignore_value: IgnoreValue = None,
    group_pattern: GroupPattern = None,
    probabilities: Annotated[
        Path | None,
        typer.Option(
            help="Probabilities that your model has given already; then nothing is trained. The "
            "folder of an nnU-Net trainer with fold_0, fold_1, ... (v2 or v1, run with --npz), one "
            "of its folds, or a folder with CASE.npz, .npy, .zarr or .nii.gz, (classes, slices, "
            "rows, columns)."
        ),
    ] = None,
    out_of_sample: Annotated[
        str,
        typer.Option(
            help="yes: you state that each case was predicted by a model that was trained without "
            "it and without its patient. A model repeats the errors that it was trained on, so "
            "other predictions find none. Not needed where the splits say so."
        ),
    ] = "no",
    splits_file: Annotated[
        Path | None,
        typer.Option(
            "--splits",
            help="splits_final.json of the folds that predicted, if not that of the data set; each "
            "case is checked against it.",
        ),
    ] = None,
    student: Annotated[
        bool | None,
        typer.Option(
            "--student/--no-student",
            help="Train a student on the mended labels; by default not with --probabilities.",
        ),
    ] = None,
    cluster: Cluster = None,
) -> None:
    """The whole way on your data: cross-fit, flag, correct, and a student on the mended labels.

    Stop it whenever you like: the same command goes on where it stopped.

    With --probabilities the predictions that you have take the place of the cross-fit: the errors
    are found and mended without any training. They must come from cross-validation.
    """
    from maskmend import stages
    from maskmend.progress import Bar
    from maskmend.summaries import noise_rates, too_good, too_poor, worst_masks

    source, found = _source(dataset, run, split, ignore_value, group_pattern)
    chosen = _settings(settings, overrides, seed, device)
    with Bar() as bar, _workers(cluster) as workers:
        done = stages.audit(
            source, run, chosen, student=student, probabilities=probabilities,
            out_of_sample=_yes(out_of_sample), splits=splits_file, dataset=found, listener=bar,
            workers=workers,
        )  # fmt: skip
    typer.echo("\n" + noise_rates(done) + "\n" + worst_masks(done))
    typer.echo(f"Mended data set: {done.labels_root}\nPictures: {run / 'pictures'}")
    typer.echo(f"Report: {run / 'report.html'}")
    for sentence in (*too_good(done), *too_poor(done)):
        typer.echo(f"\nwarning: {sentence}", err=True)
    _tell_left_out(done.left_out)


@app.command()
def corrupt(
    dataset: DatasetRoot,
    out: Annotated[Path, typer.Argument(help="Folder for the noisy copy.")],
    preset: Annotated[
        str, typer.Option(help="One of those above, or a single kind of error such as shift.")
    ] = "reference",
    alpha: Annotated[
        list[str] | None,
        typer.Option(
            help="Share of masks hit: 0.7 for all, or lung=0.7; repeatable. By default the "
            "preset's."
        ),
    ] = None,
    beta: Annotated[
        list[str] | None,
        typer.Option(
            help="Radii in pixels (markov_j1, markov_j2: steps): 5..8 for all, or lung=20..30; "
            "repeatable. By default the preset's, or from the size of the structure."
        ),
    ] = None,
    seed: Annotated[int, typer.Option(help="Of what is drawn.")] = 0,
    split: Splits = None,
    replay: Annotated[
        Path | None, typer.Option(help="Apply the errors of a corruptions.csv instead.")
    ] = None,
    ignore_value: IgnoreValue = None,
) -> None:
    """A noisy copy of a data set, with the record of every error in corruptions.csv.

    \b
    Presets (--preset):
    reference   dilated, eroded or distorted at the edge (MICCAI 2020, the code)
    paper       the same with small discs at the edge (MICCAI 2020, the paper)
    pymic       95 % of the masks, by 6..12 pixels (PyMIC's recipe for JSRT)
    markov_j1   all boundaries wander, mostly outwards (ICLR 2023, setting J1)
    markov_j2   all boundaries wander, mostly inwards (J2)
    markov_j3   all masks dilated or eroded (J3)
    systematic  one annotator of three draws everything 5 pixels too wide
    mixed       nine kinds of error alike
    volume      five kinds alike, as they are made in 3D
    """
    from maskmend import stages
    from maskmend.datasets.noise import plan_noise
    from maskmend.progress import Bar

    found = _open(dataset, ignore_value)
    splits = _splits(found, split)
    with Bar() as bar:
        if replay is not None:
            stages.replay(found, out, stages.read_corruptions(replay), bar)
        else:
            shares = _per_structure(alpha, _share) if alpha else None
            radii = _per_structure(beta or [], _radii)
            noise = plan_noise(found, preset, shares, radii, splits)
            stages.corrupt(found, out, noise, seed, splits, bar)
    typer.echo(f"Noisy copy: {out}\nRecord: {out / 'corruptions.csv'}")
    _tell_left_out(found.left_out)


@app.command()
def crossfit(
    dataset: DatasetRoot,
    run: NewRun,
    settings: SettingsFile = None,
    overrides: Overrides = None,
    seed: Seed = None,
    device: Device = None,
    split: Splits = None,
    ignore_value: IgnoreValue = None,
    group_pattern: GroupPattern = None,
    cluster: Cluster = None,
) -> None:
    """Train the teachers; each predicts the cases that it has not seen."""
    from maskmend import stages
    from maskmend.progress import Bar
    from maskmend.store import Run

    source, found = _source(dataset, run, split, ignore_value, group_pattern)
    opened = Run.create(run, source, _settings(settings, overrides, seed, device), found)
    with Bar() as bar, _workers(cluster) as workers:
        stages.crossfit(opened, bar, workers)
    typer.echo(f"Out-of-sample probabilities: {run / 'probabilities'}")
    _tell_left_out(opened.dataset.left_out)


@app.command()
def flag(
    run: RunRoot,
    method: Annotated[
        str | None,
        typer.Option(
            help="doubted_masks (default), both (the paper's), argmax, confident_joint, "
            "prune_by_class, prune_by_noise_rate, intersection, union, low_self_confidence, "
            "low_normalized_margin."
        ),
    ] = None,
    cluster: Cluster = None,
) -> None:
    """Say which pixels and masks are wrong, and estimate the noise rates."""
    from maskmend import stages
    from maskmend.progress import Bar
    from maskmend.summaries import noise_rates, worst_masks

    opened = _reopen(run, {"flag.method": method})
    with Bar() as bar, _workers(cluster) as workers:
        stages.flag(opened, bar, workers)
    typer.echo("\n" + noise_rates(opened) + "\n" + worst_masks(opened))


@app.command()
def correct(
    run: RunRoot,
    eps: Annotated[
        float | None, typer.Option(help="Share of the suggested class in the soft labels.")
    ] = None,
) -> None:
    """Write the mended data set: hard labels in the input's layout, soft ones beside it."""
    from maskmend import stages
    from maskmend.progress import Bar

    opened = _reopen(run, {"correct.eps": eps})
    with Bar() as bar:
        stages.correct(opened, bar)
    typer.echo(f"Mended data set: {opened.labels_root}")


@app.command()
def rank(
    run: RunRoot,
    tolerance: Annotated[
        str | None,
        typer.Option(
            help="How far a boundary may lie beside another without being wrong: 2px or 1.5mm."
        ),
    ] = None,
    least_pixels: Annotated[
        int | None, typer.Option(help="Findings with fewer pixels are left out.")
    ] = None,
    all_scores: Annotated[
        bool,
        typer.Option(
            "--all-scores", help="Also those scores of large volumes that look at every voxel."
        ),
    ] = False,
    cluster: Cluster = None,
) -> None:
    """Say what is wrong, where, and of which kind, best to look at first."""
    from maskmend import stages
    from maskmend.progress import Bar
    from maskmend.summaries import findings_by_type

    changes = {
        "rank.tolerance": tolerance, "rank.least_pixels": least_pixels,
        "rank.all_scores": "always" if all_scores else None,
    }  # fmt: skip
    opened = _reopen(run, changes)
    with Bar() as bar, _workers(cluster) as workers:
        found = stages.rank(opened, bar, workers)
    typer.echo("\n" + findings_by_type(found))
    typer.echo(
        f"Where to look, best first: {run / 'findings.csv'}\n"
        f"Whole cases and masks, likewise: {run / 'cases.csv'}, {run / 'rankings.csv'}"
    )


@app.command()
def train(
    run: RunRoot,
    labels: Annotated[
        str, typer.Option(help="given, hard (mended), soft, or believed (no predicted masks).")
    ] = "believed",
    name: Annotated[str | None, typer.Option(help="Of the folder students/NAME.")] = None,
    overrides: Overrides = None,
) -> None:
    """Train a student (or, on given labels, a plain model). --set epochs=40 for its settings."""
    from maskmend import stages
    from maskmend.progress import Bar

    opened = _reopen(run, {})
    changed = _override_all(opened.settings, [f"student.{each}" for each in overrides or []])
    with Bar() as bar:
        folder = stages.train(opened, labels, changed.student, name, bar)
    typer.echo(f"Student: {folder}")


@app.command()
def predict(
    run: RunRoot,
    images: Annotated[Path, typer.Argument(help="Folder of images, or one with images/ in it.")],
    out: Annotated[Path, typer.Argument(help="Folder for the images and predicted masks.")],
    student: Annotated[str, typer.Option(help="NAME of students/NAME.")] = "believed",
    weights: Annotated[str | None, typer.Option(help="best or last.")] = None,
) -> None:
    """Segment a folder of images with a student."""
    from maskmend import stages
    from maskmend.progress import Bar

    with Bar() as bar:
        left_out = stages.predict(_reopen(run, {}), student, images, out, weights, bar)
    typer.echo(f"Predicted masks: {out / 'masks'}")
    _tell_left_out(left_out)


@app.command()
def evaluate(
    subject: Annotated[Path, typer.Argument(help="Run folder, or a data set of predicted masks.")],
    truth: Annotated[Path, typer.Option(help="Data set with clean labels.")],
    out: Annotated[
        Path | None, typer.Option(help="Folder for evaluation.csv; of a run by default its own.")
    ] = None,
    ignore_value: IgnoreValue = None,
) -> None:
    """Dice, IoU, HD95 and ASSD against clean labels; for a run, also of its noise maps."""
    from maskmend import stages
    from maskmend.progress import Bar
    from maskmend.report.tables import plain
    from maskmend.store import Run

    is_run = (subject / "run.json").exists()
    opened = Run.open(subject) if is_run else _open(subject, ignore_value)
    with Bar() as bar:
        evaluation = stages.evaluate(opened, _open(truth, ignore_value), out, bar)
    typer.echo("\n" + plain(evaluation.mask_table()))
    if evaluation.noise_maps:
        typer.echo(plain(evaluation.noise_table()))
    folder = out or (subject if is_run else None)
    where = folder / "evaluation.csv" if folder else "not written; name a folder with --out"
    typer.echo(f"Every score: {where}")
    _tell_left_out(evaluation.left_out)


@app.command()
def export(
    run: RunRoot,
    out: Annotated[Path, typer.Argument(help="New folder, or that of the same export before.")],
    kind: Annotated[
        str,
        typer.Option(
            "--as",
            help="mended: flagged pixels take the suggested class; ignore: the ignore value; "
            "soft: mended, with soft targets and a datalist for MONAI.",
        ),
    ] = "mended",
    images: Annotated[str, typer.Option(help="copy, link or none.")] = "copy",
    segments: Annotated[
        bool, typer.Option("--segments", help="Flagged regions for 3D Slicer, as .seg.nrrd.")
    ] = False,
    ignore_value: Annotated[
        int | None,
        typer.Option(help="For --as ignore, where the data set has none and is not nnU-Net's."),
    ] = None,
    cases: Annotated[
        list[str] | None,
        typer.Option(help="Case whose changes are taken; repeatable. By default all."),
    ] = None,
    structures: Annotated[
        list[str] | None,
        typer.Option(help="Structure whose changes are taken; repeatable. By default all."),
    ] = None,
    decisions: Annotated[
        bool,
        typer.Option(
            "--decisions",
            help="Take what was decided in `maskmend review`, instead of all that is flagged; "
            "the rest stays as given. decisions.csv and outcomes.csv say who decided what.",
        ),
    ] = False,
) -> None:
    """The mended data set in its own formats and layout, with a log of every change."""
    from maskmend import stages
    from maskmend.exporting.options import ExportOptions
    from maskmend.progress import Bar

    options = ExportOptions(
        kind, images, segments, ignore_value,  # type: ignore[arg-type]
        tuple(cases or ()), tuple(structures or ()), decisions,
    )  # fmt: skip
    opened = _reopen(run, {})
    with Bar() as bar:
        done = stages.export(opened, out, options, bar)
    typer.echo(
        f"\n{done.pixels} pixels changed, in {done.files.changed} mask files; "
        f"{done.files.unchanged} are the bytes of the source.\n"
        f"Data set: {out}\nEvery change, and why: {out / 'changes.csv'}\n"
        f"Where to look, {done.findings} findings: {out / 'findings.csv'}"
    )
    for sentence in done.files.kept:
        typer.echo(f"warning: {sentence}", err=True)
    if done.outcomes is not None:
        typer.echo(_outcomes(done.outcomes, out))
    _tell_left_out(opened.left_out)


@app.command()
def report(
    run: RunRoot,
    out: Annotated[
        Path | None,
        typer.Option(help="HTML file; by default report.html in the run. Tables go beside it."),
    ] = None,
) -> None:
    """One HTML file on how good the labels are: for reading, printing and handing on."""
    from maskmend import stages
    from maskmend.progress import Bar

    with Bar() as bar:
        written = stages.write_report(_reopen(run, {}), out, bar)
    typer.echo(f"Report: {written}\nThe numbers of its figures: {written.with_suffix('')}")


@app.command()
def review(
    run: RunRoot,
    port: Annotated[int, typer.Option(help="Of 127.0.0.1; by default one that is free.")] = 0,
    browser: Annotated[
        bool, typer.Option("--browser/--no-browser", help="Open the page in the browser.")
    ] = True,
    reviewer: Annotated[
        str | None, typer.Option(help="Name that your decisions are stored under.")
    ] = None,
) -> None:
    """Look at the findings in the browser and decide: accept, reject, edit, unsure.

    A server on this machine only, until Ctrl-C; the page opens by the address that is printed,
    with its token. Every decision is stored at once, in RUN/review.sqlite. The findings come from
    `maskmend rank RUN`; `maskmend export RUN OUT --decisions` applies what was decided.
    """
    from maskmend import stages
    from maskmend.core import Listener

    class Printer(Listener):
        def say(self, text: str) -> None:
            # at once, also into a pipe: whoever reads it waits for the address
            print(text, flush=True)

    stages.serve_review(
        _reopen(run, {}), port, browser=browser, reviewer=reviewer, listener=Printer()
    )
    typer.echo("\nstopped; every decision is stored")


@app.command()
def benchmark(
    config: Annotated[Path, typer.Argument(help="YAML file; docs/benchmark.md explains it.")],
    out: Annotated[
        Path | None,
        typer.Option(help="Folder for all that it makes; by default CONFIG without its ending."),
    ] = None,
    jobs: Annotated[
        int, typer.Option(help="Cells at a time, each in a process with the threads it is set to.")
    ] = 1,
    retry: Annotated[bool, typer.Option("--retry", help="Also cells that failed before.")] = False,
    show: Annotated[
        bool, typer.Option("--list", help="Only show the cells and what is done.")
    ] = False,
    only_report: Annotated[
        bool,
        typer.Option("--only-report", help="Only write tables and plots of what is done in OUT."),
    ] = False,
    plots: Annotated[bool, typer.Option(help="Draw the plots, with matplotlib.")] = True,
) -> None:
    """Compare methods on a data set with clean labels, whose training masks are corrupted.

    Stop it whenever you like: the same command goes on where it stopped. Only cells that are new,
    or whose settings have changed, are worked out. Ends with 1 where a cell has failed.
    """
    from maskmend import benchmarking
    from maskmend.progress import Bar
    from maskmend.report.tables import plain

    root = config.with_suffix("") if out is None else out
    if show:
        planned = benchmarking.plan_benchmark(config, root)
        typer.echo(plain(benchmarking.states(planned.outcomes), 1))
        return
    if only_report:
        done = benchmarking.report_benchmark(root, plots)
    else:
        with Bar() as bar:
            done = benchmarking.benchmark(
                config, root, jobs=jobs, retry=retry, plots=plots, listener=bar
            )
    typer.echo(f"\nTables: {root / 'table.md'}\nEvery figure: {root / 'results.csv'}")
    for outcome in done.failed:
        typer.echo(f"failed: {outcome.cell.name}: {outcome.error}", err=True)
    if done.failed:
        typer.echo("The same command with --retry tries these again.", err=True)
        raise typer.Exit(FAILED)


@app.command("settings")
def show_settings(settings: SettingsFile = None, overrides: Overrides = None) -> None:
    """Print every setting with its meaning, as a YAML file to start from."""
    from maskmend.settings import settings_yaml

    typer.echo(settings_yaml(_settings(settings, overrides, None, None)), nl=False)


def main() -> None:
    """Entry point: errors of the user's input end in one message, not in a stack trace."""
    try:
        app()
    except MaskmendError as error:
        typer.echo(f"error: {error}", err=True)
        sys.exit(2)
    except SystemExit as ended:
        # typer's own way to end on Ctrl-C
        if ended.code == INTERRUPTED:
            typer.echo("\nstopped; the same command goes on from here", err=True)
        raise


def _yes(answer: str) -> bool:
    if answer not in ("yes", "no"):
        raise SettingsError(
            "--out-of-sample", expected="yes or no", got=answer,
            remedy="Say yes only if each case was predicted by a model trained without it.",
        )  # fmt: skip
    return answer == "yes"


def _workers(cluster: str | None) -> AbstractContextManager[Workers | None]:
    if cluster is None:
        return nullcontext()
    from maskmend.execute import connect

    return connect(cluster)


def _settings(
    path: Path | None, overrides: list[str] | None, seed: int | None, device: str | None
) -> Settings:
    from maskmend.settings import load_settings

    extra = {"seed": seed, "device": device}
    named = [f"{name}={value}" for name, value in extra.items() if value is not None]
    return load_settings(path, (*(overrides or []), *named))


def _override_all(settings: Settings, overrides: list[str]) -> Settings:
    from maskmend.settings import override_settings

    return override_settings(settings, tuple(overrides))


def _reopen(root: Path, changes: dict[str, Any]) -> Run:
    """An existing run, with the settings that an option changed stored in it."""
    from maskmend.store import Run

    run = Run.open(root)
    overrides = [f"{name}={value}" for name, value in changes.items() if value is not None]
    return run.with_settings(_override_all(run.settings, overrides)) if overrides else run


def _open(
    root: Path, ignore_value: int | None, group_pattern: str | None = None, run: Path | None = None
) -> Dataset:
    """run: a folder in which there may be a run on this data set, which knows its files already."""
    from maskmend.datasets import open_dataset
    from maskmend.store import inspected_in

    dataset = open_dataset(
        root, ignore_value=ignore_value, group_pattern=group_pattern,
        inspected={} if run is None else inspected_in(run),
    )  # fmt: skip
    for sentence in dataset.understood:
        typer.echo(sentence, err=True)
    return dataset


def _source(
    root: Path, run: Path, split: list[str] | None, ignore_value: int | None,
    group_pattern: str | None,
) -> tuple[Source, Dataset]:  # fmt: skip
    """How a data set is opened, and what came of it: it takes a while, so it is done once."""
    from maskmend.store import Source

    dataset = _open(root, ignore_value, group_pattern, run)
    source = Source(str(root.resolve()), _splits(dataset, split), ignore_value, group_pattern)
    return source, dataset


def _splits(dataset: Dataset, split: list[str] | None) -> tuple[str, ...]:
    there = tuple(dict.fromkeys(case.split for case in dataset.cases))
    if split:
        return tuple(split)
    return ("training",) if "training" in there else there


def _outcomes(outcomes: Mapping[str, int], out: Path) -> str:
    """How many findings were decided, and how; what stays as given last."""
    said = ", ".join(f"{count} {state}" for state, count in sorted(outcomes.items()))
    return (
        f"Findings by decision: {said or 'none'}. Accepted and edited ones are applied; all others "
        f"stay as given.\nWhat became of each: {out / 'outcomes.csv'}\n"
        f"Who decided what: {out / 'decisions.csv'}"
    )


def _tell_left_out(left_out: tuple[LeftOut, ...] | list[LeftOut]) -> None:
    from maskmend.summaries import left_out_lines

    if left_out:
        typer.echo(f"\nLeft out, {len(left_out)}:", err=True)
    for line in left_out_lines(left_out):
        typer.echo(f"  {line}", err=True)


def _per_structure(options: list[str], parse: Any) -> dict[str, Any]:
    """["0.7", "lung=0.5"] -> {"": 0.7, "lung": 0.5}."""
    pairs = (option.rpartition("=") for option in options)
    return {name: parse(value) for name, _, value in pairs}


def _share(text: str) -> float:
    try:
        return float(text)
    except ValueError as error:
        raise SettingsError(
            "--alpha", expected="a share such as 0.7 or lung=0.7", got=text, remedy="Correct it."
        ) from error


def _radii(text: str) -> tuple[int, int]:
    low, _, high = text.partition("..")
    try:
        return int(low), int(high)
    except ValueError as error:
        raise SettingsError(
            "--beta", expected="two radii such as lung=20..30", got=text, remedy="Correct it."
        ) from error


if __name__ == "__main__":
    main()
