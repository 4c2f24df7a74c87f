"""The colours of the pictures: safe for the colour-blind, and to be seen on a dark radiograph."""

from __future__ import annotations

from itertools import product

import numpy as np
from numpy.typing import NDArray

Colour = tuple[int, int, int]

WRONG_FOREGROUND: Colour = (255, 70, 40)
MISSED_FOREGROUND: Colour = (0, 200, 255)
BOTH_ERRORS: Colour = (255, 240, 80)
IGNORED_COLOUR: Colour = (128, 128, 128)
OUTLINE_OF_GIVEN: Colour = (235, 235, 235)

# Okabe and Ito's, without black and the dark blue; those like a colour of the errors come last
_FIRST: tuple[Colour, ...] = (
    (230, 159, 0),
    (86, 180, 233),
    (0, 158, 115),
    (204, 121, 167),
    (240, 228, 66),
    (213, 94, 0),
)


def structure_colours(count: int) -> tuple[Colour, ...]:
    """Colours for structures 0..count-1; the colour of one does not depend on `count`.

    The first are Okabe and Ito's; each further one is the colour of a grid that lies farthest
    from all before it and from those of the errors.
    """
    chosen = list(_FIRST[:count])
    grid = np.array([c for c in product((0, 64, 128, 192, 255), repeat=3) if _shows(c)])
    taken = [*_FIRST, WRONG_FOREGROUND, MISSED_FOREGROUND, BOTH_ERRORS]
    nearest = np.min([colour_distance(grid, np.array(c)) for c in taken], axis=0)
    while len(chosen) < count:
        best = grid[int(np.argmax(nearest))]
        chosen.append((int(best[0]), int(best[1]), int(best[2])))
        nearest = np.minimum(nearest, colour_distance(grid, best))
    return tuple(chosen)


def colour_distance(a: NDArray[np.int64], b: NDArray[np.int64]) -> NDArray[np.float64]:
    """Distance of RGB colours as seen, about, 0 to 765: the weighted "redmean" formula.

    a, b: (..., 3), 0..255.  Returns (...,).
    """
    red = (a[..., 0] + b[..., 0]) / 2
    squares = (a - b).astype(np.float64) ** 2
    weights = np.stack([2 + red / 256, np.full_like(red, 4.0), 2 + (255 - red) / 256], axis=-1)
    distance: NDArray[np.float64] = np.sqrt((weights * squares).sum(axis=-1))
    return distance


def _shows(colour: tuple[int, ...]) -> bool:
    """Bright enough to be seen on a radiograph, and not as grey as one."""
    red, green, blue = colour
    return 0.3 * red + 0.59 * green + 0.11 * blue >= 70 and max(colour) - min(colour) >= 96
