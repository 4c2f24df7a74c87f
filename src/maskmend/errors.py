"""Errors that say which case, what was expected, what came, and what to do."""

from __future__ import annotations

from typing import Any


class MaskmendError(Exception):
    """Base of every error that maskmend raises on purpose.

    case: id of the case, or the name of the file, folder or option, that is at fault.
    """

    def __init__(self, case: str, *, expected: str, got: str, remedy: str) -> None:
        super().__init__(f"{case}: expected {expected}; got {got}. {remedy}")
        self.case = case
        self.expected = expected
        self.got = got
        self.remedy = remedy

    def __reduce__(self) -> tuple[Any, ...]:
        """Errors come back from other processes."""
        return _rebuilt, (type(self), self.case, self.expected, self.got, self.remedy)


def _rebuilt(
    kind: type[MaskmendError], case: str, expected: str, got: str, remedy: str
) -> MaskmendError:
    return kind(case, expected=expected, got=got, remedy=remedy)


class UnreadableFileError(MaskmendError):
    """A file is truncated, or is not of the kind that its name promises."""


class MissingFileError(MaskmendError):
    """A mask without its image, an image without a mask, or a path that does not exist."""


class DuplicateCaseError(MaskmendError):
    """Two files of one folder have the same name without its ending."""


class GridMismatchError(MaskmendError):
    """An image, a mask or a probability array lies on another grid than it should."""


class MaskValueError(MaskmendError):
    """A mask holds a value that the label scheme does not know."""


class NotFiniteError(MaskmendError):
    """An array holds NaN or infinity."""


class ProbabilityError(MaskmendError):
    """Probabilities outside [0, 1], or whose rows do not sum to 1."""


class LayoutError(MaskmendError):
    """A folder is empty, or has none of the known data set layouts."""


class InSampleError(MaskmendError):
    """A prediction comes from a model that was trained on the label it would judge."""


class RunMismatchError(MaskmendError):
    """A run folder belongs to another data set, other settings or another version."""


class SettingsError(MaskmendError):
    """A setting has an unknown name or an impossible value."""


class ClusterError(MaskmendError):
    """A Dask cluster cannot be reached, or has no workers."""


class MissingExtraError(MaskmendError):
    """What was asked for needs a package that is not installed."""
