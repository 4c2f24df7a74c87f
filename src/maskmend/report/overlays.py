"""A picture with the outlines of given and suggested masks, as SVG over an embedded image."""

from __future__ import annotations

import base64
import io
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from markupsafe import Markup, escape
from PIL import Image, features

from maskmend.core import BoolArray
from maskmend.report.outlines import outline_path
from maskmend.report.pictures import Picture

LONGER_SIDE = 320.0
"""Of a picture, in the units of its drawing."""

MOST_PIXELS = 384
"""Along the longer side of an embedded image."""

DIGIT, LINE = 9.0, 12.0
"""Width and height that a digit takes."""

Place = tuple[float, float, float]
"""Foot, left and right end of a number."""

_OFFSETS = {"given": -3, "both": 4, "suggested": 11}
"""Of a name below the middle of its mask: two that meet stand above each other."""


@dataclass(frozen=True)
class Box:
    """A marked rectangle: first index and the one after the last, of rows and of columns."""

    rows: tuple[int, int]
    columns: tuple[int, int]
    label: str


@dataclass(frozen=True, eq=False)
class View:
    """What is shown of one case.

    picture: (H, W, 3) bytes.  given, suggested: (H, W) of each structure shown.  names: of the
    structures, written where there are several; () for none.  steps: height and width of a pixel,
    of which only the ratio counts.  boxes: marked findings.  edges: what lies at the top and at
    the left, as "A" and "R"; "" where nobody knows.
    """

    picture: Picture
    given: Sequence[BoolArray]
    suggested: Sequence[BoolArray]
    names: Sequence[str] = ()
    steps: tuple[float, float] = (1.0, 1.0)
    boxes: Sequence[Box] = ()
    edges: tuple[str, str] = ("", "")

    def part(self, rows: tuple[int, int], columns: tuple[int, int]) -> View:
        """A rectangle of it, with the boxes that lie in it."""
        inside = [
            Box(_shifted(box.rows, rows), _shifted(box.columns, columns), box.label)
            for box in self.boxes
            if _within(box.rows, rows) and _within(box.columns, columns)
        ]
        cut = slice(*rows), slice(*columns)
        return self._cut(cut, inside)

    def flipped(self, rows: bool, columns: bool) -> View:
        """Turned over, so that another side is at the top or at the left."""
        height, width = self.picture.shape[:2]
        turn = slice(None, None, -1 if rows else 1), slice(None, None, -1 if columns else 1)
        boxes = [
            Box(_turned(box.rows, height) if rows else box.rows,
                _turned(box.columns, width) if columns else box.columns, box.label)
            for box in self.boxes
        ]  # fmt: skip
        return self._cut(turn, boxes)

    def _cut(self, cut: tuple[slice, slice], boxes: Sequence[Box]) -> View:
        return replace(
            self, picture=self.picture[cut], given=[mask[cut] for mask in self.given],
            suggested=[mask[cut] for mask in self.suggested], boxes=boxes,
        )  # fmt: skip


def draw_view(view: View, description: str) -> Markup:
    """The view as SVG; the image is embedded, the outlines are lines."""
    height, width = view.picture.shape[0] * view.steps[0], view.picture.shape[1] * view.steps[1]
    scale = LONGER_SIDE / max(height, width)
    shown = (height * scale, width * scale)
    parts = [
        f'<image href="{data_uri(_smaller(view.picture))}" width="{shown[1]:.1f}" '
        f'height="{shown[0]:.1f}" preserveAspectRatio="none"/>'
    ]
    paths = [(kind, _joined(masks, shown)) for kind, masks in
             (("suggested", view.suggested), ("given", view.given))]  # fmt: skip
    parts += [f'<path class="halo" d="{path}"/>' for _, path in paths if path]
    parts += [f'<path class="{kind}" d="{path}"/>' for kind, path in paths if path]
    taken: list[Place] = []
    parts += [_box(box, view, scale, taken) for box in view.boxes]
    if len(view.names) > 1:
        parts += [_name(*each, shown) for each in _named(view)]
    top, left = view.edges
    if top:
        parts.append(
            f'<text x="{shown[1] / 2:.1f}" y="14" text-anchor="middle">{escape(top)}</text>'
        )
    if left:
        parts.append(f'<text x="5" y="{shown[0] / 2 + 4:.1f}">{escape(left)}</text>')
    return Markup(
        f'<svg class="overlay" viewBox="0 0 {shown[1]:.1f} {shown[0]:.1f}" role="img" '
        f'aria-label="{escape(description)}">' + "".join(parts) + "</svg>"
    )


def data_uri(picture: Picture) -> str:
    """An image as text: grey where it has no colour; the same picture gives the same bytes."""
    grey = (picture[..., 0] == picture[..., 1]) & (picture[..., 0] == picture[..., 2])
    image = Image.fromarray(picture[..., 0] if grey.all() else picture)
    buffer = io.BytesIO()
    kind = "webp" if features.check("webp") else "png"
    if kind == "webp":
        image.save(buffer, "WEBP", quality=88, method=6)
    else:
        image.save(buffer, "PNG", optimize=True)
    return f"data:image/{kind};base64,{base64.b64encode(buffer.getvalue()).decode()}"


def _joined(masks: Sequence[BoolArray], shown: tuple[float, float]) -> str:
    paths = []
    for mask in masks:
        small = _smaller(mask).astype(bool)
        steps = (shown[0] / small.shape[0], shown[1] / small.shape[1])
        paths.append(outline_path(small, steps))
    return "".join(paths)


def _smaller(plane: Picture | BoolArray) -> Picture:
    """With its longer side of at most MOST_PIXELS; a mask by its nearest pixels."""
    height, width = plane.shape[:2]
    scale = MOST_PIXELS / max(height, width)
    if scale >= 1:
        return plane  # type: ignore[return-value]
    size = (max(round(width * scale), 1), max(round(height * scale), 1))
    how = Image.Resampling.NEAREST if plane.dtype == bool else Image.Resampling.LANCZOS
    small = np.asarray(Image.fromarray(plane.astype(np.uint8)).resize(size, how))
    return small.astype(plane.dtype)


def _box(box: Box, view: View, scale: float, taken: list[Place]) -> str:
    """taken: where numbers stand already; that of the box is added."""
    y, x = box.rows[0] * view.steps[0] * scale, box.columns[0] * view.steps[1] * scale
    height = (box.rows[1] - box.rows[0]) * view.steps[0] * scale
    width = (box.columns[1] - box.columns[0]) * view.steps[1] * scale
    # above the box, or in it where that is outside of the picture
    below, left = y + 12 if y < 16 else y - 4, x + 2
    long = DIGIT * len(box.label)
    while any(
        abs(below - b) < LINE and left < end and start < left + long for b, start, end in taken
    ):
        left += DIGIT
    taken.append((below, left, left + long))
    return (
        f'<rect class="box" x="{x:.1f}" y="{y:.1f}" width="{width:.1f}" height="{height:.1f}"/>'
        f'<text x="{left:.1f}" y="{below:.1f}">{escape(box.label)}</text>'
    )


def _named(view: View) -> list[tuple[str, BoolArray, str]]:
    """Name, mask and kind of what has to be told apart; once where both masks lie together."""
    named = []
    for name, given, suggested in zip(view.names, view.given, view.suggested, strict=True):
        if np.count_nonzero(given & suggested) * 2 > np.count_nonzero(given | suggested):
            named.append((name, suggested, "both"))
            continue
        kinds = (("given", given), ("suggested", suggested))
        named += [(name, mask, kind) for kind, mask in kinds if mask.any()]
    return named


def _name(name: str, mask: BoolArray, kind: str, shown: tuple[float, float]) -> str:
    """A name in the middle of its mask, that of the given one above that of the suggested one."""
    rows, columns = np.nonzero(mask)
    y = (rows.mean() + 0.5) / mask.shape[0] * shown[0] + _OFFSETS[kind]
    x = (columns.mean() + 0.5) / mask.shape[1] * shown[1]
    return (
        f'<text class="{kind}" x="{x:.1f}" y="{y:.1f}" text-anchor="middle">{escape(name)}</text>'
    )


def _shifted(pair: tuple[int, int], by: tuple[int, int]) -> tuple[int, int]:
    return pair[0] - by[0], pair[1] - by[0]


def _within(pair: tuple[int, int], other: tuple[int, int]) -> bool:
    return other[0] <= pair[0] and pair[1] <= other[1]


def _turned(pair: tuple[int, int], length: int) -> tuple[int, int]:
    return length - pair[1], length - pair[0]
