"""`.seg.nrrd`, the segmentations of 3D Slicer: named segments that may overlap.

A segment is a label value in a layer; segments of one layer do not overlap.  A file has three axes
and one layer, or a list axis of layers besides.  What a file says of its segments stands in fields
of its header, Segment0_Name and so on.

- A segment without a layer has that of its own number, one without a value the value 1, as Slicer
  reads files of its older versions; a file without any field has a segment for each value.
- Extent: Slicer shows of a layer only what lies in the extent of its first segment, so all segments
  of a layer have one extent, that of the layer.
- Equal names are told apart by the ID: "lesion (Segment_2)".

3D Slicer, developer guide, Segmentations; vtkMRMLSegmentationStorageNode.
"""

from __future__ import annotations

import colorsys
import re
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from maskmend.core import BoolArray, Grid
from maskmend.errors import GridMismatchError, MaskValueError, UnreadableFileError
from maskmend.files import write_bytes_atomic
from maskmend.formats import NO_MODELS, Header, Models
from maskmend.formats import nrrd as plain
from maskmend.formats.segment_layers import (
    Segment,
    extent_of,
    free_place,
    pack_masks,
    replace_masks,
)
from maskmend.formats.volumes import (
    GZIP,
    RIGHT_TO_LEFT,
    deflate,
    largest_of,
    native,
    unreadable,
    whole_numbers,
)

NEW_ENTRY = {
    "space directions": "none", "kinds": "list", "spacings": "NaN", "thicknesses": "NaN",
    "axis mins": "NaN", "axismins": "NaN", "axis maxs": "NaN", "axismaxs": "NaN",
    "centerings": "???", "centers": "???", "labels": '""', "units": '""',
}  # fmt: skip
"""Fields with an entry for each axis -> the entry of an axis of layers."""

TAGS = (
    "TerminologyEntry:Segmentation category and type - 3D Slicer General Anatomy list"
    "~SCT^85756007^Tissue~SCT^85756007^Tissue~^^~Anatomic codes - DICOM master list~^^~^^|"
)
"""What Slicer writes where it does not know what a segment is."""

FIELD = re.compile(r"([^:]+?)\s*:(=?)\s*(.*?)\s*$")


def read_header(path: Path) -> Header:
    file = plain.parse(path)
    plain.check_complete(file)
    # only a file without names has to be asked for its values
    segments = _named(file, _count(file)) or _segments(file, _layers(file))
    names = tuple(segment.name for segment in segments)
    return Header(file.grid, 1, file.stored.newbyteorder("="), segments=names)


def read_image(path: Path) -> tuple[NDArray[Any], Grid]:
    raise UnreadableFileError(
        str(path),
        expected="an image",
        got="a segmentation of 3D Slicer",
        remedy="Name the image; a plain label map has the ending .nrrd.",
    )


def read_segments(path: Path) -> tuple[dict[str, BoolArray], Grid]:
    file = plain.parse(path)
    layers = _layers(file)
    return {s.name: layers[s.layer] == s.value for s in _segments(file, layers)}, file.grid


def parts(path: Path) -> tuple[Path, ...]:
    return plain.parts(path)


def write_segments(
    path: Path, masks: Mapping[str, BoolArray], like: Path, models: Models = NO_MODELS
) -> None:
    """The file `like` with some of its segments replaced, all or nothing.

    masks: name -> (*S,) bool.  A segment that no longer fits into its layer moves to another one, a
    new one if need be.  models: a segment that `like` lacks is added at the end, with the fields
    that it has in the file of `models`; its ID is another where that one is taken.  Raises
    MaskValueError (an unknown name; no value left for a new one), GridMismatchError.
    """
    file = plain.parse(like)
    layers = _layers(file)
    before = _segments(file, layers)
    said: dict[str, str] = {}
    for name in masks:
        if name in models and name not in {segment.name for segment in before}:
            added = _added(file, layers, before, name)
            said |= _said_of(added, plain.parse(models[name]), file)
            before = [*before, added]
    _check_masks(path, masks, before, file.grid)
    wanted = {
        segment: np.asarray(masks[segment.name], bool)
        for segment in before
        if segment.name in masks
        and not np.array_equal(masks[segment.name], layers[segment.layer] == segment.value)
    }
    layers, after = replace_masks(layers, before, wanted, largest_of(file.stored))
    touched = {s.layer for s in wanted} | {s.layer for o, s in zip(before, after, strict=True)
                                           if o in wanted}  # fmt: skip
    lines = _with_layers(file, len(layers))
    lines = _with_fields(lines, said | _changed_fields(before, after, layers, touched))
    axis = file.channels[0] if file.channels else len(file.grid.shape)
    stored = np.moveaxis(layers, 0, axis) if len(layers) > 1 or file.channels else layers[0]
    plain.write_numbers(path, np.ascontiguousarray(stored, file.stored), file, lines)


def create_segments(
    path: Path,
    masks: Mapping[str, BoolArray],
    grid: Grid,
    colours: Mapping[str, tuple[float, float, float]] | None = None,
) -> None:
    """A new segmentation for 3D Slicer, all or nothing.

    masks: name -> (*S,) bool, which may overlap; a picture becomes a volume of one slice.  grid:
    theirs; without an affine the axes are those of the scanner, with 1 mm where it knows no
    spacing.  colours: red, green and blue in [0, 1]; a name without one gets one of its own.
    Raises GridMismatchError, ValueError (no masks, or a colour outside [0, 1]).
    """
    if not masks:
        raise ValueError(f"{path}: a segmentation needs a segment")
    for name, mask in masks.items():
        _check_shape(path, name, mask.shape, grid.shape)
    layers, segments = pack_masks(masks)
    order = {1: "", 2: "endian: little\n"}[layers.itemsize]
    steps, origin = _lps(grid)
    several = len(layers) > 1
    sizes = (*layers.shape[:0:-1],)
    lines = [
        "NRRD0004\n",
        "# Complete NRRD file format specification at:\n",
        "# http://teem.sourceforge.net/nrrd/format.html\n",
        f"type: {'unsigned char' if layers.itemsize == 1 else 'unsigned short'}\n",
        f"dimension: {3 + several}\n",
        "space: left-posterior-superior\n",
        f"sizes: {f'{len(layers)} ' * several}{' '.join(map(str, sizes))}\n",
        f"space directions: {'none ' * several}{' '.join(_vector(step) for step in steps)}\n",
        f"kinds: {'list ' * several}domain domain domain\n",
        f"{order}encoding: gzip\n",
        f"space origin: {_vector(origin)}\n",
        *_new_fields(segments, layers, colours or {}),
        "\n",
    ]
    body = np.moveaxis(layers, 0, -1).astype(layers.dtype.newbyteorder("<")).tobytes()
    write_bytes_atomic(path, "".join(lines).encode() + deflate(body, GZIP))


def _count(file: plain.NrrdFile) -> int:
    """Of layers.  Raises UnreadableFileError where the axes are not those of a segmentation."""
    if len(file.grid.shape) != 3 or len(file.channels) > 1:
        raise unreadable(
            file.path, "three spatial axes, and one of layers", f"sizes {file.sizes[::-1]}"
        )
    return file.sizes[file.channels[0]] if file.channels else 1


def _layers(file: plain.NrrdFile) -> NDArray[Any]:
    """(layers, *S) integers; a view of the file's numbers where they are integers."""
    _count(file)
    stored = plain.channels_first(file, plain.read_numbers(file))
    return whole_numbers(native(stored), file.path)


def _segments(file: plain.NrrdFile, layers: NDArray[Any]) -> list[Segment]:
    """In the order of the file, with names that differ."""
    found = _named(file, len(layers))
    if found:
        return found
    values = [
        Segment(None, f"Segment_{value}", layer, value)
        for layer, volume in enumerate(layers)
        for value in np.unique(volume[volume != 0]).tolist()
    ]
    return _told_apart(values, [f"layer {segment.layer}" for segment in values])


def _named(file: plain.NrrdFile, layers: int) -> list[Segment]:
    """The segments that have fields; empty where none has."""
    fields, ids = file.fields, []
    found: list[Segment] = []
    while f"Segment{len(found)}_ID" in fields or f"Segment{len(found)}_Name" in fields:
        prefix, number = f"Segment{len(found)}_", len(found)
        ids.append(_unescaped(fields.get(f"{prefix}ID", f"Segment_{number + 1}")))
        name = _unescaped(fields.get(f"{prefix}Name", "")) or ids[-1]
        layer, value = fields.get(f"{prefix}Layer", number), fields.get(f"{prefix}LabelValue", 1)
        try:
            found.append(Segment(number, name, int(layer), int(value)))
        except ValueError as error:
            raise unreadable(file.path, f"whole numbers for {name}", str(error)) from error
        if not 0 <= found[-1].layer < layers or found[-1].value == 0:
            raise unreadable(
                file.path,
                f"the segment {name} in one of {layers} layers, with a value",
                f"layer {layer}, value {value}",
            )
    return _told_apart(found, ids)


def _added(
    file: plain.NrrdFile, layers: NDArray[Any], segments: Sequence[Segment], name: str
) -> Segment:
    """A new segment, of which no voxel is there yet.  Raises MaskValueError."""
    place = free_place(layers, segments, largest_of(file.stored))
    number: int | None = len(segments)
    if segments and segments[0].number is None:
        # a file without fields calls its segments after their values
        number, value = None, re.fullmatch(r"Segment_(\d+)", name)
        known = value is not None and 0 < int(value[1]) <= largest_of(file.stored)
        place = (0, int(value[1])) if value is not None and known else None
    if place is None:
        raise MaskValueError(
            str(file.path),
            expected=f"a value that is free for the segment {name}, which the file lacks",
            got=f"{len(segments)} segments, which leave none",
            remedy="Add an empty segment of this name to the file.",
        )
    return Segment(number, name, *place)


def _said_of(added: Segment, model: plain.NrrdFile, file: plain.NrrdFile) -> dict[str, str]:
    """Fields of a new segment: those of its namesake in another file, but where it lies.

    Raises MaskValueError where that file has no such segment.
    """
    known = read_header(model.path).segments
    if added.name not in known:
        raise MaskValueError(
            str(model.path),
            expected=f"the segment {added.name!r}",
            got=f"{list(known)}",
            remedy="Name a file that has it.",
        )
    if added.number is None:
        return {}
    namesake = next((s for s in _named(model, _count(model)) if s.name == added.name), None)
    prefix, old = (
        f"Segment{added.number}_",
        "" if namesake is None else f"Segment{namesake.number}_",
    )
    fields = {
        prefix + key.removeprefix(old): str(value)
        for key, value in model.fields.items()
        if old and key.startswith(old)
    }
    ids = {file.fields.get(f"Segment{number}_ID") for number in range(added.number)}
    identity = fields.get(f"{prefix}ID", f"Segment_{added.number + 1}")
    while identity in ids:
        identity += "_1"
    return fields | {
        f"{prefix}ID": identity,
        # in its own file it may be called after its ID
        f"{prefix}Name": _escaped(added.name),
        f"{prefix}Layer": str(added.layer),
        f"{prefix}LabelValue": str(added.value),
    }


def _told_apart(segments: Sequence[Segment], ids: Sequence[str]) -> list[Segment]:
    counts = Counter(segment.name for segment in segments)
    return [
        replace(segment, name=f"{segment.name} ({identity})")
        if counts[segment.name] > 1
        else segment
        for segment, identity in zip(segments, ids, strict=True)
    ]


def _unescaped(text: Any) -> str:
    """NRRD writes a line end as \\n and a backslash as two."""
    return re.sub(r"\\(n|\\)", lambda found: "\n" if found[1] == "n" else "\\", str(text))


def _escaped(text: str) -> str:
    return text.replace("\\", "\\\\").replace("\n", "\\n")


def _check_masks(
    path: Path, masks: Mapping[str, BoolArray], segments: Sequence[Segment], grid: Grid
) -> None:
    known = [segment.name for segment in segments]
    for name, mask in masks.items():
        if name not in known:
            raise MaskValueError(
                str(path),
                expected=f"one of the segments {', '.join(known)}",
                got=name,
                remedy="Name a segment of the file that is replaced.",
            )
        _check_shape(path, name, mask.shape, grid.shape)


def _check_shape(path: Path, name: str, shape: tuple[int, ...], expected: tuple[int, ...]) -> None:
    if shape != expected:
        raise GridMismatchError(
            str(path),
            expected=f"a mask of {name} of the segmentation's shape, {expected}",
            got=f"{shape}",
            remedy="Resample the mask to the grid of the segmentation.",
        )


def _changed_fields(
    before: Sequence[Segment],
    after: Sequence[Segment],
    layers: NDArray[Any],
    touched: set[int],
) -> dict[str, str]:
    fields = {}
    for old, new in zip(before, after, strict=True):
        if new.number is None:
            continue
        if new != old:
            fields[f"Segment{new.number}_Layer"] = str(new.layer)
            fields[f"Segment{new.number}_LabelValue"] = str(new.value)
        if new.layer in touched:
            fields[f"Segment{new.number}_Extent"] = extent_of(layers[new.layer])
    return fields


def _with_layers(file: plain.NrrdFile, count: int) -> list[str]:
    """The lines of the header for a number of layers; the same ones where it is the same."""
    if count == _count(file):
        return list(file.lines)
    lines = []
    for line in file.lines:
        found = FIELD.match(line)
        name = found[1].lower() if found and not found[2] else ""
        entries = found[3] if found else ""
        if name == "sizes" and file.channels:
            sizes = entries.split()
            sizes[len(file.sizes) - 1 - file.channels[0]] = str(count)
            entries = " ".join(sizes)
        elif name == "sizes":
            entries = f"{count} {entries}"
        elif name == "dimension" and not file.channels:
            entries = "4"
        elif name in NEW_ENTRY and not file.channels:
            entries = f"{NEW_ENTRY[name]} {entries}"
        else:
            lines.append(line)
            continue
        lines.append(f"{name}: {entries}{line[len(line.rstrip()) :]}")
    if "kinds" not in file.fields and not file.channels:
        lines.insert(-1, f"kinds: list domain domain domain{_line_end(lines)}")
    return lines


def _with_fields(lines: Sequence[str], fields: Mapping[str, str]) -> list[str]:
    """The lines with some key/value fields set; new ones stand at the end of the header."""
    left, text = dict(fields), []
    for line in lines:
        found = FIELD.match(line)
        if found and found[2] and found[1] in left:
            line = f"{found[1]}:={left.pop(found[1])}{line[len(line.rstrip()) :]}"
        text.append(line)
    at = len(text) - (not text[-1].strip())
    text[at:at] = [f"{name}:={value}{_line_end(lines)}" for name, value in left.items()]
    return text


def _line_end(lines: Sequence[str]) -> str:
    return lines[0][len(lines[0].rstrip()) :] or "\n"


def _lps(grid: Grid) -> tuple[list[NDArray[np.float64]], NDArray[np.float64]]:
    """(steps along x, y and z; the first voxel) in LPS."""
    if grid.affine is not None:
        matrix = RIGHT_TO_LEFT @ np.array(grid.affine) + 0.0
        return [matrix[:3, axis] for axis in (2, 1, 0)], matrix[:3, 3]
    lengths = grid.steps if len(grid.shape) == 3 else (1.0, *grid.steps)
    return list(np.diag(lengths[::-1])), np.zeros(3)


def _vector(values: NDArray[np.float64]) -> str:
    return f"({','.join(repr(value) for value in values.tolist())})"


def _new_fields(
    segments: Sequence[Segment],
    layers: NDArray[Any],
    colours: Mapping[str, tuple[float, float, float]],
) -> list[str]:
    extents = [extent_of(volume) for volume in layers]
    lines = []
    for number, segment in enumerate(segments):
        # the golden ratio takes neighbours in the list far apart on the circle of colours
        own = colorsys.hsv_to_rgb(0.618034 * number % 1, 0.65, 0.95)
        colour = colours.get(segment.name, own)
        if len(colour) != 3 or not all(0 <= part <= 1 for part in colour):
            raise ValueError(f"{segment.name}: {colour} is no colour within [0, 1]")
        values = {
            "Color": " ".join(f"{part:.6g}" for part in colour),
            "ColorAutoGenerated": str(int(segment.name not in colours)),
            "Extent": extents[segment.layer],
            "ID": f"Segment_{number + 1}",
            "LabelValue": str(segment.value),
            "Layer": str(segment.layer),
            "Name": _escaped(segment.name),
            "NameAutoGenerated": "0",
            "Tags": TAGS,
        }
        lines += [f"Segment{number}_{key}:={value}\n" for key, value in values.items()]
    return [
        *lines,
        "Segmentation_ContainedRepresentationNames:=Binary labelmap|\n",
        # the second is what versions before 5.2 ask for
        "Segmentation_SourceRepresentation:=Binary labelmap\n",
        "Segmentation_MasterRepresentation:=Binary labelmap\n",
        "Segmentation_ReferenceImageExtentOffset:=0 0 0\n",
    ]
