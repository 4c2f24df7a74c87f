from __future__ import annotations

import io
from itertools import combinations

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image
from skimage.color import rgb2lab

from maskmend.core import IGNORED, LabelScheme
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
from maskmend.report.pictures import (
    CaseRow,
    Labels,
    NoiseMap,
    Panel,
    Picture,
    Slice,
    contact_sheet,
    encode_png,
    render_panels,
    window,
)

SIDE = 256
BLACK = np.zeros((1, SIDE, SIDE), np.uint8)
ONE = LabelScheme(("lung",), overlapping=True)
TWO = LabelScheme(("lung", "clavicle"), overlapping=True)
CLASSES = LabelScheme(("anterior", "posterior"), overlapping=False)
# simulated dichromacy on linear RGB; Machado, Oliveira, Fernandes, IEEE TVCG 2009, severity 1
PROTAN = (
    (0.152286, 1.052583, -0.204868),
    (0.114503, 0.786281, 0.099216),
    (-0.003882, -0.048116, 1.051998),
)
DEUTAN = (
    (0.367322, 0.860646, -0.227968),
    (0.280085, 0.672501, 0.047413),
    (-0.011820, 0.042940, 0.968881),
)


def square(rows: slice, columns: slice, planes: int = 1, value: int = 1) -> NDArray[np.uint8]:
    labels = np.zeros((planes, SIDE, SIDE), np.uint8)
    labels[0, rows, columns] = value
    return labels


def only_panel(panel: Panel, scheme: LabelScheme, image: NDArray[np.generic] = BLACK) -> Picture:
    """The picture of a panel without title and frame: pixel (r, c) is the image's pixel (r, c)."""
    sheet = render_panels(image, [panel], scheme, size=SIDE)
    # with an image of another shape the bare panel could not be told from the frame
    assert image.shape == BLACK.shape
    top, left = 14 + 26, (sheet.shape[1] - SIDE) // 2
    return sheet[top : top + SIDE, left : left + SIDE]


def mixed(colour: Colour, opacity: float) -> tuple[int, ...]:
    """A colour laid over black."""
    return tuple(round(channel * opacity) for channel in colour)


def has(picture: Picture, colour: Colour) -> bool:
    return bool((picture == colour).all(axis=-1).any())


def test_a_structure_is_filled_and_outlined_in_its_colour() -> None:
    picture = only_panel(Panel("given", Labels(square(slice(50, 90), slice(60, 120)))), ONE)
    (colour,) = structure_colours(1)
    for row, column in ((50, 60), (51, 100), (89, 119)):
        assert tuple(picture[row, column]) == colour
    assert tuple(picture[70, 80]) == mixed(colour, 0.28)
    for row, column in ((49, 60), (50, 59), (90, 100), (0, 0)):
        assert tuple(picture[row, column]) == (0, 0, 0)


def test_a_structure_that_touches_the_border_is_outlined_there() -> None:
    picture = only_panel(Panel("given", Labels(square(slice(0, 40), slice(0, 40)))), ONE)
    assert tuple(picture[0, 20]) == structure_colours(1)[0]


def test_classes_of_one_label_map_take_the_colours_of_their_structures() -> None:
    labels = square(slice(10, 60), slice(10, 60)) + square(slice(100, 160), slice(10, 60), value=2)
    picture = only_panel(Panel("given", Labels(labels)), CLASSES)
    anterior, posterior = structure_colours(2)
    assert tuple(picture[10, 30]) == anterior
    assert tuple(picture[100, 30]) == posterior


def test_the_outline_of_a_structure_under_another_stays_whole() -> None:
    labels = np.stack([square(slice(20, 90), slice(20, 90))[0]] * 2)
    labels[1] = square(slice(10, 120), slice(10, 120))[0]
    picture = only_panel(Panel("given", Labels(labels)), TWO)
    assert tuple(picture[20, 50]) == structure_colours(2)[0]


def test_a_noise_map_tells_wrong_from_missed_foreground() -> None:
    given = square(slice(50, 100), slice(50, 100))
    flagged = np.zeros(given.shape, bool)
    flagged[0, 60:80, 60:80] = True
    flagged[0, 150:170, 60:80] = True
    picture = only_panel(Panel("noise map", NoiseMap(flagged, given)), ONE)
    assert tuple(picture[70, 70]) == mixed(WRONG_FOREGROUND, 0.7)
    assert tuple(picture[160, 70]) == mixed(MISSED_FOREGROUND, 0.7)
    assert tuple(picture[50, 70]) == mixed(OUTLINE_OF_GIVEN, 0.8)
    assert tuple(picture[90, 90]) == (0, 0, 0)


def test_a_pixel_wrong_in_one_structure_and_missed_in_another_is_told_apart() -> None:
    given = square(slice(50, 100), slice(50, 100), planes=2)
    flagged = np.zeros(given.shape, bool)
    flagged[:, 60:80, 60:80] = True
    picture = only_panel(Panel("noise map", NoiseMap(flagged, given)), TWO)
    assert tuple(picture[70, 70]) == mixed(BOTH_ERRORS, 0.7)


def test_an_ignored_pixel_is_hatched_and_never_an_error() -> None:
    given = square(slice(50, 100), slice(50, 100), value=IGNORED)
    picture = only_panel(Panel("noise map", NoiseMap(given > 0, given)), ONE)
    patch = {tuple(map(int, pixel)) for pixel in picture[55:95, 55:95].reshape(-1, 3)}
    assert patch == {(0, 0, 0), mixed(IGNORED_COLOUR, 0.75)}


def test_the_legend_names_what_the_panels_can_show() -> None:
    labels = square(slice(50, 90), slice(50, 90))
    image, given = Panel("image"), Panel("given", Labels(labels))
    noise_map = Panel("noise map", NoiseMap(labels > 0, labels))
    bare = render_panels(BLACK, [image], ONE)
    assert bare.shape[0] < render_panels(BLACK, [image, given], ONE).shape[0]
    legend = render_panels(BLACK, [image, noise_map], ONE)[14 + 26 + SIDE :]
    assert has(legend, WRONG_FOREGROUND)
    assert has(legend, MISSED_FOREGROUND)
    assert not has(legend, structure_colours(1)[0])
    assert not has(legend, BOTH_ERRORS)
    assert not has(legend, IGNORED_COLOUR)
    assert has(render_panels(BLACK, [given], ONE)[14 + 26 + SIDE :], structure_colours(1)[0])


@pytest.mark.parametrize(
    ("shape", "wanted"),
    [
        ((256, 256), (256, 256)),
        ((35, 50), (210, 300)),
        ((1024, 512), (288, 144)),
        ((1, 1), (288, 288)),
    ],
)
def test_panels_grow_by_whole_factors_and_shrink_to_the_size(
    shape: tuple[int, int], wanted: tuple[int, int]
) -> None:
    # white all over but for one pixel, so that the panel is the white area of the sheet
    image = np.ones((1, *shape))
    sheet = render_panels(image, [Panel("")], ONE)
    assert sheet.shape[0] == wanted[0] + 2 * 14 + 10
    assert sheet.shape[1] == wanted[1] + 2 * 14


def test_six_panels_of_a_radiograph_fit_a_wide_screen() -> None:
    sheet = render_panels(BLACK, [Panel(f"panel {i}") for i in range(6)], ONE)
    assert sheet.shape == (14 + 26 + 256 + 10 + 14, 14 + 6 * 256 + 5 * 10 + 14, 3)
    assert sheet.dtype == np.uint8


def test_a_long_title_widens_its_panel() -> None:
    short = render_panels(BLACK, [Panel("given")], ONE)
    wide = render_panels(BLACK, [Panel("a title that is longer than the picture under it")], ONE)
    assert wide.shape[1] > short.shape[1]
    frame = np.concatenate([wide[:, :14], wide[:, -14:]], axis=1)
    assert len(np.unique(frame.reshape(-1, 3), axis=0)) == 1


def test_a_long_legend_is_broken_into_lines_and_none_is_cut() -> None:
    scheme = LabelScheme(tuple(f"structure number {i}" for i in range(9)), overlapping=False)
    labels = square(slice(50, 90), slice(50, 90))
    sheet = render_panels(BLACK, [Panel("given", Labels(labels))], scheme)
    legend = sheet[14 + 26 + SIDE + 10 :]
    for colour in structure_colours(9):
        assert has(legend, colour)
    assert len(np.unique(legend[:, -10:].reshape(-1, 3), axis=0)) == 1


def test_the_plane_of_a_volume_is_the_one_asked_for() -> None:
    volume = np.zeros((1, 3, SIDE, SIDE), np.int16)
    labels = np.zeros(volume.shape, np.uint8)
    labels[0, 2, 50:90, 50:90] = 1
    for axis in (0, 1, 2):
        turned = np.moveaxis(labels, 1, axis + 1)
        image = np.moveaxis(volume, 1, axis + 1)
        panel = Panel("given", Labels(turned))
        shown = render_panels(image, [panel], ONE, at=Slice(axis, 2))
        flat = render_panels(volume[:, 0], [Panel("given", Labels(labels[:, 2]))], ONE)
        assert (shown == flat).all()


def test_a_volume_without_a_plane_is_refused() -> None:
    with pytest.raises(GridMismatchError, match="Say which plane"):
        render_panels(np.zeros((1, 3, 8, 8)), [Panel("image")], ONE)


def test_an_overlay_on_another_grid_is_refused_and_named() -> None:
    panel = Panel("mended", Labels(np.zeros((1, 8, 9), np.uint8)))
    with pytest.raises(GridMismatchError, match=r"case-7.*'mended'"):
        contact_sheet([CaseRow("case-7", BLACK, [panel])], ONE)


def test_a_sheet_of_nothing_is_refused() -> None:
    with pytest.raises(SettingsError, match="at least one case"):
        contact_sheet([], ONE)
    with pytest.raises(SettingsError, match="at least one case"):
        render_panels(BLACK, [], ONE)


def test_a_contact_sheet_repeats_no_titles_and_one_legend() -> None:
    panels = [Panel("image"), Panel("given", Labels(square(slice(50, 90), slice(50, 90))))]
    one = contact_sheet([CaseRow("a", BLACK, panels)], ONE)
    three = contact_sheet([CaseRow(name, BLACK, panels) for name in "abc"], ONE)
    assert three.shape == (one.shape[0] + 2 * (256 + 26 + 10), *one.shape[1:])


def test_rows_of_different_panels_keep_their_own_titles() -> None:
    rows = [
        CaseRow("a", BLACK, [Panel("image"), Panel("given")]),
        CaseRow("b", BLACK, [Panel("image")]),
    ]
    same = contact_sheet([rows[0], rows[0]], ONE)
    assert contact_sheet(rows, ONE).shape == (same.shape[0] + 26, *same.shape[1:])


def test_nothing_that_was_handed_in_is_changed() -> None:
    image = np.arange(SIDE * SIDE, dtype=np.uint16).reshape(1, SIDE, SIDE)
    labels = square(slice(50, 90), slice(50, 90))
    before = image.copy(), labels.copy()
    noise_map = NoiseMap(labels > 0, labels)
    render_panels(image, [Panel("a", Labels(labels)), Panel("b", noise_map)], ONE)
    assert (image == before[0]).all()
    assert (labels == before[1]).all()


@pytest.mark.parametrize("dtype", [np.uint8, np.int16, np.uint16, np.float32, np.float64])
def test_the_window_spans_the_percentiles_of_any_dtype(dtype: type[np.generic]) -> None:
    ramp = (np.arange(10_000).reshape(1, 100, 100) // 100).astype(dtype)
    grey = window(ramp)
    assert grey.shape == (100, 100, 3)
    assert (grey[..., 0] == grey[..., 2]).all()
    assert (grey[0], grey[-1]) == pytest.approx((0, 255))
    assert int(grey[50, 0, 0]) == round((50 - np.percentile(ramp, 1)) / (99 - 1) * 255)


def test_the_window_leaves_out_what_is_not_finite() -> None:
    ramp = np.linspace(0, 1, 10_000).reshape(1, 100, 100)
    holed = ramp.copy()
    holed[0, 0, 0], holed[0, 99, 99] = np.nan, np.inf
    inside = np.s_[1:99]
    assert np.abs(window(holed)[inside].astype(int) - window(ramp)[inside]).max() <= 1
    assert window(holed)[99, 99].tolist() == [0, 0, 0]
    assert not window(np.full((1, 4, 4), np.nan)).any()


def test_the_window_of_a_constant_image_is_black() -> None:
    assert not window(np.full((1, 4, 4), 7)).any()


def test_the_window_shows_what_the_percentiles_miss() -> None:
    image = np.zeros((1, 100, 100))
    image[0, 3, 4] = 5
    assert window(image)[3, 4].tolist() == [255, 255, 255]


def test_three_channels_are_colours_and_two_are_not() -> None:
    image = np.zeros((3, 4, 4), np.uint8)
    image[0, :, 2:] = 200
    assert window(image)[0, 3].tolist() == [255, 0, 0]
    assert window(image[:2])[0, 3].tolist() == [255, 255, 255]


def test_a_png_holds_the_picture() -> None:
    sheet = render_panels(BLACK, [Panel("image")], ONE)
    assert (np.asarray(Image.open(io.BytesIO(encode_png(sheet)))) == sheet).all()
    assert encode_png(sheet) == encode_png(sheet.copy())


def closest_pair(colours: tuple[Colour, ...], sight: NDArray[np.float64]) -> float:
    """Smallest CIE76 difference of two colours as somebody sees them."""
    rgb = np.array(colours) / 255
    linear = np.where(rgb <= 0.04045, rgb / 12.92, ((rgb + 0.055) / 1.055) ** 2.4)
    seen = np.clip(linear @ sight.T, 0, 1)
    encoded = np.where(seen <= 0.0031308, seen * 12.92, 1.055 * seen ** (1 / 2.4) - 0.055)
    lab = rgb2lab(encoded)
    return min(float(np.linalg.norm(a - b)) for a, b in combinations(lab, 2))


@pytest.mark.parametrize("sight", [np.eye(3), np.array(PROTAN), np.array(DEUTAN)])
def test_four_structures_and_three_errors_differ_for_the_colour_blind(
    sight: NDArray[np.float64],
) -> None:
    # a difference of 2.3 is just seen; areas in a small picture want several times that
    assert closest_pair(structure_colours(4), sight) > 15
    assert closest_pair((WRONG_FOREGROUND, MISSED_FOREGROUND, BOTH_ERRORS), sight) > 15


@pytest.mark.parametrize(("count", "least"), [(8, 30), (16, 15), (24, 10)])
def test_many_structures_get_different_colours(count: int, least: float) -> None:
    assert closest_pair(structure_colours(count), np.eye(3)) > least


def test_the_colour_of_a_structure_does_not_depend_on_how_many_there_are() -> None:
    assert structure_colours(20)[:7] == structure_colours(7)
    assert structure_colours(0) == ()
