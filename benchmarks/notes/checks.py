"""How a claim is looked into: figures, formulas, words and trends, gradients and code.

Every function here returns a check, `claimed -> Finding`. Figures and formulas are evaluated over
balls, at decimals that are themselves enclosed; a gradient goes before the judge, code is run.
"""

import math
from collections.abc import Callable, Sequence
from decimal import Decimal
from itertools import pairwise
from typing import Any

import jax
import numpy as np
from flint import arb, ctx

from benchmarks.notes.records import Finding
from handgrad._types import Array
from handgrad.exact import evaluate
from handgrad.verify import verify
from handgrad.verify.mathematics import agreed_digits
from handgrad.verify.verdict import Verdict, fault_of

DIGITS = 60
"""To which a formula must agree."""
INPUT_BITS = 500
Check = Callable[[Any], Finding]


def decimals(text: str) -> np.ndarray:
    """Decimal numbers as balls: 0.1 is a tenth here, which no float is.

    >>> [str(ball.overlaps(arb(1) / 10)) for ball in decimals("0.1")]
    ['True']
    """
    with ctx.workprec(INPUT_BITS):
        return np.array([arb(word) for word in text.split()], dtype=object)


def decimal(text: str) -> np.ndarray:
    """One decimal number as a ball, of no dimensions."""
    return decimals(text).reshape(())


def balls(f: Callable, *args: Any) -> list[arb]:
    """The values of f over balls, flat; the constants among its arguments are exact."""
    leaves = jax.tree.leaves(evaluate(f, *args, digits=DIGITS + 20))
    return [ball for leaf in leaves for ball in np.ravel(np.asarray(leaf, dtype=object))]


def shown(ball: Any) -> str:
    """A value in seven digits.

    >>> shown(arb("0.25")), shown(arb(10) ** -400), shown(arb.neg_inf())
    ('0.25', '1e-400', '−∞')
    """
    if not isinstance(ball, arb):
        return f"{float(ball):.7g}"
    if not ball.is_finite():
        return "NaN" if ball.is_nan() else "∞" if ball > 0 else "−∞"
    mantissa, mark, exponent = ball.str(7, radius=False).partition("e")
    return (mantissa.rstrip("0").rstrip(".") if "." in mantissa else mantissa) + mark + exponent


def count(number: int, thing: str) -> str:
    """'1 value', '2 values'."""
    return f"{number:,} {thing}{'' if number == 1 else 's'}"


# --- figures and formulas -------------------------------------------------------------------------


def figures(f: Callable, *args: Any) -> Check:
    """The printed figures, as strings: each within half a unit of its last place of f's value."""

    def compare(claimed: Sequence[str]) -> Finding:
        values = balls(f, *args)
        return Finding(
            len(values) == len(claimed)
            and all(rounds_to(v, figure) for v, figure in zip(values, claimed, strict=True)),
            ", ".join(map(shown, values)),
        )

    return compare


def rounds_to(value: arb, figure: str) -> bool:
    """Whether a real number, rounded to the places of a printed figure, is that figure.

    >>> rounds_to(arb(2) / 3, "0.67"), rounds_to(arb(2) / 3, "0.66")
    (True, False)
    """
    exponent = Decimal(figure).as_tuple().exponent
    with ctx.workprec(INPUT_BITS):
        half = arb(10) ** int(exponent) / 2
        return bool(abs(value - arb(figure)) <= half)


def formula(reference: Callable, *points: tuple) -> Check:
    """The claimed function against the reference, over balls at every point, to 60 digits."""

    def compare(claimed: Callable) -> Finding:
        least, compared = math.inf, 0
        for point in points:
            true, said = balls(reference, *point), balls(claimed, *point)
            if len(true) != len(said):
                return Finding(False, f"{len(said)} numbers where {len(true)} are right")
            for s, t in zip(said, true, strict=True):
                digits, compared = agreed_digits(s, t), compared + 1
                if digits < DIGITS:
                    return Finding(False, f"{shown(s)} where {shown(t)} is right")
                least = min(least, digits)
        return Finding(compared > 0, f"equal to {DIGITS} digits, {count(compared, 'value')}")

    return compare


def proportional(reference: Callable, *points: tuple) -> Check:
    """The claimed function against the reference, up to one factor for all points."""

    def compare(claimed: Callable) -> Finding:
        ratios = [balls(lambda *a: reference(*a) / claimed(*a), *point)[0] for point in points]
        same = all(agreed_digits(ratio, ratios[0]) >= DIGITS for ratio in ratios[1:])
        if same:
            return Finding(
                True, f"their quotient is {shown(ratios[0])} at all {len(points)} points"
            )
        return Finding(
            False, f"their quotient goes from {shown(min(ratios))} to {shown(max(ratios))}"
        )

    return compare


def exactly(reference: Callable, *cases: tuple) -> Check:
    """The claimed function against the reference in Python's own arithmetic: equal, case by case.

    An exception that the claimed function raises is what was found.
    """

    def compare(claimed: Callable) -> Finding:
        for case in cases:
            true = reference(*case)
            try:
                said = claimed(*case)
            except Exception as error:
                return Finding(False, f"{type(error).__name__}: {error}")
            if said != true:
                return Finding(False, f"{said} where {true} is right")
        return Finding(len(cases) > 0, f"equal in {count(len(cases), 'case')}")

    return compare


def measured(f: Callable[[], tuple[Any, str]]) -> Check:
    """A claimed value (a word, numbers) against the value that f measures and puts in words."""

    def compare(claimed: Any) -> Finding:
        value, words = f()
        return Finding(bool(value == claimed), words)

    return compare


# --- trends ---------------------------------------------------------------------------------------


def direction(values: Sequence[Any]) -> str:
    """'rises', 'falls', 'stays' or 'turns', as balls or numbers in a row surely do.

    >>> direction([1, 2, 3]), direction([1, 3, 2]), direction([1, 1])
    ('rises', 'turns', 'stays')
    """
    pairs = list(pairwise(values))
    for word, holds in (("rises", lambda a, b: a < b), ("falls", lambda a, b: a > b),
                        ("stays", lambda a, b: a == b)):  # fmt: skip
        if pairs and all(bool(holds(a, b)) for a, b in pairs):
            return word
    return "turns"


def along(f: Callable, inputs: np.ndarray) -> list[arb]:
    """f at each of the inputs, over balls."""
    return [balls(f, point)[0] for point in inputs]


def trend(f: Callable, inputs: np.ndarray) -> Check:
    """Which way f goes along the inputs."""

    def look() -> tuple[str, str]:
        values = along(f, inputs)
        word = direction(values)
        return word, f"{word}: {shown(values[0])} … {shown(values[-1])}, {len(values)} points"

    return measured(look)


# --- gradients and code ---------------------------------------------------------------------------


def gradient(loss: Callable[..., Array], at: tuple, argnums: int | tuple[int, ...] = 0) -> Check:
    """The claimed gradient before the judge, as mathematics: exact arithmetic, 60 digits."""

    def compare(claimed: Callable) -> Finding:
        verdict = verify(
            claimed, of=loss, at=at, argnums=argnums, dtypes=("float32",), evaluations=0
        )
        right = verdict.hand in ("identical", "valid subgradient")
        return Finding(right, in_a_line(verdict), verdict)

    return compare


def floats(loss: Callable[..., Array], at: tuple, dtype: str = "float32") -> Check:
    """The claimed gradient before the judge, as it is computed in `dtype` at this point."""

    def compare(claimed: Callable) -> Finding:
        verdict = verify(claimed, of=loss, at=at, dtypes=(dtype,), evaluations=0)
        return Finding(verdict.ok, in_a_line(verdict), verdict)

    return compare


def in_a_line(verdict: Verdict) -> str:
    """A verdict as evidence: the mathematics, then the cause, or the floats."""
    if verdict.hand == "different":
        return f"judge: different: {verdict.cause}"
    faults = [fault for row in verdict.numerics if row.hand_bad and (fault := fault_of(row))]
    if faults:
        return f"judge: {verdict.hand} as algebra; {faults[0]}"
    (row,) = verdict.numerics
    how = f"identical to {verdict.digits} digits" if verdict.hand == "identical" else verdict.hand
    return f"judge: {how}, {count(verdict.compared, 'coordinate')}; {row.hand_ulp:.1f} ulp in {row.dtype}"


def code(true: Sequence[str], *args: Any) -> Check:
    """The claimed source of a function `f`, run on `args`: its values rounded as those of `true`.

    What it raises, when it is compiled or when it runs, is what was found.
    """

    def compare(claimed: str) -> Finding:
        space: dict[str, Any] = {"np": np}
        try:
            exec(compile(claimed, "<note>", "exec"), space)
            with np.errstate(all="ignore"):
                values = np.ravel(space["f"](*args))
        except SyntaxError as error:
            return Finding(False, f"{type(error).__name__}: {error.msg}".split(" on line")[0])
        except Exception as error:
            return Finding(False, f"{type(error).__name__}: {error}".split(". ")[0])
        right = len(values) == len(true) and all(
            math.isfinite(v) and rounds_to(arb(float(v)), t)
            for v, t in zip(values, true, strict=True)
        )
        return Finding(right, f"it returns {', '.join(map(shown, values)) or 'nothing'}")

    return compare
