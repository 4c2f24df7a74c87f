"""Segmentations of 3D Slicer: overlap, layers, and what a rewrite keeps."""

from __future__ import annotations

import gzip
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import nrrd
import numpy as np
import pytest
import SimpleITK as sitk  # noqa: N813
from hypothesis import given, settings
from hypothesis import strategies as st

from maskmend import formats
from maskmend.core import Grid
from maskmend.errors import (
    GridMismatchError,
    MaskValueError,
    MissingFileError,
    UnreadableFileError,
)
from maskmend.formats.seg_nrrd import create_segments

SHAPE = (3, 4, 5)
AFFINE = ((0.0, 0.0, -0.5, 10.0), (0.0, 2.0, 0.0, -20.0), (3.0, 0.0, 0.0, 30.0),
          (0.0, 0.0, 0.0, 1.0))  # fmt: skip
GRID = Grid(SHAPE, (3.0, 2.0, 0.5), AFFINE)
PLACE = """space: left-posterior-superior
space directions: {none}(0.5,0,0) (0,-2,0) (0,0,3)
kinds: {kinds}domain domain domain
encoding: {encoding}
space origin: (-10,20,30)
"""


def _box(*ranges: tuple[int, int], shape: tuple[int, ...] = SHAPE) -> np.ndarray:
    """True within [first, last] of slices, rows and columns."""
    mask = np.zeros(shape, bool)
    mask[tuple(slice(first, last + 1) for first, last in ranges)] = True
    return mask


LIVER = _box((0, 1), (0, 1), (0, 2))
SPLEEN = _box((2, 2), (2, 3), (3, 4))
LESION = _box((1, 1), (1, 1), (1, 1))
KIDNEY = _box((0, 0), (3, 3), (4, 4))


def _put(
    path: Path, layers: list[np.ndarray], segments: list[dict[str, Any]], encoding: str = "gzip"
) -> Path:
    """As Slicer writes it.  layers: label maps; one alone stands without a list axis."""
    several = len(layers) > 1
    array = np.stack(layers, axis=-1) if several else layers[0]
    text = "NRRD0004\n# Complete NRRD file format specification at:\n"
    text += f"type: unsigned char\ndimension: {array.ndim}\n"
    text += f"sizes: {' '.join(map(str, array.shape[::-1]))}\n"
    text += PLACE.format(none="none " * several, kinds="list " * several, encoding=encoding)
    for number, fields in enumerate(segments):
        fields = {"Color": "0.5 0.25 1", "Tags": "Model:x:y|Größe:=3|"} | fields
        text += "".join(f"Segment{number}_{key}:={value}\n" for key, value in fields.items())
    text += "Segmentation_ContainedRepresentationNames:=Binary labelmap|Closed surface|\n"
    text += "Segmentation_ReferenceImageExtentOffset:=7 8 9\n\n"
    body = array.astype(np.uint8).tobytes()
    path.write_bytes(text.encode() + (gzip.compress(body) if encoding == "gzip" else body))
    return path


def _segment(
    identity: str, name: str, value: int, layer: int, extent: str = "0 4 0 3 0 2"
) -> dict[str, Any]:
    return {"ID": identity, "Name": name, "LabelValue": value, "Layer": layer, "Extent": extent}


def _one_layer(path: Path) -> Path:
    labels = 1 * LIVER + 5 * SPLEEN
    return _put(path, [labels], [_segment("S1", "liver", 1, 0), _segment("S2", "spleen", 5, 0)])


def _two_layers(path: Path) -> Path:
    """The lesion lies in the liver and has its value, too."""
    segments = [
        _segment("S1", "liver", 1, 0), _segment("S2", "spleen", 2, 0),
        _segment("S3", "lesion", 1, 1, "1 1 1 1 1 1"), _segment("S4", "kidney", 2, 1),
    ]  # fmt: skip
    return _put(path, [1 * LIVER + 2 * SPLEEN, 1 * LESION + 2 * KIDNEY], segments)


def _fields(path: Path) -> dict[str, Any]:
    return dict(nrrd.read_header(str(path)))


def _text(path: Path) -> list[str]:
    return path.read_bytes().partition(b"\n\n")[0].decode().splitlines()


def _by_hand(path: Path) -> dict[str, np.ndarray]:
    """Segments by pynrrd and the published rules alone."""
    array, header = nrrd.read(str(path), index_order="C")
    layers = array[..., None] if array.ndim == 3 else array
    found, number = {}, 0
    while f"Segment{number}_ID" in header:
        field = f"Segment{number}_"
        layer, value = int(header[f"{field}Layer"]), int(header[f"{field}LabelValue"])
        mask = layers[..., layer] == value
        # Slicer shows nothing outside the extent of a layer's first segment
        ends = [int(end) for end in header[f"{field}Extent"].split()]
        shown = _box(*zip(ends[4::-2], ends[5::-2], strict=True), shape=mask.shape)
        assert (shown | ~mask).all(), f"{field}Extent"
        found[header[f"{field}Name"]] = mask
        number += 1
    return found


def _same(found: Mapping[str, np.ndarray], expected: Mapping[str, np.ndarray]) -> bool:
    assert list(found) == list(expected)
    return all(np.array_equal(found[name], expected[name]) for name in expected)


class TestReading:
    def test_one_layer(self, tmp_path: Path) -> None:
        path = _one_layer(tmp_path / "a.seg.nrrd")
        masks, grid = formats.read_segments(path)
        assert _same(masks, {"liver": LIVER, "spleen": SPLEEN})
        assert grid == GRID
        assert all(mask.dtype == bool for mask in masks.values())
        header = formats.read_header(path)
        assert (header.segments, header.grid) == (("liver", "spleen"), GRID)
        assert header.channels == 1

    def test_segments_that_overlap(self, tmp_path: Path) -> None:
        masks, grid = formats.read_segments(_two_layers(tmp_path / "a.seg.nrrd"))
        expected = {"liver": LIVER, "spleen": SPLEEN, "lesion": LESION, "kidney": KIDNEY}
        assert _same(masks, expected)
        assert grid == GRID

    def test_equal_names(self, tmp_path: Path) -> None:
        segments = [_segment("S1", "lesion", 1, 0), _segment("S2", "lesion", 5, 0)]
        path = _put(tmp_path / "a.seg.nrrd", [1 * LIVER + 5 * SPLEEN], segments)
        masks, _ = formats.read_segments(path)
        assert _same(masks, {"lesion (S1)": LIVER, "lesion (S2)": SPLEEN})
        formats.write_segments(tmp_path / "b.seg.nrrd", {"lesion (S2)": KIDNEY}, path)
        assert _fields(tmp_path / "b.seg.nrrd")["Segment1_Name"] == "lesion"
        masks, _ = formats.read_segments(tmp_path / "b.seg.nrrd")
        assert _same(masks, {"lesion (S1)": LIVER, "lesion (S2)": KIDNEY})

    def test_a_file_of_an_older_slicer(self, tmp_path: Path) -> None:
        """A layer for each segment, no values."""
        segments = [{"ID": "S1", "Name": "liver"}, {"ID": "S2", "Name": "Größe"}]
        path = _put(tmp_path / "a.seg.nrrd", [LIVER, LESION], segments)
        assert _same(formats.read_segments(path)[0], {"liver": LIVER, "Größe": LESION})

    def test_a_file_without_names(self, tmp_path: Path) -> None:
        path = _put(tmp_path / "a.seg.nrrd", [3 * LIVER + 5 * SPLEEN], [])
        assert _same(formats.read_segments(path)[0], {"Segment_3": LIVER, "Segment_5": SPLEEN})
        formats.write_segments(tmp_path / "b.seg.nrrd", {"Segment_5": LESION}, path)
        masks, _ = formats.read_segments(tmp_path / "b.seg.nrrd")
        assert np.array_equal(masks["Segment_3"], LIVER)
        assert np.array_equal(masks["Segment_5"], LESION)

    def test_an_empty_name_and_escapes(self, tmp_path: Path) -> None:
        segments = [_segment("S1", "", 1, 0), _segment("S2", r"a\nb\\n", 5, 0)]
        path = _put(tmp_path / "a.seg.nrrd", [1 * LIVER + 5 * SPLEEN], segments)
        assert list(formats.read_segments(path)[0]) == ["S1", "a\nb\\n"]

    def test_the_header_is_read_without_the_voxels(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        path = _two_layers(tmp_path / "a.seg.nrrd")

        def never(*_: Any) -> None:
            raise AssertionError("all of it was inflated")

        monkeypatch.setattr("maskmend.formats.nrrd.inflate", never)
        assert formats.read_header(path).segments == ("liver", "spleen", "lesion", "kidney")

    def test_a_flat_file(self, tmp_path: Path) -> None:
        sitk.WriteImage(sitk.GetImageFromArray(np.ones((4, 5), np.uint8)), tmp_path / "a.nrrd")
        (tmp_path / "a.nrrd").rename(tmp_path / "a.seg.nrrd")
        for read in (formats.read_header, formats.read_segments):
            with pytest.raises(UnreadableFileError, match="three spatial axes"):
                read(tmp_path / "a.seg.nrrd")

    def test_it_is_no_image_and_no_label_map(self, tmp_path: Path) -> None:
        path = _one_layer(tmp_path / "a.seg.nrrd")
        with pytest.raises(UnreadableFileError, match="a segmentation of 3D Slicer"):
            formats.read_image(path)
        with pytest.raises(ValueError, match="read_segments"):
            formats.read_mask(path)

    @pytest.mark.parametrize("encoding", ["gzip", "raw"])
    def test_truncated(self, tmp_path: Path, encoding: str) -> None:
        path = _put(tmp_path / "a.seg.nrrd", [1 * LIVER], [_segment("S", "x", 1, 0)], encoding)
        data = path.read_bytes()
        for length in (0, 1, 20, len(data) - 30, len(data) - 1):
            path.write_bytes(data[:length])
            for read in (formats.read_header, formats.read_segments):
                with pytest.raises(UnreadableFileError, match=r"a\.seg\.nrrd"):
                    read(path)
        path.unlink()
        with pytest.raises(MissingFileError, match=r"a\.seg\.nrrd"):
            formats.read_segments(path)

    @pytest.mark.parametrize(
        ("field", "value"), [("Layer", 1), ("Layer", -1), ("LabelValue", 0), ("Layer", "one")]
    )
    def test_a_segment_that_is_nowhere(self, tmp_path: Path, field: str, value: Any) -> None:
        segment = _segment("S1", "liver", 1, 0) | {field: value}
        path = _put(tmp_path / "a.seg.nrrd", [1 * LIVER], [segment])
        with pytest.raises(UnreadableFileError, match="liver"):
            formats.read_segments(path)


class TestWriting:
    def test_nothing_changed(self, tmp_path: Path) -> None:
        for number, put in enumerate((_one_layer, _two_layers)):
            source = put(tmp_path / f"{number}.seg.nrrd")
            target = tmp_path / "out" / source.name
            formats.write_segments(target, formats.read_segments(source)[0], source)
            assert _text(target) == _text(source)
            assert nrrd.read(str(target))[0].tobytes() == nrrd.read(str(source))[0].tobytes()

    def test_one_segment_is_replaced(self, tmp_path: Path) -> None:
        source = _one_layer(tmp_path / "a.seg.nrrd")
        before = source.read_bytes()
        smaller = LIVER & ~LESION
        target = tmp_path / "b.seg.nrrd"
        formats.write_segments(target, {"liver": smaller}, source)
        expected = {"liver": smaller, "spleen": SPLEEN}
        masks, grid = formats.read_segments(target)
        assert _same(masks, expected)
        assert _same(_by_hand(target), expected)
        assert grid == GRID
        # the layer still reaches from corner to corner
        assert _text(target) == _text(source)
        assert source.read_bytes() == before

    def test_a_conflict_makes_a_layer(self, tmp_path: Path) -> None:
        source = _one_layer(tmp_path / "a.seg.nrrd")
        target = tmp_path / "b.seg.nrrd"
        larger = SPLEEN | LESION
        formats.write_segments(target, {"spleen": larger}, source)
        expected = {"liver": LIVER, "spleen": larger}
        assert _same(formats.read_segments(target)[0], expected)
        assert _same(_by_hand(target), expected)
        fields, old = _fields(target), _fields(source)
        assert fields["sizes"].tolist() == [2, 5, 4, 3]
        assert fields["kinds"] == ["list", "domain", "domain", "domain"]
        assert np.isnan(fields["space directions"][0]).all()
        assert np.array_equal(fields["space directions"][1:], old["space directions"])
        assert (fields["Segment0_Layer"], fields["Segment1_Layer"]) == ("0", "1")
        # what it left behind is smaller: x 0..2, y 0..1, z 0..1
        assert fields["Segment0_Extent"] == "0 2 0 1 0 1"
        assert fields["Segment1_Extent"] == "1 4 1 3 1 2"
        changed = {"dimension", "sizes", "kinds", "space directions"}
        changed |= {f"Segment{n}_{field}" for n in (0, 1) for field in ("Layer", "Extent")}
        for key in old.keys() - changed:
            assert np.array_equal(fields[key], old[key]), key
        assert fields.keys() == old.keys()

    def test_a_conflict_uses_a_free_layer(self, tmp_path: Path) -> None:
        source = _two_layers(tmp_path / "a.seg.nrrd")
        target = tmp_path / "b.seg.nrrd"
        larger = SPLEEN | _box((0, 0), (0, 0), (0, 0))
        formats.write_segments(target, {"spleen": larger}, source)
        expected = {"liver": LIVER, "spleen": larger, "lesion": LESION, "kidney": KIDNEY}
        assert _same(formats.read_segments(target)[0], expected)
        assert _same(_by_hand(target), expected)
        fields = _fields(target)
        assert fields["sizes"].tolist() == [2, 5, 4, 3]
        # 2 is the kidney's value there, 1 the lesion's
        assert (fields["Segment1_Layer"], fields["Segment1_LabelValue"]) == ("1", "3")

    def test_a_third_layer(self, tmp_path: Path) -> None:
        source = _two_layers(tmp_path / "a.seg.nrrd")
        target = tmp_path / "b.seg.nrrd"
        everywhere = np.ones(SHAPE, bool)
        formats.write_segments(target, {"spleen": everywhere, "kidney": everywhere}, source)
        expected = {"liver": LIVER, "spleen": everywhere, "lesion": LESION, "kidney": everywhere}
        assert _same(formats.read_segments(target)[0], expected)
        assert _same(_by_hand(target), expected)
        assert _fields(target)["sizes"].tolist() == [4, 5, 4, 3]

    def test_segments_that_exchange_their_voxels_stay(self, tmp_path: Path) -> None:
        source = _one_layer(tmp_path / "a.seg.nrrd")
        target = tmp_path / "b.seg.nrrd"
        formats.write_segments(target, {"liver": SPLEEN, "spleen": LIVER}, source)
        assert _same(_by_hand(target), {"liver": SPLEEN, "spleen": LIVER})
        assert _fields(target)["dimension"] == 3

    def test_a_segment_that_becomes_empty(self, tmp_path: Path) -> None:
        path = _put(tmp_path / "a.seg.nrrd", [1 * LIVER], [_segment("S1", "liver", 1, 0)])
        target = tmp_path / "b.seg.nrrd"
        formats.write_segments(target, {"liver": np.zeros(SHAPE, bool)}, path)
        masks, _ = formats.read_segments(target)
        assert not masks["liver"].any()
        assert _fields(target)["Segment0_Extent"] == "0 -1 0 -1 0 -1"

    def test_two_segments_with_one_value(self, tmp_path: Path) -> None:
        segments = [_segment("S1", "liver", 1, 0), _segment("S2", "organ", 1, 0)]
        path = _put(tmp_path / "a.seg.nrrd", [1 * LIVER], segments)
        formats.write_segments(tmp_path / "b.seg.nrrd", {"organ": SPLEEN}, path)
        expected = {"liver": LIVER, "organ": SPLEEN}
        assert _same(_by_hand(tmp_path / "b.seg.nrrd"), expected)

    def test_the_fields_of_an_older_slicer_are_added(self, tmp_path: Path) -> None:
        segments = [{"ID": "S1", "Name": "liver"}, {"ID": "S2", "Name": "lesion"}]
        path = _put(tmp_path / "a.seg.nrrd", [LIVER, LESION], segments)
        target = tmp_path / "b.seg.nrrd"
        formats.write_segments(target, {"lesion": KIDNEY}, path)
        assert _same(formats.read_segments(target)[0], {"liver": LIVER, "lesion": KIDNEY})
        assert _fields(target)["Segment1_Extent"] == "4 4 3 3 0 0"

    def test_the_file_opens_in_itk(self, tmp_path: Path) -> None:
        source = _one_layer(tmp_path / "a.seg.nrrd")
        target = tmp_path / "b.seg.nrrd"
        formats.write_segments(target, {"spleen": SPLEEN | LESION}, source)
        image = sitk.ReadImage(str(target))
        assert image.GetNumberOfComponentsPerPixel() == 2
        layers = sitk.GetArrayFromImage(image)
        assert np.array_equal(layers[..., 0] == 1, LIVER)
        assert np.array_equal(layers[..., 1] == 5, SPLEEN | LESION)
        assert image.GetMetaData("Segment1_Name") == "spleen"
        for z, y, x in ((0, 0, 0), (2, 3, 4), (1, 0, 2)):
            place = np.array(image.TransformIndexToPhysicalPoint((x, y, z))) * (-1, -1, 1)
            assert np.allclose(place, (np.array(AFFINE) @ (z, y, x, 1))[:3])

    def test_a_new_segment_is_called_as_it_is_there(self, tmp_path: Path) -> None:
        source = _one_layer(tmp_path / "a.seg.nrrd")
        # equal names are told apart by the ID
        twice = [_segment("S1", "lesion", 1, 0), _segment("S2", "lesion", 2, 0)]
        model = _put(tmp_path / "m.seg.nrrd", [LESION + 2 * KIDNEY], twice)
        target = tmp_path / "b.seg.nrrd"
        formats.write_segments(target, {"lesion (S2)": KIDNEY}, source, {"lesion (S2)": model})
        found, _ = formats.read_segments(target)
        assert list(found)[-1] == "lesion (S2)"
        assert np.array_equal(found["lesion (S2)"], KIDNEY)
        assert "Segment2_Tags:=Model:x:y|Größe:=3|" in target.read_bytes()[:2000].decode(
            "utf-8", "ignore"
        )

    def test_no_value_is_left(self, tmp_path: Path) -> None:
        values = [_segment(f"S{n}", f"n{n}", n, 0) for n in range(1, 256)]
        full = _put(tmp_path / "a.seg.nrrd", [np.zeros(SHAPE, np.uint8)], values)
        model = _one_layer(tmp_path / "m.seg.nrrd")
        with pytest.raises(MaskValueError, match="a value that is free for the segment liver"):
            formats.write_segments(tmp_path / "b.seg.nrrd", {"liver": LIVER}, full,
                                   {"liver": model})  # fmt: skip

    def test_a_new_value_in_a_file_without_names(self, tmp_path: Path) -> None:
        plain = _put(tmp_path / "a.seg.nrrd", [LIVER.astype(np.uint8)], [])
        model = _put(tmp_path / "m.seg.nrrd", [3 * KIDNEY.astype(np.uint8)], [])
        target = tmp_path / "b.seg.nrrd"
        formats.write_segments(target, {"Segment_3": KIDNEY}, plain, {"Segment_3": model})
        found, _ = formats.read_segments(target)
        assert list(found) == ["Segment_1", "Segment_3"]
        assert np.array_equal(found["Segment_3"], KIDNEY)
        named = _one_layer(tmp_path / "n.seg.nrrd")
        with pytest.raises(MaskValueError, match="free for the segment liver, which the file"):
            formats.write_segments(target, {"liver": LIVER}, plain, {"liver": named})

    def test_unknown_names_and_other_shapes(self, tmp_path: Path) -> None:
        source = _one_layer(tmp_path / "a.seg.nrrd")
        target = tmp_path / "b.seg.nrrd"
        with pytest.raises(MaskValueError, match="liver, spleen; got heart"):
            formats.write_segments(target, {"heart": LIVER}, source)
        with pytest.raises(GridMismatchError, match="mask of liver"):
            formats.write_segments(target, {"liver": LIVER.T}, source)
        assert not target.exists()

    @given(data=st.data())
    @settings(max_examples=60)
    def test_any_masks_come_back(
        self, tmp_path_factory: pytest.TempPathFactory, data: st.DataObject
    ) -> None:
        folder = tmp_path_factory.getbasetemp()
        seeds = data.draw(st.lists(st.integers(0, 999), min_size=1, max_size=5), "seeds")
        shares = data.draw(st.lists(st.sampled_from([0, 0.1, 0.5, 1]), min_size=5, max_size=5))
        masks = {
            f"s{number}": np.random.default_rng(seed).random(SHAPE) < share
            for number, (seed, share) in enumerate(zip(seeds, shares, strict=False))
        }
        create_segments(folder / "a.seg.nrrd", masks, GRID)
        assert _same(_by_hand(folder / "a.seg.nrrd"), masks)
        changed = data.draw(st.sets(st.sampled_from(sorted(masks))), "changed")
        new = {name: np.random.default_rng(len(name)).random(SHAPE) < 0.3 for name in changed}
        formats.write_segments(folder / "b.seg.nrrd", new, folder / "a.seg.nrrd")
        assert _same(_by_hand(folder / "b.seg.nrrd"), masks | new)
        assert _same(formats.read_segments(folder / "b.seg.nrrd")[0], masks | new)
        assert formats.read_segments(folder / "b.seg.nrrd")[1] == GRID


class TestCreating:
    def test_masks_that_do_not_overlap(self, tmp_path: Path) -> None:
        path = tmp_path / "new" / "a.seg.nrrd"
        create_segments(
            path, {"liver": LIVER, "a\nb": SPLEEN}, GRID, colours={"liver": (1, 0.5, 0)}
        )
        assert _same(formats.read_segments(path)[0], {"liver": LIVER, "a\nb": SPLEEN})
        assert formats.read_segments(path)[1] == GRID
        fields = _fields(path)
        assert (fields["type"], fields["encoding"]) == ("unsigned char", "gzip")
        assert fields["space"] == "left-posterior-superior"
        assert fields["sizes"].tolist() == [5, 4, 3]
        assert fields["Segment0_Color"] == "1 0.5 0"
        assert fields["Segment0_Extent"] == fields["Segment1_Extent"] == "0 4 0 3 0 2"
        assert len({fields[f"Segment{number}_ID"] for number in (0, 1)}) == 2
        for name in ("ContainedRepresentationNames", "SourceRepresentation",
                     "MasterRepresentation", "ReferenceImageExtentOffset"):  # fmt: skip
            assert fields[f"Segmentation_{name}"]

    def test_masks_that_overlap(self, tmp_path: Path) -> None:
        path = tmp_path / "a.seg.nrrd"
        masks = {"liver": LIVER, "lesion": LESION, "spleen": SPLEEN, "none": np.zeros(SHAPE, bool)}
        create_segments(path, masks, GRID)
        assert _same(_by_hand(path), masks)
        assert _fields(path)["sizes"].tolist() == [2, 5, 4, 3]
        image = sitk.ReadImage(str(path))
        assert np.array_equal(sitk.GetArrayFromImage(image)[..., 1] == 1, LESION)
        assert np.allclose(image.GetOrigin(), (-10, 20, 30))

    def test_many_segments(self, tmp_path: Path) -> None:
        masks = {}
        for number in range(300):
            mask = np.zeros((1, 20, 20), bool)
            mask.flat[number] = True
            masks[f"cell {number}"] = mask
        path = tmp_path / "a.seg.nrrd"
        create_segments(path, masks, Grid((1, 20, 20)))
        found, _ = formats.read_segments(path)
        assert _same(found, masks)
        assert np.array_equal(sitk.GetArrayFromImage(sitk.ReadImage(str(path)))[0, 14, 19], 300)

    @pytest.mark.parametrize("spacing", [None, (2.0, 0.5)])
    def test_a_picture_is_one_slice(
        self, tmp_path: Path, spacing: tuple[float, ...] | None
    ) -> None:
        path = tmp_path / "a.seg.nrrd"
        create_segments(path, {"lung": LIVER[0]}, Grid(SHAPE[1:], spacing))
        masks, grid = formats.read_segments(path)
        assert np.array_equal(masks["lung"], LIVER[:1])
        assert grid.spacing == (1, *(spacing or (1, 1)))

    def test_what_is_refused(self, tmp_path: Path) -> None:
        path = tmp_path / "a.seg.nrrd"
        with pytest.raises(ValueError, match="needs a segment"):
            create_segments(path, {}, GRID)
        with pytest.raises(GridMismatchError, match="mask of liver"):
            create_segments(path, {"liver": LIVER.T}, GRID)
        with pytest.raises(ValueError, match="no colour"):
            create_segments(path, {"liver": LIVER}, GRID, {"liver": (255, 0, 0)})
        assert not path.exists()

    def test_the_same_masks_give_the_same_bytes(self, tmp_path: Path) -> None:
        for name in ("a", "b"):
            create_segments(tmp_path / f"{name}.seg.nrrd", {"liver": LIVER}, GRID)
        assert (tmp_path / "a.seg.nrrd").read_bytes() == (tmp_path / "b.seg.nrrd").read_bytes()
