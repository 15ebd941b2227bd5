"""`handgrad verify`: the catalogue, each gradient against its loss."""

from dataclasses import asdict
from pathlib import Path
from typing import Annotated

import typer
from rich.progress import track
from rich.table import Table

from handgrad.cli.output import check_writable, console, ulps, write_json


def verify(
    cases: Annotated[
        list[str] | None, typer.Argument(help="Cases of the catalogue; all of them if none.")
    ] = None,
    seed: Annotated[int, typer.Option(help="Of the drawn points.")] = 0,
    json: Annotated[Path | None, typer.Option(help="Write what was printed to this file.")] = None,
) -> None:
    """Check hand-derived gradients against jax.grad, coordinate by coordinate."""
    import jax

    from handgrad._precision import x64
    from handgrad.catalogue import CASES, case
    from handgrad.verify import agree

    check_writable("--json", json, ".json")
    chosen = [case(name) for name in cases] if cases else list(CASES)
    table = Table(box=None, pad_edge=False, padding=(0, 2))
    table.add_column("case")
    for heading in ("coordinates", "float32 hand", "autodiff", "float64 hand", "verdict"):
        table.add_column(heading, justify="right")
    results = []
    for entry in track(chosen, "checking", console=console, transient=True):
        with x64():
            at = entry.example(jax.random.key(seed))
        result = agree(entry.gradient, of=entry.loss, at=at, wrt=entry.wrt, name=entry.name)
        results.append(result)
        worst = [
            max((getattr(leaf, field) for leaf in result.leaves if leaf.dtype == dtype), default=0)
            for dtype, field in (
                ("float32", "hand_max_ulp"), ("float32", "autodiff_max_ulp"),
                ("float64", "hand_max_ulp"),
            )
        ]  # fmt: skip
        verdict = "[green]agrees[/]" if result.ok else f"[bold red]differs[/]: {result.fault}"
        table.add_row(entry.name, f"{result.compared}", *map(ulps, worst), verdict)
    console.print(table)
    console.print("errors in ulp against jax.grad in float64")
    if json:
        write_json(json, {"cases": [asdict(result) for result in results]})
    if not all(result.ok for result in results):
        raise typer.Exit(1)
