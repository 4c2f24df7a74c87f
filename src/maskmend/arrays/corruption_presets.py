"""Which label errors are drawn, how often and how large: the noise protocols and their sources.

`reference`, `paper`: the code and the wording of Zhang et al., "Characterizing Label Errors",
MICCAI 2020.
`pymic`: the noisy labels for JSRT's lungs of PyMIC (Wang et al., CMPB 2023), as made by
seg_nll/JSRT/noise_simulate.py of its examples.  Where the mask touches the border of the grid
that script erodes it from there too, this does not; its discs leave out the pixels at just their
radius.
`markov_j1`, `markov_j2`, `markov_j3`: J1..J3 for JSRT of Yao et al., "Learning to Segment from
Noisy Annotations", ICLR 2023 (settings as in their repository).  J1 is its Markov noise
(Definition 1; see `markov`) biased to expand, J2 the same biased to shrink, J3 the dilation or
erosion that they compare it with.
`systematic`: one annotator of three who draws all structures too wide.  Ours; no majority of
cases washes such a habit out.
`mixed`, `volume`: ours; all kinds alike, and those that are made in volumes.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace

import numpy as np

from maskmend.arrays.corruption_record import KINDS, Corruption, bad_setting

AFFINE_SPREAD = 0.25
"""Largest change of an entry of the identity in a sampled affine matrix."""

OTHERS = ""
"""Stands for all structures that have no entry of their own."""


@dataclass(frozen=True)
class Preset:
    """Which kinds of error are drawn how often, how large, and in which share of the masks.

    probabilities: kind -> probability, summing to 1.  edge_radius: the range of beta -> largest
    radius of edge distortion.  alpha: the share of masks hit unless another is asked for.
    beta: structure (or OTHERS) -> the published range of radii, or of steps for the kind markov.
    size: the range for a structure without an entry in beta, in radii of a disc (ball) as large
    as the structure.  thetas: structure (or OTHERS) -> theta1, theta2, theta3 of the kind markov.
    annotator: the one who makes all of the errors, the same one in each mask of a share of the
    cases, which are the same for all structures; empty where masks are hit one by one.
    """

    probabilities: Mapping[str, float]
    edge_radius: Callable[[int], int] = lambda beta: max(beta - 1, 0)
    alpha: float = 0.5
    beta: Mapping[str, tuple[int, int]] = field(default_factory=dict)
    size: tuple[float, float] = (0.25, 0.4)
    thetas: Mapping[str, tuple[float, float, float]] = field(default_factory=dict)
    annotator: str = ""

    def published_beta(self, structure: str) -> tuple[int, int] | None:
        """The radii (steps) that the protocol states for a structure; None if it states none."""
        return self.beta.get(structure, self.beta.get(OTHERS))


@dataclass(frozen=True)
class Noise:
    """How the masks of one structure go wrong.

    preset: a name in PRESETS, or one of KINDS to have that alone.  alpha: share of the masks hit,
    in [0, 1].  beta: smallest and largest radius (number of steps), inclusive.  axes: number of
    spatial axes.  partners: the structures that this one may be swapped with; without any, a
    preset draws its other kinds in proportion.  Raises SettingsError for a value outside of these.
    """

    preset: str
    alpha: float
    beta: tuple[int, int]
    axes: int = 2
    partners: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        if not 0 <= self.alpha <= 1:
            raise bad_setting("alpha", "a share of the masks in 0..1", self.alpha)
        if not 0 <= self.beta[0] <= self.beta[1]:
            raise bad_setting("beta", "two radii in pixels, smallest first", self.beta)
        preset_of(self.preset)
        if self.preset == "swapped" and not self.partners:
            raise bad_setting("preset", "a second structure to swap with", "one structure")


def preset_of(name: str) -> Preset:
    """A preset by its name, or by the name of a kind to have that alone.

    Raises SettingsError for a name that is neither.
    """
    if name in PRESETS:
        return PRESETS[name]
    if name not in KINDS:
        raise bad_setting("preset", f"one of {', '.join((*PRESETS, *KINDS))}", name)
    # markov alone needs thetas
    base = PRESETS["markov_j1" if name == "markov" else "reference"]
    return replace(base, probabilities={name: 1.0})


def sample_corruptions(
    case_ids: Sequence[str], structure: str, noise: Noise, rng: np.random.Generator
) -> tuple[Corruption, ...]:
    """Errors in floor(alpha * n) of the masks of one structure, drawn without replacement.

    case_ids: the n cases with a mask of it, in an order that is the same every time.  With a
    preset of one annotator: all n cases, and a generator in the same state for every structure;
    then the cases hit are the same for all (with a smaller alpha, some of these), and so is the
    error, drawn once.
    Returns one Corruption a case hit, in the order of `case_ids`.
    """
    # 0.29 * 100 is just below 29 in floating point
    count = math.floor(noise.alpha * len(case_ids) + 1e-9)
    if preset_of(noise.preset).annotator:
        theirs = np.sort(rng.permutation(len(case_ids))[:count])
        habit = sample_corruption("", structure, noise, rng)
        return tuple(replace(habit, case=case_ids[index]) for index in theirs)
    hit = np.sort(rng.choice(len(case_ids), count, replace=False)) if count else ()
    return tuple(sample_corruption(case_ids[index], structure, noise, rng) for index in hit)


def sample_corruption(
    case: str, structure: str, noise: Noise, rng: np.random.Generator
) -> Corruption:
    """One error, whether or not alpha would have hit the case.

    radius: uniform over beta, both ends included (edge_distortion: the preset's, so that each of
    its discs has a radius of 0..that; edge_bumps: beta, for each of its discs; markov: that many
    steps).  shift: of that length, all directions alike.  affine: the identity with
    AFFINE_SPREAD added at random (turned, scaled and sheared at once).
    """
    preset = preset_of(noise.preset)
    kind = _draw_kind(preset.probabilities, bool(noise.partners), rng)
    radius = int(rng.integers(noise.beta[0], noise.beta[1] + 1))
    seed = int(rng.integers(2**32))
    error = Corruption(case, structure, kind, annotator=preset.annotator)
    if kind in ("dilate", "erode", "polygon", "dilate_cross", "erode_cross"):
        return replace(error, radius=radius)
    if kind in ("blob", "bulge", "dent"):
        return replace(error, radius=radius, seed=seed)
    if kind == "edge_distortion":
        return replace(error, radius=preset.edge_radius(noise.beta[1]), seed=seed)
    if kind == "edge_bumps":
        return replace(error, smallest=noise.beta[0], radius=noise.beta[1], seed=seed)
    if kind == "missing_part":
        return replace(error, seed=seed)
    if kind == "markov":
        thetas = preset.thetas.get(structure, preset.thetas[OTHERS])
        return replace(error, steps=radius, thetas=thetas, seed=seed)
    return _direct(error, radius, noise, rng)


def _direct(error: Corruption, length: int, noise: Noise, rng: np.random.Generator) -> Corruption:
    """The error of a kind that draws more than a radius and a seed; `missing` draws nothing."""
    if error.kind == "shift":
        direction = rng.standard_normal(noise.axes)
        steps = np.rint(length * direction / np.linalg.norm(direction)).astype(int)
        return replace(error, offset=tuple(steps.tolist()))
    if error.kind == "affine":
        spread = rng.uniform(-AFFINE_SPREAD, AFFINE_SPREAD, (noise.axes, noise.axes))
        return replace(error, matrix=tuple((np.eye(noise.axes) + spread).ravel().tolist()))
    if error.kind == "swapped":
        return replace(error, partner=noise.partners[int(rng.integers(len(noise.partners)))])
    return error


def _draw_kind(probabilities: Mapping[str, float], can_swap: bool, rng: np.random.Generator) -> str:
    kinds = [kind for kind in probabilities if can_swap or kind != "swapped"]
    shares = np.array([probabilities[kind] for kind in kinds])
    return kinds[int(rng.choice(len(kinds), p=shares / shares.sum()))]


_MIXED = (
    "dilate", "erode", "edge_distortion", "shift", "affine", "missing", "blob", "polygon",
    "swapped",
)  # fmt: skip
_VOLUME = ("dilate", "erode", "shift", "swapped", "missing_part")
_OF_THE_REFERENCE = {"dilate": 0.33, "erode": 0.33, "edge_distortion": 0.34}
_STEPS = {"lung": (180, 180), "heart": (180, 180), "clavicle": (100, 100)}
_STEPS_BY_SIZE = (2.3, 4.2)
"""Steps a pixel of radius: 180 for JSRT's lungs and hearts, discs of radius 80 and 43 in size."""

PRESETS: Mapping[str, Preset] = {
    # their code draws from randint(max(beta)), which leaves max(beta) out; their paper has a
    # radius of about beta / 5
    "reference": Preset(_OF_THE_REFERENCE),
    "paper": Preset(_OF_THE_REFERENCE, lambda beta: round(beta / 5)),
    "mixed": Preset({kind: 1 / len(_MIXED) for kind in _MIXED}),
    "volume": Preset({kind: 1 / len(_VOLUME) for kind in _VOLUME}),
    "pymic": Preset(
        {"dilate_cross": 0.35, "erode_cross": 0.35, "edge_bumps": 0.3},
        alpha=0.95, beta={OTHERS: (6, 12)},
    ),
    "markov_j1": Preset(
        {"markov": 1.0}, alpha=1.0, beta=_STEPS, size=_STEPS_BY_SIZE,
        thetas={OTHERS: (0.8, 0.05, 0.2), "clavicle": (0.8, 0.02, 0.2)},
    ),
    "markov_j2": Preset(
        {"markov": 1.0}, alpha=1.0, beta=_STEPS, size=_STEPS_BY_SIZE,
        thetas={OTHERS: (0.2, 0.05, 0.2), "clavicle": (0.2, 0.02, 0.2)},
    ),
    # no Markov noise, but what the paper sets beside it; radii in whole pixels
    "markov_j3": Preset(
        {"dilate": 0.5, "erode": 0.5}, alpha=1.0,
        beta={"lung": (7, 9), "heart": (7, 9), "clavicle": (3, 5)}, size=(0.09, 0.21),
    ),
    "systematic": Preset(
        {"dilate": 1.0}, alpha=1 / 3, beta={OTHERS: (5, 5)}, annotator="wide"
    ),
}  # fmt: skip
