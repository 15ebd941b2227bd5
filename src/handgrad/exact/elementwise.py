"""Rules of the elementary functions and of dtypes, one entry at a time.

Infinities behave as in the limit (log 0 = −∞, exp(−∞) = 0, 1/0 = ∞); what has no limit (0/0,
∞ − ∞, the logarithm of a negative number) is NaN, a ball that contains everything.

Real numbers have no dtype, so floats stay floats. Equations of integers, booleans and random keys
(indices, masks, counters) run as they are: NumPy does the frequent ones, because XLA would compile
each for every shape; the rest, random bits among them, are bound to JAX itself.
"""

import operator
from collections.abc import Callable
from typing import Any

import jax.numpy as jnp
import numpy as np
from flint import arb

from handgrad.errors import Undecided
from handgrad.exact import balls
from handgrad.exact.balls import (
    NAN,
    NEG_INF,
    ONE,
    POS_INF,
    ZERO,
    as_balls,
    boxed,
    finite_entries,
    kind,
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
        return (y * logarithm(x)).exp()
    return balls.power(x, y)


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


def round_to_integer(x: Any, *, rounding_method: Any, **params: Any) -> np.ndarray:
    """The nearest integer, with JAX's two conventions for halves."""
    away = getattr(rounding_method, "value", rounding_method) == 0
    function = balls.round_half_away if away else balls.round_half_even
    return boxed(np.frompyfunc(function, 1, 1)(as_balls(x)))


# --- dtypes -----------------------------------------------------------------------------------


def convert_element_type(x: Any, *, new_dtype: Any, **params: Any) -> np.ndarray:
    """To floats: the same number. To integers: towards 0. To booleans: whether it is not 0."""
    if kind(new_dtype) == "real":
        return as_balls(x)
    if new_dtype == np.dtype(bool):
        nonzero = np.frompyfunc(lambda ball: balls.not_equal(ball, ZERO), 1, 1)
        return np.asarray(nonzero(as_balls(x)), dtype=bool)
    whole = np.frompyfunc(lambda ball: as_integer(ball, new_dtype), 1, 1)(as_balls(x))
    return np.asarray(whole, dtype=new_dtype)


def as_integer(ball: arb, dtype: Any) -> int:
    """The integer of `dtype` that a real number becomes: towards 0, held in range, NaN to 0."""
    if ball is NAN:
        return 0
    limits = np.iinfo(dtype)
    return balls.whole_number(balls.clamp(arb(int(limits.min)), ball, arb(int(limits.max))))


def as_float(ball: arb, dtype: Any) -> float:
    """The float of `dtype` that a ball is. Raises Undecided for all other real numbers.

    Only floats have bits. A program that looks at them is a step function of a real number: its
    derivative would come out as 0.
    """
    if ball is NAN:
        return float("nan")
    number = float(np.asarray(float(ball.mid())).astype(dtype))
    if not balls.is_exact(ball) or not ball == arb(number):
        raise Undecided(f"the bits of {balls.short(ball)}, a real number and no {dtype}")
    return number


def bitcast_of(x: np.ndarray, dtype: Any, new_dtype: Any) -> Any:
    """The bits of floats as integers, or the floats that integers are bits of."""
    if x.dtype == object:
        x = np.array([as_float(ball, dtype) for ball in x.ravel()]).reshape(x.shape).astype(dtype)
    from_size, to_size = x.dtype.itemsize, np.dtype(new_dtype).itemsize
    if from_size > to_size:
        x = x[..., None]
    bits = np.frombuffer(x.tobytes(), dtype=new_dtype)
    shape = x.shape[:-1] if from_size < to_size else x.shape
    bits = bits.reshape((*shape[:-1], from_size // to_size) if from_size > to_size else shape)
    return as_balls(bits) if kind(new_dtype) == "real" else bits


def iota(*sizes: Any, dtype: Any, shape: Any, dimension: int, **params: Any) -> np.ndarray:
    """0, 1, 2, ... along one axis."""
    within = [1] * len(shape)
    within[dimension] = shape[dimension]
    counts = np.broadcast_to(np.arange(shape[dimension]).reshape(within), shape)
    return counts.astype(dtype) if kind(dtype) == "discrete" else as_balls(counts)


def empty(*sizes: Any, dtype: Any, shape: Any = (), **params: Any) -> np.ndarray:
    """An array whose contents nobody may read: zeros."""
    zeros = np.zeros(shape, dtype=np.int32)
    return np.asarray(jnp.zeros(shape, dtype)) if kind(dtype) == "discrete" else as_balls(zeros)


# --- where functions have no real value, for sure, and whole arrays ------------------------------


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
_multiply = elementwise(operator.mul, 2, plain=np.multiply)
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
    "convert_element_type": convert_element_type,
    "cos": elementwise(arb.cos),
    "cosh": elementwise(arb.cosh),
    "div": elementwise(divide, 2, plain=np.true_divide, special=_same_or_zero),
    "empty": empty,
    "empty2": empty,
    "eq": predicate(balls.equal, yes=operator.eq, no=operator.ne),
    "eq_to": predicate(balls.equal),
    "exp": elementwise(arb.exp),
    "exp2": elementwise(exp2),
    "expm1": elementwise(arb.expm1),
    "floor": elementwise(balls.floor),
    "ge": predicate(balls.greater_equal, yes=operator.ge, no=operator.lt),
    "gt": predicate(balls.greater, yes=operator.gt, no=operator.le),
    "integer_pow": integer_pow,
    "iota": iota,
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
    "neg": elementwise(operator.neg, plain=np.negative),
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


# --- without real numbers ---------------------------------------------------------------------


def _of_integers(ufunc: Any) -> Any:
    """A rule that keeps the operands' dtype, wrapping around as XLA does."""

    def rule(*operands: Any, **params: Any) -> np.ndarray:
        with np.errstate(all="ignore"):
            return np.asarray(ufunc(*operands))

    return rule


def _over_integers(ufunc: Any) -> Any:
    """A rule that reduces over the named axes in the operand's own dtype."""

    def rule(x: np.ndarray, *, axes: Any, **params: Any) -> np.ndarray:
        return np.asarray(ufunc.reduce(x, axis=tuple(axes), dtype=x.dtype))

    return rule


def _cast(x: np.ndarray, *, new_dtype: Any, **params: Any) -> np.ndarray:
    """Integers and booleans in another dtype, wrapping around."""
    return x.astype(new_dtype)


INTEGER_RULES: dict[str, Any] = {
    "add": _of_integers(np.add),
    "and": _of_integers(np.bitwise_and),
    "convert_element_type": _cast,
    "eq": _of_integers(np.equal),
    "ge": _of_integers(np.greater_equal),
    "gt": _of_integers(np.greater),
    "iota": iota,
    "le": _of_integers(np.less_equal),
    "lt": _of_integers(np.less),
    "max": _of_integers(np.maximum),
    "min": _of_integers(np.minimum),
    "mul": _of_integers(np.multiply),
    "ne": _of_integers(np.not_equal),
    "neg": _of_integers(np.negative),
    "not": _of_integers(np.invert),
    "or": _of_integers(np.bitwise_or),
    "reduce_and": _over_integers(np.bitwise_and),
    "reduce_or": _over_integers(np.bitwise_or),
    "reduce_sum": _over_integers(np.add),
    "sub": _of_integers(np.subtract),
    "xor": _of_integers(np.bitwise_xor),
}
