"""Methods x noise on a data set with clean labels: a table, its plots, and all figures as CSV.

    benchmark("jsrt.yaml")

See docs/benchmark.md for the file.
"""

from __future__ import annotations

from maskmend.benchmarking.results import states
from maskmend.benchmarking.running import (
    Benchmark,
    benchmark,
    open_benchmark,
    plan_benchmark,
    report_benchmark,
)

__all__ = [
    "Benchmark",
    "benchmark",
    "open_benchmark",
    "plan_benchmark",
    "report_benchmark",
    "states",
]
