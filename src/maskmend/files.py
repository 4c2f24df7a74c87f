"""Files written whole or not at all, and read without pickle.

Every writer makes the folder if it is missing, writes a temporary file beside the target, flushes
it to the disk and renames it: a killed process leaves the old file or the new one, never a part.
The name of a temporary file begins with a dot, so no reader of folders takes it for a case.
"""

from __future__ import annotations

import csv
import hashlib
import io
import json
import math
import os
import re
import secrets
import shutil
import zipfile
import zlib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
from numpy.typing import NDArray

from maskmend.errors import MissingFileError, NotFiniteError, UnreadableFileError


@contextmanager
def atomic_file(path: Path) -> Iterator[BinaryIO]:
    """A file to write to; it takes the place of `path` when the block ends without an error."""
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.parent / f".{secrets.token_hex(8)}.tmp"
    try:
        with temporary.open("xb") as handle:
            yield handle
            handle.flush()
            os.fsync(handle.fileno())
        os.replace(temporary, path)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise


def remove_leftovers(root: Path) -> None:
    """Delete the temporary files below a folder of a process that was killed.

    Only where no other process writes.
    """
    for path in root.rglob(".*.tmp"):
        if re.fullmatch(r"\.[0-9a-f]{16}\.tmp", path.name) and not path.is_dir():
            path.unlink(missing_ok=True)


def write_bytes_atomic(path: Path, data: bytes) -> None:
    with atomic_file(path) as handle:
        handle.write(data)


def copy_file_atomic(source: Path, target: Path) -> None:
    """The bytes of a file at another place.  Raises MissingFileError."""
    try:
        with source.open("rb") as original, atomic_file(target) as handle:
            shutil.copyfileobj(original, handle)
    except FileNotFoundError as error:
        raise missing(source) from error


def link_file_atomic(source: Path, target: Path) -> None:
    """A symbolic link at `target`, in place of what was there."""
    target.parent.mkdir(parents=True, exist_ok=True)
    temporary = target.parent / f".{secrets.token_hex(8)}.tmp"
    temporary.symlink_to(source.resolve())
    os.replace(temporary, target)


def write_json(path: Path, obj: Any) -> None:
    """JSON with sorted keys; the same values give the same bytes.

    obj: dicts with text keys, lists, tuples, text, numbers, None, NumPy numbers and arrays, paths.
    Raises NotFiniteError: JSON has no NaN or infinity.
    """
    write_bytes_atomic(path, json_bytes(obj, str(path), sort_keys=True))


def json_bytes(obj: Any, name: str = "", sort_keys: bool = False) -> bytes:
    """What `write_json` writes, by default with the keys in their own order."""
    try:
        text = json.dumps(
            obj, sort_keys=sort_keys, indent=2, allow_nan=False, ensure_ascii=False, default=_plain
        )
    except ValueError as error:
        raise NotFiniteError(
            name,
            expected="finite numbers in a JSON file",
            got="NaN or infinity",
            remedy="Store None for a quantity that does not exist.",
        ) from error
    return (text + "\n").encode()


def _plain(value: Any) -> Any:
    if isinstance(value, np.generic | np.ndarray):
        return value.tolist()
    if isinstance(value, Mapping):
        return dict(value)
    if isinstance(value, os.PathLike):
        return os.fspath(value)
    raise TypeError(f"no JSON for {type(value).__name__}")


def read_json(path: Path) -> Any:
    """Raises MissingFileError, and UnreadableFileError where the text is not JSON."""
    try:
        return json.loads(read_bytes(path))
    except ValueError as error:
        raise UnreadableFileError(
            str(path),
            expected="a JSON file",
            got=str(error),
            remedy="Correct the file, or replace it from its source.",
        ) from error


def read_bytes(path: Path) -> bytes:
    """Raises MissingFileError, and UnreadableFileError where the system refuses."""
    try:
        return path.read_bytes()
    except FileNotFoundError as error:
        raise missing(path) from error
    except OSError as error:
        raise UnreadableFileError(
            str(path), expected="a readable file", got=str(error), remedy="Check its permissions."
        ) from error


def missing(path: Path | str) -> MissingFileError:
    return MissingFileError(
        str(path), expected="a file", got="nothing there", remedy="Check the path."
    )


def write_array(path: Path, array: NDArray[Any]) -> None:
    """One array as .npy, shape and dtype kept.  Raises ValueError for a dtype with objects."""
    with atomic_file(path) as handle:
        np.save(handle, array, allow_pickle=False)


@contextmanager
def atomic_array(
    path: Path, shape: tuple[int, ...], dtype: np.dtype[Any]
) -> Iterator[NDArray[Any]]:
    """A new .npy file as an array to fill, of zeros; it takes the place of `path` at the end.

    Its pages go to the disk as they are filled, so it may be larger than the memory.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.parent / f".{secrets.token_hex(8)}.tmp"
    try:
        mapped = np.lib.format.open_memmap(temporary, mode="w+", dtype=dtype, shape=shape)
        yield mapped
        mapped.flush()
        del mapped
        os.replace(temporary, path)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise


@contextmanager
def scratch_array(
    folder: Path, shape: tuple[int, ...], dtype: np.dtype[Any]
) -> Iterator[NDArray[Any]]:
    """An array to work in that lies in a file of a folder, and is gone at the end."""
    folder.mkdir(parents=True, exist_ok=True)
    temporary = folder / f".{secrets.token_hex(8)}.tmp"
    try:
        yield np.lib.format.open_memmap(temporary, mode="w+", dtype=dtype, shape=shape)
    finally:
        temporary.unlink(missing_ok=True)


def read_array(path: Path, mmap: bool = False) -> NDArray[Any]:
    """The array of a .npy file; with mmap a read-only view that loads pages as they are used.

    Raises MissingFileError, and UnreadableFileError where the file is truncated, is no .npy or
    would need pickle.
    """
    try:
        with path.open("rb") as handle:
            if handle.read(6) != b"\x93NUMPY":
                raise ValueError("not a .npy file")
        array: NDArray[Any] = np.load(path, mmap_mode="r" if mmap else None, allow_pickle=False)
    except FileNotFoundError as error:
        raise missing(path) from error
    except (ValueError, EOFError, OSError) as error:
        raise UnreadableFileError(
            str(path),
            expected="a whole .npy array without objects",
            got=str(error),
            remedy="Delete the file and compute it again, or restore it from its source.",
        ) from error
    # as a plain array: each slice of a `memmap` costs microseconds that threads wait for
    return array.view(np.ndarray)


def write_arrays(path: Path, arrays: Mapping[str, NDArray[Any]]) -> None:
    """Write a compressed .npz atomically; the same arrays give the same bytes."""
    with atomic_file(path) as stream, zipfile.ZipFile(stream, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, array in arrays.items():
            member = io.BytesIO()
            np.lib.format.write_array(member, np.ascontiguousarray(array), allow_pickle=False)
            # a fixed date, else every writing gives other bytes
            archive.writestr(zipfile.ZipInfo(f"{name}.npy"), member.getvalue(),
                             compress_type=zipfile.ZIP_DEFLATED)  # fmt: skip


def read_arrays(path: Path, names: Iterable[str] | None = None) -> dict[str, NDArray[Any]]:
    """Arrays of a .npz, all or some; nothing is unpickled.

    Raises MissingFileError, UnreadableFileError.
    """
    try:
        with np.load(path, allow_pickle=False) as stored:
            return {name: stored[name] for name in (stored.files if names is None else names)}
    except FileNotFoundError as error:
        raise missing(path) from error
    except (ValueError, OSError, EOFError, KeyError, zipfile.BadZipFile, zlib.error) as error:
        raise UnreadableFileError(
            str(path), expected="a complete .npz of numbers", got=str(error),
            remedy="Delete it and run the step again that writes it.",
        ) from error  # fmt: skip


def read_array_at(url: str) -> NDArray[Any]:
    """The array of a .npy file at a path, or at any URL that fsspec opens (s3://, gs://, https://).

    Errors as in `read_array`; UnreadableFileError also where the storage cannot be reached.
    """
    import fsspec

    try:
        with fsspec.open(url, "rb") as handle:
            content = io.BytesIO(handle.read())
        array: NDArray[Any] = np.lib.format.read_array(content, allow_pickle=False)
    except FileNotFoundError as error:
        raise missing(url) from error
    except (ValueError, EOFError, OSError, ImportError) as error:
        raise UnreadableFileError(
            url,
            expected="a whole .npy array without objects, in storage that can be reached",
            got=str(error),
            remedy="Check the address, and that fsspec's package for this storage is installed.",
        ) from error
    return array


def names_at(url: str, ending: str) -> list[str]:
    """Names, without `ending`, of the files in a folder at a path or URL that have it; sorted."""
    import fsspec

    try:
        system, path = fsspec.core.url_to_fs(url)
        found = [entry.rpartition("/")[2] for entry in system.ls(path, detail=False)]
    except FileNotFoundError as error:
        raise missing(url) from error
    except (ValueError, OSError, ImportError) as error:
        raise UnreadableFileError(
            url,
            expected="a folder, in storage that can be reached",
            got=str(error),
            remedy="Check the address, and that fsspec's package for this storage is installed.",
        ) from error
    return sorted(name.removesuffix(ending) for name in found if name.endswith(ending))


def write_csv(path: Path, header: Sequence[str], rows: Iterable[Sequence[Any]]) -> None:
    """A table in UTF-8 with one line a row; None is an empty cell, floats read back exactly.

    Raises ValueError where a row is not as long as the header, NotFiniteError at infinity; a NaN
    is an empty cell, as a quantity that does not exist.
    """
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(header)
    for number, row in enumerate(rows):
        if len(row) != len(header):
            raise ValueError(f"{path}: row {number} has {len(row)} cells, not {len(header)}")
        writer.writerow([_cell(path, value) for value in row])
    write_bytes_atomic(path, text.getvalue().encode())


def read_csv(path: Path) -> list[dict[str, str]]:
    """The rows of a table, column -> text.  Raises MissingFileError, UnreadableFileError."""
    try:
        text = read_bytes(path).decode()
        return list(csv.DictReader(io.StringIO(text, newline=""), strict=True))
    except (UnicodeDecodeError, csv.Error) as error:
        raise UnreadableFileError(
            str(path),
            expected="a table in UTF-8 with commas",
            got=str(error),
            remedy="Save it as CSV again, or delete it and compute it again.",
        ) from error


def _cell(path: Path, value: Any) -> Any:
    if isinstance(value, float | np.floating):
        if math.isnan(value):
            return None
        if math.isinf(value):
            raise NotFiniteError(
                str(path),
                expected="finite numbers in a table",
                got=str(value),
                remedy="Store None for a quantity that does not exist.",
            )
        return float(value)
    return value


def sha256_of(path: Path) -> bytes:
    """The 32 bytes of a file's SHA-256."""
    try:
        with path.open("rb") as handle:
            return hashlib.file_digest(handle, "sha256").digest()
    except FileNotFoundError as error:
        raise missing(path) from error
