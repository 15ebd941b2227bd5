"""An explanation: the tape, its end beside jax.grad and the hand, the derivation; and as text."""

import io
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import jax
import numpy as np
from rich.console import Console
from rich.table import Table
from rich.text import Text

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
    length = f"{len(tape.equations)} equations forward to {summarise(tape.loss.array, 8).text}"
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
    return _table("", agreement_heads(explanation), rows, {})


def agreement_heads(explanation: Explanation) -> tuple[str, ...]:
    """The columns of the agreement."""
    by_hand = () if explanation.hand_equal is None else ("by hand",)
    return ("", "the tape's last cotangent", *by_hand, "jax.grad")


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
