"""`handgrad atlas`: the error of derivatives, function by function, and of every float32 logit."""

from collections.abc import Sequence
from pathlib import Path
from time import perf_counter
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.markup import escape

from handgrad.cli.output import (
    WRONG,
    check_writable,
    print,
    progress_bars,
    table,
    ulps,
    write_json,
    write_whole,
)
from handgrad.errors import InputError

if TYPE_CHECKING:
    from handgrad.accuracy.atlas import Atlas, Change

REFERENCE_POINTS = 2_000
SHOWN = 20
"""Derivatives in the summary, the worst first."""


def atlas(
    names: Annotated[
        list[str] | None,
        typer.Argument(help="Functions such as tanh or jax.nn.gelu; all of them if none."),
    ] = None,
    dtypes: Annotated[
        str, typer.Option(help="Any of bfloat16, float16, float32, float64, with commas.")
    ] = "bfloat16,float16,float32,float64",
    orders: Annotated[
        str, typer.Option(help="First derivatives, second ones (in half precision), or both.")
    ] = "1,2",
    processes: Annotated[
        int | None, typer.Option(help="Number of processes. Default: one for each core.")
    ] = None,
    json: Annotated[Path | None, typer.Option(help="Write the atlas to this file.")] = None,
    html: Annotated[Path | None, typer.Option(help="Write the page to this file.")] = None,
    results: Annotated[
        Path | None,
        typer.Option(help="Folder of results: write the atlas there, by machine and version."),
    ] = None,
    read: Annotated[
        Path | None, typer.Option(help="Show the atlas in this file, and measure nothing.")
    ] = None,
    diff: Annotated[
        tuple[Path, Path] | None,
        typer.Option(help="OLD.json NEW.json: show what became better or worse."),
    ] = None,
    every_logit: Annotated[
        bool,
        typer.Option(
            "--every-logit", help="Every float32 logit through every form of cross-entropy's."
        ),
    ] = False,
    sample: Annotated[
        int | None,
        typer.Option(help="With --every-logit: number of logits. Default: all of them."),
    ] = None,
    plot: Annotated[
        Path | None,
        typer.Option(help="With --every-logit: draw the error against the logit into this PNG."),
    ] = None,
) -> None:
    """Measure derivatives at all inputs of the half precisions, and at some of the wider ones.

    For each function: its own error and that of its first and second derivative, in ulp, by
    jax.grad, by AccuracyMode.HIGHEST and by the form of this package. `--diff` ends with exit code
    1 if anything became worse, `--every-logit` if a form of this package does not hold: at most 4
    ulp wherever the result is a normal number and at most 1 ulp above the library's autodiff, with
    no NaN, infinity, wrong sign or lost result.
    """
    from handgrad.accuracy import atlas as measured

    check_writable("--json", json, ".json")
    check_writable("--html", html, ".html")
    check_writable("--plot", plot, ".png")
    if every_logit:
        if names or read or diff or html or results:
            wanted = "only --sample, --plot and --json beside it"
            raise InputError("--every-logit", wanted, "more", "leave the others out")
        measure_every_logit(sample, plot, json)
        return
    if sample is not None or plot is not None:
        raise InputError("--sample and --plot", "--every-logit beside them", "none", "add it")
    if diff:
        print_changes(measured.changes(*map(measured.read_atlas, diff)))
        return
    if read:
        found = chosen_from(measured.read_atlas(read), names or [])
    else:
        found = measure(names or [], dtypes, orders, processes)
    if names:
        print_functions(found)
    else:
        print_summary(found)
    for path in filter(None, (json, results and place_in(results, found))):
        write_whole(path, measured.as_json(found).encode(errors="backslashreplace"))
        print(f"atlas: {escape(str(path))}")
    if html:
        from handgrad.accuracy.page import as_html

        write_whole(html, as_html(found).encode())
        print(f"page: {escape(str(html))}")


def measure(names: list[str], dtypes: str, orders: str, processes: int | None) -> "Atlas":
    """The atlas of the functions named, with a bar while it is made."""
    from rich.progress import BarColumn, TimeRemainingColumn

    from handgrad.accuracy.atlas import measure_functions
    from handgrad.bench.report import facts

    if processes is not None and processes < 1:
        raise InputError("--processes", "1 or more", processes, "pass 1")
    machine = facts()
    start = perf_counter()
    counted = "{task.completed} of {task.total}"
    with progress_bars(counted, BarColumn(), TimeRemainingColumn()) as bar:
        task = bar.add_task("functions", total=None)
        found = measure_functions(
            names,
            dtypes=[dtype.strip() for dtype in dtypes.split(",")],
            orders=parse_orders(orders),
            processes=processes or machine["cores"] or 1,
            progress=lambda done, total: bar.update(task, completed=done, total=total),
        )
    packages = ("jax", "jaxlib", "numpy", "optax")
    machine["versions"] = {name: machine["versions"][name] for name in packages}
    found.facts |= {"machine": machine, "seconds": round(perf_counter() - start, 1)}
    return found


def place_in(results: Path, found: "Atlas") -> Path:
    """The file for this machine and this version of JAX in a folder of results, which is made."""
    from handgrad.bench.report import slug

    machine = found.facts["machine"]
    folder = results / slug(machine)
    folder.mkdir(parents=True, exist_ok=True)
    return folder / f"atlas-jax-{machine['versions']['jax']}.json"


def parse_orders(orders: str) -> list[int]:
    """1, 2 or both, from the text of an option."""
    try:
        return [int(order) for order in orders.split(",")]
    except ValueError:
        raise InputError("--orders", "1, 2 or 1,2", repr(orders), "pass 1,2") from None


def chosen_from(found: "Atlas", names: list[str]) -> "Atlas":
    """The part of an atlas that is about the functions named."""
    from handgrad.accuracy.atlas import LISTS
    from handgrad.accuracy.functions import choose

    if names:
        chosen = {entry.name for entry in choose(names)}
        for part in LISTS:
            kept = [entry for entry in getattr(found, part) if entry.function in chosen]
            setattr(found, part, kept)
    return found


# --- on the screen ----------------------------------------------------------------------------

PRIMES = ("", "′", "″")


def print_functions(found: "Atlas") -> None:
    """Every row, function by function."""
    for function in dict.fromkeys(row.function for row in found.rows):
        rows = table("", "max ulp", "at", "NaN", "inf", "sign", "zero", "> 1", "> 10", "ns", gap=1)
        rows.add_row(f"[bold]{escape(function)}[/]")
        here = [row for row in found.rows if row.function == function]
        for dtype in dict.fromkeys(row.dtype for row in here):
            rows.add_row(f"[dim]{dtype}[/]")
            for row in (row for row in here if row.dtype == dtype):
                rows.add_row(
                    f"  f{PRIMES[row.order]:1} {row.form}", ulps(row.max_ulp), decimals(row.at),
                    *failures(row),
                    share(row.above_1), share(row.above_10), f"{row.ns:.3g}",
                    style="green" if row.form == "handgrad" else None,
                )  # fmt: skip
        print(rows)
    print_refused(found)
    print(
        "Errors in ulp of the dtype over finite results whose true value is a normal number; zero: "
        "0 where it is one; > 1, > 10: share of the inputs with more ulp; ns: per element."
    )


def print_summary(found: "Atlas") -> None:
    """How many derivatives are accurate, and which fail most."""
    from handgrad.accuracy.atlas import worst_first

    default = [row for row in found.rows if row.form == "default" and row.order]
    totals = table("first and second derivatives by jax.grad", "rows", "≤ 4 ulp", "> 100 ulp",
                   "failing", gap=2)  # fmt: skip
    for dtype in dict.fromkeys(row.dtype for row in default):
        for order in (1, 2):
            some = [row for row in default if row.dtype == dtype and row.order == order]
            if some:
                totals.add_row(
                    f"  f{PRIMES[order]} {dtype}", str(len(some)),
                    str(sum(row.max_ulp <= 4 and not row.failing for row in some)),
                    str(sum(row.max_ulp > 100 for row in some)),
                    str(sum(row.failing > 0 for row in some)),
                )  # fmt: skip
    print(totals)
    worst = table(
        "first derivatives that fail most", "max ulp", "NaN", "inf", "sign", "zero", gap=1
    )
    for row in worst_first(row for row in default if row.order == 1)[:SHOWN]:
        worst.add_row(
            f"  {escape(row.function)} {row.dtype}", ulps(row.max_ulp),
            *failures(row),
        )  # fmt: skip
    print(worst)
    functions = {row.function.partition(",")[0] for row in found.rows}
    rows = len(found.rows)
    print_refused(found, short=True)
    seconds = found.facts.get("seconds")
    took = f", measured in {seconds:,.0f} s" if seconds else ""
    print(f"{len(functions)} functions, {rows:,} rows{took}; failing: NaN, inf, wrong sign or lost")


def print_refused(found: "Atlas", short: bool = False) -> None:
    """What is not among the rows, by name."""
    if not found.refused:
        return
    if short:
        names = dict.fromkeys(entry.function for entry in found.refused)
        print(f"not measured, in whole or in part: {escape(', '.join(names))}")
        return
    for entry in found.refused:
        where = " ".join(filter(None, (entry.function, entry.dtype, entry.form)))
        print(f"not measured: {escape(where)}: {escape(entry.reason)}")


def print_changes(found: "Sequence[Change]") -> None:
    """What differs between two atlases, the worse first; exit code 1 if anything is worse."""
    kinds = {"worse": "red", "mixed": "yellow", "better": "green", "new": "dim", "gone": "dim"}
    rows = table("", "", "", gap=2)
    rows.columns[1].justify = rows.columns[2].justify = "left"
    for kind, style in kinds.items():
        for change in (change for change in found if change.kind == kind):
            row = change.new or change.old
            assert row is not None
            name = f"{row.function}{PRIMES[row.order]} {row.dtype} {row.form}"
            rows.add_row(f"[{style}]{kind}[/]", escape(name), change.reason)
    if found:
        print(rows)
    said = ", ".join(f"{sum(c.kind == kind for c in found)} {kind}" for kind in kinds)
    print(said if found else "nothing is better or worse")
    if any(change.kind in ("worse", "mixed") for change in found):
        raise typer.Exit(WRONG)


def decimals(at: str) -> str:
    """Hex floats as short decimal numbers.

    >>> decimals("0x1.e800000000000p+2"), decimals("0x1.0p-1, -0x1.0p+100")
    ('7.625', '(0.5, -1.27e+30)')
    """
    numbers = [float.fromhex(part) for part in at.split(", ") if part]
    if len(numbers) == 1:
        return f"{numbers[0]:.5g}"
    return f"({', '.join(f'{number:.3g}' for number in numbers)})" if numbers else ""


def share(number: float) -> str:
    """A share in percent, a dot for none."""
    if not number:
        return "·"
    return f"{number:.0%}" if number >= 0.1 else f"{number:.1%}" if number >= 0.001 else "<.1%"


# --- every float32 logit ----------------------------------------------------------------------


def measure_every_logit(sample: int | None, plot: Path | None, json: Path | None) -> None:
    """Each form of each scalar gradient of cross-entropy at every finite float32 logit."""
    import jax
    from rich.progress import BarColumn, TaskProgressColumn, TimeRemainingColumn

    from handgrad.accuracy import every_logit, formulas
    from handgrad.accuracy.formulas import FORMULAS, OWN, TARGETS

    every_logit.check_sample(sample)
    points = formulas.spread_floats(REFERENCE_POINTS)
    reference = max(formulas.reference_error(truth, points) for truth in formulas.TRUTHS)
    devices = f"{len(jax.devices())} x {jax.devices()[0].device_kind}"
    print(
        f"{len(FORMULAS)} forms of {len(TARGETS)} gradients on {devices}; the reference "
        f"is within {reference:.0e} ulp of the truth (balls, at {len(points):,} points)"
    )
    start = perf_counter()
    columns = "{task.completed:,.0f} inputs", BarColumn(), TaskProgressColumn()
    with progress_bars(*columns, TimeRemainingColumn()) as bar:
        task = bar.add_task("inputs", total=None)
        outcomes = every_logit.sweep(
            sample=sample,
            progress=lambda done, total: bar.update(task, completed=done, total=total),
        )
    seconds = perf_counter() - start
    faults = every_logit.failures_of_own(outcomes)
    print_outcomes(outcomes, OWN, seconds)
    if faults:
        print("[bold red]the forms of this package do not hold:[/]")
        for fault in faults:
            print(f"  {fault}")
    else:
        print("the forms of this package [bold green]hold[/]")
    if plot:
        from handgrad.accuracy.every_logit import error_figure
        from handgrad.explain.training_figure import png

        inputs = (
            f"{'all' if sample is None else 'a sample of'} {outcomes[0].inputs:,} finite inputs"
        )
        subtitle = f"worst case by unit of z, {inputs}, {devices}; grey: truth below 2⁻¹²⁶"
        write_whole(plot, png(error_figure(outcomes, subtitle)))
        print(f"figure: {escape(str(plot))}")
    if json:
        data = {
            "devices": devices,
            "inputs": outcomes[0].inputs,
            "all_inputs": sample is None,
            "seconds": seconds,
            "reference_error_ulp": reference,
            "faults": faults,
            "versions": every_logit.versions(),
            "unit_edges": every_logit.UNIT_EDGES.tolist(),
            "exponent_edges": every_logit.EXPONENT_EDGES.tolist(),
            "rows": [row._asdict() for row in every_logit.rows_of(outcomes)],
            "forms": [every_logit.as_data(outcome) for outcome in outcomes],
        }
        write_json(json, data)
    if faults:
        raise typer.Exit(WRONG)


def print_outcomes(outcomes: Sequence[Any], own: Sequence[str], seconds: float) -> None:
    """The table, and below it what is not in it."""
    from handgrad.accuracy.atlas import short_hex

    rows = table("", "max ulp", "at", "NaN", "inf", "sign", "zero", "±∞", gap=2)
    for target in dict.fromkeys(o.target for o in outcomes):
        rows.add_row(f"[bold]{target}[/]")
        for o in (o for o in outcomes if o.target == target):
            rows.add_row(
                f"  {o.form}", ulps(o.max_ulp), short_hex(o.worst_at),
                *failures(o),
                "ok" if o.limits_right else "[red]bad[/]",
                style="green" if o.form in own else None,
            )  # fmt: skip
    print(rows)
    inputs, below = outcomes[0].inputs, max(o.subnormal for o in outcomes)
    rate = inputs * len(outcomes) / seconds / 1e6
    print(
        f"{inputs:,} inputs in {seconds:,.0f} s, {rate:,.1f} million gradients a second. Errors "
        "in ulp of float32 over finite results whose truth is a normal number; zero: 0 where the "
        "truth is one; ±∞: the limits."
    )
    flushed = [o for o in outcomes if o.subnormal_zero == o.subnormal]
    print(
        f"Apart: up to {below:,} inputs have a truth below 2⁻¹²⁶; {len(flushed)} of "
        f"{len(outcomes)} forms give 0 at all of theirs."
    )


def failures(row: Any) -> list[str]:
    """The cells of a row that count the inputs which fail, by kind."""
    return [count(number) for number in (row.nan, row.inf, row.wrong_sign, row.zero)]


def count(number: int) -> str:
    """A count, to three digits where it is long; a dot for none."""
    if not number:
        return "·"
    return (
        f"[red]{number:,}[/]" if number < 100_000 else f"[red]{number:.2e}[/]".replace("e+0", "e")
    )
