"""`handgrad explain`: the derivation, the tape, and the agreement of hand, tape and jax.grad."""

from pathlib import Path
from typing import Annotated, Any

import typer
from rich.markup import escape
from rich.table import Table
from rich.text import Text

from handgrad.cli.output import (
    WRONG,
    check_seed,
    check_writable,
    print,
    write_json,
    write_whole,
)
from handgrad.cli.user_file import load_arguments, load_function, parse_argnums
from handgrad.errors import InputError

FORWARD, BACKWARD = "green", "red"


def explain(
    what: Annotated[str, typer.Argument(help="A case of the catalogue, or my.py:loss.")],
    at: Annotated[
        str | None,
        typer.Option(help="my.py:example: a tuple of arguments, or a function that returns one."),
    ] = None,
    gradient: Annotated[
        str | None,
        typer.Option(help="my.py:gradient, by hand, to compare with the end of the tape."),
    ] = None,
    argnums: Annotated[
        str, typer.Option(help="Arguments to differentiate, as in jax.grad: 0, or 0,1.")
    ] = "0",
    seed: Annotated[int, typer.Option(help="Random seed for the example of a case.")] = 0,
    html: Annotated[
        Path | None, typer.Option(help="Write a self-contained page to this file.")
    ] = None,
    json: Annotated[Path | None, typer.Option(help="Write what was printed to this file.")] = None,
) -> None:
    """Show what jax.grad does with a loss: every equation, its value, and the way back."""
    from handgrad.explain import as_data, as_html

    check_writable("--html", html, ".html")
    check_writable("--json", json, ".json")
    check_seed(seed)
    found = (
        of_file(what, at, gradient, argnums) if ":" in what else of_case(what, at, gradient, seed)
    )
    print_explanation(found)
    if html:
        write_whole(html, as_html(found).encode(errors="xmlcharrefreplace"))
        print(f"wrote {escape(str(html))}")
    if json:
        write_json(json, as_data(found))
    if found.hand_equal is False:
        raise typer.Exit(WRONG)


def of_case(what: str, at: str | None, gradient: str | None, seed: int) -> Any:
    """A case of the catalogue explained; with a word if the name is that of its derivation."""
    from handgrad.explain import explain_case

    if at or gradient:
        raise InputError(
            "what", "my.py:loss beside --at or --gradient", repr(what), "name a loss in a file"
        )
    found = explain_case(what, seed)
    if found.name != what:
        print(f"{what}: its first case, {found.name}")
    return found


def of_file(what: str, at: str | None, gradient: str | None, argnums: str) -> Any:
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
        return explained(loss, at=args, argnums=parse_argnums(argnums), gradient=hand)


def print_table(
    title: str, heads: tuple[str, ...], rows: list[tuple[str, ...]], styles: dict[int, str]
) -> None:
    """A table without lines, after an empty line; the cells are text, whatever is in them."""
    table = Table(
        box=None, pad_edge=False, padding=(0, 2, 0, 0), title=Text(title) if title else None,
        title_justify="left", title_style="bold",
    )  # fmt: skip
    for index, head in enumerate(heads):
        table.add_column(head, style=styles.get(index, ""), overflow="fold")
    for row in rows:
        table.add_row(*(Text(cell) for cell in row))
    print("")
    print(table)


def print_explanation(found: Any) -> None:
    """The derivation beside the tape, the equations forward and back, and the agreement."""
    from handgrad.explain import explanation as rows_of

    tape = found.tape
    heads: tuple[str, ...]
    if found.derivation.lines:
        heads = ("", "", "because", "on the tape")
        lines = rows_of.derivation_rows(found)
        print_table(found.derivation.title, heads, lines, {0: "dim", 2: "dim", 3: BACKWARD})
    arguments = [("", name, "", value, "") for name, value in rows_of.argument_rows(tape)]
    equations = [(str(i), *cells) for i, cells in enumerate(rows_of.forward_rows(tape), 1)]
    heads = ("", "forward", "local derivative", "value", "line")
    title = f"{found.name}: {rows_of.headline(tape)}"
    print_table(title, heads, [*arguments, *equations], {0: "dim", 3: FORWARD, 4: "dim"})
    numbers = [str(e.index + 1) for e in tape.backward]  # of every equation that sends, last first
    back = [(n, *cells) for n, cells in zip(numbers, rows_of.backward_rows(tape), strict=True)]
    heads = ("", "backward", "∂ loss/∂ it", "sent")
    print_table("", heads, back, {0: "dim", 2: BACKWARD, 3: BACKWARD})
    head, *leaves = rows_of.agreement_rows(found)
    print_table("", head, leaves, {})
    ends = "is jax.grad's, bit for bit" if found.identical else "is jax.grad's but for rounding"
    hand = {True: ", and the hand-derived one's up to rounding", False: "; the hand-derived one is "
            "different", None: ""}[found.hand_equal]  # fmt: skip
    print(f"\nthe tape's gradient {ends}{hand}")
    for note in found.notes:
        print(note, markup=False)
