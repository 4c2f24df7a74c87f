"""Panel pictures of cases: image, labels and noise maps side by side.

Arrays in, one RGB array out; Pillow draws the text.  The parts, from the inside out: a `Panel`
says what lies over the image, a `CaseRow` is one case, `contact_sheet` sets rows under each other.
"""

from __future__ import annotations

import io
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont

from maskmend.core import IGNORED, BoolArray, LabelArray, LabelScheme
from maskmend.errors import GridMismatchError, SettingsError
from maskmend.report.colours import (
    BOTH_ERRORS,
    IGNORED_COLOUR,
    MISSED_FOREGROUND,
    OUTLINE_OF_GIVEN,
    WRONG_FOREGROUND,
    Colour,
    structure_colours,
)

Picture = NDArray[np.uint8]
Font = ImageFont.FreeTypeFont | ImageFont.ImageFont

_BACKGROUND: Colour = (18, 20, 24)
_INK: Colour = (236, 238, 240)
_FAINT_INK: Colour = (168, 172, 178)
_MARGIN = 14
_GAP = 10
_TITLE_SIZE = 17
_LEGEND_SIZE = 15
_SWATCH = 14
_SWATCH_GAP = 7
_ENTRY_GAP = 22
_TITLE_LINE = _TITLE_SIZE + 9
_LEGEND_LINE = _LEGEND_SIZE + 10

_Entry = tuple[str, Colour]


@dataclass(frozen=True)
class Labels:
    """Structures filled and outlined.  labels: (planes, *S) as in `LabelScheme`."""

    labels: LabelArray


@dataclass(frozen=True)
class NoiseMap:
    """Pixels held to be wrong, coloured by what is wrong with them.

    flagged: (planes, *S).  given: (planes, *S), the labels that were judged.  A flagged pixel
    that was given a structure is wrong foreground, one given background is missed foreground;
    with overlapping structures a pixel can be both.
    """

    flagged: BoolArray
    given: LabelArray


@dataclass(frozen=True)
class Panel:
    """One picture of a row; without an overlay, the bare image."""

    title: str
    overlay: Labels | NoiseMap | None = None


@dataclass(frozen=True)
class Slice:
    """Which plane of a volume is shown.  axis: spatial axis, counted without the channels."""

    axis: int
    index: int


@dataclass(frozen=True)
class CaseRow:
    """One case.  image: (C, *S) of any dtype; S has three axes if and only if `at` is given."""

    name: str
    image: NDArray[np.generic]
    panels: Sequence[Panel]
    at: Slice | None = None


def window(image: NDArray[np.generic], low: float = 1.0, high: float = 99.5) -> Picture:
    """An image as grey or RGB bytes for showing.

    image: (C, H, W), any real dtype; 3 channels are taken as RGB, of others the first is shown.
    low, high: percentiles of the finite values that become 0 and 255.  Returns (H, W, 3).
    A constant image becomes black, and so do values that are not finite.
    """
    channels = image[:3] if image.shape[0] == 3 else np.repeat(image[:1], 3, axis=0)
    values = channels.astype(np.float64)
    finite = np.isfinite(values)
    bottom, top = np.percentile(values[finite], (low, high)) if finite.any() else (0.0, 0.0)
    if bottom == top and finite.any():
        # a picture that is nearly all background: the percentiles see none of the rest
        bottom, top = values[finite].min(), values[finite].max()
    span = top - bottom if top > bottom else np.inf
    scaled = np.where(finite, (np.where(finite, values, bottom) - bottom) / span, 0.0)
    return np.rint(np.clip(scaled, 0, 1) * 255).astype(np.uint8).transpose(1, 2, 0)


def render_panels(
    image: NDArray[np.generic],
    panels: Sequence[Panel],
    scheme: LabelScheme,
    *,
    at: Slice | None = None,
    size: int = 288,
) -> Picture:
    """The panels of one case in a row, with their titles and a legend.

    image: (C, *S).  at: the plane shown of a volume.  size: wanted length in pixels of the longer
    side of a panel; small images are scaled up by a whole factor, so that pixels stay pixels.
    Returns (height, width, 3).
    Raises GridMismatchError for an overlay on another grid than the image.
    """
    return contact_sheet([CaseRow("", image, panels, at)], scheme, size=size)


def contact_sheet(rows: Sequence[CaseRow], scheme: LabelScheme, *, size: int = 288) -> Picture:
    """Several cases under each other, columns aligned, one legend.  See `render_panels`."""
    if not rows or not all(row.panels for row in rows):
        raise SettingsError(
            "contact sheet",
            expected="at least one case and one panel in each",
            got=f"{len(rows)} cases",
            remedy="Hand in the cases that are to be shown.",
        )
    colours = structure_colours(len(scheme.structures))
    cells = [[_cell(row, panel, scheme, colours, size) for panel in row.panels] for row in rows]
    titles = _shown_titles(rows)
    widths = _column_widths(cells, titles)
    content = max(
        sum(widths) + _GAP * (len(widths) - 1),
        *(_text_width(row.name, _font(_TITLE_SIZE)) for row in rows),
    )
    legend = _legend([panel for row in rows for panel in row.panels], scheme, colours)
    lines = _wrap(legend, content)
    content = max(content, *(_line_width(line) for line in lines), 0)
    heights = [
        max(cell.shape[0] for cell in row_cells)
        + _TITLE_LINE * (bool(row.name) + any(row_titles))
        + _GAP
        for row, row_cells, row_titles in zip(rows, cells, titles, strict=True)
    ]
    height = sum(heights) + len(lines) * _LEGEND_LINE + 2 * _MARGIN
    sheet = Image.new("RGB", (content + 2 * _MARGIN, height), _BACKGROUND)
    y = _MARGIN
    for row, row_cells, row_titles, row_height in zip(rows, cells, titles, heights, strict=True):
        _draw_row(sheet, y, row.name, list(zip(row_titles, row_cells, widths, strict=False)))
        y += row_height
    for line in lines:
        _draw_legend_line(sheet, y, line)
        y += _LEGEND_LINE
    return np.asarray(sheet)


def encode_png(picture: Picture) -> bytes:
    """The bytes of a PNG file; the same picture always gives the same bytes."""
    buffer = io.BytesIO()
    Image.fromarray(picture).save(buffer, format="PNG", optimize=True)
    return buffer.getvalue()


def _cell(
    row: CaseRow, panel: Panel, scheme: LabelScheme, colours: Sequence[Colour], size: int
) -> Picture:
    """One panel without its title, (h, w, 3)."""
    picture = window(_plane(row.image, row.at, row.name))
    scaled = _resize(picture, size, Image.Resampling.BICUBIC)
    overlay = panel.overlay
    if overlay is None:
        return scaled
    arrays = [overlay.labels] if isinstance(overlay, Labels) else [overlay.given, overlay.flagged]
    planes = []
    for array in arrays:
        if array.shape[1:] != row.image.shape[1:]:
            raise GridMismatchError(
                row.name or panel.title,
                expected=f"an overlay of shape {row.image.shape[1:]}, as the image",
                got=f"{array.shape[1:]} in the panel {panel.title!r}",
                remedy="Bring it on the image's grid.",
            )
        flat = _plane(array, row.at, row.name)
        planes.append(np.stack([_resize(p, size, Image.Resampling.NEAREST) for p in flat]))
    if isinstance(overlay, Labels):
        return _paint_labels(scaled, planes[0], scheme, colours)
    return _paint_errors(scaled, planes[1].astype(bool), planes[0], scheme)


def _plane(array: NDArray[np.generic], at: Slice | None, name: str) -> NDArray[np.generic]:
    """(C, *S) as (C, H, W)."""
    if array.ndim != (3 if at is None else 4):
        raise GridMismatchError(
            name or "picture",
            expected="two spatial axes, or three and the plane to show",
            got=f"an array of shape {array.shape} and {at}",
            remedy="Say which plane of a volume is to be shown.",
        )
    return array if at is None else np.take(array, at.index, axis=at.axis + 1)


def _resize(plane: NDArray[np.generic], size: int, how: Image.Resampling) -> Picture:
    """(H, W) or (H, W, 3) with its longer side near to `size`, up by whole factors only."""
    height, width = plane.shape[:2]
    longer = max(height, width)
    scale = max(round(size / longer), 1) if longer <= size else size / longer
    shape = (max(round(width * scale), 1), max(round(height * scale), 1))
    return np.asarray(Image.fromarray(plane.astype(np.uint8)).resize(shape, how))


def _paint_labels(
    picture: Picture, labels: LabelArray, scheme: LabelScheme, colours: Sequence[Colour]
) -> Picture:
    for colour, structure in zip(colours, scheme.structures, strict=True):
        picture = _blend(picture, scheme.structure_mask(labels, structure), colour, 0.28)
    # outlines over all fills: a structure that lies on another stays whole
    for colour, structure in zip(colours, scheme.structures, strict=True):
        mask = scheme.structure_mask(labels, structure)
        picture = _blend(picture, _outline(mask, 2), colour, 1.0)
    return _hatch_ignored(picture, labels)


def _paint_errors(
    picture: Picture, flagged: BoolArray, given: LabelArray, scheme: LabelScheme
) -> Picture:
    judged = given != IGNORED
    wrong = (flagged & judged & (given > 0)).any(axis=0)
    missed = (flagged & judged & (given == 0)).any(axis=0)
    for mask, colour in (
        (wrong & ~missed, WRONG_FOREGROUND),
        (missed & ~wrong, MISSED_FOREGROUND),
        (wrong & missed, BOTH_ERRORS),
    ):
        picture = _blend(picture, mask, colour, 0.7)
    for structure in scheme.structures:
        edge = _outline(scheme.structure_mask(given, structure), 1)
        picture = _blend(picture, edge, OUTLINE_OF_GIVEN, 0.8)
    return _hatch_ignored(picture, given)


def _hatch_ignored(picture: Picture, labels: LabelArray) -> Picture:
    """Diagonal stripes where some plane takes no part."""
    ignored = (labels == IGNORED).any(axis=0)
    rows, columns = np.indices(ignored.shape)
    return _blend(picture, ignored & ((rows + columns) % 8 < 4), IGNORED_COLOUR, 0.75)


def _blend(picture: Picture, mask: BoolArray, colour: Colour, opacity: float) -> Picture:
    painted = picture.copy()
    mixed = picture[mask] * (1 - opacity) + np.array(colour) * opacity
    painted[mask] = np.rint(mixed).astype(np.uint8)
    return painted


def _outline(mask: BoolArray, thickness: int) -> BoolArray:
    """The pixels of a mask, (H, W), within `thickness` steps of its outside."""
    inner = mask
    for _ in range(thickness):
        framed = np.pad(inner, 1)
        inner = inner & framed[:-2, 1:-1] & framed[2:, 1:-1] & framed[1:-1, :-2] & framed[1:-1, 2:]
    return mask & ~inner


def _legend(
    panels: Sequence[Panel], scheme: LabelScheme, colours: Sequence[Colour]
) -> list[_Entry]:
    """Only what the panels can show."""
    entries: list[_Entry] = []
    overlays = [panel.overlay for panel in panels]
    noise_maps = [overlay for overlay in overlays if isinstance(overlay, NoiseMap)]
    if any(isinstance(overlay, Labels) for overlay in overlays):
        entries += zip(scheme.structures, colours, strict=True)
    if noise_maps:
        entries += [
            ("wrong foreground", WRONG_FOREGROUND),
            ("missed foreground", MISSED_FOREGROUND),
        ]
        if scheme.overlapping and len(scheme.structures) > 1:
            entries.append(("both, in two structures", BOTH_ERRORS))
        entries.append(("outline of the given label", OUTLINE_OF_GIVEN))
    labels = [o.labels if isinstance(o, Labels) else o.given for o in overlays if o is not None]
    if any((array == IGNORED).any() for array in labels):
        entries.append(("ignored", IGNORED_COLOUR))
    return entries


def _shown_titles(rows: Sequence[CaseRow]) -> list[list[str]]:
    """The titles of each row; blank where they repeat those of the row above."""
    titles = [[panel.title for panel in row.panels] for row in rows]
    return [
        [""] * len(own) if index and own == titles[index - 1] else own
        for index, own in enumerate(titles)
    ]


def _column_widths(
    cells: Sequence[Sequence[Picture]], titles: Sequence[Sequence[str]]
) -> list[int]:
    """The widest picture or title of each column; rows may be of different lengths."""
    font = _font(_TITLE_SIZE)
    widths = [0] * max(map(len, cells))
    for row_cells, row_titles in zip(cells, titles, strict=True):
        for column, (cell, title) in enumerate(zip(row_cells, row_titles, strict=True)):
            widths[column] = max(widths[column], cell.shape[1], _text_width(title, font))
    return widths


def _font(size: int) -> Font:
    return ImageFont.load_default(size)


def _text_width(text: str, font: Font) -> int:
    return int(np.ceil(font.getlength(text)))


def _entry_width(entry: _Entry) -> int:
    return _SWATCH + _SWATCH_GAP + _text_width(entry[0], _font(_LEGEND_SIZE)) + _ENTRY_GAP


def _line_width(line: Iterable[_Entry]) -> int:
    return sum(_entry_width(entry) for entry in line)


def _wrap(entries: Sequence[_Entry], width: int) -> list[list[_Entry]]:
    """Legend entries in lines no wider than `width`, one entry a line at least."""
    lines: list[list[_Entry]] = []
    for entry in entries:
        if lines and _line_width([*lines[-1], entry]) <= width:
            lines[-1].append(entry)
        else:
            lines.append([entry])
    return lines


def _draw_row(
    sheet: Image.Image, y: int, name: str, columns: Sequence[tuple[str, Picture, int]]
) -> None:
    """columns: title, picture and width of each."""
    draw, font = ImageDraw.Draw(sheet), _font(_TITLE_SIZE)
    if name:
        draw.text((_MARGIN, y), name, fill=_FAINT_INK, font=font)
        y += _TITLE_LINE
    below_titles = y + (_TITLE_LINE if any(title for title, _, _ in columns) else 0)
    x = _MARGIN
    for title, cell, width in columns:
        draw.text((x + width // 2, y), title, fill=_INK, font=font, anchor="ma")
        sheet.paste(Image.fromarray(cell), (x + (width - cell.shape[1]) // 2, below_titles))
        x += width + _GAP


def _draw_legend_line(sheet: Image.Image, y: int, line: Sequence[_Entry]) -> None:
    draw, font = ImageDraw.Draw(sheet), _font(_LEGEND_SIZE)
    x = _MARGIN
    for entry in line:
        text, colour = entry
        draw.rectangle((x, y + 2, x + _SWATCH, y + 2 + _SWATCH), fill=colour)
        draw.text((x + _SWATCH + _SWATCH_GAP, y), text, fill=_INK, font=font)
        x += _entry_width(entry)
