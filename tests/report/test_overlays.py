"""Views of cases: cut, turned and drawn."""

from __future__ import annotations

import base64
import io
from xml.etree import ElementTree

import numpy as np
import pytest
from PIL import Image

from maskmend.report.overlays import MOST_PIXELS, Box, View, data_uri, draw_view


def view(**changes: object) -> View:
    """6 x 8 pixels, grey; given is a corner, suggested the one beside it."""
    picture = np.repeat(np.arange(48, dtype=np.uint8).reshape(6, 8, 1), 3, axis=2)
    given, suggested = np.zeros((2, 6, 8), bool)
    given[:2, :3] = suggested[:2, 3:5] = True
    whole = {"picture": picture, "given": [given], "suggested": [suggested]} | changes
    return View(**whole)  # type: ignore[arg-type]


def test_a_part_takes_its_boxes_along() -> None:
    boxes = (Box((1, 3), (2, 5), "1"), Box((0, 2), (0, 2), "2"))
    part = view(boxes=boxes).part((1, 5), (2, 8))
    assert part.picture.shape == (4, 6, 3)
    assert part.boxes == [Box((0, 2), (0, 3), "1")]
    assert part.given[0].tolist() == view().given[0][1:5, 2:8].tolist()


@pytest.mark.parametrize("rows", [False, True])
@pytest.mark.parametrize("columns", [False, True])
def test_a_box_stays_on_its_pixels(rows: bool, columns: bool) -> None:
    box = Box((1, 3), (2, 7), "1")
    marked = np.zeros((6, 8), bool)
    marked[slice(*box.rows), slice(*box.columns)] = True
    turned = view(given=[marked], boxes=[box]).flipped(rows, columns)
    (there,) = turned.boxes
    found = np.zeros_like(marked)
    found[slice(*there.rows), slice(*there.columns)] = True
    assert (turned.given[0] == found).all()


def test_the_drawing_has_both_outlines_and_a_name() -> None:
    root = ElementTree.fromstring(draw_view(view(), "case <1>"))
    paths = {path.attrib["class"]: path.attrib["d"] for path in root.iter("path")}
    # 40 units a pixel: the longer side is 320
    assert paths["given"] == "M0 0H120V80H0Z"
    assert paths["suggested"] == "M120 0H200V80H120Z"
    assert root.attrib["aria-label"] == "case <1>"
    assert [image.attrib["href"][:11] for image in root.iter("image")] == ["data:image/"]


def test_numbers_do_not_lie_on_each_other() -> None:
    # 1 to 3 begin in one place, 4 beside them, 5 elsewhere
    boxes = [Box((1, 3), (2, 5 + n), str(n + 1)) for n in range(3)]
    boxes += [Box((1, 2), (2, 3), "4"), Box((4, 6), (2, 5), "5")]
    root = ElementTree.fromstring(draw_view(view(boxes=boxes), "a"))
    texts = [(float(t.attrib["x"]), float(t.attrib["y"]), t.text) for t in root.iter("text")]
    assert [text for _, _, text in texts] == ["1", "2", "3", "4", "5"]
    for x, y, text in texts:
        for other_x, other_y, other in texts:
            assert text == other or abs(x - other_x) >= 9 or abs(y - other_y) >= 12
    # where nothing is in the way, at the corner of the box
    assert texts[4][0] == texts[0][0]


def test_thick_slices_are_drawn_as_high_as_they_are() -> None:
    root = ElementTree.fromstring(draw_view(view(steps=(4.0, 1.0)), "a"))
    width, height = (float(value) for value in root.attrib["viewBox"].split()[2:])
    assert height / width == pytest.approx(6 * 4 / 8, rel=1e-3)


def test_names_only_where_there_are_several() -> None:
    one = view(names=("lung",))
    assert "lung" not in draw_view(one, "a")
    masks = [one.given[0], one.suggested[0]]
    two = view(given=masks, suggested=masks[::-1], names=("lung", "<heart>"))
    drawing = draw_view(two, "a")
    assert drawing.count(">lung<") == 2, "given and suggested lie apart"
    assert drawing.count("&lt;heart&gt;") == 2
    same = view(given=masks, suggested=masks, names=("lung", "heart"))
    assert draw_view(same, "a").count(">lung<") == 1


def decoded(uri: str) -> Image.Image:
    return Image.open(io.BytesIO(base64.b64decode(uri.partition(",")[2])))


def test_the_image_is_the_picture() -> None:
    smooth = np.add.outer(np.arange(60), np.arange(50)).astype(np.uint8) * 2
    shown = decoded(data_uri(np.stack([smooth] * 3, axis=-1)))
    assert shown.size == (50, 60)
    assert np.abs(np.asarray(shown.convert("L"), int) - smooth).mean() < 3


def test_colour_is_kept() -> None:
    red = np.zeros((8, 8, 3), np.uint8)
    red[..., 0] = 200
    assert decoded(data_uri(red)).convert("RGB").getpixel((4, 4))[0] > 150  # type: ignore[index]


def test_a_large_picture_is_embedded_small() -> None:
    large = np.zeros((1500, 1000, 3), np.uint8)
    mask = np.zeros((1500, 1000), bool)
    mask[:750] = True
    drawing = draw_view(View(large, [mask], [mask]), "a")
    uri = next(ElementTree.fromstring(drawing).iter("image")).attrib["href"]
    assert max(decoded(uri).size) == MOST_PIXELS
    # the outline still ends half way down
    assert 'd="M0 0H213.3V160H0Z"' in drawing


def test_the_same_view_gives_the_same_text() -> None:
    assert draw_view(view(), "a") == draw_view(view(), "a")
