"""`python -m benchmarks`: the benchmarks of how this package is made; users have `handgrad bench`.

They take the fast forms apart (profile), write files of 5 GB (streaming), train on a category of
10,000 values (categories), and start processes on cores of their own (processes).
"""

import importlib
from pathlib import Path
from typing import Annotated

import typer

from handgrad.cli.app import run_script
from handgrad.cli.bench import check_folders, run_jobs
from handgrad.cli.output import check_writable
from handgrad.errors import InputError

JOBS = ("profile", "streaming", "categories", "processes")


def benchmarks(
    jobs: Annotated[
        list[str] | None,
        typer.Argument(help="profile, streaming, categories or processes. Default: all."),
    ] = None,
    quick: Annotated[
        bool, typer.Option(help="Small shapes and few rounds, to see that everything works.")
    ] = False,
    json: Annotated[Path | None, typer.Option(help="Write the results to this file.")] = None,
    results: Annotated[
        Path | None, typer.Option(help="Write a file for each job below this folder, by device.")
    ] = None,
) -> None:
    """Where the fast forms spend their time, files larger than memory, and many processes."""
    check_writable("--json", json, ".json")
    check_folders({"--results": results})
    for name in jobs or ():
        if name not in JOBS:
            raise InputError("JOB", f"one of {', '.join(JOBS)}", repr(name), "name one")
    modules = [importlib.import_module(f"benchmarks.{name}") for name in jobs or JOBS]
    run_jobs(modules, quick, json, results)


if __name__ == "__main__":
    run_script(benchmarks)
