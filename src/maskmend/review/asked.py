"""What a request asks for: parameters and bodies, checked before anything is done with them."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from typing import Annotated, Any, Literal, TypeVar

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, ValidationError
from starlette.requests import ClientDisconnect, Request

from maskmend.core import LabelScheme
from maskmend.review.pixels import Runs, covered, overlapping_runs
from maskmend.review.refusals import RefusedError
from maskmend.review.session import ORDERS, Answer, Filter, Review
from maskmend.review.state import STATES

SMALL_BODY = 64 * 1024
LARGE_BODY = 4 * 1024 * 1024
"""Bytes of a JSON body: of most requests, and of one that may bring painted pixels."""

MOST_RUNS = 200_000
LONGEST_COMMENT = 4000
LONGEST_REVIEWER = 80
LONGEST_NAME = 200
MOST_ITEMS = 1000
"""Findings in one answer."""

_NUMBER = re.compile(r"-?[0-9]{1,16}", re.ASCII)


def _reviewer(name: str) -> str:
    name = name.strip()
    if not name or not name.isprintable():
        raise ValueError("a name of printable characters")
    return name


def _comment(text: str) -> str:
    if not text.replace("\n", "").replace("\t", "").replace("\r", "").isprintable():
        raise ValueError("text without control characters")
    return text


Reviewer = Annotated[str, Field(max_length=LONGEST_REVIEWER), AfterValidator(_reviewer)]
Comment = Annotated[str, Field(max_length=LONGEST_COMMENT), AfterValidator(_comment)]


class _Body(BaseModel):
    model_config = ConfigDict(strict=True, extra="forbid", allow_inf_nan=False)


class DecisionBody(_Body):
    finding: Annotated[str, Field(pattern=r"^[0-9a-f]{1,64}$")] | None = None
    case: Annotated[int, Field(ge=0)]
    verdict: Literal["accept", "reject", "unsure", "edit", "comment"]
    reviewer: Reviewer
    comment: Comment | None = None
    runs: Annotated[list[tuple[int, int, int]], Field(max_length=MOST_RUNS)] | None = None


class UndoBody(_Body):
    reviewer: Reviewer


class FilterBody(_Body):
    type: Annotated[str, Field(max_length=LONGEST_NAME)] | None = None
    structure: Annotated[str, Field(max_length=LONGEST_NAME)] | None = None
    state: Literal["open"] = "open"
    min_score: float | None = None


class BulkBody(_Body):
    filter: FilterBody
    verdict: Literal["accept", "reject", "unsure"]
    reviewer: Reviewer
    dry_run: bool


Model = TypeVar("Model", bound=_Body)


async def read_body(request: Request, model: type[Model], limit: int) -> Model:
    """The JSON body of a POST.  Raises RefusedError; no more than `limit` bytes are ever kept."""
    kind = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    if kind != "application/json":
        raise RefusedError(415, expected="application/json", got=kind or "no content type",
                      remedy="Send JSON.")  # fmt: skip
    stated = request.headers.get("content-length", "0")
    if not stated.isdecimal() or len(stated) > 12 or int(stated) > limit:
        raise _too_large(limit)
    body = bytearray()
    try:
        async for chunk in request.stream():
            body += chunk
            if len(body) > limit:
                raise _too_large(limit)
    except ClientDisconnect as error:
        raise RefusedError(
            400, expected="a whole body", got="a part", remedy="Send it again."
        ) from error
    try:
        return model.model_validate_json(bytes(body))
    except ValidationError as error:
        raise _invalid(error) from error


def whole_number(
    parameters: Mapping[str, str], name: str, default: int | None, least: int, most: int
) -> int:
    """A parameter in least..most; the default where it is missing, None for one that must be."""
    text = parameters.get(name, "" if default is None else str(default))
    if not _NUMBER.fullmatch(text) or not least <= int(text) <= most:
        raise RefusedError(
            400, expected=f"{name} as a whole number, {least} to {most}", got=text or "nothing",
            remedy="Correct it.",
        )  # fmt: skip
    return int(text)


def number(parameters: Mapping[str, str], name: str, default: float) -> float:
    """A finite parameter."""
    text = parameters.get(name, "")
    try:
        value = float(text) if text else default
    except ValueError:
        value = math.nan
    if not math.isfinite(value) or len(text) > 40 or "_" in text:
        raise RefusedError(
            400, expected=f"{name} as a finite number", got=text, remedy="Correct it."
        )
    return value


def choice(parameters: Mapping[str, str], name: str, allowed: Any) -> str | None:
    """One of some names; None where the parameter is missing or empty."""
    text = parameters.get(name, "")
    if text and text not in allowed:
        raise RefusedError(
            400, expected=f"{name} of {', '.join(allowed)}", got=text, remedy="Choose one of these."
        )
    return text or None


def case_number(review: Review, text: str) -> int:
    """The index of a case in the address.  Raises RefusedError, 404."""
    if not _NUMBER.fullmatch(text) or not 0 <= int(text) < len(review.cases):
        raise RefusedError(
            404,
            expected=f"a case, 0 to {len(review.cases) - 1}",
            got=text,
            remedy="Choose another.",
        )
    return int(text)


def queue_filter(review: Review, parameters: Mapping[str, str]) -> tuple[Filter, str]:
    """What `/api/queue` is to list, and in which order."""
    case = None
    if parameters.get("case"):
        case = review.cases[case_number(review, parameters["case"])].id
    name = parameters.get("q", "")
    if len(name) > LONGEST_NAME:
        raise RefusedError(400, expected=f"q of at most {LONGEST_NAME} characters",
                      got=f"{len(name)}", remedy="Shorten it.")  # fmt: skip
    wanted = Filter(
        type=choice(parameters, "type", review.types),
        structure=choice(parameters, "structure", review.run.dataset.scheme.structures),
        state=choice(parameters, "state", STATES),
        case=case,
        name=name.casefold() or None,
    )
    return wanted, choice(parameters, "order", ORDERS) or "rank"


def bulk_filter(review: Review, body: FilterBody) -> Filter:
    fields = {"type": body.type or "", "structure": body.structure or ""}
    return Filter(
        type=choice(fields, "type", review.types),
        structure=choice(fields, "structure", review.run.dataset.scheme.structures),
        state=body.state,
        min_score=body.min_score,
    )


def answer_of(review: Review, body: DecisionBody) -> Answer:
    """What a reviewer says, if it fits the findings and the labels.  Raises RefusedError."""
    index = case_number(review, str(body.case))
    case, finding = review.cases[index], None
    if body.finding is not None:
        finding = review.state.finding(body.finding)
        if finding is None or finding.case != case.id:
            raise RefusedError(
                404, expected=f"a finding of case {index}", got=body.finding,
                remedy="Load the page again; the findings may have been ranked anew.",
            )  # fmt: skip
    comment = body.comment or ""
    if body.verdict == "comment" and not comment.strip():
        raise _unfit("a comment with text in it", "none")
    if (body.verdict == "edit") != (body.runs is not None):
        raise _unfit("runs with an edit, and with nothing else", f"{body.verdict}")
    runs: Runs = ()
    if body.runs is not None:
        if finding is None:
            raise _unfit("an edit of one finding", "one of a whole case")
        plane = review.given(index)[finding.plane]
        runs = _checked(body.runs, plane.size, review.run.dataset.scheme)
    return Answer(case, finding, body.verdict, body.reviewer, comment, runs)


def _checked(runs: list[tuple[int, int, int]], size: int, scheme: LabelScheme) -> Runs:
    """Sorted by start, so that the same pixels are the same edit.

    size: pixels of the plane.
    """
    classes = scheme.num_classes
    for start, length, value in runs:
        if start < 0 or length < 1 or start + length > size or not 0 <= value < classes:
            raise _unfit(
                f"runs (start, length, class) within {size} pixels, of classes 0 to {classes - 1}",
                f"({start}, {length}, {value})",
            )
    ordered = tuple(sorted(runs))
    if overlapping_runs(ordered):
        raise _unfit("runs that do not overlap", f"{covered(ordered)} pixels in runs that do")
    return ordered


def _unfit(expected: str, got: str) -> RefusedError:
    return RefusedError(422, expected=expected, got=got, remedy="Correct the request.")


def _too_large(limit: int) -> RefusedError:
    return RefusedError(
        413, expected=f"a body of at most {limit} bytes", got="a larger one", remedy="Shorten it."
    )


def _invalid(error: ValidationError) -> RefusedError:
    """The first fault; the input itself is not repeated."""
    first = error.errors(include_url=False, include_context=False, include_input=False)[0]
    where = ".".join(str(part) for part in first["loc"]) or "the body"
    return RefusedError(
        400, expected=f"JSON as docs/review.md has it; at {where}", got=first["msg"],
        remedy="Correct the request.",
    )  # fmt: skip
