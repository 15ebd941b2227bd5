"""`handgrad recheck`: judge again what a certificate says, and print what no longer holds.

A certificate is data. It names Python files, but none is run because it says so: only those that
stand beside it on the command line are.
"""

import json as jsonlib
import os
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.markup import escape

from handgrad.cli.output import WRONG, check_writable, print, write_json
from handgrad.cli.user_file import load_arguments, load_function
from handgrad.errors import InputError

MAX_BYTES = 2**28
"""Of a certificate file: a larger file is something else."""
FUNCTIONS = ("gradient", "of", "at", "points")


def recheck(
    file: Annotated[Path, typer.Argument(help="A file that handgrad verify --json wrote.")],
    files: Annotated[
        list[Path] | None, typer.Argument(help="The Python files that it names; they are run.")
    ] = None,
    gradient: Annotated[
        str | None, typer.Option(help="Where my.py:gradient is now, if it has moved.")
    ] = None,
    of: Annotated[
        str | None, typer.Option(help="Where my.py:loss is now, if it has moved.")
    ] = None,
    at: Annotated[
        str | None, typer.Option(help="Where my.py:example is now, if it has moved.")
    ] = None,
    points: Annotated[
        str | None, typer.Option(help="Where my.py:points is now, if it has moved.")
    ] = None,
    json: Annotated[Path | None, typer.Option(help="Write what was printed to this file.")] = None,
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
    results = []
    for text in _certificates(file):
        data = read_certificate(text, str(file))
        given = {"gradient": gradient, "of": of, "at": at, "points": points}
        function, question = _question(_named(data["subject"], given, files or []))
        question["at"] = with_recorded_inputs(question["at"], data)
        asked = data["question"]
        question["argnums"] = (
            tuple(asked["argnums"]) if isinstance(asked["argnums"], list) else asked["argnums"]
        )
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
        texts = (
            [jsonlib.dumps(one) for one in many]
            if isinstance(many, list)
            else [jsonlib.dumps(data)]
        )
    except OSError as fault:
        raise InputError("FILE", "a certificate", f"{file}: {fault}", "name a file") from None
    except (ValueError, RecursionError) as fault:
        raise InputError("FILE", "JSON", f"{file}: {fault}", "write it again") from None
    if not texts:
        raise InputError("FILE", "at least one certificate", f"none in {file}", "write it again")
    return texts


def _named(
    recorded: dict[str, Any], given: dict[str, str | None], files: list[Path]
) -> dict[str, Any]:
    """What is to be judged: as given, else as recorded, if it lies in one of `files`."""
    known = [os.path.realpath(file) for file in files]
    named: dict[str, Any] = {key: recorded[key] for key in ("case", "seed") if key in recorded}
    for key in FUNCTIONS:
        spec = given[key] or recorded.get(key)
        if spec and not given[key]:
            path = spec.rpartition(":")[0] if isinstance(spec, str) else ""
            path = path.replace("\0", "")
            if os.path.realpath(path) not in known:
                raise InputError(
                    "FILE", "beside the certificate the Python files to run",
                    f"none called {path!r}, of which it names {spec!r}",
                    f"read {path} first; if you trust it, add it: recheck FILE {path}",
                )  # fmt: skip
        if spec:
            named[key] = spec
    return named


def _question(named: dict[str, Any]) -> tuple[Any, dict[str, Any]]:
    """The gradient that a certificate names, and the rest of the question."""
    if "case" in named and not named.get("gradient"):
        import jax

        from handgrad._precision import x64
        from handgrad.catalogue import case
        from handgrad.verify.api import MOST_SEEDS

        name, seed = named["case"], named.get("seed", 0)
        if not isinstance(name, str) or not (isinstance(seed, int) and 0 <= seed < MOST_SEEDS):
            raise InputError("FILE", "a case and a seed", f"{name!r}, {seed!r}", "write it again")
        entry = case(name)
        with x64():
            example = entry.example(jax.random.key(seed))
        return entry.gradient, {"of": entry.loss, "at": example}
    missing = [key for key in ("gradient", "of", "at") if not named.get(key)]
    if missing:
        raise InputError(
            "FILE", "a certificate that names its functions", f"none for {', '.join(missing)}",
            "name them: --gradient my.py:gradient --of my.py:loss --at my.py:example",
        )  # fmt: skip
    question = {"of": load_function("--of", named["of"]), "at": load_arguments("--at", named["at"])}
    if named.get("points"):
        question["points"] = load_function("--points", named["points"])
    return load_function("--gradient", named["gradient"]), question
