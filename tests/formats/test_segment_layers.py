"""Segments as values in layers, worked by hand; any masks: test_seg_nrrd.py."""

from __future__ import annotations

import numpy as np

from maskmend.formats.segment_layers import Segment, extent_of, pack_masks, replace_masks

A, B = Segment(0, "a", 0, 1), Segment(1, "b", 0, 2)


def _row(text: str) -> np.ndarray:
    return np.array([[[int(digit) for digit in text]]])


def _mask(text: str) -> np.ndarray:
    return _row(text) == 1


def test_what_a_segment_gives_up_another_may_take() -> None:
    layers = np.stack([_row("11220")])
    new, segments = replace_masks(layers, [A, B], {A: _mask("00110"), B: _mask("11000")}, 255)
    assert new.tolist() == [_row("22110").tolist()]
    assert segments == [A, B]
    assert layers.tolist() == [_row("11220").tolist()]


def test_an_overlap_moves_the_segment_that_came_later() -> None:
    layers = np.stack([_row("11220")])
    new, segments = replace_masks(layers, [A, B], {B: _mask("01110")}, 255)
    assert new.tolist() == [_row("11000").tolist(), _row("02220").tolist()]
    assert segments == [A, Segment(1, "b", 1, 2)]


def test_a_value_that_is_taken_in_the_other_layer() -> None:
    c = Segment(2, "c", 1, 2)
    layers = np.stack([_row("11220"), _row("00002")])
    new, segments = replace_masks(layers, [A, B, c], {B: _mask("01100")}, 2**63 - 1)
    assert new.tolist() == [_row("11000").tolist(), _row("01102").tolist()]
    assert segments == [A, Segment(1, "b", 1, 1), c]


def test_a_layer_without_a_free_value() -> None:
    full = Segment(2, "c", 1, 1)
    layers = np.stack([_row("11000"), _row("00001")])
    wide = Segment(1, "b", 0, 1)
    new, segments = replace_masks(layers, [Segment(0, "a", 0, 1), wide, full],
                                  {wide: _mask("01000")}, 1)  # fmt: skip
    # both layers use the only value that there is
    assert new.tolist() == [_row("11000").tolist(), _row("00001").tolist(), _row("01000").tolist()]
    assert segments[1] == Segment(1, "b", 2, 1)


def test_few_layers() -> None:
    masks = {"a": _mask("11000"), "b": _mask("01100"), "c": _mask("00010"), "d": _mask("10000")}
    layers, segments = pack_masks(masks)
    assert layers.tolist() == [_row("11020").tolist(), _row("21100").tolist()]
    assert [(segment.layer, segment.value) for segment in segments] == [
        (0, 1), (1, 1), (0, 2), (1, 2),
    ]  # fmt: skip


def test_extents() -> None:
    volume = np.zeros((4, 5, 6), int)
    assert extent_of(volume) == "0 -1 0 -1 0 -1"
    volume[3, 1, 2] = volume[2, 4, 2] = 9
    assert extent_of(volume) == "2 2 1 4 2 3"
