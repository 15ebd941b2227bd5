"""`handgrad verify`: the catalogue, or a user's own gradient, before the judge."""

import json as jsonlib
import sys
from concurrent.futures import ProcessPoolExecutor
from functools import partial
from multiprocessing import get_context
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.progress import track
from rich.table import Table

from handgrad.cli.output import (
    check_seed,
    check_writable,
    console,
    printable,
    say,
    ulps,
    write_whole,
)
from handgrad.cli.userfile import load_arguments, load_function, supervise
from handgrad.errors import InputError

WRONG, BAD_INPUT, UNDECIDED = 1, 2, 3
FEW, PROCESSES = 3, 2
"""Up to FEW cases are judged here; more are shared among PROCESSES, each of which loads JAX."""


def verify(
    what: Annotated[
        list[str] | None,
        typer.Argument(help="Cases of the catalogue (all if none), or one my.py:gradient."),
    ] = None,
    of: Annotated[str | None, typer.Option(help="The loss of a my.py:gradient.")] = None,
    at: Annotated[str | None, typer.Option(help="Its arguments: a tuple, or a function.")] = None,
    points: Annotated[str | None, typer.Option(help="key -> further arguments.")] = None,
    argnums: Annotated[str, typer.Option(help="As argnums of jax.grad: 0, or 0,1.")] = "0",
    dtype: Annotated[
        list[str] | None, typer.Option(help="float32, float64, bfloat16 or float16; repeatable.")
    ] = None,
    digits: Annotated[int, typer.Option(help="To which the mathematics must agree.")] = 60,
    evaluations: Annotated[int, typer.Option(help="Points the search tries in a dtype.")] = 2000,
    reference: Annotated[str, typer.Option(help="truth, or autodiff.")] = "truth",
    strict: Annotated[bool, typer.Option(help="Let what the search finds count.")] = False,
    seed: Annotated[int, typer.Option(help="Of drawn points and of the search.")] = 0,
    seconds: Annotated[
        float | None, typer.Option(help="Time limit: after it no new point is judged.")
    ] = None,
    json: Annotated[Path | None, typer.Option(help="Write the certificates to this file.")] = None,
) -> None:
    """Judge gradients: mathematics in exact arithmetic, then numerics against the truth."""
    check_writable("--json", json, ".json")
    check_seed(seed)
    json = json.absolute() if json else None  # what is judged may leave the folder
    options: dict[str, Any] = {
        "dtypes": tuple(dtype) if dtype else ("float32", "float64"),
        "digits": digits, "evaluations": evaluations, "reference": reference, "strict": strict,
        "seed": seed, "seconds": seconds,
    }  # fmt: skip
    if any(":" in name for name in what or ()):
        supervise()
        verdicts = [judge_file(what or [], of, at, points, argnums, options)]
    elif of or at or points:
        raise InputError("what", "my.py:gradient beside --of and --at", what, "name it first")
    else:
        verdicts = judge_catalogue(what, options)
    if len(verdicts) == 1:
        console.print(printable(str(verdicts[0])), markup=False, soft_wrap=True)
    else:
        print_table(verdicts)
    if json:
        texts = [jsonlib.loads(verdict.to_json()) for verdict in verdicts]
        text = jsonlib.dumps({"certificates": texts}, indent=2, ensure_ascii=False)
        write_whole(json, (text + "\n").encode(errors="backslashreplace"))
    if any(verdict.structure != "ok" for verdict in verdicts):
        raise typer.Exit(BAD_INPUT)
    if not all(verdict.ok for verdict in verdicts):
        undecided = all(v.ok or v.hand in ("undecided", "unsupported") for v in verdicts)
        raise typer.Exit(UNDECIDED if undecided else WRONG)


def judge_catalogue(names: list[str] | None, options: dict[str, Any]) -> list[Any]:
    """The verdicts on these cases, or on all: by two processes where there are many."""
    from handgrad.catalogue import CASES, case

    chosen = [case(name).name for name in names] if names else [entry.name for entry in CASES]
    if len(chosen) <= FEW:
        return [judge_case(options, name) for name in chosen]
    with ProcessPoolExecutor(PROCESSES, mp_context=get_context("spawn")) as pool:
        verdicts = pool.map(partial(judge_case, options), chosen)
        return list(track(verdicts, "judging", len(chosen), console=console, transient=True))


def judge_case(options: dict[str, Any], name: str) -> Any:
    """The verdict on one case of the catalogue."""
    import jax

    from handgrad._precision import x64
    from handgrad.catalogue import case
    from handgrad.verify import verify as judge

    entry = case(name)
    with x64():
        at = entry.example(jax.random.key(options["seed"]))
    verdict = judge(
        entry.gradient, of=entry.loss, at=at, argnums=entry.argnums, name=name, **options
    )
    verdict.record["subject"] = {"case": name, "seed": options["seed"]}
    return verdict


def judge_file(
    what: list[str],
    of: str | None,
    at: str | None,
    points: str | None,
    argnums: str,
    options: dict[str, Any],
) -> Any:
    """The verdict on a gradient of a user's own file."""
    from handgrad.verify import verify as judge

    if len(what) != 1 or of is None or at is None:
        raise InputError(
            "what", "one my.py:gradient, with --of and --at", " ".join(what),
            "write handgrad verify my.py:gradient --of my.py:loss --at my.py:example",
        )  # fmt: skip
    verdict = judge(
        load_function("gradient", what[0]), of=load_function("--of", of),
        at=load_arguments("--at", at), argnums=parse_argnums(argnums), name=what[0],
        points=load_function("--points", points) if points else None,
        progress=report_progress, **options,
    )  # fmt: skip
    verdict.record["subject"] = {"gradient": what[0], "of": of, "at": at, "points": points}
    return verdict


def report_progress(stage: str) -> None:
    """What is done now, for whoever waits at a terminal."""
    if sys.stderr.isatty():
        sys.stderr.write(f"{stage} ...\n")


def parse_argnums(text: str) -> int | tuple[int, ...]:
    """'0' as 0, '0,1' as (0, 1)."""
    try:
        numbers = tuple(int(part) for part in text.strip("()").split(",") if part.strip())
    except ValueError:
        numbers = ()
    if not numbers:
        raise InputError("--argnums", "0, or 0,1", repr(text), "count the arguments from 0")
    return numbers if "," in text else numbers[0]


def print_table(verdicts: list[Any]) -> None:
    """One line a gradient: the mathematics, then the largest errors by dtype, then the verdict."""
    dtypes = [row.dtype for row in max((v.numerics for v in verdicts), key=len, default=())]
    table = Table(box=None, pad_edge=False, padding=(0, 1, 0, 0))
    table.add_column("", no_wrap=True)
    table.add_column("\ndigits", justify="right", no_wrap=True)
    for dtype in dtypes:
        table.add_column(f"{dtype}\nhand", justify="right", no_wrap=True)
        table.add_column("\nautodiff", justify="right", no_wrap=True)
    for verdict in verdicts:
        rows = {row.dtype: row for row in verdict.numerics}
        cells = []
        for dtype in dtypes:
            row = rows.get(dtype)
            cells += [ulps(row.hand_ulp), ulps(row.autodiff_ulp)] if row else ["", ""]
        said = str(verdict.digits) if verdict.hand == "identical" else verdict.hand
        mark = "[green]✓[/]" if verdict.ok else "[bold red]✗[/]"
        table.add_row(f"{mark} {verdict.name}", said, *cells)
    console.print(table)
    say("digits to which hand and truth agree; errors in ulp at the points given")
    right = sum(verdict.ok for verdict in verdicts)
    say(f"{right} of {len(verdicts)} right")
    for verdict in verdicts:
        for note in verdict.notes:
            if "at fault" in note or "kink" in note:
                console.print(f"  {verdict.name}: {note}", markup=False, soft_wrap=True)
        if verdict.cause:
            console.print(f"  {verdict.name}: {verdict.cause}", markup=False, soft_wrap=True)
