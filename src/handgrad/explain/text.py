"""An explanation as text: the derivation, the tape forwards and backwards, the agreement."""

from typing import TYPE_CHECKING

from handgrad.explain.summary import summarise
from handgrad.explain.tape import Equation, Tape
from handgrad.explain.written import as_line

if TYPE_CHECKING:
    from handgrad.explain.agreement import Leaf
    from handgrad.explain.explanation import Explanation

Row = tuple[str, ...]


def as_text(explanation: "Explanation") -> str:
    """All of it, in columns; for `print`."""
    tape = explanation.tape
    parts = [f"{explanation.name}: {headline(tape)}"]
    if explanation.lines:
        parts.append("\n".join([explanation.title, *columns(derivation_rows(explanation))]))
    forward = [(name, "", value, "") for name, value in argument_rows(tape)]
    parts.append("\n".join(["forward", *columns(forward + forward_rows(tape))]))
    parts.append("\n".join(["backward", *columns(backward_rows(tape))]))
    parts.append("\n".join(["agreement", *columns(agreement_rows(explanation))]))
    return "\n\n".join([*parts, *explanation.notes])


def headline(tape: Tape) -> str:
    """How long the tape is, and where the loss stands."""
    loss = summarise(tape.loss.array, 8).text
    return f"{len(tape.equations)} equations forward to {loss}, {len(tape.backward)} back"


def derivation_rows(explanation: "Explanation") -> list[Row]:
    """Number, formula, reason, and what of the tape the line works out."""
    rows: list[Row] = [("", as_line(explanation.of), "", "")]
    for number, line in enumerate(explanation.lines, 1):
        names = [
            ("∂" if meeting.cotangent else "") + explanation.tape.name(meeting.index)
            for meeting in line.meets
        ]
        more = f" and {len(names) - 3} more" if len(names) > 4 else ""
        met = ", ".join(names[: 3 if more else 4]) + more
        rows.append((str(number), as_line(line.formula), line.reason, met))
    return rows


def argument_rows(tape: Tape) -> list[tuple[str, str]]:
    """The arguments: name, value."""
    return [(tape.values[i].name, shown(tape.values[i].array)) for i in tape.inputs]


def forward_rows(tape: Tape) -> list[Row]:
    """Every equation: formula, local derivative, value, line of the file."""
    return [
        (
            tape.formula(e),
            slopes(e),
            "; ".join(shown(tape.values[i].array) for i in e.outputs),
            str(e.origin) if e.origin else "",
        )
        for e in tape.equations
    ]


def backward_rows(tape: Tape) -> list[Row]:
    """Every equation that sends something back: what arrives, and what it sends to whom."""
    rows: list[Row] = []
    for equation in tape.backward:
        arrived = [tape.values[i].cotangent for i in equation.outputs]
        came = "; ".join(summarise(c).text for c in arrived if c is not None)
        sent = [
            f"{tape.values[i].name} ← {summarise(s).text}"
            for i, s in zip(equation.inputs, equation.sent, strict=True)
            if s is not None
        ]
        rows.append((tape.formula(equation), came, "; ".join(sent)))
    return rows


def agreement_rows(explanation: "Explanation") -> list[Row]:
    """The gradient by the tape, by hand where there is one, and by jax.grad."""
    hand = explanation.hand_equal is not None
    rows: list[Row] = [
        ("", "the tape's last cotangent", *(["by hand"] if hand else []), "jax.grad")
    ]
    for leaf in explanation.leaves:
        shown_leaf = [summarise(leaf.tape, 8).text]
        if hand:
            shown_leaf.append(f"{summarise(leaf.hand, 8).text} ({by_hand(leaf)})")
        rows.append((leaf.name, *shown_leaf, f"{summarise(leaf.autodiff, 8).text} ({apart(leaf)})"))
    return rows


def by_hand(leaf: "Leaf") -> str:
    """How the hand's gradient stands to the tape's."""
    if leaf.hand_ulp is None or not leaf.hand_equal:
        return "different"
    return "the same bits" if leaf.hand_ulp == 0 else f"equal, within {leaf.hand_ulp:.3g} ulp"


def apart(leaf: "Leaf") -> str:
    """How jax.grad's gradient stands to the tape's."""
    return "the same bits" if leaf.identical else f"{leaf.autodiff_ulp:.3g} ulp apart"


def slopes(equation: Equation) -> str:
    """The local derivatives: numbers where the equation is elementwise, else in a word."""
    said = []
    for slope in equation.slopes:
        if slope is not None:
            brief = slope.said.split(":")[0]
            said.append(brief if slope.entries is None else summarise(slope.entries).text)
    return "; ".join(said)


def shown(array: object) -> str:
    """A value with its dtype and shape, unless it is one number."""
    summary = summarise(array)
    return f"{summary.kind} {summary.text}" if summary.shape else summary.text


def columns(rows: list[Row]) -> list[str]:
    """Rows as lines, every column as wide as its widest cell, indented by two."""
    if not rows:
        return []
    widths = [max(len(row[i]) for row in rows) for i in range(len(rows[0]))]
    return [
        "  " + "  ".join(c.ljust(w) for c, w in zip(row, widths, strict=True)).rstrip()
        for row in rows
    ]
