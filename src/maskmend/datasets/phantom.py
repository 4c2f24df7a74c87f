"""Chest-like phantoms: radiographs that never were, with their true masks, from a seed.

Everything is laid out in a frame of the image, x to the right and y down, 0..1 each, that is
moved, turned, scaled and gently warped from case to case; so masks and image always agree.  The
image is what an exposure would give: attenuations add up along the ray, then the film's curve,
blur and noise follow.  Nothing is measured on patients; the look was tuned by eye against JSRT.
"""

from __future__ import annotations

import zlib
from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from scipy import ndimage

from maskmend.core import BoolArray, LabelArray
from maskmend.errors import SettingsError
from maskmend.files import atomic_file

STRUCTURES = ("lung", "heart", "clavicle")

NO_CLAVICLES = 0.1
"""Share of the cases whose clavicles lie outside of the view, so that their mask is empty."""

NO_HEART_BORDER = 0.15
"""Share of the cases whose heart has hardly any contrast to the tissue around it."""

Field = NDArray[np.float64]


class Frame(NamedTuple):
    """Where each pixel lies in the body: x and y, (H, W) float64, about 0..1."""

    x: Field
    y: Field


class Build(NamedTuple):
    """One body.  Lengths are in the frame; attenuations in a unit where 1 is near white."""

    lung_width: float
    apex: float
    diaphragm: tuple[float, float]
    heart_centre: tuple[float, float]
    heart_radii: tuple[float, float]
    heart_tilt: float
    clavicle_slope: tuple[float, float]
    clavicle_thickness: float
    has_clavicles: bool
    rib_count: int
    rib_phase: float
    lung_tissue: float
    heart_tissue: float
    bone: float
    gamma: float
    noise: float
    blur: float


def draw_phantom(
    rng: np.random.Generator, size: int = 128
) -> tuple[LabelArray, dict[str, BoolArray]]:
    """One radiograph and its masks.

    rng: every draw comes from it.  size: side of the square picture in pixels, at least 32.
    Returns the image, (size, size) uint8, bright where the body is dense, and for each of
    STRUCTURES its mask, (size, size) bool.  Clavicles lie mostly on the lungs, lung and heart do
    not overlap; about one case in ten has an empty clavicle mask.  Raises SettingsError for a
    smaller size, at which a clavicle is thinner than a pixel.
    """
    if size < 32:
        raise SettingsError(
            "size", expected="at least 32 pixels", got=f"{size}", remedy="Draw larger phantoms."
        )
    build = _draw_build(rng)
    frame = _draw_frame(rng, size)
    masks = _masks(frame, build)
    dense = _body(frame) + _organs(frame, build, masks, rng) + _bones(frame, build, masks)
    return _expose(dense, build, rng), masks


def write_phantoms(root: Path, splits: Mapping[str, int], seed: int, size: int = 128) -> None:
    """Phantoms in the reference layout: {split}/{images,lung,heart,clavicle}/NAME.png.

    root: made when it is not there; files of the same name are replaced.  splits: split -> number
    of cases.  A case depends on seed, split, its index and size alone, so a longer data set
    begins with a shorter one.  Images are 8-bit grey, masks 0 and 255; an absent structure has
    an empty mask, since it is known to be absent.
    """
    for split, count in splits.items():
        for index in range(count):
            # a checksum, as hash() of a string differs from run to run
            rng = np.random.default_rng([seed, zlib.crc32(split.encode()), index])
            image, masks = draw_phantom(rng, size)
            pictures = {"images": image} | {
                name: np.where(mask, 255, 0).astype(np.uint8) for name, mask in masks.items()
            }
            for folder, picture in pictures.items():
                _write_png(root / split / folder / f"{split}_{index:04d}.png", picture)


def _write_png(path: Path, picture: LabelArray) -> None:
    with atomic_file(path) as handle:
        Image.fromarray(picture).save(handle, format="PNG")


def _draw_build(rng: np.random.Generator) -> Build:
    faint = rng.random() < NO_HEART_BORDER
    # some patients breathe in less: everything below comes up
    breath = rng.normal(0, 0.035)
    return Build(
        lung_width=rng.uniform(0.28, 0.36),
        apex=rng.uniform(0.07, 0.13),
        diaphragm=(0.72 + breath + rng.normal(0, 0.01), 0.75 + breath + rng.normal(0, 0.015)),
        heart_centre=(rng.uniform(0.53, 0.58), 0.64 + 0.8 * breath),
        heart_radii=(rng.uniform(0.15, 0.21), rng.uniform(0.13, 0.17)),
        heart_tilt=rng.uniform(0.2, 0.7),
        clavicle_slope=(rng.normal(0.3, 0.13), rng.normal(0.3, 0.13)),
        clavicle_thickness=rng.uniform(0.034, 0.048),
        has_clavicles=bool(rng.random() >= NO_CLAVICLES),
        rib_count=int(rng.integers(8, 11)),
        rib_phase=rng.random(),
        lung_tissue=rng.uniform(0.14, 0.26),
        heart_tissue=rng.uniform(0.0, 0.03) if faint else rng.uniform(0.05, 0.14),
        bone=rng.uniform(0.07, 0.13),
        gamma=rng.uniform(0.75, 1.3),
        noise=rng.uniform(0.01, 0.03),
        blur=rng.uniform(0.002, 0.006),
    )


def _draw_frame(rng: np.random.Generator, size: int) -> Frame:
    """The frame, moved by up to some hundredths, turned by some degrees, scaled and warped."""
    angle, scale = rng.normal(0, 0.04), rng.uniform(0.92, 1.08)
    shift = rng.normal(0, 0.02, 2)
    centres = (np.arange(size) + 0.5) / size - 0.5
    across, down = np.meshgrid(centres - shift[0], centres - shift[1])
    x = 0.5 + (np.cos(angle) * across - np.sin(angle) * down) / scale
    y = 0.5 + (np.sin(angle) * across + np.cos(angle) * down) / scale
    # a few slow waves: the same body at every picture size, which a noise field would not be
    for wave in rng.normal(0, 1, (4, 5)):
        phase = 2 * np.pi * (wave[0] * x + wave[1] * y) + np.pi * wave[2]
        x, y = x + 0.006 * wave[3] * np.sin(phase), y + 0.006 * wave[4] * np.cos(phase)
    return Frame(x, y)


def _masks(frame: Frame, build: Build) -> dict[str, BoolArray]:
    heart = _heart(frame, build)
    lung = (_lung(frame, build, 0) | _lung(frame, build, 1)) & ~heart
    clavicle = np.zeros_like(lung)
    if build.has_clavicles:
        clavicle = _clavicle(frame, build, 0) | _clavicle(frame, build, 1)
    return {"lung": lung, "heart": heart, "clavicle": clavicle}


def _lung(frame: Frame, build: Build, side: int) -> BoolArray:
    """One lung: an arch over a domed diaphragm.  side: 0 left in the picture, 1 right."""
    outward = _outward(frame, side)
    medial = 0.055 + 0.02 * np.sin(5 * frame.y) + 0.03 * np.clip(frame.y - 0.5, 0, None)
    depth = np.clip((frame.y - build.apex) / (build.diaphragm[side] + 0.12 - build.apex), 0, None)
    # narrow at the apex, widest at the base: a rounded cone
    width = build.lung_width * np.clip(depth, 0, 1) ** 0.3 * (0.83 + 0.2 * depth)
    dome = ((outward - medial) / build.lung_width - 0.25) / 0.75
    floor = build.diaphragm[side] + 0.13 * dome**2 * np.sign(dome + 0.2)
    arch = build.apex + np.clip(0.05 - outward + medial, 0, None)
    inside: BoolArray = (
        (outward > medial) & (outward < medial + width) & (frame.y > arch) & (frame.y < floor)
    )
    return inside


def _heart(frame: Frame, build: Build) -> BoolArray:
    """A tilted egg, its tip towards the lower right, cut flat by the diaphragm."""
    dx, dy = frame.x - build.heart_centre[0], frame.y - build.heart_centre[1]
    along = np.cos(build.heart_tilt) * dx + np.sin(build.heart_tilt) * dy
    across = np.cos(build.heart_tilt) * dy - np.sin(build.heart_tilt) * dx
    long, short = build.heart_radii
    egg = (along / long) ** 2 + (across / (short * (1 - 0.25 * along / long))) ** 2 < 1
    inside: BoolArray = egg & (frame.y < build.diaphragm[1] + 0.03)
    return inside


def _clavicle(frame: Frame, build: Build, side: int) -> BoolArray:
    """An S-shaped bar from beside the spine up and outward, thicker at its inner end."""
    outward = _outward(frame, side)
    along = (outward - 0.06) / 0.24
    middle = build.apex + 0.115 - build.clavicle_slope[side] * (outward - 0.06)
    middle = middle + 0.012 * np.sin(2 * np.pi * along)
    half = build.clavicle_thickness / 2 * (1.25 - 0.45 * along)
    inside: BoolArray = (along > 0) & (along < 1) & (np.abs(frame.y - middle) < half)
    return inside


def _outward(frame: Frame, side: int) -> Field:
    """Distance from the middle of the body towards one side, (H, W)."""
    return 0.5 - frame.x if side == 0 else frame.x - 0.5


def _body(frame: Frame) -> Field:
    """Attenuation of the trunk, neck, shoulders, spine and belly, (H, W)."""
    outward = np.abs(frame.x - 0.5)
    edge = 0.12 + 0.34 * _ramp(frame.y, 0.02, 0.05) + 0.03 * np.sin(3 * frame.y)
    trunk = _ramp(edge - outward, 0, 0.05)
    flesh = 0.62 * (1 - 0.4 * (outward / 0.5) ** 4)
    spine = 0.11 * _ramp(0.055 - outward, 0, 0.03)
    discs = 0.025 * np.sin(2 * np.pi * frame.y / 0.055) * _ramp(0.04 - outward, 0, 0.02)
    middle = 0.1 * _ramp(0.1 + 0.05 * frame.y - outward, 0, 0.06)
    shoulder = 0.12 * np.exp(-(((outward - 0.4) / 0.1) ** 2) - ((frame.y - 0.14) / 0.1) ** 2)
    belly = 0.15 * _ramp(frame.y, 0.7, 0.2)
    windpipe = 0.1 * _ramp(0.025 - outward, 0, 0.015) * _ramp(0.34 - frame.y, 0, 0.1)
    body: Field = trunk * (flesh + spine + discs + middle + shoulder + belly - windpipe)
    return body


def _organs(
    frame: Frame, build: Build, masks: Mapping[str, BoolArray], rng: np.random.Generator
) -> Field:
    """Attenuation that lungs (less than tissue), their vessels, heart and aorta add, (H, W)."""
    size = frame.x.shape[0]
    lung = ndimage.gaussian_filter(masks["lung"].astype(float), 0.006 * size)
    heart = ndimage.gaussian_filter(masks["heart"].astype(float), 0.008 * size)
    outward = np.abs(frame.x - 0.5)
    hilum = np.exp(-(((outward - 0.11) / 0.07) ** 2) - ((frame.y - 0.47) / 0.11) ** 2)
    texture = ndimage.gaussian_filter(rng.standard_normal((size, size)), 0.015 * size)
    vessels = 0.05 * texture / texture.std() * (0.25 + hilum)
    air = lung * (build.lung_tissue - 0.52 + 0.12 * hilum + vessels)
    knob = 0.1 * np.exp(-(((frame.x - 0.56) / 0.04) ** 2) - ((frame.y - 0.33) / 0.045) ** 2)
    bubble_at = build.diaphragm[1] + rng.uniform(0.06, 0.12)
    bubble = ((frame.x - 0.66) / 0.06) ** 2 + ((frame.y - bubble_at) / 0.03) ** 2
    stomach_air = -rng.uniform(0, 0.25) * np.exp(-(bubble**2))
    organs: Field = air + build.heart_tissue * heart + knob + stomach_air
    return organs


def _bones(frame: Frame, build: Build, masks: Mapping[str, BoolArray]) -> Field:
    """Attenuation of the ribs, front and back, and of the clavicles, (H, W)."""
    outward = np.abs(frame.x - 0.5)
    cage = _ramp(outward, 0.05, 0.03) * _ramp(0.45 - outward, 0, 0.03) * _ramp(frame.y, 0.08, 0.04)
    spacing = 0.78 / build.rib_count
    # ribs leave the spine a little upward and fall to the side; in front they run the other way
    back = (frame.y + 0.15 * outward - 1.3 * outward**2) / spacing + build.rib_phase
    front = (frame.y + 1.1 * (outward - 0.42) ** 2 - 0.2 * outward) / (1.15 * spacing)
    ribs = _band(back, 0.3) + 0.45 * _band(front + 2 * build.rib_phase, 0.25)
    fading = 0.75 * _ramp(0.95 - frame.y, 0, 0.2)
    clavicle = ndimage.gaussian_filter(masks["clavicle"].astype(float), 0.004 * frame.x.shape[0])
    bones: Field = build.bone * (cage * fading * ribs + 1.2 * clavicle)
    return bones


def _band(phase: Field, share: float) -> Field:
    """1 on a stripe of each period, brighter at its rims as a hollow bone is; 0 between."""
    distance = np.abs(phase % 1 - 0.5) / (share / 2)
    stripes: Field = (0.6 + 0.4 * distance**2) * _ramp(1.25 - distance, 0, 0.5)
    return stripes


def _expose(dense: Field, build: Build, rng: np.random.Generator) -> LabelArray:
    """The film's curve, blur and noise over an attenuation, (H, W) uint8."""
    size = dense.shape[0]
    light = np.clip(ndimage.gaussian_filter(dense, build.blur * size), 0, 1) ** build.gamma
    low, high = rng.uniform(0, 0.08), rng.uniform(0.85, 1)
    # finest detail at every size: grain is a property of the film's pixel, not of the body
    grain = ndimage.gaussian_filter(rng.standard_normal((size, size)), 0.6) * 2
    picture = low + (high - low) * light + build.noise * grain
    exposed: LabelArray = np.rint(255 * np.clip(picture, 0, 1)).astype(np.uint8)
    return exposed


def _ramp(value: Field, start: float, width: float) -> Field:
    """0 below start, 1 from start + width, smooth between."""
    part = np.clip((value - start) / width, 0, 1)
    return part * part * (3 - 2 * part)
