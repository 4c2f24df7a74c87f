"""What may be said of names: numbers as a reader expects them, and paths without the folders."""

from __future__ import annotations

import math
import re
from pathlib import Path

from maskmend.store import Run

_FOLDERS = re.compile(
    r"(?<![\w.~/\\])(?:[A-Za-z]:)?[/\\](?:[^\s/\\:;,'\"]+(?: [^\s/\\:;,'\"]+)*[/\\])+"
)
"""The folders of an absolute path; the last name is left."""


class Names:
    """Takes what lies outside of the run and the data set out of a text: relative names only."""

    def __init__(self, run: Run) -> None:
        source = Path(run.source.root)
        folder = run.dataset.root
        known = {
            str(run.root): run.root.name, str(run.root.resolve()): run.root.name,
            str(source): source.name, str(folder): folder.name, str(folder.resolve()): folder.name,
        }  # fmt: skip
        if run.predictions is not None and Path(run.predictions).is_absolute():
            known[run.predictions] = Path(run.predictions).name
        # the longest first: one may lie in another
        self._known = sorted(known.items(), key=lambda pair: (-len(pair[0]), pair[0]))
        self.run = run.root.name
        self.dataset = source.name

    def relative(self, text: str) -> str:
        """The text with the last name of each absolute path, and what lies below known folders."""
        for path, name in self._known:
            if len(path) > 1:
                text = re.sub(re.escape(path) + r"(?![\w-])", name, text)
        return _FOLDERS.sub("", text)


def share(value: float | None, sign: str = " %") -> str:
    """A share in per cent, with digits enough to tell it from nothing and from all."""
    if value is None or math.isnan(value):
        return "n/a"
    hundred = 100 * value
    if hundred == 0 or hundred >= 99.95:
        text = f"{hundred:.0f}" if value in (0, 1) else f"{hundred:.2f}"
    elif hundred < 0.01:
        text = "< 0.01"
    elif hundred < 1:
        text = f"{hundred:.2f}"
    else:
        text = f"{hundred:.1f}"
    return text + sign


def share_between(low: float | None, high: float | None) -> str:
    if low is None or high is None:
        return "n/a"
    return f"{share(low, '')} to {share(high)}"


def score(value: float | None) -> str:
    return "n/a" if value is None or math.isnan(value) else f"{value:.3f}"


def measure(value: float, unit: str) -> str:
    """A size or distance with its unit, three digits at least."""
    if math.isnan(value):
        return "n/a"
    digits = 0 if abs(value) >= 100 or value == int(value) else 1
    shown = {"mm2": "mm²", "mm3": "mm³", "px2": "px", "px3": "px"}.get(unit, unit)
    return f"{value:,.{digits}f} {shown}"


def count(number: int, noun: str, plural: str | None = None) -> str:
    """1 case, 2,000 cases."""
    return f"{number:,} {noun if number == 1 else plural or noun + 's'}"


def listing(names: list[str], most: int = 6) -> str:
    """a, b and c; of many the first ones and how many more."""
    if len(names) > most:
        return ", ".join(names[:most]) + f" and {len(names) - most} more"
    return names[0] if len(names) == 1 else ", ".join(names[:-1]) + f" and {names[-1]}"


def shown_number(text: str) -> float:
    """A cell of a table of the run; NaN of an empty one."""
    return float(text) if text else math.nan
