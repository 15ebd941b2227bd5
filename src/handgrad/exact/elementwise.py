"""Rules of the elementary functions, one ball at a time.

Infinities behave as in the limit (log 0 = −∞, exp(−∞) = 0, 1/0 = ∞); what has no limit (0/0,
∞ − ∞, the logarithm of a negative number) is NaN, a ball that contains everything.
"""

import operator
from collections.abc import Callable
from typing import Any

import numpy as np
from flint import arb

from handgrad.exact import balls
from handgrad.exact.balls import (
    NEG_INF,
    ONE,
    POS_INF,
    ZERO,
    as_balls,
    boxed,
    finite_entries,
    settling,
    zero_entries,
)

Rule = Callable[..., Any]
TWO = arb(2)
FEW = 16
"""Entries up to which one call of Python for each is quicker than masks."""


def elementwise(
    function: Callable[..., arb],
    operands: int = 1,
    nan_is_final: bool = True,
    outside: Callable[..., bool] | None = None,
    *,
    plain: Callable[..., Any] | None = None,
    special: Callable[..., np.ndarray] | None = None,
) -> Rule:
    """A rule that applies `function` to balls, entry by entry; parameters are ignored.

    `plain` does the same to whole arrays at once, but for the entries that `special` marks, and
    those without a finite result: these go through `function`. What repeats one entry all over is
    computed once.
    """
    careful = settling(function, nan_is_final, outside)
    one_by_one = np.frompyfunc(careful, operands, 1)
    at_once = plain or np.frompyfunc(function, operands, 1)

    def rule(*arrays: Any, **params: Any) -> np.ndarray:
        arrays = tuple(as_balls(array) for array in arrays)
        if all(array.size <= FEW for array in arrays):
            return boxed(one_by_one(*arrays))
        if all(map(_repeats_one_entry, arrays)):
            shape = np.broadcast_shapes(*(array.shape for array in arrays))
            once = one_by_one(*(array[(0,) * array.ndim] for array in arrays))
            return np.broadcast_to(boxed(once), shape)
        result = at_once(*arrays)
        again = ~finite_entries(result)
        if special is not None:
            again |= special(*arrays)
        if again.any():
            chosen = [np.broadcast_to(array, result.shape)[again] for array in arrays]
            result[again] = one_by_one(*chosen)
        return result

    return rule


def _repeats_one_entry(array: np.ndarray) -> bool:
    return array.size > 0 and not any(array.strides)


_same_entries = np.frompyfunc(operator.is_, 2, 1)


def _either_zero(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    return zero_entries(a) | zero_entries(b)


def _same_or_zero(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """Where two operands are one number, or the second is 0."""
    return np.asarray(_same_entries(a, b), dtype=bool) | zero_entries(b)


def predicate(
    function: Callable[..., bool],
    operands: int = 2,
    yes: Callable[..., bool] | None = None,
    no: Callable[..., bool] | None = None,
) -> Rule:
    """A rule that asks a question of each entry and returns booleans.

    `yes` and `no` are quick tests that prove either answer; the other entries go through
    `function`.
    """
    ufunc = np.frompyfunc(function, operands, 1)
    proofs = [np.frompyfunc(test, operands, 1) for test in (yes, no) if test is not None]

    def rule(*arrays: Any, **params: Any) -> np.ndarray:
        arrays = tuple(as_balls(array) for array in arrays)
        if not proofs or all(array.size <= FEW for array in arrays):
            return np.asarray(ufunc(*arrays), dtype=bool)
        answers = [np.asarray(proof(*arrays), dtype=bool) for proof in proofs]
        open_ones = ~np.logical_or.reduce(answers)
        if open_ones.any():
            chosen = [np.broadcast_to(array, open_ones.shape)[open_ones] for array in arrays]
            answers[0][open_ones] = np.asarray(ufunc(*chosen), dtype=bool)
        return answers[0]

    return rule


def add(a: arb, b: arb) -> arb:
    """a + b; adding exactly 0 keeps the object, and with it the proof of equality."""
    if b.is_zero():
        return a
    return b if a.is_zero() else a + b


def subtract(a: arb, b: arb) -> arb:
    """a − b; exactly 0 for one and the same number."""
    if a is b and a.is_finite():
        return ZERO
    return a if b.is_zero() else a - b


def multiply(a: arb, b: arb) -> arb:
    """a · b."""
    return a * b


def divide(a: arb, b: arb) -> arb:
    """a / b; exactly 1 for one and the same number that is not 0.

    A zero is +0 here, as real numbers know no other: a / 0 is the infinity with the sign of a.
    """
    if a is b and a.is_finite() and not a.contains(0):
        return ONE
    if b.is_zero() and (a > 0 or a < 0):
        return POS_INF if a > 0 else NEG_INF
    return a / b


def remainder(a: arb, b: arb) -> arb:
    """a − b · truncate(a/b): the sign is that of a."""
    return a - b * balls.truncate(a / b)


def square(x: arb) -> arb:
    """x², never below 0."""
    return balls.power(x, TWO)


def integer_pow(x: Any, *, y: int, **params: Any) -> np.ndarray:
    """x**y for a constant integer y."""
    return _power(x, boxed(arb(int(y))))


def power(x: arb, y: arb) -> arb:
    """x**y for x > 0, or an integer y."""
    if x == POS_INF and y.is_finite() and y < 0:
        return ZERO
    if x.is_zero() and y < 0:
        return POS_INF
    if y in (POS_INF, NEG_INF):
        return exponential(multiply(y, logarithm(x)))
    return balls.power(x, y)


def exponential(x: arb) -> arb:
    """exp(x)."""
    return x.exp()


def exp2(x: arb) -> arb:
    """2**x."""
    return x.exp() if balls.is_infinite(x) else arb(2) ** x


def logarithm(x: arb) -> arb:
    """log(x), −∞ at exactly 0."""
    return NEG_INF if x.is_zero() else x.log()


def log1p(x: arb) -> arb:
    """log(1 + x), −∞ at exactly −1."""
    return NEG_INF if x == -1 else x.log1p()


def logistic(x: arb) -> arb:
    """1 / (1 + exp(−x))."""
    return 1 / (1 + (-x).exp())


def log2(x: arb) -> arb:
    """log(x) / log 2."""
    return logarithm(x) / arb(2).log()


def one_minus_square(x: arb) -> arb:
    """1 − x², without its cancellation near ±1."""
    return (1 - x) * (1 + x)


def polynomial(x: Any, *coefficients: Any, **params: Any) -> np.ndarray:
    """Σ cₖ xᵏ, by Horner's scheme."""
    value = as_balls(coefficients[-1])
    for coefficient in reversed(coefficients[:-1]):
        value = _add(_multiply(value, x), coefficient)
    return value


def rsqrt(x: arb) -> arb:
    """1/√x, +∞ at exactly 0."""
    return POS_INF if x.is_zero() else x.rsqrt()


def cbrt(x: arb) -> arb:
    """The real cube root."""
    if x.is_zero():
        return ZERO
    return x.root(3) if balls.greater(x, ZERO) else -(-x).root(3)


def arctanh(x: arb) -> arb:
    """artanh(x), ±∞ at exactly ±1."""
    if x == 1 or x == -1:
        return POS_INF if x > 0 else NEG_INF
    return x.atanh()


def absolute(x: arb) -> arb:
    """|x|; a number known to be positive stays the same object."""
    return x if x >= 0 else abs(x)


def negate(x: arb) -> arb:
    """−x."""
    return -x


def round_to_integer(x: Any, *, rounding_method: Any, **params: Any) -> np.ndarray:
    """The nearest integer, with JAX's two conventions for halves."""
    away = getattr(rounding_method, "value", rounding_method) == 0
    function = balls.round_half_away if away else balls.round_half_even
    return boxed(np.frompyfunc(function, 1, 1)(as_balls(x)))


# Where functions have no real value, for sure.


def _negative(x: arb) -> bool:
    return bool(x < 0)


def _below_one(x: arb) -> bool:
    return bool(x < 1)


def _beyond_one(x: arb) -> bool:
    return bool(abs(x) > 1)


def _root_of_negative(x: arb, y: arb) -> bool:
    return bool(x < 0) and not y.contains_integer()


def _extreme(better: Callable[[Any, Any], bool], function: Callable[[arb, arb], arb]) -> Rule:
    """`function`, the larger or the smaller of two, of whole arrays: mostly one is surely it."""
    is_better, one_by_one = np.frompyfunc(better, 2, 1), np.frompyfunc(function, 2, 1)

    def chosen(a: np.ndarray, b: np.ndarray) -> np.ndarray:
        a, b = np.broadcast_arrays(a, b)
        first, second = (np.asarray(is_better(*pair), dtype=bool) for pair in ((a, b), (b, a)))
        result = np.where(first, a, b)
        open_ones = ~(first | second)
        result[open_ones] = one_by_one(a[open_ones], b[open_ones])
        return result

    return chosen


def _magnitudes(x: np.ndarray) -> np.ndarray:
    """`absolute` of a whole array."""
    result = x.copy()
    others = ~np.asarray(_at_least(x, ZERO), dtype=bool)
    result[others] = np.abs(x[others])
    return result


_at_least = np.frompyfunc(operator.ge, 2, 1)
_log, _log1p, _rsqrt = (np.frompyfunc(f, 1, 1) for f in (arb.log, arb.log1p, arb.rsqrt))

_add = elementwise(add, 2, plain=np.add, special=_either_zero)
_multiply = elementwise(multiply, 2, plain=np.multiply)
_power = elementwise(power, 2, outside=_root_of_negative, plain=np.power)

RULES: dict[str, Rule] = {
    "abs": elementwise(absolute, plain=_magnitudes),
    "acos": elementwise(arb.acos, outside=_beyond_one),
    "acosh": elementwise(arb.acosh, outside=_below_one),
    "add": _add,
    "add_any": _add,
    "asin": elementwise(arb.asin, outside=_beyond_one),
    "asinh": elementwise(arb.asinh),
    "atan": elementwise(arb.atan),
    "atan2": elementwise(arb.atan2, 2),
    "atanh": elementwise(arctanh, outside=_beyond_one),
    "cbrt": elementwise(cbrt),
    "ceil": elementwise(balls.ceil),
    "clamp": elementwise(balls.clamp, 3),
    "cos": elementwise(arb.cos),
    "cosh": elementwise(arb.cosh),
    "div": elementwise(divide, 2, plain=np.true_divide, special=_same_or_zero),
    "eq": predicate(balls.equal, yes=operator.eq, no=operator.ne),
    "eq_to": predicate(balls.equal),
    "exp": elementwise(arb.exp),
    "exp2": elementwise(exp2),
    "expm1": elementwise(arb.expm1),
    "floor": elementwise(balls.floor),
    "ge": predicate(balls.greater_equal, yes=operator.ge, no=operator.lt),
    "gt": predicate(balls.greater, yes=operator.gt, no=operator.le),
    "integer_pow": integer_pow,
    "is_finite": predicate(balls.is_finite, 1, yes=arb.is_finite),
    "le": predicate(balls.less_equal, yes=operator.le, no=operator.gt),
    "le_to": predicate(balls.less_equal),
    "log": elementwise(logarithm, outside=_negative, plain=_log),
    "log1p": elementwise(log1p, outside=lambda x: x < -1, plain=_log1p),
    "log2": elementwise(log2, outside=_negative),
    "logistic": elementwise(logistic),
    "lt": predicate(balls.less, yes=operator.lt, no=operator.ge),
    "lt_to": predicate(balls.less),
    "max": elementwise(balls.maximum, 2, plain=_extreme(operator.ge, balls.maximum)),
    "min": elementwise(balls.minimum, 2, plain=_extreme(operator.le, balls.minimum)),
    "mul": _multiply,
    "ne": predicate(balls.not_equal, yes=operator.ne, no=operator.eq),
    "neg": elementwise(negate, plain=np.negative),
    "one_minus_square": elementwise(one_minus_square),
    "polynomial": polynomial,
    "pow": _power,
    "rem": elementwise(remainder, 2),
    "round": round_to_integer,
    "rsqrt": elementwise(rsqrt, outside=_negative, plain=_rsqrt),
    "sign": elementwise(balls.sign),
    "sin": elementwise(arb.sin),
    "sinh": elementwise(arb.sinh),
    "sqrt": elementwise(arb.sqrt, outside=_negative),
    "square": elementwise(square),
    "sub": elementwise(subtract, 2, plain=np.subtract, special=_same_or_zero),
    "tan": elementwise(arb.tan),
    "tanh": elementwise(arb.tanh),
}
