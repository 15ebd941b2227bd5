"""Benchmarks: implementations timed side by side, their memory, and the machine's own limits.

Each job is a module with a `TITLE` and a function `run(quick)` that yields reports as it has them.
"""

import importlib
from types import ModuleType

from handgrad.bench.report import Bar, Report, facts, read_report
from handgrad.bench.timing import Contender, Timing, compiled, plain, race, ratio
from handgrad.errors import InputError

__all__ = [
    "JOBS",
    "Bar",
    "Contender",
    "Report",
    "Timing",
    "compiled",
    "facts",
    "load_job",
    "plain",
    "race",
    "ratio",
    "read_report",
]

JOBS = ("one_pass", "newton", "per_example", "linear_cross_entropy", "loop", "scaling", "judge")


def load_job(name: str) -> ModuleType:
    """The module of a job. Raises InputError for an unknown name."""
    if name not in JOBS:
        raise InputError("JOB", f"one of {', '.join(JOBS)}", repr(name), "name one")
    return importlib.import_module(f"handgrad.bench.{name}")
