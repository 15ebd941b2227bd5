"""`handgrad predict`: classes and probabilities for new rows; `handgrad show`: a model's card."""

import csv
import io
import sys
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.markup import escape

from handgrad.cli import options
from handgrad.cli.output import check_writable, print, print_note, table, write_json, write_pieces
from handgrad.errors import one_line

SHOWN = 5
"""Unknown strings that are named."""


def predict(
    model: Annotated[Path, typer.Argument(help="What handgrad train --save wrote.")],
    data: Annotated[
        str, typer.Argument(help="New rows: a file as train takes it, or a data set by name.")
    ],
    out: Annotated[
        Path | None, typer.Option(help="Write them to this .csv. Default: to the terminal.")
    ] = None,
    json: Annotated[Path | None, typer.Option(help="Write a summary to this file.")] = None,
    missing: Annotated[
        str,
        typer.Option(
            help="Missing values: fill or refuse them. Missing columns are refused unless filled. "
            "Default: as in training."
        ),
    ] = "as trained",
    unknown: Annotated[
        str, typer.Option(help="Strings that were not seen in training: ignore or refuse them.")
    ] = "ignore",
    delimiter: options.Delimiter = None,
    decimal: options.Decimal = None,
    encoding: options.Encoding = None,
    no_header: options.NoHeader = False,
    na: options.Na = None,
) -> None:
    """Predict the class of each row of DATA by MODEL, with the probabilities of all classes.

    A file of any size is read in blocks. The columns are found by name; others are not looked at.
    """
    from dataclasses import replace

    from handgrad._checks import require_choice
    from handgrad.data import load, names
    from handgrad.train.saved import load_model

    check_writable("--out", out, ".csv")
    check_writable("--json", json, ".json")
    require_choice("missing", missing, ("as trained", "fill", "refuse"))
    require_choice("unknown", unknown, ("ignore", "refuse"))
    found = load_model(model)
    given = options.file_options(
        delimiter=delimiter, decimal=decimal, encoding=encoding, no_header=no_header, na=na
    )
    old = found.options
    reading = replace(
        old,
        delimiter=given.delimiter, decimal=given.decimal or old.decimal,
        encoding=given.encoding or old.encoding, header=given.header and old.header,
        na=(*old.na, *given.na),
    )  # fmt: skip
    counts: Counter[str] = Counter()
    odd: Counter[tuple[str, str]] = Counter()

    def blocks() -> Iterator[Any]:
        how: dict[str, Any] = {"missing": missing, "unknown": unknown}
        if data in names():
            yield found.predict_proba(load(data), **how)
            return
        for p, strings in found.predict_file(data, reading, **how):
            odd.update(strings)
            yield p

    def lines() -> Iterator[bytes]:
        heading = [["prediction", *(f"p({name})" for name in found.classes)]]
        for p in blocks():
            yield as_csv(heading)
            heading = []
            best = p.argmax(axis=1)
            counts.update(found.classes[place] for place in best)
            yield as_csv(
                [found.classes[place], *map(repr, row)]
                for place, row in zip(best.tolist(), p.tolist(), strict=True)
            )

    if out is None:
        for line in lines():
            sys.stdout.write(line.decode())
        sys.stdout.flush()
    else:
        write_pieces(out, lines())
    rows = sum(counts.values())
    shares = ", ".join(f"{name} {counts[name]:,}" for name in found.classes)
    print_note(f"{rows:,} rows: {shares}", out is None)
    if odd:
        shown = ", ".join(f"{column} {value!r}" for (column, value), _ in odd.most_common(SHOWN))
        more = f" and {len(odd) - SHOWN:,} more" if len(odd) > SHOWN else ""
        print_note(
            f"{sum(odd.values()):,} values were not seen in training: {shown}{more}", out is None
        )
    if out is not None:
        print(f"predictions: {escape(str(out))}")
    if json:
        strings = [{"column": c, "value": v, "rows": n} for (c, v), n in odd.items()]
        write_json(json, {"rows": rows, "predicted": dict(counts), "unknown": strings})


def as_csv(rows: Any) -> bytes:
    """Rows as lines of a CSV file; the numbers are as exact as they were computed."""
    text = io.StringIO()
    csv.writer(text, lineterminator="\n").writerows(rows)
    return text.getvalue().encode(errors="surrogateescape")


def show(
    model: Annotated[Path, typer.Argument(help="What handgrad train --save wrote.")],
    json: options.Json = None,
) -> None:
    """Show the card of a saved MODEL: its columns, its classes, and what it was trained on."""
    from handgrad.train.saved import card_rows, load_model

    check_writable("--json", json, ".json")
    found = load_model(model)
    rows = table("", "", gap=2)
    rows.columns[1].justify = "left"
    rows.show_header = False
    told = card_rows(found)
    for label, value in told:
        rows.add_row(escape(one_line(label)), escape(one_line(value)))
    print(rows)
    if json:
        write_json(json, dict(told))
