"""Errors of known type in phantoms are found as what they are; `pytest -s` prints the tables."""

from __future__ import annotations

import importlib.util
import sys
from pathlib import Path
from types import ModuleType

import pytest

BENCHMARK = Path(__file__).parents[2] / "benchmarks" / "finding_types.py"


@pytest.fixture(scope="module")
def bench() -> ModuleType:
    """The benchmark, whose errors and figures are taken here on a few phantoms."""
    spec = importlib.util.spec_from_file_location("finding_types", BENCHMARK)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules["finding_types"] = module
    spec.loader.exec_module(module)
    return module


@pytest.mark.parametrize("judge", ["clean", "teacher"])
@pytest.mark.parametrize("layout", ["overlapping", "one label map"])
def test_macro_f1_of_the_types(bench: ModuleType, layout: str, judge: str) -> None:
    draw, scheme = (
        (bench.chest_phantoms, bench.CHEST)
        if layout == "overlapping"
        else (bench.sided_phantoms, bench.SIDES)
    )
    # not those that the figures in the rules were chosen on
    judged = bench.judge_all(draw(range(1000, 1006), 256), scheme, seed=7)[judge]
    print(f"\n{layout}, judged by {judge} masks\n\n{bench.as_tables(judged)}")
    figures = bench.by_type(bench.confusion(judged))
    assert set(figures) >= {"missing", "extra", "over", "under", "shifted", "rough", "left-right"}
    assert min(each["masks"] for each in figures.values()) >= 6
    assert bench.macro_f1(figures) >= 0.8


def test_figures_by_hand(bench: ModuleType) -> None:
    table = {"over": {"over": 3, "none": 1}, "none": {"none": 4, "over": 1}, "rough": {"over": 2}}
    figures = bench.by_type(table)
    assert figures["over"] == {"precision": 0.5, "recall": 0.75, "f1": 0.6, "masks": 4}
    assert figures["rough"] == {"precision": 0, "recall": 0, "f1": 0, "masks": 2}
    assert figures["none"]["recall"] == 0.8
    assert bench.macro_f1(figures) == pytest.approx(0.3)
