"""`handgrad bench`: races on this machine, with their bars."""

import importlib
import sys
from pathlib import Path
from types import ModuleType
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from handgrad.cli.output import check_writable, console, say
from handgrad.errors import InputError

ROOT = Path(__file__).parents[3]
WIDTH = 118
"""Of a table, on a narrower console too: a figure cut in half is worse than a long line."""
JOBS = (
    "one_pass", "newton", "per_example", "linear_cross_entropy", "loop", "scaling", "profile",
    "streaming", "processes",
)  # fmt: skip


def bench(
    jobs: Annotated[
        list[str] | None, typer.Argument(help=f"Of {', '.join(JOBS)}; else all.")
    ] = None,
    quick: Annotated[bool, typer.Option(help="Small shapes: to see that all works.")] = False,
    json: Annotated[Path | None, typer.Option(help="Write the results to this file.")] = None,
    figures: Annotated[Path | None, typer.Option(help="Draw figures into this folder.")] = None,
) -> None:
    """Race hand-derived gradients against their peers, and against what the machine can do."""
    from handgrad.measure import facts
    from handgrad.measure.report import write_reports

    check_writable("--json", json, ".json")
    modules = [load_job(name) for name in jobs or JOBS]
    machine = facts()
    say(f"[bold]{escape(str(machine['device']))}[/], {machine['cores']} cores, "
        f"jax {machine['versions']['jax']}")  # fmt: skip
    reports = []
    for module in modules:
        say(f"\n[bold]{module.TITLE}[/]")
        for report in module.job(quick=quick):
            print_report(report)
            reports.append(report)
            if json:
                write_reports(json, machine, reports)  # after each: a long run may be cut off
    if figures:
        from handgrad.measure.figures import draw

        for path in draw(reports, figures):
            say(f"figure: {escape(str(path))}")


def load_job(name: str) -> ModuleType:
    """The script of a job. Raises InputError for an unknown name, and away from the repository."""
    if name not in JOBS:
        raise InputError("JOB", f"one of {', '.join(JOBS)}", repr(name), "name one")
    if not (ROOT / "benchmarks" / f"{name}.py").is_file():
        raise InputError(
            "JOB", "the benchmarks of the repository", f"none at {ROOT}",
            "run it in a clone: pip install --editable .",
        )  # fmt: skip
    if str(ROOT) not in sys.path:
        sys.path.insert(0, str(ROOT))
    return importlib.import_module(f"benchmarks.{name}")


def print_report(report: Any) -> None:
    """The table of one report, its bars and notes."""
    say(f"\n{escape(report.title)}")
    columns = columns_of(report)
    table = Table(box=None, pad_edge=False, padding=(0, 2))
    for key in columns:
        table.add_column(heading(key), justify="left" if key == "name" else "right", no_wrap=True)
    for row in report.rows:
        table.add_row(*(escape(shown(key, row)) for key in columns))
    Console(width=max(console.width, WIDTH), file=console.file).print(table)
    for bar in report.bars:
        mark = "[green]met[/]" if bar.met else "[bold red]missed[/]"
        wanted = f"at {'most' if bar.at_most else 'least'} {bar.wanted:.3g}"
        say(f"{mark}  {bar.got:.3g} {escape(bar.name)} ({wanted})")
    for note in report.notes:
        say(f"[dim]{escape(note)}[/]")


HIDDEN = {
    "lower",
    "upper",
    "speed_lower",
    "speed_upper",
    "first_seconds",
    "rounds",
    "series",
    "N",
    "D",
    "K",
    "T",
    "V",
}
HEADINGS = {
    "name": "",
    "seconds": "median",
    "speed": "speed",
    "compile_seconds": "compiled in",
    "temporaries": "temporaries",
    "of_read": "of read speed",
    "of_peak": "of peak",
}


def columns_of(report: Any) -> list[str]:
    """The keys of a report's rows that a table shows."""
    return [key for key in report.rows[0] if key not in HIDDEN]


def heading(key: str) -> str:
    """Of a column."""
    return HEADINGS.get(key, key.replace("_", " "))


def shown(key: str, row: dict[str, Any]) -> str:
    """One cell, with its unit."""
    value = row[key]
    if value is None:
        return "–"
    if key in ("seconds", "predicted"):
        return duration(value)
    if key == "error":
        return f"{value:+.0%}"
    if key == "speed":
        return f"{value:.2f}× ({row['speed_lower']:.2f}–{row['speed_upper']:.2f})"
    if key == "compile_seconds":
        return duration(value) if value else "–"
    if key in ("temporaries", "memory", "predicted memory"):
        return f"{value / 1e6:,.1f} MB"
    if key.startswith(("of_", "of it")):
        return f"{value:.0%}"
    if isinstance(value, float):
        return f"{value:,.0f}" if value >= 100 else f"{value:.3g}"
    return f"{value}"


def duration(seconds: float) -> str:
    """Seconds in the unit that suits them."""
    for unit, size in (("s", 1.0), ("ms", 1e-3), ("µs", 1e-6)):
        if seconds >= size:
            return f"{seconds / size:.3g} {unit}"
    return f"{seconds * 1e9:.3g} ns"
