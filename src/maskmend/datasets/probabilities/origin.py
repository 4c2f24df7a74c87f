"""Out-of-sample or refused, for predictions that come from elsewhere."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

from maskmend import files
from maskmend.core import Case, StatedFold
from maskmend.datasets.probabilities.finding import Prediction
from maskmend.datasets.tree import shorten
from maskmend.errors import InSampleError, SettingsError, UnreadableFileError

BY_SPLITS = "held out by the splits"
BY_USER = "out-of-sample, as the user states"


def read_splits(path: Path) -> tuple[StatedFold, ...]:
    """The folds of a splits_final.json: a list of {"train": [...], "val": [...]}.

    Raises MissingFileError, UnreadableFileError.
    """
    stored = files.read_json(path)
    try:
        return tuple(
            StatedFold(frozenset(map(str, fold["train"])), frozenset(map(str, fold["val"])))
            for fold in stored
        )
    except (TypeError, KeyError) as error:
        raise UnreadableFileError(
            str(path), expected='a list of folds, each {"train": [cases], "val": [cases]}',
            got=f"something else ({error})", remedy="Give nnU-Net's splits_final.json.",
        ) from error  # fmt: skip


def check_origins(
    predictions: Mapping[str, Prediction],
    cases: Sequence[Case],
    folds: Sequence[StatedFold],
    stated: bool,
) -> dict[str, str]:
    """Case id -> BY_SPLITS or BY_USER: why its prediction counts as out-of-sample.

    predictions: case id -> its file.  folds: of the data set, in order.  stated: the user says
    that every prediction is out-of-sample; it is believed where the splits say nothing of a case,
    not against them.  Raises InSampleError with the cases, SettingsError for an unknown fold.
    """
    groups = {case.id: case.group for case in cases}
    seen: dict[str, list[str]] = {}
    origins, unknown = {}, []
    for case, prediction in predictions.items():
        fold = _fold_of(prediction, folds)
        if fold is not None:
            mine = groups[case]
            others = [other for other in fold.trained_on if groups.get(other) == mine]
            if others or case in fold.trained_on:
                seen[case] = sorted({*others, *({case} & fold.trained_on)})
                continue
        if fold is not None and case in fold.held_out:
            origins[case] = BY_SPLITS
        else:
            origins[case] = BY_USER
            unknown.append(case)
    if seen:
        raise _in_sample(seen, predictions)
    if unknown and not stated:
        raise _unstated(unknown, predictions, folds)
    return origins


def pick(predictions: Sequence[Prediction], folds: Sequence[StatedFold]) -> Prediction | None:
    """Of several predictions of a case the one by the fold that holds it out; None if unclear."""
    if len(predictions) == 1:
        return predictions[0]
    held = []
    for prediction in predictions:
        fold = _fold_of(prediction, folds)
        if fold is not None and prediction.case in fold.held_out:
            held.append(prediction)
    return held[0] if len(held) == 1 else None


def _fold_of(prediction: Prediction, folds: Sequence[StatedFold]) -> StatedFold | None:
    if prediction.fold is None or not folds:
        return None
    if prediction.fold >= len(folds):
        raise SettingsError(
            str(prediction.path), expected=f"one of the {len(folds)} folds of the splits",
            got=f"fold {prediction.fold}", remedy="Give the splits that it was trained with, with "
            "--splits.",
        )  # fmt: skip
    return folds[prediction.fold]


def _in_sample(
    seen: Mapping[str, Sequence[str]], predictions: Mapping[str, Prediction]
) -> InSampleError:
    first = next(iter(seen))
    shown = shorten([f"{case} (fold {predictions[case].fold})" for case in seen])
    return InSampleError(
        first, expected="predictions by models that have seen neither the case nor its patient",
        got=f"by the splits, {len(seen)} by models that were trained on them: {shown}; "
        f"{first} through {shorten(list(seen[first]))}",
        remedy="Give the validation predictions of the folds that hold these cases out.",
    )  # fmt: skip


def _unstated(
    unknown: Sequence[str], predictions: Mapping[str, Prediction], folds: Sequence[StatedFold]
) -> InSampleError:
    first = predictions[unknown[0]]
    lacking = "the data set has no splits" if not folds else "the splits do not say"
    if folds and first.fold is None:
        lacking = "no folder fold_N says which fold predicted them"
    return InSampleError(
        str(first.path.parent),
        expected="predictions of which it is known that the model has not seen the case",
        got=f"{len(unknown)} of which it is not: {lacking} ({shorten(list(unknown))})",
        remedy="A model repeats the errors that it was trained on, so it cannot find them. If "
        "each case was predicted by a model that was trained without it and without its patient "
        "(cross-validation), say so with --out-of-sample yes; or give --splits splits_final.json.",
    )
