"""`handgrad repair`: a derivative that loses digits, found anew in a form that does not."""

from pathlib import Path
from typing import Annotated

import typer

from handgrad.cli.output import UNDECIDED, WRONG, check_writable, print, write_json
from handgrad.cli.user_file import load_arguments, load_function, supervise


def repair(
    what: Annotated[str, typer.Argument(help="my.py:loss, a function of one number or many.")],
    at: Annotated[
        str,
        typer.Option(help="my.py:example: a tuple of arguments, or a function that returns one."),
    ],
    dtype: Annotated[
        str,
        typer.Option(help="float32, float64, bfloat16 or float16: where digits are to be kept."),
    ] = "float32",
    json: Annotated[Path | None, typer.Option(help="Write what was printed to this file.")] = None,
) -> None:
    """Find the derivative of a function in a form that keeps its digits, and print it as code.

    The code runs by itself. With it come the error before and after over the inputs of the dtype,
    the cost, and the proof that it is the derivative. Exit code 1 if nothing good was found, 3 if
    the proof is undecided.
    """
    check_writable("--json", json, ".json")
    json = json.absolute() if json else None
    supervise()
    from handgrad.repair import as_data, as_text
    from handgrad.repair import repair as repaired

    found = repaired(load_function("what", what), at=load_arguments("--at", at), dtype=dtype)
    print(as_text(found), markup=False)
    if json:
        write_json(json, as_data(found))
    if not found.ok:
        raise typer.Exit(UNDECIDED if found.verdict.is_undecided else WRONG)
