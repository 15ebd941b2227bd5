"""Balls: a real number as midpoint and radius, arrays of them, and how two compare.

A ball (`flint.arb`) always contains the real number it stands for. One Python object stands for
one real number, wherever data movement has copied it to: `x is y` therefore proves `x = y`, and
`x - x` is exactly 0 however wide the ball. Nothing here may hand out one inexact object for two
numbers.

NaN comes in two kinds. The one object `NAN` is settled: an operation has no value at exactly known
operands (0/0, ∞ − ∞), and no precision will change that; it compares as IEEE's NaN does. Any other
NaN ball says that nothing is known yet, and may become a number at a higher precision.

A comparison is answered only when every pair of reals inside gives the same answer. All rules
that choose (max, sign, floor, sort) are built on these: a question that the balls leave open
raises `Undecided`, and the evaluation starts again at a higher precision.
"""

import functools
import math
from collections.abc import Callable, Sequence
from typing import Any

import jax.numpy as jnp
import numpy as np
from flint import acb, arb

from handgrad.errors import Undecided

ZERO, ONE = arb(0), arb(1)
POS_INF, NEG_INF, NAN = arb.pos_inf(), arb.neg_inf(), arb.nan()

# Below this nothing is a float64 any more, not even a subnormal one.
TINIEST_EXPONENT = -1074


@functools.cache
def kind(dtype: Any) -> str:
    """What a dtype holds: "real", "discrete" (integers, booleans, random keys) or "complex".

    >>> kind(np.dtype("int32")), kind(jnp.bfloat16.dtype)
    ('discrete', 'real')
    """
    if jnp.issubdtype(dtype, np.floating):
        return "real"
    return "complex" if jnp.issubdtype(dtype, np.complexfloating) else "discrete"


def boxed(value: Any) -> np.ndarray:
    """An object array of balls from a ball or an array of them (NumPy unpacks 0-d results)."""
    return value if isinstance(value, np.ndarray) else np.asarray(value, dtype=object)


def as_row(entries: Sequence[Any]) -> np.ndarray:
    """An object array (N,) of the entries as they are."""
    result = np.empty(len(entries), dtype=object)
    result[:] = entries
    return result


def exact_ball(number: Any) -> arb:
    """The ball of radius 0 at a float, an integer or a boolean."""
    if not isinstance(number, float | np.floating):
        return arb(int(number))
    return NAN if np.isnan(number) else arb(float(number))


def settling(
    function: Callable[..., arb],
    nan_is_final: bool = True,
    outside: Callable[..., bool] | None = None,
) -> Callable[..., arb]:
    """A function of balls that returns the settled `NAN` where no precision will help.

    That is where an operand is settled already, where all are exactly known, and where
    `outside(*operands)` says that they surely lie outside the domain. Exact operands settle only if
    `nan_is_final`, since a special function may fail at one precision and not at the next.
    """

    def careful(*balls: arb) -> arb:
        result = function(*balls)
        if result.is_finite() or isinstance(result, acb) or not result.is_nan():
            return result
        if any(ball is NAN for ball in balls) or (nan_is_final and all(map(is_exact, balls))):
            return NAN
        return NAN if outside is not None and outside(*balls) else result

    return careful


def entries_that(test: Callable[[arb], bool]) -> Callable[[np.ndarray], np.ndarray]:
    """Of an array of balls, real or complex, a mask of those that pass a test of `arb`."""
    real = np.frompyfunc(test, 1, 1)
    either = np.frompyfunc(lambda ball: getattr(ball, test.__name__)(), 1, 1)

    def mask(array: np.ndarray) -> np.ndarray:
        try:
            return np.asarray(real(array), dtype=bool)
        except TypeError:  # complex balls
            return np.asarray(either(array), dtype=bool)

    return mask


finite_entries, zero_entries = entries_that(arb.is_finite), entries_that(arb.is_zero)


def _exact_balls(array: np.ndarray) -> np.ndarray:
    """Real numbers, integers or booleans as balls of radius 0."""
    if array.dtype == bool:
        return np.array([ZERO, ONE], dtype=object)[array.astype(np.intp)]
    result = as_row([arb(number) for number in array.ravel().tolist()]).reshape(array.shape)
    if array.dtype.kind == "f":
        result[np.isnan(array)] = NAN
    return result


_complex_balls = np.frompyfunc(acb, 2, 1)


def as_balls(array: Any) -> np.ndarray:
    """An array of numbers as exact balls, complex ones as `flint.acb`; balls pass through.

    >>> as_balls(np.float32([0.5, 2.0]))
    array([0.500000000000000, 2.00000000000000], dtype=object)
    """
    array = np.asarray(array)
    if array.dtype == object:
        return array
    if kind(array.dtype) == "complex":
        return boxed(_complex_balls(_exact_balls(array.real), _exact_balls(array.imag)))
    if kind(array.dtype) == "real":
        array = array.astype(np.float64)  # bfloat16 and float16 fit, bit for bit
    return boxed(_exact_balls(array))


def ulp_ball(number: float, dtype: Any, ulps: float = 1.0) -> arb:
    """All reals within `ulps` ulp of a float of `dtype`; 0 and infinities stay exact.

    Half an ulp is what rounding once may cost.

    >>> ulp_ball(1.0, np.float32, 0.5).rad().str(3, radius=False)
    '5.96e-8'
    """
    if number == 0 or not math.isfinite(number):
        return exact_ball(float(number))
    info = jnp.finfo(dtype)
    exponent = max(math.frexp(number)[1] - 1, int(info.minexp)) - int(info.nmant)
    return arb(number, arb(ulps) * arb((1, exponent)))


def looks_rounded(number: float, mantissa_bits: int) -> bool:
    """Whether a constant fills its mantissa, as √2 or 0.1 does and 3, 0.375 or 1e5 does not.

    Integers are exact, and so is anything that needs at most half of the mantissa.

    >>> [looks_rounded(x, 53) for x in (0.1, 2**0.5, 0.375, 100003.0)]
    [True, True, False, False]
    """
    if not math.isfinite(number) or number == int(number):
        return False
    numerator = abs(number.as_integer_ratio()[0])  # odd, for a number that is no integer
    return numerator.bit_length() > mantissa_bits // 2


def rounded_constant(array: Any) -> np.ndarray:
    """A constant of a trace as balls: those that look rounded get one ulp of radius.

    Half an ulp would do for a constant rounded once; but log(2π)/2 and √(2/π) are themselves
    computed in floating point, and were seen off by more than that.
    """
    array = np.asarray(array)
    if array.dtype == object:
        return array
    if kind(array.dtype) == "complex":
        parts = (rounded_constant(np.ascontiguousarray(p)) for p in (array.real, array.imag))
        return boxed(_complex_balls(*parts))
    mantissa_bits = int(jnp.finfo(array.dtype).nmant) + 1

    def ball(number: float) -> arb:
        number = float(number)
        rounded = looks_rounded(number, mantissa_bits)
        return ulp_ball(number, array.dtype) if rounded else exact_ball(number)

    return boxed(np.frompyfunc(ball, 1, 1)(array.astype(np.float64)))


def parts(ball: arb | acb) -> tuple[arb, ...]:
    """A real ball, or the two of a complex one."""
    return (ball.real, ball.imag) if isinstance(ball, acb) else (ball,)


def is_accurate(ball: arb, bits: int) -> bool:
    """Whether a ball pins its number to `bits` bits, or to 0 as finely as any float64 could see."""
    if ball is NAN or ball.rel_accuracy_bits() >= bits:
        return True
    if ball.is_nan() or not ball.contains(0):
        return False
    return bool(abs(ball) < arb((1, TINIEST_EXPONENT - bits)))


def are_accurate(balls: list[arb], bits: int) -> bool:
    """Whether each ball is accurate."""
    if not balls or min(map(arb.rel_accuracy_bits, balls)) >= bits:
        return True
    return all(is_accurate(ball, bits) for ball in balls)


def is_exact(ball: arb) -> bool:
    """Whether a ball is one number, or one infinity, with radius 0."""
    return bool(ball.is_exact()) and not ball.is_nan()


# --- comparisons ------------------------------------------------------------------------------


def short(ball: arb) -> str:
    """A ball in a few digits, for messages."""
    if is_infinite(ball):
        return "+inf" if ball > 0 else "-inf"
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


def power(x: arb, y: arb) -> arb:
    """x**y for x > 0, or an integer y.

    python-flint gives NaN for a natural power of a ball around exactly 0, such as a difference of
    two equal numbers of which neither is exact. An even power of it is a ball from 0 up.
    """
    result = x**y
    if result.is_finite() or not (x.is_finite() and y.is_integer() and y > 0):
        return result
    largest = x.abs_upper() ** y
    return arb(largest / 2, largest / 2) if (y / 2).is_integer() else arb(0, largest)


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


def whole_number(x: arb) -> int:
    """The integer that x becomes towards 0."""
    whole = truncate(x).unique_fmpz()
    if whole is None:
        raise Undecided(f"{short(x)} is no integer")
    return int(whole)
