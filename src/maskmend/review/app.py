"""The addresses of the server: what the page gets, and what it may say."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterable
from importlib.metadata import version
from pathlib import Path
from typing import Any

from starlette.applications import Starlette
from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from maskmend.core import Decision, Finding
from maskmend.report.colours import structure_colours
from maskmend.review.answers import ERRORS, json_answer
from maskmend.review.asked import (
    LARGE_BODY,
    MOST_ITEMS,
    SMALL_BODY,
    BulkBody,
    DecisionBody,
    UndoBody,
    answer_of,
    bulk_filter,
    case_number,
    number,
    queue_filter,
    read_body,
    whole_number,
)
from maskmend.review.pages import Pages
from maskmend.review.progress import progress
from maskmend.review.refusals import RefusedError
from maskmend.review.security import App, Guard, Session
from maskmend.review.session import Review
from maskmend.review.slices import (
    NARROWEST,
    WIDEST,
    Image,
    directions_of,
    labels_bytes,
    nifti_bytes,
    packed,
    picture_png,
)

DECODING = 3
"""Images that are decoded at the same time: more would only take memory."""

KEPT = {"cache-control": "private, max-age=3600", "vary": "Cookie"}
"""Of what never changes in a session.  The cookie is another after every start, so that a browser
does not show images of one run in the review of another on the same port."""

Handler = Callable[[Request], Response]


def create_app(review: Review, session: Session, static: Path) -> App:
    """The server as an ASGI application.  static: folder of the page's files."""
    pages = Pages(static)
    api = Api(review, pages)
    app = Starlette(
        routes=[
            Route("/", _in_thread(lambda request: pages.file("index.html", request))),
            Route("/static/{name:path}", _in_thread(
                lambda request: pages.file(request.path_params["name"], request))),
            *api.routes(),
        ],
        exception_handlers=ERRORS,
    )  # fmt: skip
    # a slash too many is another address, not a redirection
    app.router.redirect_slashes = False
    return Guard(app, session)


class Api:
    """What lies below /api."""

    def __init__(self, review: Review, pages: Pages) -> None:
        self.review = review
        self.pages = pages
        self._decoding = asyncio.Semaphore(DECODING)

    def routes(self) -> list[Route]:
        quick: dict[str, Handler] = {
            "/api/run": self.run,
            "/api/queue": self.queue,
            "/api/findings/{id}": self.finding,
            "/api/progress": self.progress,
            "/api/changes": self.changes,
        }
        drawn: dict[str, Handler] = {
            "/api/cases/{index}": self.case,
            "/api/cases/{index}/image": self.image,
            "/api/cases/{index}/labels": self.labels,
            "/api/cases/{index}/volume/{kind}": self.volume,
        }
        return [
            *(Route(path, _in_thread(handler)) for path, handler in quick.items()),
            *(Route(path, self._drawn(handler)) for path, handler in drawn.items()),
            Route("/api/decisions", self.decide, methods=["POST"]),
            Route("/api/undo", self.undo, methods=["POST"]),
            Route("/api/bulk", self.bulk, methods=["POST"]),
        ]

    def _drawn(self, handler: Handler) -> Callable[[Request], Awaitable[Response]]:
        async def endpoint(request: Request) -> Response:
            async with self._decoding:
                return await run_in_threadpool(handler, request)

        return endpoint

    # -- findings

    def run(self, request: Request) -> Response:
        scheme, review = self.review.run.dataset.scheme, self.review
        reason = self.pages.no_view3d
        colours = structure_colours(len(scheme.structures))
        return json_answer({
            "name": review.run.root.name,
            "overlapping": scheme.overlapping,
            "structures": scheme.structures,
            "planes": [{"name": name, "classes": scheme.class_names(plane)}
                       for plane, name in enumerate(scheme.planes)],
            "colours": {name: "#{:02x}{:02x}{:02x}".format(*colour)
                        for name, colour in zip(scheme.structures, colours, strict=True)},
            "types": review.types,
            "cases": len(review.cases),
            "findings": len(review.state.findings),
            "view3d": reason is None,
            "view3d_reason": reason,
            "version": version("maskmend"),
        })  # fmt: skip

    def queue(self, request: Request) -> Response:
        wanted, order = queue_filter(self.review, request.query_params)
        offset = whole_number(request.query_params, "offset", 0, 0, 10**9)
        limit = whole_number(request.query_params, "limit", 100, 0, MOST_ITEMS)
        self.review.state.refresh()
        found = self.review.select(wanted, order)
        items = self._items(found[offset : offset + limit])
        return json_answer({"total": len(found), "offset": offset, "items": items})

    def finding(self, request: Request) -> Response:
        identity = request.path_params["id"]
        finding = self.review.state.finding(identity)
        if finding is None:
            raise RefusedError(404, expected="a finding of this run", got=identity,
                          remedy="Load the page again.")  # fmt: skip
        self.review.state.refresh()
        said = [{"reviewer": each.reviewer, "time": each.time, "comment": each.comment,
                 "whole_case": each.finding is None}
                for each in self.review.state.comments(finding)]  # fmt: skip
        return json_answer({**self.review.item(finding), "comments": said})

    def progress(self, request: Request) -> Response:
        self.review.state.refresh()
        return json_answer(
            progress(self.review.state, request.query_params.get("reviewer") or None)
        )

    def changes(self, request: Request) -> Response:
        after = whole_number(request.query_params, "after", 0, 0, 2**53)
        state = self.review.state
        state.refresh()
        found, last = [], state.last
        for count in range(after + 1, state.last + 1):
            stored = state.stored(count)
            if stored is None:
                continue
            found.append(self._change(stored.decision))
            if len(found) == MOST_ITEMS:
                last = count
                break
        return json_answer({"last": last, "decisions": found})

    def _change(self, decision: Decision) -> dict[str, Any]:
        state = self.review.state
        finding = state.finding(decision.finding) if decision.finding else None
        return {
            "number": decision.number,
            "finding": decision.finding,
            # a case that the run no longer has is nobody's to look at
            "case_index": self.review.case_index.get(decision.case),
            "reviewer": decision.reviewer,
            "verdict": decision.verdict,
            "state": None if finding is None else state.standing(finding).state,
        }

    # -- pictures

    def case(self, request: Request) -> Response:
        review, index = self.review, case_number(self.review, request.path_params["index"])
        grid, image = review.grid(index), review.image(index)
        case = review.cases[index]
        review.state.refresh()
        return json_answer({
            "index": index,
            "case": case.id,
            "shape": grid.shape,
            "spacing": grid.spacing,
            "unit": grid.unit,
            "directions": directions_of(grid),
            "volume": len(grid.shape) == 3,
            "channels": len(image.pixels),
            "window": image.windows[0].to_json(),
            "windows": [window.to_json() for window in image.windows],
            "rgb": image.rgb,
            "findings": self._items(review.state.by_case.get(case.id, [])),
        })  # fmt: skip

    def image(self, request: Request) -> Response:
        asked, index = request.query_params, case_number(self.review, request.path_params["index"])
        axis, k = self._slice(request, index)
        image = self.review.image(index)
        channel = whole_number(asked, "channel", 0, 0, len(image.pixels) - 1)
        window = image.windows[channel]
        low, high = number(asked, "low", window.low), number(asked, "high", window.high)
        if not NARROWEST <= high - low <= WIDEST or max(abs(low), abs(high)) > WIDEST:
            raise RefusedError(
                400, expected=f"low below high, by {NARROWEST:g} to {WIDEST:g}",
                got=f"{low:g} and {high:g}", remedy="Choose another window.",
            )  # fmt: skip
        png = picture_png(image, axis, k, channel, low, high)
        return Response(png, media_type="image/png", headers=KEPT)

    def labels(self, request: Request) -> Response:
        index = case_number(self.review, request.path_params["index"])
        axis, k = self._slice(request, index)
        decided = whole_number(request.query_params, "decided", 1, 0, 1) == 1
        if decided:
            self.review.state.refresh()
        data = packed(labels_bytes(self.review.label_planes(index, decided), axis, k))
        headers = {"content-encoding": "gzip", **({} if decided else KEPT)}
        return Response(data, media_type="application/octet-stream", headers=headers)

    def volume(self, request: Request) -> Response:
        review, index = self.review, case_number(self.review, request.path_params["index"])
        kind, _, ending = request.path_params["kind"].partition(".")
        grid = review.grid(index)
        if kind not in ("image", "given", "suggested", "decided") or ending != "nii.gz":
            raise RefusedError(
                404, expected="image.nii.gz, or given, suggested, decided",
                got=request.path_params["kind"], remedy="Choose one of these.",
            )  # fmt: skip
        if len(grid.shape) != 3:
            raise RefusedError(
                404, expected="a volume", got="a picture", remedy="Look at its image."
            )
        if kind == "image":
            image: Image = review.image(index)
            channel = whole_number(request.query_params, "channel", 0, 0, len(image.pixels) - 1)
            return _volume(nifti_bytes(image.pixels[channel], grid), keep=True)
        planes = len(review.run.dataset.scheme.planes)
        plane = whole_number(request.query_params, "plane", 0, 0, planes - 1)
        review.state.refresh()
        labels = review.plane_labels(index, plane, kind)
        return _volume(nifti_bytes(labels, grid), keep=kind != "decided")

    def _slice(self, request: Request, index: int) -> tuple[int, int]:
        """The axis and the index of a slice that the case has."""
        shape = self.review.grid(index).shape
        volume = len(shape) == 3
        axis = whole_number(request.query_params, "axis", 0, 0, 2 if volume else 0)
        last = shape[axis] - 1 if volume else 0
        return axis, whole_number(request.query_params, "slice", 0, 0, last)

    # -- decisions

    async def decide(self, request: Request) -> Response:
        body = await read_body(request, DecisionBody, LARGE_BODY)

        def store() -> Response:
            decision = self.review.decide(answer_of(self.review, body))
            touched = self.review.state.touched_by(decision)
            answer: dict[str, Any] = {"decision": decision.number}
            if decision.finding is None:
                answer["findings"] = self._items(touched)
            else:
                answer["finding"] = self.review.item(touched[0])
            return self._with_progress(answer, body.reviewer)

        return await run_in_threadpool(store)

    async def undo(self, request: Request) -> Response:
        body = await read_body(request, UndoBody, SMALL_BODY)

        def store() -> Response:
            taken = self.review.undo(body.reviewer)
            touched = {finding.id: finding for decision in taken
                       for finding in self.review.state.touched_by(decision)}  # fmt: skip
            shown = self._items(list(touched.values())[:MOST_ITEMS])
            answer = {
                "undone": taken[-1].number if taken else None,
                "count": len(taken),
                "finding": shown[0] if len(touched) == 1 else None,
                "findings": shown,
            }
            return self._with_progress(answer, body.reviewer)

        return await run_in_threadpool(store)

    async def bulk(self, request: Request) -> Response:
        body = await read_body(request, BulkBody, SMALL_BODY)

        def store() -> Response:
            wanted = bulk_filter(self.review, body.filter)
            self.review.state.refresh()
            found = self.review.select(wanted)
            if not body.dry_run and found:
                said = body.filter.model_dump(exclude_none=True)
                comment = "in bulk: " + ", ".join(f"{name} {said[name]}" for name in sorted(said))
                self.review.decide_all(found, body.verdict, body.reviewer, comment)
            return self._with_progress({"count": len(found)}, body.reviewer)

        return await run_in_threadpool(store)

    def _items(self, findings: Iterable[Finding]) -> list[dict[str, Any]]:
        return [self.review.item(finding) for finding in findings]

    def _with_progress(self, answer: dict[str, Any], reviewer: str) -> Response:
        return json_answer({**answer, "progress": progress(self.review.state, reviewer)})


def _in_thread(handler: Handler) -> Callable[[Request], Awaitable[Response]]:
    async def endpoint(request: Request) -> Response:
        return await run_in_threadpool(handler, request)

    return endpoint


def _volume(data: bytes, keep: bool) -> Response:
    return Response(data, media_type="application/gzip", headers=KEPT if keep else None)
