"""`handgrad verify`, `recheck`, `audit` and `repair`: gradients before the judge, and mended.

A certificate is data. It names Python files, but `recheck` runs none because it says so: only those
that stand beside it on the command line.
"""

import json as jsonlib
import os
import sys
from concurrent.futures import ProcessPoolExecutor
from functools import partial
from multiprocessing import get_context
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.markup import escape

from handgrad.cli.options import Argnums, At, Json
from handgrad.cli.output import (
    BAD_INPUT,
    UNDECIDED,
    WRONG,
    check_seed,
    check_writable,
    print,
    table,
    track,
    ulps,
    write_json,
    write_whole,
)
from handgrad.cli.user_file import load_arguments, load_function, parse_argnums, supervise
from handgrad.errors import InputError

FEW, PROCESSES = 3, 2
"""Up to FEW cases are judged here; more are shared among PROCESSES, each of which loads JAX."""
MAX_BYTES = 2**28
"""Of a certificate file: a larger file is something else."""


def verify(
    what: Annotated[
        list[str] | None,
        typer.Argument(help="Cases of the catalogue (all if none), or one my.py:gradient."),
    ] = None,
    of: Annotated[str | None, typer.Option(help="my.py:loss that the gradient belongs to.")] = None,
    at: Annotated[str | None, At] = None,
    points: Annotated[
        str | None, typer.Option(help="my.py:points: a function key -> further arguments.")
    ] = None,
    argnums: Argnums = "0",
    dtype: Annotated[
        list[str] | None,
        typer.Option(
            help="float32, float64, bfloat16 or float16; may be repeated. Default: the first two."
        ),
    ] = None,
    digits: Annotated[int, typer.Option(help="Digits to which the mathematics must agree.")] = 60,
    evaluations: Annotated[
        int, typer.Option(help="Number of points that the search tries in each dtype.")
    ] = 2000,
    reference: Annotated[
        str, typer.Option(help="What to judge against: truth, or autodiff.")
    ] = "truth",
    strict: Annotated[
        bool, typer.Option(help="Let errors found elsewhere by the search fail the gradient.")
    ] = False,
    seed: Annotated[int, typer.Option(help="Random seed for the drawn points and the search.")] = 0,
    seconds: Annotated[
        float | None, typer.Option(help="Time limit: after it no new point is judged.")
    ] = None,
    list_cases: Annotated[
        bool, typer.Option("--list", help="List the cases of the catalogue, and judge nothing.")
    ] = False,
    json: Annotated[Path | None, typer.Option(help="Write the certificates to this file.")] = None,
) -> None:
    """Judge gradients: mathematics in exact arithmetic, then numerics against the truth."""
    check_writable("--json", json, ".json")
    check_seed(seed)
    json = json.absolute() if json else None  # what is judged may leave the folder
    if list_cases:
        print_cases(json)
        return
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
        print(str(verdicts[0]), markup=False)
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


def print_cases(json: Path | None) -> None:
    """The names of the catalogue, one per line."""
    from handgrad.catalogue import CASES

    names = [entry.name for entry in CASES]
    print("\n".join(names))
    if json:
        write_json(json, {"cases": names})


def judge_catalogue(names: list[str] | None, options: dict[str, Any]) -> list[Any]:
    """The verdicts on these cases, or on all: by two processes where there are many."""
    from handgrad.catalogue import CASES, case

    chosen = [case(name).name for name in names] if names else [entry.name for entry in CASES]
    if len(chosen) <= FEW:
        return [judge_case(options, name) for name in chosen]
    with ProcessPoolExecutor(PROCESSES, mp_context=get_context("spawn")) as pool:
        verdicts = pool.map(partial(judge_case, options), chosen)
        return list(track(verdicts, "judging", len(chosen)))


def judge_case(options: dict[str, Any], name: str) -> Any:
    """The verdict on one case of the catalogue."""
    from handgrad.verify import verify as judge

    entry, at = _drawn(name, options["seed"])
    verdict = judge(
        entry.gradient, of=entry.loss, at=at, argnums=entry.argnums, name=name, **options
    )
    verdict.record["subject"] = {"case": name, "seed": options["seed"]}
    return verdict


def _drawn(name: str, seed: int) -> tuple[Any, tuple]:
    """A case of the catalogue, with an example of its arguments."""
    import jax

    from handgrad._precision import x64
    from handgrad.catalogue import case

    entry = case(name)
    with x64():
        return entry, entry.example(jax.random.key(seed))


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


def print_table(verdicts: list[Any]) -> None:
    """One line a gradient: the mathematics, then the largest errors by dtype, then the verdict."""
    dtypes = [row.dtype for row in max((v.numerics for v in verdicts), key=len, default=())]
    rows = table("", "\ndigits", *(h for d in dtypes for h in (f"{d}\nhand", "\nautodiff")), gap=1)
    for verdict in verdicts:
        numerics = {row.dtype: row for row in verdict.numerics}
        cells = []
        for dtype in dtypes:
            row = numerics.get(dtype)
            cells += [ulps(row.hand_ulp), ulps(row.autodiff_ulp)] if row else ["", ""]
        said = str(verdict.digits) if verdict.hand == "identical" else verdict.hand
        mark = "[green]✓[/]" if verdict.ok else "[bold red]✗[/]"
        rows.add_row(f"{mark} {verdict.name}", said, *cells)
    print(rows)
    print("digits to which hand and truth agree; errors in ulp at the points given")
    right = sum(verdict.ok for verdict in verdicts)
    print(f"{right} of {len(verdicts)} right")
    for verdict in verdicts:
        for note in verdict.notes:
            if "jax.grad" in note or "kink" in note or "found by the search" in note:
                print(f"  {verdict.name}: {note}", markup=False)
        if verdict.cause:
            print(f"  {verdict.name}: {verdict.cause}", markup=False)


# --- a certificate, judged again ------------------------------------------------------------------


def moved(name: str) -> Any:
    """The option that says where a function of a certificate is now."""
    return typer.Option(help=f"Where my.py:{name} is now, if it has moved.")


def recheck(
    file: Annotated[Path, typer.Argument(help="A file that handgrad verify --json wrote.")],
    files: Annotated[
        list[Path] | None, typer.Argument(help="The Python files that it names; they are run.")
    ] = None,
    gradient: Annotated[str | None, moved("gradient")] = None,
    of: Annotated[str | None, moved("loss")] = None,
    at: Annotated[str | None, moved("example")] = None,
    points: Annotated[str | None, moved("points")] = None,
    json: Json = None,
) -> None:
    """Judge again at the recorded inputs, and compare with the certificate."""
    from handgrad.verify import verify as judge
    from handgrad.verify.verdict import (
        differs_here,
        read_certificate,
        what_changed,
        with_recorded_inputs,
    )

    check_writable("--json", json, ".json")
    given = {"gradient": gradient, "of": of, "at": at, "points": points}
    results = []
    for text in _certificates(file):
        data = read_certificate(text, str(file))
        function, question = _question(data["subject"], given, files or [])
        question["at"] = with_recorded_inputs(question["at"], data)
        asked = data["question"]
        argnums = asked["argnums"]
        question["argnums"] = tuple(argnums) if isinstance(argnums, list) else argnums
        verdict = judge(
            function, name=data["name"], **question, dtypes=tuple(asked["dtypes"]),
            digits=asked["digits"], evaluations=asked["evaluations"], seed=asked["seed"],
            reference=data["reference"], strict=asked.get("strict", False),
        )  # fmt: skip
        changed = what_changed(data, verdict)
        results.append({"name": data["name"], "holds": not changed, "changed": changed})
        said = "[bold red]no longer holds[/]" if changed else "[green]holds[/]"
        if not verdict.ok and not changed:
            kind = "undecided" if verdict.is_undecided else "NOT right"
            said = f"the verdict holds: [bold red]{kind}[/]: {escape(str(verdict.fault))}"
        print(f"{escape(data['name'])}: {said}")
        for line in changed:
            print(f"  {line}", markup=False)
        for line in differs_here(data, verdict):
            print(f"  differs on this machine: {line}", markup=False)
    if json:
        write_json(json, {"certificates": results})
    if not all(result["holds"] for result in results):
        raise typer.Exit(WRONG)


def _certificates(file: Path) -> list[str]:
    if not os.path.isfile(file) or os.path.getsize(file) > MAX_BYTES:
        raise InputError("FILE", "a certificate", f"{file}, which is none", "name a file")
    try:
        data = jsonlib.loads(file.read_bytes())
        many = data.get("certificates") if isinstance(data, dict) else None
        texts = [jsonlib.dumps(one) for one in (many if isinstance(many, list) else [data])]
    except OSError as fault:
        raise InputError("FILE", "a certificate", f"{file}: {fault}", "name a file") from None
    except (ValueError, RecursionError) as fault:
        raise InputError("FILE", "JSON", f"{file}: {fault}", "write it again") from None
    if not texts:
        raise InputError("FILE", "at least one certificate", f"none in {file}", "write it again")
    return texts


def _question(
    recorded: dict[str, Any], given: dict[str, str | None], files: list[Path]
) -> tuple[Any, dict[str, Any]]:
    """The gradient to judge and the rest of the question.

    Each function is the one given, else the one recorded, if that lies in one of `files`.
    """
    known = [os.path.realpath(file) for file in files]
    named: dict[str, Any] = {key: spec or recorded.get(key) for key, spec in given.items()}
    for key, spec in named.items():
        path = spec.rpartition(":")[0].replace("\0", "") if isinstance(spec, str) else ""
        if spec and not given[key] and os.path.realpath(path) not in known:
            raise InputError(
                "FILE", "beside the certificate the Python files to run",
                f"none called {path!r}, of which it names {spec!r}",
                f"read {path} first; if you trust it, add it: recheck FILE {path}",
            )  # fmt: skip
    if "case" in recorded and not named["gradient"]:
        from handgrad.verify.api import MOST_SEEDS

        name, seed = recorded["case"], recorded.get("seed", 0)
        if not isinstance(name, str) or not (isinstance(seed, int) and 0 <= seed < MOST_SEEDS):
            raise InputError("FILE", "a case and a seed", f"{name!r}, {seed!r}", "write it again")
        entry, example = _drawn(name, seed)
        return entry.gradient, {"of": entry.loss, "at": example}
    missing = [key for key in ("gradient", "of", "at") if not named[key]]
    if missing:
        raise InputError(
            "FILE", "a certificate that names its functions", f"none for {', '.join(missing)}",
            "name them: --gradient my.py:gradient --of my.py:loss --at my.py:example",
        )  # fmt: skip
    question = {"of": load_function("--of", named["of"]), "at": load_arguments("--at", named["at"])}
    if named["points"]:
        question["points"] = load_function("--points", named["points"])
    return load_function("--gradient", named["gradient"]), question


# --- repair and audit -----------------------------------------------------------------------------


def repair(
    what: Annotated[str, typer.Argument(help="my.py:loss, a function of one number or many.")],
    at: Annotated[str, At],
    dtype: Annotated[
        str,
        typer.Option(help="float32, float64, bfloat16 or float16: where digits are to be kept."),
    ] = "float32",
    json: Json = None,
) -> None:
    """Find the derivative of a function in a form that keeps its digits, and print it as code.

    The code runs by itself. With it come the error before and after over the inputs of the dtype,
    the cost, and the proof that it is the derivative. Exit code 1 if nothing good was found, 3 if
    the proof is undecided.
    """
    check_writable("--json", json, ".json")
    json = json.absolute() if json else None
    supervise()
    from handgrad.repair import as_data, as_text
    from handgrad.repair import repair as repaired

    found = repaired(load_function("what", what), at=load_arguments("--at", at), dtype=dtype)
    print(as_text(found), markup=False)
    if json:
        write_json(json, as_data(found))
    if not found.ok:
        raise typer.Exit(UNDECIDED if found.verdict.is_undecided else WRONG)


def audit(
    package: Annotated[str, typer.Argument(help="A package that can be imported, or a module.")],
    seconds: Annotated[float, typer.Option(help="Time limit for the judging.", min=1)] = 300.0,
    evaluations: Annotated[
        int, typer.Option(help="Number of points that the search tries in each dtype.", min=0)
    ] = 0,
    not_derivative: Annotated[
        list[str] | None,
        typer.Option(help="'NAME: reason' of a rule that is no derivative on purpose; repeatable."),
    ] = None,
    json: Json = None,
) -> None:
    """Judge the custom_jvp and custom_vjp rules of a package, at arguments that are drawn.

    Imports the package with its modules. What can be called with a few numbers, vectors, matrices
    or integers is judged; the rest is named. For the arguments that its own tests pass:
    pytest --handgrad-audit=PACKAGE.
    """
    check_writable("--json", json, ".json")
    sys.path.insert(0, os.getcwd())
    from handgrad.testing.audit import as_text, audit_package, parse_marks

    found = audit_package(package, seconds, evaluations, parse_marks(not_derivative or ()))
    print(as_text(found), markup=False)
    if json:
        write_json(json, found.as_data())
    if not found.ok:
        raise typer.Exit(WRONG)
    if not set(found.by_rule.values()) - {"undecided"}:
        raise typer.Exit(UNDECIDED)
