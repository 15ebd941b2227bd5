"""Comparisons of balls, answered only when every pair of reals inside gives the same answer.

All other rules that choose (max, sign, floor, sort) are built on these. A question that the
balls leave open raises `Undecided`, and the evaluation starts again at a higher precision.
"""

from flint import arb

from handgrad.errors import Undecided
from handgrad.exact.balls import NAN, NEG_INF, ONE, POS_INF, ZERO


def short(ball: arb) -> str:
    """A ball in a few digits, for messages."""
    return str(ball.str(6))


def less(a: arb, b: arb) -> bool:
    """Whether a < b."""
    if a < b:
        return True
    if a >= b or (a is b and not a.is_nan()) or a is NAN or b is NAN:
        return False
    raise Undecided(f"cannot order {short(a)} and {short(b)}")


def less_equal(a: arb, b: arb) -> bool:
    """Whether a ≤ b."""
    return not (a is NAN or b is NAN or less(b, a))


def greater(a: arb, b: arb) -> bool:
    """Whether a > b."""
    return less(b, a)


def greater_equal(a: arb, b: arb) -> bool:
    """Whether a ≥ b."""
    return not (a is NAN or b is NAN or less(a, b))


def equal(a: arb, b: arb) -> bool:
    """Whether a = b; only exact balls, or the same object twice, can be proved equal."""
    if a == b or (a is b and not a.is_nan()):
        return True
    if a != b or a is NAN or b is NAN:
        return False
    raise Undecided(f"cannot tell {short(a)} from {short(b)}")


def not_equal(a: arb, b: arb) -> bool:
    """Whether a ≠ b."""
    return not equal(a, b)


def maximum(a: arb, b: arb) -> arb:
    """The larger of two; the very object where that is known, else a ball around both maxima."""
    if a >= b:
        return a
    if b >= a:
        return b
    return a if a is b else a.max(b)


def minimum(a: arb, b: arb) -> arb:
    """The smaller of two, as `maximum`."""
    if a <= b:
        return a
    if b <= a:
        return b
    return a if a is b else a.min(b)


def clamp(low: arb, x: arb, high: arb) -> arb:
    """x held between low and high."""
    return minimum(maximum(x, low), high)


def sign(x: arb) -> arb:
    """−1, 0 or 1."""
    if x > 0:
        return ONE
    if x < 0:
        return -ONE
    if x.is_zero():
        return ZERO
    if x is NAN:
        return NAN
    raise Undecided(f"the sign of {short(x)} is open")


def is_infinite(x: arb) -> bool:
    """Whether a ball is exactly +∞ or −∞."""
    return x in (POS_INF, NEG_INF)


def is_finite(x: arb) -> bool:
    """Whether a ball is a real number."""
    if x.is_finite():
        return True
    if is_infinite(x) or x is NAN:
        return False
    raise Undecided(f"{short(x)} may be finite or not")


def floor(x: arb) -> arb:
    """The largest integer up to x."""
    if is_infinite(x) or x is NAN:
        return x
    below = x.floor()
    if below.is_exact() and not below.is_nan():
        return below
    raise Undecided(f"the floor of {short(x)} is open")


def ceil(x: arb) -> arb:
    """The smallest integer from x."""
    return -floor(-x)


def truncate(x: arb) -> arb:
    """x without its fraction, towards 0."""
    if x is NAN:
        return x
    if x.is_finite() and x < 1 and x > -1:
        return ZERO  # no need to know the sign
    return floor(x) if greater(x, ZERO) else ceil(x)


def round_half_even(x: arb) -> arb:
    """The nearest integer; halves go to the even one."""
    if is_infinite(x) or x is NAN:
        return x
    nearest = floor(x + 0.5)
    if nearest == x + 0.5 and not (nearest / 2).is_integer():
        return nearest - 1
    return nearest


def round_half_away(x: arb) -> arb:
    """The nearest integer; halves go away from 0."""
    return floor(x + 0.5) if greater_equal(x, ZERO) else ceil(x - 0.5)


def as_integer(x: arb) -> int:
    """The integer that a conversion to an integer dtype gives: x towards 0."""
    whole = truncate(x).unique_fmpz()
    if whole is None:
        raise Undecided(f"{short(x)} is no integer")
    return int(whole)
