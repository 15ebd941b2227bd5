"""Where results go: the screen, and files that are checked before any work and written whole."""

import json
import math
import os
from pathlib import Path
from typing import Any

from rich.console import Console

from handgrad._errors import InputError

console = Console(highlight=False)


def say(text: str) -> None:
    """Print one line of prose; the terminal wraps it, a file gets it whole."""
    console.print(text, soft_wrap=True)


def check_writable(option: str, path: Path | None, suffix: str) -> None:
    """Raise InputError unless a file of that kind can be written at `path`."""
    if path is None:
        return
    if path.suffix.lower() != suffix:
        raise InputError(option, f"a file name ending in {suffix}", repr(str(path)), "rename it")
    if path.is_dir() or not path.parent.is_dir() or not os.access(path.parent, os.W_OK):
        raise InputError(
            option, "a file in a folder that can be written to", repr(str(path)), "make the folder"
        )


def write_json(path: Path, data: dict[str, Any]) -> None:
    """Write `data` whole or not at all; numbers that JSON lacks become null."""
    text = json.dumps(_plain(data), indent=2, ensure_ascii=False, allow_nan=False) + "\n"
    write_whole(path, text.encode())


def write_whole(path: Path, content: bytes) -> None:
    """Write a file whole or not at all. Raises InputError if the disk refuses."""
    part = path.with_name(path.name + ".part")
    try:
        part.write_bytes(content)
        part.replace(path)
    except OSError as error:
        part.unlink(missing_ok=True)
        raise InputError(
            "output", f"a file that can be written at {path}", error.strerror, "name another"
        ) from error


def _plain(value: Any) -> Any:
    if isinstance(value, dict):
        return {str(k): _plain(v) for k, v in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(v) for v in value]
    if isinstance(value, float) and not math.isfinite(value):
        return None
    return value


def ulps(value: float) -> str:
    """An error in ulp as a person would write it."""
    if not math.isfinite(value):
        return "inf"
    return f"{value:,.1f}" if value < 1000 else f"{value:,.0f}" if value < 1e6 else f"{value:.1e}"
