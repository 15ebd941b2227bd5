"""`handgrad audit`: the derivative rules of an installed package, without its tests."""

import os
import sys
from pathlib import Path
from typing import Annotated

import typer

from handgrad.cli.output import UNDECIDED, WRONG, check_writable, print, write_json


def audit(
    package: Annotated[str, typer.Argument(help="A package that can be imported, or a module.")],
    seconds: Annotated[float, typer.Option(help="Time limit for the judging.", min=1)] = 300.0,
    evaluations: Annotated[
        int, typer.Option(help="Number of points that the search tries in each dtype.", min=0)
    ] = 0,
    not_derivative: Annotated[
        list[str] | None,
        typer.Option(help="'NAME: reason' of a rule that is no derivative on purpose; repeatable."),
    ] = None,
    json: Annotated[Path | None, typer.Option(help="Write what was printed to this file.")] = None,
) -> None:
    """Judge the custom_jvp and custom_vjp rules of a package, at arguments that are drawn.

    Imports the package with its modules. What can be called with a few numbers, vectors, matrices
    or integers is judged; the rest is named. For the arguments that its own tests pass:
    pytest --handgrad-audit=PACKAGE.
    """
    check_writable("--json", json, ".json")
    sys.path.insert(0, os.getcwd())
    from handgrad.testing.audit import as_text, audit_package, parse_marks

    found = audit_package(package, seconds, evaluations, parse_marks(not_derivative or ()))
    print(as_text(found), markup=False)
    if json:
        write_json(json, found.as_data())
    if not found.ok:
        raise typer.Exit(WRONG)
    if not set(found.by_rule.values()) - {"undecided"}:
        raise typer.Exit(UNDECIDED)
