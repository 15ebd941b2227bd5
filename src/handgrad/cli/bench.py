"""`handgrad bench`: races on this machine, with their bars."""

from collections.abc import Sequence
from pathlib import Path
from stat import S_ISDIR
from types import ModuleType
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.markup import escape

from handgrad.cli.output import check_writable, console, print, table
from handgrad.errors import InputError

WIDTH = 118
"""Of a table, on a narrower console too: a figure cut in half is worse than a long line."""


def bench(
    jobs: Annotated[
        list[str] | None,
        typer.Argument(
            help="one_pass, newton, per_example, linear_cross_entropy, loop, scaling or "
            "judge. Default: all of them."
        ),
    ] = None,
    quick: Annotated[
        bool, typer.Option(help="Small shapes and few rounds, to see that everything works.")
    ] = False,
    json: Annotated[Path | None, typer.Option(help="Write the results to this file.")] = None,
    results: Annotated[
        Path | None,
        typer.Option(help="Write a file for each job below this folder, by device."),
    ] = None,
    figures: Annotated[Path | None, typer.Option(help="Draw figures into this folder.")] = None,
) -> None:
    """Race hand-derived gradients against their peers, and against what the machine can do.

    Peers that are not installed (PyTorch, numba, glum) are named and left out.
    """
    from handgrad.bench import JOBS, load_job

    check_writable("--json", json, ".json")
    check_folders({"--results": results, "--figures": figures})
    run_jobs([load_job(name) for name in jobs or JOBS], quick, json, results, figures)


def check_folders(given: dict[str, Path | None]) -> None:
    """Raise InputError for an option that names what is no folder, or cannot be one."""
    for option, path in given.items():
        found = repr(str(path))
        try:
            if path is None or S_ISDIR(path.stat().st_mode):
                continue
        except FileNotFoundError:
            continue
        except OSError as error:  # a name too long, or below a file
            found += f" ({error.strerror})"
        raise InputError(option, "a folder", found, "name another")


def run_jobs(
    modules: Sequence[ModuleType],
    quick: bool,
    json: Path | None = None,
    results: Path | None = None,
    figures: Path | None = None,
) -> None:
    """Run each job and print its reports; files are written after each, in case it is cut off."""
    from handgrad.bench.report import Report, draw_figures, facts, slug, write_reports

    machine = facts()
    print(f"[bold]{escape(str(machine['device']))}[/], {machine['cores']} cores, "
          f"jax {machine['versions']['jax']}")  # fmt: skip
    reports: list[Report] = []
    for module in modules:
        print(f"\n[bold]{module.TITLE}[/]")
        own: list[Report] = []
        for report in module.run(quick=quick):
            print_report(report, quick)
            own.append(report)
            if json:
                write_reports(json, machine, [*reports, *own])
            if results:
                name = module.__name__.rpartition(".")[2]
                write_reports(results / slug(machine) / f"{name}.json", machine, own)
        reports += own
    if figures:
        for path in draw_figures(reports, figures):
            print(f"figure: {escape(str(path))}")


def print_report(report: Any, quick: bool = False) -> None:
    """The table of one report, its bars (which quick shapes are too small for) and notes."""
    from handgrad.bench.report import as_sentence, as_table

    print(f"\n{escape(report.title)}")
    headings, lines = as_table(report)
    rows = table(*headings)
    for column in rows.columns:
        column.no_wrap = True
    for line in lines:
        rows.add_row(*map(escape, line))
    if lines:
        Console(width=max(console.width, WIDTH), file=console.file).print(rows)
    for bar in () if quick else report.bars:
        mark = "[green]met[/]" if bar.met else "[bold red]missed[/]"
        print(f"{mark}  {escape(as_sentence(bar))}")
    for note in report.notes:
        print(f"[dim]{escape(note)}[/]")
