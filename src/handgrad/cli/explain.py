"""`handgrad explain`: the derivation, the tape, and the agreement of hand, tape and jax.grad."""

from pathlib import Path
from typing import Annotated, Any

import typer
from rich.markup import escape

from handgrad.cli.options import Argnums, At, Json
from handgrad.cli.output import WRONG, check_seed, check_writable, print, write_json, write_whole
from handgrad.cli.user_file import load_arguments, load_function, parse_argnums
from handgrad.errors import InputError


def explain(
    what: Annotated[str, typer.Argument(help="A case of the catalogue, or my.py:loss.")],
    at: Annotated[str | None, At] = None,
    gradient: Annotated[
        str | None,
        typer.Option(help="my.py:gradient, by hand, to compare with the end of the tape."),
    ] = None,
    argnums: Argnums = "0",
    order: Annotated[
        int,
        typer.Option(help="2: the tape of the gradient's gradient (of the sum of its entries)."),
    ] = 1,
    seed: Annotated[int, typer.Option(help="Random seed for the example of a case.")] = 0,
    html: Annotated[
        Path | None, typer.Option(help="Write a self-contained page to this file.")
    ] = None,
    latex: Annotated[
        Path | None, typer.Option(help="Write the derivation of a case to this file, for a paper.")
    ] = None,
    json: Json = None,
) -> None:
    """Show what jax.grad does with a loss: every equation, its value, and the way back."""
    from handgrad.explain import as_data, as_html
    from handgrad.explain.explanation import conclusion, tables

    check_writable("--html", html, ".html")
    check_writable("--latex", latex, ".tex")
    if latex and ":" in what:
        raise InputError("--latex", "a case of the catalogue", repr(what), "leave out --latex")
    check_writable("--json", json, ".json")
    check_seed(seed)
    if order != 1 and gradient:
        raise InputError("--gradient", "none beside --order 2", repr(gradient), "leave it out")
    found = (
        of_file(what, at, gradient, argnums, order)
        if ":" in what
        else of_case(what, at, gradient, seed, order)
    )
    for table in tables(found):
        print("")
        print(table)
    print(f"\n{conclusion(found)}")
    for note in found.notes:
        print(note, markup=False)
    if html:
        write_whole(html, as_html(found).encode(errors="xmlcharrefreplace"))
        print(f"wrote {escape(str(html))}")
    if latex:
        write_whole(latex, latex_of_case(what).encode())
        print(f"wrote {escape(str(latex))}")
    if json:
        write_json(json, as_data(found))
    if found.hand_equal is False:
        raise typer.Exit(WRONG)


def of_case(what: str, at: str | None, gradient: str | None, seed: int, order: int = 1) -> Any:
    """A case of the catalogue explained; with a word if the name is that of its derivation."""
    from handgrad.explain import explain_case

    if at or gradient:
        raise InputError(
            "what", "my.py:loss beside --at or --gradient", repr(what), "name a loss in a file"
        )
    found = explain_case(what, seed, order)
    if order == 1 and found.name != what:
        print(f"{what}: its first case, {found.name}")
    return found


def latex_of_case(what: str) -> str:
    """The derivation that a case ends, as LaTeX."""
    from handgrad.derivations import as_latex, derivation
    from handgrad.explain import find_case

    return as_latex(derivation(find_case(what).derivation)) + "\n"


def of_file(what: str, at: str | None, gradient: str | None, argnums: str, order: int) -> Any:
    """A loss of a user's own file explained, in float64."""
    from handgrad._precision import x64
    from handgrad.explain import explain as explained

    if at is None:
        raise InputError(
            "--at", "the arguments to run it with", "nothing", "write --at my.py:example"
        )
    with x64():
        loss, args = load_function("what", what), load_arguments("--at", at)
        hand = load_function("--gradient", gradient) if gradient else None
        numbers = parse_argnums(argnums)
        return explained(loss, at=args, argnums=numbers, gradient=hand, order=order)
