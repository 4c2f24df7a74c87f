"""maskmend: find, rank, mend and learn around label errors in segmentation masks.

The names below are loaded when they are first used, so that `import maskmend` costs nothing:
torch comes with the first training, numpy with the first array.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from maskmend.arrays.selection import ErrorFinder as ErrorFinder
    from maskmend.arrays.selection import flag_errors as flag_errors
    from maskmend.benchmarking import benchmark as benchmark
    from maskmend.datasets import open_dataset as open_dataset
    from maskmend.datasets.arrays import ArrayPairs as ArrayPairs
    from maskmend.execute import Workers as Workers
    from maskmend.execute import connect as connect
    from maskmend.execute import flag_on as flag_on
    from maskmend.execute import search_on as search_on
    from maskmend.exporting.options import ExportOptions as ExportOptions
    from maskmend.settings import Settings as Settings
    from maskmend.settings import load_settings as load_settings
    from maskmend.stages import audit as audit
    from maskmend.stages import correct as correct
    from maskmend.stages import corrupt as corrupt
    from maskmend.stages import crossfit as crossfit
    from maskmend.stages import demo as demo
    from maskmend.stages import doctor as doctor
    from maskmend.stages import evaluate as evaluate
    from maskmend.stages import export as export
    from maskmend.stages import flag as flag
    from maskmend.stages import predict as predict
    from maskmend.stages import rank as rank
    from maskmend.stages import serve_review as serve_review
    from maskmend.stages import train as train
    from maskmend.stages import write_report as write_report
    from maskmend.store import Run as Run
    from maskmend.store import Source as Source

    __version__: str

_HOMES = {
    "ArrayPairs": "maskmend.datasets.arrays",
    "ExportOptions": "maskmend.exporting.options",
    "ErrorFinder": "maskmend.arrays.selection",
    "Run": "maskmend.store",
    "Settings": "maskmend.settings",
    "Source": "maskmend.store",
    "Workers": "maskmend.execute",
    "audit": "maskmend.stages",
    "benchmark": "maskmend.benchmarking",
    "connect": "maskmend.execute",
    "correct": "maskmend.stages",
    "corrupt": "maskmend.stages",
    "crossfit": "maskmend.stages",
    "demo": "maskmend.stages",
    "doctor": "maskmend.stages",
    "evaluate": "maskmend.stages",
    "export": "maskmend.stages",
    "flag": "maskmend.stages",
    "flag_errors": "maskmend.arrays.selection",
    "flag_on": "maskmend.execute",
    "load_settings": "maskmend.settings",
    "open_dataset": "maskmend.datasets",
    "predict": "maskmend.stages",
    "rank": "maskmend.stages",
    "search_on": "maskmend.execute",
    "serve_review": "maskmend.stages",
    "train": "maskmend.stages",
    "write_report": "maskmend.stages",
}


def __getattr__(name: str) -> Any:
    if name == "__version__":
        # importing it up there would double the time of `import maskmend`
        from importlib.metadata import version

        return version("maskmend")
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(_HOMES[name]), name)


def __dir__() -> list[str]:
    return sorted([*_HOMES, "__version__"])
