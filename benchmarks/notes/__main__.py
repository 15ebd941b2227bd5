"""`python -m benchmarks.notes`: the two source texts, statement by statement, and the errata.

Exit code 1 if a statement does not come out as recorded.
"""

from collections import Counter
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.markup import escape
from rich.padding import Padding
from rich.table import Table

from benchmarks.notes import statements
from benchmarks.notes.records import AGREES, DIFFERS, by_text
from handgrad.cli.app import run_script
from handgrad.cli.output import WRONG, check_writable, print, track, write_json


def notes(
    json: Annotated[Path | None, typer.Option(help="Write what was printed to this file.")] = None,
) -> None:
    """Compute every statement of the source texts: what agrees, what differs, and the errata.

    Exit code 1 if a statement does not come out as recorded.
    """

    check_writable("--json", json, ".json")
    total = len(statements.STATEMENTS)
    checked = list(track(statements.check_all(), "computing", total))
    print_statements(checked)
    errata = [entry for entry in checked if entry.verdict == DIFFERS]
    print_errata(errata)
    kinds = Counter(entry.statement.kind for entry in errata)
    print(escape(by_text(checked)))
    print(
        f"{total} statements: {total - len(errata)} agree, {len(errata)} differ "
        f"({', '.join(f'{kind}: {number}' for kind, number in kinds.most_common())}); "
        f"{sum(entry.judged is not None for entry in checked)} went before the judge"
    )
    others = [entry for entry in checked if not entry.as_recorded]
    for entry in others:
        print(
            f"[bold red]not as recorded[/]: {entry.statement.name} {entry.verdict}, where "
            f"{entry.statement.expected} is on record: {escape(entry.found)}"
        )
    if not others:
        print("all came out [bold green]as recorded[/]")
    if json:
        write_json(json, {"statements": [as_data(entry) for entry in checked]})
    if others:
        raise typer.Exit(WRONG)


def print_statements(checked: list[Any]) -> None:
    """What each text says and what was found, by section."""
    text = section = None
    for entry in checked:
        statement = entry.statement
        if statement.text != text:
            text = statement.text
            print(f"\n[bold underline]{escape(text)}[/]")
        if (statement.text, statement.section) != section:
            section = (statement.text, statement.section)
            rows = [e for e in checked if (e.statement.text, e.statement.section) == section]
            print(f"[bold]{escape(statement.section)}[/]")
            print(table_of(rows))


def table_of(rows: list[Any]) -> Table:
    """A section: verdict, what is said, what was found."""
    table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0), show_header=False, expand=True)
    table.add_column(no_wrap=True, width=8)
    table.add_column(ratio=3)
    table.add_column(ratio=2, style="dim")
    for entry in rows:
        mark = "[green]agrees[/]" if entry.verdict == AGREES else "[bold red]differs[/]"
        table.add_row(mark, escape(entry.statement.says), escape(entry.found))
    return table


def print_errata(errata: list[Any]) -> None:
    """What does not hold, the evidence, and what does."""
    print("\n[bold underline]Errata[/]")
    for number, entry in enumerate(errata, 1):
        statement = entry.statement
        where = f"{statement.text.rstrip('?')}: {statement.section}"
        print(f"[bold]{number}. {escape(where)}[/] [dim]({statement.kind})[/]")
        table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0), show_header=False)
        table.add_column(no_wrap=True, style="dim")
        table.add_column()
        table.add_row("says", escape(statement.says))
        table.add_row("evidence", escape(entry.found))
        table.add_row("read", f"[green]{escape(statement.reads)}[/]")
        print(Padding(table, (0, 0, 0, 3)))
    print("")


def as_data(entry: Any) -> dict[str, Any]:
    """A statement with its verdict, for --json; the judge's verdict in the judge's names."""
    statement, judged = entry.statement, entry.judged
    names = ("hand", "autodiff", "truth", "digits", "cause", "where", "compared")
    return {
        "name": statement.name,
        "text": statement.text,
        "section": statement.section,
        "says": statement.says,
        "verdict": entry.verdict,
        "expected": statement.expected,
        "kind": statement.kind or None,
        "found": entry.found,
        "reads": statement.reads or None,
        "judge": judged and {name: getattr(judged, name) for name in names},
    }


if __name__ == "__main__":
    run_script(notes)
