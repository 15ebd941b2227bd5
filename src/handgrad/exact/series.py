"""Derivatives of a function of one number, at many inputs at once: power series over balls.

Each input x becomes the series x + ε, and the program of the function is run on such series, cut
off after ε² and with balls for coefficients: f(x + ε) = f(x) + f′(x) ε + f″(x) ε²/2. No derivative
rule of JAX takes part. The balls enclose, so a coefficient is right to the digits that its radius
leaves; where they are too few, the inputs concerned go through again at four times the precision.

A comparison of two series is one of the functions beside the input: where the leading coefficients
are equal, the first ones that differ decide, on the right of the input and on the left. There is a
derivative where both sides have one, and the same.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any, NamedTuple

import jax
import numpy as np
from flint import arb, ctx

from handgrad import jaxprs
from handgrad._precision import x64
from handgrad.errors import InputError, UnsupportedPrimitive
from handgrad.exact import special
from handgrad.exact.balls import NAN, ZERO, as_balls, boxed, finite_entries, kind, power
from handgrad.exact.elementwise import cbrt, convert_element_type, exp2
from handgrad.exact.evaluation import trace
from handgrad.exact.interpreter import Interpreter
from handgrad.exact.movement import DIRECT, MOVES

MOST_ORDER = 2
GUARD_BITS = 40
"""Bits beyond those asked for, so that ordinary rounding needs no second run."""
MAX_BITS = 1 << 13
BLURRED_BITS = 40
NO_VALUE_BITS = 512
"""Where a precision of this many bits finds no value there is none: outside of the domain."""

Taylor = tuple[arb, arb, arb]
"""g(x), g′(x), g″(x)/2."""


class Derivatives(NamedTuple):
    """f, f′, f″, up to the order asked, at every input: object arrays of balls, one per order.

    `NAN` where there is none: outside of the domain, at a pole, at a kink or jump (`kink` marks
    these), and where no precision up to the limit decided (`undecided` marks these).
    """

    values: list[np.ndarray]
    kink: np.ndarray
    undecided: np.ndarray


def derivatives(
    f: Callable[..., Any],
    *args: np.ndarray,
    argnum: int = 0,
    order: int = 1,
    bits: int = 40,
    tiniest: int = -1200,
) -> Derivatives:
    """f and its derivatives in one argument at every entry of `args`: arrays of floats, one length.

    `f` takes numbers and returns one. Each ball is accurate to `bits` bits, or lies within
    2^`tiniest` of 0. Raises UnsupportedPrimitive for what has no rule as a series, InputError where
    f does not map numbers to a number. Constants of the trace that fill their mantissa (π, 0.1)
    have been rounded, and count as balls of one ulp: where f holds such, 40 bits are enough.

    >>> found = derivatives(jax.nn.sigmoid, np.array([0.0, 17.0]), order=2)
    >>> [ball.str(8, radius=False) for ball in found.values[1]]
    ['0.25000000', '4.1399374e-8']
    >>> derivatives(jax.nn.relu, np.array([0.0, 1.0])).kink.tolist()
    [True, False]
    """

    def at(places: np.ndarray, precision: int, side: int) -> Evaluated:
        return _evaluate(f, [array[places] for array in args], argnum, order, precision, side)

    return refine(at, len(args[argnum]), order, bits, tiniest)


def derivatives_by(
    taylor: Callable[..., Taylor],
    *args: np.ndarray,
    order: int = 1,
    bits: int = 40,
    tiniest: int = -1200,
) -> Derivatives:
    """The same from a function of balls that returns f, f′ and f″/2 at one input."""
    rule = np.frompyfunc(taylor, len(args), MOST_ORDER + 1)

    def at(places: np.ndarray, precision: int, side: int) -> Evaluated:
        with ctx.workprec(precision):
            found = rule(*(as_balls(array[places]) for array in args))
        none = np.zeros(len(places), bool)
        return Evaluated(list(map(boxed, found[: order + 1])), none, none, False)

    return refine(at, len(args[0]), order, bits, tiniest)


class Evaluated(NamedTuple):
    """The coefficients at some inputs, beside them on one side."""

    rows: list[np.ndarray]
    edge: np.ndarray
    """Where a comparison was one of equal numbers."""
    open: np.ndarray
    """Where the balls were too wide to compare."""
    blurred: bool
    """Whether constants set a limit to what precision can do."""


def refine(
    at: Callable[[np.ndarray, int, int], Evaluated], count: int, order: int, bits: int, tiniest: int
) -> Derivatives:
    """Evaluate, and evaluate again at higher precisions the inputs whose balls are too wide."""
    values = [np.full(count, NAN, dtype=object) for _ in range(order + 1)]
    kink, undecided = np.zeros(count, bool), np.zeros(count, bool)
    places, precision = np.arange(count), bits + GUARD_BITS
    small = arb((1, tiniest))
    factorials = [1, 1, 2]
    while len(places) and precision <= MAX_BITS:
        found, edge, is_open, blurred = at(places, precision, 1)
        enough = min(bits, BLURRED_BITS) if blurred else bits
        found = [np.broadcast_to(array, places.shape).copy() for array in found]
        good = [_are_accurate(array, enough, small) & ~is_open for array in found]
        without = np.logical_or.reduce([~finite_entries(array) for array in found]) & ~is_open
        jumps = np.zeros(len(places), bool)
        if edge.any():
            beside, _, still_open, _ = at(places[edge], precision, -1)
            beside = [np.broadcast_to(array, int(edge.sum())) for array in beside]
            same = np.ones(int(edge.sum()), bool)
            for array, other, fine in zip(found, beside, good, strict=True):
                settled = fine[edge] & _are_accurate(other, enough, small) & ~still_open
                same &= ~settled | np.asarray(_overlap(array[edge], other), bool)
                fine[edge] = settled & same
            jumps[edge] = ~same
        for lower, higher in pairwise(good):  # no derivative where there is no value
            higher &= lower
        for target, array, fine, factorial in zip(values, found, good, factorials, strict=False):
            with ctx.workprec(precision):
                target[places[fine]] = array[fine] * factorial
        kink[places[jumps]] = True
        hopeless = jumps
        if precision >= NO_VALUE_BITS:  # 0/0 beside a branch may yet have a limit
            hopeless = hopeless | (without & ~edge)
        done = hopeless | np.logical_and.reduce(good)
        if blurred and precision >= NO_VALUE_BITS:
            undecided[places[~done]] = True
            done[:] = True
        places, precision = places[~done], 4 * precision
    undecided[places] = True
    return Derivatives(values, kink, undecided)


def _is_accurate(ball: arb, bits: int, small: arb) -> bool:
    if ball.rel_accuracy_bits() >= bits:
        return ball.is_finite()
    return bool(abs(ball) < small)


def _are_accurate(balls: np.ndarray, bits: int, small: arb) -> np.ndarray:
    return np.array([_is_accurate(ball, bits, small) for ball in balls.tolist()], dtype=bool)


_overlap = np.frompyfunc(arb.overlaps, 2, 1)


# --- a program on series ----------------------------------------------------------------------


@dataclass(frozen=True, eq=False)
class Series:
    """Coefficients of ε⁰, ε¹, ε²: object arrays of balls; None, and what is missing, is 0."""

    coefficients: tuple[np.ndarray | None, ...]

    @property
    def value(self) -> np.ndarray:
        """The coefficient of ε⁰."""
        first = self.part(0)
        return boxed(ZERO) if first is None else first

    def part(self, k: int) -> np.ndarray | None:
        """The coefficient of ε^k."""
        return self.coefficients[k] if k < len(self.coefficients) else None


def _evaluate(
    f: Callable[..., Any], args: list[np.ndarray], argnum: int, order: int, precision: int,
    side: int,
) -> Evaluated:  # fmt: skip
    traced = trace(jax.vmap(f), *(np.asarray(array, np.float64) for array in args))
    count = len(args[argnum])
    if [aval.shape for aval in traced.jaxpr.out_avals] != [(count,)]:
        found = [aval.shape[1:] for aval in traced.jaxpr.out_avals]
        raise InputError("f", "a function from numbers to one number", f"{found}", "index it")
    if kind(traced.jaxpr.out_avals[0].dtype) != "real":
        got = str(traced.jaxpr.out_avals[0].dtype)
        raise InputError("f", "a real number as output", got, "return a float")
    interpreter = SeriesInterpreter(order, side, count)
    operands: list[Any] = [as_balls(np.asarray(array, np.float64)) for array in args]
    one = np.full(count, arb(1), dtype=object)
    operands[argnum] = Series((operands[argnum], one))
    with x64(), ctx.workprec(precision):
        (out,) = interpreter.run(traced.jaxpr, operands)
    series = out if isinstance(out, Series) else Series((as_balls(out),))
    zeros = np.full(count, ZERO, dtype=object)
    rows = (series.part(k) for k in range(order + 1))
    return Evaluated(
        [zeros if row is None else row for row in rows],
        interpreter.edge, interpreter.open, interpreter.balls.blurred,
    )  # fmt: skip


class SeriesInterpreter:
    """Runs a program on series up to ε^order, to the right (side 1) or left (−1) of the inputs.

    `edge` marks the inputs at which a comparison was one of equal numbers, `open` those where the
    balls were too wide to compare.
    """

    def __init__(self, order: int, side: int, count: int):
        if not 0 <= order <= MOST_ORDER:
            raise InputError("order", f"0 to {MOST_ORDER}", order, "differentiate further by hand")
        self.order, self.side = order, side
        self.edge, self.open = np.zeros(count, bool), np.zeros(count, bool)
        self.balls = Interpreter({}, constants="rounded")

    def run(self, program: Any, operands: Sequence[Any]) -> list[Any]:
        """The outputs of a program at operands that are series, balls or integers."""
        return jaxprs.run(program, operands, self.apply, self.balls.constant)

    def apply(self, equation: Any, operands: list[Any]) -> list[Any]:
        """The outputs of one equation."""
        name, params = equation.primitive.name, equation.params
        if not any(isinstance(operand, Series) for operand in operands):
            return self.balls.apply(equation, operands)
        if name in COMPARISONS:
            return [COMPARISONS[name](self.compare(*operands))]
        if name in RULES:
            return [RULES[name](self, *operands, **params)]
        if name in UNIVARIATE:
            return [self.compose(UNIVARIATE[name], operands[0])]
        called = jaxprs.library_function(equation)
        if called == "jax.numpy.ufuncs.signbit":
            return [self.compare(operands[0], ZERO) < 0]
        if called == "jax.lax.erf.exp_neg_sq":
            return [self.compose(_exp, self.negative(self.times(operands[0], operands[0])))]
        if name == "scan":
            scanned = operands[sum(jaxprs.scan_counts(params)) :]
            if any(isinstance(x, Series) for x in scanned):
                raise UnsupportedPrimitive(name, "over a power series")
        entered = jaxprs.enter(equation, operands, self.run, _stacked, self._selected)
        if entered is not None:
            return entered
        moving = [index for index, x in enumerate(operands) if isinstance(x, Series)]
        partial = PARTIAL.get((name, moving[0])) if len(moving) == 1 else None
        if partial is not None:
            return [self._in_one_argument(partial, operands, moving[0])]
        if name in LINEAR:
            return self._linear(equation, operands)
        if name in BILINEAR:
            return [self._bilinear(equation, *operands)]
        where = jaxprs.source_location(equation)
        raise UnsupportedPrimitive(name, "as a power series", where)

    # --- arithmetic ---------------------------------------------------------------------------

    def coefficient(self, x: Any, k: int) -> np.ndarray | None:
        """The k-th coefficient of a series, or of a constant."""
        if isinstance(x, Series):
            return x.part(k)
        return as_balls(x) if k == 0 else None

    def plus(self, a: Any, b: Any) -> Series:
        """a + b."""
        return self._by_order(lambda k: _sum([self.coefficient(x, k) for x in (a, b)]))

    def negative(self, a: Any) -> Series:
        """−a."""
        return self._by_order(lambda k: _minus(self.coefficient(a, k)))

    def times(self, a: Any, b: Any) -> Series:
        """a · b."""
        return self._by_order(
            lambda k: _sum([
                _product(self.coefficient(a, i), self.coefficient(b, k - i)) for i in range(k + 1)
            ])
        )  # fmt: skip

    def over(self, a: Any, b: Any) -> Series:
        """a / b: each coefficient from those before it."""
        divisor: Any = self.coefficient(b, 0)
        quotient: list[np.ndarray | None] = []
        for k in range(self.order + 1):
            known = [_product(quotient[i], self.coefficient(b, k - i)) for i in range(k)]
            rest = _sum([self.coefficient(a, k), _minus(_sum(known))])
            quotient.append(None if rest is None else boxed(np.true_divide(rest, divisor)))
        return Series(tuple(quotient))

    def compose(self, function: Callable[[arb], Taylor], x: Series) -> Series:
        """g(x) for a g that is given by its Taylor coefficients."""
        return self._chain(np.frompyfunc(function, 1, MOST_ORDER + 1)(x.value), x)

    def _chain(self, outer: Any, x: Series) -> Series:
        g0, g1, g2 = map(boxed, outer)
        first = _product(g1, x.part(1))
        if self.order < 2:
            return Series((g0, first))
        return Series(
            (
                g0,
                first,
                _sum([_product(g1, x.part(2)), _product(g2, _product(x.part(1), x.part(1)))]),
            )
        )

    def _in_one_argument(self, partial: Any, operands: list[Any], moving: int) -> Series:
        balls = [x.value if isinstance(x, Series) else as_balls(x) for x in operands]
        outer = np.frompyfunc(partial, len(balls), MOST_ORDER + 1)(*balls)
        return self._chain(outer, operands[moving])

    def _by_order(self, coefficient: Callable[[int], np.ndarray | None]) -> Series:
        return Series(tuple(coefficient(k) for k in range(self.order + 1)))

    # --- movement and products of arrays ------------------------------------------------------

    def _linear(self, equation: Any, operands: list[Any]) -> list[Any]:
        """An equation that is linear in its reals taken together, coefficient by coefficient."""
        columns = [
            self.balls.apply(equation, [self._part(x, k) for x in operands])
            for k in range(self.order + 1)
        ]
        return [Series(row) for row in zip(*columns, strict=True)]

    def _part(self, x: Any, k: int) -> Any:
        part = self.coefficient(x, k) if isinstance(x, Series) or k == 0 else None
        if not isinstance(x, Series) and (x.dtype != object or k == 0):
            return x
        shape = x.value.shape if isinstance(x, Series) else x.shape
        return np.full(shape, ZERO, dtype=object) if part is None else np.broadcast_to(part, shape)

    def _bilinear(self, equation: Any, a: Any, b: Any) -> Series:
        def term(i: int, j: int) -> np.ndarray | None:
            left, right = self.coefficient(a, i), self.coefficient(b, j)
            if left is None or right is None:
                return None
            return self.balls.apply(equation, [left, right])[0]

        return self._by_order(lambda k: _sum([term(i, k - i) for i in range(k + 1)]))

    # --- choices ------------------------------------------------------------------------------

    def compare(self, a: Any, b: Any) -> np.ndarray:
        """−1, 0 or 1 as a is less than, equal to, or greater than b beside the input.

        Equal are only functions all of whose coefficients are.
        """
        if a is b:
            return np.zeros(_shape(a), np.int8)
        result, equal = _signs(self.coefficient(a, 0), self.coefficient(b, 0))
        undecided = (result == 0) & ~equal
        tied, sign = equal.copy(), 1
        for k in range(1, self.order + 1):
            if not tied.any():
                break
            sign *= self.side
            pair = [self.coefficient(x, k) for x in (a, b)]
            if pair[0] is None and pair[1] is None:
                continue
            signs, same = _signs(*(ZERO if part is None else part for part in pair))
            signs, same = (np.broadcast_to(x, tied.shape) for x in (signs, same))
            result = np.where(tied, sign * signs, result)
            undecided |= tied & (signs == 0) & ~same
            tied &= same
        self._mark(self.edge, equal & (result != 0))
        self._mark(self.open, undecided)
        return result

    def _mark(self, mask: np.ndarray, where: np.ndarray) -> None:
        """Add to a mask of the inputs, which are along the first axis of all that depends on them.

        What does not depend on the input has no such axis, and concerns all of them.
        """
        if where.ndim and where.shape[0] == len(mask):
            mask |= where.reshape(len(mask), -1).any(axis=1)
        else:
            mask |= bool(where.any())

    def choose(self, which: np.ndarray, yes: Any, no: Any) -> Series:
        """`yes` where the mask holds, else `no`."""

        def part(k: int) -> np.ndarray | None:
            pair = [self.coefficient(x, k) for x in (yes, no)]
            if pair[0] is None and pair[1] is None:
                return None
            return np.where(which, *(boxed(ZERO) if one is None else one for one in pair))

        return self._by_order(part)

    def _selected(self, mask: np.ndarray, new: Any, old: Any) -> Any:
        if isinstance(new, Series) or isinstance(old, Series):
            shape = mask.shape + (1,) * (len(_shape(new)) - mask.ndim)
            return self.choose(mask.reshape(shape), new, old)
        return jaxprs.where(mask, new, old)

    def greater(self, a: Any, b: Any) -> Series:
        """The larger of two."""
        return self.choose(self.compare(a, b) >= 0, a, b)

    def less(self, a: Any, b: Any) -> Series:
        """The smaller of two."""
        return self.choose(self.compare(a, b) <= 0, a, b)

    def absolute(self, x: Series) -> Series:
        """|x|."""
        return self.choose(self.compare(x, ZERO) >= 0, x, self.negative(x))

    def floor(self, x: Series) -> Series:
        """The largest integer below or at x beside the input."""
        with ctx.workprec(ctx.prec + 1100):
            found: Any = np.frompyfunc(_floor, 1, 2)(x.value)
        whole, settled = map(boxed, found)
        self._mark(self.open, ~settled.astype(bool))
        return Series((np.where(self.compare(x, whole) < 0, whole - 1, whole),))

    def truncate(self, x: Series) -> Series:
        """x without what is behind the point."""
        up = self.negative(self.floor(self.negative(x)))
        return self.choose(self.compare(x, ZERO) >= 0, self.floor(x), up)


def _shape(x: Any) -> tuple[int, ...]:
    return np.shape(x.value) if isinstance(x, Series) else np.shape(x)


def _floor(x: arb) -> tuple[arb, bool]:
    if not x.is_finite():
        return ZERO, True
    whole = x.floor()
    return (whole, True) if whole.is_exact() else (ZERO, False)


def _sum(terms: Sequence[np.ndarray | None]) -> np.ndarray | None:
    total = None
    for term in terms:
        if term is not None:
            total = term if total is None else boxed(np.add(total, term))
    return total


def _minus(a: np.ndarray | None) -> np.ndarray | None:
    return None if a is None else boxed(np.negative(a))


def _product(a: np.ndarray | None, b: np.ndarray | None) -> np.ndarray | None:
    return None if a is None or b is None else boxed(np.multiply(a, b))


def _sign_of_difference(a: arb, b: arb) -> tuple[int, bool]:
    """The sign of a − b if it is sure, and whether they are surely equal; NaN is taken as equal."""
    if a > b:
        return 1, False
    if a < b:
        return -1, False
    return 0, a is b or (a.is_exact() and b.is_exact()) or a.is_nan() or b.is_nan()


def _signs(a: Any, b: Any) -> tuple[np.ndarray, np.ndarray]:
    found: Any = np.frompyfunc(_sign_of_difference, 2, 2)(a, b)
    signs, equal = found
    return np.asarray(signs, np.int8), np.asarray(equal, bool)


def _stacked(rows: list[Any]) -> Any:
    if any(isinstance(row, Series) for row in rows):
        raise UnsupportedPrimitive("scan", "with an output of every step, as a power series")
    return jaxprs.stacked(rows)


# --- Taylor coefficients ----------------------------------------------------------------------


def _exp(x: arb) -> Taylor:
    y = x.exp()
    return y, y, y / 2


def _exp2(x: arb) -> Taylor:
    y, ln2 = exp2(x), arb.const_log2()
    return y, y * ln2, y * ln2**2 / 2


def _expm1(x: arb) -> Taylor:
    y = x.exp()
    return x.expm1(), y, y / 2


def _log(x: arb) -> Taylor:
    r = 1 / x
    return x.log(), r, -(r**2) / 2


def _log2(x: arb) -> Taylor:
    y, first, second = _log(x)
    ln2 = arb.const_log2()
    return y / ln2, first / ln2, second / ln2


def _log1p(x: arb) -> Taylor:
    r = 1 / (1 + x)
    return x.log1p(), r, -(r**2) / 2


def _sin(x: arb) -> Taylor:
    s, c = x.sin_cos()
    return s, c, -s / 2


def _cos(x: arb) -> Taylor:
    s, c = x.sin_cos()
    return c, -s, -c / 2


def _tan(x: arb) -> Taylor:
    t, s = x.tan(), x.sec() ** 2
    return t, s, t * s


def _asin(x: arb) -> Taylor:
    r = ((1 - x) * (1 + x)).rsqrt()
    return x.asin(), r, x * r**3 / 2


def _acos(x: arb) -> Taylor:
    _, first, second = _asin(x)
    return x.acos(), -first, -second


def _atan(x: arb) -> Taylor:
    r = 1 / (1 + x * x)
    return x.atan(), r, -x * r**2


def _sinh(x: arb) -> Taylor:
    s, c = x.sinh_cosh()
    return s, c, s / 2


def _cosh(x: arb) -> Taylor:
    s, c = x.sinh_cosh()
    return c, s, c / 2


def _tanh(x: arb) -> Taylor:
    t, e = x.tanh(), (-2 * abs(x)).exp()
    s = 4 * e / (1 + e) ** 2  # sech², bounded where the ball of a large x is wide
    return t, s, -t * s


def _asinh(x: arb) -> Taylor:
    r = (1 + x * x).rsqrt()
    return x.asinh(), r, -x * r**3 / 2


def _acosh(x: arb) -> Taylor:
    r = ((x - 1) * (x + 1)).rsqrt()
    return x.acosh(), r, -x * r**3 / 2


def _atanh(x: arb) -> Taylor:
    r = 1 / ((1 - x) * (1 + x))
    return x.atanh(), r, x * r**2


def _sqrt(x: arb) -> Taylor:
    y = x.sqrt()
    return y, 1 / (2 * y), -1 / (8 * x * y)


def _rsqrt(x: arb) -> Taylor:
    y = x.rsqrt()
    return y, -y / (2 * x), 3 * y / (8 * x**2)


def _cbrt(x: arb) -> Taylor:
    y = cbrt(x)
    return y, y / (3 * x), -y / (9 * x**2)


def _logistic(x: arb) -> Taylor:
    e = (-x).exp()
    p = 1 / (1 + e)
    slope = p * (1 / (1 + x.exp()))
    return p, slope, -slope * (x / 2).tanh() / 2


def _square(x: arb) -> Taylor:
    return x * x, 2 * x, arb(1)


def _erf(x: arb) -> Taylor:
    slope = 2 / arb.const_sqrt_pi() * (-x * x).exp()
    return x.erf(), slope, -x * slope


def _erfc(x: arb) -> Taylor:
    _, first, second = _erf(x)
    return x.erfc(), -first, -second


def _erf_inv(x: arb) -> Taylor:
    y = x.erfinv()
    slope = arb.const_sqrt_pi() / 2 * (y * y).exp()
    return y, slope, y * slope**2


def _lgamma(x: arb) -> Taylor:
    psi, trigamma, _ = _digamma(x)
    return special.lgamma(x), psi, trigamma / 2


def _digamma(x: arb) -> Taylor:
    """ψ, ψ′ = ζ(2, x) and ψ″/2 = −ζ(3, x); by reflection left of 0."""
    if x > 0:
        return x.digamma(), arb(2).zeta(x), -arb(3).zeta(x)
    if not x < 0 or (x.is_exact() and x.is_integer()):
        return arb.nan(), arb.nan(), arb.nan()
    slope = (arb.pi() / x.sin_pi()) ** 2
    curve = slope * arb.pi() * x.cot_pi()
    return x.digamma(), slope - arb(2).zeta(1 - x), -curve - arb(3).zeta(1 - x)


def _bessel_i0(x: arb) -> Taylor:
    return x.bessel_i(0), x.bessel_i(1), (x.bessel_i(0) + x.bessel_i(2)) / 4


def _bessel_i1(x: arb) -> Taylor:
    first = (x.bessel_i(0) + x.bessel_i(2)) / 2
    return x.bessel_i(1), first, (3 * x.bessel_i(1) + x.bessel_i(3)) / 8


UNIVARIATE: dict[str, Callable[[arb], Taylor]] = {
    "acos": _acos, "acosh": _acosh, "asin": _asin, "asinh": _asinh, "atan": _atan,
    "atanh": _atanh, "cbrt": _cbrt, "cos": _cos, "cosh": _cosh, "digamma": _digamma, "erf": _erf,
    "erf_inv": _erf_inv, "erfc": _erfc, "exp": _exp, "exp2": _exp2, "expm1": _expm1,
    "lgamma": _lgamma, "log": _log, "log1p": _log1p, "log2": _log2, "logistic": _logistic,
    "rsqrt": _rsqrt, "sin": _sin, "sinh": _sinh, "sqrt": _sqrt, "square": _square, "tan": _tan,
    "tanh": _tanh,
}  # fmt: skip
"""Primitives of one operand, by their Taylor coefficients."""


def _power_of(x: arb, y: arb) -> Taylor:
    """x^y in x, also at x = 0."""
    first = ZERO if y == 0 else y * power(x, y - 1)
    second = ZERO if y == 0 or y == 1 else y * (y - 1) / 2 * power(x, y - 2)
    return power(x, y), first, second


def _power_to(x: arb, y: arb) -> Taylor:
    """x^y in y."""
    if x.is_zero() and y > 0:
        return ZERO, ZERO, ZERO
    value, log = x**y, x.log()
    return value, value * log, value * log**2 / 2


def _polygamma(n: arb, x: arb) -> Taylor:
    return (
        special.polygamma(n, x), special.polygamma(n + 1, x), special.polygamma(n + 2, x) / 2,
    )  # fmt: skip


def _zeta_in_q(s: arb, q: arb) -> Taylor:
    return s.zeta(q), -s * (s + 1).zeta(q), s * (s + 1) * (s + 2).zeta(q) / 2


def _igamma_in_x(a: arb, x: arb) -> Taylor:
    """∂P/∂x = x^(a−1) e^−x / Γ(a), whose own slope is (a − 1)/x − 1 times itself."""
    density = ((a - 1) * x.log() - x - special.lgamma(a)).exp()
    return special.igamma(a, x), density, density * ((a - 1) / x - 1) / 2


def _igammac_in_x(a: arb, x: arb) -> Taylor:
    _, first, second = _igamma_in_x(a, x)
    return special.igammac(a, x), -first, -second


def _igamma_in_a(a: arb, x: arb) -> Taylor:
    return special.igamma(a, x), special.igamma_grad_a(a, x), arb.nan()


def _igammac_in_a(a: arb, x: arb) -> Taylor:
    return special.igammac(a, x), -special.igamma_grad_a(a, x), arb.nan()


def _betainc_in_x(a: arb, b: arb, x: arb) -> Taylor:
    """∂I/∂x = x^(a−1) (1−x)^(b−1) / B(a, b)."""
    if not (x >= 0 and x <= 1):
        return arb.nan(), arb.nan(), arb.nan()
    log_beta = special.lgamma(a) + special.lgamma(b) - special.lgamma(a + b)
    density = ((a - 1) * x.log() + (b - 1) * (-x).log1p() - log_beta).exp()
    slope = density * ((a - 1) / x - (b - 1) / (1 - x)) / 2
    return special.incomplete_beta(a, b, x), density, slope


PARTIAL: dict[tuple[str, int], Callable[..., Taylor]] = {
    ("igamma", 0): _igamma_in_a, ("igamma", 1): _igamma_in_x,
    ("igammac", 0): _igammac_in_a, ("igammac", 1): _igammac_in_x,
    ("polygamma", 1): _polygamma, ("pow", 0): _power_of, ("pow", 1): _power_to,
    ("regularized_incomplete_beta", 2): _betainc_in_x, ("zeta", 1): _zeta_in_q,
}  # fmt: skip
"""Primitives of several operands of which one depends on the input, and which."""


# --- rules of whole series --------------------------------------------------------------------


def _integer_power(run: SeriesInterpreter, x: Series, *, y: int, **params: Any) -> Series:
    return run.compose(lambda ball: _power_of(ball, arb(int(y))), x)


def _power(run: SeriesInterpreter, x: Any, y: Any, **params: Any) -> Series:
    """x^y; e^(y log x) where both depend on the input."""
    both = isinstance(x, Series) and isinstance(y, Series)
    if both:
        return run.compose(_exp, run.times(y, run.compose(_log, x)))
    moving = 0 if isinstance(x, Series) else 1
    return run._in_one_argument(PARTIAL["pow", moving], [x, y], moving)


def _atan2(run: SeriesInterpreter, y: Any, x: Any, **params: Any) -> Series:
    """The angle turns at the rate (x y′ − y x′) / (x² + y²)."""
    rate = run.over(
        run.plus(run.times(x, _slope(y)), run.negative(run.times(y, _slope(x)))),
        run.plus(run.times(x, x), run.times(y, y)),
    )
    balls = [boxed(run.coefficient(part, 0)) for part in (y, x)]
    angle = boxed(np.frompyfunc(arb.atan2, 2, 1)(*balls))
    bend = rate.part(1)
    half = None if bend is None else boxed(np.true_divide(bend, 2))
    return Series((angle, rate.part(0), half)[: run.order + 1])


def _slope(x: Any) -> Series:
    """The series of x′, one order shorter."""
    if not isinstance(x, Series):
        return Series(())
    second = x.part(2)
    return Series((x.part(1), None if second is None else boxed(np.multiply(second, 2))))


def _bessel(function: Callable[[arb], Taylor]) -> Callable[..., Series]:
    def rule(run: SeriesInterpreter, x: Series, **params: Any) -> Series:
        """e^−|x| I(x)."""
        scale = run.compose(_exp, run.negative(run.absolute(x)))
        return run.times(scale, run.compose(function, x))

    return rule


def _reduced(
    better: Callable[[SeriesInterpreter, Any, Any], Series],
) -> Callable[..., Series]:
    def rule(run: SeriesInterpreter, x: Series, *, axes: Any, **params: Any) -> Series:
        """The best along some axes, one entry after the other."""
        kept = [axis for axis in range(x.value.ndim) if axis not in axes]

        def rows(part: np.ndarray | None) -> Any:
            if part is None:
                return None
            whole = np.broadcast_to(part, x.value.shape).transpose(*kept, *axes)
            return whole.reshape(*(x.value.shape[axis] for axis in kept), -1)

        parts = [rows(part) for part in x.coefficients]
        entries = [
            Series(tuple(None if part is None else part[..., i] for part in parts))
            for i in range(parts[0].shape[-1])
        ]
        best = entries[0]
        for entry in entries[1:]:
            best = better(run, best, entry)
        return best

    return rule


def _sign(run: SeriesInterpreter, x: Series, **params: Any) -> np.ndarray:
    return as_balls(run.compare(x, ZERO))


def _round(run: SeriesInterpreter, x: Series, **params: Any) -> Series:
    """Half-way cases are jumps, and beside a jump there is no tie."""
    return run.floor(run.plus(x, arb(1) / 2))


def _remainder(run: SeriesInterpreter, a: Any, b: Any, **params: Any) -> Series:
    whole = run.truncate(run.over(a, b))
    return run.plus(a, run.negative(run.times(b, whole)))


def _polynomial(run: SeriesInterpreter, x: Series, *coefficients: Any, **params: Any) -> Series:
    """Σ cₖ xᵏ, by Horner's scheme."""
    value = coefficients[-1]
    for coefficient in reversed(coefficients[:-1]):
        value = run.plus(run.times(value, x), coefficient)
    return value


def _convert(run: SeriesInterpreter, x: Series, *, new_dtype: Any, **params: Any) -> Any:
    if kind(new_dtype) == "real":
        return x
    if new_dtype == np.dtype(bool):
        return run.compare(x, ZERO) != 0
    if kind(new_dtype) == "complex":
        raise UnsupportedPrimitive("convert_element_type", "to complex numbers, as a power series")
    return convert_element_type(run.truncate(x).value, new_dtype=new_dtype)


def _is_finite(run: SeriesInterpreter, x: Series, **params: Any) -> np.ndarray:
    return ~np.asarray(np.frompyfunc(_is_infinite, 1, 1)(x.value), bool)


def _is_infinite(ball: arb) -> bool:
    return ball.is_exact() and not ball.is_finite()


RULES: dict[str, Callable[..., Any]] = {
    "abs": lambda run, x, **params: run.absolute(x),
    "add": lambda run, a, b, **params: run.plus(a, b),
    "add_any": lambda run, a, b, **params: run.plus(a, b),
    "atan2": _atan2,
    "bessel_i0e": _bessel(_bessel_i0),
    "bessel_i1e": _bessel(_bessel_i1),
    "ceil": lambda run, x, **params: run.negative(run.floor(run.negative(x))),
    "clamp": lambda run, low, x, high, **params: run.less(run.greater(x, low), high),
    "convert_element_type": _convert,
    "div": lambda run, a, b, **params: run.over(a, b),
    "floor": lambda run, x, **params: run.floor(x),
    "integer_pow": _integer_power,
    "is_finite": _is_finite,
    "max": lambda run, a, b, **params: run.greater(a, b),
    "min": lambda run, a, b, **params: run.less(a, b),
    "mul": lambda run, a, b, **params: run.times(a, b),
    "neg": lambda run, x, **params: run.negative(x),
    "polynomial": _polynomial,
    "pow": _power,
    "reduce_max": _reduced(SeriesInterpreter.greater),
    "reduce_min": _reduced(SeriesInterpreter.less),
    "rem": _remainder,
    "round": _round,
    "sign": _sign,
    "square": lambda run, x, **params: run.times(x, x),
    "sub": lambda run, a, b, **params: run.plus(a, run.negative(b)),
}

COMPARISONS: dict[str, Callable[[np.ndarray], np.ndarray]] = {
    "eq": lambda sign: sign == 0,
    "ge": lambda sign: sign >= 0,
    "gt": lambda sign: sign > 0,
    "le": lambda sign: sign <= 0,
    "lt": lambda sign: sign < 0,
    "ne": lambda sign: sign != 0,
}
LINEAR = frozenset({"cumsum", "reduce_sum", *DIRECT, *MOVES})
BILINEAR = frozenset({"conv_general_dilated", "dot_general"})
