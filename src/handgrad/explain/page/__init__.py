"""The page: one HTML file with its style, its script and its data inside, and nothing outside.

Whatever comes from a user's file is text: `escape` in the HTML, `<` as \\u003c in the data, and
`textContent` in the script. Beside that the page's own policy lets no script run but the one whose
hash it names, and nothing be fetched.
"""

import base64
import hashlib
import json
from collections.abc import Iterator
from html import escape
from importlib import resources
from typing import Any

from handgrad.derivations.latex import as_mathml, as_unicode
from handgrad.explain.data import data
from handgrad.explain.derivation_view import DerivationView
from handgrad.explain.leaves import Leaves, agreement_heads, format_autodiff, format_hand
from handgrad.explain.lost_bits import LostBits, by_value
from handgrad.explain.page.graph import Graph, as_svg, draw
from handgrad.explain.summary import format_block, summarise
from handgrad.explain.tape import Tape, fold

DIGITS = 10
"""Of the gradient in the agreement."""


def page(
    name: str, tape: Tape, leaves: Leaves, derivation: DerivationView, notes: tuple[str, ...],
    lost: LostBits,
) -> str:  # fmt: skip
    """The whole page."""
    found = data(name, tape, leaves, derivation, notes) | {"lost": by_value(lost, tape)}
    parts = {
        "TITLE": escape(name),
        "LEAD": _lead(tape, leaves),
        "DERIVATION": _derivation(derivation),
        "MAIN": "both" if derivation.lines else "alone",
        "GRAPH": "\n".join(_drawings(tape, found)),
        "AGREEMENT": _agreement(leaves, notes),
        "TAPE": _tape(tape),
        "STYLE": base_style() + _resource("page.css"),
        "SCRIPT": _script(),
        "DATA": as_json(found),
    }
    return fill(_resource("page.html"), parts)


def fill(template: str, parts: dict[str, str]) -> str:
    """A template with its parts, and with the hash of the part SCRIPT, which alone may run."""
    digest = hashlib.sha256(parts["SCRIPT"].encode()).digest()
    whole = parts | {"HASH": base64.b64encode(digest).decode()}
    pieces = template.split("%%")  # text, NAME, text, NAME, ...
    return "".join(whole[p] if i % 2 else p for i, p in enumerate(pieces))


def base_style() -> str:
    """Colours, letters and buttons, light and dark: what every page has."""
    return _resource("base.css")


def _resource(name: str) -> str:
    return (resources.files("handgrad.explain.page") / name).read_text(encoding="utf-8")


SCRIPTS = ("arrays", "operations", "recompute", "steps", "graph", "step_text", "page")
"""In the order in which they need each other; one function around them all keeps their names."""


def _script() -> str:
    parts = "\n".join(_resource(f"{name}.js") for name in SCRIPTS)
    return f'"use strict";\n(() => {{\n{parts}}})();\n'


def _drawings(tape: Tape, found: dict[str, Any]) -> list[str]:
    """Every graph as SVG, folded and whole; each equation in `found` is told its node."""
    folding = fold(tape)
    graphs = [(draw(tape, folding), "folded", "node")]
    if folding.hidden:
        graphs.append((draw(tape), "whole", "whole_node"))
    for graph, _, key in graphs:
        _tell_nodes(graph, found, key)
    drawings = [as_svg(graph, view, hidden=view == "whole") for graph, view, _ in graphs]
    return drawings + list(_drawings_inside(tape, found, "", "", {}))


def _tell_nodes(graph: Graph, found: dict[str, Any], key: str = "node") -> None:
    for index, equation in enumerate(found["equations"]):
        equation[key] = graph.stands_for[index]


def _drawings_inside(
    tape: Tape, found: dict[str, Any], view: str, path: str, drawn: dict[str, Graph]
) -> Iterator[str]:
    """One for each body of a loop or a branch: its runs differ in their numbers only.

    But for the branches that the iterations of a loop take: another one has a drawing of its own.
    """
    for equation, entry in zip(tape.equations, found["equations"], strict=True):
        if equation.body is None:
            continue
        here = f"{view}{equation.index}"
        for number, run in enumerate(equation.body.runs):
            there = f"{path}{equation.index}:{number}"
            graph = drawn.get(here)
            if graph is None or _program(graph.tape) != _program(run):
                graph = draw(run, fold(run, guards=False))
                yield as_svg(graph, there if here in drawn else here, hidden=True)
                drawn.setdefault(here, graph)
            own = entry["body"]["runs"][number]
            _tell_nodes(graph, own)
            yield from _drawings_inside(run, own, f"{here}.", f"{there}.", drawn)


def _program(tape: Tape) -> list[tuple]:
    return [(e.primitive, e.detail, e.inputs, e.outputs) for e in tape.equations]


def as_json(found: dict[str, Any]) -> str:
    """Data for a script element, which no text in it can end."""
    text = json.dumps(found, ensure_ascii=False, separators=(",", ":"))
    for letter in "<>&\u2028\u2029":
        text = text.replace(letter, f"\\u{ord(letter):04x}")
    return text


def _lead(tape: Tape, leaves: Leaves) -> str:
    loss = escape(summarise(tape.loss.array).text)
    wanted = ", ".join(f"<b>{escape(tape.values[i].name)}</b>" for i in tape.wanted)
    ends = "what <code>jax.grad</code> gives, but for rounding"
    if all(leaf.identical for leaf in leaves):
        ends = "the very bits that <code>jax.grad</code> gives"
    elif all(leaf.identical_unfused for leaf in leaves):
        ends += ", and under <code>jax.disable_jit</code> its very bits"
    folded = len(fold(tape).hidden)
    aside = f" ({folded} of them folded away: constants and guards)" if folded else ""
    return (
        f"{tape.length()}{aside} forward to the loss <b>{loss}</b>, "
        f"{len(tape.backward)} back to its gradient in {wanted}: {ends}."
    )


def _derivation(derivation: DerivationView) -> str:
    if not derivation.lines:
        return ""
    rows = []
    for number, line in enumerate(derivation.lines):
        state = "" if line.matches else ' aria-disabled="true"'
        rows.append(
            f'<li data-line="{number}"><button type="button" class="line"{state} '
            f'aria-label="{escape(as_unicode(line.formula))}" aria-describedby="why{number}">'
            f"{as_mathml(line.formula)}</button>"
            f'<p class="why" id="why{number}"><span class="number">{number + 1}</span> '
            f"{escape(line.reason)}</p></li>"
        )
    return (
        '<section class="derivation" id="derivation" aria-labelledby="derivation-title" '
        'tabindex="0"><h2 id="derivation-title">The derivation</h2>'
        f'<p class="of">{as_mathml(derivation.of)}</p>'
        f'<ol class="lines">{"".join(rows)}</ol>'
        f'<p class="quiet">{escape(derivation.given)}</p></section>'
    )


def _agreement(leaves: Leaves, notes: tuple[str, ...]) -> str:
    heads = agreement_heads(leaves)
    rows = []
    for leaf in leaves:
        cells = [_cell(leaf.tape, "tape", leaf.name, "")]
        if "by hand" in heads:
            cells.append(_cell(leaf.hand, "hand", leaf.name, format_hand(leaf)))
        cells.append(_cell(leaf.autodiff, "autodiff", leaf.name, format_autodiff(leaf)))
        rows.append(f'<tr><th scope="row">{escape(leaf.name)}</th>{"".join(cells)}</tr>')
    listed = "".join(f"<li>{escape(note)}</li>" for note in notes)
    return (
        f'<div class="scroll" tabindex="0" role="region" aria-label="The agreement">'
        f"{_table(heads, rows)}</div>" + (f'<ul class="quiet">{listed}</ul>' if notes else "")
    )


def _cell(array: object, who: str, name: str, comparison: str) -> str:
    block = escape(format_block(summarise(array, DIGITS)))
    wrong = " wrong" if comparison == "different" else ""
    mark = f'<span class="said{wrong}">{comparison}</span>' if comparison else ""
    return f'<td><pre data-who="{who}" data-leaf="{escape(name)}">{block}</pre>{mark}</td>'


def _tape(tape: Tape) -> str:
    rows = []
    for equation in tape.equations:
        outputs = [tape.values[i] for i in equation.outputs]
        value = "; ".join(summarise(v.array).text for v in outputs)
        sent = "; ".join(summarise(v.cotangent).text for v in outputs if v.cotangent is not None)
        place = escape(str(equation.source)) if equation.source else ""
        rows.append(
            f'<tr data-equation="{equation.index}"><td>{equation.index + 1}</td>'
            f'<th scope="row">{escape(tape.formula(equation))}</th>'
            f'<td class="value">{escape(value)}</td><td class="cotangent">{escape(sent)}</td>'
            f"<td>{place}</td></tr>"
        )
    return _table(("", "equation", "value", "cotangent", "line"), rows)


def _table(heads: tuple[str, ...], rows: list[str]) -> str:
    head = "".join(f'<th scope="col">{h}</th>' if h else "<td></td>" for h in heads)
    return f"<table><thead><tr>{head}</tr></thead><tbody>{''.join(rows)}</tbody></table>"
