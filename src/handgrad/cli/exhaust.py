"""`handgrad exhaust`: every float32 logit through every form of the scalar gradients."""

from collections.abc import Sequence
from pathlib import Path
from time import perf_counter
from typing import Annotated, Any

import typer
from rich.markup import escape

from handgrad.cli.output import (
    WRONG,
    check_writable,
    console,
    draws_bars,
    print,
    table,
    ulps,
    write_json,
    write_whole,
)

REFERENCE_POINTS = 2_000


def exhaust(
    sample: Annotated[
        int | None,
        typer.Option(help="Number of inputs, spread over all exponents. Default: all of them."),
    ] = None,
    plot: Annotated[
        Path | None, typer.Option(help="Draw the error against the logit into this PNG.")
    ] = None,
    json: Annotated[Path | None, typer.Option(help="Write what was printed to this file.")] = None,
) -> None:
    """Measure every form of each scalar gradient at every finite float32 logit, in ulp.

    The last line says whether the forms of this package hold: at most 4 ulp wherever the result is
    a normal number and at most 1 ulp above the library's autodiff, with no NaN, infinity, wrong
    sign or lost result. Exit code 1 if they do not.
    """
    import jax
    from rich.progress import (
        BarColumn,
        Progress,
        TaskProgressColumn,
        TextColumn,
        TimeRemainingColumn,
    )

    from handgrad.accuracy import error_sweep, truths
    from handgrad.accuracy.formulas import FORMULAS, OWN, TARGETS

    check_writable("--plot", plot, ".png")
    check_writable("--json", json, ".json")
    error_sweep.check_sample(sample)
    points = truths.spread_floats(REFERENCE_POINTS)
    reference = max(truths.reference_error(truth, points) for truth in truths.TRUTHS)
    devices = f"{len(jax.devices())} x {jax.devices()[0].device_kind}"
    print(
        f"{len(FORMULAS)} forms of {len(TARGETS)} gradients on {devices}; the reference "
        f"is within {reference:.0e} ulp of the truth (balls, at {len(points):,} points)"
    )
    start = perf_counter()
    with Progress(
        TextColumn("{task.completed:,.0f} inputs"), BarColumn(), TaskProgressColumn(),
        TimeRemainingColumn(), console=console, transient=True, disable=not draws_bars(),
    ) as bar:  # fmt: skip
        task = bar.add_task("inputs", total=None)
        outcomes = error_sweep.sweep(
            sample=sample,
            progress=lambda done, total: bar.update(task, completed=done, total=total),
        )
    seconds = perf_counter() - start
    faults = error_sweep.failures_of_own(outcomes)
    print_outcomes(outcomes, OWN, seconds)
    if faults:
        print("[bold red]the forms of this package do not hold:[/]")
        for fault in faults:
            print(f"  {fault}")
    else:
        print("the forms of this package [bold green]hold[/]")
    if plot:
        from handgrad.accuracy.figure import error_figure
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
            "versions": error_sweep.versions(),
            "unit_edges": error_sweep.UNIT_EDGES.tolist(),
            "exponent_edges": error_sweep.EXPONENT_EDGES.tolist(),
            "forms": [error_sweep.as_data(outcome) for outcome in outcomes],
        }
        write_json(json, data)
    if faults:
        raise typer.Exit(WRONG)


def print_outcomes(outcomes: Sequence[Any], own: Sequence[str], seconds: float) -> None:
    """The table, and below it what is not in it."""
    rows = table("", "max ulp", "at", "NaN", "inf", "sign", "zero", "±∞", gap=2)
    for target in dict.fromkeys(o.target for o in outcomes):
        rows.add_row(f"[bold]{target}[/]")
        for o in (o for o in outcomes if o.target == target):
            rows.add_row(
                f"  {o.form}", ulps(o.max_ulp), hex_float(o.worst_at),
                *(count(getattr(o, kind)) for kind in ("nan", "inf", "wrong_sign", "zero")),
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


def count(number: int) -> str:
    """A count, to three digits where it is long; a dot for none."""
    if not number:
        return "·"
    return (
        f"[red]{number:,}[/]" if number < 100_000 else f"[red]{number:.2e}[/]".replace("e+0", "e")
    )


def hex_float(value: float) -> str:
    """A float32 as a hex float without its trailing zeros.

    >>> hex_float(0.15625)
    '0x1.4p-3'
    """
    mantissa, _, exponent = value.hex().partition("p")
    return f"{mantissa.rstrip('0').rstrip('.')}p{exponent}"
