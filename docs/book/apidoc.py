"""The pages of the reference, made from the package: the rooms file by file, and the command."""

import importlib
import pkgutil
from pathlib import Path
from typing import Any

import handgrad

FOLDER = "api"
LEFT_OUT = ("cli", "data_files")
"""The command has a page of its own."""
ORDER = (
    "gradients", "losses", "fast", "exact", "verify", "testing", "derivations", "catalogue",
    "data", "scale", "train", "sklearn", "accuracy", "bench", "explain",
)  # fmt: skip


def rooms() -> list[str]:
    """The public rooms, in the order of the house; one that is new comes last."""
    names = [
        entry.name
        for entry in pkgutil.iter_modules(handgrad.__path__)
        if not entry.name.startswith("_") and entry.name not in LEFT_OUT
    ]
    return sorted(names, key=lambda name: (ORDER.index(name) if name in ORDER else 99, name))


def files_of(room: str) -> list[str]:
    """The modules of a room: itself, and the files in it."""
    module = importlib.import_module(f"handgrad.{room}")
    inside = pkgutil.iter_modules(getattr(module, "__path__", []))
    return [f"handgrad.{room}", *sorted(f"handgrad.{room}.{entry.name}" for entry in inside)]


def page(room: str) -> str:
    """The Markdown of a room: its own docstring, then file by file."""
    modules = files_of(room)
    title = f"# `{room}`"
    parts = [title, "", _automodule(modules[0], members=len(modules) == 1)]
    for name in modules[1:]:
        parts += [f"## `{name.rpartition('.')[2]}`", "", _automodule(name, members=True)]
    return "\n".join(parts)


def _automodule(name: str, members: bool) -> str:
    options = ["   :members:", "   :member-order: bysource"] if members else []
    return "\n".join(["```{eval-rst}", f".. automodule:: {name}", *options, "```", ""])


def top_names() -> str:
    """What `import handgrad as hg` has, each with the place where it is described."""
    rows = ["| name | what it is |", "|---|---|"]
    for name in handgrad.__all__:
        found = getattr(handgrad, name)
        if callable(found) and hasattr(found, "__qualname__"):
            place = f"{found.__module__}.{found.__qualname__}"
            kind = "class" if isinstance(found, type) else "func"
            link = f"{{py:{kind}}}`{place}`"
        else:
            room = found.__name__
            inner = getattr(found, name, None)
            link = f"the room {{py:mod}}`{room}`"
            if callable(inner):
                link = f"{{py:func}}`{inner.__module__}.{inner.__qualname__}`, and {link}"
        rows.append(f"| `hg.{name}` | {link} |")
    return "\n".join(rows)


def command_page() -> str:
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


def write_pages(app: Any) -> None:
    """Write the pages before anything is read; those of rooms that are gone are removed."""
    folder = Path(app.srcdir) / FOLDER
    folder.mkdir(exist_ok=True)
    pages = {f"{room}.md": page(room) for room in rooms()} | {"command.md": command_page()}
    toc = "\n".join(["```{toctree}", ":maxdepth: 2", "", "command", *rooms(), "```", ""])
    pages["index.md"] = "\n".join(
        ["# Reference", "", "Made from the docstrings, whose examples are run by the tests. With",
         "`import handgrad as hg`:", "", top_names(), "", "By room:", "", toc]
    )  # fmt: skip
    for path in folder.glob("*.md"):
        if path.name not in pages:
            path.unlink()
    for name, text in pages.items():
        (folder / name).write_text(text)


def setup(app: Any) -> None:
    """Before the pages are looked for."""
    app.connect("builder-inited", write_pages)
