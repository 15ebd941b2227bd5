"""The page of an atlas: one HTML file with its style, its script and its data, and nothing outside.

A table that sorts and filters, and of each function the error along its inputs: all forms in one
picture, and above it the inputs at which a form fails.
"""

import base64
import hashlib
import json
from html import escape
from importlib import resources
from typing import Any

from handgrad.accuracy.atlas import ALPHABET, Atlas, profile_edges
from handgrad.accuracy.measure import DTYPES


def as_html(atlas: Atlas) -> str:
    """The whole page."""
    functions = dict.fromkeys(row.function for row in atlas.rows)
    parts = {
        "LEAD": _lead(atlas, len({name.partition(",")[0] for name in functions})),
        "REFUSED": _refused(atlas),
        "STYLE": _resource("page.css"),
        "SCRIPT": _resource("page.js"),
        "DATA": _data(atlas),
    }
    parts["HASH"] = base64.b64encode(hashlib.sha256(parts["SCRIPT"].encode()).digest()).decode()
    pieces = _resource("page.html").split("%%")  # text, NAME, text, NAME, ...
    return "".join(parts[p] if i % 2 else p for i, p in enumerate(pieces))


def _resource(name: str) -> str:
    return (resources.files("handgrad.accuracy.page") / name).read_text(encoding="utf-8")


def _lead(atlas: Atlas, functions: int) -> str:
    machine = atlas.facts.get("machine", {})
    versions = machine.get("versions", {})
    on = ", ".join(f"{escape(name)} {escape(str(of))}" for name, of in versions.items())
    device = escape(str(machine.get("device", "a device without a name")))
    return (
        f"{functions} functions of JAX and optax, {len(atlas.rows):,} rows, measured on "
        f"{device}{' with ' + on if on else ''}."
    )


def _refused(atlas: Atlas) -> str:
    lines = []
    for entry in atlas.refused:
        where = " ".join(filter(None, (entry.dtype, entry.form)))
        name = f"<code>{escape(entry.function)}</code>{' ' + escape(where) if where else ''}"
        lines.append(f"<li>{name}: {escape(entry.reason)}</li>")
    return "".join(lines) or "<li>nothing</li>"


def _data(atlas: Atlas) -> str:
    """Rows and profiles by function, without their names."""
    functions: dict[str, dict[str, Any]] = {}

    def of(name: str) -> dict[str, Any]:
        return functions.setdefault(name, {"name": name, "rows": [], "profiles": [], "left": []})

    for row in atlas.rows:
        of(row.function)["rows"].append(row._asdict() | {"at": _decimal(row.at)})
    for profile in atlas.profiles:
        of(profile.function)["profiles"].append(profile._asdict())
    for left in atlas.left_out:
        of(left.function)["left"].append([left.dtype, left.kinks, left.undecided])
    for entry in functions.values():
        for part in (*entry["rows"], *entry["profiles"]):
            del part["function"]
    dtypes = [dtype for dtype in DTYPES if any(row.dtype == dtype for row in atlas.rows)]
    data = {
        "alphabet": ALPHABET,
        "dtypes": dtypes,
        "edges": {
            dtype: [float(f"{edge:.4g}") for edge in profile_edges(dtype)]
            for dtype in dtypes
            if dtype != "float64"
        },
        "functions": list(functions.values()),
    }
    text = json.dumps(data, ensure_ascii=False, separators=(",", ":"))
    text = text.replace("NaN", "null")
    for letter in "<>&\u2028\u2029":
        text = text.replace(letter, f"\\u{ord(letter):04x}")
    return text


def _decimal(at: str) -> str:
    return ", ".join(f"{float.fromhex(part):.5g}" for part in at.split(", ") if part)
