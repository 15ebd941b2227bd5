"""`handgrad verify`: the catalogue, or a user's own gradient, before the judge."""

import json as jsonlib
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.progress import track
from rich.table import Table

from handgrad._errors import InputError
from handgrad.cli.output import check_writable, console, say, ulps, write_whole
from handgrad.cli.userfile import load_arguments, load_function

WRONG, BAD_INPUT, UNDECIDED = 1, 2, 3


def verify(
    what: Annotated[
        list[str] | None,
        typer.Argument(help="Cases of the catalogue (all if none), or one my.py:gradient."),
    ] = None,
    of: Annotated[str | None, typer.Option(help="The loss of a my.py:gradient.")] = None,
    at: Annotated[str | None, typer.Option(help="Its arguments: a tuple, or a function.")] = None,
    points: Annotated[str | None, typer.Option(help="key -> further arguments.")] = None,
    wrt: Annotated[str, typer.Option(help="As argnums of jax.grad: 0, or 0,1.")] = "0",
    dtype: Annotated[
        list[str] | None, typer.Option(help="float32, float64, bfloat16 or float16; repeatable.")
    ] = None,
    digits: Annotated[int, typer.Option(help="To which the mathematics must agree.")] = 60,
    evaluations: Annotated[int, typer.Option(help="Points the search tries in a dtype.")] = 2000,
    reference: Annotated[str, typer.Option(help="truth, or autodiff.")] = "truth",
    strict: Annotated[bool, typer.Option(help="Let what the search finds count.")] = False,
    seed: Annotated[int, typer.Option(help="Of drawn points and of the search.")] = 0,
    json: Annotated[Path | None, typer.Option(help="Write the certificates to this file.")] = None,
) -> None:
    """Judge gradients: mathematics in exact arithmetic, then numerics against the truth."""
    from handgrad.verify import verify as judge

    check_writable("--json", json, ".json")
    options: dict[str, Any] = {
        "dtypes": tuple(dtype) if dtype else ("float32", "float64"),
        "digits": digits, "evaluations": evaluations, "reference": reference, "strict": strict,
        "seed": seed,
    }  # fmt: skip
    if any(":" in name for name in what or ()):
        subjects = [_from_file(what or [], of, at, points, wrt)]
    else:
        if of or at or points:
            raise InputError("what", "my.py:gradient beside --of and --at", what, "name it first")
        subjects = _from_catalogue(what, seed)
    verdicts = []
    for name, gradient, question, subject in track(
        subjects, "judging", console=console, transient=True, disable=len(subjects) == 1
    ):
        verdict = judge(gradient, name=name, **question(), **options)
        verdict.record["subject"] = subject
        verdicts.append(verdict)
    if len(verdicts) == 1:
        console.print(str(verdicts[0]), markup=False, soft_wrap=True)
    else:
        print_table(verdicts)
    if json:
        texts = [jsonlib.loads(verdict.to_json()) for verdict in verdicts]
        text = jsonlib.dumps({"certificates": texts}, indent=2, ensure_ascii=False)
        write_whole(json, (text + "\n").encode())
    if any(verdict.structure != "ok" for verdict in verdicts):
        raise typer.Exit(BAD_INPUT)
    if not all(verdict.ok for verdict in verdicts):
        undecided = all(v.ok or v.hand in ("undecided", "unsupported") for v in verdicts)
        raise typer.Exit(UNDECIDED if undecided else WRONG)


Subject = tuple[str, Callable, Callable[[], dict], dict]
"""Name, gradient, what else `verify` takes, and how a certificate names it."""


def _from_catalogue(names: list[str] | None, seed: int) -> list[Subject]:
    import jax

    from handgrad._precision import x64
    from handgrad.catalogue import CASES, Case, case

    def question(entry: Case) -> Callable[[], dict]:
        def ask() -> dict:
            with x64():
                return {"of": entry.loss, "at": entry.example(jax.random.key(seed)),
                        "wrt": entry.wrt}  # fmt: skip

        return ask

    chosen = [case(name) for name in names] if names else list(CASES)
    return [(e.name, e.gradient, question(e), {"case": e.name, "seed": seed}) for e in chosen]


def _from_file(
    what: list[str], of: str | None, at: str | None, points: str | None, wrt: str
) -> Subject:
    if len(what) != 1 or of is None or at is None:
        raise InputError(
            "what", "one my.py:gradient, with --of and --at", " ".join(what),
            "write handgrad verify my.py:gradient --of my.py:loss --at my.py:example",
        )  # fmt: skip
    gradient, loss = load_function("gradient", what[0]), load_function("--of", of)
    arguments = load_arguments("--at", at)
    draw = load_function("--points", points) if points else None
    numbers = wrt.strip("()").split(",")
    try:
        argnums = tuple(int(number) for number in numbers if number.strip())
    except ValueError:
        raise InputError("--wrt", "0, or 0,1", repr(wrt), "count arguments from 0") from None
    question = {"of": loss, "at": arguments, "points": draw}
    question["wrt"] = argnums if "," in wrt else argnums[0]
    subject = {"gradient": what[0], "of": of, "at": at, "points": points}
    return what[0], gradient, lambda: question, subject


def print_table(verdicts: list[Any]) -> None:
    """One line a gradient: the mathematics, then the largest errors by dtype, then the verdict."""
    dtypes = [row.dtype for row in max((v.numerics for v in verdicts), key=len, default=())]
    table = Table(box=None, pad_edge=False, padding=(0, 1))
    table.add_column("gradient")
    table.add_column("mathematics")
    for dtype in dtypes:
        table.add_column(f"{dtype}\nhand", justify="right")
        table.add_column("\nautodiff", justify="right")
    table.add_column("verdict")
    for verdict in verdicts:
        rows = {row.dtype: row for row in verdict.numerics}
        cells = []
        for dtype in dtypes:
            row = rows.get(dtype)
            cells += [ulps(row.hand_ulp), ulps(row.autodiff_ulp)] if row else ["", ""]
        said = f"{verdict.hand}, {verdict.digits} digits" if verdict.ok else verdict.hand
        result = "[green]right[/]" if verdict.ok else f"[bold red]wrong[/] {verdict.where or ''}"
        table.add_row(verdict.name, said, *cells, result)
    console.print(table)
    say("errors in ulp at the points given, against the truth; NaN, 0 and signs found elsewhere:")
    for verdict in verdicts:
        for note in verdict.notes:
            if "at fault" in note or "kink" in note:
                console.print(f"  {verdict.name}: {note}", markup=False, soft_wrap=True)
        if verdict.cause:
            console.print(f"  {verdict.name}: {verdict.cause}", markup=False, soft_wrap=True)
