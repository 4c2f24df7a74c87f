"""Samples of every format, each written by another library than the one under test, or by hand."""

from __future__ import annotations

import gzip
import struct
import zlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from io import BytesIO
from pathlib import Path
from typing import Any, NamedTuple

import nibabel as nib
import nrrd
import numpy as np
import pytest
import SimpleITK as sitk  # noqa: N813
from numpy.typing import NDArray
from PIL import Image

from maskmend.core import Grid
from maskmend.formats import split_name

Values = NDArray[Any]

PALETTE = bytes([0, 0, 0, 255, 0, 0, 0, 255, 0, 0, 0, 255])

VOLUME = (4, 5, 7)
SPACING = (0.75, 1.25, 3.0)
"""Of x, y and z; exact in a float32."""


class Seen(NamedTuple):
    """What another library makes of a file.  points: RAS+ mm of the voxels of POINTS, (n, 3); none
    where it knows no place."""

    array: Values
    points: NDArray[np.float64] = np.empty((0, 3))


POINTS = ((0, 0, 0), (1, 0, 0), (0, 1, 0), (0, 0, 1), (3, 1, 5))
"""Voxels (z, y, x) that tell any exchange or reflection of axes."""

Reader = Callable[[Path], Seen]


@dataclass(frozen=True)
class Sample:
    """A way to store a mask.  largest: greatest value that it holds.  write: by another library
    than the one under test, or by hand.  facts: what a rewrite must keep.  readers: of others.
    grid: what must be read."""

    ending: str
    largest: int
    write: Callable[[Path, Values], object]
    facts: Callable[[Path], object]
    readers: tuple[Reader, ...]
    grid: Grid = field(default_factory=lambda: Grid((7, 13)))

    def put(self, folder: Path, values: Values, stem: str = "source") -> Path:
        path = folder / f"{stem}{self.ending}"
        self.write(path, values)
        return path

    def draw(self, seed: int = 0, largest: int | None = None) -> Values:
        return draw(self.largest if largest is None else largest, seed, self.grid.shape)


@dataclass(frozen=True)
class ImageSample:
    """A way to store an image of one number a pixel, repeated in `channels`."""

    ending: str
    write: Callable[[Path, Values], object]
    shape: tuple[int, ...] = (16, 24)


def draw(largest: int, seed: int, shape: tuple[int, ...]) -> Values:
    dtype = np.int64 if largest < 2**63 else np.uint64
    values = np.random.default_rng(seed).integers(0, largest, shape, dtype, endpoint=True)
    # the largest value itself is always among them
    values.flat[0] = largest
    return values


# pictures


def saved(image: Image.Image, kind: str, **options: object) -> bytes:
    buffer = BytesIO()
    image.save(buffer, kind, **options)
    return buffer.getvalue()


def as_image(values: Values, mode: str, dtype: str) -> Image.Image:
    rows, columns = values.shape
    return Image.frombytes(mode, (columns, rows), values.astype(dtype).tobytes())


def plain(kind: str, mode: str, dtype: str, **options: object) -> Callable[[Values], bytes]:
    return lambda values: saved(as_image(values, mode, dtype), kind, **options)


def one_bit(kind: str, **options: object) -> Callable[[Values], bytes]:
    return lambda values: saved(Image.fromarray(values.astype(bool)), kind, **options)


def palette(kind: str, **options: object) -> Callable[[Values], bytes]:
    def encode(values: Values) -> bytes:
        image = as_image(values, "P", "u1")
        image.putpalette(PALETTE)
        return saved(image, kind, **options)

    return encode


def equal_channels(kind: str, mode: str) -> Callable[[Values], bytes]:
    def encode(values: Values) -> bytes:
        bands = [as_image(values, "L", "u1")] * (1 if mode == "LA" else 3)
        alpha = np.arange(values.size).reshape(values.shape) % 251
        bands += [as_image(alpha, "L", "u1")] if mode.endswith("A") else []
        return saved(Image.merge(mode, bands), kind)

    return encode


def few_bits(depth: int) -> Callable[[Values], bytes]:
    """A grey PNG of 2 or 4 bits by hand, which Pillow cannot write; two bytes of text with it."""

    def encode(values: Values) -> bytes:
        rows, columns = values.shape
        lines = b""
        for row in values.tolist():
            bits = "".join(format(value, f"0{depth}b") for value in row)
            bits += "0" * (-len(bits) % 8)
            lines += b"\0" + int(bits, 2).to_bytes(len(bits) // 8, "big")
        chunks = [
            (b"IHDR", struct.pack(">IIBBBBB", columns, rows, depth, 0, 0, 0, 0)),
            (b"tEXt", b"Comment\0by hand"),
            (b"IDAT", zlib.compress(lines)),
            (b"IEND", b""),
        ]
        return b"\x89PNG\r\n\x1a\n" + b"".join(
            struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))
            for kind, body in chunks
        )

    return encode


def picture_facts(path: Path) -> tuple[object, ...]:
    with Image.open(path) as image:
        alpha = np.array(image)[..., -1].tolist() if image.mode in ("LA", "RGBA") else None
        if image.format == "GIF":
            start = path.read_bytes()[:13]
            return (start, image.mode, image.getpalette(), dict(image.info))
        is_png = image.format == "PNG"
        depth = path.read_bytes()[24:26] if is_png else getattr(image, "tag_v2").get(258)  # noqa: B009
        kept = [image.info.get(key) for key in ("transparency", "dpi", "compression", "Comment")]
        return (image.format, image.mode, image.size, image.getpalette(), depth, alpha, *kept)


def by_pillow(path: Path) -> Seen:
    with Image.open(path) as image:
        return Seen(np.array(image))


def picture(ending: str, largest: int, encode: Callable[[Values], bytes]) -> Sample:
    return Sample(
        ending,
        largest,
        lambda path, values: path.write_bytes(encode(values)),
        picture_facts,
        (by_pillow,),
    )


# volumes


def turned() -> NDArray[np.float64]:
    """(4, 4) of (x, y, z, 1) to RAS+: oblique about two axes, x flipped, three spacings."""
    a, b = np.deg2rad([20, -35])
    about_z = np.array([[np.cos(a), -np.sin(a), 0], [np.sin(a), np.cos(a), 0], [0, 0, 1]])
    about_x = np.array([[1, 0, 0], [0, np.cos(b), -np.sin(b)], [0, np.sin(b), np.cos(b)]])
    matrix = np.eye(4)
    matrix[:3, :3] = about_z @ about_x @ np.diag([-1, 1, 1]) @ np.diag(SPACING)
    matrix[:3, 3] = (-31.5, 12.25, 100.125)
    return matrix


PLACE = turned()


def volume_grid(place: NDArray[np.float64] | None = PLACE, spacing: bool = True) -> Grid:
    rows = None if place is None else tuple(map(tuple, place[:, [2, 1, 0, 3]].tolist()))
    return Grid(VOLUME, SPACING[::-1] if spacing else None, rows)


def points_of(affine: NDArray[np.float64]) -> NDArray[np.float64]:
    """Places, (n, 3), of POINTS by an affine of (x, y, z, 1)."""
    voxels = np.array([(*point[::-1], 1) for point in POINTS], float)
    return (affine @ voxels.T)[:3].T


def _spatial(path: Path) -> Any:
    return nib.load(path)


def by_nibabel(path: Path) -> Seen:
    image = _spatial(path)
    array = np.asanyarray(image.dataobj).T
    return Seen(array, points_of(image.affine)) if image.ndim > 2 else Seen(array)


def by_simpleitk(path: Path) -> Seen:
    image = sitk.ReadImage(str(path))
    if image.GetDimension() < 3:
        return Seen(sitk.GetArrayFromImage(image))
    places = [image.TransformIndexToPhysicalPoint(point[::-1]) for point in POINTS]
    return Seen(sitk.GetArrayFromImage(image), np.array(places) * (-1, -1, 1))


def by_pynrrd(path: Path) -> Seen:
    array, header = nrrd.read(str(path), index_order="C")
    directions = header.get("space directions")
    if directions is None or header["dimension"] != 3:
        return Seen(array)
    affine = np.eye(4)
    affine[:3, :3] = directions.T
    affine[:3, 3] = header["space origin"]
    signs = [-1 if side in header["space"] else 1 for side in ("left", "posterior", "inferior")]
    return Seen(array, points_of(np.diag([*signs, 1]) @ affine))


def nifti(
    dtype: str, kind: Any = nib.Nifti1Image, codes: tuple[int, int] = (1, 1), text: bytes = b""
) -> Callable[[Path, Values], None]:
    """codes: of the sform and the qform."""

    def write(path: Path, values: Values) -> None:
        order = "<" if np.dtype(dtype).byteorder == "|" else np.dtype(dtype).str[0]
        header = kind.header_class(endianness=order)
        header["descrip"] = b"by nibabel"
        header["intent_code"], header["cal_max"], header["aux_file"] = 1002, 3, b"labels.txt"
        header.set_data_dtype(np.dtype(dtype))
        place = PLACE if values.ndim == 3 else None
        image = kind(values.astype(dtype).T, place, header)
        if place is None:
            image.header.set_zooms(SPACING[:2])
        else:
            image.set_sform(place, codes[0])
            image.set_qform(place, codes[1])
        image.header.set_xyzt_units("mm", "sec")
        if text:
            image.header.extensions.append(nib.nifti1.Nifti1Extension("comment", text))
        path.parent.mkdir(exist_ok=True)
        image.to_filename(path)

    return write


def nifti_facts(path: Path) -> object:
    data = path.read_bytes()
    gzipped = data[:2] == b"\x1f\x8b"
    data = gzip.decompress(data) if gzipped else data
    return gzipped, data[: _spatial(path).dataobj.offset]


def nrrd_header(space: str | None = "left-posterior-superior") -> dict[str, Any]:
    signs = {"right": 1, "left": -1}
    header: dict[str, Any] = {"Patient said": "a:=b: c", "content": "a mask"}
    if space is None:
        return header | {"spacings": list(SPACING)}
    sides = space.split("-")
    turn = np.diag([signs.get(sides[0], 1), -1 if sides[1] == "posterior" else 1, 1])
    return header | {
        "space": space,
        "space directions": (turn @ PLACE[:3, :3]).T,
        "space origin": turn @ PLACE[:3, 3],
        "kinds": ["domain"] * 3,
    }


def by_pynrrd_writer(
    dtype: str, encoding: str, header: Mapping[str, Any]
) -> Callable[[Path, Values], None]:
    def write(path: Path, values: Values) -> None:
        path.parent.mkdir(exist_ok=True)
        fields = dict(header) | {"encoding": encoding}
        nrrd.write(str(path), values.astype(dtype), fields, index_order="C")

    return write


def nrrd_facts(path: Path) -> object:
    return path.read_bytes().partition(b"\n\n")[0]


def by_simpleitk_writer(
    dtype: str, compress: bool = False, **fields: str
) -> Callable[[Path, Values], None]:
    def write(path: Path, values: Values) -> None:
        image = sitk.GetImageFromArray(values.astype(dtype))
        image.SetSpacing(SPACING[: values.ndim])
        if values.ndim == 3:
            turn = np.diag([-1, -1, 1])
            image.SetDirection((turn @ PLACE[:3, :3] / SPACING).reshape(-1).tolist())
            image.SetOrigin((turn @ PLACE[:3, 3]).tolist())
        for key, value in fields.items():
            image.SetMetaData(key, value)
        path.parent.mkdir(exist_ok=True)
        sitk.WriteImage(image, str(path), compress)

    return write


def big_endian_mha(path: Path, values: Values) -> None:
    """By hand: SimpleITK writes the byte order of the machine."""
    by_simpleitk_writer("<i2")(path, values)
    head, _, _ = path.read_bytes().partition(b"LOCAL\n")
    head = head.replace(b"ByteOrderMSB = False", b"ByteOrderMSB = True")
    path.write_bytes(head + b"LOCAL\n" + values.astype(">i2").tobytes())


def meta_facts(path: Path) -> object:
    lines = path.read_bytes().partition(b"ElementDataFile")[0].splitlines()
    reader = sitk.ImageFileReader()
    reader.SetFileName(str(path))
    reader.ReadImageInformation()
    dictionary = {key: reader.GetMetaData(key) for key in reader.GetMetaDataKeys()}
    return [line for line in lines if not line.startswith(b"CompressedDataSize")], dictionary


def _nifti(
    ending: str,
    largest: int,
    dtype: str,
    grid: Grid,
    kind: Any = nib.Nifti1Image,
    codes: tuple[int, int] = (1, 1),
    text: bytes = b"",
) -> Sample:
    # ITK reads no NIfTI-2, and places a volume of unknown orientation elsewhere than nibabel
    alone = kind is nib.Nifti2Image or grid.affine is None
    readers = (by_nibabel,) if alone else (by_nibabel, by_simpleitk)
    return Sample(ending, largest, nifti(dtype, kind, codes, text), nifti_facts, readers, grid)


def _nrrd(
    ending: str,
    largest: int,
    dtype: str,
    encoding: str,
    space: str | None = "left-posterior-superior",
) -> Sample:
    # ITK is built without bzip2, and takes a missing space for LPS
    readers = (by_pynrrd,) if encoding == "bzip2" or space is None else (by_pynrrd, by_simpleitk)
    write = by_pynrrd_writer(dtype, encoding, nrrd_header(space))
    grid = volume_grid(None if space is None else PLACE)
    return Sample(ending, largest, write, nrrd_facts, readers, grid)


def _meta(ending: str, largest: int, write: Callable[[Path, Values], object]) -> Sample:
    return Sample(ending, largest, write, meta_facts, (by_simpleitk,), volume_grid())


FLAT = Grid(VOLUME[1:], SPACING[1::-1])

SAMPLES = {
    "png grey 1": picture(".png", 1, one_bit("PNG")),
    "png grey 2": picture(".png", 3, few_bits(2)),
    "png grey 4": picture(".png", 15, few_bits(4)),
    "png grey 8": picture(".png", 255, plain("PNG", "L", "u1", dpi=(300, 300))),
    "png grey 16": picture(".png", 65535, plain("PNG", "I;16", "<u2")),
    "png palette 2": picture(".png", 3, palette("PNG", transparency=b"\0\x80\xff\xff")),
    "png palette 8": picture(".png", 3, palette("PNG", bits=8)),
    "png rgb": picture(".png", 255, equal_channels("PNG", "RGB")),
    "png rgba": picture(".png", 255, equal_channels("PNG", "RGBA")),
    "png grey alpha": picture(".PNG", 255, equal_channels("PNG", "LA")),
    "tiff grey 1": picture(".tif", 1, one_bit("TIFF")),
    "tiff grey 1 group4": picture(".tif", 1, one_bit("TIFF", compression="group4")),
    "tiff grey 8": picture(".tif", 255, plain("TIFF", "L", "u1", dpi=(300, 300))),
    "tiff grey 8 lzw": picture(".tiff", 255, plain("TIFF", "L", "u1", compression="tiff_lzw")),
    "tiff grey 16": picture(".tif", 65535, plain("TIFF", "I;16", "<u2")),
    "tiff grey 16 big-endian": picture(".tif", 65535, plain("TIFF", "I;16B", ">u2")),
    "tiff grey 16 deflate": picture(
        ".tif", 65535, plain("TIFF", "I;16", "<u2", compression="tiff_adobe_deflate")
    ),
    "tiff int 32": picture(".tif", 2**31 - 1, plain("TIFF", "I", "<i4")),
    "tiff float 32": picture(".tif", 2**24, plain("TIFF", "F", "<f4")),
    "tiff palette": picture(".tif", 255, palette("TIFF")),
    "tiff rgb": picture(".tif", 255, equal_channels("TIFF", "RGB")),
    "tiff rgba": picture(".tif", 255, equal_channels("TIFF", "RGBA")),
    "tiff grey alpha": picture(".tif", 255, equal_channels("TIFF", "LA")),
    "gif grey": picture(
        ".gif", 255, plain("GIF", "L", "u1", optimize=False, comment=b"SCR")
    ),
    "gif palette": picture(".gif", 3, palette("GIF", transparency=2, comment=b"four colours")),
    "nifti uint8 gzip": _nifti(".nii.gz", 255, "u1", volume_grid()),
    "nifti uint8": _nifti(".nii", 255, "u1", volume_grid()),
    "nifti int16 big-endian": _nifti(".nii", 2**15 - 1, ">i2", volume_grid()),
    "nifti uint16 gzip": _nifti(".NII.GZ", 2**16 - 1, "<u2", volume_grid()),
    "nifti int32 extension": _nifti(
        ".nii.gz", 2**31 - 1, "<i4", volume_grid(), nib.Nifti1Image, (2, 4), b"Slicer was here"
    ),
    "nifti int64": _nifti(".nii.gz", 2**63 - 1, "<i8", volume_grid()),
    "nifti uint64": _nifti(".nii", 2**64 - 1, "<u8", volume_grid()),
    "nifti float32": _nifti(".nii.gz", 2**24, "<f4", volume_grid()),
    "nifti float64 big-endian": _nifti(".nii.gz", 2**31 - 1, ">f8", volume_grid()),
    "nifti qform": _nifti(".nii.gz", 255, "u1", volume_grid(), nib.Nifti1Image, (0, 1)),
    "nifti sform": _nifti(".nii.gz", 255, "u1", volume_grid(), nib.Nifti1Image, (4, 0)),
    "nifti no form": _nifti(".nii.gz", 255, "u1", volume_grid(None), nib.Nifti1Image, (0, 0)),
    "nifti-2 uint8": _nifti(".nii.gz", 255, "u1", volume_grid(), nib.Nifti2Image),
    "nifti-2 int16 big-endian": _nifti(".nii", 2**15 - 1, ">i2", volume_grid(), nib.Nifti2Image),
    "nifti flat": _nifti(".nii.gz", 255, "u1", FLAT),
    "nrrd raw": _nrrd(".nrrd", 255, "u1", "raw"),
    "nrrd gzip": _nrrd(".nrrd", 2**15 - 1, "<i2", "gzip"),
    "nrrd gzip big-endian": _nrrd(".NRRD", 2**16 - 1, ">u2", "gzip"),
    "nrrd bzip2": _nrrd(".nrrd", 2**32 - 1, "<u4", "bzip2"),
    "nrrd ascii": _nrrd(".nrrd", 255, "u1", "ascii"),
    "nrrd int8": _nrrd(".nrrd", 127, "i1", "gzip"),
    "nrrd int32": _nrrd(".nrrd", 2**31 - 1, "<i4", "raw"),
    "nrrd int64": _nrrd(".nrrd", 2**63 - 1, "<i8", "gzip"),
    "nrrd uint64": _nrrd(".nrrd", 2**64 - 1, ">u8", "raw"),
    "nrrd float": _nrrd(".nrrd", 2**24, "<f4", "gzip"),
    "nrrd double": _nrrd(".nrrd", 2**31 - 1, "<f8", "raw"),
    "nrrd ras": _nrrd(".nrrd", 255, "u1", "gzip", "right-anterior-superior"),
    "nrrd las": _nrrd(".nrrd", 255, "u1", "gzip", "left-anterior-superior"),
    "nrrd spacings": _nrrd(".nrrd", 255, "u1", "gzip", None),
    "nrrd by itk": Sample(
        ".nrrd", 255, by_simpleitk_writer("u1", True, Finding="left"), nrrd_facts,
        (by_pynrrd, by_simpleitk), volume_grid(),
    ),
    "nrrd flat": Sample(
        ".nrrd", 255, by_simpleitk_writer("u1"), nrrd_facts, (by_pynrrd, by_simpleitk), FLAT
    ),
    "nhdr raw": _nrrd(".nhdr", 255, "u1", "raw"),
    "nhdr gzip": _nrrd(".nhdr", 2**15 - 1, "<i2", "gzip"),
    "mha": _meta(".mha", 255, by_simpleitk_writer("u1", False, Finding="left lung")),
    "mha zlib": _meta(".mha", 2**16 - 1, by_simpleitk_writer("<u2", True)),
    "mha big-endian": _meta(".mha", 2**15 - 1, big_endian_mha),
    "mha int32": _meta(".mha", 2**31 - 1, by_simpleitk_writer("<i4")),
    "mha int64": _meta(".mha", 2**63 - 1, by_simpleitk_writer("<i8", True)),
    "mha float": _meta(".mha", 2**24, by_simpleitk_writer("<f4", True)),
    "mhd raw": _meta(".mhd", 255, by_simpleitk_writer("u1")),
    "mhd zraw": _meta(".mhd", 255, by_simpleitk_writer("u1", True)),
    "mha flat": Sample(
        ".mha", 255, by_simpleitk_writer("u1", True), meta_facts, (by_simpleitk,), FLAT
    ),
}  # fmt: skip


def _image(ending: str, encode: Callable[[Values], bytes]) -> ImageSample:
    return ImageSample(ending, lambda path, values: path.write_bytes(encode(values)))


def jsrt(path: Path, values: Values) -> None:
    path.write_bytes(values.astype(">u2").tobytes())


IMAGES = {
    "png grey": _image(".png", plain("PNG", "L", "u1")),
    "png grey 16": _image(".png", plain("PNG", "I;16", "<u2")),
    "png rgba": _image(".png", equal_channels("PNG", "RGBA")),
    "tiff grey": _image(".tif", plain("TIFF", "L", "u1")),
    "tiff float": _image(".tif", plain("TIFF", "F", "<f4")),
    "tiff rgb": _image(".tif", equal_channels("TIFF", "RGB")),
    "jpeg grey": _image(".jpg", plain("JPEG", "L", "u1")),
    "jpeg rgb": _image(".jpg", equal_channels("JPEG", "RGB")),
    "gif grey": _image(".gif", plain("GIF", "L", "u1")),
    "nifti int16": ImageSample(".nii.gz", nifti("<i2"), (5, 16, 24)),
    "nifti float32 big-endian": ImageSample(".nii", nifti(">f4"), (5, 16, 24)),
    "nifti-2 flat": ImageSample(".nii", nifti("<u2", nib.Nifti2Image)),
    "nrrd int16": ImageSample(".nrrd", by_pynrrd_writer("<i2", "gzip", nrrd_header()), (5, 16, 24)),
    "nrrd double": ImageSample(".nrrd", by_pynrrd_writer(">f8", "raw", nrrd_header()), (5, 16, 24)),
    "nrrd ascii": ImageSample(".nrrd", by_pynrrd_writer("f4", "ascii", nrrd_header()), (5, 16, 24)),
    "nhdr": ImageSample(".nhdr", by_pynrrd_writer("<u2", "bzip2", nrrd_header()), (5, 16, 24)),
    "mha int16": ImageSample(".mha", by_simpleitk_writer("<i2"), (5, 16, 24)),
    "mha float zlib": ImageSample(".mha", by_simpleitk_writer("<f4", True), (5, 16, 24)),
    "mhd": ImageSample(".mhd", by_simpleitk_writer("<u2"), (16, 24)),
    "jsrt": ImageSample(".IMG", jsrt, (2048, 2048)),
}


@pytest.fixture(params=list(SAMPLES.values()), ids=list(SAMPLES))
def sample(request: pytest.FixtureRequest) -> Sample:
    """Every way to store a mask, in turn."""
    found: Sample = request.param
    return found


@pytest.fixture(
    params=[s for s in SAMPLES.values() if len(s.grid.shape) == 3],
    ids=[name for name, s in SAMPLES.items() if len(s.grid.shape) == 3],
)
def volume_sample(request: pytest.FixtureRequest) -> Sample:
    """Every way to store the mask of a volume, in turn."""
    found: Sample = request.param
    return found


@pytest.fixture(params=list(IMAGES.values()), ids=list(IMAGES))
def image_sample(request: pytest.FixtureRequest) -> ImageSample:
    """Every way to store an image, in turn."""
    found: ImageSample = request.param
    return found


@pytest.fixture(scope="session")
def samples() -> Mapping[str, Sample]:
    return SAMPLES


@pytest.fixture(scope="session")
def points() -> tuple[tuple[int, int, int], ...]:
    """The voxels whose places `Seen.points` tells."""
    return POINTS


@pytest.fixture(scope="session")
def known_endings() -> tuple[frozenset[str], frozenset[str]]:
    """Endings in lower case of (the samples of masks, the samples of images)."""
    masks = (split_name(f"a{sample.ending}")[1].lower() for sample in SAMPLES.values())
    images = (split_name(f"a{sample.ending}")[1].lower() for sample in IMAGES.values())
    return frozenset(masks), frozenset(images)
