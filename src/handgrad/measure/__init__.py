"""Measurement: implementations timed side by side, their memory, and the machine's own limits."""

from handgrad.measure.contenders import Contender, compiled, plain
from handgrad.measure.device import facts
from handgrad.measure.race import Timing, race, ratio
from handgrad.measure.report import Bar, Report, read_report

__all__ = [
    "Bar",
    "Contender",
    "Report",
    "Timing",
    "compiled",
    "facts",
    "plain",
    "race",
    "ratio",
    "read_report",
]
