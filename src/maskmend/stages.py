"""The whole program, one short function a verb: read, compute, write.

doctor -> corrupt -> crossfit -> flag -> correct -> rank -> train -> predict -> evaluate -> report
-> export.  audit and demo run the steps that they need.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from contextlib import closing, nullcontext
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from maskmend import adopting, files, trainings
from maskmend.adopting import Arrays, Existing
from maskmend.arrays.agreement import predicted_labels
from maskmend.arrays.corruption import Corruption, Noise, corrupt_labels
from maskmend.believing import believe
from maskmend.core import (
    QUIET,
    Case,
    Dataset,
    Finding,
    LabelArray,
    LeftOut,
    Listener,
)
from maskmend.datasets import copy_images, open_dataset, read_grid, read_labels, write_labels
from maskmend.datasets.doctor import Diagnosis, diagnose
from maskmend.datasets.layouts import find_layout
from maskmend.datasets.noise import check_record, plan_noise, sample_noise
from maskmend.datasets.phantom import write_phantoms
from maskmend.datasets.predictions import (
    check_out,
    image_cases,
    read_new_image,
    write_prediction,
)
from maskmend.execute import Workers, map_cases
from maskmend.exporting.cases import Exported, export_case, finish
from maskmend.exporting.labels import write_frame
from maskmend.exporting.options import MENDED, ExportOptions, prepare
from maskmend.exporting.reviewed import reading_review
from maskmend.exporting.tables import Reasons
from maskmend.findings import forget_findings, write_findings
from maskmend.judging import judge_planes, mended, write_noise_maps
from maskmend.proposals import complete
from maskmend.rankings import forget_rankings, write_rankings
from maskmend.report.html import render
from maskmend.reporting import check_out as check_report
from maskmend.reporting import gather
from maskmend.review.decisions import FILE, Decisions
from maskmend.review.serving import serve
from maskmend.review.session import Review, ranked_findings
from maskmend.scores import Evaluation, score_predictions, score_run
from maskmend.settings import Settings, TrainingSettings, demo_settings
from maskmend.showing import draw_cases
from maskmend.store import DEMO, Run, Source, inspected_in
from maskmend.summaries import too_good, too_poor
from maskmend.trainings import BELIEVED, GIVEN

DEMO_CASES = {"training": 48, "validation": 16}


@dataclass(frozen=True)
class DemoResult:
    """students: "given", "mended", "clean" -> scores on the validation phantoms."""

    run: Run
    evaluation: Evaluation
    students: Mapping[str, Evaluation]


def doctor(
    root: Path, *, ignore_value: int | None = None, group_pattern: str | None = None,
    splits: Path | None = None, listener: Listener = QUIET,
) -> Diagnosis:  # fmt: skip
    """What a data set is understood to be, case by case; nothing is computed or written.

    Settings and errors as in `open_dataset`.
    """
    return diagnose(find_layout(root, splits), ignore_value, group_pattern, listener)


def corrupt(
    dataset: Dataset, out: Path, noise: Mapping[str, Noise], seed: int,
    splits: tuple[str, ...] = ("training",), listener: Listener = QUIET,
) -> tuple[Corruption, ...]:  # fmt: skip
    """A copy of a data set with sampled errors in the masks of some splits.

    noise: structure -> what is drawn.  The record goes to OUT/corruptions.csv; images and the
    other splits are copied unchanged.  Returns the record.
    """
    corruptions = sample_noise(dataset, noise, seed, splits)
    replay(dataset, out, corruptions, listener)
    return corruptions


def replay(
    dataset: Dataset, out: Path, corruptions: Iterable[Corruption], listener: Listener = QUIET
) -> None:
    """Apply recorded errors: the same record gives the same bytes."""
    record = list(corruptions)
    check_record(dataset, record)
    copy_images(dataset, out)
    for done, case in enumerate(dataset.cases, start=1):
        mine = [corruption for corruption in record if corruption.case == case.id]
        labels = read_labels(dataset, case)
        write_labels(dataset, case, corrupt_labels(labels, dataset.scheme, mine), out)
        listener.case("corrupt", done, len(dataset.cases))
    rows = [corruption.to_row() for corruption in record]
    header = list(Corruption("", "", "").to_row())
    files.write_csv(out / "corruptions.csv", header, [[row[h] for h in header] for row in rows])


def read_corruptions(path: Path) -> tuple[Corruption, ...]:
    """The record in a corruptions.csv."""
    return tuple(Corruption.from_row(row) for row in files.read_csv(path))


def crossfit(run: Run, listener: Listener = QUIET, workers: Workers | None = None) -> None:
    """Train a teacher for each fold on the other folds; store what it says of its own fold.

    workers: of a cluster, each of which trains one teacher at a time; else all are trained here,
    one after the other.
    """
    run.refuse_crossfit()
    for sentence in run.proposed:
        listener.say(sentence)
    plan = trainings.plan(run, listener)
    run.write_folds(plan)
    by_id = {case.id: case for case in run.cases}
    pending = [
        fold
        for fold in range(plan.count)
        if not all(run.has_probabilities(by_id[case], fold, plan) for case in plan.held_out(fold))
    ]
    if workers is None or not workers.remote:
        for fold in pending:
            listener.say(
                f"teacher {fold + 1} of {plan.count}, on {len(plan.trained_on(fold))} cases"
            )
            trainings.train_fold(run, plan, fold, listener)
        return
    listener.say(f"{len(pending)} teachers, on {workers.count} workers")
    needs = trainings.resources(run)
    for done in workers.each(partial(trainings.train_fold, run, plan), pending, needs):
        listener.say(f"teacher {done + 1} of {plan.count} is trained")


def adopt(
    source: Source, root: Path, settings: Settings, existing: Existing,
    dataset: Dataset | None = None, listener: Listener = QUIET,
) -> Run:  # fmt: skip
    """A run on out-of-sample probabilities that exist, instead of a cross-fit.

    Raises InSampleError where a case was seen by the model that predicted it, or where nobody says
    that it was not.
    """
    dataset = dataset or source.open(inspected_in(root))
    if isinstance(existing.probabilities, str | Path):
        folder = Path(existing.probabilities).resolve()
        # before there is a run folder: a mistyped path leaves nothing behind
        unsaved = Run(root, source, dataset, settings)
        prepared = adopting.find(unsaved, folder, existing.splits, existing.out_of_sample)
        run = Run.create(root, source, settings, dataset, str(folder))
        adopting.adopt(run, prepared, listener)
        return run
    adopting.check_statement(existing.out_of_sample)
    run = Run.create(root, source, settings, dataset, adopting.MEMORY)
    adopting.adopt_arrays(run, existing.probabilities, listener)
    return run


def flag(run: Run, listener: Listener = QUIET, workers: Workers | None = None) -> None:
    """Count the errors of all cases together, and write which pixels of each are wrong.

    counts.json: noise rates and transition matrices.  masks.csv: agreement of each mask with its
    out-of-sample prediction, worst first.  noise_maps/.  workers: by default the cores here.
    """
    workers = workers or Workers(count=run.settings.threads)
    scheme, settings = run.dataset.scheme, run.settings.flag
    forget_findings(run)
    forget_rankings(run)
    judgement = judge_planes(run, settings.method, workers)
    run.write_json("counts.json", judgement.to_json())
    belief = believe(run, workers)
    rows = []
    written = write_noise_maps(run, judgement, belief, settings.method, workers)
    for index, (case, masks) in enumerate(zip(run.cases, written, strict=True)):
        agreement, doubted = 1 - belief.distance[index], ~belief.believed[index]
        facts = agreement, doubted, masks.flagged_share, masks.moved, masks.trust
        rows += [[case.id, *row] for row in zip(scheme.structures, *facts, strict=True)]
        listener.case("flag", index + 1, len(run.cases))
    run.write_masks_table(rows)
    for warning in (*too_good(run), *too_poor(run)):
        listener.say(warning)


def correct(run: Run, listener: Listener = QUIET) -> None:
    """Write the mended data set: hard labels in the input's layout, soft ones beside it.

    The soft ones of volumes are only written if `correct.soft_files` says so: `Run.read_soft`
    computes them.
    """
    copy_images(run.dataset, run.labels_root, "link")
    judged = {(case.split, case.id) for case in run.cases}
    soft_files = run.settings.correct.soft_files
    for done, case in enumerate(run.dataset.cases, start=1):
        labels = run.read_given(case)
        if (case.split, case.id) in judged:
            labels = mended(labels, run.read_noise_map(case), run.read_probabilities(case))
            if soft_files == "always" or (soft_files == "auto" and labels.ndim == 3):
                run.write_soft(case, run.compute_soft(case))
            else:
                run.forget_soft(case)
        for kept in run.write_mended(case, labels):
            listener.say(f"{kept.case}: {kept.reason}")
        listener.case("correct", done, len(run.dataset.cases))


def rank(
    run: Run, listener: Listener = QUIET, workers: Workers | None = None
) -> tuple[Finding, ...]:
    """Say what is wrong, where, and of which kind, best to look at first; see docs/findings.md.

    findings.csv: one row a finding.  findings/: the pixels of each.  rankings.csv and cases.csv:
    masks and cases, with all scores.  How: `run.settings.rank`.
    """
    findings = write_findings(run, listener, workers)
    write_rankings(run, listener, workers)
    return findings


def train(
    run: Run, labels: str = BELIEVED, settings: TrainingSettings | None = None,
    name: str | None = None, listener: Listener = QUIET,
) -> Path:  # fmt: skip
    """Train a student on the labels of all judged cases: given, hard, soft or believed.

    hard, soft: the mended labels.  believed: the given masks that are believed and those that were
    moved, without those that are redrawn nearer to the prediction than to the mask.
    Returns its folder, students/NAME; the name is that of the labels unless given.
    """
    folder = f"students/{name or labels}"
    listener.say(f"student on {labels} labels, on {len(run.cases)} cases")
    wanted, proposed = complete(settings or run.settings.student, run.cases)
    for sentence in proposed:
        listener.say(sentence)
    trainings.fit(run, labels, run.cases, wanted, folder, listener)
    return run.root / folder


def predict(
    run: Run, student: str, images: Path, out: Path, weights: str | None = None,
    listener: Listener = QUIET,
) -> list[LeftOut]:  # fmt: skip
    """Segment a folder of images with a student; OUT becomes a data set of images and masks.

    images: a folder of image files, or one with images/ in it.  student: NAME of students/NAME.
    weights: "best" or "last", by default what it was trained to predict with.
    Returns the images that could not be segmented.  Raises LayoutError if OUT is a source.
    """
    trained = trainings.load(run, f"students/{student}", weights)
    check_out(images, run.dataset, out)
    cases, left_out = image_cases(images, run.dataset.cases[0])

    def segment(case: Case) -> LabelArray:
        image = read_new_image(run.dataset, case)
        probs = trainings.probabilities(trained, image, read_grid(case).steps)
        return predicted_labels(probs, trained.scheme)

    for case, labels in map_cases(segment, cases, left_out, stage="predict", listener=listener):
        write_prediction(run.dataset, case, labels, out)
    return left_out


def evaluate(
    subject: Run | Dataset, truth: Dataset, out: Path | None = None, listener: Listener = QUIET
) -> Evaluation:
    """Scores against clean labels: of a run (given, mended, noise maps) or of predicted masks.

    Writes evaluation.csv, and for a run noise_maps.csv, into `out`: by default the run folder, and
    nowhere for predicted masks, whose folder is the user's.
    """
    if isinstance(subject, Run):
        evaluation = score_run(subject, truth, listener)
    else:
        evaluation = score_predictions(subject, truth, listener=listener)
    for name, table in evaluation.files().items():
        if out is not None:
            files.write_csv(out / name, table.header, table.rows)
        elif isinstance(subject, Run):
            subject.write_table(name, table.header, table.rows)
    return evaluation


def write_report(
    run: Run, out: Path | None = None, listener: Listener = QUIET, workers: Workers | None = None
) -> Path:
    """One HTML file on how good the labels are, and beside it the numbers of its figures as CSV.

    out: by default report.html in the run; the tables go to the folder of its name without ending.
    Needs the noise maps; says more the more of the other stages are done.  The same run gives the
    same bytes.  Raises MissingFileError before `flag`, SettingsError for a place that is none.
    """
    target = run.root / "report.html" if out is None else out
    check_report(run, target)
    workers = workers or Workers(count=run.settings.threads)
    page = gather(run, target.stem, workers, listener)
    for figure in page.figures():
        table = target.parent / target.stem / f"{figure.name}.csv"
        files.write_csv(table, figure.numbers.header, figure.numbers.rows)
    # last, since it refers to the tables
    files.write_bytes_atomic(target, render(page).encode())
    return target


def export(
    run: Run, out: Path, options: ExportOptions = MENDED, listener: Listener = QUIET
) -> Exported:
    """The mended data set, complete, in the formats and the layout it came in; `options` for more.

    OUT also gets findings.csv (flagged regions), changes.csv (each change, and why) and
    export.json; with `options.decisions` also outcomes.csv (what became of each finding) and
    decisions.csv (who said what).  Cases that were not judged, and masks without a change, keep
    their bytes.  A killed export goes on when it is called again.  Errors as of `prepare` and
    `reading_review`, before any write.
    """
    with reading_review(run) if options.decisions else nullcontext() as reviewed:
        job = prepare(run, out, options)
        if options.kind == "ignore":
            listener.say(f"pixels that change take the ignore value, {job.target.ignore_value}")
        write_frame(job)
        reasons, done = Reasons(run, options.decisions), []
        for case in run.dataset.cases:
            done.append(export_case(job, case, reasons, reviewed))
            listener.case("export", len(done), len(run.dataset.cases))
        return finish(job, done, reviewed)


def serve_review(
    run: Run, port: int = 0, *, browser: bool = True, reviewer: str | None = None,
    listener: Listener = QUIET,
) -> None:  # fmt: skip
    """The review app on 127.0.0.1 until Ctrl-C; its URL, with its token, goes to the listener.

    Every decision is in RUN/review.sqlite when the page says so.  port: 0 for any that is free.
    browser: open it there.  reviewer: the name that the page begins with.  Raises
    MissingFileError before `rank`, SettingsError for a port that is taken, MissingExtraError.
    """
    findings = ranked_findings(run)
    with closing(Decisions(run.root / FILE)) as decisions:
        serve(Review(run, findings, decisions, reviewer), port, browser, listener)


def audit(
    source: Source, root: Path, settings: Settings, *, student: bool | None = None,
    probabilities: str | Path | Arrays | None = None, out_of_sample: bool = False,
    splits: Path | None = None, dataset: Dataset | None = None, listener: Listener = QUIET,
    workers: Workers | None = None,
) -> Run:  # fmt: skip
    """The whole way: cross-fit, flag, correct, rank, a student on the mended labels, the report.

    probabilities, out_of_sample, splits: out-of-sample probabilities that exist, as in `Existing`;
    they take the place of the cross-fit.  dataset: what the source opens to, if that is known.
    student: False ends after the mended labels; by default it is only left out where nothing else
    is trained either.  workers: as in `crossfit` and `flag`.
    A killed audit goes on where it stopped when it is called again.
    """
    if probabilities is None:
        run = Run.create(root, source, settings, dataset)
        crossfit(run, listener, workers)
    else:
        existing = Existing(probabilities, out_of_sample, splits)
        run = adopt(source, root, settings, existing, dataset, listener)
    flag(run, listener, workers)
    correct(run, listener)
    rank(run, listener, workers)
    trained = probabilities is None if student is None else student
    if trained:
        train(run, settings.audit_labels, listener=listener)
    draw_cases(run, student=settings.audit_labels if trained else None)
    write_report(run, listener=listener, workers=workers)
    return run


def demo(root: Path, seed: int = 0, listener: Listener = QUIET) -> DemoResult:
    """The whole way on generated phantoms, with students on given, mended and clean labels.

    root: becomes the run folder; the phantoms and all that is only for the comparison lie in its
    folder demo/.
    """
    beside = root.resolve() / DEMO
    clean_root, noisy_root = beside / "clean", beside / "noisy"
    write_phantoms(clean_root, DEMO_CASES, seed)
    clean = open_dataset(clean_root)
    noise = plan_noise(clean, "reference", {"": 0.5}, {}, ("training",))
    corrupt(clean, noisy_root, noise, seed)
    settings = demo_settings(seed)
    run = audit(Source(str(noisy_root), ("training",)), root, settings, listener=listener)
    train(run, GIVEN, listener=listener)
    clean_run = Run.create(beside / "clean-run", Source(str(clean_root), ("training",)), settings)
    train(clean_run, GIVEN, listener=listener)
    students = {}
    for name, where, student in (
        ("given", run, GIVEN), ("mended", run, settings.audit_labels), ("clean", clean_run, GIVEN),
    ):  # fmt: skip
        out = beside / "predictions" / name
        predict(where, student, clean_root / "validation", out, listener=listener)
        students[name] = evaluate(open_dataset(out), clean, listener=listener)
    evaluation = evaluate(run, clean, listener=listener)
    draw_cases(run, clean, student=settings.audit_labels)
    write_report(run, listener=listener)
    return DemoResult(run, evaluation, students)
