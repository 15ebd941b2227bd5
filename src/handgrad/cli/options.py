"""Options that several commands take, and how a user's own table is read by them."""

import csv
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

if TYPE_CHECKING:
    from handgrad.data import FileOptions

Json = Annotated[Path | None, typer.Option(help="Write what was printed to this file.")]
At = typer.Option(help="my.py:example: a tuple of arguments, or a function that returns one.")
"""Beside a type: some commands need it, to others it may be left out."""
Argnums = Annotated[
    str, typer.Option(help="Arguments to differentiate, as in jax.grad: 0, or 0,1.")
]

# --- how a table is read --------------------------------------------------------------------------

Delimiter = Annotated[
    str | None, typer.Option(help="What separates the columns of a text file: ';', or tab.")
]
Decimal = Annotated[str | None, typer.Option(help="The decimal sign of a text file: . or ,")]
Encoding = Annotated[str | None, typer.Option(help="Of a text file. Default: UTF-8.")]
NoHeader = Annotated[
    bool, typer.Option("--no-header", help="The first row is data: columns are called 1, 2, ...")
]
Na = Annotated[
    list[str] | None, typer.Option(help="Values that stand for a missing one, for example ?,-999")
]
Drop = Annotated[list[str] | None, typer.Option(help="Columns to leave out, by name: id,name")]
Text = Annotated[
    list[str] | None, typer.Option(help="Columns to keep as text: a zip keeps its zeros.")
]
DateFormat = Annotated[
    str | None, typer.Option(help="Of dates that are not like 2024-12-31: %d/%m/%Y")
]
Impute = Annotated[
    str | None,
    typer.Option(help="Fill missing numbers by their mean, median or most_frequent value."),
]
MaxCategories = Annotated[
    int, typer.Option(help="Most features of a column of strings; the rarest share one.")
]
Categories = Annotated[
    str,
    typer.Option(
        help="Strings as columns of 0 and 1, as codes, or auto: codes for more than 1,000 values."
    ),
]


def file_options(**given: Any) -> "FileOptions":
    """The options as the readers take them. Raises InputError for what cannot be."""
    from handgrad.data import FileOptions

    given["header"] = not given.pop("no_header")
    if given["delimiter"] in ("tab", r"\t"):
        given["delimiter"] = "\t"
    for name in ("na", "drop", "text"):
        if name in given:
            given[name] = tuple(part for text in given[name] or () for part in split_list(text))
    options = FileOptions(**given)
    options.check()
    return options


def split_list(text: str) -> list[str]:
    """A list with commas; quotes protect a comma inside a name.

    >>> split_list('id,"a, b"'), split_list("")
    (['id', 'a, b'], [''])
    """
    return next(csv.reader([text]), []) or [""]
