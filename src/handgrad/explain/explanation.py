"""An explanation: the tape, its end beside jax.grad and the hand, the derivation.

It is shown as text, as data, and as a page, whose files know the parts and not the whole.
"""

import io
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from rich.console import Console
from rich.table import Table
from rich.text import Text

from handgrad._notebook import card, cut, frame
from handgrad.derivations.latex import as_unicode
from handgrad.explain.data import data
from handgrad.explain.derivation_view import DerivationView
from handgrad.explain.leaves import Leaves, agreement_heads, format_autodiff, format_hand
from handgrad.explain.lost_bits import LostBits, lost_bits
from handgrad.explain.page import page
from handgrad.explain.summary import format_array, summarise
from handgrad.explain.tape import Tape, TapeEquation


@dataclass(frozen=True)
class Explanation:
    """What autodiff did with a loss; `print` it, or pass it to `as_html` or `as_data`."""

    name: str
    tape: Tape
    gradient: Any
    """What the tape ends in, in the structure of jax.grad's result."""
    leaves: Leaves
    derivation: DerivationView = field(default_factory=DerivationView)
    notes: tuple[str, ...] = ()
    loss: Callable | None = field(default=None, compare=False)
    """What was explained, and where: from it the page measures what float32 loses."""
    at: tuple = field(default=(), compare=False)

    @property
    def identical(self) -> bool:
        """The tape ends in jax.grad's gradient, bit for bit."""
        return all(leaf.identical for leaf in self.leaves)

    @property
    def identical_unfused(self) -> bool:
        """The same, or where jax.grad runs every operation by itself (`jax.disable_jit`)."""
        return all(leaf.identical_unfused for leaf in self.leaves)

    @property
    def hand_equal(self) -> bool | None:
        """The hand-derived gradient is the tape's, up to rounding; None where there is none."""
        equal = [leaf.hand_equal for leaf in self.leaves]
        return None if None in equal else all(equal)

    def __str__(self) -> str:
        return as_text(self)

    def __repr__(self) -> str:
        forward, back = len(self.tape.equations), len(self.tape.backward)
        wanted = ", ".join(leaf.name for leaf in self.leaves)
        return (
            f"Explanation(name={cut(self.name)}, equations={forward}, backward={back}, "
            f"gradient={cut(wanted)}, identical={self.identical}, hand_equal={self.hand_equal})"
        )

    def _repr_html_(self) -> str:
        return card(f"{self.name}: {conclusion(self)}", frame(as_html(self), self.name))


def as_html(explanation: Explanation) -> str:
    """The whole page: one HTML file with all that it needs inside."""
    return page(*_parts(explanation), _lost_bits(explanation))


def as_data(explanation: Explanation) -> dict[str, Any]:
    """Everything that is shown, in words and numbers that JSON has."""
    return data(*_parts(explanation))


def _lost_bits(explanation: Explanation) -> LostBits:
    if explanation.loss is None:
        return LostBits(note="not measured: the loss itself is not at hand")
    return lost_bits(explanation.loss, explanation.at)


def _parts(of: Explanation) -> tuple[str, Tape, Leaves, DerivationView, tuple[str, ...]]:
    return of.name, of.tape, of.leaves, of.derivation, of.notes


# --- as text ----------------------------------------------------------------------------------

FORWARD, BACKWARD = "green", "red"
Rows = list[tuple[str, ...]]


def as_text(explanation: Explanation) -> str:
    """The tables one below the other, each as wide as it needs to be, and the conclusion."""
    console = Console(file=io.StringIO(), width=10_000, color_system=None)
    for table in tables(explanation):
        console.print(table, "")
    text = console.file.getvalue()  # type: ignore[attr-defined]
    lines = [*text.splitlines(), conclusion(explanation), *explanation.notes]
    return "\n".join(line.rstrip() for line in lines)


def tables(explanation: Explanation) -> list[Table]:
    """The derivation, the tape forwards and backwards, and the agreement."""
    derivation = [_derivation(explanation)] if explanation.derivation.lines else []
    return [
        *derivation, _forward(explanation), _backward(explanation.tape), _agreement(explanation)
    ]  # fmt: skip


def conclusion(explanation: Explanation) -> str:
    """The agreement in a sentence."""
    ends = "jax.grad's, bit for bit" if explanation.identical else "jax.grad's but for rounding"
    hand = {
        True: ", and the hand-derived one's up to rounding",
        False: "; the hand-derived one is different",
        None: "",
    }
    return f"the tape's gradient is {ends}{hand[explanation.hand_equal]}"


def _table(title: str, heads: tuple[str, ...], rows: Rows, styles: dict[int, str]) -> Table:
    """A table without lines; the cells are text, whatever is in them."""
    table = Table(
        box=None, pad_edge=False, padding=(0, 2, 0, 0), title=Text(title) if title else None,
        title_justify="left", title_style="bold",
    )  # fmt: skip
    for index, head in enumerate(heads):
        table.add_column(head, style=styles.get(index, ""), overflow="fold")
    for row in rows:
        table.add_row(*map(Text, row))
    return table


def _derivation(explanation: Explanation) -> Table:
    """Number, formula, reason, and what of the tape the line computes."""
    derivation = explanation.derivation
    rows: Rows = [("", as_unicode(derivation.of), "", "")]
    for number, line in enumerate(derivation.lines, 1):
        names = [
            ("∂" if match.cotangent else "") + explanation.tape.name(match.index)
            for match in line.matches
        ]
        more = f" and {len(names) - 3} more" if len(names) > 4 else ""
        matched = ", ".join(names[: 3 if more else 4]) + more
        rows.append((str(number), as_unicode(line.formula), line.reason, matched))
    styles = {0: "dim", 2: "dim", 3: BACKWARD}
    return _table(derivation.title, ("", "", "because", "on the tape"), rows, styles)


def _forward(explanation: Explanation) -> Table:
    """The arguments, then every equation: local derivative, value, line of the file."""
    tape = explanation.tape
    rows: Rows = [
        ("", tape.values[i].name, "", format_array(tape.values[i].array), "") for i in tape.inputs
    ]
    for e in tape.equations:
        value = "; ".join(format_array(tape.values[i].array) for i in e.outputs)
        place = str(e.source) if e.source else ""
        rows.append((str(e.index + 1), tape.formula(e), _jacobians(e), value, place))
    length = f"{tape.length()} forward to {summarise(tape.loss.array, 8).text}"
    title = f"{explanation.name}: {length}, {len(tape.backward)} back"
    heads = ("", "forward", "local derivative", "value", "line")
    return _table(title, heads, rows, {0: "dim", 3: FORWARD, 4: "dim"})


def _jacobians(equation: TapeEquation) -> str:
    """The local derivatives: numbers where the equation is elementwise, else in a word."""
    return "; ".join(
        jacobian.description.split(":")[0]
        if jacobian.entries is None
        else summarise(jacobian.entries).text
        for jacobian in equation.jacobians
        if jacobian is not None
    )


def _backward(tape: Tape) -> Table:
    """Every equation that sends something back: what arrives, and what it sends to whom."""
    rows: Rows = []
    for equation in tape.backward:
        arrived = [tape.values[i].cotangent for i in equation.outputs]
        cotangent = "; ".join(summarise(c).text for c in arrived if c is not None)
        sent = "; ".join(
            f"{tape.values[i].name} ← {summarise(s).text}"
            for i, s in zip(equation.inputs, equation.sent, strict=True)
            if s is not None
        )
        rows.append((str(equation.index + 1), tape.formula(equation), cotangent, sent))
    heads = ("", "backward", "∂ loss/∂ it", "sent")
    return _table("", heads, rows, {0: "dim", 2: BACKWARD, 3: BACKWARD})


def _agreement(explanation: Explanation) -> Table:
    """The gradient by the tape, by hand where there is one, and by jax.grad."""
    hand = explanation.hand_equal is not None
    rows: Rows = []
    for leaf in explanation.leaves:
        cells = [leaf.name, summarise(leaf.tape, 8).text]
        if hand:
            cells.append(f"{summarise(leaf.hand, 8).text} ({format_hand(leaf)})")
        cells.append(f"{summarise(leaf.autodiff, 8).text} ({format_autodiff(leaf)})")
        rows.append(tuple(cells))
    return _table("", agreement_heads(explanation.leaves), rows, {})
