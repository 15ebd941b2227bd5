"""`handgrad recheck`: judge again what a certificate says, and say what no longer holds."""

import json
from pathlib import Path
from typing import Annotated, Any

import typer

from handgrad._errors import InputError
from handgrad.cli.output import console, say
from handgrad.cli.userfile import load_arguments, load_function

WRONG = 1


def recheck(
    file: Annotated[Path, typer.Argument(help="What handgrad verify --json wrote.")],
    gradient: Annotated[str | None, typer.Option(help="my.py:gradient, if it has moved.")] = None,
    of: Annotated[str | None, typer.Option(help="my.py:loss, if it has moved.")] = None,
    at: Annotated[str | None, typer.Option(help="my.py:example, if it has moved.")] = None,
) -> None:
    """Judge again at the recorded inputs, and compare with the certificate."""
    from handgrad.verify import verify as judge
    from handgrad.verify.certificate import read_certificate, what_changed, with_recorded_inputs

    broken = False
    for text in _certificates(file):
        data = read_certificate(text, str(file))
        named = {**data["subject"], **{k: v for k, v in
                 {"gradient": gradient, "of": of, "at": at}.items() if v}}  # fmt: skip
        function, question = _question(named)
        question["at"] = with_recorded_inputs(question["at"], data)
        asked = data["question"]
        question["wrt"] = tuple(asked["wrt"]) if isinstance(asked["wrt"], list) else asked["wrt"]
        verdict = judge(
            function, name=data["name"], **question, dtypes=tuple(asked["dtypes"]),
            digits=asked["digits"], evaluations=asked["evaluations"], seed=asked["seed"],
            reference=data["reference"], strict=asked.get("strict", False),
        )  # fmt: skip
        changed = what_changed(data, verdict)
        broken = broken or bool(changed)
        say(f"{data['name']}: {'[bold red]no longer holds[/]' if changed else '[green]holds[/]'}")
        for line in changed:
            console.print(f"  {line}", markup=False, soft_wrap=True)
    if broken:
        raise typer.Exit(WRONG)


def _certificates(file: Path) -> list[str]:
    try:
        text = file.read_text()
    except (OSError, UnicodeDecodeError) as fault:
        raise InputError("FILE", "a certificate", f"{file}: {fault}", "name a file") from None
    try:
        data = json.loads(text)
    except ValueError as fault:
        raise InputError("FILE", "JSON", f"{file}: {fault}", "write it again") from None
    many = data.get("certificates") if isinstance(data, dict) else None
    return [json.dumps(one) for one in many] if isinstance(many, list) else [text]


def _question(named: dict[str, Any]) -> tuple[Any, dict[str, Any]]:
    """The gradient that a certificate names, and the rest of the question."""
    if "case" in named and not named.get("gradient"):
        import jax

        from handgrad._precision import x64
        from handgrad.catalogue import case

        entry = case(named["case"])
        with x64():
            example = entry.example(jax.random.key(named.get("seed", 0)))
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
