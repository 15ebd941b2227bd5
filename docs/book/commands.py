"""The page of the command, made from the command itself."""

from pathlib import Path
from typing import Any


def page() -> str:
    """Every command with what it does, its arguments and its options."""
    from typer.main import get_command

    from handgrad.cli.app import app

    whole: Any = get_command(app)
    parts = ["# The command `handgrad`", "", whole.help or "", ""]
    for name, command in whole.commands.items():
        parts += [f"## `handgrad {name}`", "", _flat(command.help or ""), ""]
        parts += ["| argument | meaning |", "|---|---|"]
        for parameter in command.params:
            if parameter.name == "help":
                continue
            parts.append(f"| {_called(parameter)} | {_meaning(parameter)} |")
        parts.append("")
    return "\n".join(parts)


def _called(parameter: Any) -> str:
    if parameter.param_type_name == "argument":
        name = parameter.name.upper()
        return f"`{name}`" if parameter.required else f"`[{name}]`"
    names = [*parameter.opts, *parameter.secondary_opts]
    return " ".join(f"`{name}`" for name in names)


def _meaning(parameter: Any) -> str:
    said = _flat(getattr(parameter, "help", None) or "")
    default = parameter.default
    if default is None or default is False or callable(default) or parameter.required:
        return said
    shown = str(default).strip()
    return f"{said} (`{shown}` unless given)" if shown else said


def _flat(text: str) -> str:
    return " ".join(text.replace("|", "\\|").replace("<", "\\<").split())


def write_page(app: Any) -> None:
    """Write it beside the reference."""
    folder = Path(app.srcdir) / "api"
    folder.mkdir(exist_ok=True)
    (folder / "command.md").write_text(page())


def setup(app: Any) -> None:
    """Before the pages are looked for."""
    app.connect("builder-inited", write_page)
