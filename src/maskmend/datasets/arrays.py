"""Cases as plain arrays: labels and probabilities of the same name, on a disk or in the cloud."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from numpy.typing import NDArray

from maskmend import files
from maskmend.errors import LayoutError, MissingFileError


@dataclass(frozen=True)
class ArrayPairs:
    """Labels and out-of-sample probabilities of each case, as .npy files in two folders.

    labels, probabilities: paths, or URLs that fsspec opens.  names: of the cases, in order.
    Nothing is read before a case is asked for, so that it can be sent to any worker.
    """

    labels: str
    probabilities: str
    names: tuple[str, ...]

    @classmethod
    def find(cls, labels: str, probabilities: str) -> ArrayPairs:
        """All cases of two folders, LABELS/NAME.npy and PROBABILITIES/NAME.npy.

        Raises LayoutError for an empty folder, MissingFileError for a name that only one has.
        """
        names, others = (files.names_at(url, ".npy") for url in (labels, probabilities))
        if not names:
            raise LayoutError(
                labels, expected="a folder with .npy files", got="none",
                remedy="Write one array a case, with numpy.save.",
            )  # fmt: skip
        for name in sorted({*names} ^ {*others}):
            lacking, having = (probabilities, labels) if name in names else (labels, probabilities)
            raise MissingFileError(
                name, expected=f"{name}.npy in both folders", got=f"none in {lacking}",
                remedy=f"Add it, or take it out of {having}.",
            )  # fmt: skip
        return cls(labels.rstrip("/"), probabilities.rstrip("/"), tuple(names))

    def __len__(self) -> int:
        return len(self.names)

    def __getitem__(self, number: int) -> tuple[NDArray[Any], NDArray[Any]]:
        """Labels (*S,) and probabilities, as stored: (K, *S), or (*S,) of the foreground."""
        name = self.names[number]
        given = files.read_array_at(f"{self.labels}/{name}.npy")
        return given, files.read_array_at(f"{self.probabilities}/{name}.npy")
