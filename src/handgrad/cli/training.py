"""What `handgrad train` says: the check of the gradient, both sides in a table, and as data."""

from dataclasses import asdict
from typing import Any

from rich.markup import escape
from rich.table import Table

from handgrad.cli.output import console, say, ulps


def report_check(check: Any, report: dict[str, Any]) -> None:
    """One line if hand and autodiff agree on this data; the fault if they do not."""
    report["check"] = asdict(check)
    worst = {d: max((r.hand_max_ulp for r in check.leaves if r.dtype == d), default=0.0)
             for d in dict.fromkeys(r.dtype for r in check.leaves)}  # fmt: skip
    if check.ok:
        found = ", ".join(f"{ulps(worst[d])} ulp in {d}" for d in worst)
        say(
            f"gradient on this data: [bold green]agrees[/] with jax.grad in all "
            f"{check.compared:,} coordinates (at most {found})"
        )
    else:
        say(f"gradient on this data: [bold red]differs[/]: {escape(str(check.fault))}")


def print_outcomes(result: Any) -> None:
    """The table of both sides, and how far apart their parameters are."""
    table = Table(box=None, pad_edge=False, padding=(0, 2))
    for heading in ("", "loss (nats)", "train accuracy", "test accuracy", "steps", "steps/s"):
        table.add_column(heading, justify="left" if not heading else "right")
    for name in ("hand", "optax"):
        side = getattr(result, name)
        table.add_row(
            name, f"{side.loss:.6f}", f"{side.train_accuracy:.2%}", f"{side.test_accuracy:.2%}",
            f"{side.steps:,}", f"{side.steps_per_second:,.0f}",
        )  # fmt: skip
    console.print(table)
    for name in ("hand", "optax"):
        side = getattr(result, name)
        if side.stopped != "epochs":
            say(f"{name} stopped at step {side.steps:,}: {side.stopped}")
    say(
        f"largest difference of the parameters: {result.difference.absolute:.1e} "
        f"({result.difference.relative:.1e} of the largest)"
    )


def outcomes_as_data(result: Any) -> dict[str, Any]:
    """What was printed of both sides, for --json."""
    return {
        "hand": asdict(result.hand),
        "optax": asdict(result.optax),
        "max_parameter_difference": result.difference.absolute,
        "max_parameter_difference_relative": result.difference.relative,
    }
