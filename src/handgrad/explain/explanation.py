"""An explanation: the tape, its end beside jax.grad and the hand, the derivation; and as text."""

from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import jax
import numpy as np

from handgrad.explain.derivation_view import DerivationView
from handgrad.explain.latex import as_unicode
from handgrad.explain.summary import as_numpy, format_array, summarise
from handgrad.explain.tape import Tape, TapeEquation
from handgrad.verify.ulp import ulp_error

ROUNDING = 1e-12
"""Of the largest entry, in float64: hand and tape round in different orders, and no more than that.

In a narrower dtype it is 64 of its own epsilons.
"""

# --- the agreement ----------------------------------------------------------------------------


@dataclass(frozen=True)
class GradientLeaf:
    """One leaf of the gradient, three times."""

    name: str
    value: int
    """The tape's value whose cotangent this is."""
    tape: Any
    autodiff: Any
    unfused: Any
    """jax.grad's under `jax.disable_jit`, where nothing is compiled as a whole."""
    hand: Any | None

    @cached_property
    def identical(self) -> bool:
        """The tape's bits are those of jax.grad, signs of zeros included."""
        return _is_identical(self.tape, self.autodiff)

    @cached_property
    def identical_unfused(self) -> bool:
        """Or those of jax.grad under `jax.disable_jit`."""
        return self.identical or _is_identical(self.tape, self.unfused)

    @cached_property
    def autodiff_ulp(self) -> float:
        """Largest difference of tape and jax.grad, in units in the last place."""
        return max_ulp(self.tape, self.autodiff)

    @cached_property
    def hand_ulp(self) -> float | None:
        """The same for the hand and the tape; infinite where their shapes differ."""
        if self.hand is None:
            return None
        same = np.shape(self.hand) == np.shape(self.tape)
        return max_ulp(self.hand, self.tape) if same else float("inf")

    @cached_property
    def hand_equal(self) -> bool | None:
        """Hand and tape differ by rounding at most."""
        if self.hand is None:
            return None
        return np.shape(self.hand) == np.shape(self.tape) and _is_close(self.hand, self.tape)


def compare(
    tape: Tape, gradient: Any, autodiff: Any, hand: Any | None, unfused: Any | None = None
) -> tuple[GradientLeaf, ...]:
    """Every leaf of the gradient beside jax.grad's, and beside the hand-derived one if given.

    `unfused` is jax.grad's under `jax.disable_jit`, if that was needed.
    """
    found, expected = jax.tree.leaves(gradient), jax.tree.leaves(autodiff)
    alone = expected if unfused is None else jax.tree.leaves(unfused)
    derived = jax.tree.leaves(hand) if hand is not None else [None] * len(found)
    if len(derived) != len(found):
        derived = [np.nan] * len(found)
    rows = zip(tape.wanted, found, expected, alone, derived, strict=True)
    return tuple(GradientLeaf(tape.values[i].name, i, *leaves) for i, *leaves in rows)


def _is_identical(left: Any, right: Any) -> bool:
    a, b = np.asarray(left), np.asarray(right)
    return a.dtype == b.dtype and a.shape == b.shape and a.tobytes() == b.tobytes()


def _is_close(a: Any, b: Any) -> bool:
    x, y = _float64(a), _float64(b)
    eps = float(jax.numpy.finfo(b.dtype).eps)
    slack = (ROUNDING if eps < ROUNDING else 64 * eps) * np.abs(y).max(initial=0.0)
    return bool(np.all(np.abs(x - y) <= slack) or np.array_equal(x, y, equal_nan=True))


def max_ulp(a: Any, b: Any) -> float:
    """The largest |a − b| in units in the last place of b; NaN beside NaN is no difference.

    >>> max_ulp(np.array([1.0, 2.0]), np.array([1.0, 2.0 + 2**-51]))
    1.0
    """
    x, y = _float64(a), _float64(b)
    both_nan = np.isnan(x) & np.isnan(y)
    return float(np.where(both_nan, 0.0, ulp_error(x, y, str(b.dtype))).max(initial=0.0))


def _float64(array: Any) -> np.ndarray:
    return np.asarray(as_numpy(array), np.float64)


# --- the value --------------------------------------------------------------------------------


@dataclass(frozen=True)
class Explanation:
    """What autodiff did with a loss; `print` it, or pass it to `as_html` or `as_data`."""

    name: str
    tape: Tape
    gradient: Any
    """What the tape ends in, in the structure of jax.grad's result."""
    leaves: tuple[GradientLeaf, ...]
    derivation: DerivationView = field(default_factory=DerivationView)
    notes: tuple[str, ...] = ()

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


# --- as text ----------------------------------------------------------------------------------

Row = tuple[str, ...]


def as_text(explanation: Explanation) -> str:
    """The derivation, the tape forwards and backwards, and the agreement, in columns."""
    tape, derivation = explanation.tape, explanation.derivation
    parts = [f"{explanation.name}: {headline(tape)}"]
    if derivation.lines:
        parts.append("\n".join([derivation.title, *_columns(derivation_rows(explanation))]))
    forward = [(name, "", value, "") for name, value in argument_rows(tape)]
    parts.append("\n".join(["forward", *_columns(forward + forward_rows(tape))]))
    parts.append("\n".join(["backward", *_columns(backward_rows(tape))]))
    parts.append("\n".join(["agreement", *_columns(agreement_rows(explanation))]))
    return "\n\n".join([*parts, *explanation.notes])


def headline(tape: Tape) -> str:
    """How long the tape is, and where the loss stands."""
    loss = summarise(tape.loss.array, 8).text
    return f"{len(tape.equations)} equations forward to {loss}, {len(tape.backward)} back"


def derivation_rows(explanation: Explanation) -> list[Row]:
    """Number, formula, reason, and what of the tape the line computes."""
    derivation = explanation.derivation
    rows: list[Row] = [("", as_unicode(derivation.of), "", "")]
    for number, line in enumerate(derivation.lines, 1):
        names = [
            ("∂" if match.cotangent else "") + explanation.tape.name(match.index)
            for match in line.matches
        ]
        more = f" and {len(names) - 3} more" if len(names) > 4 else ""
        matched = ", ".join(names[: 3 if more else 4]) + more
        rows.append((str(number), as_unicode(line.formula), line.reason, matched))
    return rows


def argument_rows(tape: Tape) -> list[tuple[str, str]]:
    """The arguments: name, value."""
    return [(tape.values[i].name, format_array(tape.values[i].array)) for i in tape.inputs]


def forward_rows(tape: Tape) -> list[Row]:
    """Every equation: formula, local derivative, value, line of the file."""
    return [
        (
            tape.formula(e),
            format_jacobians(e),
            "; ".join(format_array(tape.values[i].array) for i in e.outputs),
            str(e.source) if e.source else "",
        )
        for e in tape.equations
    ]


def backward_rows(tape: Tape) -> list[Row]:
    """Every equation that sends something back: what arrives, and what it sends to whom."""
    rows: list[Row] = []
    for equation in tape.backward:
        arrived = [tape.values[i].cotangent for i in equation.outputs]
        sent = [
            f"{tape.values[i].name} ← {summarise(s).text}"
            for i, s in zip(equation.inputs, equation.sent, strict=True)
            if s is not None
        ]
        cotangent = "; ".join(summarise(c).text for c in arrived if c is not None)
        rows.append((tape.formula(equation), cotangent, "; ".join(sent)))
    return rows


def agreement_rows(explanation: Explanation) -> list[Row]:
    """The gradient by the tape, by hand where there is one, and by jax.grad."""
    hand = explanation.hand_equal is not None
    rows: list[Row] = [
        ("", "the tape's last cotangent", *(["by hand"] if hand else []), "jax.grad")
    ]
    for leaf in explanation.leaves:
        cells = [summarise(leaf.tape, 8).text]
        if hand:
            cells.append(f"{summarise(leaf.hand, 8).text} ({format_hand(leaf)})")
        cells.append(f"{summarise(leaf.autodiff, 8).text} ({format_autodiff(leaf)})")
        rows.append((leaf.name, *cells))
    return rows


def format_hand(leaf: GradientLeaf) -> str:
    """How the hand's gradient stands to the tape's."""
    if leaf.hand_ulp is None or not leaf.hand_equal:
        return "different"
    return "equal" if leaf.hand_ulp == 0 else f"equal, within {leaf.hand_ulp:.3g} ulp"


def format_autodiff(leaf: GradientLeaf) -> str:
    """How jax.grad's gradient stands to the tape's."""
    if leaf.identical:
        return "the same bits"
    unfused = "; the same bits under jax.disable_jit" if leaf.identical_unfused else ""
    return f"{leaf.autodiff_ulp:.3g} ulp apart{unfused}"


def format_jacobians(equation: TapeEquation) -> str:
    """The local derivatives: numbers where the equation is elementwise, else in a word."""
    return "; ".join(
        jacobian.description.split(":")[0]
        if jacobian.entries is None
        else summarise(jacobian.entries).text
        for jacobian in equation.jacobians
        if jacobian is not None
    )


def _columns(rows: list[Row]) -> list[str]:
    """Rows as lines, every column as wide as its widest cell, indented by two."""
    if not rows:
        return []
    widths = [max(len(row[i]) for row in rows) for i in range(len(rows[0]))]
    return [
        "  " + "  ".join(c.ljust(w) for c, w in zip(row, widths, strict=True)).rstrip()
        for row in rows
    ]
